"""The real handler and model; pictures made here; a loopback host that misbehaves on request."""

from __future__ import annotations

import contextlib
import gzip
import json
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib
from pathlib import Path
from typing import ClassVar
from urllib.parse import parse_qs

import numpy as np
import pytest
from PIL import Image

from keras_to_lambda.runtime.common.settings import Settings
from keras_to_lambda.runtime.handler import Handler
from tests.http_host import HttpHost, Quiet
from tests.runtime.made import encoded


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch):
    for name in Settings.__dataclass_fields__:
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture(scope="session")
def picture():
    noise = np.random.default_rng(7).integers(0, 255, (12, 9, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((180, 240), Image.Resampling.BICUBIC)


@pytest.fixture(scope="session")
def jpeg(picture):
    return encoded(picture)


PACKERS = {
    "plain": bytes,
    "gzip": gzip.compress,
    "gzip-members": lambda data: gzip.compress(data[:99]) + gzip.compress(data[99:]) + b"\0" * 9,
    "gzip-twice": lambda data: gzip.compress(gzip.compress(data)),
    "gzip-cut": lambda data: gzip.compress(data)[:-99],
    "zlib": zlib.compress,
    "zlib-cut": lambda data: zlib.compress(data)[:-99],
    "raw-deflate": lambda data: zlib.compress(data, wbits=-zlib.MAX_WBITS),
}


def canned(jpeg):
    """Status, body and headers of the paths that are answered at once."""
    redirects = {
        # send_header writes Latin-1: UTF-8's own bytes come through it unchanged.
        "to-cyrillic": "/\u0444\u043e\u0442\u043e 1".encode().decode("latin-1"),
        "loop": "/loop",
        "moved": "/photo",
        "to-file": "file:///etc/passwd",
        "to-nonsense": "http://[::1",
        "to-private": "http://169.254.169.254/latest/meta-data/",
    }
    documents = {
        "html": b"<!DOCTYPE html><title>a page</title>",
        "json": b'{"Code": "Success"}',
        "pdf": b"%PDF-1.7",
        "cut": jpeg[: len(jpeg) // 2],
        "pixels": encoded(Image.new("1", (10_000, 10_000)), "PNG"),
    }
    return {
        "%D1%84%D0%BE%D1%82%D0%BE%201": (200, jpeg, {}),
        "transformed": (203, jpeg, {}),
        "missing": (404, b"secret of the far host", {}),
        "short-body": (200, jpeg[:100], {"Content-Length": str(len(jpeg))}),
        "announced-large": (200, b"", {"Content-Length": str(10**12)}),
        "gzip-bomb": (200, gzip.compress(bytes(50_000_000)), {"Content-Encoding": "gzip"}),
        **{name: (302, b"", {"Location": url}) for name, url in redirects.items()},
        **{
            f"document?kind={kind}": (200, body, {"Content-Type": "image/jpeg"})
            for kind, body in documents.items()
        },
    }


class Faults(Quiet):
    """Each path is one way of misbehaving."""

    protocol_version = "HTTP/1.1"
    jpeg = b""
    canned: ClassVar[dict[str, tuple]] = {}
    counts: ClassVar[dict[str, bool]] = {}
    eight = threading.Barrier(8)
    session_ended = threading.Event()

    def do_GET(self):
        self.close_connection = True
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            name, _, query = self.path.strip("/").partition("?")
            path = self.path.strip("/")
            if answer := self.canned.get(path) or self.canned.get(name):
                self.reply(*answer)
            else:
                given = {key: value[0] for key, value in parse_qs(query).items()}
                getattr(self, "do_" + name.replace("-", "_"))(**given)

    def do_photo(self, **_):
        assert self.headers["Accept-Encoding"] == "identity"
        assert self.headers["Accept"] == "*/*"
        assert "Cookie" not in self.headers
        self.reply(200, self.jpeg)

    def do_photo_of_eight(self):
        """The photo, once eight requests for it are here."""
        self.eight.wait(60)
        self.reply(200, self.jpeg)

    def do_flaky(self, asked):
        """Refuses each query once, and then has it."""
        first = asked not in self.counts
        self.counts[asked] = True
        self.reply(503, b"") if first else self.reply(200, self.jpeg)

    def do_endless(self):
        self.send_response(200)
        self.end_headers()
        for _ in range(4000):
            self.wfile.write(b"\xff" * 65536)

    def do_coded(self, how, header=""):
        """The photo packed as `how` says, under the Content-Encoding that `header` says."""
        self.reply(200, PACKERS[how](self.jpeg), {"Content-Encoding": header})

    def do_tiny_chunks(self):
        """The photo in chunks of two bytes, with an extension each (RFC 9112, 7.1)."""
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        pairs = [self.jpeg[i : i + 2] for i in range(0, len(self.jpeg), 2)]
        self.wfile.write(b"".join(b"%x;x=y\r\n%b\r\n" % (len(pair), pair) for pair in pairs))
        self.wfile.write(b"0\r\n\r\n")

    def do_hints(self, n):
        """As many interim responses as the query says, then the photo."""
        for _ in range(int(n)):
            self.wfile.write(b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n")
        self.reply(200, self.jpeg)

    def do_agent(self):
        assert self.headers["User-Agent"] == "shop (images@shop.example)"
        self.reply(200, self.jpeg)

    def do_stall(self):
        self.session_ended.wait(600)

    def do_drip(self, head=b"HTTP/1.1 200 OK\r\n\r\n", drop=b"\xff"):
        self.wfile.write(head)
        while not self.session_ended.wait(0.05):
            self.wfile.write(drop)
            self.wfile.flush()

    def do_drip_headers(self):
        self.do_drip(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n")

    def do_hops(self, left):
        """Redirect as many times as the query says, then give the photo."""
        if int(left):
            self.reply(302, b"", {"Location": f"/hops?left={int(left) - 1}"})
        else:
            self.reply(200, self.jpeg)

    def do_reset(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.jpeg)))
        self.end_headers()
        self.wfile.write(self.jpeg[:100])
        self.wfile.flush()
        # Closed with nothing lingering, a connection ends in RST.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def do_nonsense(self):
        self.wfile.write(b"this is not HTTP\r\n\r\n")


@pytest.fixture(scope="session")
def far_host(jpeg):
    """host:port of the misbehaving server."""
    handler = type("WithPhoto", (Faults,), {"jpeg": jpeg, "canned": canned(jpeg)})
    with HttpHost(handler) as server:
        yield server.address
        Faults.session_ended.set()


@pytest.fixture(scope="session")
def settings(far_host):
    return Settings(
        num_threads=1,
        fetch_private_hosts=frozenset({far_host}),
        fetch_timeout_s=60.0,
        max_image_bytes=2_000_000,
        log_level="FATAL",
    )


@pytest.fixture(scope="session")
def handler(settings):
    return Handler(settings)


class Buckets:
    """A client of the S3 server, and what the function wrote there."""

    def __init__(self, client, url):
        self.client, self.url = client, url

    def kept(self):
        """The lines of every object in the bucket for answers, by object key."""
        lines = []
        for entry in self.client.list_objects_v2(Bucket="answers").get("Contents", []):
            body = self.client.get_object(Bucket="answers", Key=entry["Key"])["Body"].read()
            assert entry["Key"].startswith("out/")
            lines += [json.loads(line) for line in body.decode().splitlines()]
        return sorted(lines, key=json.dumps)


@pytest.fixture(scope="session")
def s3_server():
    """URL of a real S3 server over HTTP on loopback: moto's, in a process of its own."""
    pytest.importorskip("moto", reason="moto is not in this environment (tflite-runtime's)")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        for _ in range(200):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
        server.terminate()


AWS_ENVIRON = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "us-east-1",
}


@pytest.fixture(scope="session")
def s3_client(s3_server):
    import boto3

    with pytest.MonkeyPatch.context() as patch:
        for name, value in AWS_ENVIRON.items():
            patch.setenv(name, value)
        return boto3.client("s3", endpoint_url=s3_server)


@pytest.fixture
def s3(s3_server, s3_client, monkeypatch):
    """S3 with a photo and a text in the bucket `photos`, and an empty bucket `answers`."""
    import requests

    from keras_to_lambda.runtime.sources import s3 as storage

    for name, value in {"AWS_ENDPOINT_URL_S3": s3_server, **AWS_ENVIRON}.items():
        monkeypatch.setenv(name, value)
    storage._client.cache_clear()
    requests.post(f"{s3_server}/moto-api/reset", timeout=60)
    client = s3_client
    for bucket in ("photos", "answers"):
        client.create_bucket(Bucket=bucket)
    shirt = Path(__file__).parent.parent.parent / "samples" / "t-shirt.jpg"
    client.put_object(Bucket="photos", Key="in/t shirt+1.jpg", Body=shirt.read_bytes())
    client.put_object(Bucket="photos", Key="in/no image.txt", Body=b"hello")
    yield Buckets(client, s3_server)
    storage._client.cache_clear()
