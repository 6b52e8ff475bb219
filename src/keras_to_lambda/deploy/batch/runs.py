"""Runs: started, found again by name, and taken up where they stopped.

A run is `runs/NAME/` in the stack's bucket: `run.json`, which has the options and the executions
of it; the lists that were uploaded for it; and what Step Functions' ResultWriter wrote, below a
folder for each part. The first part is the run as it was started; each `resume` that finds
images without an answer adds one that asks for those alone.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from botocore.exceptions import ClientError

from keras_to_lambda.deploy.batch import image_list
from keras_to_lambda.deploy.batch.cloud import BatchError, Cloud, aws_errors
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


def load(cloud: Cloud, name: str) -> BatchRun:
    """Find a run by its name.

    Raises:
        BatchError: there is none.
    """
    try:
        known = json.loads(b"".join(cloud.lines(cloud.bucket, _key(name))))
    except BatchError as error:
        if "NoSuchKey" not in str(error):
            raise
        raise BatchError(
            f"there is no run {name} in s3://{cloud.bucket}/runs/: "
            f"`aws s3 ls s3://{cloud.bucket}/runs/` lists them"
        ) from error
    parts = tuple(
        Part(each["number"], each["name"], Images(*each["images"]), each["started"])
        for each in known["parts"]
    )
    return BatchRun(known["name"], known["options"], known["batch"], parts)


def _save(cloud: Cloud, run: BatchRun, *, new: bool = False) -> bool:
    """Write run.json; where it has to be `new` and is not, False, and nothing is written."""
    # https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html
    condition = {"IfNoneMatch": "*"} if new else {}
    body = json.dumps(asdict(run), indent=2).encode()
    with aws_errors(f"s3://{cloud.bucket}/{_key(run.name)}"):
        try:
            cloud.s3.put_object(Bucket=cloud.bucket, Key=_key(run.name), Body=body, **condition)
        except ClientError as error:
            taken = ("PreconditionFailed", "ConditionalRequestConflict")
            if error.response["Error"]["Code"] not in taken:
                raise
            return False
    return True


def _execute(cloud: Cloud, run: BatchRun, part: Part) -> None:
    """Start a part's execution; one that has been started already stays as it is."""
    given = {
        "input": part.images._asdict(),
        "options": run.options,
        "results": {"bucket": cloud.bucket, "prefix": _prefix(run, part).rstrip("/")},
        "batch": run.batch,
    }
    # One that has ended cannot be of another input, as run.json is written once.
    exists = cloud.states.exceptions.ExecutionAlreadyExists
    with aws_errors(f"execution {part.name}"), contextlib.suppress(exists):
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
        given: an s3:// URL, or a list on this machine, which is uploaded.

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
    if given.startswith("s3://"):
        images = Images.named(given)
        found = next(images.items(cloud), None) is not None
    else:
        images, count = _upload(cloud, name, image_list.local(Path(given)))
        found = count > 0
    # A name is taken by what is started under it, a mistyped bucket too.
    if not found:
        raise BatchError(f"{given} has no images")
    part = Part(1, name, images, datetime.now(UTC).isoformat())
    return BatchRun(name, {**options, "Bucket": images.bucket}, batch, (part,))


def start(cloud: Cloud, run: BatchRun) -> None:
    """Start a run; one that was started with the same input and options stays as it is.

    Raises:
        BatchError: there is another run of the name, or it cannot be started.
    """
    if not _save(cloud, run, new=True):
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
    done: images whose batch has ended, well or not.
    a_second: of these, since the start.
    error: why it ended without success.
    """

    part: str
    status: str
    images: dict[str, int]
    batches: dict[str, int]
    done: int
    seconds: float
    a_second: float
    error: str | None


def progress(cloud: Cloud, run: BatchRun) -> Progress:
    """How far a run's last part is.

    Raises:
        BatchError: Step Functions has no such execution.
    """
    arn = cloud.execution(run.last.name)
    with aws_errors(f"execution {run.last.name}"):
        execution = cloud.states.describe_execution(executionArn=arn)
        listed = cloud.states.list_map_runs(executionArn=arn).get("mapRuns")
        map_run: dict[str, Any] = (
            cloud.states.describe_map_run(mapRunArn=listed[0]["mapRunArn"]) if listed else {}
        )
    images = {name: int(count) for name, count in map_run.get("itemCounts", {}).items()}
    batches = {name: int(count) for name, count in map_run.get("executionCounts", {}).items()}
    stopped = execution.get("stopDate") if execution["status"] in ENDED else None
    seconds = ((stopped or datetime.now(UTC)) - execution["startDate"]).total_seconds()
    done = sum(images.get(name, 0) for name in DONE)
    error = ": ".join(execution[key] for key in ("error", "cause") if execution.get(key))
    return Progress(
        run.last.name,
        execution["status"],
        images,
        batches,
        done,
        seconds,
        done / max(seconds, 1e-3),
        error or None,
    )


def ended(cloud: Cloud, run: BatchRun) -> None:
    """Make sure that a run's last part has ended, or was never started, or is forgotten.

    Raises:
        BatchError: it is still running. Its answers are written when it ends.
    """
    arn = cloud.execution(run.last.name)
    unknown = cloud.states.exceptions.ExecutionDoesNotExist
    with aws_errors(f"execution {run.last.name}"), contextlib.suppress(unknown):
        if cloud.states.describe_execution(executionArn=arn)["status"] not in ENDED:
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
        name = image_list.identity(item, bucket)
        if image_list.is_folder(name):
            ledger.folder(name)
        else:
            ledger.list(name, item)
        yield "input", count
    for part in run.parts:
        for count, (requested, line) in enumerate(_answers(_children(cloud, run, part)), 1):
            item = part.images.plain(requested)
            name = image_list.identity(item, bucket)
            standing = _standing(line)
            if standing is Standing.REFUSED and item != requested:
                standing = Standing.AGAIN  # under its plain name it may be there
            if image_list.is_folder(name):
                ledger.folder(name)
            else:
                ledger.put(name, standing, part.number, item, line)
            yield part.name, count


class Failure(NamedTuple):
    """Batches that failed with one error: how many, and the first one's cause."""

    batches: int
    cause: str


def failures(cloud: Cloud, run: BatchRun) -> dict[str, Failure]:
    """The failed batches of a run's last part, by error."""
    found: dict[str, Failure] = {}
    for child in _children(cloud, run, run.last, ("FAILED",)):
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
    with Ledger() as ledger:
        for _ in read(cloud, run, ledger):
            pass
        images, count = _upload(cloud, run.name, ledger.undone())
    if not count:
        return ""
    number = run.last.number + 1
    # No run has a dot in its name.
    part = Part(number, f"{run.name}.{number}", images, datetime.now(UTC).isoformat())
    run = replace(run, parts=(*run.parts, part))
    _save(cloud, run)
    _execute(cloud, run, part)
    return f"{part.name} asks for {count:,} {'image' if count == 1 else 'images'} again"


def _key(name: str) -> str:
    return f"runs/{name}/run.json"


def _prefix(run: BatchRun, part: Part) -> str:
    return f"runs/{run.name}/part-{part.number}/"


def _upload(cloud: Cloud, name: str, items: Iterable[image_list.Item]) -> tuple[Images, int]:
    """Put a list into the run's folder; where it is, and how long. An empty one is not put.

    Raises:
        BatchError: it cannot be read or uploaded, or the temporary folder has no room for it.
    """
    count, digest = 0, hashlib.sha256()
    with scratch(), tempfile.TemporaryFile() as file:
        for item in items:
            count += 1
            line = json.dumps(item, ensure_ascii=False).encode() + b"\n"
            file.write(line)
            digest.update(line)
        # Named by its content: the same list again is the same input.
        images = Images("jsonl", cloud.bucket, f"runs/{name}/lists/{digest.hexdigest()[:20]}.jsonl")
        if count:
            file.seek(0)
            with aws_errors(f"s3://{images.bucket}/{images.key}"):
                cloud.s3.upload_fileobj(file, images.bucket, images.key)
    return images, count


def _children(
    cloud: Cloud, run: BatchRun, part: Part, of: Sequence[str] = ()
) -> Iterator[dict[str, Any]]:
    """The child workflows in a part's files of results, or in those of these states alone.

    https://docs.aws.amazon.com/step-functions/latest/dg/input-output-resultwriter.html
    """
    keys: list[str] = []
    for each in cloud.objects(cloud.bucket, _prefix(run, part)):
        if each["Key"].endswith("/manifest.json"):
            manifest = json.loads(b"".join(cloud.lines(cloud.bucket, each["Key"])))
            for state, listed in manifest.get("ResultFiles", {}).items():
                if not of or state in of:
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


def _standing(line: Any) -> Standing:
    match line:
        case {"scores": dict()}:
            return Standing.ANSWERED
        case {"error": dict(), "retry": True}:
            return Standing.AGAIN
        case {"error": dict()}:
            return Standing.REFUSED
    return Standing.UNDONE
