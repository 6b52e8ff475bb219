"""Origin: the Keras model that a `.tflite` was made of, where that is beside it.

For commands on a developer's machine: the deployed function has no Keras file, and hashes nothing.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from keras_to_lambda.runtime.common.errors import SetupError

if TYPE_CHECKING:
    from keras_to_lambda.runtime.model.registry import Installed
    from keras_to_lambda.runtime.model_file.card import ModelCard

KINDS = (".keras", ".h5", ".hdf5")


def digest(path: Path) -> str:
    """The SHA-256 of a file, or of a folder's sorted names and contents."""
    whole = hashlib.sha256()
    folder = path.is_dir()
    for file in sorted(path.rglob("*")) if folder else [path]:
        if file.is_file():
            if folder:
                whole.update(file.relative_to(path).as_posix().encode() + b"\0")
            with file.open("rb") as stream:
                for block in iter(lambda: stream.read(1 << 20), b""):
                    whole.update(block)
    return whole.hexdigest()


def check(installed: Iterable[Installed]) -> None:
    """See that no model beside its `.tflite` is another one than it was made of.

    Raises:
        SetupError: one is, as it was trained again or replaced.
    """
    for path, card in installed:
        if str(card.provenance.get("source_file")).endswith(".tflite"):
            continue  # another program's, described here
        expected = card.provenance.get("source_sha256")
        sources = list(_sources(Path(path), card))
        if not expected or not sources or expected in map(digest, sources):
            continue
        samples = Path(path).parent / "samples"
        names = (sources[0], "--samples", samples if samples.is_dir() else "DIR", "-o", path)
        raise SetupError(
            f"{path} does not match {sources[0].name} (different hash); convert again or move one "
            "file\n"
            f"  k2l convert {shlex.join(map(str, names))}"
        )


def _sources(path: Path, card: ModelCard) -> Iterator[Path]:
    """Keras models beside a `.tflite` that it may have been made of."""
    named = Path(str(card.provenance.get("source_file", ""))).name
    names = dict.fromkeys((named, *(path.stem + kind for kind in KINDS), path.stem))
    for source in (path.with_name(name) for name in names if name):
        if source.is_file() or (source / "saved_model.pb").is_file():
            yield source
