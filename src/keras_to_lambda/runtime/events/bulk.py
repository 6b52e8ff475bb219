"""Events of services that go through millions of images, a few in each invocation."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from keras_to_lambda.runtime.common.errors import ClassifierError, UnsupportedEvent
from keras_to_lambda.runtime.common.record import Any
from keras_to_lambda.runtime.common.settings import Settings
from keras_to_lambda.runtime.common.text import clean
from keras_to_lambda.runtime.events.base import MAX_ID, Done, Job, Synchronous, requests
from keras_to_lambda.runtime.events.result_lines import Line, ResultLines
from keras_to_lambda.runtime.http.responses import Content
from keras_to_lambda.runtime.inference.pipeline import Invocation
from keras_to_lambda.runtime.inference.predictions import ImageAnswer
from keras_to_lambda.runtime.inference.request import Options, Request, image_or_error
from keras_to_lambda.runtime.sources.images import Object, Source


class S3Batch(Synchronous):
    """S3 Batch Operations, invocation schemas 1.0 and 2.0.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/batch-ops-invoke-lambda.html
    Options are in the job's user arguments, which schema 2.0 has.
    """

    source = "s3-batch"
    title = "S3 Batch Operations"

    @classmethod
    def infer(cls, event: dict[Any, Any]) -> bool:
        version, tasks = event.get("invocationSchemaVersion"), event.get("tasks")
        return isinstance(version, str) and isinstance(tasks, list)

    def jobs(self, settings: Settings) -> Sequence[Job]:
        if self._event["invocationSchemaVersion"] not in ("1.0", "2.0"):
            raise UnsupportedEvent("an invocation schema of S3 Batch that is neither 1.0 nor 2.0")
        job = self._event.get("job")
        arguments = job.get("userArguments") if isinstance(job, dict) else None
        options = Options.read(arguments if isinstance(arguments, dict) else {})
        return [Job(_task(task, options)) for task in self._event["tasks"]]

    def answer(self, done: Sequence[Done[Content]], headers: dict[str, str]) -> Any:
        return {
            "invocationSchemaVersion": clean(self._event["invocationSchemaVersion"]),
            "treatMissingKeysAs": "PermanentFailure",
            "invocationId": _id(self._event, "invocationId"),
            "results": [
                {"taskId": _id(task, "taskId"), **_result(out)}
                for task, (_, out) in zip(self._event["tasks"], done, strict=True)
            ],
        }

    def failure(self, error: ClassifierError, headers: dict[str, str]) -> Any:
        return self.answer([Done(Job(error), error)] * len(self._event["tasks"]), headers)


class MapBatch(ResultLines):
    """A batch of a Step Functions Distributed Map: `Items`, and `BatchInput` for all of them.

    https://docs.aws.amazon.com/step-functions/latest/dg/input-output-itembatcher.html
    An item is an image as in a request's list, or a listed object of S3: `Key`, with `Bucket` there
    or in the BatchInput, which also has the options. A failed item carries its own error, with
    `retry` where it may pass: a second run can then be made of those alone.
    """

    source = "step-functions-map"
    title = "Step Functions"

    @classmethod
    def infer(cls, event: dict[Any, Any]) -> bool:
        return isinstance(event.get("Items"), list)

    def jobs(self, settings: Settings) -> Sequence[Job]:
        common = self._event.get("BatchInput")
        common = dict(common) if isinstance(common, dict) else {}
        bucket = common.pop("Bucket", None)
        options = Options.read(common)
        items = self._event["Items"]
        return [Job(Request((_item(item, bucket),), False, options)) for item in items]

    def answers(
        self, group: Sequence[Job], invocation: Invocation
    ) -> list[list[ImageAnswer] | ClassifierError]:
        # The event does not come again, so a temporary error is tried twice here. Wrong
        # options are wrong for every item: they fail the event.
        return [*invocation.answers(requests(group), tries=2)]

    def answer(self, done: Sequence[Done[list[Line]]], headers: dict[str, str]) -> Any:
        return {"answers": [line for _, outcome in done for line in _lines(outcome)]}

    def failure(self, error: ClassifierError, headers: dict[str, str]) -> Any:
        raise error.bare()  # wrong options are every item's fault, and the state machine's to see


SOURCES = (S3Batch, MapBatch)


def _lines(outcome: list[Line] | ClassifierError) -> list[Line]:
    """An item's lines; of one whose lines could not be made, the error."""
    if isinstance(outcome, ClassifierError):
        return [{"image": "none", "model": "none", **outcome.to_json(), "retry": True}]
    return outcome


def _task(task: Any, options: Options) -> Request | ClassifierError:
    from urllib.parse import unquote_plus

    match task:
        case {"s3Key": str(key), "s3Bucket": str(bucket)}:
            pass
        case {"s3Key": str(key), "s3BucketArn": str(arn)}:
            bucket = arn.rpartition(":")[2]
        case _:
            return UnsupportedEvent("a task without s3Key and s3Bucket")
    version = task.get("s3VersionId")
    source = Object(bucket, unquote_plus(key), version if isinstance(version, str) else None)
    return Request((source,), False, options)


def _id(fields: Any, name: str) -> str | None:
    value = fields.get(name) if isinstance(fields, dict) else None
    return clean(value, MAX_ID) if isinstance(value, str) else None


def _result(outcome: Content | ClassifierError) -> Mapping[str, str]:
    if not isinstance(outcome, ClassifierError):
        return {"resultCode": "Succeeded", "resultString": json.dumps(outcome)}
    code = "TemporaryFailure" if outcome.transient else "PermanentFailure"
    return {"resultCode": code, "resultString": f"{outcome.code}: {outcome.message}"}


def _item(item: Any, bucket: Any) -> Source | ClassifierError:
    if isinstance(item, dict) and isinstance(item.get("Key"), str):
        bucket = item.get("Bucket", bucket)
        if not isinstance(bucket, str):
            return UnsupportedEvent("an item with a Key, and no Bucket in it or in the BatchInput")
        return Object(bucket, item["Key"])
    return image_or_error(item)
