"""Prices: each with its page, AWS's own worked examples, the template's numbers, and bad tables."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
import yaml

from keras_to_lambda.deploy.prices import (
    ARCHITECTURES,
    ENTRIES,
    FILE,
    Price,
    PriceError,
    Prices,
    billed_ms,
    chunks,
)

ROOT = Path(__file__).resolve().parents[2]
TABLE = FILE.read_text(encoding="utf-8")
PRICES = Prices.load()


@pytest.mark.parametrize("name", Prices.named())
def test_every_price_names_the_page_that_decides_and_where_it_was_seen(name):
    price = getattr(PRICES, name)
    assert isinstance(price, Price)
    assert price.source.startswith("https://aws.amazon.com/")
    assert price.seen
    assert price.unit


def test_the_table_is_dated_and_of_one_region():
    assert PRICES.region == "us-east-1"
    assert PRICES.dated >= date(2026, 11, 21)
    assert all(free.amount > 0 for free in PRICES.free.values())


def test_aws_example_of_three_million_seconds_of_half_a_gigabyte():
    # https://aws.amazon.com/lambda/pricing/: 1,500,000 GB-seconds.
    dollars = PRICES.compute(3_000_000, memory_mb=512, ms=1000)
    assert dollars == pytest.approx(1_500_000 * 0.0000166667)


def test_aws_example_of_a_hundred_million_express_workflows():
    # https://aws.amazon.com/step-functions/pricing/: 17,361.11 GB-hours; here at the first tier.
    dollars = PRICES.express(100_000_000, 10_000)
    assert dollars / 0.06 == pytest.approx(17_361.11, abs=0.01)


def test_arm64_costs_a_fifth_less():
    x86, arm = (
        PRICES.compute(1, memory_mb=1024, ms=1000, architecture=name) for name in ARCHITECTURES
    )
    assert arm / x86 == pytest.approx(0.8, abs=1e-4)


@pytest.mark.parametrize(
    ("ms", "billed"), [(0, 0), (0.2, 1), (12, 12), (12.01, 13), (12.0000000001, 12)]
)
def test_milliseconds_are_billed_whole(ms, billed):
    assert billed_ms(ms) == billed


@pytest.mark.parametrize(("amount", "count"), [(0, 1), (1, 1), (64, 1), (65, 2), (640, 10)])
def test_a_started_chunk_counts(amount, count):
    assert chunks(amount, 64) == count


@pytest.mark.parametrize(
    ("entry", "more", "dollars"),
    [
        ("rest", {}, 3.50),
        ("http", {}, 1.00),
        ("http", {"request_bytes": 512 * 1024 + 1}, 2.00),
        ("url", {}, 0.0),
        ("direct", {}, 0.0),
        ("sqs", {"messages": 10}, 12 * 0.40),  # ten sends, a receive, a delete
        ("sqs", {"messages": 1, "request_bytes": 65 * 1024}, 5 * 0.40),
        ("map", {}, 1.00),
    ],
)
def test_a_million_invocations_by_each_entry(entry, more, dollars):
    assert PRICES.entry(1_000_000, entry, **more) == pytest.approx(dollars)


def test_what_is_unknown_is_refused_with_what_is_known():
    with pytest.raises(PriceError, match="x86_64, arm64"):
        PRICES.compute(1, memory_mb=1024, ms=1, architecture="sparc")
    with pytest.raises(PriceError, match=", ".join(ENTRIES)):
        PRICES.entry(1, "alb")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("[price.s3_get]", "[price.s3_gets]", "lacks: s3_get"),
        ("[price.s3_get]", "[price.s3_got]\nusd = 1\n[price.s3_get]", "unknown entry: s3_got"),
        ("usd = 0.0004", "usd = -0.0004", "price s3_get: -0.0004 is no price"),
        ("usd = 0.0004", 'usd = "cheap"', "price s3_get: 'cheap' is no price"),
        ("usd = 0.0004", "dollars = 0.0004", "price s3_get: .*dollars"),
        ("dated = 2026-11-21", "", "has no date"),
        ("usd = 0.0004", "usd = ", "cannot be read"),
    ],
)
def test_a_wrong_table_is_refused_by_what_is_wrong(tmp_path, old, new, said):
    assert old in TABLE
    path = tmp_path / "prices.toml"
    path.write_text(TABLE.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(PriceError, match=said):
        Prices.load(path)


def test_a_missing_table_is_named(tmp_path):
    with pytest.raises(PriceError, match=r"mine\.toml cannot be read"):
        Prices.load(tmp_path / "mine.toml")


class _Template(yaml.SafeLoader):
    """YAML with CloudFormation's short functions, which are not looked at."""


_Template.add_multi_constructor("!", lambda loader, tag, node: None)


def test_the_template_counts_with_the_same_prices():
    template = yaml.load((ROOT / "template.yaml").read_text("utf-8"), _Template)
    mapped = template["Mappings"]["Price"]
    told = {kind: float(mapped["GigabyteSecond"][kind]) for kind in ("x86", "arm")}
    assert told == {"x86": PRICES.lambda_x86_64.each, "arm": PRICES.lambda_arm64.each}
    assert float(mapped["Invocation"]["any"]) == pytest.approx(PRICES.lambda_request.each)
    for gateway in ("rest", "http"):
        asked = float(mapped["Request"][gateway])
        assert asked == pytest.approx(PRICES.entry(1, gateway))
