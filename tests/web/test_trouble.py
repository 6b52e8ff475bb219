"""What goes wrong, each kind in words: from the real function where a browser can cause it."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from urllib.parse import urlsplit

import pytest
from PIL import Image
from playwright.sync_api import expect

from tests.http_host import Tcp
from tests.web.use import ROOT, T_SHIRT, ask, give, give_bytes, padded, press, sample, says


def explained(page, code, words, again):
    expect(page.locator(".error code")).to_have_text(code)
    expect(page.locator(".error h2")).to_contain_text(words)
    expect(page.locator("#status")).to_contain_text(words)
    expect(page.get_by_role("button", name="Try again")).to_have_count(1 if again else 0)


def test_an_error_of_each_kind_that_a_picture_can_cause(page, image_host, tmp_path):
    huge = tmp_path / "huge.png"
    Image.new("L", (8000, 8000)).save(huge)
    files = {
        "cut.jpg": (T_SHIRT.read_bytes()[:9000], "undecodable_image", "The picture is damaged"),
        "empty.jpg": (b"", "missing_image", "The file is empty"),
        "huge.png": (huge.read_bytes(), "too_many_pixels", "too many pixels"),
    }
    for name, (content, code, words) in files.items():
        give_bytes(page, name, content)
        explained(page, code, words, again=False)
    addresses = {
        f"http://{image_host}/missing.jpg": ("fetch_failed", "could not be downloaded"),
        "http://169.254.169.254/latest": ("fetch_failed", "could not be downloaded"),
        f"http://{image_host}/slow.jpg": ("deadline_exceeded", "It took too long"),
    }
    for address, (code, words) in addresses.items():
        ask(page, address)
        explained(page, code, words, again=True)


GATEWAYS = [
    (500, '{"error": {"code": "internal_error", "message": "m"}}', "The function failed"),
    (404, '{"error": {"code": "model_not_found", "message": "m"}}', "no longer there"),
    (413, '{"message": "Request Entity Too Large"}', "The file is too large"),
    (429, '{"message": "Too Many Requests"}', "Too many requests at once"),
    (502, "<html>Bad Gateway</html>", "The function did not answer"),
    (503, '{"message": "Service Unavailable"}', "did not answer in time"),
    (504, '{"message": "Endpoint request timed out"}', "did not answer in time"),
    (200, "<html>a captive portal</html>", "did not answer as expected"),
]


def test_what_gateways_answer_is_put_into_words(page):
    """Answers that no picture can cause here are faked in the browser; the page is the real one."""
    for status, body, words in GATEWAYS:
        page.unroute_all()
        page.route("**/tensor*", answering(status, body))
        sample(page, "t-shirt")
        expect(page.locator(".error h2")).to_contain_text(words)


def answering(status, body):
    return lambda route: route.fulfill(status=status, body=body)


def test_a_key_that_the_api_wants_is_asked_for_and_sent(page):
    page.route("**/tensor*", answering(401, '{"message": "Unauthorized"}'))
    sample(page, "skirt")
    expect(page.locator(".error h2")).to_have_text("The API needs a key")
    page.unroute_all()
    press(page, "Clear the list")
    keys = []

    def locked(route):
        keys.append(route.request.headers.get("x-api-key"))
        if keys[-1] == "secret":
            route.continue_()
        else:
            route.fulfill(status=403, body='{"message": "Forbidden"}')

    page.route("**/tensor*", locked)
    sample(page, "t-shirt")
    expect(page.locator(".error h2")).to_have_text("The API needs a key")
    page.get_by_label("API key").fill("secret")
    page.keyboard.press("Enter")
    says(page, "t-shirt")
    page.get_by_text("This request as code").click()
    code = page.get_by_label("Code", exact=True)
    expect(code).to_contain_text("X-Api-Key: $API_KEY")
    expect(code).not_to_contain_text("secret")
    page.reload()
    sample(page, "dress")
    says(page, "dress")
    assert keys == [None, "secret", "secret"]


def test_every_code_of_the_function_has_its_words(page):
    """None falls back on the words for an unknown answer."""
    codes = page.evaluate(
        """async () => {
            const { Failure } = await import("/static/errors.js");
            const api = await (await fetch("/openapi.json")).json();
            const codes = api.components.schemas.Error.properties.error.properties.code.enum;
            return codes.map((code) => [code, Failure.of(599, { error: { code } }, "").code]);
        }"""
    )
    assert len(codes) > 15
    assert [code for code, found in codes if code != found] == []


class Uplink(Tcp):
    """To the server at 0.75 Mbit/s, as a phone's uplink is at times; back without delay.

    Chromium's own emulation (Network.emulateNetworkConditions) can hang with the browser.
    """

    def __init__(self, port):
        super().__init__(bind=False)
        self.far = ("127.0.0.1", port)
        # What the kernel takes on its own counts as sent: as little as on a network.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1400)
        self.server_bind()
        self.server_activate()

    def finish_request(self, near, _):
        with socket.create_connection(self.far) as far, contextlib.suppress(OSError):
            threading.Thread(target=self.answers, args=(far, near), daemon=True).start()
            while data := near.recv(8192):
                far.sendall(data)
                time.sleep(len(data) * 8 / 0.75e6)

    def answers(self, far, near):
        with contextlib.suppress(OSError):
            while data := far.recv(65536):
                near.sendall(data)


@pytest.fixture
def slow(opened, server):
    """The page behind a slow uplink."""
    with Uplink(urlsplit(server).port) as uplink:
        yield opened(f"http://{uplink.address}/")


def test_an_upload_shows_its_progress_and_can_be_made_smaller(slow, tmp_path):
    give(slow, padded(tmp_path, "photo4mb.jpg", 4_000_000))
    expect(slow.locator(".wait")).to_contain_text("of 4.0 MB")
    press(slow, "Send a smaller copy (the model sees 160 \u00d7 160)")
    says(slow, "t-shirt")
    expect(slow.locator("figcaption").first).to_contain_text("photo4mb-512.jpg")


def test_patience_counts_from_the_end_of_the_upload(page):
    """With a clock of its own: an upload of a minute is not a function that is silent."""
    states = page.evaluate(
        """async () => {
            const timers = new Map();
            let count = 0, request;
            window.setTimeout = (act, time) => (timers.set(++count, [act, time]), count);
            window.clearTimeout = (id) => timers.delete(id);
            window.XMLHttpRequest = class {
                constructor() { request = this; this.upload = {}; }
                open() {} setRequestHeader() {} send() {} abort() {}
            };
            const { look } = await import("/static/api.js");
            const card = { name: "m", labels: ["a"], output: "logits" };
            const codes = [];
            const pending = () => [...timers.values()].map(([, time]) => time);
            const asked = look({ blob: new Blob(["x"]) }, [card], {})
                .catch((failure) => codes.push(failure.code));
            const states = [pending()];
            request.upload.onprogress({ loaded: 1, total: 9 });
            states.push(pending());
            request.upload.onload();
            states.push(pending());
            [...timers.values()][0][0]();
            await asked;
            return [...states, codes];
        }"""
    )
    assert states == [[30_000], [30_000], [35_000], ["no_answer"]]


def test_a_page_without_its_description_says_so(server, context):
    html = (ROOT / "web" / "index.html").read_text("utf-8")  # fetches the description itself
    context.route(f"{server}/", lambda route: route.fulfill(body=html, content_type="text/html"))
    context.route("**/models", lambda route: route.abort())
    page = context.new_page()
    page.goto(server)
    expect(page.locator("#empty .error h2")).to_contain_text("cannot be reached")


def test_a_worker_that_cannot_be_loaded_is_explained_and_tried_again(
    page, context, expected, tmp_path
):
    expected.append("ERR_FAILED")
    context.route("**/static/preparer.js", lambda route: route.abort())
    give(page, padded(tmp_path, "large.jpg"))
    expect(page.locator(".error h2")).to_contain_text("cannot be reached")
    context.unroute_all()
    press(page, "Try again")
    says(page, "t-shirt")
