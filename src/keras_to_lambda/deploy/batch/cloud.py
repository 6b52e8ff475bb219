"""Cloud: the AWS services that a run touches, and where the stack has put its parts."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Self

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
)
from botocore.parsers import ResponseParserError

from keras_to_lambda.deploy import ARCHITECTURE, MEMORY_MB
from keras_to_lambda.runtime.aws_lambda import TIMEOUT_S
from keras_to_lambda.runtime.errors import UserError

# One grey pixel, as PNG.
PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR42mNoAAAAggCB2kUIOwAAAABJRU5ErkJggg=="
)
CALL_S = 60  # of a call, by bulk.asl.json


class BatchError(UserError):
    """A command cannot be done; the message says why, and what to do."""


@dataclass(frozen=True)
class Cloud:
    """The two clients and the two places that every command needs.

    s3, states: boto3's clients of S3 and Step Functions.
    state_machine: its ARN.
    bucket: where runs are kept, below `runs/`.
    memory_mb, architecture, timeout_s: the function's, as the stack has them, for estimates.
    invoke, function: boto3's invoke of Lambda, and the alias, where a stack names it.
    """

    s3: Any
    states: Any
    state_machine: str
    bucket: str
    memory_mb: int = MEMORY_MB
    architecture: str = ARCHITECTURE
    timeout_s: int = TIMEOUT_S
    invoke: Any = None
    function: str = ""

    @classmethod
    def of_stack(cls, stack: str, session: boto3.Session) -> Self:
        """What the outputs of a CloudFormation stack name.

        Raises:
            BatchError: no such stack, or it has no bulk part.
        """
        with aws_errors():
            formation = session.client("cloudformation", config=_config())
            try:
                found = formation.describe_stacks(StackName=stack)["Stacks"][0]
            except ClientError as error:
                if error.response["Error"]["Code"] != "ValidationError":
                    raise
                raise BatchError(
                    f"there is no stack {stack} in {session.region_name}: deploy it (make deploy), "
                    "or name another by --stack or --region"
                ) from error
            outputs = {each["OutputKey"]: each["OutputValue"] for each in found.get("Outputs", ())}
        chosen = {
            each["ParameterKey"]: each["ParameterValue"] for each in found.get("Parameters", ())
        }
        try:
            return replace(
                cls.at(outputs["StateMachine"], outputs["DataBucket"], session),
                memory_mb=int(chosen.get("MemorySize", MEMORY_MB)),
                architecture=chosen.get("Architecture", ARCHITECTURE),
                timeout_s=min(int(chosen.get("Timeout", TIMEOUT_S)), CALL_S),
                invoke=session.client("lambda", config=_config()).invoke,
                function=outputs.get("FunctionAlias", ""),
            )
        except KeyError as error:
            raise BatchError(
                f"the stack {stack} has no {error.args[0]}: deploy it with the parameter Bulk=true"
            ) from error

    @classmethod
    def at(cls, state_machine: str, bucket: str, session: boto3.Session) -> Self:
        """A state machine that is known by its ARN, and the bucket of its runs."""
        with aws_errors():
            return cls(
                session.client("s3", config=_config()),
                session.client("stepfunctions", config=_config()),
                state_machine,
                bucket,
            )

    def try_options(self, options: Mapping[str, Any]) -> None:
        """Ask the function for one pixel with a run's options.

        Raises:
            BatchError: the function refuses them, or may not be invoked from here.
        """
        if not self.function:
            return
        event = {"image": PIXEL, **{name: value for name, value in options.items() if value}}
        with aws_errors("the function, to try --model"):
            answer = self.invoke(FunctionName=self.function, Payload=json.dumps(event).encode())
            if "FunctionError" in answer:
                error = json.loads(answer["Payload"].read())
                raise BatchError(f"nothing is started: {error.get('errorMessage', error)}")

    def execution(self, name: str) -> str:
        """The ARN that an execution of this name has, or will have."""
        # https://docs.aws.amazon.com/service-authorization/latest/reference/list_awsstepfunctions.html
        return self.state_machine.replace(":stateMachine:", ":execution:") + ":" + name

    def map_run(self, name: str) -> Mapping[str, Any]:
        """What Step Functions says of the Map Run in an execution; nothing where none has begun.

        Raises:
            BatchError: there is no such execution.
        """
        with aws_errors(f"execution {name}"):
            answer = self.states.list_map_runs(executionArn=self.execution(name))
            found = answer.get("mapRuns")
            if not found:
                return {}
            described: Mapping[str, Any] = self.states.describe_map_run(
                mapRunArn=found[0]["mapRunArn"]
            )
            return described

    def objects(self, bucket: str, prefix: str) -> Iterator[Mapping[str, Any]]:
        """Every object below a prefix, as ListObjectsV2 has it."""
        with aws_errors():
            pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
            for page in pages:
                yield from page.get("Contents", ())

    def lines(self, bucket: str, key: str) -> Iterator[bytes]:
        """The lines of an object, read as they come; none is empty.

        Raises:
            BatchError: there is no such object, or it cannot be read.
        """
        with aws_errors(f"s3://{bucket}/{key}"):
            body = self.s3.get_object(Bucket=bucket, Key=key)["Body"]
            with body:
                for line in body.iter_lines(chunk_size=1 << 20):
                    if line.strip():
                        yield line


def _config() -> Config:
    return Config(retries={"mode": "standard", "total_max_attempts": 5})


def session(region: str | None, profile: str | None) -> boto3.Session:
    """Credentials and region, as given or as AWS is configured.

    Raises:
        BatchError: no such profile.
    """
    with aws_errors():
        return boto3.Session(region_name=region, profile_name=profile)


@contextmanager
def aws_errors(what: str = "") -> Iterator[None]:
    """Turn what boto3 raises into one line with a remedy; `what` was being asked for."""
    try:
        yield
    except (NoCredentialsError, PartialCredentialsError) as error:
        raise BatchError(
            "no AWS credentials: run `aws configure`, or set AWS_PROFILE; "
            "`aws sts get-caller-identity` shows who you are"
        ) from error
    except NoRegionError as error:
        raise BatchError(
            "no AWS region: --region us-east-1, say, or set AWS_DEFAULT_REGION"
        ) from error
    except ClientError as error:
        raise BatchError(_denied(error, what)) from error
    except BotoCoreError as error:
        raise BatchError(f"{what or 'AWS'}: {error}") from error
    except ResponseParserError as error:  # a proxy's page
        raise BatchError(
            f"{what or 'AWS'}: what answers is not AWS; is a proxy between?"
        ) from error


def _denied(error: ClientError, what: str) -> str:
    code, message = (error.response["Error"].get(key, "") for key in ("Code", "Message"))
    remedies = {
        "NoSuchKey": "there is no such object",
        "NoSuchBucket": "there is no such bucket",
        "AccessDenied": "your credentials do not allow it",
        "AccessDeniedException": "your credentials do not allow it",
        "ExpiredToken": "your credentials have expired: sign in again",
        "StateMachineDoesNotExist": "there is no such state machine: see --stack and --region",
        "ExecutionDoesNotExist": "Step Functions does not know it (it forgets after 90 days)",
    }
    remedy = remedies.get(str(code))
    said = f"{error.operation_name} failed: {code}: {message}"
    return ": ".join(part for part in (what, f"{remedy} ({said})" if remedy else said) if part)
