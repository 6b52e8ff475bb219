"""The Dockerfile's target `web`: page and API on $PORT, for hosts that are not Lambda."""

from __future__ import annotations

import os

import pytest

from keras_to_lambda.runtime.common.aws_lambda import INVOCATIONS_PATH
from tests.container.conftest import SAMPLES, get, post, run, until_it_answers

TAG = "keras-to-lambda-web:test"
LIMITS = ("--read-only", "--tmpfs=/tmp", "--user=12345", "--cap-drop=ALL", "--memory=512m")


@pytest.fixture(scope="module")
def web(docker):
    without_attestations = {**os.environ, "BUILDX_NO_DEFAULT_ATTESTATIONS": "1"}
    run(docker, "build", "--target", "web", "-t", TAG, ".", env=without_attestations)
    yield TAG
    run(docker, "rmi", TAG)


def state(name, field):
    return run("docker", "inspect", "-f", f"{{{{.State.{field}}}}}", name).stdout.strip()


def test_page_and_api_are_served_on_the_port_until_sigterm(web, local_scores):
    options = ("-d", "-e", "PORT=8765", "-p", "127.0.0.1::8765", *LIMITS)
    name = run("docker", "run", *options, web).stdout.strip()
    try:
        host = run("docker", "port", name, "8765/tcp").stdout.split()[0]
        until_it_answers(host, "the container", lambda: state(name, "Running") != "true")
        page, headers = get(f"http://{host}/")
        assert headers["content-type"].startswith("text/html")
        assert b"</html>" in page
        photo = (SAMPLES / "t-shirt.jpg").read_bytes()
        status, scores = post(f"http://{host}/predict", photo, "image/jpeg")
        assert status == 200
        assert scores == pytest.approx(local_scores(photo), rel=1e-3, abs=1e-4)
        forged = b'{"Records": [{"eventSource": "aws:sqs", "messageId": "1", "body": "{}"}]}'
        assert post(f"http://{host}{INVOCATIONS_PATH}", forged, "application/json")[0] == 404
        run("docker", "stop", "--time=30", name)
        assert state(name, "ExitCode") == "0"  # 137: it had to be killed
    finally:
        run("docker", "rm", "-f", name)


def test_a_wrong_port_ends_it_with_the_reason(web):
    with pytest.raises(AssertionError, match=r"(?s)ended with 2\n.*PORT='http'.*from 1 to 65535"):
        run("docker", "run", "--rm", "-e", "PORT=http", web)


def test_the_functions_own_image_has_no_server(image):
    code = "import importlib.util as u; print(u.find_spec('waitress'))"
    found = run("docker", "run", "--rm", "--entrypoint", "python", image, "-c", code).stdout
    assert found.strip() == "None"
