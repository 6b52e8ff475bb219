"""Renew the pictures in docs/images: `make screenshots`."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Page, expect

from tests.serve.conftest import running
from tests.web import chromium
from tests.web.use import THREE, choose, done, draw, give_bytes, says
from tests.web.use import sample as click

IMAGES = Path(__file__).resolve().parents[2] / "docs" / "images"


def asked(page: Page) -> None:
    click(page, "t-shirt")
    says(page, "t-shirt")


def mapped(page: Page) -> None:
    asked(page)
    page.get_by_role("button", name="Show which parts mattered").click()
    expect(page.locator("img.heat")).to_be_visible()


def drawing(page: Page) -> None:
    """A 3 that leans back, which the tree takes for something else."""
    choose(page, "digits", against="digits-tree")
    page.get_by_label("Width").fill("12")
    draw(page, [(0.94 * x + 0.34 * y - 0.14, 0.94 * y - 0.34 * x + 0.2) for x, y in THREE])
    says(page, "3")
    expect(page.locator(".comparison")).to_contain_text("They disagree")


def batch(page: Page) -> None:
    page.get_by_role("button", name="Try all").click()
    done(page, 6)
    page.locator(".best").focus()
    for key in "yyny":
        page.keyboard.press(key)
        if key == "n":
            page.get_by_role("combobox", name="The right label").select_option("hat")


def error(page: Page) -> None:
    give_bytes(page, "notes.txt", b"not a picture", "text/plain")
    expect(page.locator(".error")).to_be_visible()


def api(page: Page) -> None:
    page.get_by_role("link", name="API").click()
    expect(page.locator("section.card")).to_have_count(7)


# Name: what is done, colours, width and height.
SHOTS = {
    "playground": (mapped, "light", 1180, 1080),
    "drawing": (drawing, "dark", 1180, 1000),
    "session": (batch, "light", 1180, 900),
    "phone": (asked, "light", 390, 844),
    "error": (error, "light", 1180, 700),
    "api": (api, "light", 1180, 800),
}
PARTS = {"session": "#history", "phone": "#results"}  # what is shown, not the page's top


def main() -> None:
    IMAGES.mkdir(exist_ok=True)
    with running() as (url, _), chromium.launched() as browser:
        for name, (act, scheme, width, height) in SHOTS.items():
            page = browser.new_page(
                viewport={"width": width, "height": height},
                color_scheme=scheme,
                has_touch=width < 500,
                is_mobile=width < 500,
            )
            page.goto(f"{url}/")
            expect(page.locator("body")).to_have_attribute("data-ready", "true")
            expect(page.locator("#samples")).to_be_visible()
            act(page)
            page.mouse.move(0, 0)
            part = page.locator(PARTS.get(name, "body"))
            part.evaluate("each => each.scrollIntoView()")
            (part if name == "session" else page).screenshot(path=IMAGES / f"{name}.png")
            page.close()
            print(f"docs/images/{name}.png")


if __name__ == "__main__":
    main()
