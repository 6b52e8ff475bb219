"""Runs: started, found again by name, and taken up where they stopped.

A run is `runs/NAME/` in the stack's bucket: `run.json`, which says what was asked for and which
executions do it; the lists that were uploaded for it; and what Step Functions' ResultWriter wrote,
below a folder for each part. The first part is the run as it was started; each `resume` that finds
images without an answer, and nothing to redrive, adds one that asks for those alone.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, Self

from botocore.exceptions import ClientError

from keras_to_lambda.deploy.batch import image_list as images
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


@dataclass(frozen=True)
class Part:
    """One execution. number: from 1. started: in ISO 8601, UTC.

    kept: of one that `resume` redrove, the images that had succeeded before.
    """

    number: int
    name: str
    images: Images
    started: str
    kept: int | None = None

    @property
    def when(self) -> datetime:
        return datetime.fromisoformat(self.started)


@dataclass(frozen=True)
class Run:
    """A run as run.json keeps it.

    options: what the function is asked for each image: top_k, scores, model, and Bucket of keys.
    batch: items in a call, calls at a time, the percentage of failed images that ends the run.
    """

    name: str
    state_machine: str
    options: Mapping[str, Any]
    batch: Mapping[str, float]
    parts: tuple[Part, ...] = field(default=())

    @classmethod
    def load(cls, cloud: Cloud, name: str) -> Self:
        """Find a run by its name.

        Raises:
            BatchError: there is none.
        """
        try:
            with aws_errors():
                body = cloud.s3.get_object(Bucket=cloud.bucket, Key=_key(name))["Body"].read()
        except BatchError as error:
            if "NoSuchKey" not in str(error):
                raise
            raise BatchError(
                f"there is no run {name} in s3://{cloud.bucket}/runs/: "
                f"`aws s3 ls s3://{cloud.bucket}/runs/` lists those that are"
            ) from error
        known = json.loads(body)
        parts = tuple(
            Part(**{**part, "images": Images(*part["images"])}) for part in known.pop("parts")
        )
        return cls(**known, parts=parts)

    def save(self, cloud: Cloud, *, new: bool = False) -> bool:
        """Write run.json; where it has to be `new` and is not, False, and nothing is written.

        Raises:
            BatchError: it cannot be written.
        """
        # https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html
        condition = {"IfNoneMatch": "*"} if new else {}
        with aws_errors(f"s3://{cloud.bucket}/{_key(self.name)}"):
            try:
                cloud.s3.put_object(
                    Bucket=cloud.bucket,
                    Key=_key(self.name),
                    Body=json.dumps(asdict(self), indent=2).encode(),
                    ContentType="application/json",
                    **condition,
                )
            except ClientError as error:
                if error.response["Error"]["Code"] not in (
                    "PreconditionFailed",
                    "ConditionalRequestConflict",
                ):
                    raise
                return False
        return True

    @property
    def last(self) -> Part:
        return self.parts[-1]

    def prefix(self, part: Part) -> str:
        """Where a part's results are."""
        return f"runs/{self.name}/part-{part.number}/"

    def execute(self, cloud: Cloud, part: Part) -> None:
        """Start a part's execution; one that has been started already stays as it is."""
        given = {
            "input": part.images._asdict(),
            "options": self.options,
            "results": {"bucket": cloud.bucket, "prefix": self.prefix(part).rstrip("/")},
            "batch": self.batch,
        }
        # One that has ended cannot be of another input, as run.json is written once.
        exists = cloud.states.exceptions.ExecutionAlreadyExists
        with aws_errors(f"execution {part.name}"), contextlib.suppress(exists):
            cloud.states.start_execution(
                stateMachineArn=self.state_machine,
                name=part.name,
                input=json.dumps(given, sort_keys=True),
            )


def plan(
    cloud: Cloud,
    given: str,
    name: str | None = None,
    *,
    options: Mapping[str, Any],
    batch: Mapping[str, float],
) -> tuple[Run, int | None]:
    """A run that nothing has been started of: that is `start`.

    Args:
        given: an s3:// URL, or a list on this machine, which is uploaded.

    Returns:
        The run, and how many images it has, where that is known.

    Raises:
        BatchError: the input cannot be read, or the name or the options are not possible.
    """
    name = name or f"{datetime.now(UTC):%Y%m%d-%H%M%S}"
    if not NAME.fullmatch(name):
        raise BatchError(f"{name!r} is no name for a run: letters, digits, - and _, at most 70")
    top_k = options.get("top_k") or 1
    if batch["items"] * (LINE_BYTES + LABEL_BYTES * top_k) > MAX_OUTPUT_BYTES:
        raise BatchError(
            f"answers of {batch['items']:.0f} images with {top_k} labels each exceed the 256 KiB "
            "that Step Functions passes on: fewer --items, or a smaller --top-k"
        )
    count = None
    if given.startswith("s3://"):
        source = Images.named(given)
        found = next(source.items(cloud), None) is not None
    else:
        source, count = _upload(cloud, name, images.local(Path(given)))
        found = count > 0
    # A name is taken by what is started under it, a mistyped bucket too.
    if not found:
        raise BatchError(f"{given} has no images")
    options = {**options, "Bucket": source.bucket}
    part = Part(1, name, source, datetime.now(UTC).isoformat())
    return Run(name, cloud.state_machine, options, batch, (part,)), count


def start(cloud: Cloud, run: Run) -> Run:
    """Start a run, or find it as it was started.

    Raises:
        BatchError: there is another run of the name, or it cannot be started.
    """
    # Again, as counting what was planned may have taken long: what came meanwhile is listed too.
    part = replace(run.last, started=datetime.now(UTC).isoformat())
    run = replace(run, parts=(part,))
    if not run.save(cloud, new=True):
        known = Run.load(cloud, run.name)
        same = replace(known, parts=()) == replace(run, parts=())
        if not same or known.parts[0].images != part.images:
            raise BatchError(
                f"there is a run {run.name} already, of another input or other options: choose "
                "another --name; to go on with that one: resume"
            )
        run = known
    run.execute(cloud, run.parts[0])
    return run


def ended(cloud: Cloud, run: Run) -> Mapping[str, Any]:
    """What Step Functions says of a run's last part; {} if nothing: never started, or forgotten.

    Raises:
        BatchError: it is still running. What it has answered is written when it ends.
    """
    with aws_errors(f"execution {run.last.name}"):
        try:
            execution: Mapping[str, Any] = cloud.states.describe_execution(
                executionArn=cloud.execution(run.last.name)
            )
        except cloud.states.exceptions.ExecutionDoesNotExist:
            return {}
    if execution["status"] in ("RUNNING", "PENDING_REDRIVE"):
        raise BatchError(
            f"{run.name} is running, and its answers are written when it ends: wait for it "
            f"(status {run.name} --watch)"
        )
    return execution


def read(
    cloud: Cloud, run: Run, ledger: Ledger, *, recount: bool = True
) -> Iterator[tuple[str, int]]:
    """Read all that is known of a run into a ledger.

    Args:
        recount: read the input again as well; what has no line at all is found by that alone.

    Yields:
        what is being read and how many images of it have been, for a progress line.

    Raises:
        BatchError: the input or a file of results cannot be read.
    """
    bucket = run.options.get("Bucket")
    first = run.parts[0]
    if recount:
        for count, item in enumerate(first.images.items(cloud, first.when), 1):
            name = images.identity(item, bucket)
            if images.is_folder(name):
                ledger.folder(name)
            else:
                ledger.list(name, item)
            yield "input", count
    for part in run.parts:
        count = 0
        for key in _result_files(cloud, run, part):
            for child in _children(cloud, key):
                for requested, line in _answers(child):
                    item = part.images.plain(requested)
                    name = images.identity(item, bucket)
                    standing = _standing(line)
                    if standing is Standing.REFUSED and item != requested:
                        standing = Standing.AGAIN  # under its plain name it may be there
                    if images.is_folder(name):
                        ledger.folder(name)
                    else:
                        ledger.put(name, standing, part.number, item, line)
                    count += 1
                    yield part.name, count


class Failure(NamedTuple):
    """Batches that failed with one error: how many, and the first one's cause."""

    batches: int
    cause: str


def failures(cloud: Cloud, run: Run) -> dict[str, Failure]:
    """The failed batches of a run's last part, by error."""
    found: dict[str, Failure] = {}
    for key in _result_files(cloud, run, run.last, ("FAILED",)):
        for child in _children(cloud, key):
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


def resume(cloud: Cloud, run: Run) -> tuple[str, Run, int]:
    """Take up a run: redrive it, or ask again for what has no answer yet.

    Returns:
        "redriven", "started" or "nothing"; the run as it is now; how many images are asked for
        again, as far as that is known.

    Raises:
        BatchError: it is still running.
    """
    execution = ended(cloud, run)
    found = failures(cloud, run)
    if fails_alike(found):
        raise BatchError(
            f"{run.name} would fail again: {next(iter(found.values())).cause}. Start it under "
            "another name, with other options"
        )
    # Once: what failed twice is asked for again by a part of its own.
    redrivable = execution.get("redriveStatus") == "REDRIVABLE"
    again = execution.get("redriveCount", 0) > 0
    if redrivable and not again and execution["status"] != "SUCCEEDED":
        counts = cloud.map_run(run.last.name).get("itemCounts", {})
        last = replace(run.last, kept=counts.get("succeeded", 0))
        run = replace(run, parts=(*run.parts[:-1], last))
        run.save(cloud)
        with aws_errors(f"execution {last.name}"):
            cloud.states.redrive_execution(executionArn=cloud.execution(last.name))
        return "redriven", run, 0
    number = run.last.number + 1
    with Ledger() as ledger:
        for _ in read(cloud, run, ledger):
            pass
        source, count = _upload(cloud, run.name, ledger.undone())
    if not count:
        return "nothing", run, 0
    # No run has a dot in its name.
    part = Part(number, f"{run.name}.{number}", source, datetime.now(UTC).isoformat())
    run = replace(run, parts=(*run.parts, part))
    run.save(cloud)
    run.execute(cloud, part)
    return "started", run, count


def _key(name: str) -> str:
    return f"runs/{name}/run.json"


def _upload(cloud: Cloud, name: str, items: Iterable[images.Item]) -> tuple[Images, int]:
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
        source = Images("jsonl", cloud.bucket, f"runs/{name}/lists/{digest.hexdigest()[:20]}.jsonl")
        if count:
            file.seek(0)
            with aws_errors(f"s3://{source.bucket}/{source.key}"):
                cloud.s3.upload_fileobj(file, source.bucket, source.key)
    return source, count


def _result_files(cloud: Cloud, run: Run, part: Part, of: Sequence[str] = ()) -> list[str]:
    """Each file of results, or of those states alone, once; a redrive adds manifests.

    https://docs.aws.amazon.com/step-functions/latest/dg/input-output-resultwriter.html
    """
    found: dict[str, None] = {}
    for each in cloud.objects(cloud.bucket, run.prefix(part)):
        if each["Key"].endswith("/manifest.json"):
            manifest = json.loads(b"".join(cloud.lines(cloud.bucket, each["Key"])))
            for state, files in manifest.get("ResultFiles", {}).items():
                if not of or state in of:
                    found.update((file["Key"], None) for file in files)
    return list(found)


def _children(cloud: Cloud, key: str) -> Iterator[dict[str, Any]]:
    """The child workflows in a file of results."""
    for line in cloud.lines(cloud.bucket, key):
        child = json.loads(line)
        # One array, as ResultWriter writes without the definition's OutputType.
        yield from child if isinstance(child, list) else [child]


def _answers(child: Mapping[str, Any]) -> Iterator[tuple[Any, Any]]:
    """Each image of a batch with its line, or with None where the batch has no answer."""
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
