"""The detective names what a model was trained with, or that the photos do not tell."""

from __future__ import annotations

import inspect
import json
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keras_to_lambda.convert import convert, detect
from keras_to_lambda.convert.common.conversion_errors import ConvertError
from keras_to_lambda.convert.common.samples import find, orders
from keras_to_lambda.convert.detection import evidence, trials
from keras_to_lambda.convert.detection.evidence import Outcome
from keras_to_lambda.convert.detection.trials import START, Trials
from keras_to_lambda.convert.detection.unscaled_network import UnscaledNetwork, load
from keras_to_lambda.runtime.image.preprocess import prepare
from keras_to_lambda.runtime.model_file import card as cards

CLASSES = ("ant", "bee", "cat", "dog")
SIDE = 24


def convention(scaling, color_order, interpolation="pillow:bilinear", resize="stretch"):
    return cards.Preprocessing(resize, interpolation, color_order, scaling, exif="apply")


@pytest.fixture(scope="module")
def patterns():
    """A coarse pattern of muted colours for each class: uint8, (classes, 6, 6, 3)."""
    return np.random.default_rng(8).integers(20, 76, (len(CLASSES), 6, 6, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def folders(tmp_path_factory, patterns):
    """Thirty noisy pictures of each pattern, of different shapes."""
    folder = tmp_path_factory.mktemp("classes")
    random = np.random.default_rng(9)
    for name, pattern in zip(CLASSES, patterns, strict=True):
        (folder / name).mkdir()
        for number in range(30):
            size = (60 + 4 * (number % 5), 90 - 6 * (number % 4))
            noisy = (pattern + random.normal(0, 50, pattern.shape)).clip(0, 255).astype(np.uint8)
            image = Image.fromarray(noisy).resize(size, Image.Resampling.BICUBIC)
            image.save(folder / name / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def trained(patterns):
    """A network that knows the patterns under a convention: the nearest one wins."""

    def make(truth, order=CLASSES):
        card = trials.described(truth, SIDE, SIDE, 3)
        known = [Image.fromarray(patterns[CLASSES.index(name)]).resize((75, 81)) for name in order]
        templates = np.stack([prepare(image, card) for image in known])
        # Values that are near the pattern's count, by how near: those out of place count nothing.
        sharpness = np.float32(0.5 / (3 * templates.std(axis=(0, 1, 2)).mean()) ** 2)
        templates = templates.reshape(len(order), -1)

        def scores(batch):
            flat = batch.reshape(len(batch), 1, -1)
            return 300 * np.exp(-sharpness * (flat - templates) ** 2).mean(axis=2)

        return UnscaledNetwork(scores, SIDE, SIDE, 3, len(order))

    return make


@pytest.fixture(scope="module")
def random_network():
    """A network of two layers without training."""

    def make(seed, channels=3, classes=4):
        random = np.random.default_rng(seed)
        inputs = SIDE * SIDE * channels
        first = random.normal(0, math.sqrt(2 / inputs), (inputs, 40))
        last = random.normal(0, math.sqrt(2 / 40), (40, classes))

        def scores(batch):
            x = batch.reshape(len(batch), -1).astype(np.float64)
            return (np.maximum(x @ first, 0) @ last).astype(np.float32)

        return UnscaledNetwork(scores, SIDE, SIDE, channels, classes)

    return make


def solve(network, folder, labels=None, most=40):
    samples = find(folder, most)
    names = sorted({sample.folder for sample in samples})
    places = orders(names, folder, network.classes, labels)
    return trials.search(Trials(network, samples), places)


@pytest.mark.parametrize(
    ("scaling", "order"),
    [
        ("rescale", "rgb"),
        ("mobilenet_v2", "bgr"),
        ("resnet50", "rgb"),
        ("densenet121", "bgr"),
        ("raw", "rgb"),
    ],
)
def test_scaling_and_colour_order_are_found(folders, trained, scaling, order):
    finding = solve(trained(convention(scaling, order)), folders)
    assert finding.named
    assert finding.factors["scaling"].found == scaling
    assert finding.factors["color_order"].found == order


@pytest.mark.parametrize("resize", ["crop", "pad"])
def test_the_way_to_the_shape_is_found_or_left_open_but_not_mistaken(folders, trained, resize):
    network = trained(convention("rescale", "rgb", resize=resize))
    finding = solve(network, folders, most=60)
    assert finding.named
    assert resize in finding.factors["resize"].fitting
    assert "pillow:bilinear" in finding.factors["interpolation"].fitting


def test_random_weights_name_no_winner(folders, random_network):
    finding = solve(random_network(1), folders)
    assert not finding.convincing
    assert not finding.named


@pytest.fixture(scope="module")
def day_and_night(tmp_path_factory):
    """Two classes that brightness alone tells apart."""
    folder = tmp_path_factory.mktemp("brightness")
    random = np.random.default_rng(1)
    for name, level in (("day", 200), ("night", 50)):
        (folder / name).mkdir()
        for number in range(20):
            pixels = random.normal(level, 20, (30, 36, 3)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder


def test_classes_that_brightness_tells_apart_name_no_winner(day_and_night, random_network):
    findings = [solve(random_network(seed, classes=2), day_and_night) for seed in range(2)]
    # The reason for comparing with untrained networks: chance says that these are good models.
    assert max(finding.rows[0].accuracy for finding in findings) > 0.95
    assert not any(finding.named for finding in findings)


def test_what_the_network_normalizes_away_is_not_separated(folders, trained):
    inner = trained(convention("rescale", "rgb"))
    mean, std = 0.2, 0.17  # of the pictures, in 0..1

    def scores(batch):
        batch = batch - batch.mean(axis=(1, 2, 3), keepdims=True)
        return inner.scores(batch / batch.std(axis=(1, 2, 3), keepdims=True) * std + mean)

    finding = solve(UnscaledNetwork(scores, SIDE, SIDE, 3, len(CLASSES)), folders)
    assert {"rescale", "mobilenet_v2", "raw"} <= set(finding.factors["scaling"].fitting)
    for one in (row for row in finding.rows if row.fits):
        # The caffe preset turns the order round by itself.
        assert one.color_order == ("bgr" if one.scaling == "resnet50" else "rgb")
    assert finding.convincing
    assert not finding.named


@pytest.mark.parametrize(
    ("change", "order", "open_factors"),
    [
        (lambda image: image.convert("L"), "rgb", {"color_order": ("rgb", "bgr")}),
        (
            lambda image: image.resize((SIDE, SIDE)),
            "bgr",
            {"interpolation": trials.INTERPOLATIONS, "resize": cards.CHOICES["resize"]},
        ),
    ],
    ids=["grey", "of the input's size"],
)
def test_what_the_pictures_do_not_show_is_left_open(
    change, order, open_factors, tmp_path, folders, trained
):
    for path in folders.glob("*/*.png"):
        (tmp_path / path.parent.name).mkdir(exist_ok=True)
        change(Image.open(path)).save(tmp_path / path.parent.name / path.name)
    finding = solve(trained(convention("rescale", order)), tmp_path)
    assert finding.named == ("color_order" not in open_factors)
    for name, values in open_factors.items():
        assert set(finding.factors[name].fitting) == set(values)
    # Of those that tie exactly, the best one is what `k2l convert` does by default.
    if finding.named:
        best = finding.rows[0]
        assert (best.interpolation, best.resize) == ("pillow:nearest", "stretch")


@pytest.mark.parametrize(
    ("order", "found"), [(("dog", "ant", "cat", "bee"), "given"), (CLASSES, "alphabetical")]
)
def test_a_given_label_order_is_distinguished_from_the_alphabetical_one(
    order, found, tmp_path, folders, trained
):
    file = tmp_path / "labels.txt"
    file.write_text("Dog\nant\ncat\nbee\n", encoding="utf-8")
    network = trained(convention("rescale", "rgb"), order)
    finding = solve(network, folders, file)
    assert finding.factors["labels"].found == found
    assert finding.named


def test_folders_may_be_some_of_the_labels(tmp_path):
    file = tmp_path / "labels.txt"
    file.write_text("zebra\nT-Shirt\nice cream\nant\n", encoding="utf-8")
    places = orders(["ice_cream", "t-shirt"], tmp_path, 4, file)
    assert places["given"] == {"ice_cream": 2, "t-shirt": 1}
    # ant, ice_cream, t-shirt, zebra: as Keras would sort the folders, had they all been there.
    assert places["alphabetical"] == {"ice_cream": 1, "t-shirt": 2}
    with pytest.raises(ConvertError, match="cow, yak"):
        orders(["ant", "cow", "yak"], tmp_path, 4, file)


def test_samples_are_spread_evenly_over_the_classes(tmp_path):
    for name, count in (("few", 3), ("many", 50), ("some", 20), ("none", 0)):
        (tmp_path / name).mkdir()
        for number in range(count):
            (tmp_path / name / f"{number:02}.jpg").touch()
    found = [sample.folder for sample in find(tmp_path, 31)]
    assert [found.count(name) for name in ("few", "many", "some", "none")] == [3, 14, 14, 0]
    assert len(find(tmp_path, 2)) == 2


def test_a_greyscale_network_has_no_colour_order(folders, random_network):
    finding = solve(random_network(1, channels=1), folders)
    assert finding.factors["color_order"].tried == ("rgb",)
    assert set(finding.factors["scaling"].tried) == {"rescale", "mobilenet_v2", "raw"}


def test_outcomes_are_judged_whatever_a_network_ends_in():
    # A sigmoid, or its logit, is two classes.
    for scores in ([[0.8], [0.3]], [[2.0], [-3.0]]):
        assert evidence.logits(np.float32(scores)).argmax(axis=1).tolist() == [1, 0]
    one = convention("raw", "rgb"), "given"
    broken = np.float32([[np.nan, 0], [np.inf, 0], [3, 0]])
    outcome = Outcome.of(*one, broken, np.zeros(3, np.int64))
    assert outcome.right.tolist() == [False, False, True]
    assert outcome.loss[:2].tolist() == [evidence.WORST_LOSS] * 2
    # Being surer alone gains nothing.
    random = np.random.default_rng(2)
    scores, targets = random.normal(size=(50, 4)), random.integers(0, 4, 50)
    plain, sure = (Outcome.of(*one, scores * f, targets) for f in (1.0, 100.0))
    assert np.allclose(plain.loss, sure.loss)


def test_accuracies_have_wilson_intervals_and_small_classes_count_as_much():
    right = np.arange(100) % 5 != 0
    balanced = np.arange(100) // 5 % 2
    assert evidence.accuracy(right, balanced) == pytest.approx((0.8, 0.7112, 0.8666), abs=5e-4)
    # Nine of ten are of one class, which is always right; the other never is.
    most = np.arange(100) >= 10
    found = evidence.accuracy(most, most.astype(int))
    assert found == pytest.approx((0.5, 0.34, 0.66), abs=0.01)


def test_conventions_that_fit_alike_are_rarely_ruled_out():
    random = np.random.default_rng(3)
    targets = np.arange(60) % 3
    tried = [convention(s, o) for s in trials.SCALINGS for o in ("rgb", "bgr")]
    wrong = 0
    for _ in range(20):
        losses = random.exponential(size=60)[:, None] + random.exponential(size=(60, len(tried)))
        outcomes = [
            Outcome(one, "given", loss < 1.5, loss, loss)
            for one, loss in zip(tried, losses.T, strict=True)
        ]
        rows = evidence.compare(outcomes, targets, 0.5).rows
        # Whichever of them is said to be the true one; here the first.
        truth = next(x for x in rows if (x.scaling, x.color_order) == ("rescale", "rgb"))
        wrong += not truth.fits
    assert wrong <= 2


@pytest.fixture
def run(capsys, in_process):
    """Run the command: exit status, output, the last line of stderr."""

    def call(model, samples, *options):
        arguments = [str(x) for x in (model, "--samples", samples, *options)]
        status = detect.main(arguments)
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return status, out, (err.strip().splitlines() or [""])[-1]

    return call


def test_the_command_refuses_to_guess_about_random_weights(run, models, labels, tmp_path):
    random = np.random.default_rng(4)
    for name in labels.read_text(encoding="utf-8").splitlines():
        (tmp_path / name).mkdir()
        for number in range(5):
            pixels = random.integers(0, 256, (30, 50, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{number}.png")
    status, out, _ = run(models["keras"], tmp_path, "--labels", labels, "--json")
    assert status == 1
    report = json.loads(out)
    assert report["reason"].startswith("No convention makes the model convincingly better")
    assert (report["named"], report["options"]) == (False, [])
    assert all(factor["found"] is None for factor in report["factors"].values())


@pytest.fixture(scope="module")
def pattern_files(tmp_path_factory, trained):
    """A network that knows the patterns as 0..1 in BGR: SavedModels of any batch and of one photo,
    a .tflite, one in uint8.
    """
    import tensorflow as tf

    folder = tmp_path_factory.mktemp("files")
    scores = inspect.getclosurevars(trained(convention("rescale", "bgr")).scores)
    templates = tf.constant(scores.nonlocals["templates"][np.newaxis])
    sharpness = scores.nonlocals["sharpness"]

    def classify(image):
        flat = tf.reshape(image, (-1, 1, SIDE * SIDE * 3))
        near = tf.exp(-sharpness * (flat - templates) ** 2)
        return tf.nn.softmax(300 * tf.reduce_mean(near, axis=2))

    def noise():
        random = np.random.default_rng(0)
        for _ in range(5):
            yield [random.uniform(0, 1, (1, SIDE, SIDE, 3)).astype(np.float32)]

    shape = (SIDE, SIDE, 3)
    batches, single = (
        tf.function(classify).get_concrete_function(tf.TensorSpec((n, *shape), tf.float32))
        for n in (None, 1)
    )
    tf.saved_model.save(tf.Module(), str(folder / "net"), signatures=batches)
    tf.saved_model.save(tf.Module(), str(folder / "fixed"), signatures=single)
    for name in ("float", "uint8"):
        converter = tf.lite.TFLiteConverter.from_concrete_functions([single])
        if name == "uint8":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.representative_dataset = noise
            converter.inference_input_type = converter.inference_output_type = tf.uint8
        (folder / f"{name}.tflite").write_bytes(converter.convert())
    return folder


@pytest.mark.parametrize("name", ["net", "fixed", "float.tflite"])
def test_files_of_every_kind_are_found_out_by_options_of_convert(name, run, pattern_files, folders):
    status, out, _ = run(pattern_files / name, folders, "--quiet", "--max-samples", 60)
    assert status == 0, out
    line = re.search(r"^  (--preprocess .*)$", out, re.MULTILINE)[1]
    needed = ["net.keras", "-o", "n.tflite", "--samples", "photos"]
    args = convert.parser().parse_args([*needed, *line.split()])
    assert (args.preprocess, args.color_order) == ("rescale", "bgr")


def test_a_quantized_model_takes_and_gives_floats(pattern_files, folders):
    network = load(pattern_files / "uint8.tflite")
    batch = np.random.default_rng(1).uniform(0, 1, (3, SIDE, SIDE, 3)).astype(np.float32)
    batch.flags.writeable = False
    scores = network.scores(batch)
    assert (network.height, network.width, network.channels, network.classes) == (SIDE, SIDE, 3, 4)
    assert scores.shape == (3, 4)
    assert scores.dtype == np.float32
    assert scores.sum(axis=1) == pytest.approx(1, abs=0.02)
    # Its input excludes scalings that `convert` refuses.
    assert solve(network, folders, most=12).factors["scaling"].tried == ("rescale",)


def test_photos_that_cannot_show_it_are_named(run, pattern_files, folders, day_and_night, tmp_path):
    net = pattern_files / "float.tflite"
    status, out, _ = run(net, folders, "--max-samples", 4, "--quiet")
    assert status == 1
    assert "4 photos are not enough" in out
    names = tmp_path / "labels.txt"
    names.write_text("day\nnight\ndusk\ndawn\n", encoding="utf-8")
    status, out, _ = run(net, day_and_night, "--quiet", "--labels", names)
    assert status == 1
    assert "by brightness or colour alone" in out
    # A file that cannot be read is counted.
    for name in CLASSES:
        (tmp_path / "p" / name).mkdir(parents=True)
        for path in sorted((folders / name).iterdir())[:1]:
            (tmp_path / "p" / name / path.name).symlink_to(path)
    (tmp_path / "p" / "ant" / "broken.jpg").write_bytes(b"\xff\xd8\xff no")
    _, out, _ = run(net, tmp_path / "p", "--quiet")
    assert "1 photos could not be read" in out


def test_wrong_input_is_one_line_and_status_2(run, pattern_files, folders, tmp_path):
    net = pattern_files / "float.tflite"
    (tmp_path / "broken.tflite").write_bytes(b"no model")
    (tmp_path / "two.txt").write_text("a\nb\n", encoding="utf-8")
    (tmp_path / "lone").mkdir()
    for arguments, words in (
        ((tmp_path / "none.tflite", folders), "there is no model"),
        ((tmp_path / "broken.tflite", folders), "cut short or damaged"),
        ((net, tmp_path / "none"), "no folder of samples"),
        ((net, tmp_path), "lone has no data; expected class folders"),
        ((net, folders, "--labels", tmp_path / "two.txt"), "2 labels"),
        ((net, folders, "--size", "9x9"), "not 9 x 9"),
        ((net, folders, "--size", "9"), "HEIGHTxWIDTH"),
        ((net, folders, "--max-samples", 1), "fewer than two folders"),
    ):
        status, out, error = run(*arguments)
        assert status == 2
        assert not out
        assert error.startswith("k2l detect: ")
        assert words in error


# On the clothing photos, with the trained model of the repository: it expects -1..1 in RGB.


def test_a_trained_models_convention_is_distinguished_from_one_that_a_layer_undoes(
    shared_data, tmp_path
):
    model = Path(__file__).parents[2] / "models" / "clothing" / "clothing.tflite"
    whole = model.read_bytes()[: cards.load(model).model_bytes]
    # The network without the scaling in front of it.
    (tmp_path / "clothing.tflite").write_bytes(whole[whole.rindex(b"TFL3") - 4 :])
    inner = load(tmp_path / "clothing.tflite")

    def scores(batch):
        return inner.scores(np.ascontiguousarray(batch[..., ::-1] * np.float32(2) - np.float32(1)))

    photos = find(shared_data / "clothing-dataset-small" / "train", 200)
    names = sorted({sample.folder for sample in photos})
    targets = np.array([names.index(sample.folder) for sample in photos])
    tried = Trials(replace(inner, scores=scores), photos)
    scalings = ("rescale", "mobilenet_v2")
    colours = [{"scaling": x, "color_order": order} for x in scalings for order in ("rgb", "bgr")]
    tried.run(colours, [START], "")
    outcomes = [Outcome.of(x, "given", answers, targets) for x, answers in tried.scores.items()]
    finding = evidence.compare(outcomes, targets, 0.32)
    assert finding.named
    assert (finding.rows[0].scaling, finding.rows[0].color_order) == ("rescale", "bgr")
