"""estimate: dollars, by hand."""

from __future__ import annotations

import re

import pytest

from benchmarks import estimate


@pytest.mark.parametrize(
    ("way", "image_bytes", "dollars"),
    [
        # A million calls of 10 ms at 1,024 MB: 0.1667; requests 0.20; logs of 1.3 GB 0.65.
        ("rest", 300_000, 0.1667 + 0.20 + 0.65 + 3.50),
        ("http", 300_000, 0.1667 + 0.20 + 0.65 + 1.00),
        ("http", 2_000_000, 0.1667 + 0.20 + 0.65 + 4.00),
        ("http", 0, 0.1667 + 0.20 + 0.65 + 1.00 + 0.40),
        # 100,000 calls of ten; 1.2 million requests to SQS; a GET and a PUT for each image.
        ("sqs", 0, 0.1667 + 0.02 + 0.065 + 0.48 + 0.40 + 5.00),
        # 10,000 children of a second.
        ("map", 0, 0.1667 + 0.002 + 0.0065 + 0.01 + 10_000 * 0.0625 * 0.00001667 + 0.40 + 0.05),
    ],
)
def test_a_million_images(way, image_bytes, dollars):
    found, _ = estimate.million(way, 10, 1024, image_bytes)
    assert found == pytest.approx(dollars, abs=1e-3)


def test_arm64_is_a_fifth_cheaper_and_time_is_rounded_up():
    assert estimate.compute(9.2, 1024, "arm64") == pytest.approx(0.01 * 0.0000133334)
    assert estimate.compute(12.000000001, 1024) == estimate.compute(12, 1024)
    with pytest.raises(KeyError):
        estimate.compute(1, 1024, "riscv")


def test_every_price_has_the_page_that_decides_and_where_it_was_seen():
    for name, price in estimate.PRICES.items():
        assert re.match(r"https://aws\.amazon\.com/[\w-]+/pricing/$", price.page), name
        assert re.match(r"https://\S+ \(20\d\d(-\d\d)*\)$", price.seen), name
