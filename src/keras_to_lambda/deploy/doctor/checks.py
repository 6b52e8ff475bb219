"""Checks: one function each, from near to far, as what fails first explains what fails after it."""

from __future__ import annotations

import importlib.util
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from keras_to_lambda import aws
from keras_to_lambda.deploy.doctor.setup import Finding, Setup, Skip, fail, last_words, ok, warn
from keras_to_lambda.deploy.doctor.template import Template
from keras_to_lambda.explain import advice
from keras_to_lambda.runtime.common.errors import SetupError
from keras_to_lambda.runtime.common.settings import Settings
from keras_to_lambda.runtime.model import registry
from keras_to_lambda.runtime.model.registry import Models

# What the function and the commands for AWS need.
PACKAGES = ("ai_edge_litert", "awslambdaric", "boto3", "numpy", "PIL", "requests", "yaml")
# The names of processors, as Docker and Lambda have them.
ARCHITECTURES = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "arm64", "arm64": "arm64"}
# https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
MAX_IMAGE_GB = 10
# An image index names images, one for each platform, and attestations beside them. Lambda takes
# one image: https://docs.aws.amazon.com/lambda/latest/dg/python-image.html (--provenance=false)
INDEXES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
# https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_CreateStack.html
STACK_NAME = re.compile(r"[a-zA-Z][-a-zA-Z0-9]{0,127}")
# https://docs.aws.amazon.com/step-functions/latest/apireference/API_CreateStateMachine.html
MACHINE_NAME = 80
AT_ONCE = 100  # actions that IAM's simulator is given
ASK = "ask the account's administrator for these, or use another --profile"


def python(_: Setup) -> Finding:
    """This Python, and its packages."""
    here = ".".join(map(str, sys.version_info[:3]))
    if not (3, 11) <= sys.version_info < (3, 14):
        return fail(f"{here}; 3.11, 3.12 or 3.13 is needed", "install the project in one of these")
    if missing := [name for name in PACKAGES if not importlib.util.find_spec(name)]:
        fix = '`pip install "keras-to-lambda[deploy]"`, in a clone `pip install ".[deploy]"`'
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
        said = last_words(setup.run("docker", "version", "--format", "{{.Server.Version}}"))
        start = "start the engine; `docker version` shows whether it answers"
        return fail(said, advice(said) or start)
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
    other = f"`k2l deploy Architecture={here}`"
    if sys.platform != "linux" or (Path("/proc/sys/fs/binfmt_misc") / qemu).exists():
        other += f", or build on a machine with {setup.architecture}"
        return warn(f"{text}: builds are emulated, and slow", other)
    platform = setup.platform.removeprefix("linux/")
    install = f"`docker run --privileged --rm tonistiigi/binfmt --install {platform}`"
    return fail(f"{text}, and no emulation of it", f"{install}; or {other}")


def _tool(setup: Setup, name: str, package: str) -> Finding:
    """One of AWS's command lines."""
    path = setup.tool(name)
    if not path:
        return fail(f"{name} is not on PATH", f"`pipx install {package}`")
    number = re.search(r"\d+(?:\.\d+)+", setup.run(path, "--version").stdout)
    return ok(f"{number[0] if number else 'of unknown version'}, {path}")


def template(setup: Setup) -> Finding:
    """template.yaml, by `sam validate --lint`."""
    sam = setup.tool("sam")
    count = len(setup.template.body["Resources"])
    if not sam:
        return warn(f"{count} resources, not validated: no sam", "`pipx install aws-sam-cli`")
    try:
        where = aws.session(setup.region, setup.profile).region_name
    except aws.AwsError:
        where = "us-east-1"  # sam needs one; the check `region` reports that there is none
    lint = (sam, "validate", "--lint", "-t", "template.yaml")
    ran = setup.run(*lint, timeout_s=120, AWS_DEFAULT_REGION=where)
    if ran.returncode:
        first = next((x for x in ran.stdout.splitlines() if re.match(r"[EW]\d{4}", x)), "")
        return fail(first or last_words(ran), "`sam validate --lint` shows where it is wrong")
    return ok(f"{count} resources, valid")


def parameters(setup: Setup) -> Finding:
    """The settings of the deployment, before CloudFormation and the function see them."""
    if faults := list(refused(setup.template, setup.stack, setup.root)):
        return fail("; ".join(faults), "`k2l deploy` with others; docs/deploy.md has them all")
    plain = setup.plain.parameters
    own = [f"{n}={value}" for n, value in setup.template.parameters.items() if value != plain[n]]
    return ok(", ".join(own) or "the template's defaults")


def refused(template: Template, stack: str, root: Path) -> Iterator[str]:
    """What CloudFormation, Lambda or the function would refuse of a template's defaults."""
    if not STACK_NAME.fullmatch(stack):
        yield f"invalid stack name {stack!r}: use letters, digits and -, a letter first"
    faults = list(template.faults())
    yield from faults
    settings = template.parameters
    model = root / settings.get("Model", "models")
    # The Dockerfile copies from models/. `sam build` would only report that its context lacks it.
    found: list[str] = []
    try:
        if model.resolve().is_relative_to((root / "models").resolve()):
            found = registry.files(str(model))
    except SetupError:  # a folder without any
        pass
    if not any(path.endswith(".tflite") and Path(path).is_file() for path in found):
        yield (
            f"Model={settings.get('Model')}: there is no .tflite; use one below models/, or a "
            "folder of them there (`k2l convert` writes them)"
        )
    elif not faults:
        try:  # as the function does at its start
            environment = {**template.environment(), "MODEL_PATH": str(model)}
            Models(Settings.from_environ(environment))
        except SetupError as error:
            yield f"the function would fail at its start: {error}"
    if faults or settings.get("Bulk") != "true":
        return
    if len(f"{stack}-bulk") > MACHINE_NAME:
        yield (
            f"with Bulk=true the stack's name may have {MACHINE_NAME - len('-bulk')} letters, as "
            f"its state machine is named after it; this one has {len(stack)}"
        )
    limit, queue = int(settings["ConcurrencyLimit"]), int(settings["QueueConcurrency"])
    if 0 < limit <= queue:
        # https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-scaling.html
        yield (
            f"ConcurrencyLimit={limit} leaves nothing beside the queue's QueueConcurrency={queue}: "
            "uploads that are throttled would end as dead letters, and requests would wait; make "
            "the first larger than the second"
        )


def model(setup: Setup) -> Finding:
    """Each model opens, matches its card's hash, and answers."""
    path = (setup.root / setup.template.parameters.get("Model", "models")).resolve()
    shown = str(path.relative_to(setup.root) if path.is_relative_to(setup.root) else path)
    convert = (
        f"`k2l convert MY.keras --labels labels.txt --preprocess NAME --samples PHOTOS -o {shown}`"
    )
    if not path.exists():
        return fail(f"{shown} is not there", convert)
    # In a process that may crash.
    check = (sys.executable, "-m", "keras_to_lambda.runtime.check")
    ran = setup.run(*check, MODEL_PATH=str(path))
    if ran.returncode:
        said = [x for x in ran.stderr.splitlines() if x.startswith("check: ")]
        text = said[-1].removeprefix("check: ") if said else last_words(ran)
        signal = -ran.returncode
        return fail(f"the interpreter ended by signal {signal}: " * (signal > 0) + text, convert)
    sizes = [Path(path).stat().st_size for path in registry.files(str(path))]
    return ok(f"{shown}: hash, card and inference of {len(sizes)}; {sum(sizes) / 1e6:.1f} MB")


def image(setup: Setup) -> Finding:
    """The image is one that Lambda takes: of the function's architecture, no index, not too large.

    Another processor's ends in "exec format error".
    """
    found = setup.inspected
    name, size = found["name"], found["Size"] / 1e9
    architecture = ARCHITECTURES.get(found["Architecture"], found["Architecture"])
    # Only engines with containerd's image store keep an index; the others push one manifest:
    # https://docs.docker.com/engine/storage/containerd/
    kind = (found.get("Descriptor") or {}).get("mediaType", "")
    build = f"docker build --platform {setup.platform} --provenance=false --sbom=false -t {name} ."
    if architecture != setup.architecture:
        return fail(f"{name} is {architecture}, the function {setup.architecture}", build)
    if kind in INDEXES:
        return fail(f"{name} is an image index ({kind}), which Lambda refuses", build)
    text = f"{name}, {architecture}, {size:.2f} GB unpacked; Lambda takes {MAX_IMAGE_GB}"
    if size > MAX_IMAGE_GB:
        return fail(text, "keep TensorFlow out of it: requirements.txt has what the function needs")
    return ok(text)


def region(setup: Setup) -> Finding:
    """Where it is deployed to."""
    try:
        return ok(setup.session.region_name)
    except aws.AwsError as error:
        return fail(*_with_fix(error))


def identity(setup: Setup) -> Finding:
    """Who calls, by STS; the one call that needs no permission.

    https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html
    """
    client = setup.client("sts")
    try:
        with aws.errors("AWS"):
            return ok(client.get_caller_identity()["Arn"])
    except aws.AwsError as error:
        text, fix = _with_fix(error)
        return fail(text, f"{fix}; or --offline, to skip this")


def _with_fix(error: aws.AwsError) -> tuple[str, str]:
    text, _, fix = str(error).partition("; ")
    return text, fix or "`aws configure`"


def permissions(setup: Setup) -> Finding:
    """What a deployment calls, by IAM's simulator where one may ask it.

    https://docs.aws.amazon.com/IAM/latest/APIReference/API_SimulatePrincipalPolicy.html
    """
    caller = identity(setup)
    if caller.fix:
        raise Skip("AWS does not know who you are")
    if caller.text.endswith(":root"):
        return warn("you are the account's root user, who may do all", "make an IAM user or role")
    # The simulator takes the role, not the session of it. (A role's path is not in the latter.)
    source = re.sub(r":sts::(\d+):assumed-role/([^/]+)/.*", r":iam::\1:role/\2", caller.text)
    actions = _actions(setup.service_role)
    by_decision: dict[str, list[str]] = {}
    pages = setup.client("iam").get_paginator("simulate_principal_policy")
    try:
        with aws.errors("unknown"):
            for start in range(0, len(actions), AT_ONCE):
                some = actions[start : start + AT_ONCE]
                found = pages.paginate(PolicySourceArn=source, ActionNames=some).build_full_result()
                for each in found["EvaluationResults"]:
                    names = by_decision.setdefault(each["EvalDecision"], [])
                    names.append(each["EvalActionName"])
    except aws.AwsError as error:
        return warn(_with_fix(error)[0], "none needed if the deployment goes through")
    if denied := by_decision.get("explicitDeny"):
        return fail(f"denied to {source}: {', '.join(denied)}", ASK)
    # A policy for named resources alone is not seen by a simulation for all of them.
    if lacking := by_decision.get("implicitDeny"):
        return warn(
            f"not allowed on every resource: {', '.join(lacking)}",
            f"{ASK}, unless a policy allows them by name; or deploy with a service role "
            "(docs/supply-chain.md)",
        )
    return ok(f"{len(actions)} actions of a deployment are allowed")


def _actions(with_role: bool) -> list[str]:
    """What the caller has to be allowed, by service-role.yaml.

    A stack without a service role is deployed with the caller's own permissions, so that the
    role's come on top.
    """
    made = Template.read(Path(__file__).parents[1] / "service-role.yaml").body["Resources"]
    policies = [made["Deployer"]["Properties"]["PolicyDocument"]]
    if not with_role:
        policies.append(made["ServiceRole"]["Properties"]["Policies"][0]["PolicyDocument"])
    actions: set[str] = set()
    for each in (statement for policy in policies for statement in policy["Statement"]):
        actions |= {each["Action"]} if isinstance(each["Action"], str) else set(each["Action"])
    return sorted(actions)


CHECKS: dict[str, Callable[[Setup], Finding]] = {
    "Python": python,
    "Docker": docker,
    "architecture": architecture,
    "sam": partial(_tool, name="sam", package="aws-sam-cli"),
    "aws": partial(_tool, name="aws", package="awscli"),
    "template": template,
    "parameters": parameters,
    "model": model,
    "image": image,
    "region": region,
    "identity": identity,
    "permissions": permissions,
}
# What is checked in a folder that is not a project.
ANYWHERE = ("Python", "Docker", "sam", "aws", "region", "identity")
