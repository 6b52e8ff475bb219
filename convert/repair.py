"""Repair: a `.keras` file of Keras 2.12 to 2.14 with its weights where tf_keras looks for them.

Those versions filed a layer's weights below `_layer_checkpoint_dependencies`, numbered by a count
that met layers with weights twice: conv2d, conv2d_2, conv2d_4. Later ones look below `layers`, at
conv2d, conv2d_1, conv2d_2 (both: `_save_container_state` in keras/src/saving/saving_lib.py).
"""

from __future__ import annotations

import io
import re
import zipfile
from pathlib import Path
from typing import Any

import h5py

OLD, NEW = "_layer_checkpoint_dependencies", "layers"
WEIGHTS = "model.weights.h5"


def moved(path: Path, folder: Path) -> Path | None:
    """A repaired copy in `folder`; None where there is nothing to repair."""
    if not zipfile.is_zipfile(path):
        return None
    with zipfile.ZipFile(path) as archive:
        if WEIGHTS not in archive.namelist():
            return None
        files = {name: archive.read(name) for name in archive.namelist()}
    with h5py.File(io.BytesIO(files[WEIGHTS]), "r") as old:
        if OLD not in old:
            return None
        buffer = io.BytesIO()
        with h5py.File(buffer, "w") as new:
            _copy(old, new)
    files[WEIGHTS] = buffer.getvalue()
    copy = folder / path.name
    with zipfile.ZipFile(copy, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return copy


def _copy(old: Any, new: Any) -> None:
    for name, entry in old.items():
        if isinstance(entry, h5py.Dataset):
            old.copy(entry, new, name)
        elif name == OLD:
            for number, group in _renumbered(entry):
                _copy(group, new.require_group(NEW).create_group(number))
        else:
            _copy(entry, new.create_group(name))


def _renumbered(group: Any) -> list[tuple[str, Any]]:
    """The layers' groups by their new names: the same order in each class, without gaps."""
    order: dict[str, list[tuple[int, Any]]] = {}
    for name, entry in group.items():
        match = re.fullmatch(r"(.+?)(?:_(\d+))?", name)
        assert match is not None
        order.setdefault(match[1], []).append((int(match[2] or 0), entry))
    return [
        (name if index == 0 else f"{name}_{index}", entry)
        for name, entries in order.items()
        for index, (_, entry) in enumerate(sorted(entries, key=lambda pair: pair[0]))
    ]
