"""Uploads: S3 notifies the queue, Lambda polls it, the function writes answers; or dead letters.

The queue's visibility is a second, where the stack has 168: a message comes again soon.
"""

from __future__ import annotations

import contextlib
import json
from collections import Counter

import pytest

from tests.cloud.conftest import SAMPLES, until
from tests.cloud.function import THROTTLED


@pytest.fixture(scope="module", autouse=True)
def impatient(cloud):
    cloud.sqs.set_queue_attributes(
        QueueUrl=cloud.outputs["Queue"], Attributes={"VisibilityTimeout": "1"}
    )


class Uploads:
    """What is below uploads/NAME/, and its answers."""

    def __init__(self, cloud, name):
        self._cloud = cloud
        self._prefix = f"uploads/{name}/"

    def photos(self, count):
        return self._cloud.photos(count, self._prefix)

    def put(self, name, body):
        key = self._prefix + name
        self._cloud.s3.put_object(Bucket=self._cloud.bucket, Key=key, Body=body)
        return key

    def lines(self):
        """All lines below answers/ that are of these."""
        s3, bucket = self._cloud.s3, self._cloud.bucket
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix="answers/")
        bodies = [
            s3.get_object(Bucket=bucket, Key=each["Key"])["Body"].read()
            for page in pages
            for each in page.get("Contents", ())
        ]
        lines = [json.loads(line) for body in bodies for line in body.splitlines()]
        return [line for line in lines if line["image"].startswith(f"s3://{bucket}/{self._prefix}")]

    def counts(self):
        prefix = f"s3://{self._cloud.bucket}/"
        return Counter(line["image"].removeprefix(prefix) for line in self.lines())

    def left(self, queue="Queue"):
        """Messages in a queue, waiting or in flight."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        url = self._cloud.outputs[queue]
        got = self._cloud.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)
        return sum(int(got["Attributes"][name]) for name in names)

    def drained(self):
        until(lambda: not self.left(), "the queue's end")


@pytest.fixture
def uploads(cloud, request):
    return Uploads(cloud, request.node.name.removeprefix("test_"))


@contextlib.contextmanager
def paused(cloud):
    """Nothing reads the queue."""
    [reader] = cloud.lambdas.list_event_source_mappings()["EventSourceMappings"]

    def set_to(state, *, enabled):
        cloud.lambdas.update_event_source_mapping(UUID=reader["UUID"], Enabled=enabled)
        until(
            lambda: cloud.lambdas.get_event_source_mapping(UUID=reader["UUID"])["State"] == state,
            state,
        )

    set_to("Disabled", enabled=False)
    yield
    set_to("Enabled", enabled=True)


def once(keys):
    return Counter(dict.fromkeys(keys, 1))


def test_every_upload_is_answered_once_a_damaged_one_too(cloud, uploads):
    keys = uploads.photos(32)
    broken = uploads.put("broken.jpg", b"no photo")
    until(lambda: len(uploads.lines()) >= 33, "33 answers")
    uploads.drained()
    assert uploads.counts() == once([*keys, broken])
    lines = uploads.lines()
    [error] = [line["error"]["code"] for line in lines if "error" in line]
    assert error == "unsupported_format"
    for line in lines:
        if "scores" in line:
            assert max(line["scores"], key=line["scores"].get) in line["image"]
    assert uploads.left("DeadLetters") == 0


def test_an_object_that_is_gone_is_answered_once_and_an_image_that_is_replaced_is_another(
    cloud, uploads
):
    with paused(cloud):  # until the objects are as they will be found
        keys = uploads.photos(3)
        cloud.s3.delete_object(Bucket=cloud.bucket, Key=keys[0])
        uploads.put(keys[1].rpartition("/")[2], SAMPLES[0].read_bytes() + b"another")
    until(lambda: len(uploads.lines()) >= 4, "4 answers")
    uploads.drained()
    assert uploads.counts() == Counter({keys[0]: 1, keys[1]: 2, keys[2]: 1})
    [gone] = [line for line in uploads.lines() if "error" in line]
    assert gone["image"].endswith(keys[0])
    assert uploads.left("DeadLetters") == 0


def test_throttles_and_kills_lose_nothing(cloud, uploads):
    cloud.function.faults += [
        lambda number, event: number in (1, 2) and THROTTLED,
        lambda number, event: number in (3, 5) and "kill",
    ]
    keys = uploads.photos(24)
    until(lambda: len(uploads.lines()) >= 24, "24 answers")
    uploads.drained()
    assert cloud.function.kills == 2
    assert uploads.counts() == once(keys)
    assert uploads.left("DeadLetters") == 0


def test_what_kills_the_function_ends_as_dead_letters_and_moved_back_it_is_answered(cloud, uploads):
    def poison(number, event):
        return "poison.jpg" in json.dumps(event) and "kill"

    cloud.function.faults.append(poison)
    keys = [*uploads.photos(6), uploads.put("poison.jpg", SAMPLES[0].read_bytes())]
    until(lambda: uploads.left("DeadLetters"), "a dead letter")
    uploads.drained()
    dead = uploads.left("DeadLetters")
    # SQS has no way to tell which message of a batch it was: its neighbours may go with it.
    assert 1 <= dead <= 7
    counts = uploads.counts()
    assert keys[-1] not in counts
    assert len(counts) >= len(keys) - dead
    cloud.function.faults.clear()
    names = ["QueueArn"]
    url = cloud.outputs["DeadLetters"]
    arn = cloud.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
    cloud.sqs.start_message_move_task(SourceArn=arn["QueueArn"])
    until(lambda: len(uploads.counts()) == len(keys), f"{len(keys)} answers")
    uploads.drained()
    assert uploads.counts() == once(keys)
    assert uploads.left("DeadLetters") == 0
