"""The serving path's preprocessing against Keras and TensorFlow themselves, to the last float."""

from __future__ import annotations

import functools
import importlib
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_to_lambda.convert.verification import keras_preprocessing
from keras_to_lambda.runtime.common.settings import MODELS
from keras_to_lambda.runtime.image import preprocess
from keras_to_lambda.runtime.image.decode import decode
from keras_to_lambda.runtime.model_file.card import (
    CHOICES,
    PRESETS,
    Affine,
    ModelCard,
    Preprocessing,
)

# Preset -> the module of keras.applications whose preprocess_input it stands for.
MODULES = {
    "xception": "xception",
    "inception_v3": "inception_v3",
    "inception_resnet_v2": "inception_resnet_v2",
    "mobilenet": "mobilenet",
    "mobilenet_v2": "mobilenet_v2",
    "mobilenet_v3": "mobilenet_v3",
    "resnet50": "resnet50",
    "resnet": "resnet",
    "resnet50_v2": "resnet_v2",
    "resnet_v2": "resnet_v2",
    "nasnet": "nasnet",
    "vgg16": "vgg16",
    "vgg19": "vgg19",
    "densenet121": "densenet",
    "densenet": "densenet",
    "efficientnet": "efficientnet",
    "efficientnet_v2": "efficientnet_v2",
    "convnext": "convnext",
}
PILLOW = ("nearest", "bilinear", "bicubic", "lanczos")
# Height, width: source and target. Larger, smaller, odd, wide, tall, unchanged, a single pixel.
SIZES = [
    ((480, 640), (224, 224)),
    ((333, 500), (160, 160)),
    ((101, 37), (64, 96)),
    ((224, 224), (224, 224)),
    ((112, 112), (224, 224)),
    ((1, 97), (32, 33)),
    ((2, 3), (127, 129)),
    ((719, 1279), (224, 224)),
    ((63, 65), (64, 64)),
    ((1000, 33), (96, 96)),
    ((300, 200), (3, 2)),
    ((257, 255), (128, 256)),
]


def card(height, width, **steps):
    return ModelCard(
        name="any",
        labels=("a", "b"),
        height=height,
        width=width,
        preprocessing=Preprocessing(**steps),
    )


def noise(height, width):
    return np.random.default_rng(height * 10_000 + width).integers(
        0, 256, (height, width, 3), dtype=np.uint8
    )


@pytest.fixture(scope="module")
def pixels():
    values = np.random.default_rng(1).uniform(0, 255, (61, 47, 3)).astype(np.float32)
    values.setflags(write=False)
    return values


def test_every_preset_has_its_original_here():
    assert set(MODULES) == set(PRESETS) - {"raw", "rescale"}


@pytest.mark.parametrize("preset", MODULES)
def test_scaling_equals_keras_applications_to_the_last_bit(preset, pixels):
    module = importlib.import_module(f"keras.applications.{MODULES[preset]}")
    expected = np.asarray(module.preprocess_input(np.array(pixels[np.newaxis])))[0]
    before = pixels.copy()
    served = preprocess.scale(pixels, card(61, 47, scaling=preset))
    assert served.dtype == np.float32
    assert served.flags.c_contiguous
    np.testing.assert_array_equal(served, expected)
    np.testing.assert_array_equal(pixels, before)


@pytest.mark.parametrize(
    ("scaling", "order", "expected"),
    [
        ("xception", "rgb", [-1, 0, 1]),
        ("vgg16", "rgb", [151.061, 10.721, -123.68]),
        ("densenet121", "rgb", [-2.117904, 0.196429, 2.64]),
        ("rescale", "rgb", [0, 0.5, 1]),
        ("rescale", "bgr", [1, 0.5, 0]),
        ("convnext", "rgb", [0, 127.5, 255]),
    ],
)
def test_scaling_gives_the_literal_values_of_each_convention(scaling, order, expected):
    pixel = np.float32([[[0, 127.5, 255]]])
    pixel.setflags(write=False)
    served = preprocess.scale(pixel, card(1, 1, scaling=scaling, color_order=order))
    assert served[0, 0].tolist() == pytest.approx(expected, abs=1e-4)


@pytest.fixture
def saved(tmp_path):
    """A lossless file, so that both sides start from the same pixels."""

    def save(array):
        path = tmp_path / "picture.png"
        Image.fromarray(array).save(path)
        return path

    return save


@pytest.mark.parametrize("name", PILLOW)
@pytest.mark.parametrize(("source", "target"), SIZES[:7])
def test_pillow_resizing_equals_load_img_exactly(name, source, target, saved):
    path = saved(noise(*source))
    expected = keras.utils.img_to_array(
        keras.utils.load_img(path, target_size=target, interpolation=name)
    )
    with Image.open(path) as image:
        served = preprocess.resize(image, card(*target, interpolation=f"pillow:{name}"))
    np.testing.assert_array_equal(served, expected)


@pytest.mark.parametrize(("source", "target"), SIZES)
@pytest.mark.parametrize(
    ("method", "tolerance"),
    [("bilinear", 0), ("nearest", 0), ("bicubic", 0.255)],  # a thousandth of white
)
def test_tf_filters_equal_tf_image_resize(method, tolerance, source, target):
    array = noise(*source)
    expected = np.asarray(tf.image.resize(array, target, method=method))
    array.setflags(write=False)
    served = getattr(preprocess, f"tf_{method}")(array, *target)
    assert served.dtype == np.float32
    assert np.abs(served - expected).max() <= tolerance


# Sources whose border is of an odd number of pixels: Keras leaves the odd one away on both sides.
@pytest.mark.parametrize(("source", "target"), SIZES)
@pytest.mark.parametrize(
    ("way", "reference"),
    [
        ("crop", keras.preprocessing.image.smart_resize),
        ("pad", functools.partial(keras.ops.image.resize, pad_to_aspect_ratio=True)),
    ],
    ids=["crop", "pad"],
)
def test_tf_crop_and_pad_equal_keras(way, reference, source, target):
    array = noise(*source)
    expected = np.asarray(reference(array.astype(np.float32), target))
    steps = card(*target, interpolation="tf:bilinear", resize=way)
    served = preprocess.resize(Image.fromarray(array), steps)
    np.testing.assert_array_equal(served, expected)


@pytest.mark.parametrize("preset", ["vgg16", "rescale", Affine((0.5, 1.0, 2.0), (1.0, 0.0, -1.0))])
@pytest.mark.parametrize("interpolation", ["pillow:bicubic", "tf:bilinear", "tf:nearest"])
@pytest.mark.parametrize("resize", CHOICES["resize"])
def test_the_whole_way_equals_the_reference(preset, interpolation, resize, saved):
    steps = card(96, 64, scaling=preset, interpolation=interpolation, resize=resize)
    path = saved(noise(101, 137))
    with Image.open(path) as image:
        served = preprocess.prepare(image, steps)
    np.testing.assert_array_equal(served, keras_preprocessing.see(path, steps).tensor)


def turned(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return lambda image, path: image.save(path, exif=exif)


def see_through(image, path):
    alpha = Image.linear_gradient("L").resize(image.size)
    image.putalpha(alpha)
    image.save(path)


FILES = {
    "plain.jpg": lambda image, path: image.save(path),
    "progressive.jpg": lambda image, path: image.save(path, progressive=True),
    "grey.jpg": lambda image, path: image.convert("L").save(path),
    "cmyk.jpg": lambda image, path: image.convert("CMYK").save(path),
    "turned.jpg": turned(6),
    "turned.png": turned(5),
    "turned.webp": turned(8),
    "damaged-exif.png": lambda image, path: image.save(path, exif=b"garbage!"),
    "damaged-exif.webp": lambda image, path: image.save(path, exif=b"garbage!"),
    "see-through.png": see_through,
    "palette.png": lambda image, path: image.convert("P").save(path),
    "bits.png": lambda image, path: image.convert("1").save(path),
    "palette.gif": lambda image, path: image.convert("P").save(path),
    "lossy.webp": lambda image, path: image.save(path),
    "plain.bmp": lambda image, path: image.save(path),
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize(
    "policy", [{}, {"exif": "apply"}, {"alpha": "white"}, {"exif": "apply", "alpha": "black"}]
)
def test_every_kind_of_picture_file_equals_the_reference(name, channels, policy, tmp_path):
    path = tmp_path / name
    FILES[name](Image.fromarray(noise(61, 83)), path)
    steps = ModelCard(
        name="any",
        labels=("a", "b"),
        height=40,
        width=32,
        channels=channels,
        preprocessing=Preprocessing(
            interpolation="pillow:bilinear", scaling="mobilenet_v2", **policy
        ),
    )
    image = decode(path.read_bytes(), steps.preprocessing, channels, 1_000_000)
    np.testing.assert_array_equal(
        preprocess.prepare(image, steps), keras_preprocessing.see(path, steps).tensor
    )


@pytest.mark.parametrize(
    ("choices", "table"),
    [
        (CHOICES["resize"], keras_preprocessing.PILLOW),
        (CHOICES["resize"], keras_preprocessing.TENSORFLOW),
        (CHOICES["interpolation"], keras_preprocessing.INTERPOLATION),
        (CHOICES["color_order"], keras_preprocessing.COLOR_ORDER),
        (CHOICES["exif"], keras_preprocessing.EXIF),
        (CHOICES["alpha"], keras_preprocessing.ALPHA),
        (CHOICES["channels"], keras_preprocessing.COLOR_MODES),
        (CHOICES["channels"], keras_preprocessing.MODES),
        (PRESETS, keras_preprocessing.SCALING),
    ],
)
def test_every_choice_of_a_card_has_its_reference(choices, table):
    assert set(table) == set(choices)


@pytest.mark.parametrize("interpolation", ["pillow:bilinear", "tf:bilinear"])
def test_the_reference_refuses_a_choice_that_it_does_not_implement(
    interpolation, monkeypatch, tmp_path
):
    monkeypatch.setitem(CHOICES, "resize", (*CHOICES["resize"], "fill"))
    Image.fromarray(noise(40, 90)).save(tmp_path / "a.png")
    with pytest.raises(KeyError, match="fill"):
        keras_preprocessing.see(
            tmp_path / "a.png", card(32, 32, resize="fill", interpolation=interpolation)
        )


@pytest.mark.parametrize(("exif", "alpha"), [("ignore", "drop"), ("apply", "white")])
@pytest.mark.parametrize("resize", ["stretch", "pad"])
@pytest.mark.parametrize("interpolation", ["pillow:nearest", "pillow:bilinear", "tf:bilinear"])
@pytest.mark.parametrize("channels", CHOICES["channels"])
def test_16_bit_greyscale_is_read_alike_on_both_sides(
    channels, interpolation, resize, alpha, exif, tmp_path
):
    levels = np.random.default_rng(4).integers(0, 65536, (37, 61), dtype=np.uint16)
    path = tmp_path / "xray.png"
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.fromarray(levels).save(path, exif=turned)
    one = ModelCard(
        "x", ("a", "b"), 24, 32, channels,
        preprocessing=Preprocessing(resize, interpolation, exif=exif, alpha=alpha),
    )  # fmt: skip
    seen = keras_preprocessing.see(path, one)
    image = decode(path.read_bytes(), one.preprocessing, channels, 1 << 20)
    np.testing.assert_array_equal(
        seen.decoded, np.asarray(image).reshape(image.height, image.width, channels)
    )
    np.testing.assert_allclose(seen.tensor, preprocess.prepare(image, one), atol=2e-3)
    assert (seen.decoded.max() > 255) == (channels == 1 and interpolation.startswith("pillow"))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize(
    "exif",
    [
        b"Exif\0\0garbage",
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        b"Exif\0\0II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\6\0\0\0\0\0\0\0",  # 6
        b"Exif\0\0II*\0\x08\0\0\0\1\0\x12\1\3\0\2\0\0\0\6\0\6\0\0\0\0\0",  # 6 and 6
        b"Exif\0\0II*\0\x08\0\0\0\1\0\x12\1\2\0\2\0\0\0006\0\0\0\0\0\0\0",  # the text 6
        b"Exif\0\0II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\x09\0\0\0\0\0\0\0",  # 9
    ],
)
@pytest.mark.filterwarnings("ignore:Corrupt EXIF", "ignore:Metadata Warning")
def test_an_orientation_is_read_alike_on_both_sides(exif, kind, tmp_path):
    path = tmp_path / "picture"
    Image.fromarray(noise(40, 90)).save(path, kind, exif=exif)
    steps = card(32, 48, exif="apply")
    image = decode(path.read_bytes(), steps.preprocessing, 3, 1 << 20)
    seen = keras_preprocessing.see(path, steps)
    np.testing.assert_array_equal(seen.decoded, np.asarray(image))
    np.testing.assert_array_equal(seen.tensor, preprocess.prepare(image, steps))


@pytest.mark.parametrize("path", sorted(Path(MODELS).glob("digits/samples/*.png")), ids=str)
def test_a_picture_of_mnist_is_seen_as_it_is_stored(path):
    of = replace(card(28, 28, drawing="mnist", scaling="mobilenet"), channels=1)
    seen = keras_preprocessing.see(path, of)
    np.testing.assert_array_equal(seen.resized[..., 0], np.asarray(Image.open(path)))
