"""Runs: started, found again by name, and taken up where they stopped.

A run is `runs/NAME/` in the stack's bucket: `run.json`, which has the options and the executions
of it; the list of each `resume`; and what Step Functions' ResultWriter wrote, below a
folder for each part. The first part is the run as it was started; each `resume` that finds
images without an answer adds one that asks for those alone.
"""

from __future__ import annotations

import contextlib
import json
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any, NamedTuple

from keras_to_lambda import aws
from keras_to_lambda.deploy.batch import image_list
from keras_to_lambda.deploy.batch.cloud import BatchError, Cloud
from keras_to_lambda.deploy.batch.image_list import Images
from keras_to_lambda.deploy.batch.ledger import Ledger, Standing, scratch

# What an execution may be called, less what is left for the numbers of parts:
# https://docs.aws.amazon.com/step-functions/latest/apireference/API_StartExecution.html
NAME = re.compile(r"[A-Za-z0-9_-]{1,70}")
# https://docs.aws.amazon.com/step-functions/latest/dg/service-quotas.html: 262,144 bytes of output;
# an image's name takes up to 1,100 of them, as a key may have 1,024; its model, or its error, some
# 200; a label with its score some 40.
MAX_OUTPUT_BYTES = 262_144
LINE_BYTES, LABEL_BYTES = 1300, 40
# Errors of a whole batch that the run's options cause, as bulk.asl.json lists them.
BY_OPTIONS = frozenset({"InvalidRequest", "ModelNotFound", "ModelNotNamed"})
ENDED = ("SUCCEEDED", "FAILED", "TIMED_OUT", "ABORTED")
DONE = ("succeeded", "failed", "timedOut", "aborted")


@dataclass(frozen=True)
class Part:
    """One execution. number: from 1. started: in ISO 8601, UTC."""

    number: int
    name: str
    images: Images
    started: str


@dataclass(frozen=True)
class BatchRun:
    """A run as run.json keeps it.

    options: for each image: top_k, scores, model, and Bucket of keys.
    batch: items in a call, calls at a time, the percentage of failed images that ends the run.
    """

    name: str
    options: Mapping[str, Any]
    batch: Mapping[str, float]
    parts: tuple[Part, ...]

    @property
    def last(self) -> Part:
        return self.parts[-1]

    @property
    def key(self) -> str:
        """Of run.json in the stack's bucket."""
        return f"runs/{self.name}/run.json"

    def results(self, part: Part) -> str:
        """The folder of a part's results there."""
        return f"runs/{self.name}/part-{part.number}"

    def and_part(self, images: Images) -> BatchRun:
        """The run with one more part."""
        number = len(self.parts) + 1
        # No run has a dot in its name.
        name = self.name if number == 1 else f"{self.name}.{number}"
        part = Part(number, name, images, datetime.now(UTC).isoformat())
        return replace(self, parts=(*self.parts, part))


def load(cloud: Cloud, name: str) -> BatchRun:
    """Find a run by its name.

    Raises:
        BatchError: there is none.
    """
    try:
        known = json.loads(b"".join(cloud.lines(cloud.bucket, f"runs/{name}/run.json")))
    except aws.AwsError as error:
        if error.code != "NoSuchKey":
            raise
        raise BatchError(
            f"there is no run {name} in s3://{cloud.bucket}/runs/: "
            f"`aws s3 ls s3://{cloud.bucket}/runs/` lists them"
        ) from error
    parts = [Part(**{**each, "images": Images(*each["images"])}) for each in known.pop("parts")]
    return BatchRun(**known, parts=tuple(parts))


def save(cloud: Cloud, run: BatchRun, *, new: bool = False) -> bool:
    """Write run.json; where it has to be `new` and is not, False, and nothing is written."""
    # https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html
    condition = {"IfNoneMatch": "*"} if new else {}
    body = json.dumps(asdict(run), indent=2).encode()
    try:
        with aws.errors(f"s3://{cloud.bucket}/{run.key}"):
            cloud.s3.put_object(Bucket=cloud.bucket, Key=run.key, Body=body, **condition)
    except aws.AwsError as error:
        if error.code not in ("PreconditionFailed", "ConditionalRequestConflict"):
            raise
        return False
    return True


def _execute(cloud: Cloud, run: BatchRun, part: Part) -> None:
    """Start a part's execution; one that has been started already stays as it is."""
    given = {
        "input": part.images._asdict(),
        "options": run.options,
        "results": {"bucket": cloud.bucket, "prefix": run.results(part)},
        "batch": run.batch,
    }
    # One that has ended cannot be of another input, as run.json is written once.
    exists = cloud.states.exceptions.ExecutionAlreadyExists
    with aws.errors(f"execution {part.name}"), contextlib.suppress(exists):
        cloud.states.start_execution(
            stateMachineArn=cloud.state_machine,
            name=part.name,
            input=json.dumps(given, sort_keys=True),
        )


def plan(
    cloud: Cloud,
    given: str,
    name: str | None,
    options: Mapping[str, Any],
    batch: Mapping[str, float],
) -> BatchRun:
    """A run that is not started yet: that is `start`.

    Args:
        given: an s3:// URL.

    Raises:
        BatchError: the input cannot be read, or the name or the options are not possible.
    """
    name = name or f"{datetime.now(UTC):%Y%m%d-%H%M%S}"
    if not NAME.fullmatch(name):
        raise BatchError(
            f"invalid name of a run: {name!r}; use letters, digits, - and _, at most 70"
        )
    top_k = options.get("top_k") or 1
    if batch["items"] * (LINE_BYTES + LABEL_BYTES * top_k) > MAX_OUTPUT_BYTES:
        raise BatchError(
            f"answers of {batch['items']:.0f} images with {top_k} labels each exceed the 256 KiB "
            "that Step Functions passes on: use fewer --items, or a smaller --top-k"
        )
    images = Images.named(given)
    # A name is taken by what is started under it, a mistyped bucket too.
    if next(images.items(cloud), None) is None:
        raise BatchError(f"{given} has no images")
    return BatchRun(name, {**options, "Bucket": images.bucket}, batch, ()).and_part(images)


def start(cloud: Cloud, run: BatchRun) -> None:
    """Start a run; one that was started with the same input and options stays as it is.

    Raises:
        BatchError: there is another run of the name.
    """
    if not save(cloud, run, new=True):
        known = load(cloud, run.name)
        same = replace(known, parts=()) == replace(run, parts=())
        if not same or known.parts[0].images != run.last.images:
            raise BatchError(
                f"there is a run {run.name} already, of another input or other options: choose "
                "another --name; to go on with that one: resume"
            )
    _execute(cloud, run, run.parts[0])


class Progress(NamedTuple):
    """A part of a run at one moment.

    images, batches: by state, as itemCounts and executionCounts of
    https://docs.aws.amazon.com/step-functions/latest/apireference/API_DescribeMapRun.html
    seconds: since the start. error: why it ended without success, or "".
    """

    part: str
    status: str
    images: Mapping[str, int]
    batches: Mapping[str, int]
    seconds: float
    error: str

    @property
    def done(self) -> int:
        """Images whose batch has ended, well or not."""
        return sum(self.images.get(name, 0) for name in DONE)

    @property
    def ended(self) -> bool:
        """Whether no more will come; a redrive that is waiting may bring more."""
        return self.status in ENDED


def progress(cloud: Cloud, run: BatchRun) -> Progress:
    """How far a run's last part is."""
    arn = cloud.execution(run.last.name)
    with aws.errors(f"execution {run.last.name}"):
        execution = cloud.states.describe_execution(executionArn=arn)
        listed = cloud.states.list_map_runs(executionArn=arn).get("mapRuns")
        map_run: dict[str, Any] = (
            cloud.states.describe_map_run(mapRunArn=listed[0]["mapRunArn"]) if listed else {}
        )
    now = Progress(
        run.last.name,
        execution["status"],
        map_run.get("itemCounts", {}),
        map_run.get("executionCounts", {}),
        0.0,
        ": ".join(execution[key] for key in ("error", "cause") if execution.get(key)),
    )
    until = (execution.get("stopDate") if now.ended else None) or datetime.now(UTC)
    return now._replace(seconds=(until - execution["startDate"]).total_seconds())


def ended(cloud: Cloud, run: BatchRun) -> None:
    """Make sure that a run's last part has ended, or was never started, or is forgotten.

    Raises:
        BatchError: it is still running. Its answers are written when it ends.
    """
    unknown = cloud.states.exceptions.ExecutionDoesNotExist
    with aws.errors(f"execution {run.last.name}"), contextlib.suppress(unknown):
        now = cloud.states.describe_execution(executionArn=cloud.execution(run.last.name))
        if now["status"] not in ENDED:
            raise BatchError(
                f"{run.name} is running, and its answers are written when it ends: wait for it "
                f"(status {run.name} --watch)"
            )


def read(cloud: Cloud, run: BatchRun, ledger: Ledger) -> Iterator[tuple[str, int]]:
    """Read the input and all results of a run into a ledger.

    Yields:
        what is being read and how many images of it have been, for a progress line.

    Raises:
        BatchError: the input or a file of results cannot be read.
    """
    bucket = run.options.get("Bucket")
    first = run.parts[0]
    before = datetime.fromisoformat(first.started)
    # What has no line in the results at all is found by the input alone.
    for count, item in enumerate(first.images.items(cloud, before), 1):
        ledger.list(image_list.identity(item, bucket), item)
        yield "input", count
    for part in run.parts:
        for count, (requested, line) in enumerate(_answers(_children(cloud, run, part)), 1):
            item = part.images.plain(requested)
            standing = Standing.of(line)
            if standing is Standing.REFUSED and item != requested:
                standing = Standing.AGAIN  # under its plain name it may be there
            ledger.put(image_list.identity(item, bucket), standing, part.number, item, line)
            yield part.name, count


class Failure(NamedTuple):
    """Batches that failed with one error: how many, and the first one's cause."""

    batches: int
    cause: str


def failures(cloud: Cloud, run: BatchRun) -> dict[str, Failure]:
    """The failed batches of a run's last part, by error."""
    found: dict[str, Failure] = {}
    for child in _children(cloud, run, run.last, "FAILED"):
        error = child.get("Error") or "no error given"
        known = found.get(error) or Failure(0, _cause(child.get("Cause", "")))
        found[error] = known._replace(batches=known.batches + 1)
    return found


def fails_alike(found: Mapping[str, Failure]) -> bool:
    """Whether these batches would fail again: by the run's own options."""
    return bool(found) and set(found) <= BY_OPTIONS


def _cause(text: str) -> str:
    """Lambda's cause is the function's error as JSON."""
    try:
        return str(json.loads(text)["errorMessage"])
    except (ValueError, TypeError, LookupError):
        return text


def resume(cloud: Cloud, run: BatchRun) -> str:
    """Take up a run: ask again for what has no answer yet.

    Returns:
        What was done; empty, if there was nothing to do.

    Raises:
        BatchError: it is still running, or would fail alike.
    """
    ended(cloud, run)
    found = failures(cloud, run)
    if fails_alike(found):
        raise BatchError(
            f"{run.name} would fail again: {next(iter(found.values())).cause}. Start it under "
            "another name, with other options"
        )
    images = Images("jsonl", cloud.bucket, f"runs/{run.name}/again-{len(run.parts) + 1}.jsonl")
    with Ledger() as ledger, scratch(), tempfile.TemporaryFile() as file:
        for _ in read(cloud, run, ledger):
            pass
        count = 0
        for item in ledger.undone():
            count += 1
            file.write(json.dumps(item, ensure_ascii=False).encode() + b"\n")
        if not count:
            return ""
        file.seek(0)
        with aws.errors(str(images)):
            cloud.s3.upload_fileobj(file, images.bucket, images.key)
    run = run.and_part(images)
    save(cloud, run)
    _execute(cloud, run, run.last)
    return f"{run.last.name} asks for {count:,} {'image' if count == 1 else 'images'} again"


def _children(
    cloud: Cloud, run: BatchRun, part: Part, only: str | None = None
) -> Iterator[dict[str, Any]]:
    """The child workflows in a part's files of results, or in those of one state alone.

    https://docs.aws.amazon.com/step-functions/latest/dg/input-output-resultwriter.html
    """
    keys: list[str] = []
    for each in cloud.objects(cloud.bucket, run.results(part) + "/"):
        if each["Key"].endswith("/manifest.json"):
            manifest = json.loads(b"".join(cloud.lines(cloud.bucket, each["Key"])))
            for state, listed in manifest.get("ResultFiles", {}).items():
                if only in (None, state):
                    keys += (file["Key"] for file in listed)
    for key in keys:
        for line in cloud.lines(cloud.bucket, key):
            child = json.loads(line)
            # One array, as ResultWriter writes without the definition's OutputType.
            yield from child if isinstance(child, list) else [child]


def _answers(children: Iterable[Mapping[str, Any]]) -> Iterator[tuple[Any, Any]]:
    """Each image of some batches with its line, or with None where its batch has no answer."""
    for child in children:
        items = json.loads(child.get("Input") or "{}").get("Items", [])
        lines = json.loads(child.get("Output") or "{}").get("answers", [])
        if len(lines) != len(items):  # a batch that failed, or was never started
            lines = [None] * len(items)
        yield from zip(items, lines, strict=True)
