"""The local server: both of its doors, by a real HTTP client."""

from __future__ import annotations

import base64
import http.server
import io
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import requests
import waitress
from PIL import Image

from classifier.handler import Handler
from classifier.settings import Settings
from serve.gateway import INVOCATION_PATH, MAX_BODY_BYTES, MAX_EVENT_BYTES, Gateway

ROOT = Path(__file__).resolve().parents[2]


def picture(seed):
    noise = np.random.default_rng(seed).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).resize((200, 160)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def handler():
    return Handler(Settings(num_threads=1, log_level="FATAL"))


@pytest.fixture(scope="module")
def url(handler):
    server = waitress.create_server(
        Gateway(handler), host="127.0.0.1", port=0, max_request_body_size=2 * MAX_BODY_BYTES
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.effective_port}"
    server.close()


def expected(handler, data):
    return handler({"image": base64.b64encode(data).decode()})


def test_post_predict_takes_the_image_itself(url, handler):
    data = picture(0)
    for headers in ({"Content-Type": "image/png"}, {}):
        answer = requests.post(f"{url}/predict", data=data, headers=headers, timeout=30)
        assert answer.status_code == 200
        assert answer.json() == expected(handler, data)
        assert "inference;dur=" in answer.headers["Server-Timing"]


def test_post_predict_and_the_invocation_url_take_the_same_json(url, handler):
    event = {"image": base64.b64encode(picture(1)).decode()}
    for path in ("/predict", INVOCATION_PATH):
        answer = requests.post(url + path, json=event, timeout=30)
        assert answer.json() == expected(handler, picture(1))


def test_options_in_the_query_reach_the_function(url):
    answer = requests.post(f"{url}/predict?top_k=2", data=picture(2), timeout=30)
    assert len(answer.json()) == 2


def test_errors_have_their_status_at_one_door_and_their_name_at_the_other(url):
    answer = requests.post(f"{url}/predict", json={}, timeout=30)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "missing_image")
    answer = requests.post(url + INVOCATION_PATH, json={}, timeout=30)
    assert (answer.status_code, answer.json()["errorType"]) == (200, "MissingImage")
    answer = requests.post(url + INVOCATION_PATH, data=b"{", timeout=30)
    assert answer.json()["errorType"] == "Runtime.UnmarshalError"
    assert requests.get(f"{url}/nowhere", timeout=30).status_code == 404
    assert requests.get(f"{url}/predict", timeout=30).status_code == 405
    assert requests.options(f"{url}/predict", timeout=30).status_code == 204


@pytest.mark.parametrize("size", [MAX_EVENT_BYTES * 3 // 4, MAX_BODY_BYTES + 1])
def test_a_body_over_the_gateways_limit_is_refused(url, size):
    """As an event it is a third larger, in base64: over 4.5 MB Lambda refuses it."""
    answer = requests.post(f"{url}/predict", data=b"\xff" * size, timeout=30)
    assert answer.status_code == 413
    assert answer.json() == {"message": "Request Entity Too Large"}


def test_a_body_just_under_it_reaches_the_function(url):
    data = b"\xff" * (MAX_EVENT_BYTES * 3 // 4 - 3000)
    answer = requests.post(f"{url}/predict", data=data, timeout=30)
    assert (answer.status_code, answer.json()["error"]["code"]) == (415, "unsupported_format")


def test_overlapping_requests_get_their_own_answers(url, handler):
    pictures = [picture(seed) for seed in range(12)]

    def ask(data):
        return requests.post(f"{url}/predict", data=data, timeout=30).json()

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(ask, pictures * 3))
    assert answers == [expected(handler, data) for data in pictures] * 3


def test_a_port_in_use_is_told_without_a_traceback():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = subprocess.run(
            [sys.executable, "-m", "serve", "--port", str(taken.getsockname()[1])],
            capture_output=True, text=True, check=False, cwd=ROOT,
        )  # fmt: skip
    assert done.returncode == 2
    assert "in use" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_a_request_under_way_is_answered_before_the_server_ends(stop):
    """A host that takes its time; the server is told to end in the meantime."""

    class Slow(http.server.BaseHTTPRequestHandler):
        asked = threading.Event()

        def log_message(self, *_):
            pass

        def do_GET(self):
            self.asked.set()
            time.sleep(0.5)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(picture(2))

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Slow) as host:
        threading.Thread(target=host.serve_forever, daemon=True).start()
        address = f"127.0.0.1:{host.server_port}"
        with subprocess.Popen(
            [sys.executable, "-m", "serve", "--port", "0"],
            cwd=ROOT,
            env={**os.environ, "FETCH_PRIVATE_HOSTS": address, "LOG_LEVEL": "INFO"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            url = re.search(r"http://127\.0\.0\.1:\d+", process.stdout.readline())[0]
            answers = []

            def ask():
                body = {"url": f"http://{address}/x.png"}
                answers.append(requests.post(f"{url}/predict", json=body, timeout=30))

            client = threading.Thread(target=ask)
            client.start()
            assert Slow.asked.wait(10)
            process.send_signal(stop)
            out, err = process.communicate(timeout=20)
            client.join(10)
        host.shutdown()
    assert process.returncode == 0
    assert "Traceback" not in err
    assert [answer.status_code for answer in answers] == [200]
    assert '"outcome": "ok"' in out
