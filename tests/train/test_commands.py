"""The commands of train/: each in the docs is taken by its parser, each help text teaches."""

from __future__ import annotations

import importlib
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from keras_to_lambda.cli import main

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = (ROOT / "README.md", ROOT / "docs" / "training.md")
VERBS = ("train", "explore", "search", "evaluate", "layers", "tree")
COMMAND = re.compile(rf"k2l ({'|'.join(VERBS)})\b((?: (?:'[^']*'|[^`\n|])+)?)")
SHOWN = [
    (match[1], match[2].strip())
    for path in DOCUMENTS
    for match in COMMAND.finditer(path.read_text(encoding="utf-8"))
    if match[2].strip() and "..." not in match[2]
]
# Of which a docs line names only one option.
FRAGMENTS = ("--one-at-a-time",)


def test_there_are_commands_to_look_at():
    assert len(SHOWN) >= 12
    assert {verb for verb, _ in SHOWN} >= {"train", "explore", "evaluate"}


@pytest.mark.parametrize(("verb", "given"), SHOWN, ids=[" ".join(pair) for pair in SHOWN])
def test_a_command_in_the_docs_is_taken_by_its_parser(verb, given, capsys):
    if given in FRAGMENTS:
        assert given in help_of(verb)
        return
    if verb == "tree":
        assert given == "DATA"
        return
    parser = importlib.import_module(f"keras_to_lambda.{main.VERBS[verb].module}")._parser
    parser().parse_args(shlex.split(given))


def help_of(verb):
    done = subprocess.run(
        [sys.executable, "-m", "keras_to_lambda", verb, "--help"],
        cwd=ROOT, capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    return done.stdout


@pytest.mark.parametrize("verb", VERBS)
def test_help_says_what_each_option_means(verb):
    text = help_of(verb)
    assert text.startswith(f"usage: k2l {verb} ")
    for line in re.findall(r"^  (--.*)$", text, re.MULTILINE):
        assert re.search(r"  \S|[A-Z}\]]$|\.\.\.$", line), line
