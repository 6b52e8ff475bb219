"""A photo as a phone stores it, on its side with a flag, is classified as it is seen."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from keras_to_lambda.runtime.model_file import card as cards
from tests.runtime.made import encoded, exif_of, inline

pytestmark = pytest.mark.engine

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = sorted((ROOT / "samples").glob("*.jpg"))[:2]
# How the sensor's rows lie, by the flag that turns them back.
LYING = {
    3: Image.Transpose.ROTATE_180,
    6: Image.Transpose.ROTATE_90,
    8: Image.Transpose.ROTATE_270,
}


@pytest.mark.parametrize("photo", SAMPLES, ids=lambda photo: photo.stem)
@pytest.mark.parametrize("orientation", LYING)
def test_each_sample_as_a_phone_stores_it_has_the_scores_of_the_upright_one(
    photo, orientation, handler
):
    with Image.open(photo) as image:
        image.thumbnail((320, 320))
    upright = handler.handle(inline(encoded(image, "PNG")))
    lying = image.transpose(LYING[orientation])

    def scores(kind, **options):
        return handler.handle(inline(encoded(lying, kind, exif=exif_of(orientation), **options)))

    assert max(upright, key=upright.get) == photo.stem
    assert scores("PNG") == scores("WEBP", lossless=True, method=0) == upright
    # JPEG's blocks lie otherwise on a turned picture, so that it is not the same to the bit.
    jpeg = scores("JPEG", quality=95)
    assert max(jpeg, key=jpeg.get) == photo.stem


def test_the_shipped_models_apply_the_flag():
    paths = sorted((ROOT / "models").rglob("*.tflite"))
    assert len(paths) >= 3
    for path in paths:
        assert cards.load(path).preprocessing.exif == "apply"
