"""--preprocess: names and numbers, and errors that teach."""

from __future__ import annotations

import argparse

import numpy as np
import pytest

from keras_to_lambda.convert.common.scaling import for_channels, parse
from keras_to_lambda.runtime.model_file.card import Affine


@pytest.mark.parametrize(
    ("text", "scale", "offset"),
    [
        ("scale=1/127.5,offset=-1", [1 / 127.5], [-1]),
        ("scale=1/255", [1 / 255], [0]),
        ("offset=-128", [1], [-128]),
        ("mean=127.5,std=127.5", [1 / 127.5], [-1]),
        ("mean=127.5 std=255", [1 / 255], [-0.5]),
        ("mean=100,110,120", [1, 1, 1], [-100, -110, -120]),
        ("Mean = 100, 110, 120; std = 50", [0.02] * 3, [-2, -2.2, -2.4]),
        ("mean=10,20,30 std=1,2,4", [1, 0.5, 0.25], [-10, -10, -7.5]),
        ("scale=1e-2,2e-2,.03,1 offset=+1", [0.01, 0.02, 0.03, 1], [1, 1, 1, 1]),
    ],
)
def test_numbers_become_a_scale_and_an_offset(text, scale, offset):
    scaling = parse(text)
    np.testing.assert_allclose((scaling.scale, scaling.offset), (scale, offset))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x/255-0.5", "'x/255-0.5' is not a preset; choose from convnext, densenet,"),
        ("Rescale", "not a preset"),
        ("mobilnet_v2", "not a preset; did you mean mobilenet_v2?"),
        ("1/255", "'1/255' is not a preset; x / 255 is `rescale`; or give numbers: scale="),
        ("x / 255.0", "is not a preset; x / 255 is `rescale`"),
        ("scale=1/0", "'1/0' in 'scale=1/0' is not a number: scale=1/127.5,offset=-1 or mean="),
        ("scale=nan", "'nan' in"),
        ("scale=1/255,shift=2", "has scale, shift; give scale and offset, or mean and std"),
        ("mean=127,offset=1", "has mean, offset; give scale and offset, or mean and std"),
        ("mean=1,mean=2", "duplicate mean in"),
        ("mean=1,2 std=3", "has 2 for mean, 1 for std; give one number, or one for each channel"),
        ("mean=1,2,3 std=3,4,5,6", "has 3 for mean, 4 for std"),
        ("mean=0.485,0.456,0.406 std=0.229,0.224,0.225", "multiply mean and std by 255"),
        ("std=0.5", "multiply mean and std by 255"),
        ("mean=100,std=0", "std is 0"),
        ("scale=0", "scale is 0"),
        ("5,scale=2", "'5' in '5,scale=2' is not NAME=NUMBER"),
        ("scale==2", "is not NAME=NUMBER"),
    ],
)
def test_what_is_neither_says_what_to_write(text, message):
    with pytest.raises(argparse.ArgumentTypeError) as error:
        parse(text)
    assert message in str(error.value)


def test_one_number_is_for_every_channel():
    one = Affine((0.5,), (1.0,))
    assert for_channels(one, 3) == Affine((0.5,) * 3, (1.0,) * 3)
    three = Affine((1.0, 2.0, 3.0), (0.0,) * 3)
    assert for_channels(three, 1) is three
