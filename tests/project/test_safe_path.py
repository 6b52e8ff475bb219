"""Files in the current folder that are named like Python's modules, or like a package's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TENSORFLOW = ROOT / ".venv-tf" / "bin" / "python"
# One command by each way in: all verbs of `keras_to_lambda` have the same.
HERE = ("keras_to_lambda", "keras_to_lambda predict")
WITH_TENSORFLOW = ("convert", "keras_to_lambda train")
# Of the standard library, of packages that are installed, and of some that are not.
HOSTILE = (
    *("__future__", "argparse", "ast", "copy", "csv", "dataclasses", "enum", "inspect", "json"),
    *(
        "logging",
        "pathlib",
        "random",
        "re",
        "socket",
        "subprocess",
        "tempfile",
        "threading",
        "typing",
    ),
    *("numpy", "PIL", "keras", "tensorflow", "h5py", "requests", "yaml", "jinja2"),
    *("pandas", "torch", "jax", "mlflow", "simplejson", "brotli"),
)


@pytest.fixture
def hostile(tmp_path):
    """A folder with such files, each of which ends the process."""
    for name in HOSTILE:
        (tmp_path / f"{name}.py").write_text("import os\nos._exit(66)\n", encoding="utf-8")
    return tmp_path


WITHOUT_IT = pytest.mark.skipif(
    not TENSORFLOW.exists(), reason="TensorFlow's environment is not here: make setup"
)
COMMANDS = [
    *(pytest.param(Path(sys.executable), module, id=module) for module in HERE),
    *(pytest.param(TENSORFLOW, module, id=module, marks=WITHOUT_IT) for module in WITH_TENSORFLOW),
]


def help_of(python, module, folder, **environment):
    return subprocess.run(
        [python, "-m", *module.split(), "--help"],
        cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(("python", "module"), COMMANDS)
def test_files_beside_the_project_are_not_taken_for_modules(python, module, hostile):
    for path in ROOT.iterdir():
        if not path.name.startswith("."):
            (hostile / path.name).symlink_to(path)
    done = help_of(python, module, hostile)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage: ")


@pytest.mark.parametrize(
    ("python", "module"),
    [case for case in COMMANDS if case.id in ("keras_to_lambda predict", "convert")],
)
def test_files_in_another_folder_are_not_either(python, module, hostile):
    done = help_of(
        python, module, hostile, PYTHONPATH=os.pathsep.join((str(ROOT / "src"), str(ROOT)))
    )
    assert done.returncode == 0, done.stderr


def test_without_it_such_a_file_is_taken(hostile):
    (hostile / "command.py").write_text("import argparse\n", encoding="utf-8")
    assert help_of(Path(sys.executable), "command", hostile).returncode == 66
