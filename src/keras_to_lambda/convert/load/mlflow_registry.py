"""Registry: a model that MLflow keeps, as the source of a conversion."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from keras_to_lambda.convert import progress
from keras_to_lambda.convert.errors import ConvertError

SCHEME = "models:"
KINDS = (".keras", ".h5")


@contextlib.contextmanager
def local(model: Path) -> Iterator[Path]:
    """The model as a file of this machine, for as long as the block lasts.

    Args:
        model: a path, which is given back; or models:/NAME/VERSION, models:/NAME@ALIAS, of the
            registry at MLFLOW_REGISTRY_URI or MLFLOW_TRACKING_URI.

    Raises:
        ConvertError: MLflow is not installed, the registry has no such model, or not one Keras file
            in it.
    """
    if not str(model).startswith(SCHEME) or model.exists():
        yield model
        return
    try:
        import mlflow
    except ImportError:
        raise ConvertError(
            f"{model} is in a model registry, and mlflow is not installed: `make tracking` adds it"
        ) from None
    progress.step(f"fetching {model}")
    with tempfile.TemporaryDirectory(prefix="registry-") as folder:
        try:
            found = mlflow.artifacts.download_artifacts(artifact_uri=str(model), dst_path=folder)
        except (mlflow.MlflowException, OSError) as error:
            first = str(error).splitlines()[0][:300]
            raise ConvertError(f"{model} cannot be fetched: {first}") from error
        files = [path for path in sorted(Path(found).rglob("*")) if path.suffix in KINDS]
        if len(files) != 1:
            names = ", ".join(path.name for path in files) or "none"
            raise ConvertError(f"{model} should hold one {' or '.join(KINDS)} file; it has {names}")
        yield files[0]
