"""Each way of giving the page a picture, and what becomes of the picture before it is sent."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from keras_to_lambda.runtime.image import drawing
from tests.web.use import (
    ROOT,
    SAMPLES,
    T_SHIRT,
    THREE,
    ask,
    choose,
    draw,
    give,
    give_bytes,
    in_format,
    padded,
    press,
    sample,
    saved,
    says,
    sent,
    transfer,
)

CAPTION = "figcaption >> nth=0"


def test_each_way_of_giving_a_picture(page, image_host):
    give(page, T_SHIRT)
    says(page, "t-shirt")
    # Dropped, anywhere.
    data = transfer(page, files=[("d.jpg", "image/jpeg", (SAMPLES / "dress.jpg").read_bytes())])
    page.dispatch_event("#results", "dragenter", {"dataTransfer": data})
    expect(page.locator("body")).to_have_class("over")
    page.dispatch_event("#results", "drop", {"dataTransfer": data})
    expect(page.locator("body")).not_to_have_class("over")
    says(page, "dress")
    # A picture of another page, dropped by its address.
    url = f"http://{image_host}/pants.jpg"
    data = transfer(page, **{"text/uri-list": f"# a comment\r\n{url}\r\n"})
    page.dispatch_event("body", "drop", {"dataTransfer": data})
    says(page, "pants")
    # The page may not load it, but the model's view of it stands for it in the list.
    source = page.locator(".strip img").first
    expect(source).to_have_attribute("src", re.compile("^data:image/png"))
    # Pasted.
    page.evaluate(
        "data => document.dispatchEvent(new ClipboardEvent('paste', {clipboardData: data}))",
        transfer(page, files=[("image.png", "image/png", in_format("PNG"))]),
    )
    says(page, "t-shirt")
    # An address, typed; one that holds the picture itself.
    ask(page, f"http://{image_host}/skirt.jpg?size=1")
    says(page, "skirt")
    expect(page.get_by_role("link", name="Open the original")).to_have_attribute(
        "href", f"http://{image_host}/skirt.jpg?size=1"
    )
    url = "data:image/jpeg;base64," + base64.b64encode(T_SHIRT.read_bytes()).decode()
    page.get_by_label("Address of a photo").fill(url)
    press(page, "Classify")
    says(page, "t-shirt")
    sample(page, "longsleeve")
    says(page, "longsleeve")
    expect(page.locator(".strip li")).to_have_count(7)


def test_an_address_is_pasted_and_prose_is_not_taken_for_one(page, image_host, context):
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.evaluate("text => navigator.clipboard.writeText(text)", "The quick brown fox, e.g. x/y")
    page.keyboard.press("Control+V")
    expect(page.locator("#status")).to_contain_text("not the address of a picture")
    page.evaluate("text => navigator.clipboard.writeText(text)", f"http://{image_host}/pants.jpg")
    page.keyboard.press("Control+V")
    says(page, "pants")
    expect(page.locator(".strip li")).to_have_count(1)


ADDRESSES = {
    " https://example.com/a b.jpg": None,
    "https://example.com/a.jpg ": "https://example.com/a.jpg",
    "example.com/photo.jpg": "https://example.com/photo.jpg",
    "s3://bucket/key.jpg": "s3://bucket/key.jpg",
    "data:image/png;base64,AAAA": "data:image/png;base64,AAAA",
    "hello": None,
    "example.com": None,
    "javascript:alert(1)": None,
    "file:///etc/passwd": None,
    "ftp://example.com/x.jpg": None,
    "data:text/html,x": None,
}


def test_what_is_no_address_is_not_sent(page):
    script = """async (texts) => {
        const { addressIn } = await import("/static/picture.js");
        return Object.fromEntries(texts.map((text) => [text, addressIn(text)]));
    }"""
    assert page.evaluate(script, list(ADDRESSES)) == ADDRESSES
    press(page, "Classify")
    assert page.evaluate("document.querySelector('#url').matches(':focus:invalid')")
    ask(page, "javascript:alert(1)")
    message = page.evaluate("document.querySelector('#url').validationMessage")
    assert message.startswith("This is not the address of a picture")
    expect(page.locator(".strip li")).to_have_count(0)


def test_a_photo_is_taken_and_the_camera_answers_live(page):
    """With Chromium's fake camera: its picture has no label that is right."""
    press(page, "Camera")
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("button", name="Take the photo")).to_be_enabled()
    expect(dialog.get_by_role("button", name="Try again")).to_be_hidden()
    press(dialog, "Live")
    expect(dialog.locator(".said li")).to_have_count(3)
    expect(dialog.locator(".said li").first).to_contain_text("%")
    press(dialog, "Take the photo")
    expect(page.locator(CAPTION)).to_contain_text("camera.jpg")
    expect(page.locator(".bars tbody tr")).to_have_count(5)
    expect(dialog).to_be_hidden()
    assert page.evaluate("document.querySelector('video').srcObject") is None


def test_a_camera_that_is_refused_says_what_to_do_and_is_tried_again(page):
    page.evaluate(
        """() => {
            const allowed = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
            navigator.mediaDevices.getUserMedia = () => {
                navigator.mediaDevices.getUserMedia = allowed;
                return Promise.reject(new DOMException("", "NotAllowedError"));
            };
        }"""
    )
    press(page, "Camera")
    expect(page.get_by_role("alert")).to_contain_text("Allow it at the left of the address bar")
    take = page.get_by_role("button", name="Take the photo")
    expect(take).to_be_disabled()
    assert take.evaluate("b => getComputedStyle(b).borderStyle") == "dashed"
    press(page.get_by_role("dialog"), "Try again")
    expect(take).to_be_enabled()
    expect(page.get_by_role("alert")).to_be_hidden()
    page.keyboard.press("Escape")
    expect(page.locator("dialog")).to_be_hidden()


# Formats and orientation


SVG = (
    b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 28 28"><rect width="28" height="28"/>'
    b'<path d="M14 4v20" stroke="white" stroke-width="3"/></svg>'
)


def test_what_the_browser_can_show_is_converted_with_a_note(page):
    give_bytes(page, "real.avif", in_format("AVIF"), "image/avif")
    says(page, "t-shirt")
    expect(page.locator(CAPTION)).to_contain_text("AVIF, converted here")
    choose(page, "digits")
    give_bytes(page, "one.svg", SVG, "image/svg+xml")
    says(page, "1")
    expect(page.locator(CAPTION)).to_contain_text("SVG, converted here")


UNREADABLE = {
    "real.tif": (in_format("TIFF"), "This browser cannot open TIFF"),
    "photo.heic": (b"\0\0\0\x18ftypheic" + bytes(100), "This browser cannot open HEIC"),
    "paper.pdf": (b"%PDF-1.7" + bytes(100), "This is a PDF document"),
    "text.jpg": (b"not a picture", "Its content is not a picture"),
}


def test_what_nothing_can_read_gets_the_advice_that_fits(page):
    asked = []
    page.on("request", lambda request: asked.append(request.method))
    for name, (content, advice) in UNREADABLE.items():
        give_bytes(page, name, content)
        expect(page.locator(".error")).to_contain_text(advice)
        expect(page.locator(".error button")).to_have_count(0)
        expect(page.get_by_text("Save what was sent")).to_have_count(0)
        expect(page.get_by_text("This request as code")).to_have_count(0)
    assert "POST" not in asked


def on_its_side(path, *side):
    """The t-shirt as a phone stores a portrait: turned, with EXIF orientation 6."""
    tags = Image.Exif()
    tags[0x0112] = 6
    with Image.open(T_SHIRT) as image:
        upright = image.resize(side or image.size)
    upright.transpose(Image.Transpose.ROTATE_90).save(path, exif=tags, quality=97)
    return path


def test_a_photo_on_its_side_is_named_and_turned_where_the_model_ignores_it(described, tmp_path):
    def ignoring(description):
        for card in description["models"]:
            card["preprocessing"]["exif"] = "ignore"

    page = described(ignoring)
    for number, kind in enumerate(("jpg", "png", "webp"), 1):
        give(page, on_its_side(tmp_path / f"portrait.{kind}"))
        says(page, "t-shirt")
        expect(page.locator(".notice").first).to_contain_text("it sees the photo on its side")
        press(page, "Turn it")
        expect(page.locator(CAPTION)).to_contain_text("turned upright here")
        expect(page.get_by_role("button", name="Turn it")).to_have_count(0)
        says(page, "t-shirt")
        expect(page.locator(".strip li")).to_have_count(2 * number)
        turned = sent(page)
        assert turned.getexif().get(0x0112) is None
        assert turned.size == (600, 800)


def test_a_photo_goes_as_it_is_unless_it_is_too_large_and_keeps_its_orientation(page, tmp_path):
    portrait = on_its_side(tmp_path / "portrait.jpg")
    give(page, portrait)
    says(page, "t-shirt")
    expect(page.get_by_role("button", name="Turn it")).to_have_count(0)
    assert saved(page, "Save what was sent").read_bytes() == portrait.read_bytes()
    photo = on_its_side(tmp_path / "photo.jpg", 1800, 2400)
    photo.write_bytes(photo.read_bytes() + bytes(5_000_000))
    give(page, photo)
    expect(page.locator(CAPTION)).to_contain_text("photo-2048.jpg")
    says(page, "t-shirt")
    expect(page.locator(CAPTION)).to_contain_text("2400 \u00d7 1800")
    scaled = sent(page)
    assert scaled.size == (2048, 1536)
    assert scaled.getexif()[0x0112] == 6
    page.get_by_label("Send every byte as it is").check()
    give(page, padded(tmp_path, "large.jpg"))
    expect(page.locator(".error")).to_contain_text("The file is too large")
    expect(page.locator(".error")).to_contain_text("Turn off “Send every byte as it is”")


def test_a_photo_is_turned_and_cropped_and_the_answer_follows(page):
    give(page, SAMPLES / "pants.jpg")
    says(page, "pants")
    press(page, "Turn")
    expect(page.locator(CAPTION)).to_contain_text("turned by 90° here")
    expect(page.get_by_role("button", name="Turn", exact=True)).to_be_focused()
    with Image.open(SAMPLES / "pants.jpg") as image:
        width, height = image.size
    assert sent(page).size == (height, width)
    press(page, "Reset")
    expect(page.locator(CAPTION)).not_to_contain_text("turned")
    says(page, "pants")  # each answer draws the picture again
    press(page, "Crop")
    page.locator(".stage").first.scroll_into_view_if_needed()
    box = page.locator(".stage").first.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] + 20, box["y"] + box["height"] + 20)
    page.mouse.up()
    expect(page.locator(CAPTION)).to_contain_text("cropped here")
    expect(page.locator(".cut")).to_be_visible()
    assert sent(page).size == pytest.approx((width / 2, height / 2), abs=3)
    # By keyboard: the frame is made smaller once, then applied.
    press(page, "Reset")
    expect(page.locator(CAPTION)).not_to_contain_text("cropped")
    says(page, "pants")
    press(page, "Crop")
    page.locator(".stage").first.focus()
    page.keyboard.press("-")
    page.keyboard.press("Enter")
    expect(page.locator(CAPTION)).to_contain_text("cropped here")
    assert sent(page).size == pytest.approx((0.75 * width, 0.75 * height), abs=2)


def test_the_part_that_a_cropping_model_sees_is_drawn_on_the_original(described):
    def crop(description):
        for card in description["models"]:
            card["preprocessing"] |= {"resize": "crop", "drawing": "none"}

    page = described(crop)
    for size, part in (((400, 200), [25, 0]), ((200, 300), [0, 100 / 6])):
        file = io.BytesIO()
        Image.new("RGB", size, "teal").save(file, "PNG")
        give_bytes(page, f"{size[0]}.png", file.getvalue(), "image/png")
        expect(page.locator(CAPTION)).to_contain_text(f"{size[0]}.png")
        expect(page.locator(".cut")).to_be_visible()
        # The part is placed when the picture has been laid out.
        page.wait_for_function(
            """([left, top]) => {
                const { style } = document.querySelector(".cut");
                const apart = [parseFloat(style.left) - left, parseFloat(style.top) - top];
                return apart.every((each) => Math.abs(each) < 0.01);
            }""",
            arg=list(part),
        )


# The sheet


def test_a_three_is_drawn_and_seen(page):
    choose(page, "digits")
    draw(page, THREE)
    says(page, "3")
    # What was sent is the sheet; the function made of it what the model saw.
    sheet = np.asarray(sent(page).convert("L"))
    url = page.locator("img.tensor").get_attribute("src")
    seen = np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))))
    assert sheet.shape == (280, 280)
    assert seen.shape == (28, 28)
    prepared = drawing.centred(drawing.ink(Image.fromarray(sheet)), 28, 28)
    assert np.array_equal(np.asarray(prepared), seen)
    # Small, in a corner.
    press(page, "Clear")
    page.get_by_label("Width").fill("8")
    draw(page, [(0.05 + 0.3 * x, 0.6 + 0.3 * y) for x, y in THREE])
    expect(page.locator(".strip li")).to_have_count(2)
    says(page, "3")


def test_the_sheet_never_shows_an_answer_to_something_else(page):
    page.set_viewport_size({"width": 390, "height": 844})
    choose(page, "digits")
    live, hint = page.locator("#live"), page.locator("#hint")
    cursor = "each => getComputedStyle(each).cursor"
    assert page.get_by_role("button", name="Undo").evaluate(cursor) == "not-allowed"
    draw(page, [(0.5, 0.5), (0.5, 0.51)])
    expect(live).to_have_text("Draw more than a dot")
    expect(page.locator(".strip li")).to_have_count(0)
    press(page, "Clear")
    draw(page, THREE)
    expect(live).to_contain_text("3, ")
    # All of it rubbed out: its answer goes, too.
    press(page, "Eraser")
    page.get_by_label("Width").fill("40")
    draw(page, THREE)
    expect(page.locator(".strip li")).to_have_count(0)
    expect(live).to_have_text("")
    expect(hint).to_be_visible()
    # Undo brings the drawing back, and its answer.
    undo = page.get_by_role("button", name="Undo")
    assert undo.evaluate(cursor) == "pointer"
    undo.click()
    expect(live).to_contain_text("3, ")
    page.locator("#sheet").focus()
    page.keyboard.press("Control+z")
    expect(live).to_have_text("")
    press(page, "Brush")
    page.get_by_label("Width").fill("22")
    draw(page, [(0.5, 0.2), (0.5, 0.8)])
    expect(live).to_contain_text("1, ")
    # Cleared: what was read stays in the list, and is no longer shown as the sheet's.
    press(page, "Clear")
    expect(live).to_have_text("")
    expect(hint).to_be_visible()
    expect(page.locator(".strip li")).to_have_count(1)
    draw(page, THREE)
    expect(page.locator(".strip li")).to_have_count(2)


def test_the_sheet_is_there_for_models_whose_card_asks_for_drawings(described):
    def grey(description):
        [card] = [card for card in description["models"] if card["name"] == "digits-tree"]
        card["preprocessing"]["drawing"] = "none"

    page = described(grey)
    for model, there in (("clothing", False), ("digits", True), ("digits-tree", False)):
        choose(page, model)
        expect(page.locator("#sheet")).to_be_visible(visible=there)


def test_a_photo_of_a_digit_on_paper_is_read(page):
    digit = np.asarray(Image.open(ROOT / "models" / "digits" / "samples" / "3.png"), np.float64)
    paper = np.pad(225 - np.kron(digit, np.ones((6, 6))) * 0.7, ((40, 200), (150, 30)),
                   constant_values=225)  # fmt: skip
    noisy = paper + np.random.default_rng(2).normal(scale=4, size=paper.shape)
    file = io.BytesIO()
    Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(file, "JPEG")
    choose(page, "digits")
    give_bytes(page, "paper.jpg", file.getvalue(), "image/jpeg")
    says(page, "3")
