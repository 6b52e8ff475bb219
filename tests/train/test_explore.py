"""The exploration: numbers against independent ones, what stands out, the page and its JSON."""

from __future__ import annotations

import base64
import io
import json
import shutil
import struct
import xml.etree.ElementTree as ET
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
from PIL import Image
from sklearn.utils.class_weight import compute_class_weight

from keras_to_lambda.train import explore, survey
from keras_to_lambda.train.data import idx, photos
from keras_to_lambda.train.data.dataset import DataError

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"
LABELS = ("a & <b>", "down", "middle")
# Pictures of each class in train, validation and test, before anything is planted.
NUMBERS = {"train": (24, 12, 18), "validation": (4, 4, 4), "test": (4, 5, 6)}
VOID = {"meta", "img", "br", "link", "input", "hr", "base"}


def pattern(label, random, size=(60, 48)):
    """A slope to the right, a slope down, or a bright middle; and blots, so that none is a twin."""
    y, x = np.mgrid[0 : size[1], 0 : size[0]] / np.array(size[::-1])[:, None, None]
    value = {LABELS[0]: x, "down": y, "middle": 1 - np.hypot(x - 0.5, y - 0.5)}[label]
    pixels = 40 + 150 * value[..., None] * random.uniform(0.8, 1, 3)
    blots = Image.fromarray(random.integers(0, 90, (9, 9)).astype(np.uint8)).resize(size)
    return np.clip(pixels + np.asarray(blots)[..., None] - 30, 0, 255).astype(np.uint8)


def plant(root):
    """One of each kind that stands out, a broken file, a leak between splits, a contradiction."""
    random = np.random.default_rng(7)

    def save(path, pixels):
        Image.fromarray(pixels.astype(np.uint8)).save(root / path)

    save("train/down/small.png", pattern("down", random, (14, 11)))
    save("train/down/long.png", pattern("down", random, (200, 50)))
    save("train/middle/flat.png", np.full((48, 60, 3), 118))
    save("train/middle/dark.png", pattern("middle", random) // 9)
    save("test/middle/bright.png", 255 - pattern("middle", random) // 12)
    save("validation/a & <b>/far.png", pattern(LABELS[0], random)[:, ::-1])
    (root / "train" / "down" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    shutil.copy(root / "train" / "middle" / "003.png", root / "test" / "middle" / "again.png")
    shutil.copy(root / "train" / "down" / "005.png", root / "train" / "middle" / "other.png")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("data") / "three shapes"
    random = np.random.default_rng(3)
    for split, numbers in NUMBERS.items():
        for label, number in zip(LABELS, numbers, strict=True):
            (root / split / label).mkdir(parents=True)
            for index in range(number):
                # A picture that stands on its side now and then.
                size = (60, 48) if index % 3 else (48, 60)
                path = root / split / label / f"{index:03}.png"
                Image.fromarray(pattern(label, random, size)).save(path)
    plant(root)
    return root


@pytest.fixture(scope="module")
def found(root, tmp_path_factory):
    """The page, parsed, and the JSON, as the command writes them."""
    folder = tmp_path_factory.mktemp("out")
    assert explore.main([str(root), "-o", str(folder / "shapes.html"), "--samples", "4"]) == 0
    text = (folder / "shapes.html").read_text(encoding="utf-8")
    return Page.of(text), json.loads((folder / "shapes.json").read_text(encoding="utf-8")), text


def pictures(root, split="*"):
    """What Pillow reads, by path below the root; the broken one left out."""
    paths = [p for p in sorted(root.glob(f"{split}/*/*.png")) if p.name != "broken.png"]
    return {str(p.relative_to(root)): np.asarray(Image.open(p).convert("RGB")) for p in paths}


class Page(HTMLParser):
    """Every element: tag, attributes, and all text in it. Fails where tags do not match."""

    def __init__(self):
        super().__init__()
        self.elements, self.open = [], []

    @classmethod
    def of(cls, text):
        page = cls()
        page.feed(text)
        page.close()
        assert not page.open
        return page

    def handle_starttag(self, tag, attrs):
        element = {"tag": tag, "attrs": dict(attrs), "text": "", "inner": []}
        for outer in self.open:
            outer["inner"].append(element)
        self.elements.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_endtag(self, tag):
        assert self.open.pop()["tag"] == tag

    def handle_data(self, data):
        for element in self.open:
            element["text"] += data

    def all(self, tag, css=None):
        return [
            e
            for e in self.elements
            if e["tag"] == tag and (css is None or css in e["attrs"].get("class", "").split())
        ]

    def rows(self, css):
        (table,) = self.all("table", css)
        return [
            [" ".join(cell["text"].split()) for cell in row["inner"] if cell["tag"] == "td"]
            for row in table["inner"]
            if row["tag"] == "tr"
        ][1:]


def test_counts_and_shares_are_those_of_the_files(root, found):
    _, record, _ = found
    counts = Counter(tuple(path.split("/")[:2]) for path in pictures(root))
    total = sum(counts.values())
    assert record["pictures"] == total == 89
    assert [entry["label"] for entry in record["classes"]] == list(LABELS)
    for entry in record["classes"]:
        own = {split: counts[split, entry["label"]] for split in NUMBERS}
        assert {split: entry[split] for split in NUMBERS} == own
        assert entry["total"] == sum(own.values())
        assert entry["share"] == pytest.approx(sum(own.values()) / total)
    assert record["splits"] == {
        split: sum(n for (s, _), n in counts.items() if s == split) for split in NUMBERS
    }


def test_balance_is_told_as_scikit_learn_weighs_classes(found):
    _, record, _ = found
    numbers = [24, 14, 21]  # of train, with what is planted
    targets = np.repeat(np.arange(3), numbers)
    expected = compute_class_weight("balanced", classes=np.arange(3), y=targets)
    assert [entry["weight"]["1.0"] for entry in record["classes"]] == pytest.approx(expected)
    half = np.array([entry["weight"]["0.5"] for entry in record["classes"]])
    assert half[1] / half[0] == pytest.approx((24 / 14) ** 0.5)
    assert np.average(half, weights=numbers) == pytest.approx(1)
    assert record["balance"] == {
        "largest": LABELS[0],
        "smallest": "down",
        "ratio": pytest.approx(24 / 14),
        "guess": pytest.approx(4 / 17),
        "on": "test",
    }


def test_splits_are_compared_by_pearsons_chi_square(found):
    _, record, _ = found
    table = np.array([[24, 5, 4], [14, 4, 5], [21, 4, 8]])
    expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / table.sum()
    statistic = ((table - expected) ** 2 / expected).sum()
    shares = record["split_shares"]
    assert shares["chi_square"] == pytest.approx(statistic)
    assert shares["degrees"] == 4
    assert shares["p"] == pytest.approx(scipy.stats.chi2.sf(statistic, 4))
    assert shares["alike"]
    assert shares["sparse"] == ((expected < 5).sum() > 0.2 * 9)
    assert (shares["label"], shares["split"]) == (LABELS[0], "test")
    assert shares["here"] == pytest.approx(4 / 17)
    assert shares["train"] == pytest.approx(24 / 59)


def test_splits_that_differ_are_said_to(tmp_path):
    for split, numbers in {"train": (90, 10), "validation": (9, 1), "test": (5, 25)}.items():
        for label, number in zip("xy", numbers, strict=True):
            (tmp_path / split / label).mkdir(parents=True)
            for index in range(number):
                Image.new("RGB", (8, 8)).save(tmp_path / split / label / f"{index}.png")
    data = photos.load(tmp_path, 1)
    told = explore.about_shares(survey.survey(data, 24))
    assert "differ in their class shares by more than chance" in told
    assert "x is 16.7% of test and 90.0% of train" in told


def test_sizes_are_those_that_pillow_reads(root, found):
    _, record, _ = found
    sizes = Counter((p.shape[1], p.shape[0]) for p in pictures(root).values())
    every = np.array(list(sizes.elements()))
    told = record["sizes"]
    assert told["distinct"] == len(sizes) == 4
    assert {(s["width"], s["height"]): s["pictures"] for s in told["commonest"]} == dict(sizes)
    assert told["commonest"][0]["pictures"] == max(sizes.values())
    for name, values in (
        ("width", every[:, 0]),
        ("height", every[:, 1]),
        ("aspect", every[:, 0] / every[:, 1]),
    ):
        expected = [values.min(), np.median(values), values.max()]
        assert told[name] == pytest.approx(expected)
    assert told["shorter_side_below"] == {"160": 89, "224": 89}


def test_pictures_that_an_input_enlarges_are_counted_by_their_shorter_side(root):
    found = survey.survey(photos.load(root, 1), 0)
    shorter = np.array([min(p.shape[:2]) for p in pictures(root).values()])
    for side in (11, 12, 48, 49, 50, 51):
        assert found.below(side) == (shorter < side).sum()
    assert found.below(49) == 88


def test_colour_is_of_all_pixels_of_train_and_each_picture_counts_the_same(root, found):
    _, record, _ = found
    train = [p.reshape(-1, 3) / 255 for p in pictures(root, "train").values()]
    mean = np.mean([p.mean(axis=0) for p in train], axis=0)
    square = np.mean([(p**2).mean(axis=0) for p in train], axis=0)
    assert record["colour"]["mean"] == pytest.approx(mean)
    assert record["colour"]["std"] == pytest.approx(np.sqrt(square - mean**2))


def test_one_planted_of_each_kind_stands_out_and_nothing_else(found):
    _, record, _ = found
    told = {outlier["name"]: dict(outlier["reasons"]) for outlier in record["outliers"]}
    for kind, name in {
        "small": "down/small.png",
        "long": "down/long.png",
        "flat": "middle/flat.png",
        "dark": "middle/dark.png",
        "bright": "middle/bright.png",
        "far": "a & <b>/far.png",
    }.items():
        assert kind in told[name], name
    assert told["down/small.png"]["small"] == "small: 14 x 11 pixels; the median shorter side is 48"
    assert told["down/long.png"]["long"] == "4.00 times as wide as high"
    assert set(told["a & <b>/far.png"]) == {"far"}
    # What has another class's label is far from that class's mean.
    assert set(told["middle/other.png"]) == {"far"}
    assert len(told) == len(record["outliers"]) == 7
    splits = {outlier["name"]: outlier["split"] for outlier in record["outliers"]}
    assert splits["middle/bright.png"] == "test"
    assert splits["a & <b>/far.png"] == "validation"
    kinds = Counter(kind for reasons in told.values() for kind in reasons)
    assert record["standing_out"] == dict(kinds)


def test_robust_deviations_are_scipys():
    values = np.random.default_rng(0).normal(5, 2, 101)
    expected = (values - np.median(values)) / scipy.stats.median_abs_deviation(
        values, scale=scipy.stats.norm.ppf(0.75)
    )
    assert survey.robust(values, 0.01) == pytest.approx(expected, rel=1e-4)
    # Of values that are all the same but one, the floor is the deviation.
    assert survey.robust(np.array([1.0, 1, 1, 1, 3]), 0.5).tolist() == [0, 0, 0, 0, 4]


def test_distances_are_from_the_mean_of_the_own_class():
    random = np.random.default_rng(1)
    small = random.integers(0, 256, (2100, 12)).astype(np.uint8)
    targets = np.array([0] * 2090 + [1] * 10, np.int32)
    told = survey.distances(small, targets, 3)
    for target in (0, 1):
        own = small[targets == target].astype(float)
        apart = np.linalg.norm(own - own.mean(axis=0), axis=1) / np.sqrt(12) / 255
        deviation = scipy.stats.median_abs_deviation(apart) * 1.4826
        expected = (apart - np.median(apart)) / max(deviation, 0.01)
        assert told[targets == target] == pytest.approx(expected)
    few = survey.distances(small[:7], np.zeros(7, np.int32), 1)
    assert few.tolist() == [0] * 7


def test_a_common_kind_leaves_room_for_the_others(tmp_path):
    random = np.random.default_rng(5)
    for label in LABELS[1:]:
        (tmp_path / label).mkdir()
        for index in range(40):
            pixels = pattern(label, random)
            if index < 6:
                pixels = pattern(label, random, (300, 48))
            elif index == 6 and label == "down":
                pixels = pixels // 12
            Image.fromarray(pixels).save(tmp_path / label / f"{index:02}.png")
    told = survey.survey(photos.load(tmp_path, 1), 4)
    assert told.standing_out["long"] == 12
    assert len(told.outliers) == 4
    assert "down/06.png" in {outlier.name for outlier in told.outliers}


def test_a_broken_file_is_named_with_its_reason(found):
    page, record, _ = found
    (broken,) = record["broken"]
    assert broken["file"] == "train/down/broken.png"
    (row,) = page.all("tr", "broken")
    assert [cell["text"] for cell in row["inner"]] == [broken["file"], broken["reason"]]
    assert "damaged" in broken["reason"]


def test_headers_tell_formats_modes_transparency_and_orientation(tmp_path):
    for label in "xy":
        (tmp_path / label).mkdir()
        for index in range(4):
            Image.new("L", (8, 8), 90).save(tmp_path / label / f"{index}.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (20, 10)).save(tmp_path / "x" / "turned.jpg", exif=exif)
    exif[0x0112] = 1
    Image.new("RGB", (20, 10)).save(tmp_path / "x" / "upright.jpg", exif=exif)
    Image.new("RGBA", (8, 8)).save(tmp_path / "y" / "clear.png")
    Image.new("P", (8, 8)).save(tmp_path / "y" / "palette.gif", transparency=0)
    files = survey.survey(photos.load(tmp_path, 1), 24).files
    assert files.formats == {"PNG": 9, "JPEG": 2, "GIF": 1}
    assert files.modes == {"L": 8, "RGB": 2, "P": 1, "RGBA": 1}
    assert (files.transparent, files.turned) == (2, 1)


def test_the_page_needs_nothing_but_itself(found):
    page, _, text = found
    assert not page.all("script")
    assert not page.all("link")
    assert not page.all("iframe")
    assert "http" not in text.replace("http-equiv", "")
    assert "url(" not in text
    for element in page.elements:
        assert not set(element["attrs"]) & {"href", "srcset", "action", "onclick", "onload"}
    images = page.all("img")
    assert len(images) >= 3 * (1 + 4) + 6
    for image in images:
        kind, _, data = image["attrs"]["src"].partition(";base64,")
        decoded = base64.b64decode(data, validate=True)
        assert image["attrs"]["alt"]
        if kind == "data:image/svg+xml":
            assert ET.fromstring(decoded).tag.endswith("svg")
        else:
            assert kind == "data:image/jpeg"
            assert max(Image.open(io.BytesIO(decoded)).size) <= 160


def test_labels_are_escaped(found):
    page, _, text = found
    assert "a &amp; &lt;b&gt;" in text
    assert "a & <b>" not in text
    assert any(element["text"].strip() == LABELS[0] for element in page.all("div", "label"))


def test_the_json_is_what_the_page_says(found):
    page, record, _ = found
    whole = page.all("body")[0]["text"]
    tiles = {
        "".join(t["text"].split()).removeprefix(t["inner"][0]["text"].replace(" ", "")): t["inner"][
            0
        ]["text"]
        for t in page.all("div", "tile")
    }
    assert tiles["pictures"] == str(record["pictures"])
    assert tiles["classes"] == str(len(record["classes"]))
    assert {split: tiles[split] for split in NUMBERS} == {
        split: str(number) for split, number in record["splits"].items()
    }
    assert tiles["broken,leftout"] == str(len(record["broken"]))
    assert tiles["largesttosmallestclass"] == f"{record['balance']['ratio']:.1f} : 1"
    assert tiles["near-duplicatesbetweensplits"] == str(len(record["twins"]["between_splits"]))
    expected = [
        [
            entry["label"],
            *(
                f"{entry[split]} {entry[split] / record['splits'][split]:.1%}"
                for split in ("train", "validation", "test")
            ),
            str(entry["total"]),
            f"{entry['share']:.1%}",
            f"{entry['weight']['0.5']:.2f}",
            f"{entry['weight']['1.0']:.2f}",
        ]
        for entry in sorted(record["classes"], key=lambda entry: -entry["total"])
    ]
    assert page.rows("counts") == expected
    assert page.rows("colours") == [
        [name, f"{mean:.4f}", f"{deviation:.4f}"]
        for name, mean, deviation in zip(
            ("red", "green", "blue"),
            record["colour"]["mean"],
            record["colour"]["std"],
            strict=True,
        )
    ]
    shown = [" ".join(figure["text"].split()) for figure in page.all("figure", "outlier")]
    assert shown == [
        f"{o['label']}: {'; '.join(told for _, told in o['reasons'])}{o['split']}, {o['name']}"
        for o in record["outliers"]
    ]
    assert record["sha256"] in whole
    assert f"chi-square {record['split_shares']['chi_square']:.1f}" in whole


def test_a_picture_in_two_splits_is_shown_beside_itself(found):
    page, record, _ = found
    (leak,) = record["twins"]["between_splits"]
    sides = {leak[side]["split"]: leak[side] for side in ("first", "second")}
    assert sides["train"]["name"] == "middle/003.png"
    assert sides["test"]["name"] == "middle/again.png"
    assert leak["same_label"]
    pair, _ = [figure for figure in page.all("figure") if "similarity" in figure["text"]]
    images = [element for element in pair["inner"] if element["tag"] == "img"]
    assert {image["attrs"]["alt"] for image in images} == {"middle/003.png", "middle/again.png"}
    assert images[0]["attrs"]["src"] == images[1]["attrs"]["src"]
    assert f"similarity {leak['similarity']:.3f}" in pair["text"]
    assert "two labels" not in pair["text"]


def test_a_picture_with_two_labels_in_train_is_shown_with_both(found):
    page, record, _ = found
    (pair,) = record["twins"]["contradictions"]
    sides = {pair[side]["label"]: pair[side] for side in ("first", "second")}
    assert {label: side["name"] for label, side in sides.items()} == {
        "down": "down/005.png",
        "middle": "middle/other.png",
    }
    assert not pair["same_label"]
    _, shown = [figure for figure in page.all("figure") if "similarity" in figure["text"]]
    assert "two labels" in shown["text"]
    assert all(side["name"] in shown["text"] for side in sides.values())


def test_twins_are_not_looked_for_when_told_so(root, tmp_path, capsys):
    out = tmp_path / "page.html"
    assert explore.main([str(root), "-o", str(out), "--no-twins"]) == 0
    told = capsys.readouterr()
    assert "near-duplicate" not in told.out
    assert told.err == ""
    assert json.loads((tmp_path / "page.json").read_text())["twins"] is None
    page = Page.of(out.read_text())
    assert any("not looked for" in tile["text"] for tile in page.all("div", "tile"))
    assert not any("Near-dup" in head["text"] for head in page.all("h2"))


def test_the_same_seed_writes_the_same_bytes_and_another_shows_other_pictures(root, tmp_path):
    def shown(name, seed):
        out = tmp_path / f"{name}.html"
        assert explore.main([str(root), "-o", str(out), "--no-twins", "--seed", str(seed)]) == 0
        rows = Page.of(out.read_text()).all("div", "looks")
        alts = [[e["attrs"]["alt"] for e in row["inner"] if e["tag"] == "img"] for row in rows]
        return out.read_bytes(), alts

    first, shown_first = shown("one", 1)
    assert shown("two", 1)[0] == first
    _, shown_other = shown("three", 2)
    assert shown_other != shown_first
    # Each class by itself, from train alone, and no picture twice.
    for mean, *names in shown_first:
        label = mean.removeprefix("The mean ")
        assert len(set(names)) == len(names) == explore.SAMPLES
        assert all((root / "train" / name).is_file() for name in names)
        assert all(name.startswith(f"{label}/") for name in names)


def digits(folder, labels=10, each=30, side=12):
    """idx files of grey squares: on the left, brighter the higher the label; and noise."""
    folder.mkdir(exist_ok=True)
    targets = np.arange(labels * each) % labels
    images = np.random.default_rng(2).integers(0, 50, (len(targets), side, side))
    images[:, :, : side // 2] += (10 + 180 * targets // labels)[:, None, None]
    for name, values in (("images-idx3", images), ("labels-idx1", targets)):
        data = bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape)
        data += values.astype(np.uint8).tobytes()
        (folder / f"t10k-{name}-ubyte").write_bytes(data)
    return folder


def test_arrays_are_explored_in_grey_at_their_size(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert explore.main([str(digits(tmp_path / "squares")), "--no-twins"]) == 0
    assert "All pictures have 12 x 12 pixels." in capsys.readouterr().out
    record = json.loads((tmp_path / "squares.exploration.json").read_text())
    data = idx.load(tmp_path / "squares", 1)
    images = data.splits["train"].images
    assert record["colour"]["mean"] == pytest.approx([images.mean() / 255])
    assert record["colour"]["std"] == pytest.approx([images.std() / 255])
    assert record["files"] is None
    assert record["sizes"]["distinct"] == 1
    page = Page.of((tmp_path / "squares.exploration.html").read_text())
    assert [row[0] for row in page.rows("colours")] == ["grey"]
    assert not page.all("img", "plot")
    found = survey.survey(data, 24)
    for target in range(10):
        mean = images[data.splits["train"].targets == target].mean(axis=0)
        assert np.abs(found.means[target, ..., 0] - mean).max() <= 0.5


def test_of_many_classes_fewer_pictures_are_shown_each(tmp_path):
    out = tmp_path / "page.html"
    root = digits(tmp_path / "many", labels=101, each=10)
    assert explore.main([str(root), "-o", str(out), "--no-twins"]) == 0
    rows = Page.of(out.read_text()).all("div", "looks")
    assert len(rows) == 101
    # The mean, and 400 // 101 others.
    assert {sum(e["tag"] == "img" for e in row["inner"]) for row in rows} == {4}


def test_many_sizes_are_binned(tmp_path, monkeypatch):
    random = np.random.default_rng(4)
    for label in "xy":
        (tmp_path / label).mkdir()
        for index in range(10):
            size = tuple(int(side) for side in random.integers(4, 90, 2))
            Image.new("RGB", size).save(tmp_path / label / f"{index}.png")
    data = photos.load(tmp_path, 1)
    found = survey.survey(data, 24)
    circles = explore._chart(found)
    assert explore._chart(found) == circles
    monkeypatch.setattr(explore, "MOST_SIZES", 5)
    binned = explore._chart(found)
    assert binned.startswith("data:image/svg+xml;base64,")
    assert binned != circles


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("photos/shoes", "shoes"),
        ("photos/shoes/", "shoes"),
        ("keras:cifar10", "cifar10"),
        ("git:https://example.com/someone/hats.git", "hats"),
        ("cifar-10-python.tar.gz", "cifar-10-python"),
        ("list.csv", "list"),
        ("v1.2", "v1.2"),
        ("/", "data"),
    ],
)
def test_the_page_is_named_for_the_data(source, name):
    assert explore._name(source) == name


def test_a_folder_that_one_stands_in_has_its_own_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert explore._name(".") == tmp_path.name


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nowhere"], "nowhere"),
        (["DATA", "--samples", "0"], "--samples must be at least 1"),
        (["DATA", "--seed", "-1"], "--seed must be from 0"),
        (["DATA", "-o", "."], "is a folder; -o wants the page's name"),
        (["DATA", "-o", "page.json"], "must end in .html"),
        (["DATA", "-o", "file/page.html", "--no-twins"], "name another with -o"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(root, tmp_path, monkeypatch, capsys, arguments, told):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("no folder")
    arguments = [str(root) if argument == "DATA" else argument for argument in arguments]
    assert explore.main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("k2l explore: error: ")
    assert told in error
    assert error.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]


def test_a_picture_that_vanishes_is_said_to_have(root, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(root, copy)
    exploration = explore.explore(str(copy), twins=False)
    shutil.rmtree(copy / "train" / "middle")
    with pytest.raises(DataError, match=r"has changed while it was read .*: start again"):
        explore.write(exploration, 4, tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


def test_the_clothing_photos_make_a_page_of_bearable_size(tmp_path, capsys):
    root = SHARED / "clothing-dataset-small" / "test"
    if not root.is_dir():
        pytest.skip("the clothing photos are not here")
    out = tmp_path / "page.html"
    assert explore.main([str(root), "-o", str(out), "--no-twins"]) == 0
    assert "372 pictures of 10 classes" in capsys.readouterr().out
    # Of all 3,781, no more pictures would be on it.
    assert out.stat().st_size < 2e6
    assert len(Page.of(out.read_text()).all("img")) > 80
