"""Setup: what is to be checked, and the means to look at it: programs, the template, AWS."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from botocore.config import Config

from keras_to_lambda import aws, project
from keras_to_lambda.deploy.doctor.template import Template
from keras_to_lambda.runtime.common.errors import UserError

if TYPE_CHECKING:
    import boto3

# The name of the docs' `docker build`, and the one of `sam build`: the function's, in lower case.
IMAGES = ("keras-to-lambda", "classifier")
PATIENCE = Config(connect_timeout=3, read_timeout=6, retries={"total_max_attempts": 1})


class Finding(NamedTuple):
    """What one check found.

    status: `ok`; `warn`, which does not stop a deployment; `FAIL`, which does; or `skipped`.
    fix: a command, or a sentence with its commands in `backticks`.
    """

    status: str
    text: str
    fix: str = ""


def ok(text: str) -> Finding:
    return Finding("ok", text)


def warn(text: str, fix: str = "") -> Finding:
    return Finding("warn", text, fix)


def fail(text: str, fix: str) -> Finding:
    return Finding("FAIL", text, fix)


class Skip(UserError):
    """A check cannot be made here; the message says why."""


@dataclass
class Setup:
    """The arguments of the command line; the rest is looked up when it is needed, once.

    Members that look something up raise Skip, with the reason, where that cannot be done.
    """

    region: str | None = None
    profile: str | None = None
    stack: str = project.DEFAULT_STACK
    offline: bool = False
    service_role: bool = False
    parameters: Mapping[str, str] = field(default_factory=dict)
    images: tuple[str, ...] = IMAGES
    root: Path = project.ROOT

    def run(
        self, *command: str, timeout_s: float = 60, **env: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a program in the project's folder.

        Raises:
            OSError: it is not there. subprocess.TimeoutExpired.
        """
        return subprocess.run(  # noqa: S603  # programs that we name ourselves, no shell
            command,
            cwd=self.root,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=timeout_s,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "SAM_CLI_TELEMETRY": "0", **env},
        )

    def tool(self, name: str) -> str | None:
        """The path of sam or aws: where `make` puts them, or on PATH."""
        beside = self.root / ".venv-aws" / "bin" / name
        return str(beside) if beside.exists() else shutil.which(name)

    @cached_property
    def plain(self) -> Template:
        """template.yaml as it is.

        Raises:
            OSError. UserError: it is no template.
        """
        try:
            return Template.read(self.root / "template.yaml")
        except ModuleNotFoundError as error:
            raise Skip(f"{error.name} is not installed") from error

    @cached_property
    def template(self) -> Template:
        """template.yaml as it would be deployed: with the parameters that are given."""
        return self.plain.deployed_with(self.parameters)

    @property
    def architecture(self) -> str:
        """The function's: x86_64 or arm64."""
        return self.template.parameters.get("Architecture", "x86_64")

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
        server = json.loads(ran.stdout).get("Server") if ran.stdout.startswith("{") else None
        if not server:
            raise Skip("no Docker engine answers")
        return dict(server)

    @cached_property
    def inspected(self) -> dict[str, Any]:
        """`docker image inspect` of the first of `images` that is there.

        https://docs.docker.com/reference/api/engine/version/v1.50/#tag/Image/operation/ImageInspect
        """
        assert self.engine
        for name in self.images:
            ran = self.run("docker", "image", "inspect", name)
            if ran.returncode == 0:
                return {"name": name, **json.loads(ran.stdout)[0]}
        raise Skip(f"no image {self.images[0]} yet; `k2l deploy` builds it")

    @cached_property
    def session(self) -> boto3.Session:
        """A session with a region; raises AwsError if there is none."""
        if self.offline:
            raise Skip("--offline")
        return aws.session(self.region, self.profile)

    def client(self, service: str) -> Any:
        """A client that gives up soon."""
        try:
            return self.session.client(service, config=PATIENCE)
        except aws.AwsError as error:
            raise Skip("no usable region") from error


def last_words(ran: subprocess.CompletedProcess[str]) -> str:
    """The last line of what a program printed, errors first."""
    lines = (ran.stderr.strip() or ran.stdout.strip()).splitlines()
    return lines[-1].strip() if lines else f"exit status {ran.returncode}"
