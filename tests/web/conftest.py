"""The page in a real browser, Debian's Chromium, on the real server with the real models."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import expect

from tests.http_host import HttpHost, Quiet
from tests.serve.conftest import running
from tests.unavailable import unavailable
from tests.web import chromium

ROOT = Path(__file__).resolve().parents[2]


expect.set_options(timeout=20_000)  # patience for a machine that is busy with other things


@pytest.fixture(scope="session")
def browser():
    if chromium.find() is None:
        unavailable("no Chromium on this machine (Debian: apt install chromium)", "REQUIRE_BROWSER")
    with chromium.launched() as browser:
        yield browser


class Hosts(Quiet):
    """Hosts that images are fetched from: one with the samples, one that never answers."""

    def do_GET(self):
        path = urlsplit(self.path).path
        if path == "/slow.jpg":
            time.sleep(3)
            return
        file = ROOT / "samples" / path.lstrip("/")
        self.send_response(200 if file.is_file() else 404)
        self.end_headers()
        if file.is_file():
            self.wfile.write(file.read_bytes())


@pytest.fixture(scope="session")
def image_host():
    with HttpHost(Hosts) as server:
        yield server.address


@pytest.fixture(scope="session")
def server(image_host):
    environ = {
        "FETCH_PRIVATE_HOSTS": image_host,
        "FETCH_ALLOWED_PORTS": f"80,443,{image_host.partition(':')[2]}",
        "FETCH_TIMEOUT_S": "1",
    }
    with running(**environ) as (url, _):
        yield url


@pytest.fixture
def context(browser):
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(30_000)
    yield context
    context.close()


@pytest.fixture
def expected():
    """What the browser will rightly complain of in this test; it may be added to."""
    # The browser reports every answer that is an error; the tests look at the page for it.
    return ["the server responded with a status of"]


@pytest.fixture
def opened(context, expected):
    """Opens a page, and at the end compares the browser's complaints with those expected."""
    faults = []

    def open_page(url):
        page = context.new_page()
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda line: faults.append(line.text) if line.type == "error" else None)
        page.goto(url)
        expect(page.locator("body")).to_have_attribute("data-ready", "true")
        return page

    yield open_page
    assert [fault for fault in faults if not any(text in fault for text in expected)] == []


@pytest.fixture
def page(opened, server):
    return opened(f"{server}/")


@pytest.fixture
def described(opened, server, context):
    """Opens the page with a description of the models that `change` has altered."""

    def open_page(change, query=""):
        def altered(route):
            answer = route.fetch()
            head, start, rest = answer.text().partition('id="described">')
            data, end, tail = rest.partition("</script>")
            description = json.loads(data)
            change(description)
            body = head + start + json.dumps(description).replace("<", "\\u003c") + end + tail
            route.fulfill(response=answer, body=body)

        context.route(re.compile(rf"^{re.escape(server)}/(\?.*)?$"), altered)
        return opened(f"{server}/{query}")

    return open_page
