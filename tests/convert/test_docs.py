"""The commands of convert/ and train/ in the documents, the help texts and the parsers agree."""

from __future__ import annotations

import importlib
import re
import shlex
from pathlib import Path

import pytest

from keras_to_lambda.cli import main

ROOT = Path(__file__).parents[2]
# The page on some verbs: each option that it names exists.
VERBS = {
    "conversion": ("convert", "verify", "detect", "inspect"),
    "training": ("train", "search", "tree", "explore", "evaluate"),
}
OPTION = r"`(--[a-z-]+)"
EVERY = tuple(verb for verbs in VERBS.values() for verb in verbs)
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def parser(verb):
    return importlib.import_module(f"keras_to_lambda.{main.VERBS[verb].module}").parser()


def commands():
    """Each command in a document or in a help text, and whether it is a whole one."""
    texts = {path.name: path.read_text(encoding="utf-8") for path in DOCUMENTS}
    texts |= {f"{verb} --help": parser(verb).epilog or "" for verb in EVERY}
    start = rf"k2l (?:{'|'.join(EVERY)}) "
    for name, text in texts.items():
        joined = re.sub(r"\\\n\s*", "", text)
        lines = [(line, True) for line in re.findall(rf"^ *({start}.*)$", joined, re.MULTILINE)]
        # In a sentence, a command may lack what the sentence is not about.
        lines += [(line, False) for line in re.findall(rf"`({start}[^`\n]*)`", joined)]
        for line, whole in lines:
            if "..." not in line:
                command = re.sub(r"  +.*$", "", line.strip())
                yield pytest.param(command, whole, id=f"{name}: {line[:60]}")


@pytest.mark.parametrize(("line", "whole"), list(commands()))
def test_every_command_in_the_documents_is_one(line, whole, capsys):
    _, verb, *arguments = shlex.split(line, comments=True)
    p = parser(verb)
    for action in p._actions:
        action.required = action.required and whole
    try:
        p.parse_args(arguments)
    except SystemExit as end:
        assert end.code == 0, f"{line}: {capsys.readouterr().err}"  # noqa: PT017


def test_there_are_commands_to_be_looked_at():
    found = [param.values[0] for param in commands()]
    for verb in EVERY:
        assert any(line.startswith(f"k2l {verb} ") for line in found), verb


@pytest.mark.parametrize("verb", EVERY)
def test_every_option_has_a_help_and_the_description_is_a_sentence(verb):
    for action in parser(verb)._actions:
        assert action.help, action.dest
    assert parser(verb).description.endswith(".")


@pytest.mark.parametrize("verb", [*VERBS["conversion"], "train"])
def test_the_exit_status_is_explained(verb):
    for status in ("0", "1", "2"):
        assert re.search(rf"^  {status}  \S", parser(verb).epilog, re.MULTILINE), status


@pytest.mark.parametrize(
    ("page", "option"),
    [
        (page, option)
        for page in VERBS
        for option in sorted(set(re.findall(OPTION, (ROOT / f"docs/{page}.md").read_text())))
    ],
)
def test_every_option_that_the_document_names_exists(page, option):
    known = {name for verb in EVERY for a in parser(verb)._actions for name in a.option_strings}
    assert option in known
