"""The commands of convert/ in the documents, the help texts and the parsers agree."""

from __future__ import annotations

import importlib
import re
import shlex
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COMMANDS = ("convert.__main__", "convert.verify", "convert.detect", "convert.inspect")
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def parser(module):
    return importlib.import_module(module).parser()


def commands():
    """Each command line of convert/ in a document or in a help text, and where it is."""
    texts = {path.name: path.read_text(encoding="utf-8") for path in DOCUMENTS}
    texts |= {f"{module} --help": parser(module).epilog for module in COMMANDS}
    for name, text in texts.items():
        joined = re.sub(r"\\\n\s*", "", text)
        for line in re.findall(r"^.*python -m convert(?:\.\w+)? .*$", joined, re.MULTILINE):
            if line.lstrip().startswith((".venv-tf/", "python -m")):
                yield pytest.param(re.sub(r"  +.*$", "", line.strip()), id=f"{name}: {line[:60]}")


@pytest.mark.parametrize("line", list(commands()))
def test_every_command_in_the_documents_is_one(line, capsys):
    words = shlex.split(line)
    module = words[words.index("-m") + 1]
    arguments = words[words.index("-m") + 2 :]
    try:
        parser("convert.__main__" if module == "convert" else module).parse_args(arguments)
    except SystemExit:
        pytest.fail(f"{line}: {capsys.readouterr().err}")


def test_there_are_commands_to_be_looked_at():
    found = [param.values[0] for param in commands()]
    for module in ("convert", "convert.verify", "convert.detect", "convert.inspect"):
        assert any(f"-m {module} " in line for line in found), module


@pytest.mark.parametrize("module", COMMANDS)
def test_every_option_has_a_help_and_the_exit_status_is_explained(module):
    p = parser(module)
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
    known = {
        name for module in COMMANDS for a in parser(module)._actions for name in a.option_strings
    }
    assert option in known
