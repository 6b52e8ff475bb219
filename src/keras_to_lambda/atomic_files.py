"""Files: written completely or not at all, also when a run is killed."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from keras_to_lambda.runtime.common.errors import UserError


def write_text(path: Path, text: str) -> None:
    """Write a text file; it replaces an earlier one at once."""
    draft = path.with_name(path.name + ".part")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file; it replaces an earlier one at once."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


@contextmanager
def together(folder: Path) -> Iterator[Path]:
    """A folder whose files and folders replace those of `folder` at the end of the block."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".draft-") as name:
        yield Path(name)
        for path in sorted(Path(name).iterdir()):
            if path.is_dir():
                shutil.rmtree(folder / path.name, ignore_errors=True)
            path.replace(folder / path.name)


def checked(page: Path) -> Path:
    """Where a report goes.

    Raises:
        UserError: it cannot go there.
    """
    if page.is_dir() or page.suffix.lower() not in (".html", ".htm"):
        raise UserError(f"-o {page} must end in .html")
    if not page.absolute().parent.is_dir():
        raise UserError(f"-o {page}: no such folder: {page.parent}")
    return page


def write_report(page: Path, html: str, record: dict[str, Any]) -> Path:
    """Write a report and, with the same name, its JSON, which is returned: both or none."""
    beside = page.with_suffix(".json")
    with together(page.parent) as draft:
        write_text(draft / page.name, html)
        write_json(draft / beside.name, record)
    return beside
