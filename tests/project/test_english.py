"""The words of the documents, messages and comments: those that a second-language reader knows."""

from __future__ import annotations

import argparse
import importlib
import re
import subprocess
from pathlib import Path

import pytest

from keras_to_lambda.cli.main import VERBS

ROOT = Path(__file__).resolve().parents[2]
# Each has a plainer word: reported, no one or a passive, again, fix.
HARD = re.compile(
    r"(?<![a-z])(told|nobody|anybody|somebody|anew|mend|mends|mended)(?![a-z])", re.IGNORECASE
)
TEXTS = (
    "*.md",
    "docs",
    "src",
    "web",
    "events",
    "samples",
    "tests",
    "benchmarks",
    "template.yaml",
    "Makefile",
)


def files():
    listed = subprocess.run(
        ["git", "ls-files", "-z", *TEXTS], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout
    kinds = {".md", ".py", ".toml", ".yaml", ".js", ".css", ".html", ".jinja", ""}
    return [
        ROOT / name
        for name in listed.split("\0")
        if name
        and Path(name).suffix in kinds
        and name not in ("CHANGELOG.md", "tests/project/test_english.py")
    ]


def test_no_text_has_a_word_that_is_hard_to_read():
    assert len(files()) > 100
    lines = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in files()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if HARD.search(line)
    ]
    assert lines == []


def parsers():
    """The parser of each verb that needs no TensorFlow to be imported."""
    for name, verb in VERBS.items():
        if verb.extra == "train":
            continue
        make = getattr(importlib.import_module(f"keras_to_lambda.{verb.module}"), "parser", None)
        if make:
            yield pytest.param(make(), id=name)


@pytest.mark.parametrize("parser", list(parsers()))
def test_every_help_text_is_a_phrase_with_its_default(parser: argparse.ArgumentParser):
    for action in parser._actions:
        if action.option_strings and action.default != argparse.SUPPRESS:
            assert len((action.help or "").split()) >= 2, action.option_strings
            if isinstance(action.default, (int, float, str)) and not isinstance(
                action.default, bool
            ):
                assert "default" in (action.help or ""), action.option_strings
