"""deploy.smoke and deploy.alias: real handlers behind HTTP, moto's Lambda for alias and versions.

The gateway of these tests asks moto, for each request, which version the alias leads to, as AWS
does. What is no real part: CodeDeploy's deployment and the log of an invocation, which moto cannot
have; botocore's Stubber holds their answers to AWS's own description of them. moto runs no function
either: it answers every invocation, and where one has to fail a front before moto answers it.
"""

from __future__ import annotations

import base64
import contextlib
import io
import itertools
import json
import threading
from pathlib import Path
from types import SimpleNamespace
from wsgiref.simple_server import WSGIRequestHandler, make_server

import boto3
import numpy as np
import pytest
import requests
from ai_edge_litert.interpreter import Interpreter
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.stub import ANY, Stubber
from moto.server import ThreadedMotoServer

from classifier.handler import Handler
from classifier.settings import Settings
from deploy import endpoint, smoke
from deploy.alias import Alias, AliasError, Routing
from serve.gateway import Gateway

ROOT = Path(__file__).resolve().parents[2]
CLOTHING = ROOT / "models" / "clothing" / "clothing.tflite"
DIGITS = ROOT / "models" / "digits" / "digits.tflite"
REGION = "eu-west-1"
FUNCTION = "classifier"


def app(model):
    return Gateway(Handler(Settings.from_environ({"MODEL_PATH": str(model), "LOG_LEVEL": "FATAL"})))


@pytest.fixture(scope="session")
def right():
    return app(CLOTHING)


@pytest.fixture(scope="session")
def another():
    return app(DIGITS)


@pytest.fixture(scope="session")
def altered(tmp_path_factory):
    """The clothing model with one bias moved by 0.01, under the card and hash of the right one."""
    content = CLOTHING.read_bytes()
    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    for detail in interpreter.get_tensor_details():
        if list(detail["shape"]) == [10] and detail["dtype"] is np.float32:
            bias = interpreter.get_tensor(detail["index"])
            if content.count(bias.tobytes()) == 1:
                break
    else:
        raise AssertionError("the model has no bias of ten numbers")
    moved = bias.copy()
    moved[9] += 0.01
    path = tmp_path_factory.mktemp("altered") / "clothing.tflite"
    path.write_bytes(content.replace(bias.tobytes(), moved.tobytes()))
    return app(path)


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


def throttling_gateway(application):
    """Of API Gateway: classifications fail with a 503 of its own, all else is answered."""

    def gateway(environ, start):
        if environ["REQUEST_METHOD"] == "POST":
            start("503 Service Unavailable", [("Content-Type", "application/json")])
            return [b'{"message": "Service Unavailable"}']
        return application(environ, start)

    return gateway


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
def failing_when_invoked(moto, monkeypatch):
    """Invocations of the given versions or alias fail as Lambda tells it; moto answers all else.

    https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html
    """

    def begin(*qualifiers):
        def front(environ, start):
            path, query = environ["PATH_INFO"], environ["QUERY_STRING"]
            if path.endswith("/invocations") and query.removeprefix("Qualifier=") in qualifiers:
                start("200 OK", [("X-Amz-Function-Error", "Unhandled")])
                return [b'{"errorType": "Runtime.ExitError", "errorMessage": "signal: killed"}']
            answer = requests.request(
                environ["REQUEST_METHOD"],
                f"{moto}{path}?{query}",
                data=environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0)),
                headers={"Authorization": environ.get("HTTP_AUTHORIZATION", "")},
                timeout=10,
            )
            start(f"{answer.status_code} {answer.reason}", [("Content-Type", "application/json")])
            return [answer.content]

        url = stack.enter_context(served(front)).removesuffix("/predict")
        monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", url)

    with contextlib.ExitStack() as stack:
        yield begin


def routed(function, **versions):
    """An application that asks the alias for the version, as Lambda does; in turn in a canary."""
    turn = itertools.count()

    def application(environ, start):
        routing = Alias(FUNCTION).routing()
        names = [routing.version, *routing.weights]
        version = versions[f"v{names[next(turn) % len(names)]}"]
        return version(environ, start)

    return application


def run(capsys, url, *options):
    """Exit status and result of the command, as a program reads it."""
    fast = ("--calls", "3", "--settle", "10", "--model", str(CLOTHING), "--json")
    status = smoke.main([url, *fast, *options])
    out, err = capsys.readouterr()
    return status, json.loads(out) if out else None, err


def texts(result):
    return [fault["text"] for fault in result["faults"]]


def live(function):
    return Alias(FUNCTION).routing()


# --- comparing


def test_the_same_model_answers_the_same(right, capsys):
    with served(right) as url:
        status, result, _ = run(capsys, url)
    assert status == 0
    assert result["same"]
    assert result["compared"] == 12
    assert result["largest"] == 0
    assert result["warm"]["calls"] == 3
    assert 0 < result["warm"]["server_p50_ms"] <= result["warm"]["p50_ms"]
    assert result["facts"]["what is no image"] == "415 unsupported_format"


def test_a_weight_that_differs_is_seen_although_the_card_says_the_same(altered, capsys):
    with served(altered) as url:
        status, result, _ = run(capsys, url)
    assert status == 1
    assert not result["faults"], "the hash in the card is the right one's"
    assert {row["label"] for row in result["differences"]} == {"t-shirt"}
    assert len(result["differences"]) == 12
    first = result["differences"][0]
    assert first["remote"] - first["local"] == pytest.approx(0.01, abs=1e-4)


def test_what_differs_is_told_in_lines_of_a_terminal(altered, capsys):
    with served(altered) as url:
        assert smoke.main([url, "--model", str(CLOTHING)]) == 1
    out = capsys.readouterr().out
    assert "DIFFERENT" in out
    assert "t-shirt.jpg" in out
    assert max(map(len, out.splitlines())) <= 100


def test_another_model_is_named(another, capsys):
    with served(another) as url:
        status, result, _ = run(capsys, url)
    assert status == 1
    assert texts(result) == ["model digits is deployed, and not here: see --model"]


def test_a_model_that_is_here_and_not_deployed_is_no_fault(right, capsys):
    with served(right) as url:
        assert run(capsys, url, "--model", str(ROOT / "models"))[0] == 0


def test_keras_is_asked_too(right, capsys):
    if not smoke.PYTHON_TF.exists():
        pytest.skip("TensorFlow's environment is not here: make setup")
    with served(right) as url:
        status, _, err = run(capsys, url, "--against", str(CLOTHING.with_suffix(".keras")))
    assert status == 0
    assert "endpoint" in err


# --- what cannot be asked is no reason to go back


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["http://127.0.0.1:1/predict", "--wait", "0"], "cannot be reached"),
        (["http://127.0.0.1:1/predict", "--samples", str(ROOT / "docs" / "images" / "none")], "no"),
        (["http://127.0.0.1:1/predict", "--model", "none.tflite"], "none.tflite"),
    ],
)
def test_nothing_is_led_back_where_nothing_was_compared(options, said, function, capsys):
    status, result, err = run(capsys, options[0], *options[1:], "--function", FUNCTION)
    assert (status, result) == (2, None)
    assert said in err.splitlines()[-1]
    assert live(function) == Routing("3")


def test_a_url_that_is_not_ours_is_told_so(function, capsys):
    with served(missing) as url:
        status, _, err = run(capsys, url, "--function", FUNCTION)
    assert status == 2
    assert "is this the URL of .../predict?" in err
    assert live(function) == Routing("3")


def test_an_unknown_function_is_told_before_anything_is_sent(aws, capsys):
    status, _, err = run(capsys, "http://127.0.0.1:1/predict", "--function", "other")
    assert status == 2
    assert "other:live" in err.splitlines()[-1]


@pytest.mark.parametrize("options", [["predict"], ["http://x", "--calls", "-1"]])
def test_wrong_use_is_refused(options, capsys):
    with pytest.raises(SystemExit) as stopped:
        smoke.main(options)
    assert stopped.value.code == 2


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
    """Whether the signature is that of the body that came, made by the secret that AWS knows."""
    given = environ.get("HTTP_AUTHORIZATION", "")
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    environ["wsgi.input"] = io.BytesIO(body)
    url = f"http://{environ['HTTP_HOST']}{environ['PATH_INFO']}"
    if environ["QUERY_STRING"]:
        url += f"?{environ['QUERY_STRING']}"
    kind = {"Content-Type": environ["CONTENT_TYPE"]} if "content-type;" in given else {}
    request = AWSRequest(environ["REQUEST_METHOD"], url, headers=kind, data=body)
    request.context["timestamp"] = environ.get("HTTP_X_AMZ_DATE", "")
    signer = SigV4Auth(Credentials("testing", "secret"), "execute-api", REGION)
    request.headers["X-Amz-Date"] = request.context["timestamp"]
    text = signer.string_to_sign(request, signer.canonical_request(request))
    return given.endswith(f"Signature={signer.signature(text, request)}")


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


@pytest.mark.parametrize(
    ("host", "service"),
    [
        ("abc.execute-api.us-east-2.amazonaws.com", "execute-api"),
        ("abc.lambda-url.us-east-2.on.aws", "lambda"),
    ],
)
def test_service_and_region_are_those_of_the_url(host, service, aws):
    request = SimpleNamespace(method="GET", url=f"https://{host}/", headers={}, body=None)
    endpoint.Signature(host, None)(request)
    assert f"/us-east-2/{service}/aws4_request" in request.headers["Authorization"]


def test_a_door_that_should_be_locked_and_is_open_is_a_fault(right, capsys):
    with served(right) as url:
        status, result, _ = run(capsys, url, "--api-key", "sesame")
    assert status == 1
    assert "without credentials" in texts(result)[0]


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


def test_a_door_that_is_open_moves_no_version(function, right, capsys):
    with served(right) as url:
        status, result, _ = run(capsys, url, "--api-key", "sesame", "--function", FUNCTION)
    assert status == 1
    assert "without credentials" in texts(result)[0]
    assert result["rollback"]["now"].startswith("nothing is led back")
    assert live(function) == Routing("3")


def test_a_model_that_is_not_here_moves_no_version(function, another, capsys):
    with served(another) as url:
        status, result, _ = run(capsys, url, "--function", FUNCTION)
    assert status == 1
    assert "not here" in texts(result)[0]
    assert result["rollback"]["now"].startswith("nothing is led back")
    assert live(function) == Routing("3")


def test_a_preflight_without_headers_moves_no_version(function, right, capsys):
    def without(environ, start):
        return (missing if environ["REQUEST_METHOD"] == "OPTIONS" else right)(environ, start)

    with served(without) as url:
        status, result, _ = run(capsys, url, "--function", FUNCTION)
    assert status == 1
    assert "CORS preflight" in texts(result)[0]
    assert live(function) == Routing("3")


def test_a_gateway_that_fails_before_a_function_that_answers_moves_no_version(
    function, right, capsys
):
    with served(throttling_gateway(right)) as url:
        status, result, _ = run(capsys, url, "--function", FUNCTION, "--wait", "0")
    assert status == 1
    assert "503" in texts(result)[0]
    assert "invoked directly, the function answers" in texts(result)[1]
    assert result["rollback"]["now"].startswith("nothing is led back")
    assert live(function) == Routing("3")


# --- going back


def test_the_alias_goes_back_to_the_version_before(function, right, altered, capsys):
    with served(routed(function, v2=right, v3=altered)) as url:
        status, result, _ = run(capsys, url, "--function", FUNCTION)
    assert status == 1
    assert live(function) == Routing("2")
    assert result["rollback"] == {
        "done": "led the alias from version 3 to 2",
        "now": f"{FUNCTION}:live is at version 2",
        "same": True,
        "then": "it answers as here",
    }


def test_a_run_after_that_goes_no_version_further_back(function, right, altered, capsys):
    with served(routed(function, v1=right, v2=altered, v3=altered)) as url:
        for _ in range(2):
            status, result, _ = run(capsys, url, "--function", FUNCTION, "--settle", "0")
            assert status == 1
            assert live(function) == Routing("2")
    assert result["rollback"]["done"] is None
    assert "version 2 and not at the newest, 3: it has been led back" in result["rollback"]["now"]


def test_another_hash_goes_back(function, right, capsys):
    def relabelled(environ, start):
        body = b"".join(right(environ, start))
        if environ["PATH_INFO"].endswith("/models"):
            content = json.loads(body)
            content["models"][0]["model_sha256"] = "0" * 64
            body = json.dumps(content).encode().ljust(len(body))
        return [body]

    with served(routed(function, v2=right, v3=relabelled)) as url:
        status, result, _ = run(capsys, url, "--function", FUNCTION)
    assert status == 1
    assert "model clothing is another: SHA-256 000000000000" in texts(result)[0]
    assert live(function) == Routing("2")


def test_a_function_that_takes_everything_for_an_image_goes_back(function, right, capsys):
    def credulous(environ, start):
        if environ.get("CONTENT_TYPE") == "application/octet-stream":
            start("200 OK", [("Content-Type", "application/json")])
            return [b'{"t-shirt": 1.0}']
        return right(environ, start)

    with served(routed(function, v2=right, v3=credulous)) as url:
        status, result, _ = run(capsys, url, "--function", FUNCTION)
    assert status == 1
    assert "not 415" in texts(result)[0]
    assert live(function) == Routing("2")


def test_a_function_that_only_fails_goes_back(function, right, failing_when_invoked, capsys):
    failing_when_invoked("live")
    with served(routed(function, v2=right, v3=failing)) as url:
        status, result, _ = run(capsys, url, "--function", FUNCTION, "--wait", "1")
    assert status == 1
    assert "502" in texts(result)[0]
    assert "classifier:live fails with" in texts(result)[1]
    assert "Runtime.ExitError" in result["invoked"]
    assert live(function) == Routing("2")
    assert result["rollback"]["same"]


def test_of_a_canary_the_new_version_is_asked_whether_it_fails(
    function, right, failing_when_invoked, capsys
):
    function.update_alias(
        FunctionName=FUNCTION,
        Name="live",
        FunctionVersion="2",
        RoutingConfig={"AdditionalVersionWeights": {"3": 0.1}},
    )
    failing_when_invoked("3")

    def canary(environ, start):
        return (failing if live(function).weights else right)(environ, start)

    with served(canary) as url:
        status, result, _ = run(capsys, url, "--function", FUNCTION, "--wait", "0")
    assert status == 1
    assert "classifier:3 fails with" in texts(result)[1]
    assert live(function) == Routing("2")


def test_the_version_before_may_serve_another_model(function, another, altered, capsys):
    with served(routed(function, v2=another, v3=altered)) as url:
        _, result, _ = run(capsys, url, "--function", FUNCTION, "--settle", "0")
    assert live(function) == Routing("2")
    assert not result["rollback"]["same"]
    assert "model digits" in result["rollback"]["then"]


def test_a_canary_is_ended_and_its_stable_version_stays(function, right, altered, capsys):
    function.update_alias(
        FunctionName=FUNCTION,
        Name="live",
        FunctionVersion="2",
        RoutingConfig={"AdditionalVersionWeights": {"3": 0.5}},
    )
    assert str(live(function)) == "version 2, 50% at version 3"
    with served(routed(function, v2=right, v3=altered)) as url:
        status, result, _ = run(capsys, url, "--function", FUNCTION)
    assert status == 1
    assert live(function) == Routing("2")
    assert result["rollback"]["done"] == "took the canary's weight away"


def test_nothing_moves_when_that_is_not_wanted(function, altered, capsys):
    with served(altered) as url:
        status, result, _ = run(capsys, url, "--function", FUNCTION, "--no-rollback")
    assert status == 1
    assert "rollback" not in result
    assert live(function) == Routing("3")


def test_a_first_version_has_none_before_it_and_that_is_said_aloud(function, altered, capsys):
    function.update_alias(FunctionName=FUNCTION, Name="live", FunctionVersion="1")
    for version in ("2", "3"):
        function.delete_function(FunctionName=FUNCTION, Qualifier=version)
    with served(altered) as url:
        status, result, _ = run(capsys, url, "--function", FUNCTION)
    assert status == 1
    assert result["rollback"]["now"].startswith("NOT led back")
    assert "there is none before it" in result["rollback"]["now"]
    assert live(function) == Routing("1")


def test_an_alias_at_latest_has_no_way_back(function):
    function.update_alias(FunctionName=FUNCTION, Name="live", FunctionVersion="$LATEST")
    with pytest.raises(AliasError, match="LATEST"):
        Alias(FUNCTION).roll_back()


# --- what moto has not


@pytest.fixture
def codedeploy(aws, function, request):
    """CodeDeploy with a canary of the alias under way, which a stop leads back, as AWS says.

    A parameter is the version at which the alias is after the stop, if not at the stable one.

    https://docs.aws.amazon.com/codedeploy/latest/APIReference/API_StopDeployment.html
    """
    client = aws("codedeploy")
    ours, other = "d-OURS", "d-OTHER"
    with Stubber(client) as stub:
        stub.add_response(
            "list_deployments",
            {"deployments": [other, ours]},
            {"includeOnlyStatuses": ["Created", "Queued", "InProgress", "Ready"]},
        )
        for deployment, name in ((other, "another"), (ours, FUNCTION)):
            stub.add_response(
                "list_deployment_targets", {"targetIds": ["t"]}, {"deploymentId": ANY}
            )
            info = {"functionName": name, "functionAlias": "live"}
            stub.add_response(
                "batch_get_deployment_targets",
                {"deploymentTargets": [{"lambdaTarget": {"lambdaFunctionInfo": info}}]},
                {"deploymentId": deployment, "targetIds": ["t"]},
            )
        stub.add_response(
            "stop_deployment",
            {"status": "Pending"},
            {"deploymentId": ours, "autoRollbackEnabled": True},
        )

        def lead_back(**_):
            function.update_alias(
                FunctionName=FUNCTION,
                Name="live",
                FunctionVersion=getattr(request, "param", "2"),
                RoutingConfig={"AdditionalVersionWeights": {}},
            )

        client.meta.events.register("before-parameter-build.codedeploy.StopDeployment", lead_back)
        yield client
        stub.assert_no_pending_responses()


def test_a_deployment_under_way_is_stopped_by_its_own_service(function, codedeploy, aws):
    function.update_alias(
        FunctionName=FUNCTION,
        Name="live",
        FunctionVersion="2",
        RoutingConfig={"AdditionalVersionWeights": {"3": 0.1}},
    )
    alias = Alias(FUNCTION, clients=lambda name: codedeploy if name == "codedeploy" else aws(name))
    assert "d-OURS" in alias.roll_back()
    assert alias.routing() == Routing("2")


@pytest.mark.parametrize("codedeploy", ["3"], indirect=True)
def test_a_deployment_that_was_done_before_its_stop_is_not_taken_for_a_way_back(
    function, codedeploy, aws, monkeypatch
):
    function.update_alias(
        FunctionName=FUNCTION,
        Name="live",
        FunctionVersion="2",
        RoutingConfig={"AdditionalVersionWeights": {"3": 0.1}},
    )
    monkeypatch.setattr("deploy.alias.CODEDEPLOY_S", 0)
    alias = Alias(FUNCTION, clients=lambda name: codedeploy if name == "codedeploy" else aws(name))
    with pytest.raises(AliasError, match="is at version 3 after 0 s, not at version 2"):
        alias.roll_back()


def test_the_report_of_a_cold_start_is_read_from_the_log(aws):
    """The line has the form of Lambda's: https://docs.aws.amazon.com/lambda/latest/dg/python-logging.html."""
    client = aws("lambda")
    line = (
        "REPORT RequestId: 3c1a2f5e-0000-4000-8000-000000000000\tDuration: 41.27 ms\t"
        "Billed Duration: 760 ms\tMemory Size: 1024 MB\tMax Memory Used: 143 MB\t"
        "Init Duration: 718.05 ms\t\n"
    )
    with Stubber(client) as stub:
        stub.add_response(
            "invoke", {"LogResult": base64.b64encode(line.encode()).decode(), "StatusCode": 200}
        )
        found = Alias(FUNCTION, clients=lambda _: client).invoke({})
    assert found == {
        "Duration": 41.27,
        "Memory Size": 1024,
        "Max Memory Used": 143,
        "Init Duration": 718.05,
    }
