"""moto's server, emulators and a stack's parts, for the tests of batches and queues."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import boto3
import pytest
import requests
from moto.server import ThreadedMotoServer

from keras_to_lambda.deploy.emulator import ROOT
from tests.cloud.function import Function
from tests.deploy.aws import FUNCTION, REGION, Front
from tests.deploy.map_runs import MapRuns

SAMPLES = sorted((ROOT / "samples").glob("*.jpg"))
BUCKET = "data"

STACK = """
Parameters:
  MemorySize: {Type: Number, Default: 3008}
  Architecture: {Type: String, Default: arm64}
Resources:
  Topic: {Type: AWS::SNS::Topic}
Outputs:
  DataBucket: {Value: data}
  FunctionAlias: {Value: function}
  %s
"""


class Aws(NamedTuple):
    """What a test needs of AWS: clients, the function, and the executions of state machines."""

    front: Front
    function: Function
    s3: Any
    sqs: Any
    states: Any
    map_runs: MapRuns
    photos: Callable[..., list[str]]


@pytest.fixture(scope="module")
def front() -> Iterator[Front]:
    """A front with moto behind it, to which this process's boto3 is set for a module's tests."""
    moto = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    moto.start()
    _, moto_port = moto.get_host_and_port()
    front = Front(moto_port)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "AWS_ENDPOINT_URL": front.url,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": REGION,
            "AWS_REGION": REGION,
            "AWS_CONFIG_FILE": "/nonexistent",
            "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
            "AWS_EC2_METADATA_DISABLED": "true",
            "MOTO_PORT": str(front.port),  # what the interpreter calls for every service
        }.items():
            patch.setenv(name, value)
        requests.post(
            f"{front.url}/moto-api/config",
            json={"stepfunctions": {"execute_state_machine": True}},
            timeout=10,
        ).raise_for_status()
        yield front
    front.stop()
    moto.stop()


@pytest.fixture(scope="module")
def function(front: Front) -> Iterator[Function]:
    if sys.platform != "linux":
        pytest.skip("AWS's emulator is a Linux binary")
    function = Function(
        {
            "S3_ALLOWED_BUCKETS": f"{BUCKET},photos",
            "RESULTS_PREFIX": f"s3://{BUCKET}/answers/",
            "LOG_LEVEL": "ERROR",
        }
    )
    front.function = function
    yield function
    front.function = None
    function.stop()


@pytest.fixture
def aws(front: Front, function: Function) -> Iterator[Aws]:
    """AWS as it is after `make deploy` with Bulk: nothing in the bucket, nothing run."""
    requests.post(f"{front.url}/moto-api/reset", timeout=10).raise_for_status()
    front.map_runs = None
    s3, sqs, states = (boto3.client(name) for name in ("s3", "sqs", "stepfunctions"))
    for bucket in (BUCKET, "photos"):
        s3.create_bucket(Bucket=bucket)
    front.map_runs = MapRuns(s3, states, FUNCTION)
    for name, output in (
        ("keras-to-lambda", f"StateMachine: {{Value: '{front.map_runs.arn}'}}"),
        ("no-bulk", "Url: {Value: x}"),
    ):
        boto3.client("cloudformation").create_stack(StackName=name, TemplateBody=STACK % output)
    function.faults.clear()
    function.calls = function.kills = 0

    def photos(count: int, prefix: str = "in/", bucket: str = "photos") -> list[str]:
        """The samples, under as many keys."""
        contents = [path.read_bytes() for path in SAMPLES]
        keys = [f"{prefix}{SAMPLES[n % 6].stem} {n:04}.jpg" for n in range(count)]
        for number, key in enumerate(keys):
            s3.put_object(Bucket=bucket, Key=key, Body=contents[number % 6])
        return keys

    yield Aws(front, function, s3, sqs, states, front.map_runs, photos)
    front.map_runs = None


@pytest.fixture
def little_room() -> Iterator[Callable[[int], None]]:
    """Let no file of this process grow beyond some bytes: a folder that is full."""
    resource = pytest.importorskip("resource", reason="Windows limits no files")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def batch(
    aws: Aws, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., tuple[int, str, str]]:
    """`k2l batch`, in this process: exit code, stdout, stderr."""
    from keras_to_lambda.deploy.batch.command import main

    def run(*arguments: object) -> tuple[int, str, str]:
        code = main([str(each) for each in arguments])
        out, err = capsys.readouterr()
        return code, out, err

    return run
