"""Checks of what is to be deployed: template, model, image."""

from __future__ import annotations

import importlib.metadata
import os
import re
import sys
from pathlib import Path

from keras_to_lambda.deploy.doctor.context import ARCHITECTURES, Setup, version
from keras_to_lambda.deploy.doctor.finding import Finding, Skip, fail, ok, warn
from keras_to_lambda.runtime.errors import SetupError
from keras_to_lambda.runtime.model import card as cards
from keras_to_lambda.runtime.model import registry

# https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-execution-service-limits-table.html
# (integration timeout: 29 s by default; an HTTP API's is 30 s)
GATEWAY_TIMEOUT_S = 29
# https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
MAX_IMAGE_GB = 10
# Over this, most of an image is never called; the project's own has 0.3 GB.
LARGE_IMAGE_GB = 1
# An image index names images, one for each platform, and attestations beside them. Lambda takes
# one image: https://docs.aws.amazon.com/lambda/latest/dg/python-image.html (--provenance=false)
INDEXES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
# glibc of Lambda's Python base images: Amazon Linux 2 to 3.11, Amazon Linux 2023 from 3.12 on.
# https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtimes.html
# https://docs.aws.amazon.com/linux/al2023/ug/compare-with-al2.html
GLIBC_AL2, GLIBC_AL2023 = (2, 26), (2, 34)
# https://peps.python.org/pep-0600/#legacy-manylinux-tags
LEGACY = {"manylinux1": (2, 5), "manylinux2010": (2, 12), "manylinux2014": (2, 17)}


def template(setup: Setup) -> Finding:
    """template.yaml, by `sam validate --lint`."""
    sam = setup.tool("sam")
    count = len(setup.template.body["Resources"])
    if not sam:
        fix = "make setup" if setup.makes else "`pipx install aws-sam-cli`"
        return warn(f"{count} resources, not validated: there is no sam", fix)
    env = {"AWS_DEFAULT_REGION": setup.region or os.environ.get("AWS_DEFAULT_REGION", "us-east-1")}
    ran = setup.run(sam, "validate", "--lint", "-t", "template.yaml", timeout_s=30, env=env)
    if ran.status:
        first = next((x for x in ran.out.splitlines() if re.match(r"[EW]\d{4}", x)), "")
        return fail(first or ran.last_words, f"`{sam} validate --lint` shows where it is wrong")
    return ok(f"{count} resources, valid")


def parameters(setup: Setup) -> Finding:
    """What the template would be deployed with, before CloudFormation sees it."""
    faults = list(setup.template.faults())
    if faults:
        return fail("; ".join(faults), "`make deploy` with others; docs/deploy.md has them all")
    given = {name: setup.parameter(name) for name in setup.plain.parameters}
    own = [f"{name}={value}" for name, value in given.items() if value != setup.plain.default(name)]
    return ok(", ".join(own) or "the template's defaults")


def timeouts(setup: Setup) -> Finding:
    """A function that outlives its gateway is billed for answers that are never delivered."""
    said = []
    for name, properties in setup.template.behind_gateway():
        # Lambda's default is 3 s.
        seconds = max(setup.template.numbers(properties.get("Timeout", 3)), default=0)
        if seconds >= GATEWAY_TIMEOUT_S:
            return warn(
                f"{name} may take {seconds:g} s, but API Gateway gives up after "
                f"{GATEWAY_TIMEOUT_S} s; its callers get no answer, and you pay for it",
                f"Timeout={GATEWAY_TIMEOUT_S - 1}, unless uploads or direct calls need more",
            )
        said.append(f"{name} {seconds:g} s")
    return ok(f"{', '.join(said)}; API Gateway waits {GATEWAY_TIMEOUT_S} s")


def model(setup: Setup) -> Finding:
    """Each model opens, matches its card's hash, and answers; in a process that may crash."""
    if not setup.model_path.exists():
        return fail(f"{_shown(setup)} is not there", _convert(setup))
    ran = setup.run(
        *(sys.executable, "-m", "keras_to_lambda.runtime.check"),
        env={"MODEL_PATH": str(setup.model_path)},
        timeout_s=30,
    )
    if ran.status:
        said = [x for x in ran.err.splitlines() if x.startswith("check: ")]
        text = said[-1].removeprefix("check: ") if said else ran.last_words
        crashed = f"the interpreter ended by signal {-ran.status}: " if ran.status < 0 else ""
        return fail(crashed + text, _convert(setup))
    count = len(ran.out.splitlines())
    return ok(
        f"{_shown(setup)}: {count} {'models' if count > 1 else 'model'}, hash, card, inference"
    )


def labels(setup: Setup) -> Finding:
    """What each model's card says that it answers with."""
    said = []
    try:
        for path in registry.files(str(setup.model_path)):
            card = cards.load(path)
            said.append(f"{card.name} {len(card.labels)} ({card.labels[0]} ... {card.labels[-1]})")
    except SetupError as error:
        raise Skip(f"the model has no card: {error}") from error
    return ok("; ".join(said))


def model_size(setup: Setup) -> Finding:
    """The largest model beside the function's memory."""
    if not setup.model_path.exists():
        raise Skip(f"{_shown(setup)} is not there")
    sizes = [Path(path).stat().st_size for path in registry.files(str(setup.model_path))]
    memory = next(
        (
            max(setup.template.numbers(properties.get("MemorySize", 128)), default=128)
            for _, properties in setup.template.behind_gateway()
        ),
        128,
    )
    text = f"{sum(sizes) / 1e6:.1f} MB in {len(sizes)} files; MemorySize {memory:g} MB"
    # XNNPACK keeps a packed copy of the weights beside the file's.
    if 2 * max(sizes) / 1e6 > memory / 2:
        enough = max(8 * max(sizes) // 10**6, setup.template.minimum("MemorySize"))
        return warn(
            f"{text}: the weights, and their packed copy, are over half of it",
            f"`make deploy MEMORY={enough}`, or convert with --quantize",
        )
    return ok(text)


def _shown(setup: Setup) -> str:
    path = setup.model_path
    return str(path.relative_to(setup.root) if path.is_relative_to(setup.root) else path)


def _convert(setup: Setup) -> str:
    return (
        "`k2l convert MY.keras --labels labels.txt --preprocess NAME "
        f"--samples PHOTOS -o {_shown(setup)}`"
        + ("; `git checkout models` brings the project's own back" if setup.makes else "")
    )


# The image


def image_architecture(setup: Setup) -> Finding:
    """An image for another processor ends in "exec format error"."""
    name = setup.inspected["name"]
    found = ARCHITECTURES.get(setup.inspected["Architecture"], setup.inspected["Architecture"])
    if found != setup.wanted:
        return fail(
            f"{name} is {found}, the function {setup.wanted}",
            f"`docker build --platform {setup.platform} --provenance=false -t {name} .`; "
            f"or deploy with Architecture={found}",
        )
    return ok(f"{name}, {found}")


def image_manifest(setup: Setup) -> Finding:
    """An index, which BuildKit makes for attestations, is refused by Lambda."""
    # Only engines with containerd's image store say it; the others push one manifest:
    # https://docs.docker.com/engine/storage/containerd/
    kind = (setup.inspected.get("Descriptor") or {}).get("mediaType", "")
    if kind in INDEXES:
        name = setup.inspected["name"]
        return fail(
            f"{name} is an image index ({kind}), which Lambda refuses",
            f"docker build --platform {setup.platform} --provenance=false --sbom=false -t {name} .",
        )
    return ok(kind or "one image; this engine's store knows no index")


def image_size(setup: Setup) -> Finding:
    """Unpacked, as Lambda counts."""
    size = setup.inspected["Size"] / 1e9
    text = f"{size:.2f} GB unpacked; Lambda takes {MAX_IMAGE_GB}"
    if size > MAX_IMAGE_GB:
        return fail(text, "keep TensorFlow out of it: requirements.txt has what the function needs")
    if size > LARGE_IMAGE_GB:
        return warn(text, "`docker history` shows which layer it is; large images start slowly")
    return ok(text)


def image_command(setup: Setup) -> Finding:
    """CMD is the handler; the entry point is the base image's."""
    config = setup.inspected["Config"]
    command, entry = config.get("Cmd") or [], config.get("Entrypoint") or []
    handler = command[0] if len(command) == 1 else " ".join(command)
    if not re.fullmatch(r"[\w./]+\.\w+", handler):
        return fail(
            f"CMD is {handler or 'empty'}, not module.function",
            'Dockerfile: CMD ["lambda_function.lambda_handler"]',
        )
    # https://docs.aws.amazon.com/lambda/latest/dg/images-create.html: Lambda sets the user itself.
    user = f"; USER {config['User']}, which Lambda replaces" if config.get("User") else ""
    return ok(f"{handler}, by {' '.join(entry) or 'no entry point'}{user}")


def image_files(setup: Setup) -> Finding:
    """What Lambda's own user can read, on a root that it cannot write."""
    seen = setup.probed
    if not seen["handler"]:
        return fail(
            f"{setup.inspected['Config']['Cmd'][0]}: there is no such module in the image",
            "Dockerfile: COPY lambda_function.py ${LAMBDA_TASK_ROOT}/",
        )
    if seen["unreadable"]:
        return fail(
            f"{len(seen['unreadable'])} files only for their owner: {seen['unreadable'][0]} ...",
            "Dockerfile: RUN chmod -R a+rX, before the files are copied into the last stage",
        )
    return ok(f"Python {seen['python']} finds the handler as user {seen['user']}, read-only")


def wheels(setup: Setup) -> Finding:
    """Compiled packages against the C library that they will find.

    From the image where it runs here; else from what is installed here of requirements.txt,
    against the glibc of the Dockerfile's base image.
    """
    try:
        seen = setup.probed
        glibc, tags = version(seen["glibc"]), seen["wheels"]
        where = f"the image's glibc {_dotted(glibc)}"
    except Skip as why:
        glibc, where = _base_glibc(setup)
        tags = _installed(setup)
        where += f"; by the wheels here, as {why}"
    needs = {name: least for name, found in tags.items() if (least := _least_glibc(found))}
    if not needs:
        raise Skip("there is no compiled wheel to look at")
    newest = max(needs, key=lambda name: needs[name])
    text = f"{newest} needs glibc {_dotted(needs[newest])}; {where}"
    if needs[newest] > glibc:
        return fail(text, "Dockerfile: ARG PYTHON_VERSION=3.13 (from 3.12 on, glibc is 2.34)")
    return ok(text)


def _dotted(numbers: tuple[int, ...]) -> str:
    return ".".join(map(str, numbers))


def _base_glibc(setup: Setup) -> tuple[tuple[int, ...], str]:
    text = (setup.root / "Dockerfile").read_text(encoding="utf-8")
    found = re.search(r"^ARG PYTHON_VERSION=([\d.]+)", text, re.MULTILINE)
    if not found:
        raise Skip("the Dockerfile has no ARG PYTHON_VERSION")
    glibc = GLIBC_AL2 if version(found[1]) < (3, 12) else GLIBC_AL2023
    return glibc, f"Lambda's python:{found[1]} has {_dotted(glibc)}"


def _installed(setup: Setup) -> dict[str, list[str]]:
    """Tags of the locked packages that are installed here."""
    text = (setup.root / "requirements.txt").read_text(encoding="utf-8")
    found = {}
    for name in re.findall(r"^([\w.-]+)==", text, re.MULTILINE):
        try:
            wheel = importlib.metadata.distribution(name).read_text("WHEEL") or ""
        except importlib.metadata.PackageNotFoundError:
            continue
        found[name] = re.findall(r"^Tag: (\S+)", wheel, re.MULTILINE)
    return found


def _least_glibc(tags: list[str]) -> tuple[int, ...]:
    """The oldest glibc that one of a wheel's tags is content with; () for one that needs none."""
    least = []
    for tag in tags:
        if found := re.search(r"-manylinux_(\d+)_(\d+)_", tag):
            least.append((int(found[1]), int(found[2])))
        elif found := re.search(r"-(manylinux\d+)_", tag):
            least.append(LEGACY[found[1]])
    return min(least, default=())
