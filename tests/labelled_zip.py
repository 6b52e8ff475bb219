"""The playground's zip of labelled photos, made by the page's own modules in Node."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.unavailable import unavailable

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = """
import { readFileSync, writeFileSync } from "node:fs";
const [keep, to, given] = process.argv.slice(1);
const { asFolders } = await import(keep);
const entries = JSON.parse(given).map(([verdict, path, name]) =>
    ({ verdict, picture: { name, blob: new Blob([readFileSync(path)]) } }));
writeFileSync(to, new Uint8Array(await (await asFolders(entries)).arrayBuffer()));
"""


def write(to: Path, photos: Sequence[tuple[str, Path]]) -> Path:
    """Write photos, each with its label, as the page saves them."""
    node = shutil.which("node")
    if node is None:
        unavailable("no node on this machine (Debian: apt install nodejs)", "REQUIRE_BROWSER")
    given = json.dumps([(label, str(path), path.name) for label, path in photos])
    keep = (ROOT / "web" / "static" / "keep.js").as_uri()
    subprocess.run(
        [node, "--input-type=module", "--eval", SCRIPT, keep, str(to), given],
        check=True, timeout=120,
    )  # fmt: skip
    return to
