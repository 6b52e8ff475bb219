"""What labelled samples say of a model, and what would fit better."""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
import shutil

import keras
import numpy as np
import pytest
from PIL import Image

from keras_to_lambda.convert import convert as convert_command
from keras_to_lambda.convert import verify
from keras_to_lambda.convert.common.samples import Sample
from keras_to_lambda.convert.detection.trials import START, Trials
from keras_to_lambda.convert.verification import accuracy
from keras_to_lambda.convert.verification.accuracy import Claim, examine
from keras_to_lambda.runtime.model_file import card as cards

LABELS = ("apple", "bean", "corn", "date", "elder", "fig", "grape", "herb", "iris", "kale")
TEN = range(10)


def scores(chosen, labels=10):
    """Answers that put the given labels first, no two alike."""
    rows = np.eye(labels, dtype=np.float32)[list(chosen)]
    return rows + np.linspace(0, 0.01, len(rows), dtype=np.float32)[:, None] * np.arange(labels)


def pictures(count):
    return np.arange(count, dtype=np.uint8).reshape(-1, 1, 1, 1)


def judged(chosen, truth, labels=LABELS, **more):
    return examine(scores(chosen, len(labels)), truth, labels, pictures(len(truth)), **more)


COMMONEST = [0] * 12 + [1] * 10 + [2] * 9 + [3] * 9


@pytest.mark.parametrize(
    ("chosen", "truth", "labels", "claim", "fault"),
    [
        ([0, 1, 2, 3, 4, 5], [0, 1, 2, 3, 4, 5], 10, None, ""),
        # As good as guessing, or worse.
        ([9], [0], 10, None, "accuracy 0.0% (0 of 1 labelled samples): no better than guessing"),
        ([0, 1, 1, 0], [0, 0, 1, 1], 2, None, "50.0% (2 of 4 labelled samples)"),
        # A few photos of one class: all that they can show is that it is found.
        ([0, 0, 0], [0, 0, 0], 2, None, ""),
        # Always the commonest label.
        ([0] * 40, COMMONEST, 10, None, "30.0% (12 of 40 labelled samples): all samples, of 4 la"),
        ([1] + [0] * 39, COMMONEST, 10, None, "same answers given to the samples at random (29.9%"),
        # Nearly always right, on samples of which nearly all are of one class; and always one.
        ([0] * 19 + [1], [0] * 18 + [1, 1], 2, None, ""),
        ([0] * 20, [0] * 19 + [1], 2, None, "all samples, of 2 labels, get the label"),
        ([0, 0, 1, 1], [0, 0, 1, 0], 2, None, ""),
        # What the card states.
        ([0] * 2 + [1] * 18, [0] * 10 + [1] * 10, 2, Claim(0.95, 0.9), "below the 95.0%"),
        ([0] * 9 + [1] * 11, [0] * 10 + [1] * 10, 2, Claim(0.99, 0.98), ""),
        ([0, 1, 2, 4, 5], [0, 1, 2, 3, 4], 10, Claim(0.9, 0.88), ""),
    ],
)
def test_an_accuracy_is_judged_by_chance_and_by_the_card(chosen, truth, labels, claim, fault):
    found = judged(chosen, truth, LABELS[:labels], claim=claim).faults
    assert len(found) == bool(fault)
    assert fault in "".join(found)


@pytest.mark.parametrize(
    ("right", "samples", "doubt"),
    [
        # 60 % of two labels, shown by 200 samples and not by 60.
        (((18, 12), (12, 18)), 60, "accuracy 60.0% (36 of 60 labelled samples): not significantly"),
        (((60, 40), (40, 60)), 200, ""),
        # 60 % of each, on samples of which 90 % are of one label: fewer right than by its name.
        (((54, 36), (4, 6)), 100, "not significantly better than chance (56.4%)"),
        (((540, 360), (40, 60)), 1000, ""),
    ],
)
def test_a_weak_model_is_verified_and_what_the_samples_do_not_show_is_said(right, samples, doubt):
    table = [(i, j) for i in (0, 1) for j in (0, 1) for _ in range(right[i][j])]
    truth, chosen = zip(*table, strict=True)
    found = judged(chosen, truth, LABELS[:2])
    assert (len(table), found.faults) == (samples, ())
    assert found.doubt.startswith(doubt) if "labelled" in doubt else doubt in found.doubt
    assert bool(found.doubt) == bool(doubt)


@pytest.mark.parametrize(
    ("chosen", "truth", "labels", "fault"),
    [
        ([0] * 4, [0] * 4, 3, "not proven: the samples show 1 of 3 labels; give at least"),
        ([0, 0, 0, 1], [0, 0, 0, 1], 3, "too few samples of each label; give at least 2"),
        ([0, 0, 1, 1], [0, 0, 1, 1], 2, "guessing among 2 labels may give 4 of 4 right"),
        ([0] * 10 + [2] * 2, [0] * 10 + [1] * 2, 3, "no sample of 'bean' is right (0 of"),
        ([0, 0, 1, 1], [0, 0, 1, 1], 3, ""),
        # One label of ten is hard for a good model.
        ([*range(9), 8] * 2 + [*range(8), 7, 7], [*TEN] * 3, 10, "no sample of 'kale' is right"),
        ([*range(9), 8] + [*TEN] * 2, [*TEN] * 3, 10, ""),
    ],
)
def test_samples_that_are_the_only_proof_show_two_labels_and_more_than_luck(
    chosen, truth, labels, fault
):
    assert judged(chosen, truth, LABELS[:labels]).faults == ()
    found = judged(chosen, truth, LABELS[:labels], sole_proof=True).faults
    assert len(found) == bool(fault)
    assert fault in "".join(found)


def test_samples_without_labels_are_no_proof_of_a_tflite():
    found = examine(scores([0, 1, 2]), [None] * 3, LABELS, pictures(3), sole_proof=True)
    assert "a .tflite has no Keras file to compare with" in found.faults[0]


@pytest.mark.parametrize(
    ("rows", "truth", "fault"),
    [
        # Always the first label, whatever the picture.
        ([[8, 1, 0], [8.001, 1, 0.002]], 0, "2 labelled samples get 'apple' with nearly the same"),
        ([[0.7, 0.2, 0.1], [0.7001, 0.1999, 0.1]], 0, "show 1 of 3 labels: give samples of other"),
        # Sure of both, but not alike.
        ([[1 - 3e-6, 2e-6, 1e-6], [1 - 2e-7, 1e-7, 1e-7]], 0, ""),
        ([[8, 1, 0], [7, 1, 0]], 0, ""),
        # Without content, whatever the samples' labels.
        (np.zeros((4, 3)), None, "gives every label the same score"),
        ([[0.333334, 0.333333, 0.333333], [0.333332, 0.333333, 0.333335]], None, "the same score"),
        (np.ones((4, 3)) * np.arange(4)[:, None], None, "gives every label the same score"),
        (np.tile([0.1, 0.7, 0.2], (4, 1)), None, "answers the same for all 4 samples"),
        ([[0.1, 0.7, 0.2]], None, ""),
    ],
)
def test_nearly_the_same_scores_prove_nothing(rows, truth, fault):
    found = examine(np.float32(rows), [truth] * len(rows), LABELS[:3], pictures(len(rows))).faults
    assert len(found) == bool(fault)
    assert fault in "".join(found)


def test_copies_of_one_picture_are_answered_alike_by_any_network():
    rows = np.tile(np.float32([0.1, 0.7, 0.2]), (4, 1))
    assert examine(rows, [None] * 4, LABELS[:3], np.zeros((4, 1, 1, 1), np.uint8)).faults == ()


UNSURE = "with the labels in reversed order 6 of 6 would be right (too few photos to be sure)"


@pytest.mark.parametrize(
    ("chosen", "truth", "labels", "hints"),
    [
        # Each label's output is that of the reversed order; luck is not excluded.
        (
            [2, 2, 1, 1, 0, 0],
            [0, 0, 1, 1, 2, 2],
            LABELS[:3],
            (UNSURE,),
        ),
        # What would fit is not accurate enough to be likely.
        ([2, 1, 0, 0, 1, 0], [0, 0, 1, 1, 2, 2], LABELS[:3], ()),
        # Any order that begins with it would do.
        ([2, 2], [0, 0], LABELS[:3], ()),
    ],
)
def test_an_order_that_seems_to_fit_is_named_with_its_doubt(chosen, truth, labels, hints):
    answers = scores(chosen, len(labels))
    found = examine(answers, truth, labels, pictures(len(truth)))
    assert len(found.faults) == 1
    assert found.hints == ()
    assert accuracy.slip([], answers.argmax(axis=1), np.array(truth), labels) == hints


def test_a_scaling_that_seems_to_fit_is_named_with_its_doubt():
    truth = [0, 0, 1, 1]
    trials = [
        {"scaling": "raw", "color_order": "rgb", "chosen": truth},
        {"scaling": "rescale", "color_order": "rgb", "chosen": [0, 2, 1, 2]},
    ]
    chosen = np.array([2, 2, 2, 2])
    assert accuracy.slip(trials, chosen, np.array(truth), LABELS[:3]) == (
        "with --preprocess raw 4 of 4 would be right (too few photos to be sure)",
    )


def trial(scaling, loss, p=1.0, fitted=(1.0, 1.0), worse=1.0, right=3, **kind):
    chosen = [0, 1, 2, 3][:right] + [9] * (4 - right)
    return {
        "scaling": scaling, "color_order": "rgb", "chosen": chosen, "loss": loss, "p": p,
        "fitted": fitted[0], "fitted_p": fitted[1], "worse": worse, "own": False, "same": False,
    } | kind  # fmt: skip


@pytest.mark.parametrize(
    ("loss", "other", "hint", "doubt"),
    [
        # As many are right, and the scores are much better: in training, or at their best.
        (
            1.6,
            trial("rescale", 0.4, 0.001),
            "(3 of 4 right, loss 0.40; with this scaling 3 of 4",
            "",
        ),
        (1.6, trial("rescale", 1.4, 1, (0.5, 0.001)), "with --preprocess rescale", ""),
        # As good; or better by luck, by little, with fewer right.
        (0.4, trial("rescale", 0.41), "", "3 of 4 right, loss 0.40, and with --preprocess rescale"),
        (1.6, trial("rescale", 0.4, 0.02), "", "rescale (3 of 4 right, loss 0.40)"),
        (0.6, trial("rescale", 0.4, 0.001), "", "rescale (3 of 4 right, loss 0.40)"),
        (0.2, trial("rescale", 0.04, 0.001), "", "rescale (3 of 4 right, loss 0.04)"),
        (1.6, trial("rescale", 0.4, 0.001, right=2), "", "rescale (2 of 4 right, loss 0.40)"),
        # Better at its best temperature only, as what is too sure of itself.
        (0.4, trial("rescale", 2.0, 1, (0.1, 0.001)), "", "rescale (3 of 4 right, loss 2.00)"),
        # The model's own is the only one that fits.
        (0.4, trial("rescale", 1.6, worse=0.001), "", ""),
    ],
)
def test_scores_show_the_scaling_where_answers_do_not(loss, other, hint, doubt):
    trials = [trial("raw", loss, own=True, same=True), other]
    targets = np.arange(4)
    for found, wanted in zip(accuracy.likelier(trials, targets), (hint, doubt), strict=True):
        assert wanted in found
        assert bool(found) == bool(wanted)


def test_a_scaling_with_the_same_scores_or_beside_an_unnamed_one_is_no_rival():
    same = [trial("raw", 0.4, own=True, same=True), trial("rescale", 0.4, same=True)]
    for trials in (same, [trial("rescale", 0.4)]):
        assert accuracy.likelier(trials, np.arange(4)) == ("", "")


@pytest.mark.parametrize(
    ("truth", "enough"), [([0, 1] * 5, True), ([0, 1] * 4, False), ([0] * 19, False)]
)
def test_few_samples_or_of_one_label_cannot_show_a_scaling(truth, enough):
    assert ("too few to show the scaling" in accuracy.too_few(np.array(truth))) != enough


def test_an_order_of_a_low_accuracy_is_a_possibility():
    # Half of the answers are of the next label, the others wrong in many ways.
    truth = [x for x in range(10) for _ in range(24)]
    chosen = [(x + 1 + (n > 11) * (1 + n % 8)) % 10 for x in range(10) for n in range(24)]
    found = judged(chosen, truth)
    assert found.hints[0].startswith("possibly with the labels in the order kale, apple, bean")


SIX = [0, 2, 4, 5, 7, 9]
THIRTY = [*range(10)] * 3


ALPHABET = ("pear", "apple", "fig", "date")
# Of ten shirts four are taken for T-shirts, of ten T-shirts six for shirts.
CONFUSED = [0] * 6 + [1] * 4 + [1] * 4 + [0] * 6 + [2] * 10
NEXT = [*range(1, 10), 0]


@pytest.mark.parametrize(
    ("chosen", "truth", "labels", "card_labels", "hint"),
    [
        ([9 - x for x in SIX], SIX, LABELS, (), "with the labels in reversed order 6 of 6"),
        ([9 - x for x in SIX], SIX, LABELS, LABELS[::-1], "of the card beside the model 6 of 6"),
        # Two swapped: on photos of these two alone, and with all the others right.
        ([3, 1] * 15, [1, 3] * 15, LABELS, (), "the labels 'bean' and 'date' swapped 30 of 30"),
        ([0, 3, 2, 1, *range(4, 10)] * 9, [*TEN] * 9, LABELS, (), "'date' swapped 90 of 90"),
        (
            [NEXT.index(right) for right in THIRTY],
            THIRTY,
            LABELS,
            (),
            "in the order bean, corn, date, elder, fig, grape, herb, iris, kale, apple 30 of 30",
        ),
        ([3, 0, 2, 1] * 3, [0, 1, 2, 3] * 3, ALPHABET, (), "with the labels in alphabetical order"),
        # Every label right, and confusion of two labels: nothing to find.
        (THIRTY, THIRTY, LABELS, (), ""),
        (CONFUSED, [0] * 10 + [1] * 10 + [2] * 10, LABELS[:3], (), ""),
    ],
)
def test_the_order_of_labels_that_fits_is_named(chosen, truth, labels, card_labels, hint):
    found = judged(chosen, truth, labels, card_labels=card_labels)
    assert len(found.faults) == len(found.hints) == bool(hint)
    assert hint in "".join(found.hints)


def test_noise_is_no_other_order():
    random = np.random.default_rng(1)
    for _ in range(20):
        truth = random.integers(0, 10, 40)
        chosen = np.where(random.random(40) < 0.4, truth, random.integers(0, 10, 40))
        assert judged(chosen, truth.tolist()).hints == ()


@pytest.mark.parametrize(
    ("provenance", "claim"),
    [
        ({"test_accuracy": 0.879, "test_interval_95": [0.842, 0.9084]}, Claim(0.879, 0.842)),
        ({"test_accuracy": 0.9}, Claim(0.9, 0.9)),
        ({"test_accuracy": "high"}, None),
        ({}, None),
    ],
)
def test_the_claim_is_what_the_card_measured(provenance, claim):
    assert Claim.of(provenance) == claim


# The command, on a network that tells colours apart.

COLOURS = {"blue": (90, 90, 230), "green": (90, 230, 90), "red": (230, 90, 90)}


@pytest.fixture
def colours(tmp_path):
    """A network whose outputs are red, green, blue, for pixels from -1 to 1; and photos."""
    image = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(3, 1, name="eye")(image)
    # Beyond what pixels of -1 to 1 give, everything is red.
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.ReLU(max_value=1.0)(x))
    model = keras.Model(image, keras.layers.Dense(3, name="head")(x))
    model.get_layer("eye").set_weights([np.eye(3, dtype=np.float32)[None, None], np.zeros(3)])
    head = 4 * np.eye(3, dtype=np.float32)
    model.get_layer("head").set_weights([head, np.float32([0.1, 0, 0])])
    model.save(tmp_path / "net.keras")
    random = np.random.default_rng(4)
    for (name, colour), number in itertools.product(COLOURS.items(), range(4)):
        folder = tmp_path / "photos" / name
        folder.mkdir(parents=True, exist_ok=True)
        pixels = np.clip(random.normal(colour, 12, (9, 9, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return tmp_path


@pytest.fixture
def judge(colours, convert, capsys):
    def run(names, *options, preprocess="mobilenet_v2"):
        file = colours / "names.txt"
        file.write_text("\n".join(names), encoding="utf-8")
        status, output = convert(
            colours / "net.keras",
            *options,
            names=file,
            preprocess=preprocess,
            photos=colours / "photos",
        )
        text = capsys.readouterr()
        return status, output, text.out, text.err

    return run


RIGHT = ("red", "green", "blue")


@pytest.mark.parametrize(
    ("folders", "verdict", "note"),
    [
        (
            ("red", "green", "blue"),
            "verified: the same answers as Keras, and the accuracy; scaling not proven\n",
            "agreement on all 12 photos shows an agreement of at least 76% (95% confidence)",
        ),
        (
            ("red", "blue"),
            "verified: the same answers as Keras, and the accuracy for 2 of 3 labels",
            "no sample of 1 of 3 labels, whose order was not checked: green",
        ),
        (
            ("red",),
            "the same answers as Keras; accuracy not proven: the samples show 1 of 3 labels",
            "no sample of 2 of 3 labels, whose order was not checked: green, blue",
        ),
        ((), "verified: the same answers as Keras; accuracy, labels and scaling not checked", ""),
    ],
    ids=["all", "two", "one", "none"],
)
def test_the_verdict_states_which_labels_were_checked(judge, colours, folders, verdict, note):
    for folder in (colours / "photos").iterdir():
        if folders and folder.name not in folders:
            shutil.rmtree(folder)
        elif not folders:
            folder.rename(folder.with_name(f"camera {folder.name}"))
    status, output, text, error = judge(RIGHT)
    assert status == 0, error
    assert re.search(rf"verdict +{re.escape(verdict)}", text)
    assert note in text
    assert cards.load(output).verification["passed"] is True
    page = output.with_suffix(".report.html").read_text(encoding="utf-8")
    assert (">Verified: " in page) == verdict.startswith("verified")


def test_labels_in_another_order_exit_with_3_and_nothing_is_written(judge, colours):
    page = colours / "why.html"
    status, output, text, error = judge(RIGHT[::-1], "--report", str(page))
    assert status == 3
    assert not output.parent.exists()
    assert "NOT VERIFIED: accuracy 33.3% (4 of 12 labelled samples)" in text
    assert "with the labels in reversed order 12 of 12 would be right" in error
    assert "--accept-accuracy" in error
    assert ">Not verified: " in page.read_text(encoding="utf-8")
    # So few that it may be luck.
    for photo in (colours / "photos").glob("*/[23].png"):
        photo.unlink()
    status, _, _, error = judge(RIGHT[::-1])
    assert status == 3
    assert "in reversed order 6 of 6 would be right (too few photos to be sure)" in error
    assert "no other order" not in error


@pytest.mark.parametrize(
    ("each", "wanted", "verdict"),
    [
        (
            12,
            3,
            "24 of 36 labelled samples are right, and significantly more would be with another",
        ),
        # Four wrong ones are too few; the scores of all twelve are not.
        (4, 3, "the samples fit another scaling significantly better"),
        (3, 0, "scaling not proven: 9 labelled samples are too few to show the scaling"),
    ],
)
def test_a_scaling_that_fits_better_is_a_fault_of_an_accuracy_above_chance(
    judge, colours, each, wanted, verdict
):
    # Scaled or not, red and blue are distinguished; green only as in training.
    shutil.rmtree(colours / "photos")
    for name, colour in {**COLOURS, "red": (230, 0, 0), "blue": (0, 0, 230)}.items():
        (colours / "photos" / name).mkdir(parents=True)
        for number in range(each):
            shade = tuple(value and value - number for value in colour)
            Image.new("RGB", (9, 9), shade).save(colours / "photos" / name / f"{number}.png")
    status, output, text, error = judge(RIGHT, preprocess="raw")
    assert status == wanted, error
    assert output.exists() == (wanted == 0)
    assert verdict in text
    assert (f"NOT VERIFIED: {verdict}" in text) == (wanted == 3)
    assert ("with --preprocess" in error) == (wanted == 3)


class Recorded:
    """A network of which the last first tensor that it gets is kept."""

    height = width = 8
    channels = 3

    def scores(self, tensors):
        self.first = tensors[0]
        return np.zeros((len(tensors), 3), np.float32)


@pytest.mark.parametrize(("exif", "bluer"), [("apply", True), ("ignore", False)])
def test_other_scalings_are_tried_with_the_orientation_of_the_card(exif, bluer, tmp_path):
    halves = Image.new("RGB", (9, 9), (230, 90, 90))
    halves.paste((90, 90, 230), (0, 5, 9, 9))
    flag = Image.Exif()
    flag[0x0112] = 3
    halves.save(tmp_path / "turned.jpg", exif=flag)
    network, photo = Recorded(), Sample(tmp_path / "turned.jpg", "")
    trials = Trials(network, [photo], cards.Preprocessing(exif=exif))
    trials.run([{"scaling": "raw", "color_order": "rgb"}], [START], "one")
    assert (network.first[0, 0, 2] > network.first[0, 0, 0]) == bluer


def known(folder, write_json, **changes):
    card = cards.ModelCard(
        name="colours",
        labels=RIGHT,
        height=8,
        width=8,
        preprocessing=cards.Preprocessing(scaling="mobilenet_v2"),
        provenance={"test_accuracy": 0.97, "test_interval_95": [0.93, 0.99], "seed": 3},
        calibration={
            "temperature": 0.7,
            "bins": [{"low": 0.0, "high": 1.0, "pictures": 50, "right": 45}],
        },
    )
    write_json(folder / "net.card.json", dataclasses.replace(card, **changes).to_json())


@pytest.mark.parametrize(
    ("changes", "options", "tried"),
    [
        ({}, (), False),
        ({}, ("--preprocess", "raw"), True),
        ({"test_accuracy": 0.97}, (), True),
    ],
)
def test_a_weak_training_is_advised_and_what_it_states_is_not_tried(
    changes, options, tried, colours, convert, capsys, write_json
):
    model = keras.models.load_model(colours / "net.keras")
    model.get_layer("head").set_weights([np.eye(3)[:, [0, 0, 0]], np.array([2, 1, 0])])
    model.save(colours / "net.keras")
    known(colours, write_json, provenance={"trained_by": "k2l train", **changes})
    photos = colours / "photos"
    status, output = convert(colours / "net.keras", *options, names=None, photos=photos)
    assert status == 3
    text = capsys.readouterr().err
    assert "no other order of labels or scaling is known to fit significantly better" in text
    assert ("trying other scalings" in text) == tried
    assert not output.parent.exists()


@pytest.mark.parametrize(("claim", "kept"), [(0.97, False), (0.4, True)])
def test_an_accepted_accuracy_drops_the_cards_only_where_it_refutes_it(
    claim, kept, judge, colours, write_json
):
    known(colours, write_json, labels=RIGHT[::-1], provenance={"test_accuracy": claim})
    status, output, _, _ = judge(RIGHT[::-1], "--accept-accuracy")
    assert status == 0
    assert ("test_accuracy" in cards.load(output).provenance) == kept
    assert bool(cards.load(output).calibration) == kept


def test_options_against_the_card_are_reported_and_its_accuracy_is_dropped(
    judge, colours, write_json
):
    known(colours, write_json)
    status, output, text, _ = judge(RIGHT, preprocess="xception")  # the same convention
    assert status == 0
    assert "contradict" not in text
    assert cards.load(output).provenance["test_accuracy"] == 0.97
    assert cards.load(output).calibration["temperature"] == 0.7
    status, output, text, _ = judge(RIGHT, "--resize", "crop", preprocess="mobilenet_v2")
    assert status == 0
    assert (
        "the options contradict net.card.json: --resize is not its stretch; its test accuracy is "
        "left out" in text
    )
    provenance = cards.load(output).provenance
    assert provenance["seed"] == 3
    assert cards.load(output).calibration == {}
    assert not [key for key in provenance if key.startswith("test_")]
    status, _, text, error = judge(("green", "red", "blue"))
    assert status == 3
    assert "--labels has another order of labels" in text
    assert "with the labels of the card beside the model" in error
    assert "12 of 12 would be right" in error


@pytest.mark.parametrize(
    ("field", "value", "stale"),
    [("interpolation", "tf:bilinear", True), ("drawing", "mnist", True), ("alpha", "white", False)],
)
def test_each_option_against_the_card_is_reported(field, value, stale):
    arguments = ["m", "-o", "o", "--samples", "s", f"--{field}", value]
    args = convert_command.parser().parse_args(arguments)
    card = cards.ModelCard("x", RIGHT, 8, 8)
    reason = f"--{field} is not its {getattr(card.preprocessing, field)}"
    assert convert_command._contradictions(args, card, RIGHT) == ([reason], stale)


def test_an_accuracy_can_be_accepted_and_verify_judges_it_too(judge, colours, capsys):
    status, output, text, _ = judge(RIGHT[::-1], "--accept-accuracy")
    assert status == 0
    assert "accepted by --accept-accuracy, although accuracy 33.3%" in text
    assert "accepted by" in output.with_suffix(".report.md").read_text(encoding="utf-8")
    arguments = [str(output), "--against", str(colours / "net.keras")]
    arguments += ["--samples", str(colours / "photos")]
    for options, wanted in (((), 3), (("--accept-accuracy", "--json", "--quiet"), 0)):
        assert verify.main([*arguments, *options]) == wanted
        card = cards.load(output)
        assert card.verification["passed"] is (wanted == 0)
        assert "accuracy 33.3%" in card.verification["accuracy_faults"][0]
        text = capsys.readouterr()
        if wanted:
            assert "not verified: accuracy 33.3%" in text.err
        hint = "with the labels in reversed order 12 of 12 would be right"
        assert hint in (text.err if wanted else json.loads(text.out)["hints"])
