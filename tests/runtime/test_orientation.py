"""A photo as a phone stores it, on its side with a flag, is classified as it is seen."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import pytest
from PIL import Image

from keras_to_lambda.runtime.model_file import card as cards

pytestmark = pytest.mark.engine

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = sorted((ROOT / "samples").glob("*.jpg"))
# How the sensor's rows lie, by the flag that turns them back.
LYING = {
    3: Image.Transpose.ROTATE_180,
    6: Image.Transpose.ROTATE_90,
    8: Image.Transpose.ROTATE_270,
}


def stored(image, orientation, kind, **options):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = io.BytesIO()
    if orientation in LYING:
        image = image.transpose(LYING[orientation])
    image.save(data, kind, exif=exif, **options)
    return data.getvalue()


def scores(handler, data):
    return handler.handle({"image": base64.b64encode(data).decode()})


@pytest.mark.parametrize("photo", SAMPLES, ids=lambda photo: photo.stem)
@pytest.mark.parametrize("orientation", LYING)
def test_each_sample_as_a_phone_stores_it_has_the_scores_of_the_upright_one(
    photo, orientation, handler
):
    with Image.open(photo) as image:
        image.thumbnail((320, 320))
    upright = scores(handler, stored(image, 1, "PNG"))
    assert max(upright, key=upright.get) == photo.stem
    for kind, options in (
        ("PNG", {"compress_level": 1}),
        ("WEBP", {"lossless": True, "method": 0}),
    ):
        assert scores(handler, stored(image, orientation, kind, **options)) == upright
    # JPEG's blocks lie otherwise on a turned picture, so that it is not the same to the bit.
    jpeg = scores(handler, stored(image, orientation, "JPEG", quality=95))
    assert max(jpeg, key=jpeg.get) == photo.stem


def test_the_shipped_models_apply_the_flag():
    paths = sorted((ROOT / "models").rglob("*.tflite"))
    assert len(paths) >= 3
    for path in paths:
        assert cards.load(path).preprocessing.exif == "apply"


def test_a_card_without_the_field_ignores_the_flag():
    body = cards.load(ROOT / "models" / "clothing" / "clothing.tflite").to_json()
    del body["preprocessing"]["exif"]
    assert cards.ModelCard.from_json(body).preprocessing.exif == "ignore"
