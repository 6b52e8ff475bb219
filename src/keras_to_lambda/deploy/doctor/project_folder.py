"""Checks of what is to be deployed: template, settings, model, image."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from keras_to_lambda.deploy.doctor.context import Finding, Setup, fail, ok, warn
from keras_to_lambda.deploy.doctor.explain import advice
from keras_to_lambda.deploy.doctor.machine import ARCHITECTURES
from keras_to_lambda.deploy.doctor.template import Template
from keras_to_lambda.runtime.common.errors import SetupError
from keras_to_lambda.runtime.common.settings import Settings
from keras_to_lambda.runtime.model import registry
from keras_to_lambda.runtime.model.registry import Models

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
# What Lambda does at a start, in the words of its runtime, which errors.toml explains.
START = """
import importlib, sys
name, _, function = sys.argv[1].rpartition(".")
try:
    module = importlib.import_module(name.replace("/", "."))
except ImportError as error:
    sys.exit(f"Unable to import module '{name}': {error}")
if not hasattr(module, function):
    sys.exit(f"Handler '{function}' missing on module '{name}'")
"""


def template(setup: Setup) -> Finding:
    """template.yaml, by `sam validate --lint`."""
    sam = setup.tool("sam")
    count = len(setup.template.body["Resources"])
    if not sam:
        return warn(f"{count} resources, not validated: no sam", "`pipx install aws-sam-cli`")
    env = {"AWS_DEFAULT_REGION": setup.region or os.environ.get("AWS_DEFAULT_REGION", "us-east-1")}
    ran = setup.run(sam, "validate", "--lint", "-t", "template.yaml", timeout_s=120, env=env)
    if ran.status:
        first = next((x for x in ran.out.splitlines() if re.match(r"[EW]\d{4}", x)), "")
        return fail(first or ran.last_words, "`sam validate --lint` shows where it is wrong")
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
    path = (setup.root / (setup.parameter("Model") or "models")).resolve()
    shown = str(path.relative_to(setup.root) if path.is_relative_to(setup.root) else path)
    convert = (
        f"`k2l convert MY.keras --labels labels.txt --preprocess NAME --samples PHOTOS -o {shown}`"
    )
    if not path.exists():
        return fail(f"{shown} is not there", convert)
    # In a process that may crash.
    ran = setup.run(
        *(sys.executable, "-m", "keras_to_lambda.runtime.check"),
        env={"MODEL_PATH": str(path)},
    )
    if ran.status:
        said = [x for x in ran.err.splitlines() if x.startswith("check: ")]
        text = said[-1].removeprefix("check: ") if said else ran.last_words
        crashed = f"the interpreter ended by signal {-ran.status}: " if ran.status < 0 else ""
        return fail(crashed + text, convert)
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


def image_start(setup: Setup) -> Finding:
    """The image imports its handler as Lambda runs it: any user, a root that is read-only.

    https://docs.aws.amazon.com/lambda/latest/dg/images-create.html#images-reqs
    """
    command = setup.inspected["Config"].get("Cmd") or []
    handler = " ".join(command)
    if len(command) != 1 or not re.fullmatch(r"[\w./]+\.\w+", handler):
        return fail(
            f"CMD is {handler or 'empty'}, not module.function",
            'Dockerfile: CMD ["lambda_function.lambda_handler"]',
        )
    ran = setup.run(
        *("docker", "run", "--rm", "--network", "none", "--read-only", "--user", "993:990"),
        *("--tmpfs", "/tmp", "--platform", f"linux/{setup.inspected['Architecture']}"),  # noqa: S108  # as Lambda has it
        *("--entrypoint", "python", setup.inspected["name"], "-c", START, handler),
    )
    if ran.status:
        said = ran.last_words
        return fail(f"{handler} does not start: {said}", advice(said) or "see docker's output")
    return ok(f"{handler} starts as another user on a read-only root")
