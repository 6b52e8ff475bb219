"""Estimate: how long many images take, what they cost, and which limits they meet.

Plain arithmetic from measured milliseconds, AWS's documented limits and prices.toml; nothing here
has been compared with an account. Three ways lead to the function:

    http    a request for each image, by an HTTP API; the image is named by its s3:// URL
    sqs     an upload is a message, and an invocation takes up to ten of them
    map     a Step Functions Distributed Map, whose Express children take a batch each
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, get_args

from keras_to_lambda.deploy import ARCHITECTURE, MEMORY_MB, TIMEOUT_S
from keras_to_lambda.deploy.prices import Prices, billed_ms, chunks

Way = Literal["http", "sqs", "map"]
WAYS: tuple[str, ...] = get_args(Way)

# The function's own: runtime.settings (max_images) and runtime.sources.images (SIDE_BY_SIDE).
GROUP = 16
SIDE_BY_SIDE = 8

# Assumptions, as nothing here can measure them: an object of less than 512 KB out of S3 in the same
# region, and an answer's into it. AWS speaks of medians "in the tens of milliseconds":
# https://docs.aws.amazon.com/whitepapers/latest/s3-optimizing-performance-best-practices/timeouts-and-retries-for-latency-sensitive-applications.html
DOWNLOAD_MS = 50.0
PUT_MS = 50.0
# Bytes of an image in S3's listing as a Map passes it on, its key of 60 letters, and of its answer
# with ten labels: tests/deploy/test_simulation.py measures both.
ITEM_BYTES = 200
ANSWER_BYTES = 430
# What an invocation logs: the function's line with its metrics, and START, END and REPORT as the
# emulator has them; make receipt measures it (1,281 for the clothing model).
LOG_BYTES = 1300

# What the parent of a Distributed Map enters: its choice of the input's kind, and the map.
PARENT_TRANSITIONS = 2
LISTED_AT_ONCE = 1000  # objects in an answer of ListObjectsV2

_LAMBDA_SCALING = "https://docs.aws.amazon.com/lambda/latest/dg/scaling-behavior.html"
_LAMBDA_LIMITS = "https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html"
_SQS_SCALING = "https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-scaling.html"
_MAP = "https://docs.aws.amazon.com/step-functions/latest/dg/state-map-distributed.html"
_STATES_LIMITS = "https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html"
_GATEWAY = "https://docs.aws.amazon.com/apigateway/latest/developerguide/limits.html"
_S3 = "https://docs.aws.amazon.com/AmazonS3/latest/userguide/optimizing-performance.html"


class EstimateError(ValueError):
    """What was asked makes no sense; the message says what would."""


class Limit(NamedTuple):
    """A documented limit: its value, what it bounds, and the page that says so."""

    value: int
    what: str
    source: str


LIMITS: Mapping[str, Limit] = {
    "new account": Limit(
        10,
        'invocations at a time that many new accounts are reported to have; AWS says "reduced"',
        _LAMBDA_LIMITS,
    ),
    "concurrency": Limit(1_000, "invocations at a time, unless raised", _LAMBDA_LIMITS),
    "scaling": Limit(1_000, "more of them in each 10 s, by function", _LAMBDA_SCALING),
    "rate": Limit(10, "requests a second for each of them", _LAMBDA_SCALING),
    "queue start": Limit(5, "batches at a time that a queue begins with", _SQS_SCALING),
    "queue scaling": Limit(300, "more of them in each minute", _SQS_SCALING),
    "queue": Limit(1_000, "batches of a queue at a time", _SQS_SCALING),
    "gateway": Limit(10_000, "requests a second through API Gateway", _GATEWAY),
    "map": Limit(10_000, "children of a Distributed Map at a time", _MAP),
    "payload": Limit(
        256 * 1024, "bytes into or out of a state: a batch, or answers", _STATES_LIMITS
    ),
    "history": Limit(25_000, "events in a Standard workflow's history", _STATES_LIMITS),
    "express": Limit(300, "seconds that an Express workflow may take", _STATES_LIMITS),
    "s3 get": Limit(5_500, "GETs a second below a partitioned prefix, at least", _S3),
    "s3 put": Limit(3_500, "PUTs a second below a partitioned prefix, at least", _S3),
}


@dataclass(frozen=True)
class Work:
    """What is to be done, and how fast the function is.

    Attributes:
        images: how many.
        ms_per_image: decoding and inference of one image inside a batch, warm.
        batch: images in an invocation; by `http` it is 1, of a queue at most 10 without a window.
        concurrency: invocations at a time that the account, or the stack, allows.
        overhead_ms: of an invocation, whatever is in it.
        cold_ms: of an environment's start, as billed.
        download_ms, put_ms: of an image out of S3, of an answer into it.
        prefixes: partitioned prefixes of S3 over which the images are spread.
        item_bytes, answer_bytes: of an image in the list, of its answer.
        log_bytes: of an invocation.
    """

    images: int
    ms_per_image: float
    batch: int = 100
    concurrency: int = LIMITS["concurrency"].value
    memory_mb: int = MEMORY_MB
    architecture: str = ARCHITECTURE
    way: str = "map"
    overhead_ms: float = 1.0
    cold_ms: float = 1_000.0
    download_ms: float = DOWNLOAD_MS
    put_ms: float = PUT_MS
    prefixes: int = 1
    item_bytes: int = ITEM_BYTES
    answer_bytes: int = ANSWER_BYTES
    log_bytes: int = LOG_BYTES

    def __post_init__(self) -> None:
        for name in ("images", "batch", "concurrency", "memory_mb", "prefixes"):
            if getattr(self, name) < 1:
                raise EstimateError(f"{name} is {getattr(self, name)}; it has to be 1 or more")
        for name in ("ms_per_image", "overhead_ms", "cold_ms", "download_ms", "put_ms"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise EstimateError(f"{name} is {value}; it has to be 0 or more milliseconds")
        if self.way not in WAYS:
            raise EstimateError(f"way {self.way!r}: one of {', '.join(WAYS)}")

    @property
    def in_each(self) -> int:
        """Images in an invocation."""
        return 1 if self.way == "http" else min(self.batch, self.images)

    @property
    def invocations(self) -> int:
        """How often the function is called, if nothing is called twice."""
        return math.ceil(self.images / self.in_each)

    @property
    def invocation_ms(self) -> float:
        """Of a warm invocation: groups of GROUP images, whose downloads go SIDE_BY_SIDE ahead."""
        ms = self.overhead_ms
        left = self.in_each
        while left > 0:
            group = min(GROUP, left)
            waves = math.ceil(group / SIDE_BY_SIDE)
            ms += self.download_ms + max(
                group * self.ms_per_image,
                (waves - 1) * self.download_ms + self.ms_per_image,
            )
            left -= group
        # A queue's answers are written one by one, each before the next image.
        return ms + (self.in_each * self.put_ms if self.way == "sqs" else 0)

    @property
    def most_in_payload(self) -> int:
        """Images whose list, and whose answers, fit into a Step Functions state."""
        return LIMITS["payload"].value // max(self.item_bytes, self.answer_bytes)


class Ramp(NamedTuple):
    """Invocations at a time: `first` at once, `more` in each second, up to `most`."""

    first: float
    more: float
    most: float

    def at(self, seconds: float) -> float:
        """How many after some seconds."""
        return min(self.most, self.first + self.more * seconds)


@dataclass(frozen=True)
class Estimate:
    """What `Work` comes to.

    Attributes:
        seconds: from the first invocation to the last answer.
        dollars: of all parts; no free tier is subtracted.
        parts: dollars by what they are for.
        at_a_time: invocations that run at the same time in the end.
        bound: the name in LIMITS of what keeps it from being faster; empty where all of the work
            runs at once.
        broken: limits that the work breaks, each a sentence with its remedy; it cannot run so.
    """

    work: Work
    seconds: float
    dollars: float
    parts: Mapping[str, float]
    at_a_time: float
    bound: str
    broken: tuple[str, ...] = field(default=())


def estimate(
    images: int,
    ms_per_image: float,
    batch: int = 100,
    concurrency: int = 1_000,
    memory_mb: int = MEMORY_MB,
    architecture: str = ARCHITECTURE,
    *,
    way: str = "map",
    prices: Prices | None = None,
    **more: float,
) -> Estimate:
    """Time, dollars and limits of many images; `more` is any other attribute of Work.

    Raises:
        EstimateError: a number makes no sense.
        deploy.prices.PriceError: the price table cannot be read, or has no such architecture.
    """
    work = Work(
        images,
        ms_per_image,
        batch,
        concurrency,
        memory_mb,
        architecture,
        way,
        **more,  # type: ignore[arg-type]
    )
    ramp, bound = pace(work)
    seconds = duration_s(work)
    reached = min(ramp.at(seconds), work.invocations)
    if work.invocations <= ramp.first:
        bound = ""
    elif ramp.at(seconds) < ramp.most:
        bound = "queue scaling" if way == "sqs" else "scaling"
    parts = costs(work, prices or Prices.load(), reached)
    return Estimate(
        work=work,
        seconds=seconds,
        dollars=sum(parts.values()),
        parts=parts,
        at_a_time=reached,
        bound=bound,
        broken=broken(work),
    )


def counts(work: Work) -> dict[str, int]:
    """What may run at the same time, by the limit's name."""
    found = {"concurrency": work.concurrency}
    if work.way == "map":
        found["map"] = LIMITS["map"].value
    if work.way == "sqs":
        found["queue"] = LIMITS["queue"].value
    return found


def rates(work: Work) -> dict[str, float]:
    """Invocations that may begin in a second, by the limit's name."""
    found = {
        "rate": float(LIMITS["rate"].value * work.concurrency),
        "s3 get": LIMITS["s3 get"].value * work.prefixes / work.in_each,
    }
    if work.way == "sqs":
        found["s3 put"] = LIMITS["s3 put"].value / work.in_each
    if work.way == "http":
        found["gateway"] = float(LIMITS["gateway"].value)
    return found


def rising(work: Work) -> tuple[int, float]:
    """How many may run at once at the start, and how many more in each second."""
    if work.way == "sqs":
        return LIMITS["queue start"].value, LIMITS["queue scaling"].value / 60
    # Lambda tries to refill its 1,000 for each 10 s continuously.
    return LIMITS["scaling"].value, LIMITS["scaling"].value / 10


def pace(work: Work) -> tuple[Ramp, str]:
    """How many invocations run at a time, and which limit bounds them in the end."""
    seconds = work.invocation_ms / 1000
    at_a_time = {
        **counts(work),
        # Little's law: so many a second are so many at a time.
        **{name: rate * seconds for name, rate in rates(work).items()},
    }
    bound = min(at_a_time, key=lambda name: at_a_time[name])
    most = at_a_time[bound]
    first, more = rising(work)
    return Ramp(min(first, most), more, most), bound


def duration_s(work: Work) -> float:
    """Seconds from the first invocation to the last answer.

    As if work were a fluid: `ramp.at(t)` invocations at a time finish `ramp.at(t)` / d of them in
    a second.
    """
    ramp, bound = pace(work)
    d, cold_s = work.invocation_ms / 1000, work.cold_ms / 1000
    if d == 0:
        return cold_s
    needed = work.invocations * d  # seconds of all invocations in a row
    rising_s = (ramp.most - ramp.first) / ramp.more
    risen = ramp.first * rising_s + ramp.more * rising_s**2 / 2
    if needed > risen:
        t = rising_s + (needed - risen) / ramp.most
    else:  # first t + more t^2 / 2 = needed
        t = (math.sqrt(ramp.first**2 + 2 * ramp.more * needed) - ramp.first) / ramp.more
    if bound not in rates(work):
        return cold_s + max(t, d)
    # Bound by how many may begin: the last begins after t, or later, if every one that may run at
    # a time had begun before the first, which start cold, had ended.
    stall_s = max(0.0, cold_s + d - min(counts(work).values()) / rates(work)[bound])
    return max(t + stall_s, cold_s) + d


def costs(work: Work, prices: Prices, environments: float) -> dict[str, float]:
    """Dollars by what they are for. Storage, and the images' own upload, are not in it.

    Args:
        environments: how many start cold.
    """
    n = work.invocations
    ms = work.invocation_ms
    parts = {
        "Lambda, time": prices.compute(
            n, memory_mb=work.memory_mb, ms=ms, architecture=work.architecture
        ),
        "Lambda, cold starts": prices.compute(
            math.ceil(environments),
            memory_mb=work.memory_mb, ms=work.cold_ms, architecture=work.architecture,
        ),
        "Lambda, requests": n * prices.lambda_request.each,
        "S3, reading": work.images * prices.s3_get.each,
        "logs": n * work.log_bytes / 1e9 * prices.log_gb.each,
    }  # fmt: skip
    if work.way == "http":
        parts["HTTP API"] = prices.entry(n, "http")
    elif work.way == "sqs":
        parts["SQS"] = prices.entry(n, "sqs", messages=work.in_each)
        parts["S3, writing"] = work.images * prices.s3_put.each
    else:
        parts["Step Functions, requests"] = prices.entry(n, "map")
        parts["Step Functions, time"] = prices.express(n, billed_ms(ms))
        parts["Step Functions, parent"] = PARENT_TRANSITIONS * prices.states_transition.each
        # How the ResultWriter writes is not documented: one PUT for each child is the most.
        lists = chunks(work.images, LISTED_AT_ONCE)
        parts["S3, writing"] = (n + lists) * prices.s3_put.each
    return parts


def broken(work: Work) -> tuple[str, ...]:
    """The limits that the work breaks, each a sentence with its remedy."""
    found = []
    seconds = work.invocation_ms / 1000
    if seconds > TIMEOUT_S:
        fits = max(1, int(work.in_each * TIMEOUT_S / seconds))
        found.append(
            f"a batch of {work.in_each} takes {seconds:.0f} s, and the function has {TIMEOUT_S} s: "
            f"at most {fits} in a batch"
        )
    if work.way == "map" and work.in_each > work.most_in_payload:
        found.append(
            f"a batch of {work.in_each} has more than 256 KiB of items or answers: at most "
            f"{work.most_in_payload} in a batch, or a smaller top_k"
        )
    return tuple(found)
