"""Registries: a model that MLflow or Weights & Biases keeps, as the source of a conversion."""

from __future__ import annotations

import contextlib
import importlib
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from keras_to_lambda.cli import progress
from keras_to_lambda.convert.common.conversion_errors import ConvertError, reason_of

KINDS = (".keras", ".h5")


@contextlib.contextmanager
def local(model: Path) -> Iterator[Path]:
    """The model as a file of this machine, for as long as the block lasts.

    model: a path, which is given back; or a name that starts with one of SCHEMES.
    """
    scheme, colon, name = str(model).partition(":")
    if not colon or scheme not in SCHEMES or model.exists():
        yield model
        return
    package, fetch = SCHEMES[scheme]
    try:
        registry = importlib.import_module(package)
    except ImportError:
        raise ConvertError(
            f"{model} is in a registry, and {package} is not installed: `make tracking` adds it"
        ) from None
    progress.step(f"fetching {model}")
    with tempfile.TemporaryDirectory(prefix="registry-") as folder:
        try:
            found = fetch(registry, name, folder)
        except Exception as error:  # the registry's own, or the network's
            raise ConvertError(f"{model} cannot be fetched: {reason_of(error)}") from error
        paths = [found] if found.is_file() else sorted(found.rglob("*"))
        files = [path for path in paths if path.suffix in KINDS]
        if len(files) != 1:
            names = ", ".join(path.name for path in files) or "none"
            raise ConvertError(f"{model} should hold one {' or '.join(KINDS)} file; it has {names}")
        yield files[0]


def _mlflow(mlflow: Any, name: str, folder: str) -> Path:
    """models:/NAME/VERSION[/FILE] or models:/NAME@ALIAS, at MLFLOW_{REGISTRY,TRACKING}_URI."""
    fetch = mlflow.artifacts.download_artifacts
    return Path(fetch(artifact_uri=f"models:{name}", dst_path=folder))


def _wandb(wandb: Any, name: str, folder: str) -> Path:
    """wandb:[ENTITY/]PROJECT/NAME[:ALIAS], or wandb:FOLDER of an offline run."""
    if Path(name).is_dir():
        return Path(name)
    name = name.strip("/") + ":latest" * (":" not in name)
    return Path(wandb.Api().artifact(name, type="model").download(root=folder))


# By what is in front of the first colon: the package that reads it, and how.
SCHEMES: dict[str, tuple[str, Callable[[Any, str, str], Path]]] = {
    "models": ("mlflow", _mlflow),
    "wandb": ("wandb", _wandb),
}
