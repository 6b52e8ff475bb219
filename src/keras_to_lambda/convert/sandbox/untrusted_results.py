"""Results: what comes back from the sandbox, read as if an attacker had written it."""

from __future__ import annotations

import json
import os
import stat
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from keras_to_lambda.convert.common.conversion_errors import ConvertError

MAX_JSON_BYTES = 64 << 20


def read(path: Path, most: int) -> bytes:
    """A plain file of at most so many bytes; no link, device or pipe. May be FileNotFoundError."""
    invalid = f"invalid result file from the model process: {path.name}"
    try:
        # O_NONBLOCK: a pipe does not keep us waiting.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ConvertError(invalid) from error
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ConvertError(invalid)
        data = file.read(most + 1)
    if len(data) > most:
        raise ConvertError(f"{invalid} has more than {most} bytes")
    return data


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file. May be FileNotFoundError."""
    try:
        found = json.loads(read(path, MAX_JSON_BYTES))
    except (ValueError, RecursionError) as error:
        raise ConvertError("invalid answer from the model process: not JSON") from error
    if not isinstance(found, dict):
        raise ConvertError("invalid answer from the model process: not a JSON object")
    return found


def collect(source: Path, folder: Path) -> None:
    """Move the files in one folder to another of the same file system."""
    for path in list(source.iterdir()):
        found = path.lstat()
        if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
            raise ConvertError(f"invalid result file from the model process: {path.name!r}")
        path.replace(folder / path.name)


def array(data: bytes) -> np.ndarray:
    """The array in the bytes of a .npy file, which has no objects and nothing behind its data."""
    stream = BytesIO(data)
    try:
        found: np.ndarray = np.lib.format.read_array(stream, allow_pickle=False)
    except Exception as error:  # whatever reading the header as Python raises
        raise ConvertError("invalid array from the model process: damaged") from error
    if stream.read(1):
        raise ConvertError("invalid array from the model process: damaged")
    return found


def arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays in an .npz file of `numpy.savez`: together no larger than the file."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            packed = any(member.compress_type != zipfile.ZIP_STORED for member in members)
            if packed or sum(member.file_size for member in members) > path.stat().st_size:
                raise ConvertError(
                    f"invalid {path.name} from the model process: larger than its file"
                )
            return {
                member.filename.removesuffix(".npy"): array(archive.read(member))
                for member in members
            }
    except (zipfile.BadZipFile, OSError, EOFError, ValueError, NotImplementedError) as error:
        raise ConvertError(
            f"invalid {path.name} from the model process: missing or damaged"
        ) from error


def shaped(array: np.ndarray | None, dtype: type, *shape: int | None) -> np.ndarray:
    """The array itself, if it has this type and shape (None: any size)."""
    if (
        array is None
        or array.dtype != dtype
        or array.ndim != len(shape)
        or any(want not in (None, size) for want, size in zip(shape, array.shape, strict=True))
    ):
        raise ConvertError("invalid array from the model process: another type or shape")
    return array
