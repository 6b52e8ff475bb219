"""The distribution: wheel and sdist build, install into an empty environment, and run anywhere.

Without a package index the tests are skipped; REQUIRE_PACKAGE=1 makes that a failure.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import urllib.request
import venv
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

from tests.unavailable import unavailable

ROOT = Path(__file__).resolve().parents[2]
BUILD = """
import os, sys
from hatchling import build
os.chdir(sys.argv[1])
print(getattr(build, "build_" + sys.argv[3])(sys.argv[2]))
"""
# Of this environment nothing is inherited: the package is the installed one.
CLEAN = {k: v for k, v in os.environ.items() if k not in {"PYTHONPATH", "MODEL_PATH"}}


def run(*command, **options):
    options = {"text": True, "capture_output": True, "env": CLEAN, **options}
    return subprocess.run([str(each) for each in command], check=False, **options)


def installed(folder, *arguments):
    """An environment with packages, by uv where it is found; its Python."""
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    uv = shutil.which("uv") or shutil.which("uv", path=ROOT / ".venv-uv" / "bin")
    by_uv = [uv, "pip", "install", "--python", python]
    by_pip = [sys.executable, "-m", "pip", "--python", python, "install"]
    done = run(*(by_uv if uv else by_pip), "-q", *arguments)
    if done.returncode:
        unavailable(f"no package index: {done.stderr.strip()[-300:]}", "REQUIRE_PACKAGE")
    return python


@pytest.fixture(scope="module")
def distribution(tmp_path_factory):
    """sdist, and the wheel that is built of the sdist."""
    folder = tmp_path_factory.mktemp("distribution")
    python = installed(folder / "builder", "hatchling>=1.27")

    def build(source, kind):
        done = run(python, "-c", BUILD, source, folder, kind)
        assert done.returncode == 0, done.stderr
        return folder / done.stdout.split()[-1]

    sdist = build(ROOT, "sdist")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    return sdist, build(folder / sdist.name.removesuffix(".tar.gz"), "wheel")


@pytest.fixture(scope="module")
def k2l(distribution, tmp_path_factory):
    """The command of an environment that holds the wheel and its dependencies alone."""
    return installed(tmp_path_factory.mktemp("base") / "venv", distribution[1]).parent / "k2l"


def test_wheel_and_sdist_have_licence_types_metadata_and_what_the_verbs_need(distribution):
    with zipfile.ZipFile(distribution[1]) as wheel:
        names = wheel.namelist()
        [place] = [name for name in names if name.endswith("/METADATA")]
        about = Parser().parsestr(wheel.read(place).decode())
    assert about["Name"] == "keras-to-lambda"
    assert about["License-Expression"] == "Apache-2.0"
    assert about["Requires-Python"] == "<3.14,>=3.11"
    assert about["Description-Content-Type"] == "text/markdown"
    assert set(about.get_all("Provides-Extra")) == {"convert", "train", "deploy"}
    assert "Typing :: Typed" in about.get_all("Classifier")
    for name in (
        "keras_to_lambda/py.typed",
        "keras_to_lambda/web/index.html",
        "keras_to_lambda/models/clothing/clothing.tflite",
        "keras_to_lambda/skeleton/template.yaml",
        "keras_to_lambda/errors.toml",
        "keras_to_lambda/convert/scan/known_names.txt",
        f"{place.partition('/')[0]}/licenses/LICENSE",
    ):
        assert name in names, name
    assert not [name for name in names if name.startswith(("tests/", "benchmarks/"))]
    with tarfile.open(distribution[0]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"LICENSE", "README.md", "pyproject.toml", "PKG-INFO"} <= names
    assert not [name for name in names if name.startswith(("tests", ".venv", ".git/"))]


def test_the_commands_run_in_a_folder_outside_of_the_clone(k2l, tmp_path):
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    for command in (k2l, k2l.with_name("keras-to-lambda")):
        assert run(command, "--version", cwd=tmp_path).stdout == f"keras-to-lambda {version}\n"
    photo = shutil.copy(ROOT / "samples" / "dress.jpg", tmp_path)
    done = run(k2l, "predict", photo, "--format", "csv", "--top-k", "1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert ",1,dress," in done.stdout
    done = run(k2l, "convert", "my.h5", cwd=tmp_path)
    assert done.returncode == 2
    assert 'pip install "keras-to-lambda[convert]"' in done.stderr


def test_a_new_folder_and_its_page_are_served(k2l, tmp_path):
    model = ROOT / "models" / "digits" / "digits.tflite"
    done = run(k2l, "new", "my-api", "--model", model, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    done = run(k2l, "predict", "--check", cwd=tmp_path / "my-api")
    assert "hash and inference checked" in done.stdout, done.stderr
    server = subprocess.Popen(
        [k2l, "serve", "--port", "0"], cwd=tmp_path / "my-api", stdout=subprocess.PIPE, text=True,
        env=CLEAN,
    )  # fmt: skip
    try:
        line = server.stdout.readline()
        assert line.startswith("serving digits (default); ")
        url = re.search(r"http://\S+:\d+/", line)[0]
        with urllib.request.urlopen(url) as page:
            assert b"<html" in page.read()
    finally:
        server.terminate()
        server.communicate()
    assert server.returncode == 0
