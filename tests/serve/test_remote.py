"""`k2l serve --remote`: a protected stack in the browser, through a real server on loopback."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import unquote

import pytest
import requests
from botocore.exceptions import ClientError

from keras_to_lambda import aws
from keras_to_lambda.cli.main import main
from keras_to_lambda.serve.remote_stack import Remote, address
from tests.serve.conftest import running

ROOT = Path(__file__).resolve().parents[2]
PHOTO = (ROOT / "samples" / "dress.jpg").read_bytes()
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "secret"}


@pytest.fixture(scope="module")
def stack(guarded):
    """A stage in its path."""
    return f"{guarded}/Prod/predict"


@pytest.fixture(scope="module")
def local(stack):
    arguments = ("--remote", stack, "--region", "eu-west-1")
    with running(*arguments, **CREDENTIALS) as (url, _):
        yield url


def test_the_page_its_files_and_predictions_come_from_the_stack(local, stack):
    assert requests.post(stack, data=PHOTO, timeout=60).status_code == 403
    page = requests.get(f"{local}/", timeout=60)
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'self'" in page.headers["content-security-policy"]
    assert requests.get(f"{local}/static/app.js", timeout=60).status_code == 200
    headers = {"Content-Type": "image/jpeg", "Origin": local}
    url = f"{local}/predict?model=clothing&top_k=1"
    answer = requests.post(url, data=PHOTO, headers=headers, timeout=60)
    assert list(answer.json()) == ["dress"]
    assert requests.post(f"{local}/predict", data=b"x", timeout=60).status_code in {400, 415}


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Host": "evil.example"},
        {"Host": "["},
        {"Host": "user@localhost"},
        {"Origin": "http://["},
        {"Sec-Fetch-Site": "cross-site"},
    ],
)
def test_pages_of_other_sites_cannot_use_the_credentials(local, headers):
    answer = requests.post(f"{local}/predict", data=PHOTO, headers=headers, timeout=60)
    assert answer.status_code == 403
    assert answer.json()["error"]["code"] == "forbidden"
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(
    ("path", "status"),
    [
        *((path, "400") for path in ("/..", "/../Dev/predict", "/static/%2e%2e/%2e%2e/Dev")),
        ("/", "502"),  # nothing listens there
    ],
)
def test_a_path_does_not_leave_the_stage_and_a_stack_can_be_out_of_reach(path, status):
    answered = []
    environ = {"HTTP_HOST": "localhost", "PATH_INFO": unquote(path), "wsgi.input": io.BytesIO()}
    application = Remote("http://127.0.0.1:9/Prod/predict", "key", None)
    body = application(
        {**environ, "REQUEST_METHOD": "GET"}, lambda status, _: answered.append(status[:3])
    )
    assert answered == [status]
    assert (b"cannot be reached" in b"".join(body)) == (status == "502")


def test_a_model_does_not_go_with_remote(capsys):
    assert main(["serve", "--remote", "https://a.example/predict", "--model", "my.tflite"]) == 2
    assert "remove --model" in capsys.readouterr().err


def test_a_stack_is_found_by_its_name(monkeypatch):
    answers = {
        "mine": {"Outputs": [{"OutputKey": "Url", "OutputValue": "https://a.example/Prod/predict"}]}
    }

    def describe(**asked):
        if asked["StackName"] not in answers:
            raise ClientError({"Error": {"Message": "it does not exist"}}, "DescribeStacks")
        return {"Stacks": [answers[asked["StackName"]]]}

    session = SimpleNamespace(client=lambda _: SimpleNamespace(describe_stacks=describe))
    monkeypatch.setattr(aws, "session", lambda *_: session)
    assert address("https://a.example/predict", None, None) == "https://a.example/predict"
    assert address("mine", "eu-west-1", None) == "https://a.example/Prod/predict"
    with pytest.raises(aws.AwsError, match=r"stack other: .*does not exist"):
        address("other", "eu-west-1", None)
