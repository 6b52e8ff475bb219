"""Files: written completely or not at all, also when a run is killed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def write_text(path: Path, text: str) -> None:
    """Write a text file; it replaces an earlier one at once."""
    draft = path.with_name(path.name + ".part")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file; it replaces an earlier one at once."""
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")
