"""Settings: the environment variables that the function reads, once, at start.

They hold limits, time-outs, hosts and paths. How an image becomes a tensor is never a setting: that
is in the model's card, so that no environment can alter what a model answers.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from classifier.errors import SetupError

# A Lambda function gets one vCPU for each 1,769 MB of memory
# (https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html).
MB_PER_VCPU = 1769

DEFAULT_MODEL = Path(__file__).resolve().parent.parent / "models" / "clothing" / "clothing.tflite"


def vcpus(environ: Mapping[str, str]) -> int:
    """The processors that this process may really use, at least 1.

    Lambda shows two processors to a function that is given a fraction of one; more threads than
    the share then only take turns.
    """
    sched = getattr(os, "sched_getaffinity", None)
    seen = len(sched(0)) if sched else (os.cpu_count() or 1)
    memory_mb = environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "")
    if memory_mb.isdecimal():
        return max(1, min(seen, math.floor(int(memory_mb) / MB_PER_VCPU)))
    return seen


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError("must be 1 or more")
    return number


def _seconds(text: str) -> float:
    number = float(text)
    if not 0 < number < 900:  # the longest a function may run
        raise ValueError("must be more than 0 and less than 900 seconds")
    return number


def _names(text: str) -> frozenset[str]:
    return frozenset(part.strip().lower() for part in text.split(",") if part.strip())


def _host_ports(text: str) -> frozenset[str]:
    names = _names(text)
    for name in names:
        host, colon, port = name.rpartition(":")
        if not (host and colon and port.isdecimal() and 0 < int(port) < 65536):
            raise ValueError(f"{name!r} is not host:port")
    return names


def _level(text: str) -> str:
    if text.upper() not in {"INFO", "ERROR", "FATAL"}:
        raise ValueError("must be INFO, ERROR or FATAL")
    return text.upper()


def _setting(read: Callable[[str], Any], default: Any, help: str) -> Any:
    return field(default=default, metadata={"read": read, "help": help})


@dataclass(frozen=True, slots=True)
class Settings:
    """One attribute for each environment variable, its name in lower case."""

    model_path: Path = _setting(Path, DEFAULT_MODEL, "the `.tflite` file to serve")
    num_threads: int = _setting(
        _count, None, "interpreter threads; default: the vCPUs the function really has"
    )
    max_image_bytes: int = _setting(
        _count, 20_000_000, "largest image, in bytes as downloaded or decoded from base64"
    )
    max_image_pixels: int = _setting(
        _count, 50_000_000, "largest image, in pixels (width x height), checked before decoding"
    )
    max_images: int = _setting(_count, 16, "most images in one request")
    fetch_timeout_s: float = _setting(
        _seconds, 10.0, "total seconds for one download: name look-up, redirects and body"
    )
    fetch_allowed_hosts: frozenset[str] = _setting(
        _names, frozenset(), "when set, comma-separated host names; only these are fetched"
    )
    fetch_private_hosts: frozenset[str] = _setting(
        _host_ports,
        frozenset(),
        "comma-separated host:port pairs that may be fetched although they are not public",
    )
    cors_origin: str = _setting(str, "*", "the `Access-Control-Allow-Origin` of every HTTP answer")
    log_level: str = _setting(
        _level, "INFO", "`INFO`: a line for each request; `ERROR`; `FATAL`: nothing"
    )

    @classmethod
    def from_environ(cls, environ: Mapping[str, str] = os.environ) -> Settings:
        """Read every variable; an unset or empty one keeps its default.

        Raises:
            SetupError: naming every variable that is wrong, and why.
        """
        values: dict[str, Any] = {"num_threads": vcpus(environ)}
        faults = []
        for setting in fields(cls):
            text = environ.get(setting.name.upper(), "").strip()
            if not text:
                continue
            try:
                values[setting.name] = setting.metadata["read"](text)
            except ValueError as error:
                faults.append(f"{setting.name.upper()}={text!r}: {error}")
        if faults:
            raise SetupError("wrong settings: " + "; ".join(faults))
        return cls(**values)
