"""Progress: how far a run is, by what Step Functions counts of it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, NamedTuple

from deploy.batch.cloud import Cloud, told
from deploy.batch.runs import Part, Run

ENDED = ("SUCCEEDED", "FAILED", "TIMED_OUT", "ABORTED")


class Progress(NamedTuple):
    """A part of a run at one moment.

    images, batches: by state, as itemCounts and executionCounts of
    https://docs.aws.amazon.com/step-functions/latest/apireference/API_DescribeMapRun.html
    seconds: since the start, up to the end. error: why it ended without success.
    """

    part: str
    status: str
    images: dict[str, int]
    batches: dict[str, int]
    seconds: float
    error: str | None

    @property
    def done(self) -> int:
        """Images whose batch has ended, well or not."""
        ends = ("succeeded", "failed", "timedOut", "aborted")
        return sum(self.images.get(name, 0) for name in ends)

    @property
    def a_second(self) -> float:
        """Images a second, over all the time so far."""
        return self.done / self.seconds if self.seconds > 0 else 0.0

    @property
    def left_s(self) -> float | None:
        """Seconds until the end at that speed; None where nothing is done yet, or all is."""
        left = self.images.get("pending", 0) + self.images.get("running", 0)
        return left / self.a_second if left and self.a_second else None


def of(cloud: Cloud, run: Run, part: Part | None = None) -> Progress:
    """Ask how far a run is; of its parts the last.

    Raises:
        BatchError: Step Functions does not know it.
    """
    part = part or run.last
    arn = cloud.execution(part.name)
    with told(f"execution {part.name}"):
        execution = cloud.states.describe_execution(executionArn=arn)
        map_runs = cloud.states.list_map_runs(executionArn=arn)["mapRuns"]
        counts = (
            cloud.states.describe_map_run(mapRunArn=map_runs[0]["mapRunArn"]) if map_runs else {}
        )
    end = execution.get("stopDate") or datetime.now(UTC)
    error = ": ".join(execution[key] for key in ("error", "cause") if execution.get(key))
    return Progress(
        part.name,
        execution["status"],
        _counts(counts.get("itemCounts")),
        _counts(counts.get("executionCounts")),
        (end - execution["startDate"]).total_seconds(),
        error or None,
    )


def _counts(given: Any) -> dict[str, int]:
    return {name: int(count) for name, count in (given or {}).items()}
