"""Ten thousand requests in one process: memory, file descriptors and threads stay where they were.

    make soak

Good and bad ones, by body, by URL from a host that misbehaves, lists and forms, by the real
handler. Memory is looked at after each tenth. It may grow while caches fill; from the third tenth
on it must not, by more than ALLOWED_MB in all. The exit status is 1 if it does.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import gc
import json
import os
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from keras_to_lambda.runtime.common.errors import ClassifierError
from keras_to_lambda.runtime.common.settings import Settings
from keras_to_lambda.runtime.handler import Handler
from tests.http_host import HttpHost, Quiet

ROOT = Path(__file__).resolve().parents[2]
ALLOWED_MB = 4.0


class Host(Quiet):
    """A host that gives a photo, half of it, nothing, or a redirect to itself."""

    photo = (ROOT / "samples" / "t-shirt.jpg").read_bytes()

    def do_GET(self) -> None:  # http.server's name
        if self.path == "/loop":
            self.send_response(302)
            self.send_header("Location", "/loop")
            self.end_headers()
            return
        self.send_response(404 if self.path == "/missing" else 200)
        self.send_header("Content-Length", str(len(self.photo)))
        self.end_headers()
        half = len(self.photo) // 2 if self.path == "/half" else len(self.photo)
        self.wfile.write(self.photo[:half])


PART = b"--b\r\nContent-Disposition: form-data; name="
FORM = "multipart/form-data; boundary=b"


def http(path: str, body: bytes = b"", kind: str = FORM, method: str = "POST") -> dict[str, Any]:
    """An HTTP API's event."""
    return {
        "rawPath": path,
        "headers": {"content-type": kind},
        "requestContext": {"http": {"method": method, "path": path}},
        "body": base64.b64encode(body).decode(),
        "isBase64Encoded": True,
    }


def kinds(host: str) -> list[Any]:
    """One event of each kind."""
    photo = base64.b64encode(Host.photo).decode()
    form = b'%s"f"; filename="a"\r\n\r\n%s\r\n--b--\r\n' % (PART, Host.photo)
    return [
        {"image": photo},
        {"url": f"http://{host}/photo"},
        {"images": [f"http://{host}/photo", {"image": photo}, f"http://{host}/missing"]},
        *(http(path, form) for path in ("/predict", "/tensor")),
        {"url": f"http://{host}/missing"},
        {"url": f"http://{host}/half"},
        {"url": f"http://{host}/loop"},
        {"url": "http://169.254.169.254/latest/"},
        {"image": photo[: len(photo) // 2 // 4 * 4]},
        {"image": "!"},
        *(http(path, method="GET") for path in ("/models", "/", "/samples")),
        None,
    ]


def held(pid: int | str = "self") -> tuple[float, int]:
    """Resident MB of a process, and its open files and sockets."""
    pages = int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6, len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208


def answered(host: str, count: int) -> list[tuple[float, int, int]]:
    """Have so many requests answered; MB, descriptors and threads after each tenth."""
    handler = Handler(
        Settings(num_threads=2, log_level="FATAL", fetch_private_hosts=frozenset({host}))
    )
    events = kinds(host)
    rows = []
    print("requests   MB resident   descriptors   threads")
    for number in range(1, count + 1):
        with contextlib.suppress(ClassifierError):
            json.dumps(handler.handle(events[number % len(events)]))
        if number % max(1, count // 10) == 0:
            gc.collect()
            rows.append((*held(), threading.active_count()))
            mb, files, threads = rows[-1]
            print(f"{number:8,}   {mb:11.1f}   {files:11}   {threads:7}", flush=True)
    return rows


def main(argv: Sequence[str] | None = None) -> int:
    """Send the requests and print a row for each tenth."""
    p = argparse.ArgumentParser(prog="python -m tests.endurance.soak", description=__doc__)
    p.add_argument("--requests", type=int, default=10_000, help="default: %(default)s")
    args = p.parse_args(argv)
    if not Path("/proc/self/statm").exists():
        print("soak: skipped: /proc is needed, which only Linux has")
        return 0
    with HttpHost(Host) as server:
        rows = answered(server.address, args.requests)
    # The least of three: what a thread holds for a moment is no leak, and a leak is in all of them.
    grown = min(row[0] for row in rows[-3:]) - min(row[0] for row in rows[2:5])
    # The server's own threads come and go: a few descriptors are theirs.
    more, threads = (rows[-1][at] - rows[2][at] for at in (1, 2))
    print(f"from the third tenth to the last: {grown:+.1f} MB, {more:+} descriptors")
    if grown > ALLOWED_MB or more > 5 or threads > 5:
        print(f"soak: FAILED: at most {ALLOWED_MB} MB, 5 descriptors and 5 threads are allowed")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
