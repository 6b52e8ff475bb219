"""The base of the HTML reports in a real browser: sizes, colours, paper."""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image

from keras_to_lambda import html_report

TEMPLATE = """\
{% extends "base.html.jinja" %}
{% from "parts.html.jinja" import bars, facts, photos, tiles as tiled %}
{% block body %}
{{ tiled([("99.2%", "same label as Keras")]) }}
<p class="note">A note.</p>
<section><h2 id="bars">Bars</h2>
{{ bars([("a label that is as long as some labels of ImageNet are, or longer", 1, "4 of 4")], 2) }}
<div class="scroll" tabindex="0"><table><thead><tr>{% for _ in range(20) %}<th>column</th>{% endfor %}</tr></thead>
<tbody><tr class="chosen">{% for _ in range(20) %}<td class="n">0.123456</td>{% endfor %}</tr></tbody></table></div>
<details><summary>More</summary><p id="inside">inside</p></details></section>
<section><h2 id="photos">Photos</h2>{{ photos([picture]) }}{{ facts([("name", "x" * 200)]) }}</section>
{% endblock %}
"""  # noqa: E501


@pytest.fixture
def report(tmp_path, context):
    (tmp_path / "page.html.jinja").write_text(TEMPLATE)
    image = html_report.thumbnail(Image.new("RGB", (60, 40), "red"))
    html = html_report.render(
        tmp_path / "page.html.jinja",
        kind="Test",
        title="digits \N{RIGHT-TO-LEFT OVERRIDE}",
        conclusion="One sentence. And another.",
        command=html_report.command_line("evaluate", ["--api-key", "secret", "a b"]),
        picture=html_report.EmbeddedPicture(
            image, "a red one", [("bad", "is blue"), ("name", "n" * 99)]
        ),
    )
    (tmp_path / "page.html").write_text(html, encoding="utf-8")
    page = context.new_page()
    page.goto((tmp_path / "page.html").as_uri())
    return page


def test_a_report_is_read_at_every_size_and_in_every_colour(report):
    for scheme in ("light", "dark"):
        report.emulate_media(color_scheme=scheme)
        found = Axe().run(report).response["violations"]
        assert [(each["id"], each["nodes"][0]["target"]) for each in found] == []
    for width in (1440, 768, 390, 320):
        report.set_viewport_size({"width": width, "height": 740})
        assert report.evaluate("document.documentElement.scrollWidth") == width
    report.emulate_media(forced_colors="active")
    bar = report.locator(".bar i")
    colour = "each => getComputedStyle(each).backgroundColor"
    assert bar.evaluate(colour) != report.locator(".bar").evaluate(colour)


def test_a_report_says_when_how_and_by_what_it_was_made(report):
    made = report.locator("#made + dl").inner_text()
    assert "k2l evaluate --api-key ... 'a b'" in made
    assert "keras-to-lambda " in made
    assert "UTC" in made
    assert report.locator("nav a").all_text_contents() == ["Bars", "Photos", "How it was made"]
    assert "digits \\u202e" in report.locator("h1").inner_text()


def test_on_paper_bars_keep_their_colour_and_everything_is_open(report):
    report.emulate_media(media="print", color_scheme="light")
    bar = report.locator(".bar i")
    assert bar.evaluate("each => getComputedStyle(each).printColorAdjust") == "exact"
    assert report.locator("nav").is_hidden()
    height = report.locator("#inside").evaluate("each => each.getBoundingClientRect().height")
    assert height > 0
    assert report.locator(".scroll").evaluate("each => getComputedStyle(each).overflowX") == (
        "visible"
    )
