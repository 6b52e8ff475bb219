"""moto's server as AWS, and a stack's parts, for the tests of what speaks to a deployed stack."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import boto3
import pytest
import requests
from moto.server import ThreadedMotoServer

REGION = "us-east-1"
ROLE = "arn:aws:iam::123456789012:role/states"
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
    """Clients, and the stack's state machine, whose executions do nothing."""

    s3: Any
    states: Any
    machine: str

    def photos(self, count: int, prefix: str = "in/") -> None:
        for number in range(count):
            self.s3.put_object(Bucket="photos", Key=f"{prefix}{number:04}.jpg", Body=b"photo")

    def started(self) -> list[str]:
        """Names of executions."""
        found = self.states.list_executions(stateMachineArn=self.machine)["executions"]
        return [each["name"] for each in found]


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    """moto, to which this process's boto3 is set for a module's tests."""
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": REGION,
            "AWS_REGION": REGION,
            "AWS_CONFIG_FILE": "/nonexistent",
            "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
            "AWS_EC2_METADATA_DISABLED": "true",
        }.items():
            patch.setenv(name, value)
        yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def aws(moto: str) -> Aws:
    """AWS as it is after `make deploy` with Bulk: nothing in the bucket, nothing run."""
    requests.post(f"{moto}/moto-api/reset", timeout=10).raise_for_status()
    s3, states = (boto3.client(name) for name in ("s3", "stepfunctions"))
    for bucket in ("data", "photos"):
        s3.create_bucket(Bucket=bucket)
    empty = {"StartAt": "End", "States": {"End": {"Type": "Succeed"}}}
    machine = states.create_state_machine(name="bulk", definition=json.dumps(empty), roleArn=ROLE)
    arn = machine["stateMachineArn"]
    for name, output in (
        ("keras-to-lambda", f"StateMachine: {{Value: '{arn}'}}"),
        ("no-bulk", "Url: {Value: x}"),
    ):
        boto3.client("cloudformation").create_stack(StackName=name, TemplateBody=STACK % output)
    return Aws(s3, states, arn)


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
    from keras_to_lambda.deploy.batch.batch import main

    def run(*arguments: object) -> tuple[int, str, str]:
        code = main([str(each) for each in arguments])
        out, err = capsys.readouterr()
        return code, out, err

    return run
