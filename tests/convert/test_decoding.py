"""`decode: scaled`: written where large photos show that it does no harm, and nowhere else.

No real photo of 12 megapixels can be had here: these are drawn at that size. What they cannot show
is how a camera's noise fares; the command asks that of the user's own photos.
"""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from keras_to_lambda.convert.verification import scaled_decoding
from keras_to_lambda.runtime.common.settings import Settings
from keras_to_lambda.runtime.handler import Handler
from keras_to_lambda.runtime.image.decode import decode
from keras_to_lambda.runtime.model_file import card as cards
from keras_to_lambda.runtime.sources.images import Raw

SIZE = (4000, 3000)


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """Folders of five smooth and of five noisy JPEGs of 12 megapixels."""
    top = tmp_path_factory.mktemp("large")
    random = np.random.default_rng(11)
    for kind in ("smooth", "noisy"):
        (top / kind).mkdir()
        for number in range(5):
            coarse = random.integers(0, 256, (6, 8, 3), dtype=np.uint8)
            image = Image.fromarray(coarse).resize(SIZE, Image.Resampling.BICUBIC)
            if kind == "noisy":
                noise = random.integers(0, 256, (750, 1000, 3), dtype=np.uint8)
                image = Image.fromarray(noise).resize(SIZE, Image.Resampling.NEAREST)
            image.save(top / kind / f"{number}.jpg", quality=90)
    return top


def test_smooth_photos_let_a_model_decode_them_at_a_fraction(convert, models, large, capfd):
    status, output = convert(
        models["keras"], "--interpolation", "pillow:bilinear", photos=large / "smooth"
    )
    assert status == 0
    card = cards.load(output)
    assert card.preprocessing.decode == "scaled"
    found = card.verification["large_photos"]
    assert found["photos"] == 5
    assert found["agreement"] == 1.0
    assert found["max_difference"] <= found["tolerance"] * found["spread"]
    assert "scaled; 5 photos" in capfd.readouterr().out
    photo = (large / "smooth" / "0.jpg").read_bytes()
    target = (card.width, card.height)
    assert decode(photo, card.preprocessing, 3, 10**8, target).size == (500, 375)
    assert decode(photo, card.preprocessing, 3, 10**8).size == SIZE
    # And what was written verifies, by its own tolerance.
    from keras_to_lambda.convert.verify import main as verify

    options = ["--samples", str(large / "smooth"), "--against", str(models["keras"])]
    assert verify([str(output), *options]) == 0


def test_noise_under_nearest_keeps_a_model_exact(convert, models, large, capfd):
    status, output = convert(models["keras"], photos=large / "noisy")
    assert status == 0
    card = cards.load(output)
    assert card.preprocessing.decode == "exact"
    assert card.verification["large_photos"]["objection"]
    assert "exact (" in capfd.readouterr().out


def test_exact_is_what_can_be_asked_for(convert, models, large):
    status, output = convert(models["keras"], "--decode", "exact", photos=large / "smooth")
    assert status == 0
    card = cards.load(output)
    assert card.preprocessing.decode == "exact"
    assert "large_photos" not in card.verification


def test_small_photos_show_nothing(samples, convert, models):
    assert scaled_decoding.large(sorted(samples.iterdir())) == []
    _, output = convert(models["keras"])
    assert cards.load(output).preprocessing.decode == "exact"


def test_the_function_decodes_as_the_card_says(convert, models, large):
    """The served picture is smaller, and the answer the same within the card's tolerance."""
    _, output = convert(
        models["keras"], "--interpolation", "pillow:bilinear", photos=large / "smooth"
    )
    from keras_to_lambda.runtime.common.deadline import Deadline
    from keras_to_lambda.runtime.inference.telemetry import Stopwatch

    handler = Handler(Settings(model_path=str(output), num_threads=1, log_level="FATAL"))
    watch = Stopwatch()
    handler.pipeline.logits(Raw((large / "smooth" / "1.jpg").read_bytes()), Deadline(60), watch)
    assert watch.pixels == 500 * 375
