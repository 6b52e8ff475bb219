"""`k2l layers`: the layers of a small network, their parameters, the feature maps of a picture."""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import pytest
from PIL import Image

from keras_to_lambda.runtime.model_file.card import ModelCard, Preprocessing
from keras_to_lambda.train import layers


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A network with a nested one, and a picture whose left half is white."""
    import keras

    folder = tmp_path_factory.mktemp("layers")
    inside = keras.Sequential(
        [keras.Input((8, 8, 3)), keras.layers.Conv2D(2, 3, padding="same", name="edges")],
        name="inside",
    )
    # Its first map is the red channel, its second map 0.
    kernel = np.zeros((3, 3, 3, 2))
    kernel[1, 1, 0, 0] = 1
    inside.layers[-1].set_weights([kernel, np.zeros(2)])
    image = keras.Input((8, 8, 3))
    flat = keras.layers.GlobalAveragePooling2D()(inside(image))
    keras.Model(image, keras.layers.Dense(4, name="answer")(flat)).save(folder / "net.keras")
    pixels = np.zeros((8, 8, 3), np.uint8)
    pixels[:, :4] = 255
    Image.fromarray(pixels).save(folder / "picture.png")
    return folder


def test_the_page_has_layers_parameters_and_maps(folder, capsys):
    output = folder / "page.html"
    arguments = (folder / "net.keras", "--picture", folder / "picture.png", "-o", output)
    assert layers.main([*map(str, arguments), "--preprocess", "rescale", "--quiet"]) == 0
    page = output.read_text(encoding="utf-8")
    # A filter has 3 x 3 x 3 weights and a bias, an answer one weight for each map and a bias.
    assert "with 68 parameters" in page
    assert "82% of them are in edges (Conv2D)" in page
    for text in ("8 x 8 x 2", "moves small filters over the picture", "Feature maps of the layer"):
        assert text in page
    assert "<script" not in page


def test_a_feature_map_is_the_layers_output_from_black_to_white(folder, tmp_path):
    card = ModelCard("net", ("a", "b"), 1, 1, preprocessing=Preprocessing(scaling="rescale"))
    facts = layers.look(
        model=str(folder / "net.keras"), card=card.to_json(), sized=False,
        picture=str(folder / "picture.png"), wanted={}, folder=str(tmp_path),
    )  # fmt: skip
    rows = {row["name"]: row for row in facts["layers"]}
    assert (rows["edges"]["parameters"], rows["edges"]["shape"]) == (56, "8 x 8 x 2")
    assert (rows["answer"]["parameters"], rows["answer"]["shape"]) == (12, "4")
    sheet = np.load(tmp_path / "maps.npz")["edges"]
    assert sheet.shape == (10, 20)  # two maps of 8 x 8, each with a border
    assert sheet[1:9, 1:5].min() == 255
    assert sheet[1:9, 5:].max() == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("net.keras", "--picture", "gone.png", "--preprocess", "rescale"), "no such picture"),
        (("net.keras", "--picture", "picture.png"), "no card beside it"),
        (("https://host/predict", "--picture", "picture.png"), "has no Keras layers"),
    ],
)
def test_wrong_use_is_an_error(options, message, folder, monkeypatch, capsys):
    monkeypatch.chdir(folder)
    assert layers.main(options) == 2
    assert message in capsys.readouterr().err
