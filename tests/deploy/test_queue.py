"""Uploads by way of a queue: S3's notifications and SQS at moto, the real function in emulators.

Lambda's event source mapping, which no local server has, is the poller below: it does what
https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html says. Its redrive of
dead letters (aws sqs start-message-move-task, which moto has not) is done by hand.
"""

from __future__ import annotations

import json
import time
from collections import Counter

import pytest

from tests.cloud.function import THROTTLED
from tests.deploy.aws import REGION

RECEIVES = 5  # before a message is a dead letter, as in the stack
VISIBILITY_S = 1


class Mapping:
    """A queue with its dead letters, and what Lambda does to bring its messages to the function."""

    def __init__(self, aws):
        self._aws = aws
        self.dead = aws.sqs.create_queue(QueueName="dead")["QueueUrl"]
        policy = {"deadLetterTargetArn": self._arn(self.dead), "maxReceiveCount": RECEIVES}
        self.url = aws.sqs.create_queue(
            QueueName="uploads",
            Attributes={
                "VisibilityTimeout": str(VISIBILITY_S),
                "RedrivePolicy": json.dumps(policy),
            },
        )["QueueUrl"]
        self.arn = self._arn(self.url)
        filtered = {"Key": {"FilterRules": [{"Name": "prefix", "Value": "uploads/"}]}}
        aws.s3.put_bucket_notification_configuration(
            Bucket="data",
            NotificationConfiguration={
                "QueueConfigurations": [
                    {"QueueArn": self.arn, "Events": ["s3:ObjectCreated:*"], "Filter": filtered}
                ]
            },
        )

    def _arn(self, url):
        names = ["QueueArn"]
        got = self._aws.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)
        return got["Attributes"]["QueueArn"]

    def receive(self, url=None):
        got = self._aws.sqs.receive_message(
            QueueUrl=url or self.url, MaxNumberOfMessages=10, AttributeNames=["All"]
        )
        return got.get("Messages", [])

    def deliver(self, messages):
        """Bring messages to the function; delete those that it does not want again."""
        records = [
            {
                "messageId": each["MessageId"],
                "receiptHandle": each["ReceiptHandle"],
                "body": each["Body"],
                "attributes": each["Attributes"],
                "messageAttributes": {},
                "md5OfBody": each["MD5OfBody"],
                "eventSource": "aws:sqs",
                "eventSourceARN": self.arn,
                "awsRegion": REGION,
            }
            for each in messages
        ]
        invoked = self._aws.function.invoke(json.dumps({"Records": records}).encode())
        if invoked.error:
            return
        failed = json.loads(invoked.payload)["batchItemFailures"]
        names = {each["itemIdentifier"] for each in failed}
        assert names <= {each["MessageId"] for each in messages}
        for each in messages:
            if each["MessageId"] not in names:
                self._aws.sqs.delete_message(QueueUrl=self.url, ReceiptHandle=each["ReceiptHandle"])

    def left(self, url=None):
        """Messages in a queue, waiting or in flight."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        got = self._aws.sqs.get_queue_attributes(QueueUrl=url or self.url, AttributeNames=names)
        return sum(int(got["Attributes"][name]) for name in names)

    def drain(self):
        """Deliver until nothing is left but dead letters."""
        give_up = time.monotonic() + 60
        while self.left():
            assert time.monotonic() < give_up, "the queue does not drain"
            messages = self.receive()
            if messages:
                self.deliver(messages)
            else:
                time.sleep(0.1)

    def redrive(self):
        """As start-message-move-task: dead letters to where they came from."""
        while messages := self.receive(self.dead):
            for each in messages:
                self._aws.sqs.send_message(QueueUrl=self.url, MessageBody=each["Body"])
                self._aws.sqs.delete_message(
                    QueueUrl=self.dead, ReceiptHandle=each["ReceiptHandle"]
                )


@pytest.fixture
def queue(aws):
    return Mapping(aws)


@pytest.fixture
def answers(aws):
    """How often each image is answered, over all objects below answers/; and every line."""

    def answers():
        pages = aws.s3.get_paginator("list_objects_v2").paginate(Bucket="data", Prefix="answers/")
        keys = [each["Key"] for page in pages for each in page.get("Contents", ())]
        lines = [
            json.loads(line)
            for key in keys
            for line in aws.s3.get_object(Bucket="data", Key=key)["Body"].read().splitlines()
        ]
        return Counter(line["image"].removeprefix("s3://data/") for line in lines), lines

    return answers


@pytest.fixture
def uploads(aws, queue):
    def uploads(count):
        return aws.photos(count, "uploads/", "data")

    return uploads


def once(keys):
    return Counter(dict.fromkeys(keys, 1))


def name(key):
    """What a notification has of a key's last part; of the slash, moto and S3 disagree."""
    return key.rpartition("/")[2].replace(" ", "+")


def poison(key):
    """SIGKILL whenever a message about this key is in the function."""
    return lambda number, event: name(key) in json.dumps(event) and "kill"


def test_every_upload_is_answered_once(queue, uploads, answers):
    keys = uploads(35)
    queue.drain()
    counts, lines = answers()
    assert counts == once(keys)
    assert all(max(line["scores"], key=line["scores"].get) in line["image"] for line in lines)
    assert queue.left(queue.dead) == 0


def test_a_message_that_comes_twice_is_answered_once(queue, uploads, answers):
    keys = uploads(8)
    messages = queue.receive()
    queue.deliver(messages)
    queue.deliver(messages)  # SQS delivers at least once
    queue.deliver(messages + messages[:2])
    queue.drain()
    assert answers()[0] == once(keys)


def test_an_image_that_is_replaced_is_another_image(aws, queue, uploads, answers):
    keys = uploads(1)
    aws.s3.put_object(Bucket="data", Key=keys[0], Body=b"no photo")
    queue.drain()
    _, lines = answers()
    assert len(lines) == 2  # one for each content, although the latest is what both read


def test_a_damaged_image_is_an_answer_and_no_dead_letter(aws, queue, uploads, answers):
    keys = uploads(4)
    aws.s3.put_object(Bucket="data", Key="uploads/broken.jpg", Body=b"no photo")
    queue.drain()
    counts, lines = answers()
    assert counts == once([*keys, "uploads/broken.jpg"])
    assert [line["error"]["code"] for line in lines if "error" in line] == ["unsupported_format"]
    assert queue.left(queue.dead) == 0


def test_throttles_and_kills_lose_nothing(aws, queue, uploads, answers):
    keys = uploads(35)
    aws.function.faults += [
        lambda number, event: number in (1, 2) and THROTTLED,
        lambda number, event: number in (4, 6) and "kill",
    ]
    queue.drain()
    assert aws.function.kills == 2
    assert answers()[0] == once(keys)
    assert queue.left(queue.dead) == 0


def test_an_object_that_is_gone_is_answered_once_and_takes_no_other_with_it(
    aws, queue, uploads, answers
):
    keys = uploads(5)
    aws.s3.delete_object(Bucket="data", Key=keys[2])
    queue.drain()
    assert answers()[0] == once(keys)
    assert queue.left(queue.dead) == 0


def test_what_kills_the_function_ends_as_dead_letters_and_a_redrive_answers_it(
    aws, queue, uploads, answers
):
    keys = uploads(25)
    aws.function.faults.append(poison(keys[3]))
    queue.drain()
    counts, _ = answers()
    dead = queue.left(queue.dead)
    # SQS has no way to tell which message of a batch it was: its neighbours may go with it.
    assert 1 <= dead <= 10
    assert set(counts.values()) == {1}
    assert keys[3] not in counts
    assert len(counts) >= len(keys) - dead
    aws.function.faults.clear()
    queue.redrive()
    queue.drain()
    assert answers()[0] == once(keys)
    assert queue.left(queue.dead) == 0


def test_the_test_event_of_a_new_notification_is_no_image(aws, queue, answers):
    body = {"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "data"}
    aws.sqs.send_message(QueueUrl=queue.url, MessageBody=json.dumps(body))
    queue.drain()
    assert not answers()[1]
    assert queue.left(queue.dead) == 0
