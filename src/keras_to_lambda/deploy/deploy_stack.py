"""Stack: sam build, the doctor and sam deploy, with the same parameters.

    k2l deploy Authentication=none MemorySize=1769 -- --no-confirm-changeset

Omitted parameters keep the stack's current value. For `sam deploy` AWS sees to that; `sam build`
needs Architecture and Model, which are read from the stack here. Only Deployment=Off is for one
deployment: see `shifting`.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from keras_to_lambda import aws, project
from keras_to_lambda.cli import frame
from keras_to_lambda.deploy.doctor import doctor
from keras_to_lambda.deploy.doctor.checks import refused
from keras_to_lambda.deploy.doctor.setup import Setup
from keras_to_lambda.function_defaults import ALIAS
from keras_to_lambda.project import ROOT
from keras_to_lambda.runtime.common.errors import UserError

if TYPE_CHECKING:
    import boto3

# Where `make` puts it, else on PATH.
_OURS = ROOT / ".venv-aws" / "bin" / "sam"
SAM = _OURS if _OURS.exists() else Path(shutil.which("sam") or "sam")
BUILT = ROOT / ".aws-sam" / "build" / "template.yaml"
# The name that sam build gives the image: the function's, in lower case.
IMAGE = "classifier"
# The text of the template that makes way for the settings' hash, and why it does: see there.
UNSET = "Description: settings not set"
BUILD_PARAMETERS = ("Architecture", "Model")


class Deployed(NamedTuple):
    """A stack as it is: its parameters and outputs, and the version that callers get."""

    parameters: Mapping[str, str] = {}
    outputs: Mapping[str, str] = {}
    live: str = ""

    @property
    def led_back(self) -> bool:
        """Whether the alias is at another version than the stack has put it at last."""
        return bool(self.live) and self.live != self.outputs.get("FunctionVersion", self.live)


def deployed(stack: str, session: boto3.Session) -> Deployed:
    """The stack as it is; empty, if there is none yet.

    Raises:
        AwsError: AWS could not be asked.
    """
    try:
        found = aws.stack(stack, session)
    except aws.AwsError as error:
        if error.code == "ValidationError":  # does not exist
            return Deployed()
        raise
    outputs, live = found["Outputs"], ""
    if "FunctionName" in outputs:
        try:
            with aws.errors(f"stack {stack}"):
                live = session.client("lambda").get_alias(
                    FunctionName=outputs["FunctionName"], Name=ALIAS
                )["FunctionVersion"]
        except aws.AwsError as error:
            if error.code != "ResourceNotFoundException":  # it was deleted
                raise
    return Deployed(found["Parameters"], outputs, live)


def shifting(before: Deployed, said: Mapping[str, str], default: str) -> dict[str, str]:
    """How requests go over to the new version, where no parameter sets it.

    CodeDeploy refuses an alias that is at another version than CloudFormation, which did not lead
    it back, tells it: https://github.com/aws/serverless-application-model/issues/291. Then without
    CodeDeploy, for once.
    """
    if "Deployment" in said:
        return {}
    if before.led_back:
        version = before.outputs["FunctionVersion"]
        print(
            f"stack: {ALIAS} was rolled back from version {version} to {before.live}, which "
            "CodeDeploy refuses: a new version gets all requests at once (Deployment=Off)",
            file=sys.stderr,
        )
        return {"Deployment": "Off"}
    return {"Deployment": default} if before.parameters.get("Deployment") == "Off" else {}


def unchanged(before: Deployed, after: Deployed) -> str:
    """What to say of a deployment that made no new version; nothing if it made one."""
    version = after.outputs.get("FunctionVersion", "")
    if not version or version != before.outputs.get("FunctionVersion"):
        return ""
    if not after.led_back:
        return f"code and settings are unchanged; version {version} stays {ALIAS}"
    return (
        f"code and settings are unchanged, so that there is no new version: {ALIAS} stays at "
        f"version {after.live}, to which it was rolled back. To use version {version} all the "
        f"same: aws lambda update-alias --function-name {after.outputs['FunctionName']} --name "
        f"{ALIAS} --function-version {version}"
    )


def settle(template: Path, parameters: Mapping[str, str]) -> None:
    """Write what tells these settings from others into the function's description.

    Raises:
        UserError: the template has no place for it.
    """
    text = template.read_text(encoding="utf-8")
    if text.count(UNSET) != 1:
        raise UserError(f"{template} does not have {UNSET!r} once: build it from template.yaml")
    settings = hashlib.sha256(json.dumps(parameters, sort_keys=True).encode()).hexdigest()[:12]
    template.write_text(text.replace(UNSET, f"Description: settings {settings}"), encoding="utf-8")


def run(*command: str | Path, **environ: str) -> None:
    """Run one of sam's commands, its output passed on.

    Raises:
        UserError: it failed.
    """
    done = subprocess.run(  # noqa: S603  # our own command, no shell
        command, cwd=ROOT, env={**os.environ, **environ}, check=False
    )
    if done.returncode:
        words = takewhile(lambda word: not word.startswith("--"), map(str, command))
        name = " ".join(Path(word).name for word in words)
        raise UserError(
            f"{name} failed (exit status {done.returncode}); its output is above. To look the "
            "error up, paste it into `k2l doctor --explain`"
        )


def deploy(setup: Setup, options: Sequence[str]) -> None:
    """Build, examine, deploy.

    Args:
        setup: with the parameters that were given. options: more of sam deploy's.

    Raises:
        UserError: a step failed.
    """
    if not SAM.exists():
        raise UserError("sam is not installed: `pipx install aws-sam-cli`")
    stack, session, defaults = setup.stack, setup.session, setup.plain.parameters
    before = deployed(stack, session)
    kept = {name: before.parameters[name] for name in BUILD_PARAMETERS if name in before.parameters}
    parameters = {**kept, **setup.parameters}
    parameters |= shifting(before, parameters, defaults["Deployment"])
    # Of the stack's those alone that this template has, too.
    settings = {**defaults, **before.parameters, **parameters}
    settings = {name: settings[name] for name in defaults}
    setup.parameters = settings
    if faults := list(refused(setup.template, stack, ROOT)):
        raise UserError("; ".join(faults))
    own = [f"{name}={settings[name]}" for name, default in defaults.items()
           if settings[name] != default or name in ("Authentication", "MemorySize")]  # fmt: skip
    print(f"stack: {stack} in {session.region_name}, {', '.join(own)}", flush=True)
    # As sam takes them: values in quotes, which spaces need.
    quoted = {name: value.replace('"', '\\"') for name, value in parameters.items()}
    overriding = [f'{name}="{value}"' for name, value in quoted.items()]
    if overriding:
        overriding.insert(0, "--parameter-overrides")
    # Keys in the environment come before a profile that was not named.
    where = ["--region", session.region_name]
    where += ["--profile", setup.profile] if setup.profile else []
    # BuildKit's attestations would make a list of manifests of the image, which Lambda refuses.
    run(SAM, "build", *overriding, BUILDX_NO_DEFAULT_ATTESTATIONS="1")
    # After the build, as it looks at the image.
    if not doctor.check(setup):
        raise UserError("nothing was deployed, as a check fails; its fix is above")
    # How a version gets its requests is none of its own settings.
    settle(BUILT, {name: settings[name] for name in settings if name != "Deployment"})
    run(SAM, "deploy", "--stack-name", stack, *where, *options, *overriding)
    if text := unchanged(before, deployed(stack, session)):
        print(f"stack: {text}")


@frame.command(
    "k2l deploy", refused=frame.FAILED, interrupted="stopped; what CloudFormation has begun goes on"
)
def main(argv: Sequence[str] | None = None) -> int:
    """Run it. Exit status 1: a step failed, and said why; 2: wrong use."""
    p = frame.Parser(
        "k2l deploy",
        "sam build, k2l doctor and sam deploy, with the same parameters.",
        epilog="Omitted parameters keep the stack's current value; docs/deploy.md has them all.",
    )
    p.add_argument("parameters", nargs="*", metavar="NAME=VALUE", help="parameters of the template")
    p.add_argument("--stack", default=project.stack(), help="stack name (default: %(default)s)")
    aws.add_options(p)
    argv = list(sys.argv[1:] if argv is None else argv)
    options: list[str] = []
    if "--" in argv:
        at = argv.index("--")
        argv, options = argv[:at], argv[at + 1 :]
    args = p.parse_args(argv)
    role = any(each.startswith("--role-arn") for each in options)
    setup = Setup(args.region, args.profile, args.stack, service_role=role, images=(IMAGE,))
    setup.parameters = setup.plain.given(args.parameters)
    deploy(setup, options)
    return frame.OK
