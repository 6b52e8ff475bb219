"""The digest that names a model's source."""

from __future__ import annotations

import hashlib
from pathlib import Path


def of(path: Path) -> str:
    """The SHA-256 of a file, or of a folder's sorted names and contents."""
    digest = hashlib.sha256()
    folder = path.is_dir()
    for file in sorted(path.rglob("*")) if folder else [path]:
        if file.is_file():
            if folder:
                digest.update(file.relative_to(path).as_posix().encode() + b"\0")
            with file.open("rb") as stream:
                for block in iter(lambda: stream.read(1 << 20), b""):
                    digest.update(block)
    return digest.hexdigest()
