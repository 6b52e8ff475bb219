"""deploy.estimate: dollars and limits, by hand."""

from __future__ import annotations

import json
import re

import pytest

from keras_to_lambda.deploy import estimate
from keras_to_lambda.deploy.estimate import EstimateError


@pytest.mark.parametrize(
    ("way", "options", "dollars"),
    [
        # A million calls of 10 ms at 1,024 MB: 0.1667; requests 0.20; logs of 1.3 GB 0.65.
        ("rest", {"image_bytes": 300_000}, 0.1667 + 0.20 + 0.65 + 3.50),
        ("http", {"image_bytes": 300_000}, 0.1667 + 0.20 + 0.65 + 1.00),
        ("http", {"image_bytes": 2_000_000}, 0.1667 + 0.20 + 0.65 + 4.00),
        ("http", {}, 0.1667 + 0.20 + 0.65 + 1.00 + 0.40),
        # 100,000 calls of ten; 1.2 million requests to SQS; a GET and a PUT for each image.
        ("sqs", {}, 0.1667 + 0.02 + 0.065 + 0.48 + 0.40 + 5.00),
        # 10,000 children of a second.
        ("map", {}, 0.1667 + 0.002 + 0.0065 + 0.01 + 10_000 * 0.0625 * 0.00001667 + 0.40 + 0.05),
    ],
)
def test_a_million_images(way, options, dollars):
    found = estimate.estimate(1_000_000, 10, way=way, memory_mb=1024, **options)
    assert found.dollars == pytest.approx(dollars, abs=1e-3)
    assert found.broken == ()


def test_arm64_is_a_fifth_cheaper_and_time_is_rounded_up():
    assert estimate.compute(9.2, 1024, "arm64") == pytest.approx(0.01 * 0.0000133334)
    assert estimate.compute(12.000000001, 1024) == estimate.compute(12, 1024)
    with pytest.raises(KeyError):
        estimate.compute(1, 1024, "riscv")


def test_seconds_are_those_of_the_function_alone():
    assert estimate.estimate(1_000, 10, batch=100, concurrency=5).seconds == pytest.approx(2)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"ms": 600, "batch": 50},
            "a batch of 50 takes 30 s, and the function has 28 s: at most 46",
        ),
        ({"ms": 1, "batch": 700}, "256 KiB of items or answers: at most 609"),
    ],
)
def test_work_that_breaks_a_limit_is_named_with_what_fits(options, said):
    [broken] = estimate.estimate(10_000, options.pop("ms"), **options).broken
    assert said in broken


@pytest.mark.parametrize(
    "options", [{"images": 0}, {"ms": -1}, {"ms": float("nan")}, {"batch": -1}]
)
def test_numbers_out_of_range_are_refused(options):
    with pytest.raises(EstimateError, match=next(iter(options))):
        estimate.estimate(**{"images": 1, "ms": 1.0, **options})


def test_a_listing_and_an_answer_are_as_long_as_is_counted():
    item = {
        "Etag": '"' + 32 * "0" + '"',
        "Key": 60 * "k",
        "LastModified": 1790000000,
        "Size": 200000,
        "StorageClass": "STANDARD",
    }
    assert len(json.dumps(item)) <= estimate.ITEM_BYTES
    scores = {f"label {n}": 0.12345678 for n in range(10)}
    answer = {"image": f"s3://bucket/{60 * 'k'}", "model": "clothing", "scores": scores}
    assert len(json.dumps(answer)) <= estimate.ANSWER_BYTES


def test_every_price_has_the_page_that_decides_and_where_it_was_seen():
    for name, price in estimate.PRICES.items():
        assert re.match(r"https://aws\.amazon\.com/[\w-]+/pricing/$", price.page), name
        assert re.match(r"https://\S+ \(20\d\d(-\d\d)*\)$", price.seen), name
