"""Checks of this machine: Python, Docker, AWS's command lines."""

from __future__ import annotations

import importlib.util
import re
import shutil
import sys
from pathlib import Path

from keras_to_lambda.deploy.doctor.context import Finding, Setup, Skip, fail, ok, warn
from keras_to_lambda.deploy.doctor.explain import advice

# What the function and this command need.
PACKAGES = ("ai_edge_litert", "boto3", "numpy", "PIL", "requests")

# The oldest tested releases; pyproject.toml's group `aws` has the same.
LEAST = {"aws-sam-cli": (1, 150), "awscli": (1, 44)}

# The names of processors, as Docker and Lambda have them.
ARCHITECTURES = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "arm64", "arm64": "arm64"}


def python(_: Setup) -> Finding:
    """This Python, and its packages."""
    here = ".".join(map(str, sys.version_info[:3]))
    if not (3, 11) <= sys.version_info < (3, 14):
        return fail(f"{here}; 3.11, 3.12 or 3.13 is needed", "install the project in one of these")
    missing = [name for name in PACKAGES if not importlib.util.find_spec(name)]
    if missing:
        fix = '`pip install "keras-to-lambda[deploy]"`'
        return fail(f"{here}, without {', '.join(missing)}", fix)
    return ok(f"{here}, with the function's packages")


def docker(setup: Setup) -> Finding:
    """The program `docker`, and the engine that builds and runs images."""
    if not shutil.which("docker"):
        return fail(
            "docker is not on PATH",
            "install it: https://docs.docker.com/get-started/get-docker/; without it, `k2l serve` "
            "serves here, and a CI machine with Docker can build",
        )
    try:
        server = setup.engine
    except Skip:
        said = setup.run("docker", "version", "--format", "{{.Server.Version}}").last_words
        return fail(
            said, advice(said) or "start the engine; `docker version` shows whether it answers"
        )
    return ok(f"{server['Version']}, {server['Os']}/{server['Arch']}")


def architecture(setup: Setup) -> Finding:
    """Whether an image of the function's architecture can be built here."""
    here = ARCHITECTURES.get(str(setup.engine["Arch"]), setup.engine["Arch"])
    if here == setup.architecture:
        return ok(f"{here}, as the function's")
    # Docker Desktop emulates by itself; Linux by what is registered with its kernel:
    # https://docs.docker.com/build/building/multi-platform/#qemu
    qemu = "qemu-aarch64" if setup.architecture == "arm64" else "qemu-x86_64"
    text = f"{here} here, {setup.architecture} for the function"
    if sys.platform != "linux" or (Path("/proc/sys/fs/binfmt_misc") / qemu).exists():
        return warn(
            f"{text}: builds are emulated, and slow",
            f"`k2l deploy Architecture={here}`, or build on a machine with {setup.architecture}",
        )
    platform = setup.platform.removeprefix("linux/")
    return fail(
        f"{text}, and no emulation of it",
        f"`docker run --privileged --rm tonistiigi/binfmt --install {platform}`; or "
        f"`k2l deploy Architecture={here}`",
    )


def sam(setup: Setup) -> Finding:
    """AWS SAM's command line."""
    return _tool(setup, "sam", "aws-sam-cli")


def aws(setup: Setup) -> Finding:
    """AWS's command line."""
    return _tool(setup, "aws", "awscli")


def _tool(setup: Setup, name: str, package: str) -> Finding:
    path = setup.tool(name)
    if not path:
        return fail(f"{name} is not on PATH", f"`pipx install {package}`")
    number = re.search(r"\d+(?:\.\d+)+", setup.run(path, "--version").out)
    said = f"{number[0] if number else 'of unknown version'}, {path}"
    if not number or tuple(map(int, number[0].split("."))) < LEAST[package]:
        tested = ".".join(map(str, LEAST[package]))
        return warn(f"{said}; tested from {tested} on", f"`pipx upgrade {package}`")
    return ok(said)
