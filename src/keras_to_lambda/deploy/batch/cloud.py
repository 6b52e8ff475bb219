"""Cloud: the AWS services that a run uses, and where the stack has its parts."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from botocore.config import Config

from keras_to_lambda import aws
from keras_to_lambda.runtime.common.errors import UserError

if TYPE_CHECKING:
    import boto3

# One grey pixel, as PNG.
PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR42mNoAAAAggCB2kUIOwAAAABJRU5ErkJggg=="
)
PATIENT = Config(retries={"mode": "standard", "total_max_attempts": 5})


class BatchError(UserError):
    """A command cannot be done; the message gives the reason and what to do."""


@dataclass(frozen=True)
class Cloud:
    """What every command needs. Each method may raise AwsError.

    s3, states, functions: boto3's clients of S3, Step Functions and Lambda.
    state_machine: its ARN. function: the alias.
    bucket: where runs are kept, below `runs/`.
    """

    s3: Any
    states: Any
    functions: Any
    state_machine: str
    function: str
    bucket: str

    @classmethod
    def of_stack(cls, stack: str, session: boto3.Session, bucket: str | None = None) -> Self:
        """The parts that the outputs of a CloudFormation stack name.

        Args:
            bucket: in place of the stack's; an earlier one of it.

        Raises:
            BatchError: it has no bulk part.
        """
        outputs = aws.stack(stack, session)["Outputs"]
        if "StateMachine" not in outputs:
            raise BatchError(
                f"the stack {stack} has no state machine: deploy it with the parameter Bulk=true"
            )
        return cls(
            s3=session.client("s3", config=PATIENT),
            states=session.client("stepfunctions", config=PATIENT),
            functions=session.client("lambda", config=PATIENT),
            state_machine=outputs["StateMachine"],
            function=outputs["FunctionAlias"],
            bucket=bucket or outputs["DataBucket"],
        )

    def try_options(self, options: Mapping[str, Any]) -> None:
        """Classify one pixel with a run's options.

        Raises:
            BatchError: the function refuses them.
        """
        event = {"image": PIXEL, **{name: value for name, value in options.items() if value}}
        with aws.errors("the function, to try --model"):
            answer = self.functions.invoke(
                FunctionName=self.function, Payload=json.dumps(event).encode()
            )
            if "FunctionError" in answer:
                error = json.loads(answer["Payload"].read())
                raise BatchError(f"nothing is started: {error.get('errorMessage', error)}")

    def execution(self, name: str) -> str:
        """The ARN that an execution of this name has, or will have."""
        # https://docs.aws.amazon.com/service-authorization/latest/reference/list_awsstepfunctions.html
        return self.state_machine.replace(":stateMachine:", ":execution:") + ":" + name

    def objects(self, bucket: str, prefix: str) -> Iterator[Mapping[str, Any]]:
        """Every object below a prefix, as ListObjectsV2 describes it."""
        with aws.errors(f"s3://{bucket}/{prefix}"):
            pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
            for page in pages:
                yield from page.get("Contents", ())

    def lines(self, bucket: str, key: str) -> Iterator[bytes]:
        """The lines of an object that are not empty, read as they come."""
        with aws.errors(f"s3://{bucket}/{key}"):
            body = self.s3.get_object(Bucket=bucket, Key=key)["Body"]
            with body:
                yield from (line for line in body.iter_lines(chunk_size=1 << 20) if line.strip())
