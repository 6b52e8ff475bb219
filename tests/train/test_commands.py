"""The commands of train/: each in the docs is taken by its parser, each help text teaches."""

from __future__ import annotations

import importlib
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = (ROOT / "README.md", ROOT / "docs" / "training.md")
COMMAND = re.compile(r"python -m (train[a-z.]*)((?: (?:'[^']*'|[^`\n|])+)?)")
SHOWN = [
    (match[1], match[2].strip())
    for path in DOCUMENTS
    for match in COMMAND.finditer(path.read_text(encoding="utf-8"))
    if match[2].strip() and "..." not in match[2]
]
MODULES = ("train", "train.explore", "train.search", "train.evaluate", "train.tree",
           "train.data.idx", "train.demo")  # fmt: skip
# Of which a docs line names only one option.
FRAGMENTS = ("--one-at-a-time",)


def test_there_are_commands_to_look_at():
    assert len(SHOWN) >= 12
    assert {module for module, _ in SHOWN} >= {"train", "train.explore", "train.evaluate"}


@pytest.mark.parametrize(("module", "given"), SHOWN, ids=[" ".join(pair) for pair in SHOWN])
def test_a_command_in_the_docs_is_taken_by_its_parser(module, given, capsys):
    if given in FRAGMENTS:
        assert given in help_of(module)
        return
    if module == "train.tree":
        assert given == "DATA"
        return
    name = "train.__main__" if module == "train" else module
    parser = importlib.import_module(name)._parser
    parser().parse_args(shlex.split(given))


def help_of(module):
    done = subprocess.run(
        [sys.executable, "-m", module, "--help"],
        cwd=ROOT, capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    return done.stdout


@pytest.mark.parametrize("module", MODULES)
def test_help_says_what_each_option_means(module):
    text = help_of(module)
    assert text.startswith(f"usage: python -m {module} ")
    for line in re.findall(r"^  (--.*)$", text, re.MULTILINE):
        assert re.search(r"  \S|[A-Z}\]]$|\.\.\.$", line), line
