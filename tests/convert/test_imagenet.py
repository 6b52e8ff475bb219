"""Somebody else's model: MobileNetV2 of ImageNet, on photos of Open Images."""

from __future__ import annotations

from convert import keras_model, reference, verify

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
    served = verify.ServingPath(output)
    card = served.card
    assert len(card.labels) == 1001
    assert card.verification["agreement"] == 1.0
    assert card.verification["samples"] == 4
    graph = keras_model.load(model).concrete()
    for name, answer in ANSWERS.items():
        photo = shared_data / "images" / name
        before = keras_model.predict(graph, reference.tensor(photo, card))
        assert card.labels[before.argmax()] == answer
        assert card.labels[served.logits(photo).argmax()] == answer
