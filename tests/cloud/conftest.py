"""One engine with one stack for all tests here: a folder of `k2l new`, by `sam deploy`.

Only the image is not built and not pushed: the template names one, as `sam build` does.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import boto3
import pytest

from keras_to_lambda.deploy.emulator import ROOT
from keras_to_lambda.project import DEFAULT_STACK
from tests.cloud.function import Function, InvokeApi
from tests.cloud.process import PYTHON, REGION, Engine

SAMPLES = sorted((ROOT / "samples").glob("*.jpg"))
PARAMETERS = {"Bulk": "true", "Deployment": "Off"}
SAM = ROOT / ".venv-aws" / "bin" / "sam"
IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/my-api:1"
DEADLINE_S = 120


def until(found: Callable[[], Any], what: str) -> Any:
    """What it gives, once that is something."""
    give_up = time.monotonic() + DEADLINE_S
    while not (result := found()):
        assert time.monotonic() < give_up, f"{what}: not within {DEADLINE_S} s"
        time.sleep(0.2)
    return result


class Cloud(NamedTuple):
    """The engine's clients, the stack's outputs, and the function behind its Lambda."""

    engine: Engine
    api: InvokeApi
    formation: Any
    s3: Any
    sqs: Any
    states: Any
    lambdas: Any
    gateway: Any
    outputs: dict[str, str]

    @property
    def function(self) -> Function:
        return self.api.versions[""]

    def predict(self, api: str) -> str:
        """A REST API's /predict: its name is a part of the path here, and not of the host."""
        return f"{self.engine.url}/_aws/execute-api/{api}/Prod/predict"

    @property
    def url(self) -> str:
        """The stack's."""
        return self.predict(self.outputs["Url"].removeprefix("https://").partition(".")[0])

    @property
    def bucket(self) -> str:
        return self.outputs["DataBucket"]

    def photos(self, count: int, prefix: str) -> list[str]:
        """The samples, under as many keys."""
        contents = [path.read_bytes() for path in SAMPLES]
        names = [f"{SAMPLES[n % 6].stem} {n:04}.jpg" for n in range(count)]
        keys = [prefix + name for name in names]

        def put(number: int) -> None:
            self.s3.put_object(Bucket=self.bucket, Key=keys[number], Body=contents[number % 6])

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(put, range(count)))
        return keys


def settled(formation: Any, stack: str) -> Any:
    """A stack that is being changed no more."""

    def found() -> Any:
        stack_now = formation.describe_stacks(StackName=stack)["Stacks"][0]
        return None if stack_now["StackStatus"].endswith("IN_PROGRESS") else stack_now

    return until(found, f"the stack {stack}")


def project(folder: Path) -> None:
    """What `k2l new` writes, and of `sam build` the image's name."""
    model = ROOT / "models" / "clothing" / "clothing.tflite"
    new = [sys.executable, "-m", "keras_to_lambda", "new", folder, "--model", model]
    subprocess.run(new, check=True, capture_output=True)
    template = folder / "template.yaml"
    text, kind = template.read_text(), "      PackageType: Image\n"
    assert text.count(kind) == 1
    template.write_text(text.replace(kind, f"{kind}      ImageUri: {IMAGE}\n"))


def deploy(folder: Path) -> None:
    """`sam deploy`, with the folder's samconfig.toml."""
    given = [f"{name}={text}" for name, text in PARAMETERS.items()]
    command = [SAM, "deploy", "--template-file", "template.yaml", "--no-confirm-changeset"]
    done = subprocess.run(
        [*command, "--stack-name", DEFAULT_STACK, "--parameter-overrides", *given],
        cwd=folder,
        env={**os.environ, "SAM_CLI_TELEMETRY": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="session")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    if not PYTHON.exists():
        pytest.fail("no .venv-localstack here: use make test-cloud")
    api = InvokeApi()
    engine = Engine(api.url)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "AWS_ENDPOINT_URL": engine.url,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": REGION,
            "AWS_REGION": REGION,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
        }.items():
            patch.setenv(name, value)
        try:
            folder = tmp_path_factory.mktemp("new") / DEFAULT_STACK
            project(folder)
            engine.wait()
            deploy(folder)
            yield _made(engine, api)
        except BaseException:
            print(engine.log.read_text()[-4000:])
            raise
        finally:
            engine.stop()
            api.stop()


def _made(engine: Engine, api: InvokeApi) -> Cloud:
    formation, *others = (
        boto3.client(name)
        for name in ("cloudformation", "s3", "sqs", "stepfunctions", "lambda", "apigateway")
    )
    stack = settled(formation, DEFAULT_STACK)
    assert stack["StackStatus"] == "CREATE_COMPLETE", stack
    outputs = {each["OutputKey"]: each["OutputValue"] for each in stack["Outputs"]}
    cloud = Cloud(engine, api, formation, *others, outputs)
    api.serve(Function(environment(cloud)))
    return cloud


def environment(cloud: Cloud) -> dict[str, str]:
    """What the stack has set for the function."""
    found = cloud.lambdas.get_function_configuration(FunctionName=cloud.outputs["FunctionName"])
    return {**found["Environment"]["Variables"], "LOG_LEVEL": "ERROR"}


@pytest.fixture(autouse=True)
def without_faults(cloud: Cloud) -> None:
    cloud.function.reset()
