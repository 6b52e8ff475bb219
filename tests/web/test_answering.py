"""What the page makes of an answer: its worth, its shares, why, and what can be kept of it."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import expect

from tests.web.use import (
    SAMPLES,
    T_SHIRT,
    THREE,
    ask,
    best,
    choose,
    done,
    draw,
    give,
    give_bytes,
    padded,
    press,
    sample,
    saved,
    says,
)


def test_one_request_has_scores_and_tensor_of_both_models(page):
    asked = []
    page.on("request", lambda request: asked.append(request.url.partition("/tensor")[2]))
    choose(page, "digits", against="digits-tree")
    sample(page, "6")
    expect(page.locator("img.tensor")).to_have_count(2)
    expect(page.locator(".best").nth(1)).to_contain_text("4")
    expect(page.locator(".comparison")).to_have_text(
        "They disagree: digits says 6, digits-tree says 4."
    )
    assert [each for each in asked if each] == ["?model=digits%2Cdigits-tree&answer=values"]
    assert page.title() == "digits: image classifier"
    choose(page, "digits-tree", against="")
    expect(best(page)).to_contain_text("4")
    expect(page.locator(".strip em")).to_have_text("4")
    expect(page.get_by_role("heading", level=1)).to_have_text("digits-tree")
    page.get_by_text("About this model").click()
    expect(page.locator("#about dl")).to_contain_text("80.9%")
    expect(page.locator("#labels li")).to_have_count(10)


def test_bars_are_sorted_and_add_up(page):
    sample(page, "t-shirt")
    says(page, "t-shirt")
    page.get_by_role("combobox", name="Show").first.select_option("0")
    table = page.get_by_role("table", name="Labels of clothing, best first")
    rows = [row.locator("td").all_text_contents() for row in table.locator("tbody tr").all()]
    assert len(rows) == 10
    shares = [0.0 if share.startswith("<") else float(share.rstrip("%")) for share, _ in rows]
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) == pytest.approx(100, abs=0.5)
    logits = [float(logit.replace("\u2212", "-")) for _, logit in rows]
    assert logits == sorted(logits, reverse=True)
    powers = np.exp(logits)
    np.testing.assert_allclose(powers / powers.sum() * 100, shares, atol=0.6)
    widths = "[...document.querySelectorAll('.track i')].map(bar => parseFloat(bar.style.width))"
    np.testing.assert_allclose(page.evaluate(widths), shares, atol=0.11)
    press(page, "Logit")
    expect(page.get_by_role("button", name="Logit", exact=True)).to_be_focused()
    span = logits[0] - logits[-1]
    assert page.evaluate(widths)[0] == pytest.approx(100 * logits[0] / span, abs=0.2)
    page.get_by_role("combobox", name="Show").first.select_option("3")
    expect(table.locator("tbody tr")).to_have_count(3)
    assert "top=3" in page.url
    assert "bars=logits" in page.url


@pytest.fixture
def binary(described):
    """Opens the page with one model of two labels."""

    def open_page(**changes):
        def two(description):
            [model] = description["models"] = description["models"][:1]
            description["default"] = model["name"]
            model.update(labels=["muffin", "chihuahua"], **changes)

        return described(two)

    return open_page


def test_a_model_of_probabilities_has_no_column_or_switch_of_logits(binary):
    page = binary(output="probabilities")
    page.route("**/tensor*", fulfilled([0.513, 0.487]))
    give(page, T_SHIRT)
    expect(page.locator(".best.weak")).to_have_text("muffin 51.3%")
    expect(page.locator(".worth")).to_contain_text("About even: muffin or chihuahua.")
    assert page.locator(".bars thead th").all_text_contents() == ["Label", "Probability"]
    expect(page.get_by_role("button", name="Logit", exact=True)).to_have_count(0)
    expect(page.locator(".shares select")).to_have_count(0)
    expect(page.get_by_role("combobox", name="Compare with")).to_be_hidden()


PIXEL = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR42mNoAAAAggCB2kUIOwAAAABJRU5ErkJggg=="  # noqa: E501


def fulfilled(values):
    """A route that answers as /tensor does, of a model that is not shipped."""
    seen = {"shape": [1, 1, 1], "dtype": "float32", "min": 0, "max": 0, "mean": 0, "image": PIXEL}
    body = json.dumps({**seen, "answer": values})
    return lambda route: route.fulfill(body=body)


# Logits of two labels, and what the card of a calibration says of them. Temperature 2: (4, 0) is
# as sure as 0.881, (1, 0) as 0.622.
CALIBRATION = {
    "temperature": 2.0, "pictures": 100, "data": "photos, validation", "energy": [0.5, 9.0],
    "bins": [{"low": 0.0, "high": 0.7, "pictures": 40, "right": 20},
             {"low": 0.7, "high": 1.0, "pictures": 60, "right": 57}],
    "classes": {"muffin": {"predicted": 31, "right": 23}},
}  # fmt: skip
STATED = [
    ([4.0, 0.0], "Right in 95% of such cases in testing (57 of 60). "
     "Of its answers “muffin”, 23 of 31 were right.", False),
    ([0.0, 1.0], "Right in 50% of such cases in testing (20 of 40).", True),
    ([-3.0, -8.0], "Unlike the test photos: the model may not know such things.", True),
]  # fmt: skip


def test_an_answer_says_how_often_such_answers_were_right_in_testing(binary):
    page = binary(calibration=CALIBRATION)
    for values, text, weak in STATED:
        page.unroute_all()
        page.route("**/tensor*", fulfilled(values))
        give(page, T_SHIRT)
        expect(page.locator(".worth")).to_have_text(text)
        expect(page.locator(".best.weak")).to_have_count(1 if weak else 0)


def test_without_a_calibration_the_page_says_that_it_does_not_know(described):
    page = described(lambda description: description["models"][0].pop("calibration"))
    sample(page, "t-shirt")
    expect(page.locator(".worth")).to_contain_text("How often such an answer is right is not known")
    expect(page.locator(".worth")).to_contain_text("87.9%")


def test_the_parts_that_mattered_are_shown_after_their_cost(page):
    asked = []
    page.on("request", lambda request: asked.append(request.url.rpartition("/")[2]))
    sample(page, "t-shirt")
    says(page, "t-shirt")
    expect(page.locator(".why")).to_contain_text(
        "Sends 50 copies with a part covered, in 4 requests"
    )
    press(page, "Show which parts mattered")
    expect(page.locator("img.heat")).to_be_visible()
    expect(page.locator(".why")).to_contain_text(re.compile("“t-shirt”: covering|No single part"))
    assert asked.count("predict?model=clothing&answer=values") == 4
    choose(page, "digits")
    expect(page.get_by_role("button", name="Show which parts mattered")).to_have_count(0)


# The request as code


def runs(code, language, folder):
    if language == "curl":
        command = shlex.split(code.replace("\\\n", ""))
    elif language == "Python":
        command = [sys.executable, "-c", code]
    else:
        (folder / "it.mjs").write_text(code)
        command = ["node", "it.mjs"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def shown(page, at=0):
    part = page.locator(".answer").nth(at)
    labels = part.locator(".bars th b").all_text_contents()
    return dict(zip(labels, part.locator(".bars td.on").all_text_contents(), strict=True))


def printed(output):
    found = re.findall(r"""['"]?([\w-]+)['"]?: ([\d.e-]+)""", output)
    return {label: f"{100 * float(score):.1f}%" for label, score in found}


LANGUAGES = ["curl", "Python", *(["JavaScript"] if shutil.which("node") else [])]


@pytest.mark.parametrize("by", ["file", "address", "drawing", "scaled"])
def test_the_code_that_is_shown_gives_what_is_shown_and_fails_where_the_function_does(
    page, by, image_host, tmp_path, context
):
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    if by == "file":
        photo = Path(shutil.copy(T_SHIRT, tmp_path / 'it\'s a "photo" $HOME.jpg'))
        give(page, photo)
    elif by == "address":
        ask(page, f"http://{image_host}/t-shirt.jpg?x='1'")
    elif by == "scaled":
        give(page, padded(tmp_path, "photo12mp.jpg"))
    else:
        choose(page, "digits", against="digits-tree")
        draw(page, THREE)
    done(page, 1)
    page.get_by_text("This request as code").click()
    note = page.locator("details:has(pre) .hint")
    if by in ("drawing", "scaled"):
        expect(note).to_contain_text("save what was sent first")
        name = "drawing.png" if by == "drawing" else "photo12mp-800.jpg"
        assert name in page.get_by_label("Code", exact=True).text_content()
        shutil.copy(saved(page, "Save what was sent"), tmp_path / name)
    for language in LANGUAGES if by in ("file", "address") else LANGUAGES[:1]:
        press(page, language)
        page.bring_to_front()  # whose page has the focus may write the clipboard
        page.get_by_role("button", name=re.compile("Copy$|Copied")).click()
        # Not by the button's "Copied", which stays for two seconds: a busy machine may miss them.
        page.wait_for_function(
            "shown => navigator.clipboard.readText().then(text => text === shown)",
            arg=page.get_by_label("Code", exact=True).text_content(),
        )
        code = page.evaluate("navigator.clipboard.readText()")
        ended = runs(code, language, tmp_path)
        assert printed(ended.stdout) == shown(page), ended.stderr
        if by == "file":
            photo.write_text("not a picture")
            ended = runs(code, language, tmp_path)
            assert ended.returncode != 0
            assert "unsupported_format" in ended.stdout + ended.stderr
            shutil.copy(T_SHIRT, photo)
    if by == "drawing":
        press(page, "digits-tree")
        code = page.get_by_label("Code", exact=True).text_content()
        assert printed(runs(code, language, tmp_path).stdout) == shown(page, 1)


# What is kept


def test_an_answer_is_kept_as_a_page_that_needs_nothing_beside_it(page, context, tmp_path):
    give(page, SAMPLES / "pants.jpg")
    says(page, "pants")
    press(page, "Yes")
    file = Path(shutil.copy(saved(page, "Keep as a page"), tmp_path / "answer.html"))
    text = file.read_text("utf-8")
    assert not re.search(r"<script|<link|src=.(?!data:)|https?://(?!127\.0\.0\.1)", text)
    kept = context.new_page()
    kept.goto(file.as_uri())
    expect(kept.get_by_role("heading", name=re.compile("^pants"))).to_be_visible()
    expect(kept.locator("body")).to_contain_text("Marked as right.")
    assert kept.evaluate("document.querySelector('img').naturalHeight") > 100
    kept.emulate_media(media="print")
    assert kept.locator("i").first.evaluate("i => getComputedStyle(i).printColorAdjust") == "exact"


def test_a_link_restores_model_options_and_the_picture_of_an_address(
    page, opened, context, image_host
):
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    choose(page, "digits", against="clothing")
    ask(page, f"http://{image_host}/pants.jpg")
    expect(page.locator(".best").nth(1)).to_contain_text("pants")
    page.locator(".shares select").first.select_option("3")
    page.bring_to_front()
    press(page, "Copy a link")
    expect(page.get_by_role("button", name="Link copied")).to_be_visible()
    other = opened(page.evaluate("navigator.clipboard.readText()"))
    expect(other.get_by_role("combobox", name="Model")).to_have_value("digits")
    expect(other.locator(".best").nth(1)).to_contain_text("pants")
    expect(other.locator(".answer").nth(1).locator("tbody tr")).to_have_count(3)


def test_labels_and_names_are_text_and_never_markup(page):
    body = {"error": {"code": "undecodable_image", "message": "<img src=x onerror=alert(1)>"}}
    page.route("**/tensor*", lambda route: route.fulfill(status=422, body=json.dumps(body)))
    give_bytes(page, "<b>x</b>.jpg", b"\xff\xd8\xffx", "image/jpeg")
    expect(page.locator(".error")).to_contain_text("<img src=x onerror=alert(1)>")
    expect(page.locator("figcaption").first).to_contain_text("<b>x</b>.jpg")
