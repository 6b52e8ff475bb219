"""Prices: what AWS charges, from prices.toml, and what invocations cost by them.

Nothing here asks AWS; the file's date and the page behind each figure are in it. A cold start's
initialization is billed like any other time: of container images always, of all functions since
2025-08-01 (https://aws.amazon.com/blogs/compute/aws-lambda-standardizes-billing-for-init-phase/).
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import date
from pathlib import Path
from typing import Any, Literal, Self, TypeVar, get_args

FILE = Path(__file__).with_suffix(".toml")

Architecture = Literal["x86_64", "arm64"]
ARCHITECTURES: tuple[str, ...] = get_args(Architecture)
# How a request reaches the function.
Entry = Literal["rest", "http", "url", "direct", "sqs", "map"]
ENTRIES: tuple[str, ...] = get_args(Entry)

MB_PER_GB = 1024
# https://aws.amazon.com/api-gateway/pricing/, https://aws.amazon.com/sqs/pricing/
HTTP_API_UNIT_BYTES = 512 * 1024
SQS_UNIT_BYTES = 64 * 1024
# https://aws.amazon.com/step-functions/pricing/: 50 MB and the payload, in steps of 64 MB.
EXPRESS_MB = 64
EXPRESS_STEP_MS = 100


class PriceError(Exception):
    """The price table cannot be used, or cannot say what was asked; the message says why."""


@dataclass(frozen=True)
class Price:
    """One price: `usd` for `units` of `unit`, the page that decides and where it was seen."""

    usd: float
    unit: str
    source: str
    seen: str
    units: int = 1
    note: str = ""

    @property
    def each(self) -> float:
        """US dollars for one unit."""
        return self.usd / self.units


@dataclass(frozen=True)
class Free:
    """What a month has for nothing."""

    amount: int
    source: str
    seen: str


Entered = TypeVar("Entered", Price, Free)


@dataclass(frozen=True)
class Prices:
    """A region's prices at a date; each field but these three is an entry of the file."""

    region: str
    dated: date
    free: Mapping[str, Free]

    lambda_x86_64: Price
    lambda_arm64: Price
    lambda_request: Price
    lambda_storage: Price
    function_url: Price
    rest_api: Price
    http_api: Price
    states_transition: Price
    states_request: Price
    states_gb_second: Price
    sqs_request: Price
    s3_get: Price
    s3_put: Price
    log_gb: Price
    metric: Price
    alarm: Price
    dashboard: Price
    trace: Price
    image_gb_month: Price
    egress_gb: Price

    @classmethod
    def named(cls) -> list[str]:
        """Names of all entries, in the file's order."""
        return [each.name for each in fields(cls)][3:]

    @classmethod
    def load(cls, path: Path = FILE) -> Self:
        """Read a price table.

        Raises:
            PriceError: there is none, it is not TOML, or an entry is missing, unknown or wrong.
        """
        try:
            table = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise PriceError(f"the price table {path.name} cannot be read: {error}") from error
        found = table.get("price", {})
        for kind, names in (
            ("lacks", set(cls.named()) - set(found)),
            ("has an unknown entry", set(found) - set(cls.named())),
        ):
            if names:
                raise PriceError(f"{path.name} {kind}: {', '.join(sorted(names))}")
        if not isinstance(table.get("dated"), date):
            raise PriceError(f"{path.name} has no date: dated = 2026-01-31")
        return cls(
            region=str(table.get("region", "")),
            dated=table["dated"],
            free={name: _entry(Free, name, entry) for name, entry in table.get("free", {}).items()},
            **{name: _entry(Price, name, entry) for name, entry in found.items()},
        )

    def gb_second(self, architecture: str) -> Price:
        """The price of a GB-second.

        Raises:
            PriceError: Lambda has no such architecture.
        """
        if architecture not in ARCHITECTURES:
            raise PriceError(f"architecture {architecture!r}: one of {', '.join(ARCHITECTURES)}")
        return self.lambda_arm64 if architecture == "arm64" else self.lambda_x86_64

    def compute(
        self, invocations: float, *, memory_mb: int, ms: float, architecture: str = "x86_64"
    ) -> float:
        """Dollars for the time of invocations, each rounded up to a whole millisecond."""
        gb_seconds = invocations * memory_mb / MB_PER_GB * billed_ms(ms) / 1000
        return gb_seconds * self.gb_second(architecture).each

    def entry(
        self, invocations: float, entry: str, *, request_bytes: int = 0, messages: int = 1
    ) -> float:
        """Dollars for what stands before the function, Lambda's own request not included.

        Args:
            invocations: how often the function is called.
            entry: one of ENTRIES. `direct` (boto3, awscli) and `url` cost nothing; of `sqs` the
                messages sent, and one receive and one delete for each batch; of `map` the started
                child workflow, without its time (`express`).
            request_bytes: of a request to an HTTP API, or of an SQS message.
            messages: SQS messages in each invocation.

        Raises:
            PriceError: no such entry.
        """
        if entry == "rest":
            return invocations * self.rest_api.each
        if entry == "http":
            return invocations * self.http_api.each * chunks(request_bytes, HTTP_API_UNIT_BYTES)
        if entry == "url":
            return invocations * self.function_url.each
        if entry == "sqs":
            sends = messages * chunks(request_bytes, SQS_UNIT_BYTES)
            receives = chunks(messages * request_bytes, SQS_UNIT_BYTES)
            return invocations * (sends + receives + 1) * self.sqs_request.each
        if entry == "map":
            return invocations * self.states_request.each
        if entry == "direct":
            return 0.0
        raise PriceError(f"entry {entry!r}: one of {', '.join(ENTRIES)}")

    def express(self, workflows: float, ms: float) -> float:
        """Dollars for the time of Express workflows, their requests not included."""
        seconds = chunks(ms, EXPRESS_STEP_MS) * EXPRESS_STEP_MS / 1000
        return workflows * seconds * EXPRESS_MB / MB_PER_GB * self.states_gb_second.each


def billed_ms(ms: float) -> int:
    """What Lambda bills for a duration: whole milliseconds, rounded up."""
    # A measured 12.000000001 is arithmetic's doing, not the function's.
    return math.ceil(round(ms, 6))


def chunks(amount: float, size: int) -> int:
    """How many started `size` there are in an amount, and at least one."""
    return max(1, math.ceil(amount / size))


def _entry(kind: type[Entered], name: str, entry: dict[str, Any]) -> Entered:
    try:
        made = kind(**entry)
    except TypeError as error:
        raise PriceError(f"price {name}: {str(error).partition(') ')[2] or error}") from error
    amount = made.usd if isinstance(made, Price) else made.amount
    if isinstance(amount, bool) or not isinstance(amount, int | float) or not amount >= 0:
        raise PriceError(f"price {name}: {amount!r} is no price")
    return made
