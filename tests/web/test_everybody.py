"""Every screen for every reader: sizes, colours, keyboard, screen readers; and the loading."""

from __future__ import annotations

import json
import re
import shlex
import subprocess

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from tests.web.use import ROOT, T_SHIRT, best, choose, done, give, press, sample, says


def compared(page):
    choose(page, "digits", against="digits-tree")
    press(page, "Try all")
    done(page, 10)
    press(page, "Yes")
    page.get_by_text("This request as code").click()
    page.get_by_text("Details").click()
    page.get_by_text("About this model").click()


def answered(page):
    give(page, T_SHIRT)
    says(page, "t-shirt")
    press(page, "Crop")


def failed(page):
    give(page, ROOT / "LICENSE")
    expect(page.locator(".error")).to_be_visible()


def camera(page):
    press(page, "Camera")
    expect(page.get_by_role("button", name="Take the photo")).to_be_enabled()


def api(page):
    page.get_by_role("link", name="API").click()
    expect(page.locator("section.card")).to_have_count(7)


STATES = {
    "empty": lambda page: expect(page.locator("#samples img")).to_have_count(6),
    "answered": answered,
    "compared": compared,
    "failed": failed,
    "camera": camera,
    "api": api,
}
OUTSIDE = """(width) => [...document.querySelectorAll("body *")].filter((each) => {
    const box = each.getBoundingClientRect();
    return box.width > 1 && box.right > width + 1
        && !each.closest("pre, .scroll, .sr, .skip, .stage");
}).map((each) => each.outerHTML.slice(0, 80))"""
SMALL = """() => [...document.querySelectorAll("button, select, .button, summary, nav a")].filter(
    (each) => {
        const box = each.getBoundingClientRect();
        return box.width && (box.height < 24 || box.width < 24);
    }).map((each) => each.outerHTML.slice(0, 80))"""


@pytest.mark.parametrize("state", STATES)
def test_every_screen_at_every_size_and_in_every_colour(page, state):
    STATES[state](page)
    # Forced colours are the system's: axe would compute with those that they replace.
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        found = Axe().run(page).response["violations"]
        assert [(each["id"], each["nodes"][0]["target"]) for each in found] == []
    for width in (1440, 768, 390, 320):
        page.set_viewport_size({"width": width, "height": 740})
        assert page.evaluate("document.documentElement.scrollWidth") == width
        assert page.evaluate(OUTSIDE, width) == []
    assert page.evaluate(SMALL) == []


def test_in_forced_colours_and_on_paper_all_that_matters_is_seen(page):
    page.emulate_media(forced_colors="active")
    sample(page, "t-shirt")
    says(page, "t-shirt")
    colour = "each => getComputedStyle(each).backgroundColor"
    ground = page.locator(".card").evaluate(colour)
    assert page.locator(".track i").first.evaluate(colour) != ground
    pressed = page.get_by_role("button", name="Probability", exact=True).evaluate(colour)
    assert pressed != page.get_by_role("button", name="Logit", exact=True).evaluate(colour)
    assert page.locator(".pick").first.evaluate(colour) != ground
    # On paper the answer is there with its bars, and no controls.
    page.emulate_media(media="print", forced_colors="none")
    bar = page.locator(".track i").first
    assert bar.evaluate("each => getComputedStyle(each).printColorAdjust") == "exact"
    expect(best(page)).to_be_visible()
    expect(bar).to_be_visible()
    expect(page.locator(".pick")).to_be_visible()
    controls = page.locator("input, select, summary, button:not(.pick)").locator("visible=true")
    expect(controls).to_have_count(0)


def test_the_keyboard_alone_will_do(page):
    """Tab to each control in a sensible order; choose, classify, draw a slanting line."""
    page.wait_for_selector("#try-all:enabled")
    seen = []
    for _ in range(30):
        page.keyboard.press("Tab")
        seen.append(page.evaluate("document.activeElement.id || document.activeElement.title"))
        if seen[-1] == "compare":
            break
    order = ["file", "camera", "url", "exact", "try-all", "dress", "t-shirt", "model", "compare"]
    positions = [seen.index(each) for each in order]
    assert positions == sorted(positions)
    page.get_by_role("button", name="t-shirt").focus()
    page.keyboard.press("Enter")
    says(page, "t-shirt")
    page.locator("#model").focus()
    page.keyboard.type("digits")
    expect(page.locator("#sheet")).to_be_visible()
    page.locator("#sheet").focus()
    # A 7: to the left, the pen down, right, then slantwise down to the left.
    for key in ["ArrowLeft"] * 6 + ["Space"] + ["ArrowRight"] * 11:
        page.keyboard.press(key)
    page.keyboard.down("ArrowLeft")
    for _ in range(8):
        page.keyboard.press("ArrowDown")
        page.keyboard.press("ArrowDown")
        page.keyboard.down("ArrowLeft")
    page.keyboard.up("ArrowLeft")
    page.keyboard.press("Space")
    says(page, "7")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.locator(".pick").last.focus()
    page.keyboard.press("Enter")
    expect(page.locator(".pick").last).to_have_attribute("aria-current", "true")
    expect(page.locator(".pick").last).to_be_focused()


def test_a_screen_reader_hears_the_answer_and_its_numbers(page):
    expect(page.locator("#skip")).to_be_hidden()
    sample(page, "t-shirt")
    says(page, "t-shirt")
    expect(page.get_by_role("heading", level=2, name=re.compile("^t-shirt"))).to_be_visible()
    table = page.get_by_role("table", name="Labels of clothing, best first")
    assert table.get_by_role("columnheader").all_text_contents() == [
        "Label", "Probability", "Logit"
    ]  # fmt: skip
    expect(table.get_by_role("rowheader").first).to_have_text("t-shirt")
    expect(page.locator("#skip")).to_have_attribute("href", "#results")
    sample(page, "dress")
    says(page, "dress")
    page.locator(".pick").last.click()
    expect(page.locator("#status")).to_contain_text("t-shirt-sample.jpg: t-shirt, ")


def test_a_thousand_labels_and_long_ones_are_searched(described):
    labels = [f"{at} {'a long name such as ImageNet has, ' * (at % 5)}" for at in range(1001)]

    def many(description):
        description["models"] = [
            {**description["models"][0], "name": name, "labels": labels}
            for name in ("imagenet-by-a-model-with-a-long-name", "b")
        ]
        description["default"] = "b"

    page = described(many)
    seen = {"shape": [1, 1, 1], "min": 0, "max": 0, "mean": 0, "image": "data:,"}
    account = {**seen, "answer": [10 - 0.02 * at for at in range(1001)]}
    choose(page, "imagenet-by-a-model-with-a-long-name", against="b")
    body = json.dumps({"imagenet-by-a-model-with-a-long-name": account, "b": account})
    page.route("**/tensor*", lambda route: route.fulfill(body=body))
    give(page, T_SHIRT)
    page.locator(".shares select").first.select_option("0")
    rows = page.locator(".answer").first.locator("tbody tr")
    expect(rows).to_have_count(1001)
    for width in (320, 1440):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.locator(".scroll").first.bounding_box()["height"] < 500
    page.get_by_label("Find a label", exact=True).first.fill("777")
    expect(rows).to_have_count(1)
    expect(rows.first).to_contain_text("778. 777")
    page.get_by_text("About this model").click()
    page.get_by_label("Find a label of the model").fill("100")
    expect(page.locator("#labels li")).to_have_count(2)


# Loading


def test_the_page_is_loaded_in_two_requests(opened, server, context):
    asked = []
    context.on("request", lambda request: asked.append(request.url))
    page = opened(f"{server}/")
    expect(page.locator("#samples img").first).to_be_visible()
    ours = [url for url in asked if not url.startswith(("data:", "blob:"))]
    assert ours == [f"{server}/", f"{server}/samples"]


def test_on_a_phone_nothing_moves_when_the_samples_come_and_the_answer_is_in_sight(
    opened, server, context
):
    held = []

    def hold(route):  # playwright cannot take a list's own method
        held.append(route)

    context.route("**/samples", hold)
    page = opened(f"{server}/")
    page.set_viewport_size({"width": 390, "height": 740})
    before = page.locator("#results").bounding_box()["y"]
    held[0].continue_()
    expect(page.locator("#samples img")).to_have_count(6)
    assert page.locator("#results").bounding_box()["y"] == before
    sample(page, "t-shirt")
    expect(best(page)).to_be_in_viewport()


def test_the_api_page_has_every_path_and_code(page):
    page.get_by_role("link", name="API").click()
    expect(page.locator("section.card h2").first).to_have_text("POST /predict")
    text = page.locator("main").inner_text()
    for each in ("/tensor", "/models", "/samples", "top_k", "undecodable_image", "429"):
        assert each in text
    page.get_by_text("As curl").first.click()
    command = page.locator("details[open] pre").inner_text().replace("\\\n", "")
    ended = subprocess.run(shlex.split(command), capture_output=True, text=True, check=True)
    assert len(json.loads(ended.stdout)) == 10
    page.get_by_role("link", name="Playground").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("clothing")
