"""A receipt's models: a Keras file in each quantization, and how many photos each gets right."""

from __future__ import annotations

import json
import shlex
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

from keras_to_lambda.cli import inputs
from keras_to_lambda.runtime.errors import SetupError
from keras_to_lambda.runtime.handler import Handler
from keras_to_lambda.runtime.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
PYTHON_TF = ROOT / ".venv-tf" / "bin" / "python"
FORMS = ("none", "float16", "weights", "dynamic", "int8")
WORKERS = 2


class ModelError(Exception):
    """A model cannot be measured; the message says why."""


@dataclass(frozen=True)
class Source:
    """A model as the command line names it: a file, and options of `k2l convert`."""

    path: Path
    options: tuple[str, ...] = ()

    @classmethod
    def read(cls, text: str) -> Source:
        """Raises ModelError: there is no such file."""
        name, *options = shlex.split(text) or [""]
        if not Path(name).exists():
            raise ModelError(f"no such model: {name or 'nothing named'}")
        return cls(Path(name), tuple(options))

    @property
    def name(self) -> str:
        return self.path.stem


@dataclass(frozen=True)
class Form:
    """A `.tflite` to measure; `accuracy` is a share of photos, or None if none are labelled."""

    model: str
    quantization: str
    path: Path
    size_bytes: int
    accuracy: float | None = None
    interval: tuple[float, float] | None = None
    photos: int = 0


def convert(source: Source, quantization: str, samples: Path, folder: Path) -> Form:
    """Convert a model, verified against Keras, in a process of its own.

    Raises:
        ModelError: it cannot be converted, or does not answer as Keras does; the message is its.
    """
    if source.path.suffix == ".tflite":
        return Form(source.name, "as it is", source.path.resolve(), source.path.stat().st_size)
    if not PYTHON_TF.exists():
        raise ModelError("TensorFlow's environment is missing; run make setup")
    path = folder / f"{source.name}-{quantization}.tflite"
    labels = source.path.with_suffix(".labels.txt")
    options = list(source.options)
    if "--labels" not in options and labels.exists():
        options += ["--labels", str(labels)]
    if "--samples" not in options:
        options += ["--samples", str(samples)]
    done = subprocess.run(
        [PYTHON_TF, "-m", "keras_to_lambda", "convert", source.path,
         "--quantize", quantization, "--quiet", "--json",
         "-o", path, *options],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode == 1:
        raise ModelError("refused: it does not answer as Keras does")
    if done.returncode or not path.exists():
        said = done.stderr.strip().splitlines() or ["it gave no reason"]
        raise ModelError(f"k2l convert: {said[-1]}")
    return Form(source.name, json.loads(done.stdout)["quantization"], path, path.stat().st_size)


def judged(form: Form, data: Path) -> Form:
    """The form with its accuracy on folders of photos that are named after its labels.

    Raises:
        ModelError: the model or the photos cannot be read.
    """
    settings = replace(
        Settings.from_environ(), model_path=str(form.path), default_model="", num_threads=1,
        log_level="FATAL",
    )  # fmt: skip
    try:
        handler = Handler(settings)
        card = handler.models.card()
        photos = [item for item in inputs.named([str(data)], card.labels) if item.truth]
        results = list(inputs.classified(photos, handler, WORKERS)) if photos else []
    except (SetupError, OSError) as error:
        raise ModelError(f"{form.model}, {form.quantization}: {error}") from error
    found = inputs.evaluation(results, card)
    if found is None:
        return form
    return replace(form, accuracy=found.accuracy, interval=found.interval, photos=found.photos)
