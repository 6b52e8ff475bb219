"""Options: the command line -> a recipe, with defaults for the data and the network."""

from __future__ import annotations

import argparse
import dataclasses

import pytest

from keras_to_lambda.train import recipe_options, train
from keras_to_lambda.train.data.dataset import DataError, Dataset
from keras_to_lambda.train.fit.recipe import ALL, AUGMENTATIONS, Backbone, Perceptron, Residual

PHOTOS = Dataset(("a", "b"), {}, (), "x")


def of_arrays(*shape):
    return dataclasses.replace(PHOTOS, shape=shape)


def made(given, data=PHOTOS):
    return recipe_options.recipe(train.parser().parse_args(["DATA", *given.split()]), data)


@pytest.mark.parametrize(
    ("given", "data", "network", "size", "channels"),
    [
        ("", PHOTOS, Residual, 160, 3),
        ("", of_arrays(28, 28, 1), Residual, 28, 1),
        ("", of_arrays(32, 32, 3), Residual, 32, 3),
        ("", of_arrays(300, 200, 3), Residual, 160, 3),
        ("--model mlp", of_arrays(28, 28, 1), Perceptron, 28, 1),
        ("--model mlp", PHOTOS, Perceptron, 64, 3),
        ("--model xception", PHOTOS, Backbone, 224, 3),
        ("--model MobileNet --size 299", PHOTOS, Backbone, 299, 3),
        ("--model ResNet50 --weights none", PHOTOS, Backbone, 160, 3),
        ("--model MobileNetV2", of_arrays(32, 32, 3), Backbone, 96, 3),
    ],
)
def test_defaults_follow_the_data_and_the_network(given, data, network, size, channels):
    recipe = made(given, data)
    assert isinstance(recipe.network, network)
    assert (recipe.size, recipe.channels) == (size, channels)


def test_options_reach_the_recipe():
    recipe = made(
        "--model MobileNetV2 --inner 100,50 --dropout 0.4 --fine-tune 60 --fine-tune-epochs 8 "
        "--size 150 --enlarge 299 --augment flip=vertical,zoom=0.5..1,cutout=0.2,mixup=0.3 "
        "--schedule plateau:0.5 --patience 4"
    )
    assert (recipe.inner, recipe.dropout) == ((100, 50), 0.4)
    assert [(p.name, p.size, p.layers, p.first, p.last) for p in recipe.phases()] == [
        ("head", 150, 0, 0, 20), ("fine-tuning", 150, 60, 20, 28), ("larger", 299, 60, 28, 36),
    ]  # fmt: skip
    assert recipe.served_size == 299
    assert recipe.augmentation == dataclasses.replace(
        AUGMENTATIONS["light"], flip="vertical", zoom=(0.5, 1.0), cutout=0.2, mixup=0.3
    )
    assert {phase.mix for phase in recipe.phases()} == {0.3}
    assert (recipe.keep, recipe.patience, recipe.schedule) == ("best", 4, "plateau:0.5")


@pytest.mark.parametrize(
    ("given", "data", "mixes"),
    [
        ("", of_arrays(32, 32, 3), [0.5, 0.2]),
        ("--model mlp", PHOTOS, [0]),
        ("--model mlp", of_arrays(32, 32, 3), [0]),
        ("--model Xception --weights none", PHOTOS, [0]),
        ("--model mlp --augment mixup=0.3", PHOTOS, [0.3]),
    ],
)
def test_only_the_residual_net_blends_unless_it_is_asked_for(given, data, mixes):
    assert [phase.mix for phase in made(given, data).phases()] == mixes


def test_a_network_from_scratch_grows_and_continues_its_schedule():
    phases = made("--epochs 50").phases()
    assert [(p.size, p.first, p.last, p.mix) for p in phases] == [
        (96, 0, 21, 0.5), (128, 21, 40, 0.5), (160, 40, 50, 0.2),
    ]  # fmt: skip
    assert {phase.layers for phase in phases} == {ALL}
    assert {phase.mix for phase in made("--augment none").phases()} == {0.0}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("--fine-tune 3", "are for a trained network"),
        ("--weights imagenet", "are for the networks of keras.applications"),
        ("--model MobileNetV2 --fine-tune-epochs 3", "need --fine-tune LAYERS"),
        ("--model MobileNetV2 --enlarge 100", "not larger than --size 224"),
        ("--size 16", "--size must be at least 32"),
        ("--model resnet51", "no model named resnet51"),
    ],
)
def test_options_that_contradict_each_other_are_named(given, message):
    with pytest.raises(DataError, match=message):
        made(given)


@pytest.mark.parametrize(
    ("option", "text", "message"),
    [
        ("epochs", "six", "not a whole number"),
        ("dropout", "1", "must be from 0 to 0.95"),
        ("schedule", "step", "use cosine, constant"),
        ("schedule", "plateau:2", "must be from 0.01 to 0.99"),
        ("schedule", "cosine:0.5", "'cosine:0.5': only plateau takes a factor; use cosine"),
        ("augment", "wild", "is not one of none, light"),
        ("augment", "light,zoom=1.1..0.9", "the lower end first"),
        ("augment", "rotation=200", "rotation=200: must be from 0 to 180"),
        ("augment", "light,mixup=", "mixup=: '' is not a number"),
        ("augment", "flip=both", "use flip=none"),
    ],
)
def test_a_value_out_of_range_is_named(option, text, message):
    with pytest.raises(argparse.ArgumentTypeError, match=message):
        recipe_options.READERS[option](text)


def test_the_card_of_a_run_has_the_network_s_scaling_and_the_last_size():
    card = train.card("any", ("a", "b"), made("--model ResNet50 --size 150 --enlarge 299"))
    assert (card.height, card.width, card.preprocessing.scaling) == (299, 299, "resnet")
    assert card.preprocessing.exif == "apply"
    digits = tuple("0123456789")
    assert train.card("any", digits, made("", of_arrays(28, 28, 1))).preprocessing.drawing == (
        "mnist"
    )
