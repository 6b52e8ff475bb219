"""What images cost on AWS, from milliseconds that were measured and prices that were seen.

Nothing of the free tiers is subtracted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

from keras_to_lambda.function_defaults import ARCHITECTURE, MEMORY_MB


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

MILLION = 1_000_000
LOG_BYTES = 1_300  # of an invocation's log lines: measured by benchmarks.receipt
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


def million(
    way: str, ms: float, memory_mb: int = MEMORY_MB, image_bytes: int = 0
) -> tuple[float, float]:
    """Dollars for a million images, in all and of these Lambda's.

    Args:
        way: one of IN_EACH. ms: of the function for one image, as measured.
        image_bytes: of an image in a request's body; 0 where it is read from S3.
    """
    calls = MILLION / IN_EACH[way]
    call_ms = IN_EACH[way] * ms
    ours = calls * (compute(call_ms, memory_mb) + each("lambda_request"))
    dollars = ours + calls * LOG_BYTES / 1e9 * each("log_gb")
    if not image_bytes:
        dollars += MILLION * each("s3_get")
    match way:
        case "rest":
            dollars += MILLION * each("rest_api")
        case "http":
            units = max(1, math.ceil(image_bytes / HTTP_UNIT_BYTES))
            dollars += MILLION * units * each("http_api")
        case "sqs":  # each message is sent; a batch is received, and deleted
            dollars += (MILLION + 2 * calls) * each("sqs_request") + MILLION * each("s3_put")
        case "map":  # one written object for each batch is the most
            seconds = math.ceil(call_ms / 100) / 10
            workflow = each("states_request") + seconds * 64 / 1024 * each("states_gb_second")
            dollars += calls * (workflow + each("s3_put"))
    return dollars, ours
