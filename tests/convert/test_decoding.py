"""`decode: scaled`: written where large photos show that it does no harm, and nowhere else.

No real photo of 12 megapixels can be had here, and these are smaller. What they cannot show is how
a camera's noise fares; the command asks that of the user's own photos.
"""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from keras_to_lambda.convert.verification import scaled_decoding
from keras_to_lambda.convert.verify import main as verify
from keras_to_lambda.runtime.common.deadline import Deadline
from keras_to_lambda.runtime.common.settings import Settings
from keras_to_lambda.runtime.handler import Handler
from keras_to_lambda.runtime.inference.telemetry import Stopwatch
from keras_to_lambda.runtime.model_file import card as cards
from keras_to_lambda.runtime.sources.images import Raw

SIZE = (1600, 1200)


@pytest.fixture
def large(tmp_path, monkeypatch):
    """Write five smooth or noisy JPEGs that count as large."""
    monkeypatch.setattr(scaled_decoding, "LARGE_PIXELS", 1_000_000)

    def write(coarse, method):
        random = np.random.default_rng(11)
        folder = tmp_path / "large"
        folder.mkdir()
        for number in range(5):
            pixels = random.integers(0, 256, (*coarse, 3), dtype=np.uint8)
            image = Image.fromarray(pixels).resize(SIZE, method)
            image.save(folder / f"{number}.jpg", quality=90)
        return folder

    return write


def test_smooth_photos_let_a_model_decode_them_at_a_fraction(convert, models, large, capfd):
    folder = large((6, 8), Image.Resampling.BICUBIC)
    options = ("--interpolation", "pillow:bilinear")
    status, output = convert(models["keras"], *options, photos=folder)
    assert status == 0
    card = cards.load(output)
    assert card.preprocessing.decode == "scaled"
    found = card.verification["large_photos"]
    assert (found["photos"], found["agreement"]) == (5, 1.0)
    assert found["max_difference"] <= found["tolerance"] * found["spread"]
    assert "scaled; 5 photos" in capfd.readouterr().out
    # The function does as the card says.
    handler = Handler(Settings(model_path=str(output), num_threads=1, log_level="FATAL"))
    watch = Stopwatch()
    handler.pipeline.logits(Raw((folder / "1.jpg").read_bytes()), Deadline(60), watch)
    assert watch.pixels == 200 * 150
    # And what was written verifies, by its own tolerance.
    against = ["--samples", str(folder), "--against", str(models["keras"])]
    assert verify([str(output), *against]) == 0


def test_noise_under_nearest_keeps_a_model_exact(convert, models, large, capfd):
    folder = large((300, 400), Image.Resampling.NEAREST)
    status, output = convert(models["keras"], photos=folder)
    assert status == 0
    card = cards.load(output)
    assert card.preprocessing.decode == "exact"
    assert card.verification["large_photos"]["objection"]
    assert "exact (" in capfd.readouterr().out


def test_small_photos_show_nothing(samples, converted):
    assert scaled_decoding.large(sorted(samples.iterdir())) == []
    assert cards.load(converted).preprocessing.decode == "exact"
