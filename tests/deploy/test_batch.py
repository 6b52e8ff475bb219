"""`k2l batch` before a run is at work: the real command and boto3, the services at moto.

Runs at work, their results, and `resume` of them are in tests/cloud, which takes a minute to begin.
"""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import boto3
import pytest
from botocore.stub import Stubber

from keras_to_lambda.deploy.batch import runs
from keras_to_lambda.deploy.batch.batch import _reported
from keras_to_lambda.deploy.batch.cloud import BatchError, Cloud
from keras_to_lambda.deploy.batch.image_list import Images
from keras_to_lambda.runtime.common.errors import UserError

OPTIONS = {"top_k": 1, "scores": None, "model": None}  # the command's defaults
WHEN = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def planned(aws):
    """A run over three images, saved and not started; its cloud."""
    aws.photos(3)
    cloud = Cloud.of_stack("keras-to-lambda", boto3.Session())
    batch = {"items": 2, "concurrency": 1, "tolerated_percent": 5.0}
    run = runs.plan(cloud, "s3://photos/in/", "run", OPTIONS, batch)
    assert runs.save(cloud, run, new=True)
    return cloud, run


def test_a_start_that_was_cut_off_is_finished_by_the_same_start(aws, batch, planned):
    """As if it had ended between run.json and the execution."""
    batch_options = ("--items", 2, "--concurrency", 1)
    assert aws.started() == []
    for _ in range(2):
        code, _, err = batch("start", "s3://photos/in/", "--name", "run", *batch_options)
        assert (code, err) == (0, "")
        assert aws.started() == ["run"]
    for other in (("s3://photos/in/", "--top-k", 3), ("s3://photos/other/",)):
        aws.s3.put_object(Bucket="photos", Key="other/x.jpg", Body=b"x")
        code, _, err = batch("start", *other, "--name", "run", *batch_options)
        assert (code, "of another input or other options" in err) == (1, True)


def test_a_run_is_taken_up_by_a_list_once_it_has_ended(aws, planned):
    cloud, run = planned
    execution = cloud.execution("run")
    client = boto3.client("stepfunctions")
    played = replace(cloud, states=client)
    with Stubber(client) as states:
        about = {
            "executionArn": execution,
            "stateMachineArn": cloud.state_machine,
            "startDate": WHEN,
        }
        for status in ("RUNNING", "PENDING_REDRIVE"):
            states.add_response("describe_execution", {**about, "status": status})
            with pytest.raises(BatchError, match="is running"):
                runs.resume(played, run)
        states.add_response("describe_execution", {**about, "status": "FAILED"})
        states.add_response("start_execution", {"executionArn": "run.2", "startDate": WHEN})
        assert runs.resume(played, run) == "run.2 asks for 3 images again"
        states.assert_no_pending_responses()
    # One that was never started has nothing to wait for.
    assert runs.resume(cloud, run) == "run.2 asks for 3 images again"
    assert aws.started() == ["run.2"]


def test_progress_counts_the_images_whose_batch_has_ended(planned):
    cloud, run = planned
    client = boto3.client("stepfunctions")
    states = "pending running succeeded failed timedOut aborted total resultsWritten"
    counts = dict.fromkeys(states.split(), 0)
    about = {"stateMachineArn": cloud.state_machine, "startDate": WHEN}
    about |= {"executionArn": cloud.execution("run"), "mapRunArn": "m"}
    map_run = {
        **about,
        "status": "FAILED",
        "maxConcurrency": 1,
        "toleratedFailurePercentage": 5.0,
        "toleratedFailureCount": 0,
        "itemCounts": {**counts, "succeeded": 2, "failed": 1, "total": 4},
        "executionCounts": {**counts, "failed": 1},
    }
    ended = {**about, "status": "FAILED", "stopDate": WHEN + timedelta(seconds=6), "error": "E"}
    with Stubber(client) as states:
        states.add_response(
            "describe_execution", {k: v for k, v in ended.items() if k != "mapRunArn"}
        )
        states.add_response("list_map_runs", {"mapRuns": [about]})
        del map_run["stateMachineArn"]
        states.add_response("describe_map_run", map_run)
        now = runs.progress(replace(cloud, states=client), run)
    assert (now.status, now.done, now.images["total"], now.error) == ("FAILED", 3, 4, "E")
    assert now.seconds == 6


def test_a_run_at_work_shows_its_failed_batches():
    images = {"total": 100, "succeeded": 30, "failed": 20}
    now = runs.Progress("run", "RUNNING", images, {"failed": 2, "succeeded": 3}, 10.0, "")
    assert _reported(None, None, None, now) == [
        "run: running, 10 s, 50 of 100 images (50%), 5.0 a second, about 10 s left",
        "  batches: 2 failed",
    ]


def test_what_has_no_images_takes_no_name(aws, batch):
    aws.s3.put_object(Bucket="photos", Key="empty.csv", Body=b"url\n")
    for source, said in (
        ("s3://photos/none/", "s3://photos/none/ has no images"),
        ("s3://photos/empty.csv", "has no images"),
        ("s3://photos/missing.csv", "NoSuchKey"),
        ("s3://no-such-bucket/in/", "NoSuchBucket"),
    ):
        code, out, err = batch("start", source, "--name", "run")
        assert (code, out, err.count("\n")) == (1, "", 1)
        assert said in err
    aws.photos(2)
    assert batch("start", "s3://photos/in/", "--name", "run")[0] == 0
    assert aws.started() == ["run"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["status", "none"], "there is no run none"),
        (["results", "none"], "there is no run none"),
        (["results", "none", "-o", "x.xls"], "name it .parquet or .csv"),
        (["results", "none", "-o", "no/such/folder/x.csv"], "in a folder that exists"),
        (["start", "s3://photos"], "is not s3://bucket/"),
        (["start", "s3://photos/in"], "end a prefix with a slash"),
        (["start", "s3://photos/list.txt"], "end a prefix with a slash"),
        (["start", "samples"], "aws s3 sync"),
        (["start", "s3://photos/in/", "--name", "a b"], "invalid name of a run: 'a b'"),
        (["start", "s3://photos/in/", "--items", "1000", "--top-k", "10"], "256 KiB"),
        (["start", "s3://photos/in/", "--stack", "none"], "Stack with id none does not exist"),
        (["start", "s3://photos/in/", "--stack", "no-bulk"], "Bulk=true"),
    ],
)
def test_what_cannot_be_done_is_one_line_with_a_remedy(aws, batch, arguments, said):
    code, out, err = batch(*arguments)
    assert (code, out) == (1, "")
    assert err.count("\n") == 1
    assert said in err


MANIFEST = {"fileFormat": "CSV", "fileSchema": "Bucket, Key", "destinationBucket": "arn:aws:s3:::d"}


@pytest.mark.parametrize(
    ("key", "body", "said"),
    [
        ("list.csv", b"url\nhttps://example.com/caf\xe9.jpg\n", "cannot be read: 'utf-8' codec"),
        ("list.csv", b"url\nhttps://example.com/caf\xe9", "cannot be read: 'utf-8' codec"),
        ("list.jsonl", b'{"url": "caf\xe9"}', "cannot be read: 'utf-8' codec"),
        ("list.jsonl", b'{"url"', "list.jsonl, line 1: Expecting"),
        ("manifest.json", b"<html>", "manifest.json cannot be read: Expecting value"),
        ("manifest.json", b"[]", "is not the manifest of an S3 inventory"),
        ("manifest.json", json.dumps({**MANIFEST, "files": [1]}).encode(), "is not the manifest"),
        ("manifest.json", b'{"fileFormat": "ORC"}', "inventory in CSV, the one format"),
        (
            "manifest.json",
            json.dumps({**MANIFEST, "destinationBucket": "data", "files": [{"key": "x"}]}).encode(),
            "cannot be read: Not a gzipped file",
        ),
    ],
)
def test_a_list_in_s3_that_cannot_be_read_is_one_line(aws, key, body, said):
    aws.s3.put_object(Bucket="data", Key="x", Body=b"not gzip")
    aws.s3.put_object(Bucket="data", Key=key, Body=body)
    cloud = Cloud.of_stack("keras-to-lambda", boto3.Session())
    with pytest.raises(UserError) as raised:
        list(Images.named(f"s3://data/{key}").items(cloud))
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_no_credentials_and_no_region_have_their_remedies(aws, batch, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    code, out, err = batch("status", "run")
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "Unable to locate credentials; `aws configure" in err
    for name in ("AWS_DEFAULT_REGION", "AWS_REGION"):
        monkeypatch.delenv(name)
    assert "AWS_DEFAULT_REGION" in batch("status", "run")[2]


def test_the_name_of_a_run_is_printed_before_it_is_started(aws, batch, monkeypatch):
    """So that who interrupts the start, or loses the network, knows what may be running."""
    aws.photos(1)
    aws.states.delete_state_machine(stateMachineArn=aws.machine)
    code, out, err = batch("start", "s3://photos/in/", "--name", "run")
    assert (code, out) == (1, "run: images of s3://photos/in/\n")
    assert "StateMachineDoesNotExist" in err
