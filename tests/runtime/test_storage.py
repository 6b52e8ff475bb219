"""s3:// images and kept answers, by boto3 against a real S3 server on loopback (moto's)."""

from __future__ import annotations

import json
import socket
import time

import pytest

from keras_to_lambda.runtime.common import errors
from keras_to_lambda.runtime.sources import s3 as storage
from tests.http_host import HttpHost, Quiet
from tests.runtime.made import configured, queue

PHOTO = "s3://photos/in/t shirt+1.jpg"


class BreaksOff(Quiet):
    """An S3 that has half of every object, and says that it sends the whole."""

    photo = b""

    def do_GET(self):
        half = self.photo[: len(self.photo) // 2]
        self.reply(200, half, {"Content-Length": str(len(self.photo))})


@pytest.fixture(scope="module")
def served():
    return configured(FETCH_TIMEOUT_S="60")


@pytest.mark.parametrize(
    "url", ["s3://other/key.jpg", "s3://photos/missing.jpg", "s3://PHOTOS/in/t shirt+1.jpg"]
)
def test_what_is_not_given_is_one_error(url, served, s3):
    with pytest.raises(errors.ObjectNotRead):
        served.handle({"url": url})


def test_an_object_is_classified_up_to_the_limit(served, s3):
    assert list(served.handle({"url": PHOTO, "top_k": 1})) == ["t-shirt"]
    with pytest.raises(errors.ImageTooLarge):
        configured(MAX_IMAGE_BYTES="1000").handle({"url": PHOTO})


def test_half_an_object_is_not_taken_for_the_whole(jpeg, s3, monkeypatch):
    half = type("Half", (BreaksOff,), {"photo": jpeg})
    with HttpHost(half) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://{server.address}")
        storage._client.cache_clear()
        with pytest.raises(errors.ObjectNotRead):
            configured().handle({"url": PHOTO})
    storage._client.cache_clear()


def test_a_version_is_read_as_the_event_names_it(served, s3):
    s3.client.put_bucket_versioning(Bucket="photos", VersioningConfiguration={"Status": "Enabled"})
    old = s3.client.put_object(Bucket="photos", Key="v.jpg", Body=b"no image")["VersionId"]
    photo = s3.client.get_object(Bucket="photos", Key="in/t shirt+1.jpg")["Body"].read()
    s3.client.put_object(Bucket="photos", Key="v.jpg", Body=photo)

    def event(**version):
        entry = {"bucket": {"name": "photos"}, "object": {"key": "v.jpg", **version}}
        record = {"eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "s3": entry}
        return {"Records": [record]}

    assert "scores" in served.handle(event())["answers"][0]
    error = served.handle(event(versionId=old))["answers"][0]["error"]
    assert error["code"] == "unsupported_format"


def test_a_connection_that_died_while_the_process_was_frozen_is_made_again(s3, jpeg):
    """A server that closes each connection after its answer, without saying so beforehand."""

    class Closing(Quiet):
        protocol_version = "HTTP/1.1"
        asked = 0

        def do_GET(self):
            Closing.asked += 1
            self.reply(200, jpeg)
            self.close_connection = True

    with HttpHost(Closing) as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL_S3", f"http://{server.address}")
        frozen = configured(FETCH_TIMEOUT_S="60")
        for _ in range(3):
            assert frozen.handle({"url": "s3://photos/x.jpg", "top_k": 1})
            time.sleep(0.05)
    assert Closing.asked == 3


def test_a_silent_s3_ends_at_the_deadline(monkeypatch, s3):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{silent.getsockname()[1]}")
        storage._client.cache_clear()
        with pytest.raises((errors.DeadlineExceeded, errors.ObjectNotRead)):
            configured(FETCH_TIMEOUT_S="0.3").handle({"url": PHOTO})


def test_answers_that_cannot_be_kept_are_tried_again(s3):
    event = queue(json.dumps({"url": PHOTO}), ids=["m-1"])
    lost = configured(RESULTS_PREFIX="s3://no-such-bucket/out")
    assert lost.handle(event) == {"batchItemFailures": [{"itemIdentifier": "m-1"}]}
    notified = {
        "eventSource": "aws:s3",
        "eventName": "ObjectCreated:Put",
        "s3": {"bucket": {"name": "photos"}, "object": {"key": "in/t+shirt%2B1.jpg"}},
    }
    with pytest.raises(errors.ResultsNotKept):
        lost.handle({"Records": [notified]})


def test_an_object_that_is_gone_is_final_and_one_that_is_refused_is_not(s3):
    for key in ("gone.jpg", "in/t shirt+1.jpg"):
        [line] = configured().handle({"Items": [{"Bucket": "photos", "Key": key}]})["answers"]
        assert ("error" in line, "retry" in line) == (key == "gone.jpg", False)
    assert line["image"] == "s3://photos/in/t shirt+1.jpg"
    [line] = configured(S3_ALLOWED_BUCKETS="other").handle(
        {"Items": [{"Bucket": "photos", "Key": "x"}]}
    )["answers"]
    assert (line["error"]["code"], line["retry"]) == ("fetch_failed", True)


def test_the_same_message_twice_is_kept_once_and_two_messages_twice(s3):
    keeping = configured(RESULTS_PREFIX="s3://answers/out/")

    def event(*ids):
        return queue(*[json.dumps({"url": PHOTO})] * len(ids), ids=ids)

    keeping.handle(event("a"))
    keeping.handle(event("a", "a"))
    assert len(s3.kept()) == 1
    keeping.handle(event("a", "b"))
    assert len(s3.kept()) == 2
