"""SavedFile: a model of Keras as a file, what it says about itself, and a copy to load.

Loading a model runs what its author wrote. Here only JSON is parsed, the tables of zip archives
and of HDF5 are walked, and a SavedModel's graph is decoded: no Keras, no class named in the file.
The copy holds exactly what was judged, and is the only thing that any library opens.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import stat
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from keras_to_lambda.convert.errors import ConvertError
from keras_to_lambda.convert.scan import hdf5, keras_archive, keras_configuration, saved_model_graph
from keras_to_lambda.origin import digest

SAVE_AGAIN = "save it again with model.save('NAME.keras')"
_WEIGHTS_ALONE = (
    "it holds weights without the network: build the network, load_weights() into it, and "
    + SAVE_AGAIN
)
_DAMAGED = (
    *(zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, ValueError),
    *(struct.error, zlib.error),
)
# What Keras 2 and 3 say where they refuse for safety's sake: no other loader is tried then.
_REFUSALS = ("safe_mode", "unsafe", "disallowed", "arbitrary code", "registered_name=", "zip bomb")


@dataclass(frozen=True)
class SavedFile:
    """A model of Keras as a file.

    kind: "keras", "h5" or "saved_model", by the content, whatever the file is called.
    written_by: the version of Keras; of TensorFlow for a SavedModel; None where it does not say.
    backend: "tensorflow", "jax", "torch" or "theano"; only HDF5 files say it.
    classes: each layer's class, in the file's order, those of nested models as well.
    code: what would run a program if the file were loaded; it needs the user's trust.
    own: modules ("": not named) and names of classes and functions of the author's own.
    config: the network as Keras's JSON; None for SavedModels and files of weights.
    loss: what the network was trained with, by name, where the file says it.
    faults: why the file is refused whoever trusts it.
    copy: exactly what was judged, named after its kind; None where there is a fault.
    sha256: of the file; of a folder, see `origin.digest`.
    """

    kind: str
    written_by: str | None = None
    backend: str | None = None
    classes: tuple[str, ...] = ()
    code: tuple[str, ...] = ()
    own: tuple[tuple[str, str], ...] = ()
    config: dict[str, Any] | None = None
    loss: str | None = None
    faults: tuple[str, ...] = ()
    copy: Path | None = None
    sha256: str = ""

    @classmethod
    def read(cls, path: Path, folder: Path | None = None) -> SavedFile:
        """Judge a file.

        Args:
            folder: an empty folder, which gets the copy; None: only what the file says is wanted.
        """
        if folder is None:
            with tempfile.TemporaryDirectory(prefix="model-") as name:
                return replace(cls.read(path, Path(name)), copy=None)
        if not path.exists():
            raise ConvertError(f"there is no model at {path}")
        try:
            if path.is_dir():
                found = _saved_model(path, folder / "model")
                sha256 = digest(path)
            else:
                raw = folder / "judged"
                sha256 = _copy(path, raw)
                found = _file(path, raw, folder)
        except OSError as error:
            reason = error.strerror or error
            raise ConvertError(f"cannot read {path}: {reason}") from error
        return replace(found, sha256=sha256, copy=None if found.faults else found.copy)

    def refusals(self, *, trust: bool = False) -> Iterator[str]:
        """Yield why the file is not loaded, or not without its author's classes."""
        yield from self.faults
        if self.code and not trust:
            yield (
                f"it carries code that would be run by loading it: {_listed(self.code)}. Rebuild "
                "the model without it (keras.layers.Rescaling and the like), or use --trust if "
                "you know who wrote it"
            )
        if self.own and not trust:
            names = [
                f"{name} of the module {module!r}" if module else name for module, name in self.own
            ]
            yield (
                f"it has layers or functions that are not of Keras: {_listed(names)}. Give the "
                "Python file that defines them with --custom"
            )


def weights(path: Path, folder: Path) -> Path:
    """A copy in `folder` of a file of weights, or of an `.h5` model, that holds nothing else."""
    copy = folder / "judged.h5"
    try:
        _copy(path, copy)
        with copy.open("rb") as file:
            head = file.read(512)
    except OSError as error:
        raise ConvertError(f"cannot read {path}: {error.strerror or error}") from error
    if not head.startswith(hdf5.SIGNATURE):
        raise ConvertError(f"{path} is not a file of weights (.h5, .weights.h5)")
    faults = list(_h5_faults(path, copy))
    if faults:
        raise ConvertError(f"{path} is refused: " + "; ".join(faults))
    with _opened(path, copy) as file:
        older = "layer_names" in file.attrs or "model_weights" in file
    # Keras chooses the format by the suffix.
    return copy.rename(folder / ("model.h5" if older else "model.weights.h5"))


def is_security_refusal(error: BaseException) -> bool:
    """Whether a library refused a file as unsafe, which ends the attempt to load it."""
    return any(sign in str(error) for sign in _REFUSALS)


def _listed(names: tuple[str, ...] | list[str], most: int = 8) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _copy(path: Path, target: Path) -> str:
    """Copy a file; its SHA-256."""
    sha256 = hashlib.sha256()
    # Not to wait for a pipe's other end.
    with os.fdopen(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ConvertError(f"{path} is not a file")
        with target.open("wb") as out:
            for block in iter(lambda: file.read(1 << 20), b""):
                sha256.update(block)
                out.write(block)
    return sha256.hexdigest()


def _file(path: Path, raw: Path, folder: Path) -> SavedFile:
    if kind_of(raw, path) == "keras":
        try:
            with zipfile.ZipFile(raw) as members:
                return _keras(path, members, raw.stat().st_size, folder)
        except _DAMAGED as error:
            raise ConvertError(
                f"{path} was cut short or damaged ({error}): get it again, or {SAVE_AGAIN}"
            ) from error
    copy = raw.rename(folder / "model.h5")
    return replace(_h5(path, copy), copy=copy)


def kind_of(file: Path, path: Path | None = None) -> str:
    """What a file begins like, or a folder is: "keras", "h5" or "saved_model".

    Args:
        path: what messages call the file, where it is another.
    """
    path = path or file
    if file.is_dir():
        return "saved_model"
    try:
        with file.open("rb") as stream:
            head = stream.read(512)
    except FileNotFoundError:
        raise ConvertError(f"there is no model at {path}") from None
    if head.startswith(b"PK"):
        return "keras"
    if head.startswith(hdf5.SIGNATURE):
        return "h5"
    raise ConvertError(_stranger(path, head))


def _stranger(path: Path, head: bytes) -> str:
    """What a file is that begins like none of ours, and what to do."""
    if not head:
        return f"{path} is empty: it was cut short; {SAVE_AGAIN}"
    if head.startswith(b"version https://git-lfs"):
        return f"{path} is a pointer of Git LFS, not the model: run `git lfs pull`"
    if head.lstrip().lower().startswith((b"<!doctype", b"<html")):
        return f"{path} is a web page: the download gave an error or a login, not the model"
    if head[4:8] == b"TFL3":
        return f"{path} is a .tflite already: it needs no conversion, but a card"
    if path.suffix in (".keras", ".h5", ".hdf5"):
        return (
            f"{path} begins neither like a .keras nor like an .h5 file: it was cut short, damaged "
            f"or renamed; {SAVE_AGAIN}"
        )
    return f"{path} is neither a .keras or .h5 file nor a SavedModel folder"


def _keras(path: Path, members: zipfile.ZipFile, size: int, folder: Path) -> SavedFile:
    faults = tuple(keras_archive.faults(members, size))
    if faults:
        # Nothing of it is unpacked.
        return SavedFile("keras", faults=faults)
    names = members.namelist()
    if keras_archive.CONFIG not in names:
        if any(name.endswith("saved_model.pb") for name in names):
            raise ConvertError(f"{path} is a SavedModel in a zip: unpack it and give the folder")
        if any(name.endswith(".weights.h5") for name in names):
            return SavedFile("keras", faults=(_WEIGHTS_ALONE,))
        raise ConvertError(f"{path} is a zip archive without config.json: not a model of Keras")
    config = keras_configuration.parse(members.read(keras_archive.CONFIG))
    metadata = (
        keras_configuration.parse(members.read(keras_archive.METADATA))
        if keras_archive.METADATA in names
        else {}
    )
    loss = keras_configuration.loss_name(config.get("compile_config"))
    # The network is loaded to be called, never to be trained on.
    config = keras_configuration.without_training(config)
    found = replace(_of_config("keras", config, metadata.get("keras_version")), loss=loss)
    if keras_archive.WEIGHTS not in names:
        return replace(found, faults=(*found.faults, f"it has no weights in it; {SAVE_AGAIN}"))
    weights = folder / keras_archive.WEIGHTS
    # Reading it whole also checks its CRC.
    with members.open(keras_archive.WEIGHTS) as member, weights.open("wb") as out:
        shutil.copyfileobj(member, out, 1 << 20)
    inside = [f"{keras_archive.WEIGHTS}: {fault}" for fault in _h5_faults(path, weights)]
    copy = folder / "model.keras"
    parts: dict[str, bytes | Path] = {
        keras_archive.METADATA: json.dumps(metadata).encode(),
        keras_archive.CONFIG: json.dumps(config).encode(),
        keras_archive.WEIGHTS: weights,
    }
    keras_archive.rebuild(copy, parts)
    weights.unlink()
    (folder / "judged").unlink()
    return replace(found, faults=(*found.faults, *inside), copy=copy)


def _h5(path: Path, copy: Path) -> SavedFile:
    faults = tuple(_h5_faults(path, copy))
    with _opened(path, copy) as file:
        text = hdf5.text(file, "model_config")
        version, backend = hdf5.text(file, "keras_version"), hdf5.text(file, "backend")
        training = hdf5.text(file, "training_config")
    if text is None:
        return SavedFile("h5", version, backend, faults=(*faults, _WEIGHTS_ALONE))
    try:
        config = keras_configuration.parse(text)
    except ValueError as error:
        raise ConvertError(
            f"{path}: its model_config is damaged ({error}): get it again, or {SAVE_AGAIN}"
        ) from error
    found = _of_config("h5", config, version, backend)
    loss = None
    with contextlib.suppress(ValueError):
        loss = keras_configuration.loss_name(keras_configuration.parse(training or "{}"))
    return replace(found, faults=(*found.faults, *faults), loss=loss)


def _h5_faults(path: Path, copy: Path) -> Iterator[str]:
    frame = hdf5.frame_fault(copy)
    with _opened(path, copy) as file:
        if frame:
            yield frame
        yield from hdf5.faults(file, copy.stat().st_size)


def _opened(path: Path, copy: Path) -> Any:
    try:
        return hdf5.open_file(copy)
    except (OSError, RuntimeError, ValueError) as error:
        raise ConvertError(
            f"{path} was cut short or damaged ({hdf5.brief(error)}): get it again, or {SAVE_AGAIN}"
        ) from error


def _of_config(
    kind: str, config: dict[str, Any], version: Any, backend: str | None = None
) -> SavedFile:
    found = keras_configuration.judge(config)
    if "class_name" not in config:
        found.faults.append("its configuration describes no network")
    return SavedFile(
        kind,
        version if isinstance(version, str) else None,
        backend,
        tuple(found.classes),
        tuple(found.code),
        tuple(found.own),
        config,
        faults=tuple(found.faults),
    )


def _saved_model(path: Path, copy: Path) -> SavedFile:
    saved, faults = saved_model_graph.copy(path, copy)
    if saved is None:
        return SavedFile("saved_model", faults=tuple(faults))
    return SavedFile(
        "saved_model",
        saved_model_graph.for_serving(saved).meta_info_def.tensorflow_version or None,
        code=tuple(saved_model_graph.code(saved)),
        faults=tuple(saved_model_graph.faults(saved)),
        copy=copy,
    )
