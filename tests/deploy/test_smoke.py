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
import threading
from pathlib import Path
from urllib.parse import parse_qs
from wsgiref.simple_server import WSGIRequestHandler, make_server

import boto3
import pytest
import requests
from botocore.stub import Stubber
from moto.server import ThreadedMotoServer

from keras_to_lambda.deploy.rollout import endpoint_comparison, smoke
from keras_to_lambda.deploy.rollout.alias import Alias, AliasError, FunctionFailed, Routing, noted
from keras_to_lambda.runtime.common.aws_lambda import INVOCATIONS_PATH
from keras_to_lambda.runtime.common.settings import Settings
from keras_to_lambda.runtime.handler import Handler
from keras_to_lambda.serve.gateway import Gateway
from tests import aws_signature
from tests.altered_model import CLOTHING, altered_clothing

ROOT = Path(__file__).resolve().parents[2]
DIGITS = ROOT / "models" / "digits" / "digits.tflite"
REGION = "eu-west-1"
FUNCTION = "classifier"
FIRST = endpoint_comparison.read_samples(ROOT / "samples")[0].image
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


class Quiet(WSGIRequestHandler):
    def log_message(self, *_):
        pass


@contextlib.contextmanager
def served(application):
    with make_server("127.0.0.1", 0, application, handler_class=Quiet) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/predict"
        finally:
            server.shutdown()
            thread.join()


def failing(_environ, start):
    start("502 Bad Gateway", [("Content-Type", "application/json")])
    return [b'{"message": "Internal server error"}']


def forbidding(_environ, start):
    """Of Lambda: this version may not be invoked."""
    start("403 Forbidden", [("Content-Type", "application/json")])
    return [b'{"Message": "not authorized to perform lambda:InvokeFunction"}']


def body_of(environ):
    """The request's body, which can still be read."""
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    environ["wsgi.input"] = io.BytesIO(body)
    return body


def credulous(application):
    """Takes a non-image for an image, over HTTP and as an event; is right otherwise."""
    wrong = b"this is not an image"

    def version(environ, start):
        body = body_of(environ)
        if wrong not in body and base64.b64encode(wrong) not in body:
            return application(environ, start)
        start("200 OK", [("Content-Type", "application/json")])
        scores = '{"t-shirt": 1.0}'
        invoked = environ["PATH_INFO"] == INVOCATIONS_PATH
        return [(json.dumps({"statusCode": 200, "body": scores}) if invoked else scores).encode()]

    return version


def answering(status, event):
    """Invoked with an event that has this in it, answers it with this status."""

    def version(application):
        def wrong(environ, start):
            if event not in body_of(environ):
                return application(environ, start)
            start("200 OK", [("Content-Type", "application/json")])
            return [json.dumps({"statusCode": status, "body": "{}"}).encode()]

        return wrong

    return version


def relabelled(application):
    """Says of its model that it is another."""

    def version(environ, start):
        body = b"".join(application(environ, start))
        return [re.sub(rb"(model_sha256\W+)[0-9a-f]{64}", rb"\g<1>" + b"0" * 64, body)]

    return version


def failing_for(image, application):
    """Ends with each call that has this image, as bytes or as base64."""

    def version(environ, start):
        body = body_of(environ)
        dies = image in body or base64.b64encode(image) in body
        return (failing if dies else application)(environ, start)

    return version


def not_invoked(application):
    """What answers over HTTP, and may not be invoked."""

    def version(environ, start):
        invoked = environ["PATH_INFO"] == INVOCATIONS_PATH
        return (forbidding if invoked else application)(environ, start)

    return version


def missing(_environ, start):
    start("404 Not Found", [("Content-Type", "application/json")])
    return [b'{"message": "Not Found"}']


@pytest.fixture(scope="session")
def moto():
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def aws(moto, monkeypatch):
    """moto, emptied, as this process's AWS: boto3's client of a service by its name."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    requests.post(f"{moto}/moto-api/reset", timeout=10).raise_for_status()
    # Invocations are not run, where moto would start a container of another image than ours.
    requests.post(
        f"{moto}/moto-api/config", json={"lambda": {"use_docker": False}}, timeout=10
    ).raise_for_status()
    return boto3.session.Session(region_name=REGION).client


@pytest.fixture
def function(aws):
    """A function with three versions, and its alias at the last."""
    role = aws("iam").create_role(RoleName="role", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
    lambda_ = aws("lambda")
    lambda_.create_function(
        FunctionName=FUNCTION,
        PackageType="Image",
        Code={"ImageUri": "123456789012.dkr.ecr.eu-west-1.amazonaws.com/c@sha256:1"},
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

        url = stack.enter_context(served(front)).removesuffix("/predict")
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
    for name, value in (("WAIT_S", 0), ("SETTLE_S", 0)):
        monkeypatch.setattr(endpoint_comparison, name, value)
    monkeypatch.setattr(
        smoke, "read_samples", lambda folder: endpoint_comparison.read_samples(folder)[:2]
    )


def run(capsys, url, *options):
    """Exit status and result of the command, as a program reads it."""
    status = smoke.main([url, "--model", str(CLOTHING), "--json", "--calls", "3", *options])
    out, err = capsys.readouterr()
    return status, json.loads(out) if out else None, err


def texts(result):
    return [*result["faults"], *result["unproven"]]


def live():
    return Alias(FUNCTION).routing()


# --- comparing


def test_the_same_model_answers_the_same(right, capsys):
    with served(right) as url:
        status, result, _ = run(capsys, url)
    assert status == 0
    assert result["same"]
    assert result["compared"] == 4
    assert result["largest"] == 0
    assert result["warm"]["calls"] == 3
    assert 0 < result["warm"]["server_p50_ms"] <= result["warm"]["p50_ms"]
    assert result["facts"]["non-image"] == "415 unsupported_format"


def test_a_weight_that_differs_is_seen_although_the_card_says_the_same(altered, capsys):
    with served(altered) as url:
        status, result, _ = run(capsys, url)
    assert status == 1
    assert not result["faults"], "the hash in the card is the right one's"
    assert {row["label"] for row in result["differences"]} == {"t-shirt"}
    assert len(result["differences"]) == 4
    first = result["differences"][0]
    assert first["remote"] - first["local"] == pytest.approx(0.01, abs=1e-4)


def test_a_model_that_is_here_and_not_deployed_is_no_fault(right, capsys):
    with served(right) as url:
        assert run(capsys, url, "--model", str(ROOT / "models"))[0] == 0


@pytest.fixture
def photos(tmp_path):
    """A folder for each class, with files of one name in both."""
    for label, name in (("dress", "dress"), ("pants", "pants")):
        (tmp_path / label).mkdir()
        shutil.copy(ROOT / "samples" / f"{name}.jpg", tmp_path / label / "1.jpg")
    return tmp_path


def test_samples_of_one_name_in_two_folders_are_two(right, photos, capsys):
    with served(right) as url:
        status, result, _ = run(capsys, url, "--samples", str(photos))
        assert status == 0
        assert result["compared"] == 4
        assert run(capsys, url, "--samples", str(photos / "dress" / "1.jpg"))[0] == 0
    assert [s.name for s in endpoint_comparison.read_samples(photos)] == [
        "dress/1.jpg",
        "pants/1.jpg",
    ]
    assert [s.name for s in endpoint_comparison.read_samples(photos / "dress" / "1.jpg")] == [
        "1.jpg"
    ]


# --- what cannot be asked is no reason to go back


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["http://127.0.0.1:1/predict"], "cannot be reached"),
        (["http://127.0.0.1:1/predict", "--samples", str(ROOT / "docs" / "images" / "none")], "no"),
        (["http://127.0.0.1:1/predict", "--model", "none.tflite"], "none.tflite"),
    ],
)
def test_nothing_is_led_back_where_nothing_was_compared(options, said, function, capsys):
    status, result, err = run(capsys, options[0], *options[1:], "--function", FUNCTION)
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
        assert smoke.main([url, "--calls", "0", "--function", FUNCTION]) == 2
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


def test_an_unknown_function_is_reported_before_anything_is_sent(aws, capsys):
    status, _, err = run(capsys, "http://127.0.0.1:1/predict", "--function", "other")
    assert status == 2
    assert "other:live" in err.splitlines()[-1]


# --- who may call


def locked(application, allows):
    """As API Gateway in front of a function: 403, but for whom `allows`, and for preflights."""

    def guard(environ, start):
        if environ["REQUEST_METHOD"] == "OPTIONS" or allows(environ):
            return application(environ, start)
        start("403 Forbidden", [("Content-Type", "application/json")])
        return [b'{"message": "Forbidden"}']

    return guard


def has_key(environ):
    return environ.get("HTTP_X_API_KEY") == "sesame"


def signed(environ):
    return aws_signature.valid(environ, body_of(environ))


def test_a_key_is_sent_and_strangers_are_refused(right, capsys):
    with served(locked(right, has_key)) as url:
        status, result, _ = run(capsys, url, "--api-key", "sesame")
        assert status == 0
        assert result["facts"]["without credentials"].startswith("403")
        assert run(capsys, url, "--api-key", "wrong")[0] == 2
        assert run(capsys, url)[0] == 2


def test_requests_are_signed(right, aws, capsys, monkeypatch):
    with served(locked(right, signed)) as url:
        assert run(capsys, url, "--iam", "--region", REGION)[0] == 0
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
        assert run(capsys, url, "--iam", "--region", REGION)[0] == 2


def test_a_profile_is_for_the_signature_and_for_the_alias(
    right, function, capsys, monkeypatch, tmp_path
):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name)
    keys = "aws_access_key_id = testing\naws_secret_access_key = secret\n"
    (tmp_path / "config").write_text(f"[profile work]\nregion = {REGION}\n{keys}", "utf-8")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    asked = ("--iam", "--function", FUNCTION)
    with served(locked(right, signed)) as url:
        status, result, _ = run(capsys, url, *asked, "--profile", "work")
        assert status == 0
        assert result["alias"] == f"{FUNCTION}:live, version 3"
        for options in (asked[:1], asked[1:]):
            status, _, err = run(capsys, url, *options, "--profile", "none")
            assert status == 2
            assert "The config profile (none) could not be found" in err


# --- what no version causes is no reason to go back either

NO_IMAGE = b"this is not an image"


def gateway(status, body, when):
    """A gateway with an answer of its own to some requests, and the function behind it."""

    def before(application):
        def answer(environ, start):
            if not when(environ):
                return application(environ, start)
            start(status, [("Content-Type", "application/json")])
            return [body]

        return answer

    return before


GATEWAYS = {
    "an open door": (lambda application: application, ["--api-key", "x"], "without credentials"),
    "no preflight": (
        gateway("404 Not Found", b"{}", lambda e: e["REQUEST_METHOD"] == "OPTIONS"),
        [],
        "CORS preflight",
    ),
    "throttles": (
        gateway("503 Service Unavailable", b"{}", lambda e: e["REQUEST_METHOD"] == "POST"),
        [],
        "503",
    ),
    # As template.yaml has a REST API word it.
    "an error like the function's": (
        gateway(
            "500 Internal Server Error",
            b'{"error": {"code": "INTEGRATION_FAILURE", "message": "..."}}',
            lambda e: body_of(e) == NO_IMAGE,
        ),
        [],
        "500 INTEGRATION_FAILURE, not 415",
    ),
    # Without BinaryMediaTypes: a right function reports the gateway's fault as its own error.
    "bodies as text": (
        gateway(
            "400 Bad Request",
            b'{"error": {"code": "invalid_request", "message": "list its type"}}',
            lambda e: body_of(e) == NO_IMAGE,
        ),
        [],
        "400 invalid_request, not 415",
    ),
}


@pytest.mark.parametrize("fault", GATEWAYS)
def test_a_fault_of_the_gateway_before_a_right_version_moves_nothing(
    function, invoked, right, capsys, fault
):
    before, options, said = GATEWAYS[fault]
    invoked(v3=right)
    with served(before(right)) as url:
        status, result, _ = run(capsys, url, "--function", FUNCTION, *options)
    assert status == 1
    assert said in texts(result)[0]
    assert result["trial"]["same"]
    assert result["rollback"]["now"] == (
        "nothing is rolled back: version 3, invoked directly, answers as here"
    )
    assert live() == Routing("3")


def test_a_model_that_is_not_here_moves_no_version(function, invoked, another, capsys):
    invoked(v3=another)
    with served(another) as url:
        status, result, _ = run(capsys, url, "--function", FUNCTION)
    assert status == 1
    assert texts(result) == ["model digits is deployed, and not here: see --model"]
    assert result["rollback"]["now"].startswith("nothing is rolled back")
    assert live() == Routing("3")


# --- going back


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (None, ""),
        (relabelled, "model clothing is another: SHA-256 000000000000"),
        (credulous, "not 415"),
        (lambda _: failing, "classifier:3 fails with"),
        (lambda application: failing_for(FIRST, application), "classifier:3 fails with"),
    ],
    ids=["a weight", "another hash", "takes everything", "fails", "fails for one"],
)
def test_the_alias_goes_back_from_a_wrong_version(routed, right, altered, capsys, wrong, said):
    with served(routed(v2=right, v3=wrong(right) if wrong else altered)) as url:
        status, result, _ = run(capsys, url, "--function", FUNCTION)
    assert status == 1
    assert said in " ".join(texts(result["trial"]))
    assert live() == Routing("2")
    assert result["rollback"] == {
        "done": "led the alias from version 3 to 2",
        "now": f"{FUNCTION}:live is at version 2",
        "same": True,
        "then": "it answers as here",
    }


def test_a_run_after_that_goes_no_version_further_back(routed, right, altered, capsys):
    with served(routed(v1=right, v2=credulous(right), v3=altered)) as url:
        for _ in range(2):
            status, result, _ = run(capsys, url, "--function", FUNCTION)
            assert status == 1
            assert live() == Routing("2")
    assert result["rollback"]["done"] is None
    assert "version 2 and not at the newest, 3: it was rolled back" in result["rollback"]["now"]


@pytest.mark.parametrize(
    ("v2", "version", "done", "same"),
    [
        # It may serve another model than is here, whose scores prove nothing.
        (lambda right, altered, another: another, "2", "to 2", False),
        (lambda right, altered, another: relabelled(altered), "2", "to 2", False),
        # Of one that CodeDeploy rolled back by its alarm there is no note.
        (lambda *_: failing, "1", "to 1; version 2: classifier:2 fails with", True),
        (lambda right, altered, another: failing_for(FIRST, another),
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
    assert result["rollback"]["done"].startswith(f"led the alias from version 3 to {version}")
    assert done in result["rollback"]["done"]
    assert result["rollback"]["same"] == same


def test_a_version_that_was_led_away_from_is_never_gone_back_to(function, routed, right, capsys):
    """Its answers to samples are right, so that nothing but the note speaks against it."""
    function.update_alias(FunctionName=FUNCTION, Name="live", Description="What callers reach")
    wrong = credulous(right)
    with served(routed(v2=right, v3=wrong, v4=wrong)) as url:
        run(capsys, url, "--function", FUNCTION)
        assert live() == Routing("2")
        function.update_function_configuration(FunctionName=FUNCTION, Description="4")
        function.publish_version(FunctionName=FUNCTION)
        function.update_alias(FunctionName=FUNCTION, Name="live", FunctionVersion="4")
        _, result, _ = run(capsys, url, "--function", FUNCTION)
    assert live() == Routing("2")
    assert result["rollback"]["done"] == (
        "led the alias from version 4 to 2; version 3: was found faulty before"
    )
    said = function.get_alias(FunctionName=FUNCTION, Name="live")["Description"]
    assert said == "What callers reach [found faulty: 3, 4]"


def test_where_no_version_before_answers_the_alias_stays_and_that_is_said_aloud(
    routed, altered, capsys
):
    with served(routed(v1=altered, v2=failing, v3=altered)) as url:
        _, result, _ = run(capsys, url, "--function", FUNCTION)
    assert live() == Routing("3")
    assert result["rollback"]["done"] is None
    said = result["rollback"]["now"]
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


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "[found faulty: 9]"),
        ("Live. [found faulty: 7, 9, 8]", "Live. [found faulty: 7, 8, 9]"),
        ("x" * 233 + " [found faulty: 7, 8]", "x" * 233 + " [found faulty: 8, 9]"),
        ("x" * 250, "x" * 250),
    ],
)
def test_a_note_leaves_what_else_an_alias_is_described_by(before, after):
    assert noted(before, "9") == after
    assert len(after) <= 256


# --- a canary


def test_what_the_stable_version_answers_is_not_the_new_ones_fault(
    function, routed, right, altered, capsys
):
    canary(function)
    with served(routed(v2=altered, v3=right)) as url:
        status, result, _ = run(capsys, url, "--function", FUNCTION)
    assert status == 1
    assert result["differences"], "it is reported"
    assert result["trial"]["version"] == "3"
    assert result["trial"]["same"]
    assert result["trial"]["compared"] == 4
    assert result["rollback"] == {
        "done": None,
        "now": "nothing is rolled back: version 3, invoked directly, answers as here",
    }
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
    assert not result["faults"]
    assert not result["differences"]
    assert not result["trial"]["same"]
    assert result["rollback"]["done"] == "took the canary's weight away"
    assert live() == Routing("2")
    said = function.get_alias(FunctionName=FUNCTION, Name="live")["Description"]
    assert said == "[found faulty: 3]"


def test_a_new_version_that_may_not_be_invoked_is_not_led_away_from(
    function, routed, right, altered, capsys
):
    canary(function)
    with served(routed(v2=altered, v3=not_invoked(right))) as url:
        status, result, _ = run(capsys, url, "--function", FUNCTION)
    assert status == 1
    assert "what it answers is not known" in result["trial"]["unproven"][0]
    assert result["rollback"]["now"].endswith("no version is known to be the cause")
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
    assert result["differences"]
    assert result["trial"]["same"]
    assert live() == Routing("3")


def test_whose_answers_differ_is_reported_in_lines_of_a_terminal(
    function, routed, right, altered, capsys
):
    canary(function)
    with served(routed(v2=right, v3=altered)) as url:
        options = ("--model", str(CLOTHING), "--function", FUNCTION, "--no-rollback")
        assert smoke.main([url, *options]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert "  over HTTP" in lines
    assert "  version 3" in lines
    assert any(line.startswith("  version 3 ") and "DIFFERENT" in line for line in lines)
    assert max(map(len, lines)) <= 100


# --- where nothing moves


def test_nothing_moves_when_that_is_not_wanted(function, altered, capsys):
    with served(altered) as url:
        status, result, _ = run(capsys, url, "--function", FUNCTION, "--no-rollback")
    assert status == 1
    assert "rollback" not in result
    assert live() == Routing("3")


def test_a_first_version_has_none_before_it_and_that_is_said_aloud(function):
    function.update_alias(FunctionName=FUNCTION, Name="live", FunctionVersion="1")
    for version in ("2", "3"):
        function.delete_function(FunctionName=FUNCTION, Qualifier=version)
    with pytest.raises(AliasError, match="there is none"):
        Alias(FUNCTION).roll_back("1", str)
    assert live() == Routing("1")


@pytest.mark.parametrize("name", [f"{FUNCTION}:staging", f"{ARN}:3", "https://x"])
def test_what_names_another_alias_or_nothing_is_refused(name, aws, capsys):
    status, _, err = run(capsys, "http://127.0.0.1:1/predict", "--function", name)
    assert status == 2
    assert f"invalid function '{name}': use a name or an ARN" in err


@pytest.mark.parametrize("left_at", ["2", "3"], ids=["led back", "done before its stop"])
@pytest.mark.parametrize("name", [FUNCTION, f"{ARN}:live"])
def test_a_canary_is_stopped_by_codedeploy(name, left_at, function, aws, monkeypatch):
    """moto has no deployments: botocore's Stubber holds their answers to AWS's description."""
    canary(function)
    alias, client = Alias(name), aws("codedeploy")
    monkeypatch.setattr("keras_to_lambda.deploy.rollout.alias.CODEDEPLOY_S", 0)
    monkeypatch.setattr(alias._session, "client", lambda _: client)

    def lead_back(**_):
        function.update_alias(
            FunctionName=FUNCTION,
            Name="live",
            FunctionVersion=left_at,
            RoutingConfig={"AdditionalVersionWeights": {}},
        )

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
        assert alias.roll_back("3", str) == "stopped CodeDeploy's OURS, which led all calls back"
        stub.assert_no_pending_responses()
    assert alias.routing() == Routing("2")
    said = function.get_alias(FunctionName=FUNCTION, Name="live")["Description"]
    assert said == "[found faulty: 3]"
