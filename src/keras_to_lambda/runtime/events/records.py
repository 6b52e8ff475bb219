"""Asynchronous events: queues, topics, and objects that were put into a bucket.

Their answers are kept as JSON Lines below RESULTS_PREFIX. What may succeed later is left to the
source, to be delivered again; what never will is an answer like any other, so that it is not lost.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence

from keras_to_lambda.runtime.common.errors import (
    ClassifierError,
    InvalidJson,
    ResultsNotKept,
    UnsupportedEvent,
)
from keras_to_lambda.runtime.common.record import Any
from keras_to_lambda.runtime.common.settings import Settings
from keras_to_lambda.runtime.common.text import clean
from keras_to_lambda.runtime.events.base import MAX_ID, Done, Job
from keras_to_lambda.runtime.events.result_lines import Line, StoredLines
from keras_to_lambda.runtime.inference.pipeline import Invocation
from keras_to_lambda.runtime.inference.request import HOW, Request
from keras_to_lambda.runtime.sources.images import Object, recognised

# What S3 sends when a notification is set up
# (https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html).
TEST_EVENT = "s3:TestEvent"
MAX_NESTING = 4  # S3 in SNS in SQS is two


class Records(StoredLines):
    """A list of records of one service.

    name: the service, as its records name it.
    """

    name = ""

    @classmethod
    def infer(cls, event: dict[Any, Any]) -> bool:
        return service_of(event) == cls.name

    def answer(self, done: Sequence[Done[list[Line]]], headers: dict[str, str]) -> Any:
        """The lines that were kept. Lambda tries the event again where this raises."""
        lines: list[Line] = []
        for _, outcome in done:
            if isinstance(outcome, ClassifierError):
                raise outcome.bare()
            lines += outcome
        return {"answers": lines}


class Queue(Records):
    """SQS, with partial batch responses.

    https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html
    The answer names the messages to be delivered again. Nothing else of it is read, so that results
    without RESULTS_PREFIX would be lost.
    """

    source = "sqs"
    title = "SQS"
    name = "aws:sqs"

    def jobs(self, settings: Settings) -> Sequence[Job]:
        if settings.results_prefix is None:
            raise ResultsNotKept("set RESULTS_PREFIX: the answers to a queue have nowhere to go")
        return [
            job
            for record in self._event["Records"]
            for job in _jobs(_text(record, "body"), _text(record, "messageId"), settings)
        ]

    def answer(self, done: Sequence[Done[list[Line]]], headers: dict[str, str]) -> Any:
        failed = dict.fromkeys(job.message for job, out in done if isinstance(out, ClassifierError))
        if "" in failed:
            raise UnsupportedEvent("an SQS record without messageId")  # the whole batch, again
        names = [{"itemIdentifier": clean(message, MAX_ID)} for message in failed]
        return {"batchItemFailures": names}

    def failure(self, error: ClassifierError, headers: dict[str, str]) -> Any:
        raise error.bare()  # every message is delivered again


class FifoQueue(Queue):
    """A FIFO queue of SQS, whose order must hold: what follows a failure is not done."""

    @classmethod
    def infer(cls, event: dict[Any, Any]) -> bool:
        return super().infer(event) and any(
            _text(record, "eventSourceARN").endswith(".fifo") for record in event["Records"]
        )

    def process(self, invocation: Invocation) -> list[Done[list[Line]]]:
        done: list[Done[list[Line]]] = []
        for job in self.jobs(invocation.settings):
            failed = done[-1].outcome if done else None
            if isinstance(failed, ClassifierError):
                invocation.watch.failed.append(failed)
                done.append(Done(job, failed))
            else:
                done += self.do([job], invocation)
        return done


class Topic(Records):
    """SNS. https://docs.aws.amazon.com/lambda/latest/dg/with-sns.html"""

    source = "sns"
    title = "SNS"
    name = "aws:sns"

    def jobs(self, settings: Settings) -> Sequence[Job]:
        sent = [record.get("Sns") for record in self._event["Records"]]
        return [
            job
            for sns in sent
            for job in _jobs(_text(sns, "Message"), _text(sns, "MessageId"), settings)
        ]


class Bucket(Records):
    """S3 event notifications.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html
    """

    source = "s3"
    title = "S3"
    name = "aws:s3"

    @classmethod
    def infer(cls, event: dict[Any, Any]) -> bool:
        return super().infer(event) or event.get("Event") == TEST_EVENT

    def jobs(self, settings: Settings) -> Sequence[Job]:
        return list(_new_objects(self._event, settings))


class EventBridge(Records):
    """Objects in S3 by way of EventBridge, whose keys are not URL-encoded.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/ev-events.html
    """

    source = "eventbridge"
    title = "EventBridge's S3 events"

    @classmethod
    def infer(cls, event: dict[Any, Any]) -> bool:
        return event.get("source") == "aws.s3" and isinstance(event.get("detail"), dict)

    def jobs(self, settings: Settings) -> Sequence[Job]:
        return list(_new_objects(self._event, settings))


# In this order: what is more special comes first.
SOURCES = (FifoQueue, Queue, Topic, Bucket, EventBridge)


def service_of(event: dict[Any, Any]) -> str:
    """The service that all records of an event are of, or nothing."""
    records = event.get("Records")
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        return ""
    # SNS writes it with a capital.
    names = {_text(each, "eventSource") or _text(each, "EventSource") for each in records}
    return "several services" if len(names) > 1 else names.pop() if names else ""


def _jobs(text: str, message: str, settings: Settings, depth: int = 0) -> list[Job]:
    """The jobs in a message's text: a request, or what another service wrapped in it."""
    import hashlib

    # By content and by message: delivered twice it is the same work, sent twice it is not.
    identity = f"{message} {hashlib.sha256(text.encode('utf-8', 'replace')).hexdigest()}"
    try:
        body = _json(text)
        if isinstance(body, dict) and depth < MAX_NESTING:
            if body.get("Type") == "Notification" and isinstance(body.get("Message"), str):
                return _jobs(body["Message"], message, settings, depth + 1)
            if Bucket.infer(body) or EventBridge.infer(body):
                return [job._replace(message=message) for job in _new_objects(body, settings)]
        request = Request.from_json(body, max_images=settings.max_images)
    except Exception as error:  # noqa: BLE001  # one message fails alone
        return [Job(error, identity, message)]
    return [Job(request, identity, message)]


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        if recognised(text):
            return text
        raise InvalidJson(f"the message is not JSON; {HOW}") from error


def _new_objects(event: dict[str, Any], settings: Settings) -> Iterator[Job]:
    """The jobs of S3's notification, or of its event by EventBridge; of other events none.

    Answers of ours make none: they would trigger themselves.
    """
    from urllib.parse import unquote_plus

    kept, records = settings.results_prefix, event.get("Records")
    # A notification's key is URL-encoded: https://docs.aws.amazon.com/lambda/latest/dg/with-s3.html
    found: list[tuple[Any, Callable[[str], str]]] = [
        (record.get("s3"), unquote_plus)
        for record in (records if isinstance(records, list) else ())
        if _text(record, "eventName").removeprefix("s3:").startswith("ObjectCreated:")
    ]
    if event.get("detail-type") == "Object Created":
        found.append((event.get("detail"), str))
    for described, decoded in found:
        match described:
            case {"bucket": {"name": str(bucket)}, "object": {"key": str(key), **rest}}:
                version = _text(rest, "versionId") or _text(rest, "version-id") or None
                source = Object(bucket, decoded(key), version)
                if kept is None or bucket != kept[0] or not source.key.startswith(kept[1]):
                    tag = version or _text(rest, "eTag") or _text(rest, "etag")
                    yield Job(Request((source,)), f"s3://{bucket}/{source.key} {tag}")
            case _:
                yield Job(UnsupportedEvent("an event of S3 without bucket and key"), "nameless")


def _text(fields: Any, name: str) -> str:
    """A member that is text; "" where there is none."""
    value = fields.get(name) if isinstance(fields, dict) else None
    return value if isinstance(value, str) else ""
