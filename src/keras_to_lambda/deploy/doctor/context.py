"""Setup: what is to be checked, and the means to look at it: programs, the template, AWS."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import subprocess
import tomllib
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from keras_to_lambda.deploy import ALIAS
from keras_to_lambda.deploy.doctor.finding import Skip
from keras_to_lambda.deploy.doctor.template import Template
from keras_to_lambda.project import ROOT

# The name that `make image` gives, and the one of `sam build`: the function's, in lower case.
IMAGES = ("keras-to-lambda", "classifier")

# The names of processors, as machines, Docker and Lambda say them.
ARCHITECTURES = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "arm64", "arm64": "arm64"}

# A command in a remedy, in backticks; of one that goes on by a pipe or && each part.
COMMAND = re.compile(
    r"(?:(?<=`)|(?<=&& )|(?<=\| ))(?:aws|sam|make deploy|k2l deploy)\b(?:[^`|&]*[^`|& ])?"
)

# The Makefile is the clone's. Its variables that `k2l deploy` takes as parameters:
VARIABLES = {"MEMORY": "MemorySize", "ARCHITECTURE": "Architecture", "MODEL": "Model"}
VARIABLE = re.compile(r"\b(WITH|MEMORY|ARCHITECTURE|MODEL)=")

READ_TIMEOUT_S = 6  # of one of AWS's APIs


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
    """The arguments of the command line; the rest is looked up when it is asked for, once.

    Members that look something up raise Skip, with the reason, where that cannot be done.
    """

    image: str = ""
    region: str = ""
    profile: str = ""
    stack: str = "keras-to-lambda"
    architecture: str = ""
    model: str = ""
    url: str = ""
    offline: bool = False
    service_role: bool = False
    parameters: dict[str, str] = field(default_factory=dict)
    root: Path = ROOT

    def run(self, *command: str, timeout_s: float = 10, env: dict[str, str] | None = None) -> Ran:
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

    def addressed(self, remedy: str) -> str:
        """A remedy whose commands reach what is looked at, and nothing of that name elsewhere."""
        if not self.makes:
            remedy = without_make(remedy)
        return COMMAND.sub(lambda found: self._typed(found[0]), remedy)

    def _typed(self, command: str) -> str:
        """A command with the region, the profile and the stack that are looked at.

        The region wherever it is from: another shell may have another, and aws does not read
        samconfig.toml. The profile only if it was given: once it is named, its keys come before
        those of the environment, by which AWS was asked.
        """
        region = self.region
        with contextlib.suppress(Exception):  # no session; the check `region` says why
            region = self.session.region_name or ""
        stack = self.stack if self.stack != Setup.stack else ""
        if command.startswith("k2l"):
            words = {"--region ": region, "--profile ": self.profile, "--stack ": stack}
        elif command.startswith("make"):
            words = {"REGION=": region, "PROFILE=": self.profile, "STACK=": stack}
        elif command.startswith("aws configure"):
            words = {"--profile ": self.profile}  # keys are of no region
        else:
            words = {"--region ": region, "--profile ": self.profile}
        options = [
            name + shlex.quote(value)
            for name, value in words.items()
            if value and name not in command
        ]
        command = command.replace("STACK", self.stack).replace("REGION", region or "REGION")
        return " ".join((command, *options))

    # The project

    @property
    def in_project(self) -> bool:
        """Whether the folder is a clone, or one that `k2l new` wrote."""
        return (self.root / "template.yaml").is_file()

    @property
    def makes(self) -> bool:
        """Whether the folder has the Makefile that remedies name."""
        return (self.root / "Makefile").is_file()

    @cached_property
    def plain(self) -> Template:
        """template.yaml as it is.

        Raises:
            OSError; yaml.YAMLError; ValueError: it is no template.
        """
        return Template.read(self.root / "template.yaml")

    @cached_property
    def template(self) -> Template:
        """template.yaml as it would be deployed: with what is given, here or in samconfig.toml.

        Raises:
            OSError; yaml.YAMLError; ValueError: it is no template.
        """
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
        return self.template.default(name)

    @cached_property
    def wanted(self) -> str:
        """The function's architecture: x86_64 or arm64."""
        return self.architecture or self.parameter("Architecture") or "x86_64"

    @property
    def platform(self) -> str:
        """The same, as Docker says it."""
        return "linux/arm64" if self.wanted == "arm64" else "linux/amd64"

    @cached_property
    def model_path(self) -> Path:
        """What is served: a `.tflite` file, or a folder of them."""
        given = self.model or self.parameter("Model") or self.template.build_argument("MODEL")
        return (self.root / (given or "models")).resolve()

    # Docker

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
        builds = "make image" if self.makes else "k2l deploy"
        raise Skip(f"no image {self.image or IMAGES[0]} yet; `{builds}` builds it")

    @cached_property
    def probed(self) -> dict[str, Any]:
        """What probe.py sees in the image, run as Lambda does: by any user, on a root to read.

        https://docs.aws.amazon.com/lambda/latest/dg/images-create.html#images-reqs
        """
        handler = next(iter(self.inspected["Config"].get("Cmd") or []), "")
        ran = self.run(
            *("docker", "run", "--rm", "--network", "none", "--read-only", "--user", "993:990"),
            *("--platform", self.image_platform, "--entrypoint", "python"),
            *(self.inspected["name"], "-c", (Path(__file__).parent / "probe.py").read_text()),
            handler,
            timeout_s=20,
        )
        if ran.status:
            raise Skip(f"the image's Python does not run here: {ran.last_words}")
        return dict(json.loads(ran.out))

    @property
    def image_platform(self) -> str:
        return f"linux/{self.inspected['Architecture']}"

    # AWS

    @cached_property
    def session(self) -> Any:
        """A boto3 session with --profile and the region: --region, the configured, samconfig's."""
        if self.offline:
            raise Skip("--offline")
        import boto3

        session = boto3.Session(profile_name=self.profile or None)
        region = self.region or session.region_name or self.defaults.get("region")
        return boto3.Session(profile_name=self.profile or None, region_name=region)

    def client(self, service: str) -> Any:
        """A client that gives up soon.

        AWS_ENDPOINT_URL, which is botocore's own, leads it elsewhere:
        https://docs.aws.amazon.com/sdkref/latest/guide/feature-ss-endpoints.html
        """
        from botocore.config import Config

        if not self.session.region_name:
            raise Skip("no region is set")
        patience = Config(
            connect_timeout=3, read_timeout=READ_TIMEOUT_S, retries={"total_max_attempts": 1}
        )
        return self.session.client(service, config=patience)

    @cached_property
    def caller(self) -> dict[str, str]:
        """Account and ARN of who is calling, by STS."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return dict(self.client("sts").get_caller_identity())
        except (BotoCoreError, ClientError):
            raise Skip("AWS does not know who you are") from None

    def aws(self, service: str) -> Any:
        """A client for a caller whom AWS knows."""
        assert self.caller
        return self.client(service)

    @cached_property
    def outputs(self) -> dict[str, str]:
        """The stack's outputs, and its `StackStatus` and `RoleARN`."""
        from botocore.exceptions import ClientError

        try:
            stacks = self.aws("cloudformation").describe_stacks(StackName=self.stack)["Stacks"]
        except ClientError as error:
            if "does not exist" not in str(error):
                raise
            stacks = []
        if not stacks:
            raise Skip(f"no stack {self.stack} in {self.session.region_name} yet")
        found = {
            output["OutputKey"]: output["OutputValue"] for output in stacks[0].get("Outputs", [])
        }
        state = {name: stacks[0].get(name, "") for name in ("StackStatus", "RoleARN")}
        return {**found, **state}

    @cached_property
    def deployed(self) -> dict[str, Any]:
        """GetFunction's account of what callers get: by the stack's output, or the stack's name.

        `name` is the function's own, `called` has the alias where there is one.
        """
        try:
            name = self.outputs.get("FunctionName") or self.stack
        except Skip:
            name = self.stack
        found = self._function(FunctionName=name)
        if not found:
            raise Skip(f"no function {name} in {self.session.region_name} yet")
        aliased = self._function(FunctionName=name, Qualifier=ALIAS)
        called = f"{name}:{ALIAS}" if aliased else name
        # What is reserved is the function's; AWS does not tell it of an alias:
        # https://github.com/hashicorp/terraform-provider-aws/pull/43753
        reserved = found.get("Concurrency", {})
        return {"name": name, "called": called, **(aliased or found), "Concurrency": reserved}

    def _function(self, **named: str) -> dict[str, Any]:
        """GetFunction's answer; empty where there is no such function, or alias of it.

        https://docs.aws.amazon.com/lambda/latest/api/API_GetFunction.html
        """
        from botocore.exceptions import ClientError

        try:
            return dict(self.aws("lambda").get_function(**named))
        except ClientError as error:
            if error.response["Error"]["Code"] != "ResourceNotFoundException":
                raise
            return {}


def without_make(remedy: str) -> str:
    """A remedy for a folder without Makefile."""

    def deploy(found: re.Match[str]) -> str:
        names = {**VARIABLES, "WITH": ""}
        return VARIABLE.sub(lambda m: f"{names[m[1]]}=".lstrip("="), f"k2l deploy{found[1]}")

    remedy = re.sub(r"\bmake deploy\b([^`]*)", deploy, remedy)
    return remedy.replace("`make run`", "`k2l serve`").replace("`make image`", "`k2l deploy`")


def version(text: str) -> tuple[int, ...]:
    """The first version in a text: "SAM CLI, version 1.170.0" is (1, 170, 0); () without one."""
    found = re.search(r"\d+(?:\.\d+)+", text)
    return tuple(map(int, found[0].split("."))) if found else ()
