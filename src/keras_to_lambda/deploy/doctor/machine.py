"""Checks of this machine: Python, Docker, the disk, AWS's command lines."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from pathlib import Path

from keras_to_lambda.deploy.doctor.context import ARCHITECTURES, Setup, version
from keras_to_lambda.deploy.doctor.finding import Finding, Skip, fail, ok, warn

# What `make` sets up for `.venv`, as far as the function and this command need it.
PACKAGES = ("ai_edge_litert", "boto3", "numpy", "PIL", "requests")

# The oldest tested releases; pyproject.toml's group `aws` has the same.
LEAST = {"aws-sam-cli": (1, 150), "awscli": (1, 44)}

# An image is 0.3 GB, its base another 0.2, and a build keeps layers of both.
LITTLE_DISK_GB = 10
NO_DISK_GB = 2


def python(setup: Setup) -> Finding:
    """This Python, and its packages."""
    here = ".".join(map(str, sys.version_info[:3]))
    if not (3, 11) <= sys.version_info < (3, 14):
        fix = "make setup PYTHON=python3.13" if setup.makes else "install it in a Python of these"
        return fail(f"{here}; 3.11, 3.12 or 3.13 is needed", fix)
    missing = [name for name in PACKAGES if not importlib.util.find_spec(name)]
    if missing:
        return fail(
            f"{here}, without {', '.join(missing)}",
            "`make setup`, then `k2l doctor`"
            if setup.makes
            else '`pip install "keras-to-lambda[deploy]"`',
        )
    return ok(f"{here}, with the function's packages")


def docker_client(setup: Setup) -> Finding:
    """The program `docker`."""
    found = shutil.which("docker")
    if not found:
        return fail(
            "docker is not on PATH",
            "install it: https://docs.docker.com/get-started/get-docker/; without it, `make run` "
            "serves here, and a CI machine with Docker can build",
        )
    return ok(setup.run("docker", "--version").out.strip().removeprefix("Docker version "))


def docker_engine(setup: Setup) -> Finding:
    """The engine that builds and runs images."""
    try:
        server = setup.engine
    except Skip:
        if not shutil.which("docker"):
            raise
        said = setup.run("docker", "version", "--format", "{{.Server.Version}}").last_words
        return fail(said, _engine_fix(said))
    return ok(f"{server['Version']}, {server['Os']}/{server['Arch']}")


def _engine_fix(said: str) -> str:
    if "permission denied" in said:
        return "`sudo usermod -aG docker $USER`, then log out and in again"
    if host := os.environ.get("DOCKER_HOST"):
        return f"`unset DOCKER_HOST` (it is {host}), or start the engine that it names"
    if sys.platform == "linux":
        return "sudo systemctl start docker"
    return "open Docker Desktop and wait until it says that the engine runs"


def architecture(setup: Setup) -> Finding:
    """Whether an image of the wanted architecture can be built here."""
    here = ARCHITECTURES.get(str(setup.engine["Arch"]), setup.engine["Arch"])
    if here == setup.wanted:
        return ok(f"{here}, as the function's")
    # Docker Desktop emulates by itself; Linux by what is registered with its kernel:
    # https://docs.docker.com/build/building/multi-platform/#qemu
    qemu = "qemu-aarch64" if setup.wanted == "arm64" else "qemu-x86_64"
    if sys.platform != "linux" or (Path("/proc/sys/fs/binfmt_misc") / qemu).exists():
        return warn(
            f"{here} here, {setup.wanted} for the function: builds are emulated, and slow",
            f"deploy with Architecture={here}, or build on a machine with {setup.wanted}",
        )
    return fail(
        f"{here} here, {setup.wanted} for the function, and no emulation of it",
        "`docker run --privileged --rm tonistiigi/binfmt --install "
        f"{setup.platform.removeprefix('linux/')}`; or deploy with Architecture={here}",
    )


def disk(setup: Setup) -> Finding:
    """Room for an image, where the engine keeps them if that is this machine."""
    place, shown = setup.root, "beside the project"
    if setup.engine:
        kept = setup.run("docker", "info", "--format", "{{.DockerRootDir}}").out.strip()
        if kept and os.access(kept, os.X_OK):
            place, shown = Path(kept), "where Docker keeps images"
    free = shutil.disk_usage(place).free / 1e9
    text = f"{free:.0f} GB free {shown}"
    if free < NO_DISK_GB:
        return fail(text, "`docker system prune`, which asks before it removes unused images")
    if free < LITTLE_DISK_GB:
        return warn(text, "`docker system prune`, which asks before it removes unused images")
    return ok(text)


def sam(setup: Setup) -> Finding:
    """AWS SAM's command line."""
    return _tool(setup, "sam", "aws-sam-cli")


def aws(setup: Setup) -> Finding:
    """AWS's command line."""
    return _tool(setup, "aws", "awscli")


def _tool(setup: Setup, name: str, package: str) -> Finding:
    path = setup.tool(name)
    if not path:
        return fail(
            f"{name} is not here",
            f"`make setup`, which puts it into .venv-aws/bin/{name}"
            if setup.makes
            else f"`pipx install {package}`",
        )
    found = version(setup.run(path, "--version").out)
    least = LEAST[package]
    inside = Path(path).is_relative_to(setup.root)
    said = f"{'.'.join(map(str, found))}, {Path(path).relative_to(setup.root) if inside else path}"
    if found < least:
        return warn(
            f"{said}; tested from {'.'.join(map(str, least))} on",
            f"`make setup`, which puts a newer one into .venv-aws/bin/{name}"
            if setup.makes
            else f"a newer one: `pipx install --force {package}`",
        )
    return ok(said)
