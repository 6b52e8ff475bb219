"""Setup: what is to be checked, and the means to look at it: programs, the template, AWS."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tomllib
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import boto3
from botocore.config import Config

from keras_to_lambda.deploy.doctor.template import Template
from keras_to_lambda.project import ROOT

# The name of the docs' `docker build`, and the one of `sam build`: the function's, in lower case.
IMAGES = ("keras-to-lambda", "classifier")
READ_TIMEOUT_S = 6  # of one of AWS's APIs


class Status(StrEnum):
    """`WARN` does not stop a deployment, `FAIL` does; `SKIPPED` was not looked at."""

    OK = "ok"
    WARN = "warn"
    FAIL = "FAIL"
    SKIPPED = "skipped"


class Finding(NamedTuple):
    """What one check found. fix: a command, or a sentence with its commands in `backticks`."""

    status: Status
    text: str
    fix: str = ""


class Skip(Exception):
    """A check cannot be made here; the message says why."""


def ok(text: str) -> Finding:
    return Finding(Status.OK, text)


def warn(text: str, fix: str = "") -> Finding:
    return Finding(Status.WARN, text, fix)


def fail(text: str, fix: str) -> Finding:
    return Finding(Status.FAIL, text, fix)


class Ran(NamedTuple):
    """A program's exit status, and what it printed."""

    status: int
    out: str
    err: str

    @property
    def last_words(self) -> str:
        """The last line of what it printed, errors first."""
        lines = (self.err.strip() or self.out.strip()).splitlines()
        return lines[-1].strip() if lines else f"exit status {self.status}"


@dataclass
class Setup:
    """The arguments of the command line; the rest is looked up when it is needed, once.

    Members that look something up raise Skip, with the reason, where that cannot be done.
    """

    image: str = ""
    region: str = ""
    profile: str = ""
    stack: str = "keras-to-lambda"
    offline: bool = False
    service_role: bool = False
    parameters: dict[str, str] = field(default_factory=dict)
    root: Path = ROOT

    def run(self, *command: str, timeout_s: float = 60, env: dict[str, str] | None = None) -> Ran:
        """Run a program in the project's folder.

        Raises:
            OSError: it is not there. TimeoutError: it took too long.
        """
        try:
            done = subprocess.run(  # noqa: S603  # programs that we name ourselves, no shell
                command,
                cwd=self.root,
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
                timeout=timeout_s,
                stdin=subprocess.DEVNULL,
                env={**os.environ, "SAM_CLI_TELEMETRY": "0", **(env or {})},
            )
        except subprocess.TimeoutExpired:
            shown = " ".join(command[:3])
            raise TimeoutError(f"`{shown}` did not end within {timeout_s:.0f} s") from None
        return Ran(done.returncode, done.stdout, done.stderr)

    def tool(self, name: str) -> str | None:
        """The path of sam or aws: where `make` puts them, or on PATH."""
        beside = self.root / ".venv-aws" / "bin" / name
        return str(beside) if beside.exists() else shutil.which(name)

    @cached_property
    def plain(self) -> Template:
        """template.yaml as it is.

        Raises:
            OSError; yaml.YAMLError; ValueError: it is no template.
        """
        return Template.read(self.root / "template.yaml")

    @cached_property
    def template(self) -> Template:
        """template.yaml as it would be deployed: with what is given, here or in samconfig.toml."""
        return self.plain.deployed_with({**self.defaults, **self.parameters})

    @cached_property
    def defaults(self) -> dict[str, str]:
        """What samconfig.toml says for `sam deploy`: region and parameters."""
        path = self.root / "samconfig.toml"
        if not path.exists():
            return {}
        tables = tomllib.loads(path.read_text(encoding="utf-8")).get("default", {})
        found: dict[str, str] = {}
        for command in ("global", "deploy"):
            values = tables.get(command, {}).get("parameters", {})
            overrides = values.get("parameter_overrides", [])
            words = overrides.split() if isinstance(overrides, str) else overrides
            found |= dict(word.replace('"', "").split("=", 1) for word in words if "=" in word)
            found |= {name: values[name] for name in ("region",) if name in values}
        return found

    def parameter(self, name: str) -> str:
        """A parameter of the template as it would be deployed; empty where it has none."""
        return self.template.parameters.get(name, "")

    @property
    def architecture(self) -> str:
        """The function's: x86_64 or arm64."""
        return self.parameter("Architecture") or "x86_64"

    @property
    def platform(self) -> str:
        """The same, as Docker says it."""
        return "linux/arm64" if self.architecture == "arm64" else "linux/amd64"

    @cached_property
    def engine(self) -> dict[str, Any]:
        """`docker version`'s account of the engine."""
        if not shutil.which("docker"):
            raise Skip("there is no docker")
        # Not `--format json`: Docker before 23 takes that for a template, and prints the word.
        ran = self.run("docker", "version", "--format", "{{json .}}")
        server = json.loads(ran.out).get("Server") if ran.out.startswith("{") else None
        if not server:
            raise Skip("no Docker engine answers")
        return dict(server)

    @cached_property
    def inspected(self) -> dict[str, Any]:
        """`docker image inspect` of the image: --image, or the first of IMAGES that is there.

        https://docs.docker.com/reference/api/engine/version/v1.50/#tag/Image/operation/ImageInspect
        """
        assert self.engine
        for name in (self.image,) if self.image else IMAGES:
            ran = self.run("docker", "image", "inspect", name)
            if ran.status == 0:
                return {"name": name, **json.loads(ran.out)[0]}
        raise Skip(f"no image {self.image or IMAGES[0]} yet; `k2l deploy` builds it")

    @cached_property
    def session(self) -> boto3.Session:
        """A boto3 session with --profile and the region: --region, the configured, samconfig's."""
        if self.offline:
            raise Skip("--offline")
        session = boto3.Session(profile_name=self.profile or None)
        region = self.region or session.region_name or self.defaults.get("region")
        return boto3.Session(profile_name=self.profile or None, region_name=region)

    def client(self, service: str) -> Any:
        """A client that gives up soon."""
        if not self.session.region_name:
            raise Skip("no region is set")
        patience = Config(
            connect_timeout=3, read_timeout=READ_TIMEOUT_S, retries={"total_max_attempts": 1}
        )
        return self.session.client(service, config=patience)
