"""The API's description is true: schemathesis asks the real server what the description allows."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import requests

ROOT = Path(__file__).resolve().parents[2]


def schemathesis(*arguments, examples=30):
    command = [
        Path(sys.executable).with_name("st"),
        "--config-file", ROOT / "tests" / "serve" / "schemathesis.toml", "run", *arguments,
        # The same requests at every run: what it found once is found again.
        "--seed", "20", "--max-examples", str(examples), "--continue-on-failure",
    ]  # fmt: skip
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_schemathesis_finds_nothing(server):
    done = schemathesis(f"{server}/openapi.json")
    print(done.stdout[-1500:])
    assert done.returncode == 0, done.stdout[-5000:]
    assert re.search(r"Tested: 5$", done.stdout, re.MULTILINE)
    assert int(re.search(r"(\d+) generated", done.stdout)[1]) > 150
    assert "Failures:" not in done.stdout


def test_it_would_find_an_untrue_description(server, tmp_path):
    """The check can fail: with top_k of 0 in the document, it reports that the API refuses it."""
    text = requests.get(f"{server}/openapi.json", timeout=30).text
    assert '"minimum": 1' in text
    untrue = tmp_path / "openapi.json"
    untrue.write_text(text.replace('"minimum": 1', '"minimum": 0'), encoding="utf-8")
    done = schemathesis(
        untrue, "--url", server, "--include-path", "/predict", "--phases", "coverage", examples=1
    )
    assert done.returncode == 1
    assert "Schema-valid request rejected" in done.stdout
