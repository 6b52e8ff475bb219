"""Files: written whole or not at all, whenever a run is stopped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def write_text(path: Path, text: str) -> None:
    """Write a text file in place of the one that is there."""
    draft = path.with_name(path.name + ".part")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file in place of the one that is there."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")
