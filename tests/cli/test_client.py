"""The HTTP client, against a real server on loopback that checks keys and signatures."""

from __future__ import annotations

import json
import socketserver
import threading

import pytest

from keras_to_lambda import client
from keras_to_lambda.aws import AwsError
from keras_to_lambda.client import Client, EndpointError, SigV4
from tests import aws_signature
from tests.http_host import wsgi as serving

REGION = "eu-west-1"


def application(seen, statuses=("200 OK",), allowed=lambda environ, body: True):
    """A WSGI application with one status after the other; the last of them stays."""
    left = list(statuses)

    def answer(environ, start):
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        seen.append((environ["REQUEST_METHOD"], environ["PATH_INFO"], body))
        status = left.pop(0) if len(left) > 1 else left[0]
        if not allowed(environ, body):
            status = "403 Forbidden"
        content = json.dumps({"dress": 1.5} if status.startswith("200") else {"message": "no"})
        start(status, [("Content-Type", "application/json")])
        return [content.encode()]

    return answer


@pytest.fixture
def credentials(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    monkeypatch.delenv("AWS_SESSION_TOKEN", raising=False)


@pytest.fixture
def no_pauses(monkeypatch):
    monkeypatch.setattr(client, "PAUSES_S", (0.0, 0.0, 0.0))


@pytest.mark.parametrize("model", ["clothing", "a model/é+1"])
def test_the_signature_is_the_one_that_aws_computes(model, credentials):
    with serving(application([], allowed=aws_signature.valid)) as url:
        endpoint = Client(f"{url}/Prod/predict", signature=SigV4("localhost", REGION))
        assert endpoint.classify(b"\xff\xd8", "image/jpeg", model).content == {"dress": 1.5}
        assert endpoint.classify(b"\xff\xd8", "image/jpeg", model, as_json=True).status == 200


def test_another_secret_is_refused_with_what_to_do(credentials, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")
    with serving(application([], allowed=aws_signature.valid)) as url:
        endpoint = Client(url, signature=SigV4("localhost", REGION))
        with pytest.raises(EndpointError, match="403 no: use --iam or --api-key"):
            endpoint.classify(b"x", "image/png", "m")


@pytest.mark.parametrize(
    ("host", "service"),
    [
        ("abc.execute-api.us-east-2.amazonaws.com", "execute-api"),
        ("abc.lambda-url.us-east-2.on.aws", "lambda"),
    ],
)
def test_service_and_region_are_those_of_the_url(host, service, credentials):
    import requests

    request = requests.Request("GET", f"https://{host}/").prepare()
    SigV4(host)(request)
    assert f"/us-east-2/{service}/aws4_request" in request.headers["Authorization"]


def test_a_key_is_sent():
    def has_key(environ, body):
        return environ.get("HTTP_X_API_KEY") == "sesame"

    with serving(application([], allowed=has_key)) as url:
        assert Client(url, key="sesame").request().status == 200


@pytest.mark.parametrize(
    ("statuses", "requests", "last"),
    [
        (["200 OK"], 1, 200),
        (["500 X", "200 OK"], 2, 200),
        (["503 X", "503 X"], 2, 503),
        (["429 X", "429 X", "429 X", "200 OK"], 4, 200),
        (["429 X"], 4, 429),
        (["403 X"], 1, 403),
        (["422 X"], 1, 422),
    ],
    ids=lambda value: "-".join(each[:3] for each in value) if isinstance(value, list) else None,
)
def test_what_is_throttled_or_fails_once_is_sent_again(statuses, requests, last, no_pauses):
    seen = []
    with serving(application(seen, statuses)) as url:
        assert Client(url).send(body=b"photo").status == last
    assert seen == [("POST", "/predict", b"photo")] * requests


def test_a_connection_that_ends_without_an_answer_is_tried_again(no_pauses):
    connections = []

    class Server(socketserver.StreamRequestHandler):
        def handle(self):
            connections.append(self.connection)
            self.rfile.readline()
            if len(connections) > 1:
                self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

    with socketserver.TCPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        assert Client(f"http://127.0.0.1:{server.server_address[1]}").send().content == {}
        server.shutdown()
    assert len(connections) == 2


def test_an_endpoint_that_does_not_answer_in_time_is_an_error():
    with socketserver.TCPServer(("127.0.0.1", 0), socketserver.BaseRequestHandler) as server:
        url = f"http://127.0.0.1:{server.server_address[1]}"
        with pytest.raises(EndpointError, match=r"cannot be reached: .*timed out"):
            Client(url, timeout_s=0.1).send()


@pytest.mark.parametrize("url", ["ftp://example.com/", "example.com/predict", "https://", ""])
def test_what_is_not_an_http_url_is_an_error(url):
    with pytest.raises(EndpointError, match="not an http or https URL"):
        Client(url)


@pytest.mark.parametrize(
    ("url", "route"),
    [
        ("https://a.example/Prod", "https://a.example/Prod/predict"),
        ("https://a.example/Prod/predict/", "https://a.example/Prod/predict"),
        (
            "http://localhost:9000/2015-03-31/functions/function/invocations",
            "http://localhost:9000/2015-03-31/functions/function/invocations",
        ),
    ],
)
def test_the_route_is_found_from_the_url_before_it(url, route):
    assert Client(url).url == route


def test_without_credentials_the_error_states_how_to_get_them(monkeypatch, tmp_path):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(AwsError, match="Unable to locate credentials; `aws configure`"):
        SigV4("abc.execute-api.us-east-2.amazonaws.com")
