"""S3: images read from it, and answers written below RESULTS_PREFIX.

Imported at the first object alone: boto3 with a client costs a quarter of a second.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import cache
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from keras_to_lambda.runtime.common.deadline import Deadline
from keras_to_lambda.runtime.common.errors import ObjectNotRead, ResultsNotKept, too_many_bytes
from keras_to_lambda.runtime.common.settings import Settings

CHUNK_BYTES = 1 << 20
# What trying again does not change
# (https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html). S3 answers NoSuchKey only
# to a role with s3:ListBucket; to others a missing object is AccessDenied.
FINAL = frozenset({"NoSuchKey", "NoSuchVersion", "NoSuchBucket", "MethodNotAllowed"})


@cache
def _client(timeout_s: float) -> Any:
    # One client for the life of the process. Connections that died while the process was frozen are
    # found dead by botocore at their next use, and replaced.
    return boto3.client(
        "s3",
        config=Config(
            connect_timeout=min(timeout_s, 3.0),
            read_timeout=timeout_s,
            retries={"mode": "standard", "total_max_attempts": 3},
        ),
    )


def read(
    bucket: str, key: str, version: str | None, settings: Settings, deadline: Deadline
) -> bytes:
    """An object's bytes; version: its version id, or None for the latest.

    Raises:
        ObjectNotRead: S3 did not give it; final where there is no such object or version.
        ImageTooLarge: more than `settings.max_image_bytes`; raised before a byte is read.
        DeadlineExceeded
    """
    deadline = deadline.sooner(settings.fetch_timeout_s)
    # botocore's time-outs restart with every try and every byte; the request's does not.
    return deadline.call(
        "reading the image from S3", _get, bucket, key, version, settings, deadline
    )


def _get(
    bucket: str, key: str, version: str | None, settings: Settings, deadline: Deadline
) -> bytes:
    limit = settings.max_image_bytes
    with opened(bucket, key, settings, **({"VersionId": version} if version else {})) as answer:
        if answer["ContentLength"] > limit:
            raise too_many_bytes(limit)
        data = bytearray()
        while chunk := answer["Body"].read(CHUNK_BYTES):
            data += chunk
            if len(data) > limit:
                raise too_many_bytes(limit)
            deadline.remaining_s("reading the image from S3")
        return bytes(data)


@contextlib.contextmanager
def opened(bucket: str, key: str, settings: Settings, **which: str) -> Iterator[dict[str, Any]]:
    """An object's headers and body, which is closed at the end of the block.

    Raises ObjectNotRead, in the block as well.
    """
    try:
        answer = _client(settings.fetch_timeout_s).get_object(
            Bucket=bucket, Key=key, ChecksumMode="ENABLED", **which
        )
        # The body's own `with` would give the raw stream, whose length and checksum are not checked
        # (botocore.response.StreamingBody): half an object would pass for the whole.
        with contextlib.closing(answer["Body"]):
            yield answer
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code"))
        raise ObjectNotRead(code, final=code in FINAL) from error
    except (BotoCoreError, OSError, ValueError) as error:
        raise ObjectNotRead(type(error).__name__) from error


def write(key: str, content: bytes, settings: Settings, deadline: Deadline) -> None:
    """Put an object under `settings.results_prefix`; the same key again replaces it.

    Raises ResultsNotKept: S3 did not take it. DeadlineExceeded.
    """
    bucket, prefix = settings.results_prefix or ("", "")
    key = prefix + key
    try:
        deadline.call(
            "writing the answers to S3",
            lambda: _client(settings.fetch_timeout_s).put_object(
                Bucket=bucket, Key=key, Body=content, ContentType="application/x-ndjson"
            ),
        )
    except (BotoCoreError, ClientError, OSError) as error:
        raise ResultsNotKept(
            "the answers could not be written to S3: the bucket of RESULTS_PREFIX must exist, and "
            "the function's role must allow s3:PutObject there",
            reason=type(error).__name__,
        ) from error
