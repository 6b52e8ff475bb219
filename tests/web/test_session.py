"""Several pictures: prepared and asked about in turn, listed, marked, filtered and kept."""

from __future__ import annotations

import csv
import io
import json
import shutil
import zipfile

import pytest
from PIL import Image
from playwright.sync_api import expect

from keras_to_lambda.class_folders import ClassFolders, images
from tests.web.use import (
    ROOT,
    SAMPLES,
    T_SHIRT,
    best,
    choose,
    done,
    give,
    padded,
    press,
    sample,
    saved,
)

LABELS = ["dress", "longsleeve", "pants", "shorts", "skirt", "t-shirt"]


@pytest.fixture
def twenty(tmp_path):
    files = [tmp_path / f"{number:02}-{LABELS[number % 6]}.jpg" for number in range(20)]
    for number, file in enumerate(files):
        shutil.copy(SAMPLES / f"{LABELS[number % 6]}.jpg", file)
    return files


def labels(page):
    return page.locator(".strip li:visible em").all_text_contents()


def test_twenty_pictures_are_listed_counted_filtered_and_removed(page, twenty):
    give(page, *twenty)
    done(page, 20)
    assert labels(page) == [LABELS[number % 6] for number in range(20)]
    expect(page.locator("#status")).to_have_text("20 of 20 classified")
    expect(best(page)).to_contain_text("dress")
    page.locator(".pick").nth(2).click()
    expect(best(page)).to_contain_text("pants")
    expect(page.locator("#status")).to_contain_text("02-pants.jpg: pants")
    options = page.locator("#filter option").all_text_contents()
    assert options[0] == "all (20)"
    assert {"dress (4)", "longsleeve (4)", "pants (3)", "t-shirt (3)"} <= set(options)
    page.locator("#filter").select_option("is shorts")
    assert labels(page) == ["shorts"] * 3
    press(page, "Remove 03-shorts.jpg")
    assert labels(page) == ["shorts"] * 2
    expect(page.locator("#status")).to_have_text("03-shorts.jpg removed")
    press(page, "Clear the list")
    expect(page.locator("#empty")).to_be_visible()
    expect(page.locator(".strip li")).to_have_count(0)


def test_pictures_are_listed_before_the_first_is_prepared(page, tmp_path, context):
    """Preparation is held back; names are there, and the screen shows no older answer."""
    sample(page, "dress")
    done(page, 1)
    session = context.new_cdp_session(page)
    session.send("Emulation.setCPUThrottlingRate", {"rate": 4})
    held = []

    def hold(route):  # playwright cannot take a list's own method
        held.append(route)

    context.route("**/static/preparer.js", hold)
    files = [padded(tmp_path, f"large-{number}.jpg") for number in range(3)]
    with page.expect_request("**/static/preparer.js"):
        give(page, *files)
    expect(page.locator(".strip li")).to_have_count(4)
    assert labels(page) == ["preparing …"] * 3 + ["dress"]
    expect(page.locator(".wait")).to_contain_text("Preparing the picture")
    expect(page.locator(".best")).to_have_count(0)
    for route in held:
        route.continue_()
    done(page, 4)
    assert labels(page) == ["t-shirt"] * 3 + ["dress"]


def test_what_failed_is_tried_again_alone_or_at_once(page, context, expected):
    expected.append("ERR_INTERNET_DISCONNECTED")
    expect(page.locator("#samples img").first).to_be_visible()
    context.set_offline(True)
    press(page, "Try all")
    expect(page.locator("#status")).to_have_text("0 of 6 classified, 6 failed")
    expect(page.locator(".error h2")).to_contain_text("You are offline")
    context.set_offline(False)
    press(page, "Try again")
    expect(best(page)).to_contain_text("dress")
    expect(best(page)).to_be_focused()  # as the button was
    press(page, "Try failed again (5)")
    done(page, 6)
    assert labels(page) == LABELS
    expect(page.get_by_role("button", name="Try failed again")).to_be_hidden()


def test_a_list_that_is_cleared_stops_its_requests(page, twenty):
    page.route("**/tensor*", lambda route: page.wait_for_timeout(50) or route.continue_())
    give(page, *twenty)
    expect(page.locator(".strip li")).to_have_count(20)
    press(page, "Clear the list")
    page.unroute_all(behavior="ignoreErrors")
    sample(page, "dress")
    done(page, 1)
    share = page.locator(".best small").first.inner_text()
    expect(page.locator("#status")).to_have_text(f"dress-sample.jpg: dress, {share}")


def test_where_two_models_disagree_is_found(page):
    choose(page, "digits", against="digits-tree")
    press(page, "Try all")
    done(page, 10)
    assert [text[0] for text in labels(page)] == list("0123456789")
    page.locator("#filter").select_option("disagree")
    assert labels(page) == ["2 / 6", "3 / 8", "6 / 4", "8 / 9"]


def test_one_key_marks_an_answer_and_the_next_one_is_shown(page):
    press(page, "Try all")
    done(page, 6)
    page.locator(".pick").first.click()
    page.locator(".best").focus()
    page.keyboard.press("y")
    expect(best(page)).to_contain_text("longsleeve")
    expect(best(page)).to_be_focused()
    second = page.locator(".bars tbody th b").nth(1).inner_text()
    page.keyboard.press("2")
    expect(best(page)).to_contain_text("pants")
    page.keyboard.press("n")
    expect(page.get_by_role("combobox", name="The right label")).to_be_focused()
    page.get_by_role("combobox", name="The right label").select_option("hat")
    expect(page.locator("#score")).to_have_text("1 of 3 marked as right (33.3%).")
    content = saved(page, "Labelled photos (zip)").read_bytes()
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        folders = {name.split("/")[0]: archive.read(name) for name in archive.namelist()}
    assert set(folders) == {"dress", second, "hat"}
    size = Image.open(io.BytesIO(folders["dress"])).size
    with Image.open(ROOT / "models" / "clothing" / "samples" / "dress.jpg") as image:
        assert size == image.size


def test_a_session_is_saved_as_csv_json_and_page(page, tmp_path):
    strange = tmp_path / 'a "b", c.jpg'
    shutil.copy(T_SHIRT, strange)
    give(page, strange, ROOT / "LICENSE")
    done(page, 2)
    expect(best(page)).to_contain_text("t-shirt")
    expect(page.locator("#status")).to_have_text("1 of 2 classified, 1 failed")
    page.locator("#filter").select_option("failed")
    assert labels(page) == ["failed"]
    press(page, "Yes")
    table = list(csv.reader(io.StringIO(saved(page, "CSV").read_text("utf-8"))))
    assert table[0] == ["picture", "clothing", "clothing probability", "right label"]
    rows = {row[0]: row[1:] for row in table[1:]}
    assert rows['a "b", c.jpg'][0::2] == ["t-shirt", "t-shirt"]
    assert rows["LICENSE"] == ["unreadable", "", ""]
    # The marked picture is a folder of photos as the commands read them.
    with zipfile.ZipFile(saved(page, "Labelled photos (zip)")) as archive:
        archive.extractall(tmp_path / "labelled")
    photos = images(tmp_path / "labelled")
    assert ClassFolders(["pants", "t-shirt"]).truth(photos) == [1]
    assert photos[0].read_bytes() == T_SHIRT.read_bytes()
    records = json.loads(saved(page, "JSON").read_text("utf-8"))
    by_name = {record["picture"]: record for record in records}
    clothing = by_name['a "b", c.jpg']["answers"]["clothing"]
    assert clothing["label"] == "t-shirt"
    assert sum(clothing["probabilities"].values()) == pytest.approx(1)
    assert by_name["LICENSE"]["answers"]["clothing"] == {"error": "unreadable"}
    html = saved(page, "Page").read_text("utf-8")
    assert html.count("<article") == 2


def test_a_session_survives_a_reload_without_another_request(page):
    give(page, SAMPLES / "pants.jpg", SAMPLES / "dress.jpg")
    done(page, 2)
    press(page, "Yes")
    expect(page.locator("#score")).to_contain_text("1 of 1")
    asked = []
    page.on("request", lambda request: asked.append(request.method))
    page.reload()
    done(page, 2)
    assert labels(page) == ["pants", "dress"]
    expect(page.locator("#score")).to_contain_text("1 of 1")
    expect(page.locator(".strip img").first).to_be_visible()
    assert "POST" not in asked
    press(page, "Clear the list")
    page.reload()
    expect(page.locator("body")).to_have_attribute("data-ready", "true")
    expect(page.locator(".strip li")).to_have_count(0)
