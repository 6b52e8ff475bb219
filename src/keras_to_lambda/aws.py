"""AWS: a session, a stack's outputs, and each error of boto3 as one line with its remedy."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError, NoRegionError
from botocore.parsers import ResponseParserError
from botocore.utils import validate_region_name

from keras_to_lambda import project
from keras_to_lambda.explain import advice
from keras_to_lambda.runtime.common.errors import UserError

if TYPE_CHECKING:
    import boto3

BOTO_ERRORS = (BotoCoreError, ClientError, ResponseParserError)


class AwsError(UserError):
    """AWS refused, or could not be asked. code: AWS's name of the error, or boto3's."""

    def __init__(self, message: str, code: str = "") -> None:
        super().__init__(message)
        self.code = code


def one_line(error: Exception) -> str:
    """An error of boto3: the operation first, and a remedy where one is known.

    A proxy's page, which is no answer of AWS, is left out.
    """
    text = re.sub(
        r"An error occurred \((\w+)\) when calling the (\w+) operation(?: \(reached .*?\))?",
        r"\2: \1",
        str(error).partition("<")[0],
    )
    return "; ".join(filter(None, (" ".join(text.split()).rstrip("."), advice(str(error)))))


@contextmanager
def errors(what: str) -> Iterator[None]:
    """Raise what boto3 raises about `what` as an AwsError."""
    try:
        yield
    except BOTO_ERRORS as error:
        code = type(error).__name__
        if isinstance(error, ClientError):
            code = str(error.response.get("Error", {}).get("Code", code))
        raise AwsError(f"{what}: {one_line(error)}", code) from error


def add_options(parser: argparse._ActionsContainer) -> None:
    """The options that `session` takes."""
    parser.add_argument("--region", help="AWS region (default: as AWS is configured)")
    parser.add_argument("--profile", help="AWS profile (default: as AWS is configured)")


def session(region: str | None = None, profile: str | None = None) -> boto3.Session:
    """A session that has a region: the given, the configured, AWS_REGION, or samconfig.toml's.

    Raises:
        AwsError: no such profile, or no region, or not a region's name.
    """
    import boto3  # a tenth of a second, which most calls of `serve` and `verify` do without

    with errors("AWS"):
        found = boto3.Session(region_name=region, profile_name=profile)
        if not found.region_name:
            region = os.environ.get("AWS_REGION") or project.samconfig().get("region")
            found = boto3.Session(region_name=region, profile_name=profile)
        if not found.region_name:
            raise NoRegionError
        validate_region_name(found.region_name)
    return found


def stack(name: str, session: boto3.Session) -> dict[str, Any]:
    """A stack as CloudFormation describes it, with Outputs and Parameters as dictionaries.

    Raises:
        AwsError: there is no such stack (code ValidationError), or AWS refuses.
    """
    with errors(f"stack {name}"):
        [found] = session.client("cloudformation").describe_stacks(StackName=name)["Stacks"]
        outputs, parameters = (
            {each[f"{kind}Key"]: each[f"{kind}Value"] for each in found.get(f"{kind}s", ())}
            for kind in ("Output", "Parameter")
        )
    return {**found, "Outputs": outputs, "Parameters": parameters}
