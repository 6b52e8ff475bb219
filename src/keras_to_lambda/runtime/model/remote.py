"""A model that MODEL_PATH names in S3 or in MLflow's registry, downloaded to /tmp at a cold start.

    s3://BUCKET/KEY.tflite        the object
    models:/NAME@ALIAS            NAME.tflite of that version, at MLFLOW_TRACKING_URI
    models:/NAME/VERSION[/FILE]   a version by its number; another file in it

Imported for such a MODEL_PATH alone.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import quote

from keras_to_lambda.runtime import telemetry
from keras_to_lambda.runtime.deadline import Deadline
from keras_to_lambda.runtime.errors import (
    ClassifierError,
    DeadlineExceeded,
    FetchFailed,
    ImageTooLarge,
    SetupError,
)
from keras_to_lambda.runtime.model import card as cards
from keras_to_lambda.runtime.settings import Settings

S3, REGISTRY = "s3://", "models:/"
MAX_BYTES = 500_000_000  # Lambda's /tmp holds 512 MB
# A version by alias or number, and a file in it.
VERSION = re.compile(r"models:/([^/@]+)(?:@([^/@]+)|/(\d+))(?:/(.+))?")


def local(settings: Settings) -> str:
    """The model as a file of this machine.

    A file of an earlier start is used without a download if its hash is the expected one, and also
    if the source fails: an old model answers better than none.

    Raises:
        SetupError: there is no such model, it cannot be read, or its SHA-256 is not the expected
            one; and no earlier start has left one here.
    """
    source = settings.model_path
    path = f"{_folder()}/{hashlib.sha256(source.encode()).hexdigest()[:16]}.tflite"
    before = _digest(path)
    if settings.model_sha256 and before == settings.model_sha256:
        return path
    try:
        try:
            # botocore's time-outs restart with every try.
            deadline = Deadline(settings.fetch_timeout_s)
            deadline.call("the download", _renew, path, before, settings, deadline)
        except DeadlineExceeded as error:
            wait = settings.fetch_timeout_s
            raise SetupError(f"not downloaded within FETCH_TIMEOUT_S={wait:g} seconds") from error
        except ImageTooLarge as error:
            raise SetupError(f"larger than {MAX_BYTES:,} bytes") from error
        except ClassifierError as error:
            raise SetupError(str(error.facts.get("reason", error))) from error
    except (SetupError, OSError) as error:
        if before is None or settings.model_sha256:
            raise SetupError(f"MODEL_PATH={source}: {error}") from error
        reason = f"{source}: {error}; the model of an earlier start is served"
        telemetry.log(settings, "ERROR", outcome="model_not_renewed", reason=reason, sha256=before)
    return path


def _renew(path: str, before: str | None, settings: Settings, deadline: Deadline) -> None:
    """Replace the file at `path`, unless its hash is the expected one."""
    read = _from_s3 if settings.model_path.startswith(S3) else _from_registry
    with read(settings, deadline) as (expected, chunks):
        if expected == before:
            return
        whole, part = hashlib.sha256(), f"{path}.{os.getpid()}.tflite"
        try:
            with open(part, "wb") as file:  # noqa: PTH123
                for chunk in chunks:
                    whole.update(chunk)
                    file.write(chunk)
            if whole.hexdigest() != expected:
                raise SetupError(f"SHA-256 is {whole.hexdigest()}, expected {expected}")
            try:
                cards.load(part)
            except SetupError as error:
                raise SetupError(str(error).replace(part, "the download")) from error
            os.replace(part, path)  # noqa: PTH105  # whole, or not at all
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(part)  # noqa: PTH108


@contextlib.contextmanager
def _from_s3(settings: Settings, deadline: Deadline) -> Iterator[tuple[str, Iterator[bytes]]]:
    bucket, slash, key = settings.model_path.removeprefix(S3).partition("/")
    if not (bucket and slash and key):
        raise SetupError("use s3://BUCKET/KEY.tflite")
    if bucket not in settings.s3_allowed_buckets:
        raise SetupError(f"add {bucket} to S3_ALLOWED_BUCKETS")
    from keras_to_lambda.runtime.sources import s3

    with s3.opened(bucket, key, settings) as answer:
        if answer["ContentLength"] > MAX_BYTES:
            raise SetupError(f"larger than {MAX_BYTES:,} bytes")
        expected = settings.model_sha256 or answer["Metadata"].get("sha256", "").lower()
        checksum = answer.get("ChecksumSHA256", "")
        if not expected and checksum and "-" not in checksum:  # with one: a hash of parts' hashes
            expected = base64.b64decode(checksum).hex()
        if not expected:
            raise SetupError(
                "the object has no SHA-256; upload it with --metadata sha256=HEX, or set "
                "MODEL_SHA256"
            )
        yield expected, _within(answer["Body"].iter_chunks(1 << 20), deadline)


def _within(chunks: Iterator[bytes], deadline: Deadline) -> Iterator[bytes]:
    for chunk in chunks:
        deadline.remaining_s("downloading the model")
        yield chunk


@contextlib.contextmanager
def _from_registry(settings: Settings, deadline: Deadline) -> Iterator[tuple[str, Iterator[bytes]]]:
    named = VERSION.fullmatch(settings.model_path)
    if named is None:
        raise SetupError("use models:/NAME@ALIAS or models:/NAME/VERSION")
    server = settings.mlflow_tracking_uri.rstrip("/")
    if not server:
        raise SetupError("set MLFLOW_TRACKING_URI to the URL of the MLflow server")
    name, alias, number, file = named.groups()
    from keras_to_lambda.runtime.sources import fetch

    # The guard against private addresses and the lists of hosts and ports are those of images.
    limits = replace(settings, max_image_bytes=MAX_BYTES)

    def get(what: str, route: str, **query: str) -> bytes:
        text = "&".join(f"{key}={quote(value, safe='')}" for key, value in query.items())
        try:
            return fetch.fetch(f"{server}/{route}?{text}", limits, deadline, _authorization())
        except FetchFailed as error:
            raise SetupError(f"{what} at {server}: {error.facts['reason']}") from error

    if alias:
        route = "api/2.0/mlflow/registered-models/alias"
        answer = get(f"version {alias} of {name}", route, name=name, alias=alias)
    else:
        route = "api/2.0/mlflow/model-versions/get"
        answer = get(f"version {number} of {name}", route, name=name, version=number)
    try:
        version = json.loads(answer)["model_version"]
        number = str(version["version"])
        tags = {str(tag["key"]): str(tag["value"]) for tag in version.get("tags", ())}
    except (ValueError, KeyError, TypeError) as error:
        raise SetupError(f"{server} does not answer as MLflow") from error
    expected = settings.model_sha256 or tags.get("sha256", "").lower()
    if not expected:
        raise SetupError(
            f"version {number} has no tag sha256; set it to the SHA-256 of the .tflite, or set "
            "MODEL_SHA256"
        )

    def chunks() -> Iterator[bytes]:
        route, path = "model-versions/get-artifact", file or f"{name}.tflite"
        yield get(f"{path} of version {number}", route, name=name, version=number, path=path)

    yield expected, chunks()


def _authorization() -> str:
    """As MLflow's own clients: https://mlflow.org/docs/latest/self-hosting/security/basic-http-auth/."""
    if token := os.environ.get("MLFLOW_TRACKING_TOKEN"):
        return f"Bearer {token}"
    if user := os.environ.get("MLFLOW_TRACKING_USERNAME"):
        password = os.environ.get("MLFLOW_TRACKING_PASSWORD", "")
        return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"
    return ""


def _folder() -> str:
    """A folder that no other user of this machine can have put a model into."""
    folder = f"{tempfile.gettempdir()}/keras-to-lambda-{os.getuid()}"
    os.makedirs(folder, mode=0o700, exist_ok=True)  # noqa: PTH103
    found = os.lstat(folder)
    if found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise SetupError(f"{folder} belongs to, or is writable by, another user; remove it")
    return folder


def _digest(path: str) -> str | None:
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return None
