"""Asynchronous events: queues, topics, and objects that were put into a bucket.

Their answers are kept as JSON Lines below RESULTS_PREFIX. What may succeed later is left to the
source, to be delivered again; what never will is an answer like any other, so that it is not lost.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

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
from keras_to_lambda.runtime.inference.invocation import Invocation
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
    def infer(cls, event: Any) -> bool:
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

    def __init__(self, event: Any) -> None:
        super().__init__({"Records": _records(event)})

    def jobs(self, settings: Settings) -> Sequence[Job]:
        if settings.results_prefix is None:
            raise ResultsNotKept("set RESULTS_PREFIX: the answers to a queue have nowhere to go")
        return [
            job
            for record in self._event["Records"]
            for job in _jobs(_text(record, "body"), _text(record, "messageId"), settings)
        ]

    def answer(self, done: Sequence[Done[list[Line]]], headers: dict[str, str]) -> Any:
        failed = dict.fromkeys(
            job.message for job, outcome in done if isinstance(outcome, ClassifierError)
        )
        if "" in failed:
            raise UnsupportedEvent("an SQS record without messageId")  # the whole batch, again
        return {
            "batchItemFailures": [{"itemIdentifier": clean(message, MAX_ID)} for message in failed]
        }

    def failure(self, error: ClassifierError, headers: dict[str, str]) -> Any:
        raise error.bare()  # every message is delivered again


class FifoQueue(Queue):
    """A FIFO queue of SQS, whose order must hold: what follows a failure is not done."""

    @classmethod
    def infer(cls, event: Any) -> bool:
        return super().infer(event) and any(
            _text(record, "eventSourceARN").endswith(".fifo") for record in _records(event)
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
        jobs: list[Job] = []
        for record in self._event["Records"]:
            sns = record.get("Sns")
            sns = sns if isinstance(sns, dict) else {}
            jobs += _jobs(_text(sns, "Message"), _text(sns, "MessageId"), settings)
        return jobs


class Bucket(Records):
    """S3 event notifications.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html
    """

    source = "s3"
    title = "S3"
    name = "aws:s3"

    @classmethod
    def infer(cls, event: Any) -> bool:
        return super().infer(event) or (
            isinstance(event, dict) and event.get("Event") == TEST_EVENT
        )

    def jobs(self, settings: Settings) -> Sequence[Job]:
        return list(_notified(self._event, settings))


class EventBridge(Records):
    """Objects in S3 by way of EventBridge, whose keys are not URL-encoded.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/ev-events.html
    """

    source = "eventbridge"
    title = "EventBridge's S3 events"

    @classmethod
    def infer(cls, event: Any) -> bool:
        return (
            isinstance(event, dict)
            and event.get("source") == "aws.s3"
            and isinstance(event.get("detail"), dict)
        )

    def jobs(self, settings: Settings) -> Sequence[Job]:
        return list(_bridged(self._event, settings))


# In this order: what is more special comes first.
SOURCES = (FifoQueue, Queue, Topic, Bucket, EventBridge)


def _records(event: Any) -> Any:
    """An event's records; EventBridge Pipes sends the list alone, and takes the same answer."""
    return event.get("Records") if isinstance(event, dict) else event


def service_of(event: Any) -> str:
    """The service that all records of an event are of, or nothing."""
    records = _records(event)
    if not isinstance(records, list) or not records:
        return ""
    if not all(isinstance(record, dict) for record in records):
        return ""
    # SNS writes it with a capital.
    names = {_text(r, "eventSource") or _text(r, "EventSource") for r in records}
    return names.pop() if len(names) == 1 else "several services"


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
            if Bucket.infer(body):
                return [job._replace(message=message) for job in _notified(body, settings)]
            if EventBridge.infer(body):
                return [job._replace(message=message) for job in _bridged(body, settings)]
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


def _notified(event: dict[str, Any], settings: Settings) -> Iterator[Job]:
    """The jobs of an S3 notification; of a test, or of what was removed, there are none."""
    from urllib.parse import unquote_plus

    records = event.get("Records")
    for record in records if isinstance(records, list) else ():
        if not _text(record, "eventName").removeprefix("s3:").startswith("ObjectCreated:"):
            continue
        match record.get("s3"):
            case {"bucket": {"name": str(bucket)}, "object": {"key": str(key), **rest}}:
                # https://docs.aws.amazon.com/lambda/latest/dg/with-s3.html: the key is URL-encoded
                source = Object(bucket, unquote_plus(key), _text(rest, "versionId") or None)
                yield from _object(source, _text(rest, "eTag"), settings)
            case _:
                yield Job(UnsupportedEvent("a record of S3 without bucket and key"), "nameless")


def _bridged(event: dict[str, Any], settings: Settings) -> Iterator[Job]:
    if event.get("detail-type") != "Object Created":
        return
    match event["detail"]:
        case {"bucket": {"name": str(bucket)}, "object": {"key": str(key), **rest}}:
            source = Object(bucket, key, _text(rest, "version-id") or None)
            yield from _object(source, _text(rest, "etag"), settings)
        case _:
            yield Job(UnsupportedEvent("an event of S3 without bucket and key"), "nameless")


def _object(source: Object, etag: str, settings: Settings) -> Iterator[Job]:
    """The job of a new object; none if it is an answer of ours, which would trigger itself."""
    if settings.results_prefix is not None:
        bucket, prefix = settings.results_prefix
        if source.bucket == bucket and source.key.startswith(prefix):
            return
    identity = f"s3://{source.bucket}/{source.key} {source.version or etag}"
    yield Job(Request((source,)), identity)


def _text(fields: Any, name: str) -> str:
    """A member that is text; "" where there is none."""
    value = fields.get(name) if isinstance(fields, dict) else None
    return value if isinstance(value, str) else ""
