"""Somebody else's model: MobileNetV2 of ImageNet, on photos of Open Images."""

from __future__ import annotations

from classifier import card as cards
from classifier.deadline import Deadline
from classifier.handler import Handler
from classifier.settings import Settings
from classifier.sources import Raw
from classifier.telemetry import Stopwatch
from convert import keras_model, reference

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
    graph = keras_model.load(model).concrete()
    handler = Handler(Settings(model_path=output, num_threads=1, log_level="FATAL"))
    for name, answer in ANSWERS.items():
        photo = shared_data / "images" / name
        before = keras_model.predict(graph, reference.see(photo, card).tensor)
        assert card.labels[before.argmax()] == answer
        served = handler.logits(Raw(photo.read_bytes()), Deadline(60), Stopwatch())
        assert card.labels[served.argmax()] == answer
