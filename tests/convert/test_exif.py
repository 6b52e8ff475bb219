"""Photos with an orientation flag: what a conversion does with them, and how it chooses."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from PIL import Image

from keras_to_lambda.runtime.model_file import card as cards

LABELS = ("top", "left", "bottom", "right")  # where the picture is bright
SIDE = 16


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A network that is right about every picture which it sees as its label has it."""
    path = tmp_path_factory.mktemp("model") / "bright.keras"
    image = keras.Input((SIDE, SIDE, 3))
    dense = keras.layers.Dense(4)
    net = keras.Model(image, dense(keras.layers.Flatten()(image)))
    ramp = np.linspace(1, -1, SIDE)[:, np.newaxis, np.newaxis] * np.ones((SIDE, SIDE, 3))
    sides = [np.rot90(ramp, turns) for turns in range(4)]
    kernel = np.stack([side.ravel() for side in sides], axis=1) / ramp.size
    dense.set_weights([kernel.astype(np.float32), np.zeros(4, np.float32)])
    net.save(path)
    (path.parent / "labels.txt").write_text("".join(f"{label}\n" for label in LABELS))
    return path


@pytest.fixture
def photos(tmp_path):
    """Class folders of files with flags, whose folder is right as they are `seen`, or `stored`."""

    def write(named_after, *, orientations=(3, 6, 8), kind="jpg", labels=LABELS, each=4):
        for turns, label in enumerate(LABELS):
            if label not in labels:
                continue
            (tmp_path / "p" / label).mkdir(parents=True)
            for number in range(each):
                exif = Image.Exif()
                exif[0x0112] = orientation = orientations[number % len(orientations)]
                # The stored pixels are the upright ones, turned back. Bright at the top, turned
                # against the clock.
                back = {1: 0, 3: 2, 6: 1, 8: 3}[orientation] if named_after == "seen" else 0
                scene = np.linspace(230, 20 + number, 60)[:, np.newaxis].repeat(44 + number, axis=1)
                pixels = np.rot90(scene, turns + back).astype(np.uint8)
                path = tmp_path / "p" / label / f"{number}.{kind}"
                Image.fromarray(pixels).convert("RGB").save(path, exif=exif)
        return tmp_path / "p"

    return write


@pytest.fixture
def run(convert, model):
    def call(folder, *options, source=model):
        names = model.with_name("labels.txt") if source is model else None
        status, output = convert(source, *options, photos=folder, preprocess="raw", names=names)
        assert status == 0
        return cards.load(output)

    return call


@pytest.mark.parametrize("kind", ["jpg", "png", "webp"])
def test_the_flag_is_applied_by_default_and_counted(kind, run, photos, capsys):
    card = run(photos("seen", kind=kind))
    assert card.preprocessing.exif == "apply"
    assert card.verification["accuracy"] == 1.0
    flagged = {"samples": 16, "judged": 16, "apply": 16, "ignore": 0, "fits": "apply"}
    assert card.verification["flagged"] == flagged
    out = capsys.readouterr().out
    assert "16 samples have a flag; it is applied" in out
    assert "16 samples with an EXIF" not in out


def test_a_model_that_was_trained_with_the_flag_ignored_keeps_it_ignored(run, photos, capsys):
    card = run(photos("stored"))
    assert card.preprocessing.exif == "ignore"
    assert card.verification["accuracy"] == 1.0
    out = capsys.readouterr().out
    assert "16 samples have a flag; it is ignored" in out
    assert (
        "note: of 16 samples with an EXIF orientation flag, 16 are right with the flag ignored and "
        "0 with it applied: exif: ignore"
    ) in out


def test_the_samples_of_a_model_with_one_output_decide_as_well(convert, photos, tmp_path):
    image = keras.Input((SIDE, SIDE, 3))
    dense = keras.layers.Dense(1, activation="sigmoid")
    net = keras.Model(image, dense(keras.layers.Flatten()(image)))
    ramp = np.linspace(-1, 1, SIDE)[:, np.newaxis] * np.ones((SIDE, SIDE * 3))
    dense.set_weights([ramp.reshape(-1, 1).astype(np.float32) / 9999, np.zeros(1, np.float32)])
    net.save(tmp_path / "bright.keras")
    names = tmp_path / "labels.txt"
    names.write_text("top\nbottom\n", encoding="utf-8")
    folder = photos("stored", labels=("top", "bottom"), each=6)
    status, output = convert(
        tmp_path / "bright.keras", photos=folder, preprocess="raw", names=names
    )
    assert status == 0
    card = cards.load(output)
    assert card.verification["flagged"]["ignore"] == card.verification["flagged"]["judged"] == 12
    assert card.preprocessing.exif == "ignore"


def test_few_flagged_samples_show_nothing_and_the_default_stays(run, photos):
    folder = photos("stored", orientations=(6,), labels=("left",), each=5)
    card = run(folder, "--accept-accuracy")
    flagged = {"samples": 5, "judged": 5, "apply": 0, "ignore": 5, "fits": ""}
    assert card.verification["flagged"] == flagged
    assert card.preprocessing.exif == "apply"


@pytest.mark.parametrize(
    ("given", "seen_as", "fits"), [("apply", "stored", "ignore"), ("ignore", "seen", "apply")]
)
def test_an_option_overrules_what_the_samples_show_which_is_noted(
    given, seen_as, fits, run, photos, capsys
):
    card = run(photos(seen_as), "--exif", given, "--accept-accuracy")
    assert card.preprocessing.exif == given
    out = capsys.readouterr().out
    assert f"note: exif: {given} is given, but of 16 samples" in out
    assert f"compare with --exif {fits}" in out


@pytest.mark.parametrize(
    ("states", "orientations", "options", "exif"),
    [
        ("ignore", (1,), (), "ignore"),
        ("ignore", (1,), ("--exif", "apply"), "apply"),
        # Where the card does not state it, the samples decide.
        (None, (1,), (), "apply"),
        (None, (3, 6, 8), (), "ignore"),
    ],
)
def test_a_card_beside_the_model_is_honoured_where_it_names_the_flag(
    states, orientations, options, exif, run, model, photos, tmp_path, write_json
):
    source = tmp_path / "own" / "bright.keras"
    source.parent.mkdir()
    source.write_bytes(model.read_bytes())
    body = cards.ModelCard("bright", LABELS, SIDE, SIDE).to_json()
    del body["preprocessing"]["exif"]
    if states:
        body["preprocessing"]["exif"] = states
    write_json(source.with_name("bright.card.json"), body)
    folder = photos("stored", orientations=orientations)
    assert run(folder, *options, source=source).preprocessing.exif == exif
