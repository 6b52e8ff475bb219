"""The project's folder: a clone of the repository, or a folder that `k2l new` wrote.

Both hold the same files; `FILES` and `FOLDERS` list them. In a wheel the files are in `skeleton/`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path

from keras_to_lambda.runtime.common.settings import MODELS, bundled

PACKAGE = Path(__file__).resolve().parent
_CLONE = PACKAGE.parents[1]
DEFAULT_STACK = "keras-to-lambda"

# What a deployable folder holds beside its model, by its path there; in the clone at the same path.
FILES = (
    ".dockerignore",
    "Dockerfile",
    "deploy/bulk.asl.json",
    "deploy/slim.py",
    "events/direct-data-url.json",
    "events/direct-image.json",
    "events/direct-url.json",
    "events/http-api-v2-image.json",
    "events/http-api-v2-url.json",
    "events/local.env.json",
    "events/rest-v1-image.json",
    "events/rest-v1-url.json",
    "lambda_function.py",
    "requirements-web.txt",
    "requirements.txt",
    "samconfig.toml",
    "template.yaml",
)
MODULES = ("__init__", "serve/__init__", "serve/gateway", "serve/host", "serve/http_server")
FOLDERS = {"src/keras_to_lambda/runtime": PACKAGE / "runtime", "web": Path(bundled("web"))}


def root() -> Path:
    """The folder with template.yaml: the current one or one above it, else this clone's."""
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "template.yaml").is_file() and (folder / "lambda_function.py").is_file():
            return folder
    return _CLONE


ROOT = root()


def sources() -> Iterator[tuple[str, Path]]:
    """Every file of a deployable folder: its path there, and where this installation has it."""
    installed = PACKAGE / "skeleton"
    files = installed if (installed / "template.yaml").is_file() else _CLONE
    for name in FILES:
        yield name, files / name
    for module in MODULES:
        yield f"src/keras_to_lambda/{module}.py", PACKAGE / f"{module}.py"
    for name, folder in FOLDERS.items():
        for path in sorted(folder.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                yield f"{name}/{path.relative_to(folder).as_posix()}", path


def samconfig() -> dict[str, str]:
    """What samconfig.toml sets for `sam deploy`: stack_name, region and others."""
    try:
        tables = tomllib.loads((ROOT / "samconfig.toml").read_text(encoding="utf-8"))["default"]
    except (OSError, tomllib.TOMLDecodeError, KeyError):
        return {}
    tables = [tables.get(command, {}).get("parameters", {}) for command in ("global", "deploy")]
    return {**tables[0], **tables[1]}


def stack() -> str:
    """The stack's name by the folder's samconfig.toml."""
    return samconfig().get("stack_name", DEFAULT_STACK)


def samples() -> Path:
    """The sample pictures: the project's, or those of the installed package."""
    own = ROOT / "samples"
    return own if own.is_dir() else Path(bundled("samples"))


def models() -> str:
    """The models that are served here: the project's, or those of the installed package."""
    own = ROOT / "models"
    return str(own) if own.is_dir() else MODELS
