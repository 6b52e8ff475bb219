"""The playground, as people use it. The browser, the server and the models are the real ones."""

from __future__ import annotations

import base64
import io
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image, ImageOps
from playwright.sync_api import expect

from keras_to_lambda.runtime.image import drawing

ROOT = Path(__file__).resolve().parents[2]
T_SHIRT = ROOT / "samples" / "t-shirt.jpg"
# A 3 in one stroke, in shares of the sheet.
THREE = [(0.32, 0.22), (0.47, 0.15), (0.63, 0.22), (0.63, 0.36), (0.45, 0.46), (0.63, 0.52),
         (0.70, 0.67), (0.58, 0.82), (0.42, 0.85), (0.29, 0.78)]  # fmt: skip


def best(page):
    return page.locator(".best").first


def says(page, label):
    expect(best(page)).to_contain_text(label)
    expect(page.locator("#status")).to_contain_text(label)


def draw(page, points):
    page.locator("#sheet").scroll_into_view_if_needed()
    box = page.locator("#sheet").bounding_box()
    at = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
    page.mouse.move(*at[0])
    page.mouse.down()
    for point in at[1:]:
        page.mouse.move(*point, steps=5)
    page.mouse.up()


def choose(page, model, against=None):
    page.get_by_role("combobox", name="Model").select_option(model)
    if against is not None:
        page.get_by_role("combobox", name="Compare with").select_option(against)


def transfer(page, *, files=(), **texts):
    """A DataTransfer as a drop or a clipboard has it, made in the page."""
    contents = [[name, kind, base64.b64encode(data).decode()] for name, kind, data in files]
    script = """([files, texts]) => {
        const data = new DataTransfer();
        for (const [name, type, content] of files)
            data.items.add(
                new File([Uint8Array.from(atob(content), c => c.charCodeAt())], name, {type}));
        for (const [type, text] of Object.entries(texts)) data.setData(type, text);
        return data;
    }"""
    return page.evaluate_handle(script, [contents, texts])


def jpeg(size, quality=90, **options):
    noise = np.random.default_rng(1).integers(0, 256, (size[1], size[0], 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "JPEG", quality=quality, **options)
    return file.getvalue()


# Each way of giving an image


def test_a_file_is_chosen(page):
    page.get_by_label("Choose photos").set_input_files(T_SHIRT)
    says(page, "t-shirt")


def test_files_are_dropped(page):
    data = transfer(page, files=[("t-shirt.jpg", "image/jpeg", T_SHIRT.read_bytes())])
    page.dispatch_event("body", "dragenter", {"dataTransfer": data})
    expect(page.locator("#drop")).to_have_class(re.compile("over"))
    page.dispatch_event("body", "drop", {"dataTransfer": data})
    expect(page.locator("#drop")).not_to_have_class(re.compile("over"))
    says(page, "t-shirt")


def test_a_picture_of_another_page_is_dropped_by_its_address(page, image_host):
    url = f"http://{image_host}/t-shirt.jpg"
    data = transfer(page, **{"text/uri-list": f"# a comment\r\n{url}\r\n"})
    page.dispatch_event("body", "drop", {"dataTransfer": data})
    says(page, "t-shirt")


def test_a_picture_is_pasted(page):
    page.evaluate(
        "data => document.dispatchEvent(new ClipboardEvent('paste', {clipboardData: data}))",
        transfer(page, files=[("image.png", "image/png", png_of(T_SHIRT))]),
    )
    says(page, "t-shirt")


def png_of(path):
    file = io.BytesIO()
    Image.open(path).resize((150, 200)).save(file, "PNG")
    return file.getvalue()


def test_an_address_is_pasted(page, image_host, context):
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.evaluate("text => navigator.clipboard.writeText(text)", f"http://{image_host}/pants.jpg")
    page.keyboard.press("Control+V")
    says(page, "pants")


def test_an_address_is_typed(page, image_host):
    page.get_by_label("Address of a photo").fill(f"http://{image_host}/dress.jpg?size=1")
    page.keyboard.press("Enter")
    says(page, "dress")
    expect(page.get_by_role("link", name="Open the original")).to_have_attribute(
        "href", f"http://{image_host}/dress.jpg?size=1"
    )


def test_a_data_url_is_typed(page):
    url = "data:image/jpeg;base64," + base64.b64encode(T_SHIRT.read_bytes()).decode()
    page.get_by_label("Address of a photo").fill(url)
    page.get_by_role("button", name="Classify").click()
    says(page, "t-shirt")


def test_a_photo_is_taken(page):
    """With Chromium's fake camera: what is in front of it, no label can say."""
    page.get_by_role("button", name="Camera", exact=True).click()
    page.get_by_role("button", name="Take the photo").click()
    expect(page.locator("figcaption").first).to_contain_text("camera.jpg")
    expect(page.locator(".bars li")).to_have_count(5)
    expect(page.locator("dialog")).to_be_hidden()
    page.get_by_role("button", name="Camera", exact=True).click()
    expect(page.locator("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("dialog")).to_be_hidden()


def test_a_camera_that_is_refused_is_told(page):
    page.evaluate(
        """() => {
            const refuse = () => Promise.reject(new DOMException("", "NotAllowedError"));
            navigator.mediaDevices.getUserMedia = refuse;
        }"""
    )
    page.get_by_role("button", name="Camera", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("Allow it in the address bar")
    expect(page.get_by_role("button", name="Take the photo")).to_be_disabled()
    page.get_by_role("button", name="Close").click()
    expect(page.locator("dialog")).to_be_hidden()


def test_a_sample_is_clicked(page):
    for label in ("dress", "skirt"):
        page.get_by_role("button", name=label).click()
        says(page, label)
    expect(page.locator(".strip li")).to_have_count(2)


def test_a_three_is_drawn_and_seen(page):
    choose(page, "digits")
    draw(page, THREE)
    says(page, "3")
    # What was sent is the sheet; the function made of it what the model saw.
    with page.expect_download() as download:
        page.get_by_role("link", name="Save what was sent").click()
    sent = np.asarray(Image.open(download.value.path()).convert("L"))
    expect(page.locator("img.tensor")).to_be_visible()
    url = page.locator("img.tensor").get_attribute("src")
    seen = np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))))
    assert sent.shape == (280, 280)
    assert seen.shape == (28, 28)
    prepared = drawing.centred(drawing.ink(Image.fromarray(sent)), 28, 28)
    assert np.array_equal(np.asarray(prepared), seen)


def test_what_is_erased_and_cleared_is_gone(page):
    choose(page, "digits")
    draw(page, THREE)
    says(page, "3")
    page.get_by_role("button", name="Eraser").click()
    page.get_by_label("Width").fill("40")
    draw(page, THREE)
    drawn = "document.querySelector('#sheet').getContext('2d').getImageData(0, 0, 280, 280).data"
    assert (
        page.evaluate(f"{drawn}.reduce((sum, value, at) => at % 4 ? sum : sum + value, 0)") < 9000
    )
    page.get_by_role("button", name="Clear", exact=True).click()
    assert page.evaluate(f"{drawn}.every((value, at) => at % 4 === 3 || value === 0)")
    page.get_by_role("button", name="Brush").click()
    draw(page, [(0.5, 0.2), (0.5, 0.8)])
    says(page, "1")
    # One drawing is one entry, however many strokes it has; after a clearing it is another.
    expect(page.locator(".strip li")).to_have_count(2)


def test_a_small_drawing_in_a_corner_is_read(page):
    choose(page, "digits")
    page.get_by_label("Width").fill("8")
    draw(page, [(0.05 + 0.3 * x, 0.6 + 0.3 * y) for x, y in THREE])
    says(page, "3")


def test_the_sheet_is_there_for_models_of_drawings_alone(page):
    expect(page.locator("#sheet")).to_be_hidden()
    choose(page, "digits-tree")
    expect(page.locator("#sheet")).to_be_visible()


def test_a_photo_of_a_digit_on_paper_is_prepared(page, tmp_path):
    digit = np.asarray(Image.open(ROOT / "models" / "digits" / "samples" / "3.png"), np.float64)
    paper = 225 - np.kron(digit, np.ones((6, 6))) * 0.7
    paper = np.pad(paper, ((40, 200), (150, 30)), constant_values=225)
    noisy = paper + np.random.default_rng(2).normal(scale=4, size=paper.shape)
    Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(tmp_path / "paper.jpg")
    choose(page, "digits")
    page.get_by_label("Choose photos").set_input_files(tmp_path / "paper.jpg")
    says(page, "3")


# Several at once


def test_twenty_images_at_once_each_get_their_answer(page, tmp_path):
    labels = ["dress", "longsleeve", "pants", "shorts", "skirt", "t-shirt"]
    files = []
    for number in range(20):
        label = labels[number % 6]
        files.append(tmp_path / f"{number:02}-{label}.jpg")
        shutil.copy(ROOT / "samples" / f"{label}.jpg", files[-1])
    page.get_by_label("Choose photos").set_input_files(files)
    expect(page.locator(".strip li")).to_have_count(20)
    expect(page.locator(".strip em", has_text="…")).to_have_count(0)
    said = page.locator(".strip em").all_text_contents()
    assert said == [labels[number % 6] for number in range(20)]
    expect(page.locator("#status")).to_have_text("20 of 20 classified")
    # The first is looked at; any other when it is asked for.
    expect(best(page)).to_contain_text("dress")
    page.locator(".strip button").nth(2).click()
    expect(best(page)).to_contain_text("pants")
    page.get_by_role("button", name="Clear the list").click()
    expect(page.locator("#empty")).to_be_visible()
    expect(page.locator(".strip li")).to_have_count(0)


def test_one_bad_file_among_several_spoils_nothing(page):
    page.get_by_label("Choose photos").set_input_files([T_SHIRT, ROOT / "LICENSE"])
    expect(best(page)).to_contain_text("t-shirt")
    expect(page.locator("#status")).to_have_text("2 of 2 classified")
    expect(page.locator(".strip .bad")).to_have_text("Not a kind of image that is read here")


# Models


def test_two_models_are_compared_on_the_same_image(page):
    choose(page, "digits", against="digits-tree")
    page.get_by_role("button", name="6", exact=True).click()
    expect(page.locator(".answer")).to_have_count(2)
    expect(page.locator(".best").nth(0)).to_contain_text("6")
    expect(page.locator(".best").nth(1)).to_contain_text("4")
    expect(page.locator("#detail")).to_contain_text(
        "They disagree: digits says 6, digits-tree says 4."
    )
    expect(page.locator("img.tensor")).to_have_count(2)
    assert "model=digits&compare=digits-tree" in page.url
    page.reload()
    expect(page.get_by_role("combobox", name="Compare with")).to_have_value("digits-tree")


def test_all_samples_show_where_the_tree_fails(page):
    choose(page, "digits", against="digits-tree")
    page.get_by_role("button", name="Try all").click()
    expect(page.locator(".strip em", has_text="…")).to_have_count(0)
    said = page.locator(".strip em").all_text_contents()
    assert [text[0] for text in said] == list("0123456789")
    expect(page.locator(".strip em", has_text="/")).to_have_count(4)


def test_what_is_told_is_the_chosen_models_whichever_answers_first(page):
    """The tree's answer is let through at once and the network's late, as a cold start would be."""
    choose(page, "digits", against="digits-tree")

    def late(route):
        page.wait_for_timeout(400)
        route.continue_()

    page.route("**/predict?model=digits", late)
    page.set_viewport_size({"width": 360, "height": 740})
    page.get_by_role("button", name="6", exact=True).click()
    expect(page.locator("#status")).to_have_text(re.compile("6-sample.png: 6, "))
    draw(page, THREE)
    expect(page.locator("#live")).to_have_text(re.compile("^3, 9[0-9]"))
    assert page.locator("#live").inner_text() == page.locator("#status").inner_text()[13:]
    expect(page.locator(".best").first).to_contain_text(page.locator("#live").inner_text()[3:])


def test_an_empty_address_is_asked_for(page):
    page.get_by_role("button", name="Classify").click()
    assert page.evaluate("document.querySelector('#url').matches(':focus:invalid')")
    expect(page.locator(".strip li")).to_have_count(0)


def test_another_model_is_asked_about_what_is_there(page):
    choose(page, "digits")
    page.get_by_role("button", name="6", exact=True).click()
    says(page, "6")
    choose(page, "digits-tree")
    expect(best(page)).to_contain_text("4")
    expect(page.locator(".strip em")).to_have_text("4")
    page.get_by_text("About this model").click()
    expect(page.locator("#about dl")).to_contain_text("80.9 %")


# What is shown


def test_bars_are_sorted_and_add_up(page, server):
    page.get_by_role("button", name="t-shirt").click()
    says(page, "t-shirt")
    page.get_by_role("combobox", name="Show").select_option("0")
    rows = [row.locator("span").all_text_contents() for row in page.locator(".bars li").all()]
    assert len(rows) == 10
    shares = [0.0 if share.startswith("<") else float(share.split()[0]) for share, _ in rows]
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) == pytest.approx(100, abs=0.5)
    logits = [float(logit) for _, logit in rows]
    assert logits == sorted(logits, reverse=True)
    powers = np.exp(logits)
    np.testing.assert_allclose(powers / powers.sum() * 100, shares, atol=0.6)
    widths = "[...document.querySelectorAll('.track i')].map(bar => parseFloat(bar.style.width))"
    np.testing.assert_allclose(page.evaluate(widths), shares, atol=0.11)
    page.get_by_role("button", name="Logits").click()
    expect(page.locator(".track i").first).to_have_attribute("style", re.compile("width: 6|7|5"))
    page.get_by_role("combobox", name="Show").select_option("3")
    expect(page.locator(".bars li")).to_have_count(3)
    legend = page.locator(".legend")
    for stage in ("decode", "inference", "in the function"):
        expect(legend).to_contain_text(stage)


def test_what_the_model_saw_comes_late_and_moves_nothing_under_the_finger(page, server):
    held = []

    def hold(route):  # playwright cannot take a list's own method
        held.append(route)

    page.route("**/tensor*", hold, times=1)
    with page.expect_request("**/tensor*"):
        page.get_by_role("button", name="t-shirt").click()
    says(page, "t-shirt")
    page.get_by_text("This request as code").click()
    page.get_by_role("button", name="Python").click()
    code = page.locator("details:has(pre)").element_handle()
    expect(page.locator(".seen .wait")).to_have_count(1)
    [late] = held
    late.continue_()
    expect(page.get_by_alt_text("What the model saw")).to_be_visible()
    assert code.evaluate("code => code.isConnected && code.open")
    expect(page.get_by_role("button", name="Python")).to_have_attribute("aria-pressed", "true")
    # What is asked for next, its code is open from the start.
    page.get_by_role("button", name="dress").click()
    says(page, "dress")
    expect(page.get_by_label("Code", exact=True)).to_contain_text("import requests")


@pytest.mark.parametrize("by", ["file", "address"])
@pytest.mark.parametrize("language", ["curl", "Python", "JavaScript"])
def test_the_code_that_is_shown_runs_and_gives_what_is_shown(
    page, language, by, image_host, tmp_path, context
):
    if language == "JavaScript" and not shutil.which("node"):
        pytest.skip("no node on this machine")
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    photo = tmp_path / 'it\'s a "photo" $HOME.jpg'
    shutil.copy(T_SHIRT, photo)
    if by == "file":
        page.get_by_label("Choose photos").set_input_files(photo)
    else:
        page.get_by_label("Address of a photo").fill(f"http://{image_host}/t-shirt.jpg?x='1'")
        page.keyboard.press("Enter")
    says(page, "t-shirt")
    page.get_by_text("This request as code").click()
    page.get_by_role("button", name=language).click()
    page.bring_to_front()  # whose page has the focus may write the clipboard
    page.get_by_role("button", name="Copy").click()
    # Not by the button's "Copied", which stays for two seconds: a busy machine may miss them.
    page.wait_for_function(
        "shown => navigator.clipboard.readText().then(text => text === shown)",
        arg=page.get_by_label("Code", exact=True).text_content(),
    )
    text = page.evaluate("navigator.clipboard.readText()")
    if language == "curl":
        command = shlex.split(text.replace("\\\n", ""))
    elif language == "Python":
        command = [sys.executable, "-c", text]
    else:
        (tmp_path / "it.mjs").write_text(text)
        command = ["node", "it.mjs"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    shown = dict(
        zip(
            page.locator(".bars b").all_text_contents(),
            page.locator(".bars .on").all_text_contents(),
            strict=True,
        )
    )
    answer = {
        label: float(score)
        for label, score in re.findall(r"""['"]?([\w-]+)['"]?: ([\d.e-]+)""", done.stdout)
    }
    assert list(answer) == list(shown)
    assert [f"{100 * score:.1f} %" for score in answer.values()] == list(shown.values())


def test_what_was_sent_can_be_saved(page, tmp_path):
    page.get_by_label("Choose photos").set_input_files(T_SHIRT)
    says(page, "t-shirt")
    with page.expect_download() as download:
        page.get_by_role("link", name="Save what was sent").click()
    assert download.value.suggested_filename == "t-shirt.jpg"
    assert Path(download.value.path()).read_bytes() == T_SHIRT.read_bytes()


# Large photos


def test_a_large_photo_is_scaled_before_it_is_sent(page, tmp_path):
    (tmp_path / "large.jpg").write_bytes(jpeg((3000, 2400), 95))
    assert (tmp_path / "large.jpg").stat().st_size > 6 * 1024 * 1024
    page.get_by_label("Choose photos").set_input_files(tmp_path / "large.jpg")
    expect(page.locator(".bars li")).to_have_count(5)
    expect(page.locator("figcaption").first).to_contain_text(
        "3000 \u00d7 2400; scaled here to 2048 \u00d7 1638"
    )


def test_a_large_photo_that_must_be_exact_is_refused_in_words(page, tmp_path):
    (tmp_path / "large.jpg").write_bytes(jpeg((3000, 2400), 95))
    page.get_by_label("Send every byte as it is").check()
    page.get_by_label("Choose photos").set_input_files(tmp_path / "large.jpg")
    expect(page.locator(".error")).to_contain_text("The file is too large")
    expect(page.locator(".error")).to_contain_text("Turn off “Send every byte as it is”")


@pytest.mark.parametrize(("scaled", "kind"), [(False, "jpg"), (False, "png"), (True, "jpg")])
def test_a_photo_from_a_phone_is_shown_and_classified_upright(page, scaled, kind, tmp_path):
    """Stored on its side with a flag; sent as it is, or scaled first because it is large."""
    tags = Image.Exif()
    tags[0x0112] = 6
    photo = tmp_path / f"portrait.{kind}"
    with Image.open(T_SHIRT) as image:
        width, height = (3000, 4000) if scaled else image.size
        upright = image.resize((width, height), Image.Resampling.BICUBIC)
        if scaled:  # noise, so that the file is too large to be sent
            noise = Image.effect_noise((width, height), 90).convert("RGB")
            upright = Image.blend(upright, noise, 0.15)
        upright.transpose(Image.Transpose.ROTATE_90).save(photo, exif=tags, quality=97)
    assert (photo.stat().st_size > 5_000_000) == scaled
    page.get_by_label("Choose photos").set_input_files(photo)
    says(page, "t-shirt")
    caption = page.locator("figcaption").first
    if scaled:
        expect(caption).to_contain_text("3000 \u00d7 4000; scaled here to 1536 \u00d7 2048")
    with page.expect_download() as download:
        page.get_by_role("link", name="Save what was sent").click()
    with Image.open(download.value.path()) as sent:
        assert sent.getexif().get(0x0112) == (None if scaled else 6)
        assert ImageOps.exif_transpose(sent).size == ((1536, 2048) if scaled else (width, height))


@pytest.mark.parametrize("exif", ["ignore", "apply"])
def test_a_large_photo_is_turned_only_if_the_model_turns_photos(page, exif, tmp_path):
    """Browsers apply the orientation flag; the page undoes that for a model that ignores it."""
    tags = Image.Exif()
    tags[0x0112] = 6  # a quarter turn
    (tmp_path / "turned.jpg").write_bytes(jpeg((3000, 2400), 95, exif=tags))
    size = page.evaluate(
        """async ([content, exif]) => {
            const { fromFile } = await import("/static/picture.js");
            const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt());
            const limits = { event_bytes: 6291456, image_bytes: 20000000 };
            const file = new File([bytes], "x.jpg", { type: "image/jpeg" });
            const sent = await fromFile(file, { limits, exif });
            const { width, height } = await createImageBitmap(sent.blob);
            return [width, height];
        }""",
        [base64.b64encode((tmp_path / "turned.jpg").read_bytes()).decode(), exif],
    )
    assert size == ([2048, 1638] if exif == "ignore" else [1638, 2048])


# Errors: each kind in words, from the real function where a browser can cause it


def test_an_error_of_each_kind_that_an_image_can_cause(page, image_host, tmp_path):
    cut = tmp_path / "cut.jpg"
    cut.write_bytes(T_SHIRT.read_bytes()[:9000])
    empty = tmp_path / "empty.jpg"
    empty.touch()
    huge = tmp_path / "huge.png"
    Image.new("L", (8000, 8000)).save(huge)
    files = {
        ROOT / "LICENSE": ("unsupported_format", "Not a kind of image"),
        cut: ("undecodable_image", "The image is damaged"),
        empty: ("missing_image", "There is no image in that"),
        huge: ("too_many_pixels", "too many pixels"),
    }
    for file, (code, words) in files.items():
        page.get_by_label("Choose photos").set_input_files(file)
        told(page, code, words)
    addresses = {
        "ftp://example.com/x.jpg": ("invalid_url", "That address is not fetched"),
        f"http://{image_host}/missing.jpg": ("fetch_failed", "could not be downloaded"),
        "http://169.254.169.254/latest": ("fetch_failed", "could not be downloaded"),
        f"http://{image_host}/slow.jpg": ("deadline_exceeded", "It took too long"),
    }
    for address, (code, words) in addresses.items():
        page.get_by_label("Address of a photo").fill(address)
        page.keyboard.press("Enter")
        told(page, code, words)


def told(page, code, words):
    expect(page.locator(".error code")).to_have_text(code)
    expect(page.locator(".error strong")).to_contain_text(words)
    expect(page.locator("#status")).to_contain_text(words)


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (500, '{"error": {"code": "internal_error", "message": "m"}}', "The function failed"),
        (404, '{"error": {"code": "model_not_found", "message": "m"}}', "not here any more"),
        (403, '{"message": "Forbidden"}', "You may not use this"),
        (413, '{"message": "Request Entity Too Large"}', "The file is too large"),
        (429, '{"message": "Too Many Requests"}', "Too many requests at once"),
        (502, "<html>Bad Gateway</html>", "The function did not answer"),
        (503, '{"message": "Service Unavailable"}', "did not answer in time"),
        (504, '{"message": "Endpoint request timed out"}', "did not answer in time"),
        (200, "<html>a captive portal</html>", "did not answer as expected"),
    ],
)
def test_what_gateways_answer_is_told_in_words(page, status, body, words):
    """Answers that no image can cause here are the browser's to fake; the page is the real one."""
    page.route("**/predict*", lambda route: route.fulfill(status=status, body=body))
    page.get_by_role("button", name="t-shirt").click()
    expect(page.locator(".error strong")).to_contain_text(words)


def test_a_connection_that_fails_is_told_and_can_be_tried_again(page, context, expected):
    expected.append("ERR_INTERNET_DISCONNECTED")
    context.set_offline(True)
    page.get_by_role("button", name="t-shirt").click()
    expect(page.locator(".error strong")).to_contain_text("You are offline")
    context.set_offline(False)
    page.get_by_role("button", name="Try again").click()
    says(page, "t-shirt")


def test_every_code_of_the_function_has_its_words(page, server):
    """None falls back on what is said of an unknown answer."""
    codes = page.evaluate(
        """async () => {
            const { Failure } = await import("/static/errors.js");
            const api = await (await fetch("/openapi.json")).json();
            const codes = api.components.schemas.Error.properties.error.properties.code.enum;
            return codes.map((code) => [code, Failure.of(599, { error: { code } }, "").code]);
        }"""
    )
    assert len(codes) > 15
    assert [code for code, told in codes if code != told] == []


def test_a_server_that_is_not_there_is_told(opened, server, context):
    context.route("**/models", lambda route: route.abort())
    page = context.new_page()
    page.goto(server)
    expect(page.locator("#empty .error strong")).to_contain_text("cannot be reached")


# For everybody


def test_the_keyboard_alone_will_do(page):
    """Tab to each control in a sensible order; choose, classify, compare, draw."""
    seen = []
    for _ in range(30):
        page.keyboard.press("Tab")
        seen.append(
            page.evaluate("document.activeElement.id || document.activeElement.textContent.trim()")
        )
        if seen[-1] == "t-shirt" or len(set(seen)) < len(seen):
            break
    order = ["To the results", "model", "compare", "file", "camera", "url", "exact"]
    positions = [next(i for i, name in enumerate(seen) if name.startswith(each)) for each in order]
    assert positions == sorted(positions)
    page.get_by_role("button", name="t-shirt").focus()
    page.keyboard.press("Enter")
    says(page, "t-shirt")
    page.locator("#model").focus()
    page.keyboard.type("digits")
    expect(page.locator("#sheet")).to_be_visible()
    page.locator("#sheet").focus()
    # A 7: to the left, the pen down, right, then slanting down.
    for key in ["ArrowLeft"] * 6 + ["Space"] + ["ArrowRight"] * 11:
        page.keyboard.press(key)
    for _ in range(7):
        page.keyboard.press("ArrowDown")
        page.keyboard.press("ArrowDown")
        page.keyboard.press("ArrowLeft")
    page.keyboard.press("Space")
    says(page, "7")
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    page.locator(".strip button").last.focus()
    page.keyboard.press("Enter")
    expect(page.locator(".strip button").last).to_have_attribute("aria-current", "true")
    expect(page.locator(".strip button").last).to_be_focused()


STATES = {
    "empty": lambda page: None,
    "result": lambda page: (
        page.get_by_role("button", name="t-shirt").click(),
        says(page, "t-shirt"),
    ),
    "comparison": lambda page: (
        choose(page, "digits", against="digits-tree"),
        page.get_by_role("button", name="Try all").click(),
        expect(page.locator(".strip em", has_text="…")).to_have_count(0),
        expect(page.locator("img.tensor")).to_have_count(2),
        page.get_by_text("This request as code").click(),
        page.get_by_text("About this model").click(),
    ),
    "error": lambda page: (
        page.get_by_label("Choose photos").set_input_files(ROOT / "LICENSE"),
        expect(page.locator(".error")).to_be_visible(),
    ),
    "camera": lambda page: (
        page.get_by_role("button", name="Camera", exact=True).click(),
        expect(page.get_by_role("button", name="Take the photo")).to_be_enabled(),
    ),
    "api": lambda page: (
        page.get_by_role("link", name="API").click(),
        expect(page.locator("section.card")).to_have_count(7),
    ),
}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("state", STATES)
def test_axe_finds_nothing_serious(page, state, scheme):
    page.emulate_media(color_scheme=scheme)
    STATES[state](page)
    violations = Axe().run(page).response["violations"]
    serious = [
        (each["id"], each["help"], [node["target"] for node in each["nodes"]][:3])
        for each in violations
        if each["impact"] in ("serious", "critical")
    ]
    assert serious == []


@pytest.mark.parametrize("state", STATES)
def test_on_a_phone_nothing_sticks_out(page, state):
    page.set_viewport_size({"width": 360, "height": 740})
    STATES[state](page)
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    outside = page.evaluate(
        """[...document.querySelectorAll("body *")].filter((each) => {
            const box = each.getBoundingClientRect();
            return box.width > 1 && box.right > 361 && !each.closest("pre, .scroll, .sr, .skip");
        }).map((each) => each.outerHTML.slice(0, 80))"""
    )
    assert outside == []
    small = page.evaluate(
        """[...document.querySelectorAll("button:not(.link), select, .button")].filter((each) => {
            const box = each.getBoundingClientRect();
            return box.width && (box.height < 44 || box.width < 44);
        }).map((each) => each.outerHTML.slice(0, 80))"""
    )
    assert small == []


def test_on_a_phone_the_answer_comes_into_sight(page):
    page.set_viewport_size({"width": 360, "height": 740})
    page.get_by_role("button", name="t-shirt").click()
    expect(page.locator("#results")).to_be_in_viewport()
    choose(page, "digits")
    draw(page, THREE)
    expect(page.locator("#live")).to_contain_text("3")


def fulfilled(answer):
    body = json.dumps(answer)
    return lambda route: route.fulfill(body=body)


@pytest.mark.parametrize("width", [360, 1280])
def test_a_thousand_labels_and_long_ones(opened, server, context, width):
    """Answers with 1,001 labels of up to 140 characters, which no model that we ship has, put in
    place of the function's; the page is the real one."""
    labels = [f"{at} {'a long name such as ImageNet has, ' * (at % 5)}" for at in range(1001)]
    steps = {"resize": "stretch", "interpolation": "tf:bilinear", "exif": "ignore"}
    card = {
        "name": "imagenet-by-a-model-with-a-long-name", "labels": labels, "output": "logits",
        "height": 224, "width": 224, "channels": 3,
        "preprocessing": {**steps, "scaling": {"scale": [1, 1, 1], "offset": [0, 0, 0]}},
    }  # fmt: skip
    limits = {"event_bytes": 6291456, "image_bytes": 20000000}
    models = {"default": card["name"], "models": [card, {**card, "name": "b"}], "limits": limits}
    scores = {label: 10 - 0.02 * at for at, label in enumerate(labels)}
    for path, answer in (("models", models), ("predict*", scores)):
        context.route(f"**/{path}", fulfilled(answer))
    page = opened(f"{server}/")
    page.set_viewport_size({"width": width, "height": 800})
    page.get_by_label("Choose photos").set_input_files(T_SHIRT)
    page.get_by_role("combobox", name="Compare with").select_option("b")
    page.get_by_role("combobox", name="Show").select_option("0")
    expect(page.locator(".answer").first.locator(".bars li")).to_have_count(1001)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.locator(".bars").first.bounding_box()["height"] < 500
    overlaps = page.evaluate(
        """[...document.querySelectorAll(".bars li")].slice(0, 20).filter((row) => {
            const [label, share] = row.children;
            return label.getBoundingClientRect().right > share.getBoundingClientRect().left;
        }).length"""
    )
    assert overlaps == 0


def test_the_api_page_has_every_path_and_code(page):
    page.get_by_role("link", name="API").click()
    expect(page.locator("section.card h2").first).to_have_text("POST /predict")
    text = page.locator("main").inner_text()
    for each in ("/tensor", "/models", "/samples", "top_k", "undecodable_image", "429"):
        assert each in text
    page.get_by_text("As curl").first.click()
    command = page.locator("details[open] pre").inner_text().replace("\\\n", "")
    done = subprocess.run(shlex.split(command), capture_output=True, text=True, check=True)
    assert len(json.loads(done.stdout)) == 10
    page.get_by_role("link", name="Playground").click()
    expect(page.get_by_role("heading", name="Image classifier")).to_be_visible()


def test_nothing_is_loaded_from_elsewhere_and_the_policy_holds(opened, server, context, expected):
    expected.append("Content Security Policy")
    asked = []
    context.on("request", lambda request: asked.append(request.url))
    page = opened(f"{server}/")
    page.get_by_role("button", name="t-shirt").click()
    says(page, "t-shirt")
    elsewhere = [url for url in asked if not url.startswith((server, "data:", "blob:"))]
    assert elsewhere == []
    refused = page.evaluate(
        """() => new Promise((resolve) => {
            document.addEventListener("securitypolicyviolation", (event) =>
                resolve(event.violatedDirective));
            document.body.append(
                Object.assign(document.createElement("img"), { src: "http://127.0.0.1:9/x.png" }));
        })"""
    )
    assert refused == "img-src"


def test_labels_are_text_and_never_markup(opened, server, context):
    page = opened(f"{server}/")
    page.route(
        "**/predict*",
        lambda route: route.fulfill(
            status=422,
            body=json.dumps(
                {"error": {"code": "undecodable_image", "message": "<img src=x onerror=alert(1)>"}}
            ),
        ),
    )
    page.get_by_label("Choose photos").set_input_files(
        files=[{"name": "<b>x</b>.jpg", "mimeType": "image/jpeg", "buffer": b"x"}]
    )
    expect(page.locator(".error")).to_contain_text("<img src=x onerror=alert(1)>")
    expect(page.locator("figcaption").first).to_contain_text("<b>x</b>.jpg")
