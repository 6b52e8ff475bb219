"""The project's folder: a clone of the repository, or a folder that holds the same files."""

from __future__ import annotations

from pathlib import Path

_CLONE = Path(__file__).resolve().parents[2]


def root() -> Path:
    """The folder with template.yaml: the current one or one above it, else this clone's."""
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "template.yaml").is_file() and (folder / "lambda_function.py").is_file():
            return folder
    return _CLONE


ROOT = root()
