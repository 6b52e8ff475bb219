"""The words of the documents, messages and comments: those that a second-language reader knows."""

from __future__ import annotations

import argparse
import importlib
import subprocess
from pathlib import Path

import pytest

from keras_to_lambda.cli.main import VERBS

ROOT = Path(__file__).resolve().parents[2]
# Each has a plainer word: reported, no one or a passive, everyone who, again, fix, a non-image.
HARD = "told|nobody|anybody|somebody|whoever|anew|mend|mends|mended|what is no"
TEXTS = [f"*.{kind}" for kind in ("md", "py", "toml", "yaml", "js", "css", "html", "jinja")]


def test_no_text_has_a_word_that_is_hard_to_read():
    where = [*TEXTS, "Makefile", ":!CHANGELOG.md", ":!tests/project/test_english.py"]
    command = ["git", "grep", "--line-number", "--ignore-case", "--word-regexp", "-E", HARD, "--"]
    done = subprocess.run([*command, *where], capture_output=True, text=True, check=False, cwd=ROOT)
    assert (done.returncode, done.stdout) == (1, "")


# Every verb that needs no TensorFlow to be imported, and two commands of make.
COMMANDS = [
    *(verb.module for verb in VERBS.values() if verb.extra != "train"),
    *("deploy.emulator", "deploy.serving_demo"),
]


@pytest.mark.parametrize("module", COMMANDS)
def test_every_help_text_is_a_phrase_with_its_default(module, monkeypatch):
    shown = []

    def record(parser, _file=None):  # argparse cannot call a list's own method
        shown.append(parser)

    monkeypatch.setattr(argparse.ArgumentParser, "print_help", record)
    with pytest.raises(SystemExit):
        importlib.import_module(f"keras_to_lambda.{module}").main(["--help"])
    for parser in shown:
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                shown.extend(action.choices.values())
            if action.option_strings and argparse.SUPPRESS not in (action.default, action.help):
                assert len((action.help or "").split()) >= 2, action.option_strings
                if type(action.default) in (int, float, str):
                    assert "default" in (action.help or ""), action.option_strings
