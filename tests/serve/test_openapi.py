"""The API's description is true: schemathesis asks the real server what the description allows."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_schemathesis_finds_nothing(server):
    command = [
        Path(sys.executable).with_name("st"),
        "--config-file", ROOT / "tests" / "serve" / "schemathesis.toml",
        "run", f"{server}/openapi.json", "--continue-on-failure",
        # The same requests at every run: what it found once is found again.
        "--seed", "20", "--max-examples", "10",
    ]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-5000:]
    assert re.search(r"Tested: 5$", done.stdout, re.MULTILINE)
    assert int(re.search(r"(\d+) generated", done.stdout)[1]) > 150
    assert "Failures:" not in done.stdout
