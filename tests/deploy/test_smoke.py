"""smoke and alias: real handlers behind HTTP, moto's Lambda for alias and versions.

The gateway of these tests asks moto, for each request, which version the alias leads to, as AWS
does. moto runs no function, so that a front before it gives invocations to the handlers that are
behind the gateway.
"""

from __future__ import annotations

import base64
import contextlib
import io
import itertools
import json
import re
import shutil
from pathlib import Path
from urllib.parse import parse_qs

import boto3
import pytest
import requests
from botocore.exceptions import ClientError
from botocore.stub import Stubber

from keras_to_lambda.deploy.rollout import endpoint_comparison, smoke
from keras_to_lambda.deploy.rollout.alias import Alias, AliasError, FunctionFailed, Routing
from keras_to_lambda.runtime.common.aws_lambda import INVOCATIONS_PATH
from keras_to_lambda.runtime.common.settings import Settings
from keras_to_lambda.runtime.handler import Handler
from keras_to_lambda.serve.gateway import Gateway
from tests import aws_signature
from tests.altered_model import CLOTHING, altered_clothing
from tests.http_host import wsgi as served

ROOT = Path(__file__).resolve().parents[2]
DIGITS = ROOT / "models" / "digits" / "digits.tflite"
REGION = "us-east-1"
FUNCTION = "classifier"
FIRST = endpoint_comparison.read_samples(ROOT / "samples")[0].image
NO_IMAGE = b"this is not an image"
ARN = f"arn:aws:lambda:{REGION}:123456789012:function:{FUNCTION}"


def app(model):
    return Gateway(
        Handler(Settings.from_environ({"MODEL_PATH": str(model), "LOG_LEVEL": "FATAL"})).handle
    )


@pytest.fixture(scope="session")
def right():
    return app(CLOTHING)


@pytest.fixture(scope="session")
def another():
    return app(DIGITS)


@pytest.fixture(scope="session")
def altered(tmp_path_factory):
    return app(altered_clothing(tmp_path_factory.mktemp("altered")))


def fixed(status, body):
    """Answers everything alike."""

    def application(_environ, start):
        start(status, [("Content-Type", "application/json")])
        return [body]

    return application


failing = fixed("502 Bad Gateway", b'{"message": "Internal server error"}')
forbidding = fixed(
    "403 Forbidden", b'{"Message": "not authorized to perform lambda:InvokeFunction"}'
)
missing = fixed("404 Not Found", b'{"message": "Not Found"}')


def body_of(environ):
    """The request's body, which can still be read."""
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    environ["wsgi.input"] = io.BytesIO(body)
    return body


def credulous(application):
    """Takes a non-image for an image, over HTTP and as an event; is right otherwise."""

    def taken(environ, start):
        scores = '{"t-shirt": 1.0}'
        invoked = environ["PATH_INFO"] == INVOCATIONS_PATH
        answer = json.dumps({"statusCode": 200, "body": scores}) if invoked else scores
        return fixed("200 OK", answer.encode())(environ, start)

    return played(application, taken, has(NO_IMAGE))


def played(application, instead, when):
    """The application, with another in its place for some requests, by environ and body."""

    def version(environ, start):
        return (instead if when(environ, body_of(environ)) else application)(environ, start)

    return version


def has(image):
    """Whether a request has an image, as bytes or as base64."""
    return lambda _, body: image in body or base64.b64encode(image) in body


def answering(status, event):
    """Invoked with an event that has this in it, answers it with this status."""
    answer = fixed("200 OK", json.dumps({"statusCode": status, "body": "{}"}).encode())
    return lambda application: played(application, answer, lambda _, body: event in body)


def relabelled(application):
    """Says of its model that it is another."""

    def version(environ, start):
        body = b"".join(application(environ, start))
        return [re.sub(rb"(model_sha256\W+)[0-9a-f]{64}", rb"\g<1>" + b"0" * 64, body)]

    return version


def not_invoked(application):
    """What answers over HTTP, and may not be invoked."""
    return played(application, forbidding, lambda e, _: e["PATH_INFO"] == INVOCATIONS_PATH)


@pytest.fixture
def aws(moto, monkeypatch):
    """moto, emptied, as this process's AWS: boto3's client of a service by its name."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    requests.post(f"{moto}/moto-api/reset", timeout=10).raise_for_status()
    # Invocations are not run, where moto would start a container of another image than ours.
    requests.post(
        f"{moto}/moto-api/config", json={"lambda": {"use_docker": False}}, timeout=10
    ).raise_for_status()
    return boto3.client


@pytest.fixture
def function(aws):
    """A function with three versions, and its alias at the last."""
    role = aws("iam").create_role(RoleName="role", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
    lambda_ = aws("lambda")
    lambda_.create_function(
        FunctionName=FUNCTION,
        PackageType="Image",
        Code={"ImageUri": "123456789012.dkr.ecr.us-east-1.amazonaws.com/c@sha256:1"},
        Role=role,
    )
    for number in (1, 2, 3):
        lambda_.update_function_configuration(FunctionName=FUNCTION, Description=str(number))
        lambda_.publish_version(FunctionName=FUNCTION)
    lambda_.create_alias(FunctionName=FUNCTION, Name="live", FunctionVersion="3")
    return lambda_


@pytest.fixture
def invoked(moto, monkeypatch):
    """Invocations go to the given applications by version, as Lambda tells it; all else to moto.

    https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html
    """

    def begin(**versions):
        alias = boto3.client("lambda", endpoint_url=moto)

        def front(environ, start):
            path, query = environ["PATH_INFO"], environ["QUERY_STRING"]
            body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            if path.endswith("/invocations"):
                [asked] = parse_qs(query)["Qualifier"]
                if not asked.isdecimal():
                    asked = alias.get_alias(FunctionName=FUNCTION, Name=asked)["FunctionVersion"]
                application = versions.get(f"v{asked}")
                if application:
                    return invoke(application, body, start)
            answer = requests.request(
                environ["REQUEST_METHOD"],
                f"{moto}{path}?{query}",
                data=body,
                headers={"Authorization": environ.get("HTTP_AUTHORIZATION", "")},
                timeout=10,
            )
            start(f"{answer.status_code} {answer.reason}", [("Content-Type", "application/json")])
            return [answer.content]

        url = stack.enter_context(served(front))
        monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", url)

    with contextlib.ExitStack() as stack:
        yield begin


def invoke(application, body, start):
    """Lambda's answer to an invocation: of the handler, of its end, or Lambda's own refusal."""
    statuses = []
    environ = {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": INVOCATIONS_PATH,
        "QUERY_STRING": "",
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.input": io.BytesIO(body),
    }
    content = b"".join(application(environ, lambda status, _: statuses.append(status)))
    if statuses[0].startswith("403"):
        start(statuses[0], [("x-amzn-ErrorType", "AccessDeniedException")])
        return [content]
    if not statuses[0].startswith("200"):
        content = b'{"errorType": "Runtime.ExitError", "errorMessage": "signal: killed"}'
    failed = b'"errorType"' in content
    start("200 OK", [("X-Amz-Function-Error", "Unhandled")] if failed else [])
    return [content]


@pytest.fixture
def routed(function, invoked):
    """Versions of the function, by which it is invoked, and asked over HTTP as its alias leads.

    In a canary the two are asked in turn.
    """
    turn = itertools.count()
    alias = Alias(FUNCTION)

    def begin(**versions):
        invoked(**versions)

        def application(environ, start):
            routing = alias.routing()
            names = [routing.version, *routing.weights]
            return versions[f"v{names[next(turn) % len(names)]}"](environ, start)

        return application

    return begin


def canary(function, stable="2", new="3", weight=0.5):
    function.update_alias(
        FunctionName=FUNCTION,
        Name="live",
        FunctionVersion=stable,
        RoutingConfig={"AdditionalVersionWeights": {new: weight}},
    )


@pytest.fixture(autouse=True)
def in_a_hurry(monkeypatch):
    """No waiting, and two of the samples."""
    for name, value in (("WAIT_S", 0), ("SETTLE_S", 0), ("CALLS", 3)):
        monkeypatch.setattr(endpoint_comparison, name, value)
    monkeypatch.setattr(
        smoke, "read_samples", lambda folder: endpoint_comparison.read_samples(folder)[:2]
    )


def run(capsys, url, *options):
    """Exit status, outcome and standard error of the command."""
    outcomes = []
    original = smoke.smoke
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(smoke, "smoke", lambda args: outcomes.append(original(args)) or outcomes[0])
        status = smoke.main([url, "--model", str(CLOTHING), *options])
    return status, outcomes[0] if outcomes else None, capsys.readouterr().err


def texts(found):
    return [*found.faults, *found.unproven]


def noted(function):
    return function.get_alias(FunctionName=FUNCTION, Name="live")["Description"]


def live():
    return Alias(FUNCTION).routing()


# --- comparing


def test_the_same_model_answers_the_same(right, capsys):
    with served(right) as url:
        status, result, _ = run(capsys, url)
        assert (status, result.same) == (0, True)
        assert (result.found.compared, result.found.largest) == (4, 0)
        calls = result.facts["warm calls"]
        assert re.match(r"3: p50 [\d.]+ ms, p95 .* of that the function", calls)
        assert result.found.facts["non-image"] == "415 unsupported_format"
        # A model that is here and not deployed is no fault.
        assert run(capsys, url, "--model", str(ROOT / "models"))[0] == 0


def test_a_weight_that_differs_is_seen_although_the_card_says_the_same(altered, capsys):
    with served(altered) as url:
        status, result, _ = run(capsys, url)
    assert status == 1
    assert not result.found.faults, "the hash in the card is the right one's"
    assert {row.label for row in result.found.differences} == {"t-shirt"}
    assert len(result.found.differences) == 4
    first = result.found.differences[0]
    assert first.remote - first.local == pytest.approx(0.01, abs=1e-4)


def test_samples_of_one_name_in_two_folders_are_two(tmp_path):
    for label in ("dress", "pants"):
        (tmp_path / label).mkdir()
        shutil.copy(ROOT / "samples" / f"{label}.jpg", tmp_path / label / "1.jpg")
    names = [sample.name for sample in endpoint_comparison.read_samples(tmp_path)]
    assert names == ["dress/1.jpg", "pants/1.jpg"]
    [only] = endpoint_comparison.read_samples(tmp_path / "dress" / "1.jpg")
    assert only.name == "1.jpg"


# --- what cannot be asked is no reason to go back


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "cannot be reached"),
        (["--samples", str(ROOT / "docs" / "images" / "none")], "no image there"),
        (["--model", "none.tflite"], "none.tflite"),
        (["--function", "other"], "other:live"),
        (["--function", f"{FUNCTION}:staging"], ":staging': use a name or an ARN"),
        (["--function", f"{ARN}:3"], ":3': use a name or an ARN"),
        (["--function", "https://x"], "invalid function 'https://x'"),
        (["--profile", "none"], "The config profile (none) could not be found"),
    ],
)
def test_nothing_is_led_back_where_nothing_was_compared(options, said, function, capsys):
    function_first = ("--function", FUNCTION, *options)
    status, result, err = run(capsys, "http://127.0.0.1:1/predict", *function_first)
    assert (status, result) == (2, None)
    assert said in err.splitlines()[-1]
    assert live() == Routing("3")


def test_another_model_than_here_is_not_judged_where_it_comes_from_s3(
    function, routed, right, capsys
):
    variables = {"MODEL_PATH": "s3://models/v2.tflite"}
    function.update_function_configuration(
        FunctionName=FUNCTION, Environment={"Variables": variables}
    )
    assert function.publish_version(FunctionName=FUNCTION)["Version"] == "4"
    function.update_alias(FunctionName=FUNCTION, Name="live", FunctionVersion="4")
    with served(routed(v4=relabelled(right), v3=right)) as url:
        assert smoke.main([url, "--function", FUNCTION]) == 2
    out, err = capsys.readouterr()
    assert not out
    assert err.splitlines()[-1].endswith(
        "version 4 of classifier serves MODEL_PATH=s3://models/v2.tflite, which is not in models/: "
        "compare with that file, --model FILE.tflite"
    )
    assert live() == Routing("4")


def test_a_url_that_is_not_ours_is_answered_with_that(function, capsys):
    with served(missing) as url:
        status, _, err = run(capsys, url, "--function", FUNCTION)
    assert status == 2
    assert "is this the URL of .../predict?" in err
    assert live() == Routing("3")


def test_a_profile_is_for_the_signature_and_for_the_alias(
    right, function, capsys, monkeypatch, tmp_path
):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION", "AWS_REGION"):
        monkeypatch.delenv(name)
    keys = "aws_access_key_id = testing\naws_secret_access_key = secret\n"
    (tmp_path / "config").write_text(f"[profile work]\nregion = {REGION}\n{keys}", "utf-8")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    locked = played(right, forbidding, lambda e, body: not aws_signature.valid(e, body))
    with served(locked) as url:
        assert run(capsys, url)[0] == 2
        status, result, _ = run(capsys, url, "--iam", "--function", FUNCTION, "--profile", "work")
    assert status == 0
    assert result.facts["alias"] == f"{FUNCTION}:live, version 3"
    assert result.found.facts["without credentials"] == "403"


def test_a_stack_that_answers_callers_without_credentials_is_reported(
    function, invoked, right, capsys
):
    invoked(v3=right)
    with served(right) as url:
        status, result, _ = run(capsys, url, "--api-key", "key", "--function", FUNCTION)
    assert status == 1
    [said] = texts(result.found)
    assert re.fullmatch("a call without credentials is answered with 4.*, not refused", said)
    assert live() == Routing("3")


def test_waiting_for_the_first_answer_is_said_once(right, capsys, monkeypatch):
    monkeypatch.setattr(endpoint_comparison, "WAIT_S", 1)
    starting = iter([True, True])
    with served(played(right, failing, lambda *_: next(starting, False))) as url:
        status, _, err = run(capsys, url)
    assert (status, err.count("smoke: waiting up to 1 s for http://")) == (0, 1)


# --- what no version causes is no reason to go back either


# A gateway's own answer to a photo, or to a non-image.
GATEWAYS = {
    "throttles": (failing, "502"),
    # As template.yaml has a REST API word it.
    "an error like the function's": (
        fixed("500 Internal Server Error", b'{"error": {"code": "INTEGRATION_FAILURE"}}'),
        "500 INTEGRATION_FAILURE, not 415",
    ),
    # Without BinaryMediaTypes: a right function reports the gateway's fault as its own error.
    "bodies as text": (
        fixed("400 Bad Request", b'{"error": {"code": "invalid_request", "message": "list it"}}'),
        "400 invalid_request, not 415",
    ),
}


@pytest.mark.parametrize("fault", GATEWAYS)
def test_a_fault_of_the_gateway_before_a_right_version_moves_nothing(
    function, invoked, right, capsys, fault
):
    instead, said = GATEWAYS[fault]
    invoked(v3=right)

    def when(environ, body):
        return body == NO_IMAGE or (instead is failing and environ["REQUEST_METHOD"] == "POST")

    with served(played(right, instead, when)) as url:
        status, result, _ = run(capsys, url, "--function", FUNCTION)
    assert status == 1
    assert said in texts(result.found)[0]
    assert result.trial.same
    assert result.back == "nothing is rolled back: version 3, invoked directly, answers as here"
    assert live() == Routing("3")


def test_a_model_that_is_not_here_moves_no_version(function, invoked, another, capsys):
    invoked(v3=another)
    with served(another) as url:
        status, result, _ = run(capsys, url, "--function", FUNCTION)
    assert status == 1
    assert texts(result.found) == ["model digits is deployed, and not here: see --model"]
    assert result.back.startswith("nothing is rolled back")
    assert live() == Routing("3")


# --- going back


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (None, ""),
        (relabelled, "model clothing is another: SHA-256 000000000000"),
        (credulous, "not 415"),
        (lambda _: failing, "classifier:3 fails with"),
        (lambda application: played(application, failing, has(FIRST)), "classifier:3 fails with"),
    ],
    ids=["a weight", "another hash", "takes everything", "fails", "fails for one"],
)
def test_the_alias_goes_back_from_a_wrong_version(routed, right, altered, capsys, wrong, said):
    with served(routed(v2=right, v3=wrong(right) if wrong else altered)) as url:
        status, result, _ = run(capsys, url, "--function", FUNCTION)
    assert status == 1
    assert said in " ".join(texts(result.trial))
    assert live() == Routing("2")
    assert result.rollback == "led the alias from version 3 to 2"
    assert result.back == "it answers as here"


def test_a_run_after_that_goes_no_version_further_back(routed, right, altered, capsys):
    with served(routed(v1=right, v2=credulous(right), v3=altered)) as url:
        for _ in range(2):
            status, result, _ = run(capsys, url, "--function", FUNCTION)
            assert status == 1
            assert live() == Routing("2")
    assert not result.rollback
    assert "version 2 and not at the newest, 3: it was rolled back" in result.back


@pytest.mark.parametrize(
    ("v2", "version", "done", "same"),
    [
        # It may serve another model than is here, whose scores prove nothing.
        (lambda right, altered, another: another, "2", "to 2", False),
        (lambda right, altered, another: relabelled(altered), "2", "to 2", False),
        # Of one that CodeDeploy rolled back by its alarm there is no note.
        (lambda *_: failing, "1", "to 1; version 2: classifier:2 fails with", True),
        (lambda right, altered, another: played(another, failing, has(FIRST)),
         "1", "to 1; version 2: classifier:2 fails with", True),
        (lambda right, altered, another: altered,
         "1", "to 1; version 2: differs from here with the same model", True),
        (lambda right, altered, another: not_invoked(right), "1", "AccessDenied", True),
    ],
    ids=["another model", "another hash", "fails", "fails for one", "differs", "not invoked"],
)  # fmt: skip
def test_the_alias_goes_to_the_newest_version_against_which_nothing_speaks(
    routed, right, another, altered, capsys, v2, version, done, same
):
    with served(routed(v1=right, v2=v2(right, altered, another), v3=altered)) as url:
        _, result, _ = run(capsys, url, "--function", FUNCTION)
    assert live() == Routing(version)
    assert result.rollback.startswith(f"led the alias from version 3 to {version}")
    assert done in result.rollback
    assert (result.back == "it answers as here") == same


def test_a_version_that_was_led_away_from_is_never_gone_back_to(function, routed, right, capsys):
    """Its answers to samples are right, so that nothing but the note speaks against it."""
    wrong = credulous(right)
    with served(routed(v2=right, v3=wrong, v4=wrong)) as url:
        run(capsys, url, "--function", FUNCTION)
        assert live() == Routing("2")
        function.update_function_configuration(FunctionName=FUNCTION, Description="4")
        function.publish_version(FunctionName=FUNCTION)
        function.update_alias(FunctionName=FUNCTION, Name="live", FunctionVersion="4")
        _, result, _ = run(capsys, url, "--function", FUNCTION)
    assert live() == Routing("2")
    assert result.rollback == (
        "led the alias from version 4 to 2; version 3: was found faulty before"
    )
    assert noted(function) == "[found faulty: 3, 4]"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("owner team-a", "owner team-a [found faulty: 3]"),
        (
            "of 7 [found faulty: 3, 1] by hand, ticket 2",
            "of 7 by hand, ticket 2 [found faulty: 1, 3]",
        ),
        ("found faulty: 2", "found faulty: 2 [found faulty: 3]"),
        ("x" * 230 + " [found faulty: 10, 11, 12]", "x" * 230 + " [found faulty: 11, 12, 3]"),
        ("x" * 250, "x" * 250),
    ],
    ids=["its own text", "digits around", "no note of ours", "the oldest go", "no room"],
)
def test_the_description_of_an_alias_keeps_its_own_text(function, before, after):
    function.update_alias(FunctionName=FUNCTION, Name="live", Description=before)
    assert "from version 3 to 2" in Alias(FUNCTION).roll_back("3", lambda _: "")
    assert noted(function) == after


def test_where_no_version_before_answers_the_alias_stays_and_that_is_said_aloud(
    routed, altered, capsys
):
    with served(routed(v1=altered, v2=failing, v3=altered)) as url:
        _, result, _ = run(capsys, url, "--function", FUNCTION)
    assert live() == Routing("3")
    assert not result.rollback
    said = result.back
    assert said.startswith("NOT rolled back")
    assert "classifier:2 fails with" in said
    assert "version 1: differs from here with the same model" in said


def test_only_some_versions_are_tried_as_the_faulty_one_is_live_meanwhile(function, monkeypatch):
    tried = []

    def doubt(version):
        tried.append(version)
        raise FunctionFailed(version)

    monkeypatch.setattr("keras_to_lambda.deploy.rollout.alias.CANDIDATES", 1)
    with pytest.raises(AliasError, match="no earlier version passed the check"):
        Alias(FUNCTION).roll_back("3", doubt)
    assert tried == ["2"]
    # One that was found faulty is not tried, and does not count.
    function.update_alias(FunctionName=FUNCTION, Name="live", Description="[found faulty: 2]")
    with pytest.raises(AliasError, match="version 2: was found faulty before"):
        Alias(FUNCTION).roll_back("3", doubt)
    assert tried == ["2", "1"]


def test_an_alias_that_was_led_elsewhere_meanwhile_is_left_there(function):
    with pytest.raises(AliasError, match="at version 3 and no longer at version 2"):
        Alias(FUNCTION).roll_back("2", str)
    canary(function)
    with pytest.raises(AliasError, match="50% at version 3 and no longer at version 2"):
        Alias(FUNCTION).roll_back("2", str)
    assert live() == Routing("2", {"3": 0.5})


# --- a canary


def test_what_the_stable_version_answers_is_not_the_new_ones_fault(
    function, routed, right, altered, capsys
):
    canary(function)
    with served(routed(v2=altered, v3=right)) as url:
        status, result, _ = run(capsys, url, "--function", FUNCTION)
    assert status == 1
    assert result.found.differences, "it is reported"
    assert (result.newest, result.trial.same, result.trial.compared) == ("3", True, 4)
    assert not result.rollback
    assert result.back == "nothing is rolled back: version 3, invoked directly, answers as here"
    assert live() == Routing("2", {"3": 0.5})


@pytest.mark.parametrize(
    "wrong",
    [
        *(None, lambda _: failing, credulous),
        answering(415, b'"content-type": "image/jpeg"'),
        answering(500, b'"rawPath": "/models"'),
    ],
    ids=["a weight", "it fails", "all is an image", "no JPEG", "no models"],
)
def test_a_new_version_that_no_call_over_http_has_reached_is_judged(
    wrong, function, invoked, right, altered, capsys
):
    canary(function, weight=0.01)
    invoked(v2=right, v3=wrong(right) if wrong else altered)
    with served(right) as url:
        status, result, _ = run(capsys, url, "--function", FUNCTION)
    assert status == 1
    assert result.found.same
    assert not result.trial.same
    assert result.rollback == "took the canary's weight away"
    assert live() == Routing("2")
    assert noted(function) == "[found faulty: 3]"


def test_a_new_version_that_may_not_be_invoked_is_not_led_away_from(
    function, routed, right, altered, capsys
):
    canary(function)
    with served(routed(v2=altered, v3=not_invoked(right))) as url:
        status, result, _ = run(capsys, url, "--function", FUNCTION)
    assert status == 1
    assert "what it answers is not known" in result.trial.unproven[0]
    assert result.back.endswith("no version is known to be the cause")
    assert live() == Routing("2", {"3": 0.5})


def test_a_version_that_comes_while_others_are_compared_is_judged_by_its_own_answers(
    function, routed, right, altered, capsys
):
    function.update_alias(FunctionName=FUNCTION, Name="live", FunctionVersion="2")

    def last_of_the_old(environ, start):
        answer = altered(environ, start)
        if environ.get("CONTENT_TYPE") == "application/json":
            function.update_alias(FunctionName=FUNCTION, Name="live", FunctionVersion="3")
        return answer

    with served(routed(v1=right, v2=last_of_the_old, v3=right)) as url:
        status, result, _ = run(capsys, url, "--function", FUNCTION)
    assert status == 1
    assert result.found.differences
    assert result.trial.same
    assert live() == Routing("3")


def test_whose_answers_differ_is_reported_in_lines_of_a_terminal(
    function, routed, right, altered, capsys
):
    canary(function)
    with served(routed(v2=right, v3=altered)) as url:
        options = ("--model", str(CLOTHING), "--function", FUNCTION)
        assert smoke.main([url, *options]) == 1
    lines = capsys.readouterr().out.splitlines()
    for who in ("over HTTP", "version 3"):
        assert any(re.match(f"  - {who}: clothing, .*: t-shirt is ", line) for line in lines)
        assert any(
            re.match(rf"  {who} .*difference [\d.]+ \(up to [\d.]+ allowed", x) for x in lines
        )
    assert any(line.startswith("  version 3 ") and "DIFFERENT" in line for line in lines)
    assert max(map(len, lines)) <= 100


# --- where nothing moves


def test_a_first_version_has_none_before_it_and_that_is_said_aloud(function):
    function.update_alias(FunctionName=FUNCTION, Name="live", FunctionVersion="1")
    for version in ("2", "3"):
        function.delete_function(FunctionName=FUNCTION, Qualifier=version)
    with pytest.raises(AliasError, match="there is none"):
        Alias(FUNCTION).roll_back("1", str)
    assert live() == Routing("1")


@pytest.mark.parametrize(
    ("left_at", "denied"),
    [("2", False), ("2", True), ("3", False)],
    ids=["led back", "no note", "done before its stop"],
)
@pytest.mark.parametrize("name", [FUNCTION, f"{ARN}:live"])
def test_a_canary_is_stopped_by_codedeploy(name, left_at, denied, function, aws, monkeypatch):
    """moto has no deployments: botocore's Stubber holds their answers to AWS's description."""
    canary(function)
    alias, client = Alias(name), aws("codedeploy")
    monkeypatch.setattr("keras_to_lambda.deploy.rollout.alias.CODEDEPLOY_S", 0)
    monkeypatch.setattr(
        alias._session, "client", lambda name: client if name == "codedeploy" else function
    )

    def lead_back(**_):
        function.update_alias(
            FunctionName=FUNCTION,
            Name="live",
            FunctionVersion=left_at,
            RoutingConfig={"AdditionalVersionWeights": {}},
        )

    def deny(**_):
        error = {"Error": {"Code": "AccessDeniedException", "Message": "no"}}
        raise ClientError(error, "UpdateAlias")

    client.meta.events.register("before-parameter-build.codedeploy.StopDeployment", lead_back)
    with Stubber(client) as stub:
        stub.add_response("list_deployments", {"deployments": ["SOON", "EMPTY", "OTHER", "OURS"]})
        stub.add_client_error("list_deployment_targets", "DeploymentNotStartedException")
        stub.add_response("list_deployment_targets", {"targetIds": []})
        for deployment, each in (("OTHER", "another"), ("OURS", FUNCTION)):
            info = {"functionName": each, "functionAlias": "live"}
            target = {"lambdaTarget": {"lambdaFunctionInfo": info}}
            of_it = {"deploymentId": deployment}
            stub.add_response("list_deployment_targets", {"targetIds": ["t"]}, of_it)
            stub.add_response(
                "batch_get_deployment_targets",
                {"deploymentTargets": [target]},
                {**of_it, "targetIds": ["t"]},
            )
        stub.add_response(
            "stop_deployment", {}, {"deploymentId": "OURS", "autoRollbackEnabled": True}
        )
        if left_at == "3":
            with pytest.raises(AliasError, match="is at version 3 after 0 s, not at version 2"):
                alias.roll_back("3", str)
            return
        if denied:
            stopped = "before-parameter-build.codedeploy.StopDeployment"
            update = "before-parameter-build.lambda.UpdateAlias"
            client.meta.events.register_last(
                stopped, lambda **_: function.meta.events.register(update, deny)
            )
        done = alias.roll_back("3", str)
        stub.assert_no_pending_responses()
    assert alias.routing() == Routing("2")
    led_back = "stopped CodeDeploy's OURS, which led all calls back"
    if denied:
        assert done.startswith(f"{led_back}; that version 3 is faulty could not be noted: ")
        assert "AccessDenied" in done
    else:
        assert (done, noted(function)) == (led_back, "[found faulty: 3]")
