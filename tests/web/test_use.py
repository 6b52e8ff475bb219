"""The pages of docs/use.md, in a browser, from another origin than the function's."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.http_host import HttpHost, Quiet
from tests.serve.conftest import running

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "use.md").read_text(encoding="utf-8")
CALLING, EMBEDDING = re.findall(r"^```html\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)


@pytest.fixture
def site():
    """Another site: its address, and its pages, to be filled in."""
    pages = {}

    class Site(Quiet):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(pages.get(self.path, "").encode())

    with HttpHost(Site) as server:
        yield f"http://localhost:{server.server_port}", pages


def test_a_page_of_another_origin_asks_the_function(context, site, server):
    url, pages = site
    pages["/"] = CALLING.replace("http://127.0.0.1:9000", server)
    page = context.new_page()
    page.goto(url)
    page.get_by_label("A photo").set_input_files(ROOT / "samples" / "t-shirt.jpg")
    expect(page.locator("pre")).to_contain_text('"t-shirt": 0.8')


def test_a_page_that_is_named_shows_the_playground_in_a_frame(context, site):
    url, pages = site
    with running(EMBED_ORIGINS=url) as (function, _):
        pages["/"] = EMBEDDING.replace("http://127.0.0.1:9000", function)
        page = context.new_page()
        page.goto(url)
        frame = page.frame_locator("iframe")
        expect(frame.locator("#sheet")).to_be_visible()
        expect(frame.get_by_role("combobox", name="Compare with")).to_have_value("digits-tree")
        frame.get_by_role("button", name="7", exact=True).click()
        expect(frame.locator(".best").first).to_contain_text("7")
