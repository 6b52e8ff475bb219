"""The local server: both of its doors, by a real HTTP client."""

from __future__ import annotations

import base64
import http.client
import http.server
import io
import itertools
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import requests
import waitress.task
from PIL import Image

from keras_to_lambda import project
from keras_to_lambda.runtime.common.aws_lambda import INVOCATIONS_PATH, MAX_EVENT_BYTES
from keras_to_lambda.runtime.common.settings import Settings
from keras_to_lambda.runtime.handler import Handler
from keras_to_lambda.serve import http_server, serve
from keras_to_lambda.serve.gateway import MAX_BODY_BYTES, Gateway
from tests.http_host import waitress_thread

ROOT = Path(__file__).resolve().parents[2]


def picture(seed):
    noise = np.random.default_rng(seed).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).resize((200, 160)).save(buffer, "PNG")
    return buffer.getvalue()


def serving(handler, **options):
    """The gateway in front of a function: where it listens."""
    return waitress_thread(http_server.create(Gateway(handler, **options), "127.0.0.1", 0))


@pytest.fixture(scope="module")
def url(handler):
    with serving(handler.handle) as url:
        yield url


def expected(handler, data):
    return handler.handle({"image": base64.b64encode(data).decode()})


def test_both_doors_take_json_and_post_predict_the_image_itself(url, handler):
    data = picture(0)
    event = {"image": base64.b64encode(data).decode()}
    for path, sent in (
        ("/predict", {"data": data, "headers": {"Content-Type": "image/png"}}),
        ("/predict", {"data": data}),
        ("/predict", {"json": event}),
        (INVOCATIONS_PATH, {"json": event}),
    ):
        answer = requests.post(url + path, timeout=60, **sent)
        assert answer.status_code == 200
        assert answer.json() == expected(handler, data)
        assert ("inference;dur=" in answer.headers.get("Server-Timing", "")) == (path == "/predict")


def test_errors_have_their_status_at_one_door_and_their_name_at_the_other(url):
    answer = requests.post(f"{url}/predict", json={}, timeout=60)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "missing_image")
    answer = requests.post(url + INVOCATIONS_PATH, json={}, timeout=60)
    assert (answer.status_code, answer.json()["errorType"]) == (200, "MissingImage")
    answer = requests.post(url + INVOCATIONS_PATH, data=b"{", timeout=60)
    assert answer.json()["errorType"] == "Runtime.UnmarshalError"
    assert "takes JSON; send images to /predict" in answer.json()["errorMessage"]
    assert requests.get(f"{url}/nowhere", timeout=60).status_code == 404
    assert requests.get(f"{url}/predict", timeout=60).status_code == 405
    assert requests.options(f"{url}/predict", timeout=60).status_code == 204


LIMIT = MAX_EVENT_BYTES * 3 // 4


@pytest.mark.parametrize(
    ("size", "status"), [(LIMIT - 3000, 415), (LIMIT, 413), (MAX_BODY_BYTES + 1, 413)]
)
def test_a_body_over_the_gateways_limit_is_refused_and_one_just_under_it_is_not(url, size, status):
    """As an event it is a third larger, in base64: over 4.5 MB Lambda refuses it."""
    answer = requests.post(f"{url}/predict", data=b"\xff" * size, timeout=60)
    assert answer.status_code == status
    refused = {"message": "Request Entity Too Large"}
    assert (answer.json() == refused) == (status == 413)


def test_overlapping_requests_get_their_own_answers(url, handler):
    pictures = [picture(seed) for seed in range(12)]

    def ask(data):
        return requests.post(f"{url}/predict", data=data, timeout=60).json()

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(ask, pictures * 3))
    assert answers == [expected(handler, data) for data in pictures] * 3


def test_a_port_that_is_none_or_in_use_is_an_error(capsys):
    with pytest.raises(SystemExit, match="2"):
        serve.main(["--port", "99999"])
    assert "invalid port: 99999; use 0 to 65535" in capsys.readouterr().err
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            [sys.executable, "-m", "keras_to_lambda", "serve", "--port", port],
            capture_output=True, text=True, check=False, cwd=ROOT,
        )  # fmt: skip
    assert done.returncode == 2
    assert "is in use; choose another: --port" in done.stderr
    assert "make run PORT=" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_request_longer_than_waitress_waits_is_answered_before_the_server_ends(monkeypatch):
    """The clock of waitress' shutdown stops after ten readings, a second apart."""
    released, answered, ticks = threading.Event(), threading.Event(), itertools.count()

    def now():
        tick = next(ticks)
        if tick >= 10:
            released.set()
        return min(tick, 10)

    def application(environ, start):
        monkeypatch.setattr(waitress.task, "time", SimpleNamespace(time=now))
        os.kill(os.getpid(), signal.SIGTERM)
        released.wait(60)
        answered.set()
        start("204 No Content", [])
        return []

    server = http_server.create(application, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.effective_port}"
    client = threading.Thread(target=lambda: requests.get(url, timeout=60))
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    client.start()
    try:
        http_server.run(server)
        assert answered.is_set()
    finally:
        released.set()
        client.join(60)
        server.asyncore.close_all(server._map, ignore_all=True)
        for number, action in before.items():
            signal.signal(number, action)


def test_a_public_server_takes_no_events():
    with serving(Handler(Settings(log_level="FATAL")).handle, invocations=False) as url:
        record = {"eventSource": "aws:sqs", "messageId": "1", "body": "{}"}
        answer = requests.post(url + INVOCATIONS_PATH, json={"Records": [record]}, timeout=60)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "route_not_found")


def test_the_event_is_api_gateways():
    """Its fields, and what it does to those that come twice; the documentation's example has them.

    https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html
    """
    seen, contexts = [], []

    def handler(event, context):
        seen.append(event)
        contexts.append((context.aws_request_id, context.get_remaining_time_in_millis()))
        return {"statusCode": 200}

    with serving(handler, timeout_s=60.0) as url:
        requests.post(
            f"{url}/my/pa%74h%C3%A9?a=1&b=2&a=3&c=",
            data=iter([b"chunk", b"ed"]),
            headers={"Cookie": "x=1; y=2", "Content-Type": "text/plain", "X-Own": "here"},
            timeout=60,
        )
        requests.get(url, timeout=60)
    event, plain = seen
    (request_id, left_ms), _ = contexts
    assert request_id == event["requestContext"]["requestId"]
    assert 0 < left_ms <= 60_000
    assert event["version"] == "2.0"
    assert event["rawPath"] == event["requestContext"]["http"]["path"] == "/my/pathé"
    assert event["rawQueryString"] == "a=1&b=2&a=3&c="
    assert event["queryStringParameters"] == {"a": "1,3", "b": "2", "c": ""}
    assert event["cookies"] == ["x=1", "y=2"]
    assert "cookie" not in event["headers"]
    assert event["headers"]["x-own"] == "here"
    assert (event["body"], event["isBase64Encoded"]) == ("chunked", False)
    context = event["requestContext"]
    assert context["http"]["method"] == "POST"
    assert context["http"]["sourceIp"] == "127.0.0.1"
    assert context["domainName"] == "127.0.0.1"
    assert re.fullmatch(r"[0-9a-f-]{36}", context["requestId"])
    assert re.fullmatch(r"\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d \+0000", context["time"])
    assert abs(context["timeEpoch"] / 1000 - time.time()) < 60
    assert plain["rawPath"] == "/"
    assert {"cookies", "queryStringParameters"} & set(plain) == set()
    golden = json.loads((ROOT / "tests" / "events" / "http-api-models.json").read_text())["event"]
    assert set(golden) - set(plain) == {"cookies"}
    assert set(golden["requestContext"]) == set(plain["requestContext"])


FAILED = b'{"message": "Internal Server Error"}'


@pytest.mark.parametrize(
    ("answer", "status", "body"),
    [
        ({"statusCode": 418, "body": "tea"}, 418, b"tea"),
        ({"statusCode": "201"}, 201, b""),
        ({"statusCode": 200, "body": "/wAB", "isBase64Encoded": True}, 200, b"\xff\x00\x01"),
        ({"statusCode": 200, "headers": {"X-A": 1}}, 200, b""),
        # Format 2.0 takes any other JSON for the body of a success.
        ({"dress": 1.5}, 200, b'{"dress": 1.5}'),
        ([1], 200, b"[1]"),
        ({"statusCode": "fine"}, 500, FAILED),
        ({"statusCode": 200, "body": {"not": "text"}}, 500, FAILED),
        ({1, 2}, 500, FAILED),
    ],
)
def test_what_a_function_answers_is_read_as_the_gateway_reads_it(answer, status, body):
    with serving(lambda *_: answer) as url:
        got = requests.get(url, timeout=60)
        assert (got.status_code, got.content) == (status, body)


def _raises(*_):
    raise ValueError("secret")


@pytest.mark.parametrize(
    ("handler", "kind", "message", "printed"),
    [
        (_raises, "ValueError", "secret", "ValueError: secret"),
        (lambda *_: time.sleep(1), "Sandbox.Timedout", "Task timed out after 0.30 seconds", None),
    ],
)
def test_a_function_that_raises_or_hangs_is_a_500_here_and_named_there(
    handler, kind, message, printed, capfd
):
    with serving(handler, timeout_s=0.3) as url:
        answer = requests.get(url, timeout=60)
        named = requests.post(url + INVOCATIONS_PATH, json={}, timeout=60).json()
    assert (answer.status_code, answer.json()) == (500, {"message": "Internal Server Error"})
    assert named["errorType"] == kind
    assert message in named["errorMessage"]
    assert (printed or message) in capfd.readouterr().err


def test_pages_that_hang_are_bounded_and_leave_no_threads():
    held = threading.Event()
    with serving(
        lambda *_: held.wait(60) and {"statusCode": 204}, timeout_s=0.3, max_calls=2
    ) as url:
        before = set(threading.enumerate())
        answers = [requests.get(url, timeout=60).status_code for _ in range(3)]
        held.set()
        assert answers == [500, 500, 503]
        for thread in set(threading.enumerate()) - before:
            thread.join(60)
            assert not thread.is_alive()
        assert requests.get(url, timeout=60).status_code == 204


def test_callers_of_slow_hosts_do_not_stop_the_others():
    held, waiting = threading.Event(), threading.Semaphore(0)

    def slow(event, _):
        if event["rawPath"] == "/slow":
            waiting.release()
            held.wait(60)
        return {"statusCode": 204}

    with serving(slow, max_calls=3) as url, ThreadPoolExecutor(3) as pool:
        clients = [pool.submit(requests.post, f"{url}/slow", timeout=60) for _ in range(3)]
        for _ in clients:
            assert waiting.acquire(timeout=60)
        refused = requests.post(f"{url}/predict", timeout=60)
        invoked = requests.post(url + INVOCATIONS_PATH, json={}, timeout=60)
        page = requests.get(url, timeout=60)
        held.set()
        served = [client.result().status_code for client in clients]
        after = requests.post(f"{url}/predict", timeout=60)
    for answer in (refused, invoked):
        assert (answer.status_code, answer.json()) == (503, {"message": "Service Unavailable"})
        assert answer.headers["Retry-After"] == "1"
    assert page.status_code == 204
    assert (served, after.status_code) == ([204, 204, 204], 204)


@pytest.mark.parametrize(
    ("request_bytes", "status", "message"),
    [
        (b"POST / HTTP/1.1\r\nContent-Length: 30000000\r\n\r\n", 413, "Request Entity Too Large"),
        (b"POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n", 400, "Bad Request"),
        (b"GET / HTTP/1.1\r\nNo colon\r\n\r\n", 400, "Bad Request"),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 300_000, 431, "Request Header Fields Too Large"),
    ],
)
def test_what_the_server_refuses_by_itself_is_json(url, request_bytes, status, message):
    with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=60) as sock:
        sock.sendall(request_bytes)
        response = http.client.HTTPResponse(sock)
        response.begin()
        assert response.status == status
        assert response.getheader("Content-Type") == "application/json"
        assert json.loads(response.read()) == {"message": message}


@pytest.mark.parametrize("body", [b"[" * 200_000, b"\xff", b"", b'{"url": "\\ud800'])
def test_a_body_that_is_not_json_is_an_unmarshal_error_at_the_invocation_url(url, body, capfd):
    answer = requests.post(url + INVOCATIONS_PATH, data=body, timeout=60)
    assert (answer.status_code, answer.json()["errorType"]) == (200, "Runtime.UnmarshalError")
    assert "Traceback" not in capfd.readouterr().err


def test_what_is_printed_can_be_opened_and_the_curl_line_works():
    command = [sys.executable, "-m", "keras_to_lambda", "serve", "--port", "0"]
    with subprocess.Popen(command, cwd=ROOT, text=True, stdout=subprocess.PIPE) as process:
        opened = re.search(r"Open (http://\S+)", process.stdout.readline())[1]
        curl = process.stdout.readline()
        page = requests.get(opened, timeout=60)
        done = subprocess.run(
            shlex.split(curl), capture_output=True, text=True, check=True, cwd=ROOT
        )
        process.terminate()
    assert process.returncode == 0
    assert page.headers["Content-Type"].startswith("text/html")
    scores = json.loads(done.stdout)
    assert "@models/clothing/samples/dress.jpg" in curl
    assert max(scores, key=scores.get) == "dress"


def test_the_sample_of_the_greeting_is_the_folders_own(handler, tmp_path, monkeypatch):
    (tmp_path / "samples").mkdir()
    (tmp_path / "samples" / "pants.jpg").write_bytes(b"")
    for here, root, sample in (
        (tmp_path, project.ROOT, "samples/pants.jpg"),  # not a project
        (tmp_path, tmp_path, "samples/pants.jpg"),
        (tmp_path.parent, tmp_path, f"{tmp_path.name}/samples/pants.jpg"),
    ):
        monkeypatch.chdir(here)
        monkeypatch.setattr(project, "ROOT", root)
        assert serve._sample(handler) == sample
