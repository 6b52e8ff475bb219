"""The commands of convert/ in the documents, the help texts and the parsers agree."""

from __future__ import annotations

import importlib
import re
import shlex
from pathlib import Path

import pytest

from keras_to_lambda.cli import main

ROOT = Path(__file__).parents[2]
VERBS = ("convert", "verify", "detect", "inspect")
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def parser(verb):
    return importlib.import_module(f"keras_to_lambda.{main.VERBS[verb].module}").parser()


def commands():
    """Each command line of these verbs in a document or in a help text, and where it is."""
    texts = {path.name: path.read_text(encoding="utf-8") for path in DOCUMENTS}
    texts |= {f"{verb} --help": parser(verb).epilog for verb in VERBS}
    for name, text in texts.items():
        joined = re.sub(r"\\\n\s*", "", text)
        for line in re.findall(rf"^ *k2l (?:{'|'.join(VERBS)}) .*$", joined, re.MULTILINE):
            yield pytest.param(re.sub(r"  +.*$", "", line.strip()), id=f"{name}: {line[:60]}")


@pytest.mark.parametrize("line", list(commands()))
def test_every_command_in_the_documents_is_one(line, capsys):
    _, verb, *arguments = shlex.split(line, comments=True)
    try:
        parser(verb).parse_args(arguments)
    except SystemExit:
        pytest.fail(f"{line}: {capsys.readouterr().err}")


def test_there_are_commands_to_be_looked_at():
    found = [param.values[0] for param in commands()]
    for verb in VERBS:
        assert any(line.startswith(f"k2l {verb} ") for line in found), verb


@pytest.mark.parametrize("verb", VERBS)
def test_every_option_has_a_help_and_the_exit_status_is_explained(verb):
    p = parser(verb)
    for action in p._actions:
        assert action.help, action.dest
    assert "exit status:" in p.epilog
    for status in ("0", "1", "2"):
        assert re.search(rf"^  {status}  \S", p.epilog, re.MULTILINE), status
    assert p.description.endswith(".")


@pytest.mark.parametrize(
    "option", re.findall(r"`(--[a-z-]+)", (ROOT / "docs/conversion.md").read_text())
)
def test_every_option_that_the_document_names_exists(option):
    known = {name for verb in VERBS for a in parser(verb)._actions for name in a.option_strings}
    assert option in known
