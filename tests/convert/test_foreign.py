"""A `.tflite` of another program becomes one with a card, proven on labelled samples."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from keras_to_lambda.convert import verify
from keras_to_lambda.convert.common import source_card
from keras_to_lambda.convert.convert import main
from keras_to_lambda.convert.quantize import pixel_front
from keras_to_lambda.convert.quantize.metadata_writer import attach
from keras_to_lambda.runtime.image.preprocess import prepare
from keras_to_lambda.runtime.model.interpreter import Classifier
from keras_to_lambda.runtime.model_file import card as cards
from keras_to_lambda.runtime.model_file.card import Affine, ModelCard, Preprocessing
from tests.small_tflite import network, third_party

COLOURS = {"red": (230, 20, 30), "green": (10, 220, 40), "blue": (20, 30, 240)}
STATED = ModelCard("x", tuple(COLOURS), 8, 8, preprocessing=Preprocessing(scaling="mobilenet"))


@pytest.fixture
def place(tmp_path):
    """A folder with class folders of photos, and labels.txt."""
    random = np.random.default_rng(3)
    for name, colour in COLOURS.items():
        (tmp_path / "photos" / name.upper()).mkdir(parents=True)
        for number in range(4):
            noise = random.integers(-15, 15, (9 + number, 11, 3))
            pixels = (np.array(colour) + noise).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name.upper() / f"{number}.png")
    (tmp_path / "labels.txt").write_text("red\ngreen\nblue\n")
    return tmp_path


@pytest.fixture
def convert(place, in_process, capfd):
    """Run the command on a flatbuffer: exit status, output file, what was printed."""

    def run(flatbuffer, *options, photos="photos"):
        (place / "net.tflite").write_bytes(flatbuffer)
        arguments = [str(place / "net.tflite"), "--samples", str(place / photos)]
        status = main([*arguments, "-o", str(place / "out" / "net.tflite"), *options])
        printed = capfd.readouterr()
        return status, place / "out" / "net.tflite", printed.out + printed.err

    return run


LABELS = ("--labels", "LABELS")
STEPS = {"uint8": (1 / 127.5, 127), "int8": (1 / 127.5, 0)}


@pytest.mark.parametrize(
    ("flatbuffer", "options", "scaling", "output"),
    [
        (network(softmax=False), (*LABELS, "--preprocess", "rescale"), "rescale", "logits"),
        (
            network(),
            (*LABELS, "--preprocess", "mean=127.5,std=127.5"),
            Affine((1 / 127.5,) * 3, (-1.0,) * 3),
            "probabilities",
        ),
        # What the file says is not asked for.
        (network("uint8"), LABELS, Affine((1 / 127.5,) * 3, (-127 / 127.5,) * 3), "probabilities"),
        (network("int8"), LABELS, Affine((1 / 127.5,) * 3, (-128 / 127.5,) * 3), "probabilities"),
        (network("uint8"), (*LABELS, "--preprocess", "mobilenet"), "mobilenet", "probabilities"),
        (
            network("uint8", dequantized=True),
            LABELS,
            Affine((1 / 127.5,) * 3, (-127 / 127.5,) * 3),
            "probabilities",
        ),
        (
            third_party(attach(network(), STATED)),
            (),
            Affine((1 / 127.5,) * 3, (-1.0,) * 3),
            "probabilities",
        ),
        # No scaling that has a name fits: no other is tried on the samples.
        (
            network("uint8", steps=(1 / 50, 0)),
            LABELS,
            Affine((1 / 50,) * 3, (0,) * 3),
            "probabilities",
        ),
    ],
    ids=["float", "numbers", "uint8", "int8", "agreeing", "float scores", "metadata", "own steps"],
)
def test_the_card_is_written_into_the_file(place, convert, flatbuffer, options, scaling, output):
    options = [str(place / "labels.txt") if word == "LABELS" else word for word in options]
    status, path, text = convert(flatbuffer, *options)
    assert status == 0, text
    assert "accuracy" in text
    card = cards.load(path)
    assert (card.name, card.labels, card.output) == ("net", tuple(COLOURS), output)
    assert card.activation == "softmax"
    steps = card.preprocessing
    assert (steps.resize, steps.interpolation) == ("stretch", "tf:bilinear")
    if isinstance(scaling, Affine):
        np.testing.assert_allclose(
            (steps.scaling.scale, steps.scaling.offset), (scaling.scale, scaling.offset), rtol=1e-6
        )
    else:
        assert steps.scaling == scaling
    assert card.provenance["source_kind"] == "tflite"
    assert card.verification["accuracy"] == 1.0
    scores = Classifier(path).logits(prepare(Image.new("RGB", (5, 9), (10, 240, 10)), card))
    assert np.argmax(scores) == 1
    assert not path.with_name("net.tflite.part").exists()


def test_given_labels_replace_the_label_file_that_the_metadata_names_and_the_file_lacks(
    place, convert
):
    bare = attach(network(), STATED)
    status, path, text = convert(bare, "--labels", str(place / "labels.txt"))
    assert status == 0, text
    assert "note: net.tflite has no labels.txt, the label file that its metadata names" in text
    assert cards.load(path).labels == tuple(COLOURS)
    status, path, text = convert(bare)
    assert status == 2
    assert "required: --labels (no" in text


def test_one_output_and_no_channel_axis_are_converted(place, convert):
    for name, level in (("dark", 30), ("light", 220)):
        (place / "two" / name).mkdir(parents=True)
        for number in range(3):
            image = Image.new("RGB", (9, 7), (level + number,) * 3)
            image.save(place / "two" / name / f"{number}.png")
    (place / "labels.txt").write_text("dark\nlight\n")
    status, path, text = convert(
        network(shape=(1, 8, 8), axes=(1, 2), keep_axes=True, softmax=False),
        *("--labels", str(place / "labels.txt"), "--preprocess", "mobilenet"),
        photos="two",
    )
    assert status == 0, text
    card = cards.load(path)
    assert (card.height, card.width, card.channels, card.output) == (8, 8, 1, "logits")
    grey = np.full((8, 8, 1), 0.25, np.float32)
    np.testing.assert_allclose(Classifier(path).logits(grey), [0, 0.25])


def test_teachable_machines_export_needs_the_samples_alone(place, convert):
    (place / "labels.txt").write_text("0 red\n1 green\n2 blue\n")
    status, path, text = convert(network(), "--teachable-machine")
    assert status == 0, text
    steps = cards.load(path).preprocessing
    assert (steps.resize, steps.interpolation) == ("crop", "pillow:lanczos")
    assert steps.scaling == "mobilenet"
    status, path, text = convert(network("uint8"), "--teachable-machine")
    assert status == 0, text
    assert cards.load(path).preprocessing.scaling.scale == pytest.approx([1 / 127.5] * 3)


@pytest.mark.parametrize(
    ("flatbuffer", "options", "message"),
    [
        (network(), (), "required: --labels, --preprocess (no net.card.json beside the model)"),
        (network(), ("--preprocess", "raw"), "required: --labels (no net.card.json"),
        (network(), LABELS, "required: --preprocess (no net.card.json beside the model). "
            "--preprocess: how pixels were scaled in training: rescale (0..1), raw (0..255)"),
        (network(), LABELS, "k2l detect PLACE/net.tflite --samples PLACE/photos` finds out"),
        (network("uint8"), (*LABELS, "--preprocess", "raw"),
            "net.tflite: its input has a scale of 0.00784314 and a zero point of 127, which is "
            "-0.9961 to 1.004; --preprocess gives 0 to 255"),
        (network(), (*LABELS, "--preprocess", "raw", "--quantize", "int8"),
            "net.tflite is converted already; leave out --quantize"),
        (network(axes=(2,)), (*LABELS, "--preprocess", "raw"), "net.tflite cannot be served: it "
            "gives (1, 8, 3); an image classifier gives (1, labels)"),
        (network(shape=(1, 8, 8, 5)), (*LABELS, "--preprocess", "raw"), "it takes (1, 8, 8, 5)"),
        (network(shape=(1, 8, 8, 4)), (*LABELS, "--preprocess", "raw"),
            "there are 3 labels, net.tflite has 4 outputs: give one label for each output"),
        (network()[:200], (*LABELS, "--preprocess", "raw"), "was cut short or damaged"),
    ],
)  # fmt: skip
def test_what_is_missing_or_wrong_exits_with_2(place, convert, flatbuffer, options, message):
    options = [str(place / "labels.txt") if word == "LABELS" else word for word in options]
    status, path, text = convert(flatbuffer, *options)
    assert status == 2, text
    assert message.replace("PLACE", str(place)) in text
    assert not path.parent.exists()


@pytest.mark.parametrize("photos", [1, 4])
def test_photos_of_one_label_do_not_verify_an_order_of_labels(place, convert, photos):
    (place / "labels.txt").write_text("red\nblue\ngreen\n")
    for name in ("GREEN", "BLUE"):
        shutil.rmtree(place / "photos" / name)
    for photo in sorted((place / "photos" / "RED").iterdir())[photos:]:
        photo.unlink()
    status, path, text = convert(
        network(), "--labels", str(place / "labels.txt"), "--preprocess", "mobilenet"
    )
    assert status == 3, text
    assert not list(path.parent.glob("*"))
    assert "the samples show 1 of 3 labels" in " ".join(text.split())


def test_samples_without_labels_verify_nothing(place, convert):
    (place / "photos").rename(place / "loose")
    for folder, name in zip(sorted((place / "loose").iterdir()), "xyz", strict=True):
        folder.rename(place / "loose" / name)
    status, path, text = convert(
        network(), "--labels", str(place / "labels.txt"), "--preprocess", "raw", photos="loose"
    )
    assert status == 3
    assert not path.parent.exists()
    assert "a .tflite has no Keras file to compare with" in text
    assert "verified" not in text.replace("not verified", "")
    assert "folders that match no label: x (4 photos), y (4 photos), z (4 photos)" in text


def test_verify_compares_with_the_file_it_was_made_of(place, convert, capfd):
    status, path, text = convert(
        network("uint8"), "--labels", str(place / "labels.txt"), "--preprocess", "mobilenet"
    )
    assert status == 0, text
    arguments = ["--against", str(place / "net.tflite"), "--samples", str(place / "photos")]
    assert verify.main([str(path), *arguments]) == 0
    assert set(cards.load(path).verification["ways"]) == {"here"}
    # The same with a card beside the file.
    card = replace(cards.load(path), model_bytes=None, model_sha256=None)
    (place / "net.card.json").write_text(json.dumps(card.to_json()))
    capfd.readouterr()
    assert verify.main([str(place / "net.tflite"), *arguments]) == 0
    assert "net.tflite has no card in it, so nothing was written into it" in capfd.readouterr().err


def test_a_file_that_scales_pixels_itself_gets_other_labels_and_keeps_its_scaling(place, convert):
    fronted = pixel_front.attach(network(), STATED, "uint8")
    described = source_card.converted(STATED, "uint8")
    status, path, text = convert(
        cards.join(fronted, described), "--labels", str(place / "labels.txt")
    )
    assert status == 0, text
    card = cards.load(path)
    assert (card.name, card.schema_version, card.dtype) == ("x", 2, "uint8")
    assert card.provenance["scaling"] == "mobilenet"
    floats = place / "floats.tflite"
    floats.write_bytes(cards.join(network(), STATED))
    # Against the same network, with its scaling in the graph and with the function's.
    for other in (place / "net.tflite", floats):
        arguments = [str(path), "--against", str(other), "--samples", str(place / "photos")]
        assert verify.main(arguments) == 0


def test_a_scaling_before_a_file_that_scales_pixels_itself_is_refused(convert):
    fronted = cards.join(
        pixel_front.attach(network(), STATED, "uint8"), source_card.converted(STATED, "uint8")
    )
    for options in (("--preprocess", "rescale"), ("--color-order", "bgr")):
        status, _, text = convert(fronted, *options)
        assert status == 2
        assert "net.tflite scales pixels itself: leave out --preprocess" in text
