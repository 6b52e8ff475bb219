"""Progress: how far a run is, by what Step Functions counts of it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from keras_to_lambda.deploy.batch.cloud import Cloud, aws_errors
from keras_to_lambda.deploy.batch.runs import Part, Run

ENDED = ("SUCCEEDED", "FAILED", "TIMED_OUT", "ABORTED")
DONE = ("succeeded", "failed", "timedOut", "aborted")


class Progress(NamedTuple):
    """A part of a run at one moment.

    images, batches: by state, as itemCounts and executionCounts of
    https://docs.aws.amazon.com/step-functions/latest/apireference/API_DescribeMapRun.html
    seconds: since the start, or since it was redriven, up to the end.
    new: images done in these seconds; None where the earlier count is unknown.
    error: why it ended without success.
    """

    part: str
    status: str
    images: dict[str, int]
    batches: dict[str, int]
    seconds: float
    new: int | None
    error: str | None

    @property
    def done(self) -> int:
        """Images whose batch has ended, well or not."""
        return sum(self.images.get(name, 0) for name in DONE)

    @property
    def a_second(self) -> float | None:
        """Images a second, over all of `seconds`; None where that is not known."""
        if self.new is None:
            return None
        return self.new / self.seconds if self.seconds > 0 else 0.0

    @property
    def left_s(self) -> float | None:
        """Seconds until the end at that speed; None where nothing is done yet, or all is."""
        left = sum(self.images.get(name, 0) for name in ("pending", "running", "pendingRedrive"))
        return left / self.a_second if left and self.a_second else None


def of(cloud: Cloud, run: Run, part: Part | None = None) -> Progress:
    """Ask how far a run is; of its parts the last.

    Raises:
        BatchError: Step Functions does not know it.
    """
    part = part or run.last
    with aws_errors(f"execution {part.name}"):
        execution = cloud.states.describe_execution(executionArn=cloud.execution(part.name))
    map_run = cloud.map_run(part.name)
    images = _counts(map_run.get("itemCounts"))
    # Of the Map Run: the execution's own is "unavailable" where the children are Express, as here
    # (https://docs.aws.amazon.com/step-functions/latest/apireference/API_DescribeExecution.html).
    begin = map_run.get("redriveDate") or execution["startDate"]
    stopped = execution.get("stopDate") if execution["status"] in ENDED else None
    error = ": ".join(execution[key] for key in ("error", "cause") if execution.get(key))
    return Progress(
        part.name,
        execution["status"],
        images,
        _counts(map_run.get("executionCounts")),
        ((stopped or datetime.now(UTC)) - begin).total_seconds(),
        _new(images, map_run.get("redriveCount", 0), part.kept),
        error or None,
    )


def _new(images: Mapping[str, int], redrives: int, kept: int | None) -> int | None:
    if not redrives:
        return sum(images.get(name, 0) for name in DONE)
    if redrives > 1 or kept is None:  # redriven elsewhere, as in the console
        return None
    # Whether what waits to be redriven still counts as failed is not documented.
    return images.get("succeeded", 0) - kept


def _counts(given: Any) -> dict[str, int]:
    return {name: int(count) for name, count in (given or {}).items()}
