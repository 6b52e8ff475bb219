"""Telemetry of a request: the milliseconds of each stage, and one structured log line.

Never logged: query strings, user info, bodies, data: URLs, image bytes. The line is built from
numbers, codes and ids alone, so that nothing has to be filtered out. log.MAX_LINE_BYTES bounds it.
"""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Mapping
from types import TracebackType

from keras_to_lambda.runtime.common.errors import (
    ClassifierError,
    InternalError,
    InvalidRequest,
    SetupError,
)
from keras_to_lambda.runtime.common.log import LOGGED, MAX_LIST, MAX_TEXT, log
from keras_to_lambda.runtime.common.record import Any, Self
from keras_to_lambda.runtime.common.settings import Settings
from keras_to_lambda.runtime.common.text import clean
from keras_to_lambda.runtime.model_file.card import ModelCard

STAGES = ("fetch", "decode", "preprocess", "inference")
# The numbers of a line that are CloudWatch metrics, where METRICS_NAMESPACE is set.
METRICS = {
    **{f"{stage}_ms": "Milliseconds" for stage in STAGES},
    "total_ms": "Milliseconds",
    "bytes": "Bytes",
    "images": "Count",
    "failures": "Count",
    "cold_starts": "Count",
}


class Stopwatch:
    """A request's milliseconds by stage, summed over its images, and what else it came to."""

    def __init__(self, request_id: str = "") -> None:
        self._start = time.perf_counter()
        self.request_id = request_id
        self.stages: dict[str, float] = {}
        self.bytes = 0
        self.pixels = 0
        self.images = 0
        self.failed: list[ClassifierError] = []
        self.model: ModelCard | None = None

    def stage(self, name: str) -> Self:
        """Time a `with` block as one of STAGES; none is inside of another."""
        self._name = name
        return self

    def __enter__(self) -> None:
        self._began = time.perf_counter()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        stages, name = self.stages, self._name
        stages[name] = stages.get(name, 0.0) + (time.perf_counter() - self._began) * 1000

    def total_ms(self) -> float:
        """Milliseconds since the request came."""
        return (time.perf_counter() - self._start) * 1000

    def server_timing(self, cold: bool) -> str:
        """The Server-Timing header's value (https://www.w3.org/TR/server-timing/)."""
        marks = [f"{name};dur={ms:.2f}" for name, ms in self.stages.items()]
        marks.append(f"total;dur={self.total_ms():.2f}")
        return ", ".join([*marks, 'start;desc="cold"' if cold else 'start;desc="warm"'])


def trace_id() -> str:
    """X-Ray's id of this invocation, as Lambda's runtime sets it; or nothing.

    https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html
    It goes into the log line and the answer, and with boto3 to S3; never to the hosts of images.
    """
    # Callers can send parts of it.
    return clean(os.environ.get("_X_AMZN_TRACE_ID", ""), MAX_TEXT)


def request(
    settings: Settings,
    watch: Stopwatch,
    source: str,
    errors: list[ClassifierError],
    *,
    cold: bool,
) -> None:
    """Log the line of a request, which had these errors; those of single images are the watch's."""
    level = "ERROR" if any(error.status >= 500 for error in errors) else "INFO"
    if level not in LOGGED[settings.log_level]:
        return
    numbers: dict[str, Any] = {
        **{f"{name}_ms": round(ms, 2) for name, ms in watch.stages.items()},
        "total_ms": round(watch.total_ms(), 2),
        "bytes": watch.bytes,
        "images": watch.images,
        "failures": max(len(watch.failed), len(errors)),
        "cold_starts": int(cold),
    }
    line: dict[str, Any] = {
        "request_id": watch.request_id,
        "trace_id": trace_id(),
        "source": source,
        "outcome": errors[0].code if errors else "ok",
        "cold": cold,
        "pixels": watch.pixels,
        **numbers,
        **(errors[0].facts if errors else {}),
    }
    if watch.failed and watch.failed != errors:
        line["failed"] = [{"code": error.code, **error.facts} for error in watch.failed]
    if watch.model is not None:
        line["model"] = watch.model.name
        line["model_sha256"] = watch.model.model_sha256
    if settings.metrics_namespace:
        line["function"] = os.environ.get("AWS_LAMBDA_FUNCTION_NAME", "local")
        line["_aws"] = _embedded(settings.metrics_namespace, numbers, "model" in line)
    log(settings, level, **line)


def named(error: Exception, settings: Settings, watch: Stopwatch) -> ClassifierError:
    """An error as one of ours.

    What is not a caller's fault is logged, with where it arose; the caller gets the request's id.
    """
    if isinstance(error, ClassifierError):
        return error.bare()
    if isinstance(error, RecursionError):
        return InvalidRequest("the request is nested too deeply")
    log(
        settings,
        "ERROR",
        request_id=watch.request_id,
        outcome=InternalError.code,
        # Where, not what: an exception's text may repeat the caller's data. A SetupError's is about
        # files and settings.
        type=type(error).__name__,
        setup=str(error) if isinstance(error, SetupError) else None,
        traceback=[
            f"{frame.filename}:{frame.lineno} {frame.name}"
            for frame in traceback.extract_tb(error.__traceback__)[-MAX_LIST:]
        ],
    )
    return InternalError(
        "the function failed; its log has the details"
        + (f" under request id {watch.request_id}" if watch.request_id else "")
    )


def _embedded(namespace: str, numbers: Mapping[str, Any], model: bool) -> dict[str, Any]:
    """What makes CloudWatch take a line's numbers for metrics: the Embedded Metric Format.

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
    """
    return {
        "Timestamp": int(time.time() * 1000),
        "CloudWatchMetrics": [
            {
                "Namespace": namespace,
                "Dimensions": [["function"], ["function", "model"]] if model else [["function"]],
                "Metrics": [{"Name": name, "Unit": METRICS[name]} for name in numbers],
            }
        ],
    }
