"""A public model: MobileNetV2 of ImageNet, on photos of Open Images."""

from __future__ import annotations

import numpy as np

from keras_to_lambda.convert.common import source_card
from keras_to_lambda.convert.network import keras_model
from keras_to_lambda.convert.verification import keras_preprocessing
from keras_to_lambda.runtime.common.deadline import Deadline
from keras_to_lambda.runtime.common.settings import Settings
from keras_to_lambda.runtime.handler import Handler
from keras_to_lambda.runtime.inference.telemetry import Stopwatch
from keras_to_lambda.runtime.model_file import card as cards
from keras_to_lambda.runtime.sources.images import Raw

ANSWERS = {
    "cat_720p.jpg": "Egyptian cat",
    "parrot.jpg": "macaw",
    "hot_dog.jpg": "hotdog, hot dog, red hot",
    "bird.bmp": "chickadee",
}


def test_it_answers_alike_in_keras_and_as_served(shared_data, convert):
    model = shared_data / "models" / "mobilenet_v2_imagenet.keras"
    status, output = convert(
        model,
        names=shared_data / "models" / "mobilenet_v2_imagenet.labels.txt",
        photos=shared_data / "images",
    )
    assert status == 0
    card = cards.load(output)
    assert len(card.labels) == 1001
    assert card.verification["agreement"] == 1.0
    assert card.verification["samples"] == 4
    scaled = source_card.network(card)
    graph = keras_model.load(model).concrete()
    handler = Handler(Settings(model_path=str(output), num_threads=1, log_level="FATAL"))
    for name, answer in ANSWERS.items():
        photo = shared_data / "images" / name
        before = keras_model.predict(graph, keras_preprocessing.see(photo, scaled).tensor)
        assert card.labels[before.argmax()] == answer
        served = handler.pipeline.logits(Raw(photo.read_bytes()), Deadline(60), Stopwatch())
        assert card.labels[np.argmax(served)] == answer
