"""Settings: defaults, what is read, and every fault in one message."""

from __future__ import annotations

import os

import pytest

from keras_to_lambda.runtime.common.errors import SetupError
from keras_to_lambda.runtime.common.settings import Settings, vcpus


def test_an_empty_environment_gives_the_defaults():
    settings = Settings.from_environ({"MAX_IMAGES": ""})
    assert settings.max_images == 16
    assert settings.max_image_bytes == 20_000_000
    assert settings.fetch_private_hosts == frozenset()
    assert settings.num_threads >= 1


def test_settings_of_no_environment_have_as_many_threads_as_processors():
    assert Settings().num_threads == vcpus(os.environ)
    assert Settings() == Settings.from_environ({})


def test_values_are_read():
    settings = Settings.from_environ(
        {"NUM_THREADS": "3", "FETCH_ALLOWED_HOSTS": "A.example, b.example", "LOG_LEVEL": "error"}
    )
    assert settings.num_threads == 3
    assert settings.fetch_allowed_hosts == {"a.example", "b.example"}
    assert settings.log_level == "ERROR"


def test_every_fault_is_in_one_message():
    with pytest.raises(SetupError) as caught:
        Settings.from_environ(
            {
                "NUM_THREADS": "0",
                "MAX_IMAGE_BYTES": "20MB",
                "FETCH_TIMEOUT_S": "nan",
                "FETCH_PRIVATE_HOSTS": "intranet",
                "LOG_LEVEL": "loud",
            }
        )
    for name in ("NUM_THREADS", "MAX_IMAGE_BYTES", "FETCH_TIMEOUT_S", "FETCH_PRIVATE", "LOG_LEVEL"):
        assert name in str(caught.value)


@pytest.mark.parametrize(("memory_mb", "threads"), [("128", 1), ("1769", 1), ("3537", 1)])
def test_a_function_with_less_than_two_vcpus_gets_one_thread(memory_mb, threads):
    assert vcpus({"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": memory_mb}) == threads


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


def test_host_names_are_compared_as_they_are_looked_up():
    settings = Settings.from_environ(
        {
            "FETCH_ALLOWED_HOSTS": "Fa\u00df.de",
            "FETCH_PRIVATE_HOSTS": "b\u00fccher.example:80, [::1]:81",
        }
    )
    assert settings.fetch_allowed_hosts == {"xn--fa-hia.de"}
    assert settings.fetch_private_hosts == {"xn--bcher-kva.example:80", "::1:81"}
