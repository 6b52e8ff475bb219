"""The SBOM of what ships, and a comparison of a built image with the lock and this folder.

    python -m keras_to_lambda.deploy.sbom -o sbom.cdx.json [--image keras-to-lambda]

cyclonedx-py (https://github.com/CycloneDX/cyclonedx-python) describes the packages of
requirements.txt, each with every hash that the lock allows. Added here: their licences, and the
models with their cards. With --image, an image that holds another package, file or model is an
error, and nothing is written. Runs in .venv-supply.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from packaging.markers import Marker
from packaging.utils import canonicalize_name
from pip_requirements_parser import RequirementsFile

from keras_to_lambda.cli import frame
from keras_to_lambda.project import ROOT
from keras_to_lambda.runtime.common.errors import UserError
from keras_to_lambda.runtime.model_file import card

LOCK = ROOT / "requirements.txt"
# What the Dockerfile copies, as .dockerignore lets it through; and of its ARG MODEL.
SOURCES = (
    *("lambda_function.py", "src/keras_to_lambda/__init__.py"),
    *("src/keras_to_lambda/runtime/**/*.py", "src/keras_to_lambda/runtime/**/*.json", "web/**/*"),
)
MODELS = ("**/*.tflite", "**/default.txt", "**/samples/**/*")
LINUX = {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix"}

# Run by the image's Python, which has the function and nothing else of this project.
LOOK = """
import hashlib, importlib.metadata, json, pathlib
root = pathlib.Path("/var/task")
print(json.dumps({
    "package": {d.metadata["Name"]: d.version for d in importlib.metadata.distributions()},
    "file": {f.relative_to(root).as_posix(): hashlib.sha256(f.read_bytes()).hexdigest()
             for f in root.rglob("*") if f.is_file() and f.suffix != ".pyc"},
}))
"""
# What an image holds: `package`: versions by name, `file`: SHA-256 by path below /var/task.
Contents = Mapping[str, dict[str, str]]


class SbomError(UserError):
    """No SBOM can be written; the message gives the reason and what to do."""


def expected(model: str) -> Contents:
    """What an image that is built of the lock, for Linux, and this folder holds.

    Args:
        model: the Dockerfile's MODEL: a `.tflite`, or a folder of them.

    Raises:
        SbomError: there is no model.
    """
    packages = {
        _name(str(one.name)): str(one.get_pinned_version)
        for one in RequirementsFile.from_file(str(LOCK)).requirements
        if one.marker is None or Marker(str(one.marker)).evaluate(LINUX)
    }
    given = ROOT / model
    models = [given] if given.is_file() else [p for m in MODELS for p in given.glob(m)]
    if not any(path.suffix == ".tflite" for path in models):
        raise SbomError(f"no .tflite at {given}; name it with --model")
    files = {
        path.relative_to(ROOT).as_posix().removeprefix("src/"): (
            hashlib.sha256(path.read_bytes()).hexdigest()
        )
        for path in sorted([*(p for s in SOURCES for p in ROOT.glob(s)), *models])
        if path.is_file() and path.suffix != ".pyc"
    }
    return {"package": packages, "file": files}


def look_in(image: str) -> Contents:
    """The contents of an image, listed by its own Python without a network.

    Raises:
        SbomError: Docker or the image is missing, or it does not run.
    """
    command = ("docker", "run", "--rm", "--network=none", "--read-only", "--entrypoint", "python")
    seen: Contents = json.loads(_output(*command, image, "-c", LOOK))
    packages = {_name(name): version for name, version in seen["package"].items()}
    packages.pop("pip", None)  # AWS's base image has its own installer among the packages
    return {**seen, "package": packages}


def _name(package: str) -> str:
    return str(canonicalize_name(package))


def differences(here: Contents, there: Contents) -> Iterator[str]:
    """One line for each package or file in which an image differs from the lock and this folder."""
    for kind, wanted in here.items():
        found = there[kind]
        for name in sorted(wanted.keys() | found.keys()):
            if name not in found:
                yield f"{kind} {name} is not in the image"
            elif name not in wanted:
                yield f"{kind} {name} is in the image, and not here"
            elif wanted[name] != found[name]:
                yield f"{kind} {name} differs: {wanted[name][:12]} here, {found[name][:12]} in it"


def build(model: str = "models", image: str | None = None) -> str:
    """The SBOM as JSON; the same input gives the same bytes.

    Args:
        model: the Dockerfile's MODEL.
        image: a built image to compare; None describes what would be built here.

    Raises:
        SbomError: something is missing, or the image differs.
    """
    here = expected(model)
    if image and (found := list(differences(here, look_in(image)))):
        more = f"; and {len(found) - 5} more" if len(found) > 5 else ""
        raise SbomError(f"{image} differs: {'; '.join(found[:5])}{more}: build it again")
    bom = json.loads(
        _output(
            *(sys.executable, "-P", "-m", "cyclonedx_py", "requirements", str(LOCK)),
            *("--pyproject", str(ROOT / "pyproject.toml"), "--output-reproducible"),
        )
    )
    kept = [c for c in bom["components"] if _name(c["name"]) in here["package"]]
    for component in kept:
        component.pop("description", None)  # the lock's line, hashes and all
        component["licenses"] = _licences(component["name"])
    models = [_model(path, sha) for path, sha in here["file"].items() if path.endswith(".tflite")]
    bom["components"] = [*kept, *models]
    refs = {component["bom-ref"] for component in kept}
    bom["dependencies"] = [one for one in bom.get("dependencies", []) if one["ref"] in refs]
    return json.dumps(bom, indent=1, sort_keys=True) + "\n"


def _licences(package: str) -> list[dict[str, Any]]:
    """As the package's own metadata name them; .venv-supply has the locked packages."""
    try:
        about = importlib.metadata.metadata(package)
    except importlib.metadata.PackageNotFoundError as error:
        raise SbomError(f"{package} is not installed here; run `make sbom`") from error
    if about["License-Expression"]:
        return [{"expression": about["License-Expression"]}]
    stated = [c for c in about.get_all("Classifier") or [] if c.startswith("License ::")]
    names = [c.rpartition(" :: ")[2] for c in stated] or (about["License"] or "").splitlines()[:1]
    return [{"license": {"name": name}} for name in names]


def _output(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    except OSError as error:
        raise SbomError(f"{command[0]}: {error.strerror}") from error
    if done.returncode:
        lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
        # Docker's last line may be where its help is.
        telling = [line for line in lines if line.strip() and "--help" not in line] or ["no output"]
        raise SbomError(f"{' '.join(command[:2])} failed: {telling[-1]}")
    return done.stdout


def _model(path: str, digest: str) -> dict[str, Any]:
    """A model as a component: its hash and the facts of its card."""
    about = card.load(ROOT / path)
    facts = {
        "path": path,
        "labels": ", ".join(about.labels),
        "input": f"{about.width} x {about.height} x {about.channels}, {about.dtype}",
        **{f"provenance:{name}": value for name, value in about.provenance.items()},
    }
    return {
        "type": "machine-learning-model",
        "name": about.name,
        "version": digest[:12],
        "bom-ref": f"model:{path}",
        "hashes": [{"alg": "SHA-256", "content": digest}],
        "properties": [
            {"name": name, "value": value if isinstance(value, str) else json.dumps(value)}
            for name, value in facts.items()
        ],
    }


@frame.command("sbom", refused=frame.FAILED)
def main(argv: Sequence[str] | None = None) -> int:
    """The command line. Exit status 1: the image differs, or something is missing."""
    p = frame.Parser(
        "python -m keras_to_lambda.deploy.sbom",
        description="Write the software bill of materials: CycloneDX 1.6, JSON.",
    )
    p.add_argument("-o", "--output", type=Path, required=True, help="file to write")
    p.add_argument("--image", help="built image to compare; a difference is an error")
    p.add_argument(
        "--model", default="models", help="the Dockerfile's MODEL, a file or folder (%(default)s)"
    )
    args = p.parse_args(argv)
    text = build(args.model, args.image)
    args.output.write_text(text, "utf-8")
    compared = f", the same as in {args.image}" if args.image else ""
    print(f"wrote {args.output}: {len(json.loads(text)['components'])} components{compared}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
