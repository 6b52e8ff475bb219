"""Settings: the environment variables that the function reads, once, at start.

They hold limits, time-outs, hosts and paths. How an image becomes a tensor is never a setting: that
is in the model's card, so that no environment can alter what a model answers.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from keras_to_lambda.runtime.common.aws_lambda import MB_PER_VCPU
from keras_to_lambda.runtime.common.errors import SetupError
from keras_to_lambda.runtime.common.record import Any, TypeVar, dataclass, field, fields

T = TypeVar("T")

# Text, not a Path: importing pathlib costs 3 ms of a cold start.
_PACKAGE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # noqa: PTH100, PTH120


def bundled(name: str) -> str:
    """The path of models/, samples/ or web/: in the package, beside it (the image), or above."""
    folder = _PACKAGE
    for _ in range(3):
        path = os.path.join(folder, name)  # noqa: PTH118
        if os.path.isdir(path):  # noqa: PTH112
            return path
        folder = os.path.dirname(folder)  # noqa: PTH120
    return name


MODELS = bundled("models")


def vcpus(environ: Mapping[str, str]) -> int:
    """The processors that this process may really use, at least 1.

    Lambda shows two processors to a function that is given a fraction of one; more threads than
    the share then only take turns.
    """
    sched = getattr(os, "sched_getaffinity", None)
    seen = len(sched(0)) if sched else (os.cpu_count() or 1)
    return max(1, min(seen, int(_vcpus_given(environ) or seen)))


def processor_share(environ: Mapping[str, str]) -> float:
    """The share of one processor that this process has: less than 1 on Lambda below 1,769 MB."""
    return min(1.0, _vcpus_given(environ) or 1.0)


def _vcpus_given(environ: Mapping[str, str]) -> float:
    """Lambda's processors for the function's memory; 0: this is not Lambda."""
    memory_mb = environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "")
    return int(memory_mb) / MB_PER_VCPU if memory_mb.isdecimal() else 0.0


def _count(text: str) -> int:
    return int(_checked(text, int(text) >= 1, "must be 1 or more"))


def _seconds(text: str) -> float:
    # 900 s: the longest that a function may run.
    return float(_checked(text, 0 < float(text) < 900, "must be more than 0 and less than 900 s"))


def _checked(text: str, right: bool, rule: str) -> str:
    if not right:
        raise ValueError(rule)
    return text


def _list(text: str) -> list[str]:
    return text.replace(",", " ").split()


def _hosts(text: str) -> frozenset[str]:
    return frozenset(_host(name) for name in _list(text))


def _host(name: str) -> str:
    from keras_to_lambda.runtime.common import hostname  # only where hosts are listed

    try:
        return hostname.to_ascii(name)
    except ValueError:
        rule = "use names such as images.example.com, without scheme, port or path"
        raise ValueError(f"{name!r} is not a host name; {rule}") from None


def _host_ports(text: str) -> frozenset[str]:
    from ipaddress import IPv6Address

    pairs = set()
    for pair in _list(text):
        host, _, port = pair.rpartition(":")
        host = host.removeprefix("[").removesuffix("]")
        _checked(pair, bool(host) and _is_port(port), f"{pair!r} is not host:port")
        pairs.add(f"{IPv6Address(host) if ':' in host else _host(host)}:{port}")
    return frozenset(pairs)


def _is_port(text: str) -> bool:
    return text.isdecimal() and 0 < int(text) < 65536


def _ports(text: str) -> frozenset[int]:
    names = _list(text)
    right = bool(names) and all(map(_is_port, names))
    _checked(text, right, "must be port numbers, separated by commas or spaces")
    return frozenset(map(int, names))


def _user_agent(text: str) -> str:
    # One header line (RFC 9110, 5.5).
    right = text.isascii() and text.isprintable() and len(text) <= 256
    return _checked(text, right, "must be printable ASCII, at most 256 characters")


def _sha256(text: str) -> str:
    text = text.lower()
    right = len(text) == 64 and not set(text) - set("0123456789abcdef")
    return _checked(text, right, "must be 64 hexadecimal digits")


def _buckets(text: str) -> frozenset[str]:
    # https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html, and the names
    # of older buckets.
    for name in _list(text):
        right = all(c.isascii() and (c.isalnum() or c in "._-") for c in name)
        _checked(name, right, f"{name!r} is not a bucket name; omit s3:// and keys")
    return frozenset(_list(text))


def _prefix(text: str) -> tuple[str, str]:
    scheme, _, rest = text.partition("://")
    bucket, _, prefix = rest.partition("/")
    # A whole bucket would hold the images that trigger the function, too.
    right = scheme == "s3" and bool(bucket) and bool(prefix.strip("/"))
    _checked(text, right, "must be s3://bucket/prefix")
    return bucket, prefix.strip("/") + "/"


def _path_prefix(text: str) -> str:
    return "/" + text.strip("/") if text.strip("/") else ""


def _origins(text: str) -> str:
    for name in _list(text):
        scheme, _, host = name.partition("://")
        # What could end the policy's directive, or match every page.
        host = host.removeprefix("*.")
        right = scheme in ("http", "https") and bool(host) and not set(host) & set("/;,'\"*")
        _checked(name, right, f"{name!r} is not an origin such as https://example.com")
    return " ".join(_list(text))


def _one_of(*choices: str) -> Callable[[str], str]:
    return lambda text: _checked(text, text in choices, f"must be {' or '.join(choices)}")


def _setting(read: Callable[[str], T], default: T, help: str) -> T:
    return field(default=default, metadata={"read": read, "help": help})


@dataclass(frozen=True)
class Settings:
    """One attribute for each environment variable, its name in lower case."""

    model_path: str = _setting(
        str, MODELS, "the `.tflite` file to serve, or a folder with several; or "
        "`s3://BUCKET/KEY.tflite`, `models:/NAME@ALIAS` (docs/serving.md)"
    )  # fmt: skip
    model_sha256: str = _setting(
        _sha256, "", "SHA-256 of a model in S3 or MLflow, in hexadecimal; default: the one that is "
        "recorded there"
    )  # fmt: skip
    mlflow_tracking_uri: str = _setting(
        str, "", "URL of the MLflow server of `models:/...`; `MLFLOW_TRACKING_TOKEN`, or "
        "`MLFLOW_TRACKING_USERNAME` and `MLFLOW_TRACKING_PASSWORD`, for one that needs them"
    )  # fmt: skip
    default_model: str = _setting(
        str, "", "of several models, the name of the one that answers when a request names none; "
        "default: the one in the folder's `default.txt`, or the only one; else requests have to"
    )  # fmt: skip
    load_models: str = _setting(
        _one_of("default", "all"),
        "default",
        "which models are loaded at start: `default`, the others at their first use; or `all`",
    )
    num_threads: int = field(
        default_factory=lambda: vcpus(os.environ),
        metadata={
            "read": _count,
            "help": "interpreter threads; default: the vCPUs the function really has",
        },
    )
    weight_cache: str = _setting(
        str, "", "for large models: a folder for XNNPACK's packed weights (docs/serving.md)"
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
    fetch_user_agent: str = _setting(
        _user_agent,
        "keras-to-lambda/0.1 (image fetch; FETCH_USER_AGENT names a contact)",
        "the `User-Agent` of downloads; some hosts ask for a contact address in it",
    )
    fetch_allowed_hosts: frozenset[str] = _setting(
        _hosts, frozenset(), "when set, comma-separated host names; only these are fetched"
    )
    fetch_allowed_ports: frozenset[int] = _setting(
        _ports, frozenset({80, 443}), "comma-separated ports that are fetched from"
    )
    fetch_private_hosts: frozenset[str] = _setting(
        _host_ports,
        frozenset(),
        "comma-separated host:port pairs that may be fetched although they are not public",
    )
    s3_allowed_buckets: frozenset[str] = _setting(
        _buckets, frozenset(), "comma-separated buckets that images are read from; none: no `s3://`"
    )
    results_prefix: tuple[str, str] | None = _setting(
        _prefix,
        None,
        "`s3://bucket/prefix` for the answers to asynchronous events (SQS, SNS, S3)",
    )
    base_path: str = _setting(
        _path_prefix, "", "the path that a custom domain puts in front of `/predict`"
    )
    embed_origins: str = _setting(
        _origins, "", "origins whose pages may show the playground in a frame, separated by commas"
    )
    cors_origin: str = _setting(str, "*", "the `Access-Control-Allow-Origin` of every HTTP answer")
    log_level: str = _setting(
        lambda text: _one_of("INFO", "ERROR", "FATAL")(text.upper()),
        "INFO",
        "`INFO`: a line for each request; `ERROR`; `FATAL`: nothing",
    )
    metrics_namespace: str = _setting(
        str, "", "when set, log lines carry CloudWatch metrics (EMF) in this namespace"
    )

    @classmethod
    def from_environ(cls, environ: Mapping[str, str] = os.environ) -> Settings:
        """Read every variable; an unset or empty one keeps its default.

        Raises SetupError: naming every variable that is wrong, and why.
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
