"""What images cost on AWS, and how long they take at best: from milliseconds that were measured.

Time is that of the function alone: how long S3 and the internet take is not measurable here, and
AWS documents no figure. Nothing of the free tiers is subtracted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from keras_to_lambda.deploy import ARCHITECTURE, MEMORY_MB
from keras_to_lambda.runtime.aws_lambda import TIMEOUT_S
from keras_to_lambda.runtime.errors import UserError


class Price(NamedTuple):
    """US dollars for `units` of `unit` in us-east-1; AWS's page, and where it was seen.

    AWS's pages fill in most figures by script, so that stored copies lack them.
    """

    usd: float
    units: int
    unit: str
    page: str
    seen: str


# Where prices were seen, with the page's date, or that of reading it.
_SEEN = {
    "cloudwatch": "https://www.factualminds.com/blog/"
    "amazon-cloudwatch-pricing-metrics-logs-alarms-dashboards/ (2026-06-13)",
    "api-gateway": "https://docs.aws.amazon.com/whitepapers/latest/"
    "best-practices-api-gateway-private-apis-integration/cost-optimization.html (2026-11-28)",
    "s3": "https://devnotes.tech/"
    "understanding-aws-s3-pricing-a-complete-cost-breakdown-with-examples (2026-11-21)",
    "lambda": "https://cloudchipr.com/blog/aws-lambda-pricing (2024)",
    "sqs": "https://cloudburn.io/blog/amazon-sqs-pricing (2026-03)",
    "step-functions": "https://www.wring.co/blog/aws-step-functions-pricing-guide (2026-03-14)",
}


def _of(service: str, usd: float, units: int, unit: str) -> Price:
    return Price(usd, units, unit, f"https://aws.amazon.com/{service}/pricing/", _SEEN[service])


PRICES: Mapping[str, Price] = {
    "lambda_x86_64": _of("lambda", 0.0000166667, 1, "GB-second, by the millisecond"),
    "lambda_arm64": _of("lambda", 0.0000133334, 1, "GB-second, by the millisecond"),
    "lambda_request": _of("lambda", 0.20, 1_000_000, "invocation"),
    "rest_api": _of("api-gateway", 3.50, 1_000_000, "request"),
    "http_api": _of("api-gateway", 1.00, 1_000_000, "request, once for each 512 KB of it"),
    "sqs_request": _of("sqs", 0.40, 1_000_000, "request"),
    "states_request": _of("step-functions", 1.00, 1_000_000, "Express workflow, one for a batch"),
    "states_gb_second": _of("step-functions", 0.00001667, 1, "GB-second, by 100 ms and 64 MB"),
    "s3_get": _of("s3", 0.0004, 1_000, "GET"),
    "s3_put": _of("s3", 0.005, 1_000, "PUT"),
    "log_gb": _of("cloudwatch", 0.50, 1, "GB of logs"),
    "metric": _of("cloudwatch", 0.30, 1, "custom metric and month"),
    "dashboard": _of("cloudwatch", 3.00, 1, "dashboard and month"),
}

# https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html
STATE_BYTES = 256 * 1024
# Of an image in a listing with a key of 60 letters, and of its answer with ten labels; a test
# measures both. Of an invocation's log lines: measured by benchmarks.receipt.
ITEM_BYTES, ANSWER_BYTES, LOG_BYTES = 200, 430, 1_300
HTTP_UNIT_BYTES = 512 * 1024
# Images in an invocation; of a queue at most 10 without a window.
IN_EACH = {"rest": 1, "http": 1, "sqs": 10, "map": 100}


def each(price: str) -> float:
    """Dollars for one unit."""
    return PRICES[price].usd / PRICES[price].units


def compute(ms: float, memory_mb: int, architecture: str = ARCHITECTURE) -> float:
    """Dollars for the time of one invocation."""
    billed = math.ceil(round(ms, 6)) / 1000  # 12.000000001 is arithmetic's doing
    return billed * memory_mb / 1024 * each(f"lambda_{architecture}")


class EstimateError(UserError):
    """A number is out of range; the message names it."""


@dataclass(frozen=True)
class Estimate:
    """Seconds at best; dollars by what they are for; limits that the work breaks, with remedies."""

    seconds: float
    parts: Mapping[str, float]
    broken: tuple[str, ...]

    @property
    def dollars(self) -> float:
        """In all."""
        return sum(self.parts.values())


def estimate(
    images: int,
    ms: float,
    *,
    way: str = "map",
    batch: int | None = None,
    concurrency: int = 1_000,
    memory_mb: int = MEMORY_MB,
    architecture: str = ARCHITECTURE,
    timeout_s: int = TIMEOUT_S,
    image_bytes: int = 0,
) -> Estimate:
    """Many images by one of the ways of IN_EACH.

    Args:
        ms: of the function for one image, as measured. image_bytes: of one in a request's body; 0
            where it is read from S3.

    Raises:
        EstimateError: a number is out of range.
    """
    in_each = batch or IN_EACH[way]
    for name, value in (("images", images), ("batch", in_each), ("concurrency", concurrency)):
        if value < 1:
            raise EstimateError(f"{name} is {value}; 1 or more")
    if not (math.isfinite(ms) and ms >= 0):
        raise EstimateError(f"ms is {ms}; 0 or more")
    in_each = min(in_each, images)
    calls = math.ceil(images / in_each)
    call_ms = in_each * ms
    parts = {
        "Lambda, time": calls * compute(call_ms, memory_mb, architecture),
        "Lambda, requests": calls * each("lambda_request"),
        "logs": calls * LOG_BYTES / 1e9 * each("log_gb"),
        "S3, reading": 0.0 if image_bytes else images * each("s3_get"),
    }
    match way:
        case "rest":
            parts["REST API"] = images * each("rest_api")
        case "http":
            parts["HTTP API"] = (
                images * max(1, math.ceil(image_bytes / HTTP_UNIT_BYTES)) * each("http_api")
            )
        case "sqs":  # each message is sent; a batch is received, and deleted
            parts["SQS"] = (images + 2 * calls) * each("sqs_request")
            parts["S3, writing"] = images * each("s3_put")
        case "map":
            seconds = math.ceil(call_ms / 100) / 10
            parts["Step Functions"] = calls * (
                each("states_request") + seconds * 64 / 1024 * each("states_gb_second")
            )
            parts["S3, writing"] = calls * each("s3_put")  # one for each batch is the most
    broken = []
    if call_ms / 1000 > timeout_s:
        fits = max(1, int(timeout_s * 1000 / ms))
        broken.append(
            f"a batch of {in_each} takes {call_ms / 1000:.0f} s, and the function has "
            f"{timeout_s} s: at most {fits} in a batch"
        )
    most = STATE_BYTES // max(ITEM_BYTES, ANSWER_BYTES)
    if way == "map" and in_each > most:
        broken.append(
            f"a batch of {in_each} has more than 256 KiB of items or answers: at most {most} in a "
            "batch, or a smaller top_k"
        )
    return Estimate(math.ceil(calls / concurrency) * call_ms / 1000, parts, tuple(broken))


def price_table() -> str:
    """Every price, for the docs."""
    rows = ["| what | $ | for | where it was seen |", "| --- | ---: | --- | --- |"]
    for name, price in PRICES.items():
        count = f"{price.units:,} x " if price.units > 1 else ""
        link, _, date = price.seen.partition(" ")
        usd = f"{price.usd:.10f}".rstrip("0").rstrip(".")
        rows.append(
            f"| [`{name}`]({price.page}) | {usd} | {count}{price.unit} | [seen]({link}) {date} |"
        )
    return "\n".join(rows)


def million_table(ms: float, memory_mb: int = MEMORY_MB) -> str:
    """What a million images cost by each way, for the docs."""
    ways = {
        "REST API, photo of 300 KB in the request": ("rest", 300_000),
        "HTTP API, photo of 300 KB in the request": ("http", 300_000),
        "HTTP API, photo of 2 MB in the request": ("http", 2_000_000),
        "uploads, by the queue": ("sqs", 0),
        "batch run": ("map", 0),
    }
    rows = ["| way | $ | of which Lambda | minutes at best, 10 at a time | 1,000 at a time |"]
    rows += ["| --- | ---: | ---: | ---: | ---: |"]
    minutes = 1_000_000 * ms / 60_000
    for name, (way, size) in ways.items():
        found = estimate(1_000_000, ms, way=way, memory_mb=memory_mb, image_bytes=size)
        ours = found.parts["Lambda, time"] + found.parts["Lambda, requests"]
        rows.append(
            f"| {name} | {found.dollars:.2f} | {ours:.2f} | {minutes / 10:.1f} "
            f"| {minutes / 1000:.1f} |"
        )
    return "\n".join(rows)
