"""MODEL_PATH=s3://... and models:/...: a real S3 server (moto's), and a stand-in for MLflow's.

The stand-in has the two routes that are used. It does not prove that an MLflow server has them, nor
what such a server answers to a name, an alias or a token that it does not know.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import resource
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import ClassVar
from urllib.parse import parse_qs, urlsplit

import pytest

from keras_to_lambda.runtime.common.deadline import Deadline
from keras_to_lambda.runtime.common.errors import DeadlineExceeded, SetupError
from keras_to_lambda.runtime.common.settings import MODELS, Settings
from keras_to_lambda.runtime.model import remote_model
from keras_to_lambda.runtime.model.registry import Models
from tests.http_host import HttpHost, Quiet

DIGITS = Path(MODELS, "digits", "digits.tflite").read_bytes()
CLOTHING = Path(MODELS, "clothing", "clothing.tflite").read_bytes()
HTML = b"<html>"
SHA256 = hashlib.sha256(DIGITS).hexdigest()
PATH = "s3://models/digits.tflite"
LIVE = "models:/digits@live"


@pytest.fixture(autouse=True)
def own_tmp(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@pytest.fixture
def upload(s3):
    """Put an object into the bucket `models`."""
    s3.client.create_bucket(Bucket="models")

    def put(body=DIGITS, key="digits.tflite", **options):
        s3.client.put_object(Bucket="models", Key=key, Body=body, **options)

    return put


def start(path=PATH, **environ):
    """The path of the model that a cold start with these settings serves."""
    environ = {"S3_ALLOWED_BUCKETS": "models", "FETCH_TIMEOUT_S": "60", **environ}
    return remote_model.local(Settings.from_environ({"MODEL_PATH": path, **environ}))


def metadata(body):
    return {"sha256": hashlib.sha256(body).hexdigest()}


def test_a_second_start_downloads_nothing_until_the_object_changes(upload):
    upload(ChecksumAlgorithm="SHA256")  # which is enough
    environ = {"MODEL_PATH": PATH, "S3_ALLOWED_BUCKETS": "models", "FETCH_TIMEOUT_S": "60"}
    assert Models(Settings.from_environ(environ)).default == "digits"
    first = Path(start()).stat()
    assert Path(start()).read_bytes() == DIGITS
    assert Path(start()).stat().st_ino == first.st_ino
    upload(CLOTHING, Metadata=metadata(CLOTHING))
    assert Path(start()).read_bytes() == CLOTHING


@pytest.mark.parametrize(
    ("path", "object_", "environ", "reason"),
    [
        (PATH, {}, {"S3_ALLOWED_BUCKETS": ""}, "add models to S3_ALLOWED_BUCKETS"),
        ("s3://models", {}, {}, "use s3://BUCKET/KEY.tflite"),
        ("s3://models/x.tflite", {}, {}, "NoSuchKey"),
        (PATH, {}, {}, "the object has no SHA-256"),
        (PATH, {"Metadata": {"sha256": "a" * 64}}, {}, f"SHA-256 is {SHA256}, expected aaa"),
        (PATH, {"Body": HTML, "Metadata": metadata(HTML)}, {}, "is not a .tflite model"),
        (PATH, {"Metadata": metadata(DIGITS)}, {"MODEL_SHA256": "b" * 64}, "expected bbb"),
    ],
)
def test_a_model_that_cannot_be_proven_is_refused(upload, path, object_, environ, reason):
    upload(object_.get("Body", DIGITS), Metadata=object_.get("Metadata", {}))
    with pytest.raises(SetupError) as error:
        start(path, **environ)
    assert str(error.value).startswith(f"MODEL_PATH={path}: ")
    assert reason in str(error.value)
    assert not list(Path(remote_model._folder()).iterdir())


@pytest.mark.parametrize("fault", ["gone", "altered", "no model"])
def test_the_model_of_an_earlier_start_is_kept(fault, upload, s3, capsys):
    upload(Metadata=metadata(DIGITS))
    start()
    if fault == "gone":
        s3.client.delete_object(Bucket="models", Key="digits.tflite")
    elif fault == "altered":
        upload(CLOTHING, Metadata=metadata(DIGITS[:-1]))
    else:
        upload(HTML, Metadata=metadata(HTML))
    assert Path(start()).read_bytes() == DIGITS
    line = json.loads(capsys.readouterr().out)
    assert (line["level"], line["outcome"]) == ("ERROR", "model_not_renewed")
    assert line["sha256"] == SHA256
    with pytest.raises(SetupError, match=f"MODEL_PATH={PATH}: "):
        start(MODEL_SHA256="c" * 64)  # another model is not an older one of the same


def test_a_pinned_model_that_is_here_needs_no_network_but_right_settings(upload, s3):
    upload()
    path = start(MODEL_SHA256=SHA256.upper())
    s3.client.delete_object(Bucket="models", Key="digits.tflite")
    assert start(MODEL_SHA256=SHA256) == path
    for pinned in ({}, {"MODEL_SHA256": SHA256}):
        with pytest.raises(SetupError, match="add models to S3_ALLOWED_BUCKETS"):
            start(S3_ALLOWED_BUCKETS="photos", **pinned)
    Path(path).parent.chmod(0o777)
    with pytest.raises(SetupError, match="writable by, another user; remove it"):
        start(MODEL_SHA256=SHA256)


def test_what_a_killed_start_left_is_replaced_and_starts_do_not_disturb_each_other(upload):
    upload(Metadata=metadata(DIGITS))
    part = Path(start() + ".part")
    part.with_suffix("").unlink()
    part.write_bytes(b"half")
    with ThreadPoolExecutor() as pool:
        assert {Path(path).read_bytes() for path in pool.map(lambda _: start(), range(4))} == {
            DIGITS
        }
    assert not part.exists()


def test_a_download_that_hangs_holds_up_no_other(upload):
    upload(Metadata=metadata(DIGITS))
    path = Path(start())
    path.unlink()
    begun, ended = Event(), Event()

    def chunks():
        begun.set()
        yield DIGITS[:9]
        ended.wait(60)
        yield DIGITS[9:]

    hung = contextlib.nullcontext((SHA256, chunks()))
    with ThreadPoolExecutor() as pool:
        renewal = pool.submit(remote_model._renew, str(path), lambda _: hung, Deadline(60))
        assert begun.wait(60)
        try:
            assert Path(start()).read_bytes() == DIGITS
        finally:
            ended.set()
        renewal.result()
    assert [each.name for each in path.parent.iterdir()] == [path.name]
    assert path.read_bytes() == DIGITS


@pytest.mark.parametrize(
    ("kind", "seconds"), [("on-demand", 7), ("provisioned-concurrency", 60), ("", 60)]
)
def test_a_download_is_given_up_before_lambda_ends_the_start(kind, seconds, upload, monkeypatch):
    given = []

    class Recorded(Deadline):
        def __init__(self, seconds):
            given.append(seconds)
            super().__init__(60)

    upload(Metadata=metadata(DIGITS))
    monkeypatch.setattr(remote_model, "Deadline", Recorded)
    monkeypatch.setenv("AWS_LAMBDA_INITIALIZATION_TYPE", kind)
    start()
    assert given == [seconds]


def test_a_download_that_was_given_up_replaces_nothing(upload, tmp_path, monkeypatch):
    upload(Metadata=metadata(DIGITS))
    now = [0.0]
    monkeypatch.setattr(remote_model.cards, "load", lambda _: now.append(2.0))
    settings = Settings.from_environ({"MODEL_PATH": PATH, "S3_ALLOWED_BUCKETS": "models"})
    opened = remote_model._in_s3(settings)
    with pytest.raises(DeadlineExceeded):
        remote_model._renew(f"{tmp_path}/a.tflite", opened, Deadline(1, lambda: now[-1]))
    assert not list(tmp_path.iterdir())


def test_a_disk_that_takes_no_more_is_named(upload):
    upload(Metadata=metadata(DIGITS))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(SetupError, match=r"cannot write to .*: File too large$"):
            start()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(Path(remote_model._folder()).iterdir())


class Registry(Quiet):
    """MLflow's routes for the model `digits`, whose version 3 has the alias `live`."""

    seen: ClassVar[list[tuple[str, str | None]]] = []
    tags: ClassVar[dict[str, str]] = {}
    announced: ClassVar[dict[str, str]] = {}
    elsewhere = ""

    def do_GET(self):
        url = urlsplit(self.path)
        query = {key: value[0] for key, value in parse_qs(url.query).items()}
        self.seen.append((url.path, self.headers.get("Authorization")))
        alias = ("/api/2.0/mlflow/registered-models/alias", {"name": "digits", "alias": "live"})
        file = {"name": "digits", "version": "3", "path": "digits.tflite"}
        if (url.path, query) == alias:
            tags = [{"key": key, "value": value} for key, value in self.tags.items()]
            version = {"name": "digits", "version": "3", "tags": tags}
            self.reply(200, json.dumps({"model_version": version}).encode())
        elif (url.path, query) == ("/model-versions/get-artifact", file):
            if self.elsewhere:
                self.reply(302, b"", {"Location": f"http://{self.elsewhere}/file"})
            else:
                self.reply(200, DIGITS, self.announced)
        else:
            self.reply(200, DIGITS) if url.path == "/file" else self.reply(404, b"{}")


@pytest.fixture
def registry():
    """A class of handlers, and host:port of a server of it."""
    kind = type("OneRegistry", (Registry,), {"seen": [], "tags": {"sha256": SHA256}})
    with HttpHost(kind) as server:
        yield kind, server.address


def from_registry(host, path=LIVE, **environ):
    reached = {"MLFLOW_TRACKING_URI": f"http://{host}", "FETCH_PRIVATE_HOSTS": host}
    return start(path, **{**reached, **environ})


def test_a_registered_model_is_served_and_downloaded_once(registry):
    kind, host = registry
    for _ in range(2):
        assert Path(from_registry(host)).read_bytes() == DIGITS
    assert [route for route, _ in kind.seen].count("/model-versions/get-artifact") == 1


@pytest.mark.parametrize(
    ("path", "environ", "tags", "reason"),
    [
        ("models:/digits", {}, {}, "use models:/NAME@ALIAS"),
        (LIVE, {"MLFLOW_TRACKING_URI": ""}, {}, "set MLFLOW_TRACKING_URI"),
        (LIVE, {"FETCH_PRIVATE_HOSTS": ""}, {}, "version live of digits at http://"),
        ("models:/digits@old", {}, {}, "version old of digits at http://"),
        ("models:/digits/3", {}, {}, "use models:/NAME@ALIAS"),
        (LIVE, {}, {}, "version 3 has no tag sha256"),
        (LIVE, {}, {"sha256": "d" * 64}, f"SHA-256 is {SHA256}, expected ddd"),
    ],
)
def test_a_version_that_cannot_be_proven_is_refused(registry, path, environ, tags, reason):
    kind, host = registry
    kind.tags = tags
    with pytest.raises(SetupError) as error:
        from_registry(host, path, **environ)
    assert str(error.value).startswith(f"MODEL_PATH={path}: {reason}")


def test_a_model_of_another_server_is_not_an_older_one_of_the_same(registry):
    _, host = registry
    from_registry(host)
    with pytest.raises(SetupError, match=r"version live of digits at http://127\.0\.0\.1:1"):
        from_registry("127.0.0.1:1")


def test_a_file_that_memory_may_not_hold_is_not_downloaded(registry):
    kind, host = registry
    kind.announced = {"Content-Length": "100000001"}
    with pytest.raises(SetupError, match="larger than 100,000,000 bytes"):
        from_registry(host)


@pytest.mark.parametrize(
    ("environ", "header"),
    [
        ({"MLFLOW_TRACKING_TOKEN": "abc"}, "Bearer abc"),
        ({"MLFLOW_TRACKING_USERNAME": "me", "MLFLOW_TRACKING_PASSWORD": "x:y"}, "Basic bWU6eDp5"),
        ({}, None),
    ],
)
def test_credentials_go_to_the_registry_and_no_further(registry, environ, header, monkeypatch):
    kind, host = registry
    other = type("Storage", (Registry,), {"seen": []})
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    with HttpHost(other) as storage:
        kind.elsewhere = storage.address
        from_registry(host, FETCH_PRIVATE_HOSTS=f"{host},{kind.elsewhere}")
    assert {sent for _, sent in kind.seen} == {header}
    assert other.seen == [("/file", None)]
