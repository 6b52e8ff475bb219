"""Settings: defaults, what is read, and every fault in one message."""

from __future__ import annotations

import os

import pytest

from keras_to_lambda.runtime.common.errors import SetupError
from keras_to_lambda.runtime.common.settings import Settings, vcpus


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"MAX_IMAGES": ""}, {"max_images": 16, "max_image_bytes": 20_000_000}),
        ({}, {"fetch_private_hosts": frozenset(), "num_threads": vcpus(os.environ)}),
        ({"NUM_THREADS": "3", "LOG_LEVEL": "error"}, {"num_threads": 3, "log_level": "ERROR"}),
        (
            {"FETCH_ALLOWED_HOSTS": "A.example, b.example"},
            {"fetch_allowed_hosts": {"a.example", "b.example"}},
        ),
        ({"FETCH_ALLOWED_PORTS": "80 443,8080"}, {"fetch_allowed_ports": {80, 443, 8080}}),
        # As they are looked up.
        ({"FETCH_ALLOWED_HOSTS": "Fa\u00df.de"}, {"fetch_allowed_hosts": {"xn--fa-hia.de"}}),
        (
            {"FETCH_PRIVATE_HOSTS": "b\u00fccher.example:80, [::1]:81"},
            {"fetch_private_hosts": {"xn--bcher-kva.example:80", "::1:81"}},
        ),
    ],
)
def test_values_are_read_and_have_defaults(environ, expected):
    settings = Settings.from_environ(environ)
    assert {name: getattr(settings, name) for name in expected} == expected
    assert Settings() == Settings.from_environ({})


def test_every_fault_is_in_one_message():
    environ = {
        "NUM_THREADS": "0", "MAX_IMAGE_BYTES": "20MB", "FETCH_TIMEOUT_S": "nan",
        "FETCH_PRIVATE_HOSTS": "intranet", "LOG_LEVEL": "loud", "FETCH_ALLOWED_PORTS": "80;81",
    }  # fmt: skip
    with pytest.raises(SetupError) as caught:
        Settings.from_environ(environ)
    assert [name for name in environ if name not in str(caught.value)] == []
    assert "must be port numbers, separated by commas or spaces" in str(caught.value)


@pytest.mark.parametrize("memory_mb", ["128", "1769", "3537"])
def test_a_function_with_less_than_two_vcpus_gets_one_thread(memory_mb):
    assert vcpus({"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": memory_mb}) == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("FETCH_ALLOWED_HOSTS", "https://images.example.com/a"),
        ("FETCH_ALLOWED_HOSTS", "images.example.com:443"),
        ("FETCH_PRIVATE_HOSTS", "http://10.0.0.1:80"),
        ("S3_ALLOWED_BUCKETS", "s3://photos"),
        ("S3_ALLOWED_BUCKETS", "photos/in"),
        ("FETCH_USER_AGENT", "shop\r\nX-Injected: 1"),
        ("FETCH_ALLOWED_PORTS", "80,http"),
        ("RESULTS_PREFIX", "s3://bucket"),
        ("LOAD_MODELS", "some"),
        ("MODEL_SHA256", "12"),
    ],
)
def test_a_value_that_would_never_match_is_refused_at_start(name, value):
    with pytest.raises(SetupError, match=name):
        Settings.from_environ({name: value})
