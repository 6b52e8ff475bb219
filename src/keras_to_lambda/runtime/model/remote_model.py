"""A model that MODEL_PATH names in S3 or in MLflow's registry, downloaded to /tmp at a cold start.

    s3://BUCKET/KEY.tflite   the object
    models:/NAME@ALIAS       NAME.tflite of that version, at MLFLOW_TRACKING_URI

Imported for such a MODEL_PATH alone.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from urllib.parse import quote

from keras_to_lambda.runtime.common.deadline import Deadline
from keras_to_lambda.runtime.common.errors import (
    ClassifierError,
    DeadlineExceeded,
    FetchFailed,
    ImageTooLarge,
    SetupError,
)
from keras_to_lambda.runtime.common.log import log
from keras_to_lambda.runtime.common.settings import Settings
from keras_to_lambda.runtime.model_file import card as cards

S3 = "s3://"
MAX_BYTES = 240_000_000  # an old file and a new one: Lambda's /tmp holds 512 MB
REGISTRY_MAX_BYTES = 100_000_000  # a download over HTTP is in memory, twice for a moment
INIT_S = 7.0  # Lambda ends an on-demand start after 10 s
VERSION = re.compile(r"models:/([^/@]+)@([^/@]+)")
# By a deadline: the expected SHA-256 of a model, and its bytes.
Opened = Callable[[Deadline], AbstractContextManager[tuple[str, Iterator[bytes]]]]


def local(settings: Settings) -> str:
    """The model as a file of this machine.

    A file of an earlier start is used without a download if its hash is the expected one, and also
    if the source fails: an old model answers better than none.

    Raises SetupError: a setting is wrong; or there is no such model, it cannot be read, or its
    SHA-256 is not the expected one, and no earlier start has left one here.
    """
    source, seconds = settings.model_path, settings.fetch_timeout_s
    if os.environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") == "on-demand":
        seconds = min(seconds, INIT_S)
    try:
        # A wrong setting is an error even where a model of an earlier start is here.
        opened = (_in_s3 if source.startswith(S3) else _in_registry)(settings)
    except SetupError as error:
        raise SetupError(f"MODEL_PATH={source}: {error}") from error
    # Servers may have different models of one name.
    name = hashlib.sha256(f"{settings.mlflow_tracking_uri} {source}".encode()).hexdigest()
    path = f"{_folder()}/{name[:16]}.tflite"
    before = _digest(path)
    if settings.model_sha256 and before == settings.model_sha256:
        return path
    try:
        # botocore's time-outs restart with every try.
        deadline = Deadline(seconds)
        deadline.call("the download", _renew, path, opened, deadline)
    except (SetupError, ClassifierError, OSError) as error:
        reason = f"{source}: {_reason(error, seconds)}"
        if before is None or settings.model_sha256:
            raise SetupError(f"MODEL_PATH={reason}") from error
        reason += "; the model of an earlier start is served"
        log(settings, "ERROR", outcome="model_not_renewed", reason=reason, sha256=before)
    return path


def _reason(error: Exception, seconds: float) -> str:
    if isinstance(error, DeadlineExceeded):
        return (
            f"not downloaded within {seconds:g} seconds (FETCH_TIMEOUT_S; at most {INIT_S:g} "
            "in an on-demand start of Lambda)"
        )
    if isinstance(error, ImageTooLarge):
        return f"larger than {REGISTRY_MAX_BYTES:,} bytes"
    return str(error.facts.get("reason", error) if isinstance(error, ClassifierError) else error)


def _renew(path: str, opened: Opened, deadline: Deadline) -> None:
    """Replace the file at `path`, unless its hash is the expected one."""
    with _part(path) as part, opened(deadline) as (expected, chunks):
        if expected == _digest(path):
            return
        digest = _written(part, chunks, deadline)
        if digest != expected:
            raise SetupError(f"SHA-256 is {digest}, expected {expected}")
        try:
            cards.load(part)
        except SetupError as error:
            raise SetupError(str(error).replace(part, "the download")) from error
        deadline.remaining_s("the download")  # else it was given up: another model is served
        os.replace(part, path)  # noqa: PTH105  # whole, or not at all


@contextlib.contextmanager
def _part(path: str) -> Iterator[str]:
    """The name of a download: always the same, so that what a killed start left is replaced.

    While another download runs, a name of its own: that one may hang, or have been given up.
    """
    part = path + ".part"
    lock = os.open(os.path.dirname(path), os.O_RDONLY)  # noqa: PTH120
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # free after its holder was killed
        except BlockingIOError:
            part = f"{path}.{os.urandom(8).hex()}"
        yield part
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(part)  # noqa: PTH108
        os.close(lock)


def _written(path: str, chunks: Iterator[bytes], deadline: Deadline) -> str:
    """Write a file; its SHA-256."""
    digest = hashlib.sha256()
    with _writing(path):
        file = open(path, "wb", buffering=0)  # noqa: PTH123, SIM115
    with file:
        for chunk in chunks:
            deadline.remaining_s("downloading the model")
            digest.update(chunk)
            left = memoryview(chunk)
            while left:
                with _writing(path):
                    left = left[file.write(left) :]
    return digest.hexdigest()


@contextlib.contextmanager
def _writing(path: str) -> Iterator[None]:
    """A fault of the disk, which a reader's own handling of OSError would take for the source's."""
    try:
        yield
    except OSError as error:
        raise SetupError(f"cannot write to {path}: {error.strerror}") from error


def _in_s3(settings: Settings) -> Opened:
    """The object that MODEL_PATH names. Raises SetupError: MODEL_PATH is wrong."""
    bucket, slash, key = settings.model_path.removeprefix(S3).partition("/")
    if not (bucket and slash and key):
        raise SetupError("use s3://BUCKET/KEY.tflite")
    if bucket not in settings.s3_allowed_buckets:
        raise SetupError(f"add {bucket} to S3_ALLOWED_BUCKETS")

    @contextlib.contextmanager
    def opened(_deadline: Deadline) -> Iterator[tuple[str, Iterator[bytes]]]:
        from keras_to_lambda.runtime.sources import s3

        with s3.opened(bucket, key, settings) as answer:
            if answer["ContentLength"] > MAX_BYTES:
                raise SetupError(f"larger than {MAX_BYTES:,} bytes")
            expected = settings.model_sha256 or answer["Metadata"].get("sha256", "").lower()
            checksum = answer.get("ChecksumSHA256", "")
            if not expected and checksum and "-" not in checksum:  # else a hash of parts' hashes
                expected = base64.b64decode(checksum).hex()
            if not expected:
                raise SetupError(
                    "the object has no SHA-256; upload it with --metadata sha256=HEX, or set "
                    "MODEL_SHA256"
                )
            yield expected, answer["Body"].iter_chunks(1 << 20)

    return opened


def _in_registry(settings: Settings) -> Opened:
    """The version of a registered model that MODEL_PATH names.

    Raises SetupError: MODEL_PATH or MLFLOW_TRACKING_URI is wrong.
    """
    named = VERSION.fullmatch(settings.model_path)
    if named is None:
        raise SetupError("use models:/NAME@ALIAS")
    if not settings.mlflow_tracking_uri.startswith(("http://", "https://")):
        raise SetupError("set MLFLOW_TRACKING_URI to the URL of the MLflow server")
    name, alias = named.groups()
    server = settings.mlflow_tracking_uri.rstrip("/")
    # The guard against private addresses and the lists of hosts and ports are those of images.
    limits = replace(settings, max_image_bytes=REGISTRY_MAX_BYTES)

    @contextlib.contextmanager
    def opened(deadline: Deadline) -> Iterator[tuple[str, Iterator[bytes]]]:
        from keras_to_lambda.runtime.sources import fetch

        def get(what: str, route: str, **query: str) -> bytes:
            text = "&".join(f"{key}={quote(value, safe='')}" for key, value in query.items())
            try:
                return fetch.fetch(f"{server}/{route}?{text}", limits, deadline, _authorization())
            except FetchFailed as error:
                raise SetupError(f"{what} at {server}: {error.facts['reason']}") from error

        route = "api/2.0/mlflow/registered-models/alias"
        answer = get(f"version {alias} of {name}", route, name=name, alias=alias)
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
            route, path = "model-versions/get-artifact", f"{name}.tflite"
            yield get(f"{path} of version {number}", route, name=name, version=number, path=path)

        yield expected, chunks()

    return opened


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
