"""SavedFile: a model of Keras as a file, its own description, and a copy to load.

Loading a model runs its author's code. Here JSON is parsed, the tables of zip archives and of HDF5
are walked, and a SavedModel's graph is decoded, without Keras and without any class named in the
file. The copy holds exactly what was judged, and is all that any library opens.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from keras_to_lambda.convert.common.conversion_errors import ConvertError, listed
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
# What a file is, and what to do, by its beginning: patterns of bytes. The first two are loaded.
_KINDS = ((rb"PK", "keras"), (re.escape(hdf5.SIGNATURE), "h5"))
_STRANGERS = (
    (rb"\Z", "is empty: it was cut short; " + SAVE_AGAIN),
    (rb"version https://git-lfs", "is a pointer of Git LFS, not the model: run `git lfs pull`"),
    (rb"(?i)\s*<(!doctype|html)", "is a web page: the download gave an error, not the model"),
    (rb"(?s).{4}TFL3", "is a .tflite already; a Keras file is expected here"),
    (rb"", "is not a .keras, .h5 or .tflite file, nor a SavedModel folder"),
)


def existing(path: Path) -> Path:
    """The path of a model, if there is one."""
    if not (path.exists() and path.absolute().name):
        raise ConvertError(f"there is no model at {path}")
    return path


@dataclass(frozen=True)
class SavedFile:
    """A model of Keras as a file.

    kind: "keras", "h5" or "saved_model", by the content, whatever the file is called.
    written_by: the version of Keras; of TensorFlow for a SavedModel; None: not stated.
    backend: "tensorflow", "jax", "torch" or "theano"; stated only in HDF5 files.
    classes: each layer's class, in the file's order, those of nested models as well.
    code: what would run a program if the file were loaded; it needs the user's trust.
    own: modules ("": not named) and names of classes and functions of the author's own.
    config: the network as Keras's JSON; None for SavedModels and files of weights.
    loss: the name of the training loss, where it is stated.
    faults: why the file is refused, trusted or not.
    copy: exactly what was judged, of a `.keras` file the weights; None where there is a fault.
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
        """Judge a file; `folder`, an empty one, gets the copy (None: no copy is wanted)."""
        if folder is None:
            with tempfile.TemporaryDirectory(prefix="model-") as name:
                return replace(cls.read(path, Path(name)), copy=None)
        existing(path)
        try:
            if path.is_dir():
                found, sha256 = _saved_model(path, folder / "model"), digest(path)
            else:
                raw = folder / "judged"
                sha256 = saved_model_graph.copy_file(path, raw)
                found = _file(path, raw, folder)
        except OSError as error:
            raise ConvertError(f"cannot read {path}: {error.strerror or error}") from error
        return replace(found, sha256=sha256, copy=None if found.faults else found.copy)

    def refusals(self, *, trust: bool = False) -> Iterator[str]:
        """Yield why the file is not loaded, or not without its author's classes."""
        yield from self.faults
        if self.code and not trust:
            yield (
                f"it carries code that loading would run: {listed(self.code)}. Rebuild the model "
                "without it (keras.layers.Rescaling and the like), or use --trust if you trust "
                "its author"
            )
        if self.own and not trust:
            names = [f"{x} of the module {module!r}" if module else x for module, x in self.own]
            yield (
                f"it has layers or functions that are not of Keras: {listed(names)}. Give the "
                "Python file that defines them with --custom"
            )


def weights(path: Path, folder: Path) -> Path:
    """A copy in `folder` of a file of weights, or of an `.h5` model, that holds nothing else."""
    copy = folder / "judged.h5"
    try:
        saved_model_graph.copy_file(path, copy)
    except OSError as error:
        raise ConvertError(f"cannot read {path}: {error.strerror or error}") from error
    if kind_of(copy, path) != "h5":
        raise ConvertError(f"{path} is not a file of weights (.h5, .weights.h5)")
    if faults := list(_h5_faults(path, copy)):
        raise ConvertError(f"{path} is refused: " + "; ".join(faults))
    with _opened(path, copy) as file:
        older = "layer_names" in file.attrs or "model_weights" in file
    # Keras chooses the format by the suffix.
    return copy.rename(folder / ("model.h5" if older else "model.weights.h5"))


def _file(path: Path, raw: Path, folder: Path) -> SavedFile:
    if kind_of(raw, path) == "keras":
        try:
            with zipfile.ZipFile(raw) as members:
                return _keras(path, members, raw.stat().st_size, folder)
        except _DAMAGED as error:
            raise _damaged(path, error) from error
    copy = raw.rename(folder / "model.h5")
    return replace(_h5(path, copy), copy=copy)


def _damaged(path: Path, reason: object) -> ConvertError:
    return ConvertError(
        f"{path} was cut short or damaged ({reason}): get it again, or {SAVE_AGAIN}"
    )


def kind_of(file: Path, path: Path | None = None) -> str:
    """The kind by a file's first bytes: "keras", "h5" or "saved_model"; `path` is for messages."""
    path = path or file
    if file.is_dir():
        inside = sorted(x.name for x in file.iterdir() if x.suffix in (".keras", ".h5", ".tflite"))
        if inside and not (file / saved_model_graph.GRAPH).exists():
            raise ConvertError(f"{path} is a folder; give the model in it: {listed(inside)}")
        return "saved_model"
    try:
        with file.open("rb") as stream:
            head = stream.read(512)
    except FileNotFoundError:
        raise ConvertError(f"there is no model at {path}") from None
    for beginning, kind in _KINDS:
        if re.match(beginning, head):
            return kind
    words = next(words for beginning, words in _STRANGERS if re.match(beginning, head))
    if words == _STRANGERS[-1][1] and path.suffix in (".keras", ".h5", ".hdf5"):
        words = (
            "begins neither like a .keras nor like an .h5 file: it was cut short, damaged or "
            f"renamed; {SAVE_AGAIN}"
        )
    raise ConvertError(f"{path} {words}")


def _keras(path: Path, members: zipfile.ZipFile, size: int, folder: Path) -> SavedFile:
    faults = tuple(keras_archive.faults(members, size))
    if faults:
        # Nothing of it is unpacked.
        return SavedFile("keras", faults=faults)
    names = members.namelist()
    if keras_archive.CONFIG not in names:
        raise ConvertError(
            f"{path} is a zip archive without config.json: not a model of Keras; unpack it, if it "
            "is a SavedModel"
        )
    config = keras_configuration.parse(members.read(keras_archive.CONFIG))
    metadata = {}
    if keras_archive.METADATA in names:
        metadata = keras_configuration.parse(members.read(keras_archive.METADATA))
    loss = keras_configuration.loss_name(config.get("compile_config"))
    # The network is loaded to be called, never to be trained on.
    config = keras_configuration.without_training(config)
    found = replace(_of_config("keras", config, metadata.get("keras_version")), loss=loss)
    if keras_archive.WEIGHTS not in names:
        return replace(found, faults=(*found.faults, f"it has no weights in it; {SAVE_AGAIN}"))
    copy = folder / keras_archive.WEIGHTS
    # Reading it whole also checks its CRC.
    with members.open(keras_archive.WEIGHTS) as member, copy.open("wb") as out:
        shutil.copyfileobj(member, out, 1 << 20)
    (folder / "judged").unlink()
    inside = [f"{keras_archive.WEIGHTS}: {fault}" for fault in _h5_faults(path, copy)]
    return replace(found, faults=(*found.faults, *inside), copy=copy)


def _h5(path: Path, copy: Path) -> SavedFile:
    faults = tuple(_h5_faults(path, copy))
    with _opened(path, copy) as file:
        names = ("model_config", "keras_version", "backend", "training_config")
        text, version, backend, training = (hdf5.text(file, name) for name in names)
    if text is None:
        return SavedFile("h5", version, backend, faults=(*faults, _WEIGHTS_ALONE))
    try:
        found = _of_config("h5", keras_configuration.parse(text), version)
    except ValueError as error:
        raise _damaged(path, f"model_config: {error}") from error
    loss = None
    with contextlib.suppress(ValueError):
        loss = keras_configuration.loss_name(keras_configuration.parse(training or "{}"))
    return replace(found, backend=backend, faults=(*found.faults, *faults), loss=loss)


def _h5_faults(path: Path, copy: Path) -> Iterator[str]:
    frame = hdf5.frame_fault(copy)
    with _opened(path, copy) as file:
        if frame:
            yield frame
        yield from hdf5.faults(file, copy.stat().st_size)


def _opened(path: Path, copy: Path) -> Any:
    import h5py

    try:
        return h5py.File(copy, "r")
    except (OSError, RuntimeError, ValueError) as error:
        raise _damaged(path, hdf5.brief(error)) from error


def _of_config(kind: str, config: dict[str, Any], version: Any) -> SavedFile:
    judged = keras_configuration.judge(config)
    names: dict[str, Any] = {key: tuple(value) for key, value in vars(judged).items()}
    if "class_name" not in config:
        names["faults"] += ("its configuration describes no network",)
    version = version if isinstance(version, str) else None
    return SavedFile(kind, version, config=config, **names)


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
