"""Registries: a model that MLflow or Weights & Biases keeps, as the source of a conversion."""

from __future__ import annotations

import contextlib
import importlib
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from keras_to_lambda.cli import progress
from keras_to_lambda.convert.common.conversion_errors import ConvertError

KINDS = (".keras", ".h5")


@contextlib.contextmanager
def local(model: Path) -> Iterator[Path]:
    """The model as a file of this machine, for as long as the block lasts.

    Args:
        model: a path, which is given back; or a name that starts with one of SCHEMES.

    Raises:
        ConvertError: the registry's package is not installed, it has no such model, or not one
            Keras file in it.
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
        found = fetch(registry, name, folder)
        paths = [found] if found.is_file() else sorted(found.rglob("*"))
        files = [path for path in paths if path.suffix in KINDS]
        if len(files) != 1:
            names = ", ".join(path.name for path in files) or "none"
            raise ConvertError(f"{model} should hold one {' or '.join(KINDS)} file; it has {names}")
        yield files[0]


def _mlflow(mlflow: Any, name: str, folder: str) -> Path:
    """models:/NAME/VERSION[/FILE] or models:/NAME@ALIAS, at MLFLOW_{REGISTRY,TRACKING}_URI."""
    uri = f"models:{name}"
    try:
        return Path(mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=folder))
    except (mlflow.MlflowException, OSError) as error:
        raise _failed(uri, error) from error


def _wandb(wandb: Any, name: str, folder: str) -> Path:
    """wandb:[ENTITY/]PROJECT/NAME[:ALIAS], or wandb:FOLDER of an offline run."""
    if Path(name).is_dir():
        return Path(name)
    name = name.strip("/")
    if ":" not in name:
        name += ":latest"
    try:
        return Path(wandb.Api().artifact(name, type="model").download(root=folder))
    except (wandb.Error, ValueError, OSError) as error:
        raise _failed(f"wandb:{name}", error) from error


def _failed(model: str, error: Exception) -> ConvertError:
    first = (str(error).splitlines() or [type(error).__name__])[0][:300]
    return ConvertError(f"{model} cannot be fetched: {first}")


# By what is in front of the first colon: the package that reads it, and how.
SCHEMES: dict[str, tuple[str, Callable[[Any, str, str], Path]]] = {
    "models": ("mlflow", _mlflow),
    "wandb": ("wandb", _wandb),
}
