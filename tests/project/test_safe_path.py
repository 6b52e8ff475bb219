"""Files in the current folder that are named like Python's modules, or like a package's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TENSORFLOW = ROOT / ".venv-tf" / "bin" / "python"
# Of the standard library, of packages that are installed, and of some that are not.
HOSTILE = """
__future__ argparse ast copy csv dataclasses enum inspect json logging pathlib random re socket
subprocess tempfile threading typing numpy PIL keras tensorflow h5py requests yaml jinja2 pandas
torch jax mlflow simplejson brotli
"""
# One command by each way in: all verbs of `keras_to_lambda` have the same.
COMMANDS = [
    pytest.param(Path(sys.executable), "keras_to_lambda predict", id="k2l"),
    pytest.param(
        TENSORFLOW, "convert", id="convert",
        marks=pytest.mark.skipif(
            not TENSORFLOW.exists(), reason="TensorFlow's environment is not here: make setup"
        ),
    ),
]  # fmt: skip


def help_of(python, module, folder, **environment):
    return subprocess.run(
        [python, "-m", *module.split(), "--help"],
        cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(("python", "module"), COMMANDS)
def test_files_beside_the_project_or_elsewhere_are_not_taken_for_modules(python, module, tmp_path):
    for name in HOSTILE.split():
        (tmp_path / f"{name}.py").write_text("import os\nos._exit(66)\n", encoding="utf-8")
    (tmp_path / "command.py").write_text("import argparse\n", encoding="utf-8")
    assert help_of(Path(sys.executable), "command", tmp_path).returncode == 66
    path = os.pathsep.join((str(ROOT / "src"), str(ROOT)))
    elsewhere = help_of(python, module, tmp_path, PYTHONPATH=path)
    for each in ROOT.iterdir():
        if not each.name.startswith((".", "__pycache__")):
            (tmp_path / each.name).symlink_to(each)
    for done in (elsewhere, help_of(python, module, tmp_path)):
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("usage: ")
