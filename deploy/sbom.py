"""SBOM: what is shipped, as CycloneDX 1.6 (https://cyclonedx.org/docs/1.6/json/).

    python -m deploy.sbom -o sbom.cdx.json [--image keras-to-lambda]

The packages are those that requirements.txt locks, each with every hash that the lock allows: one
for each wheel of a release, of which the platform chooses. Models are components with their own
hash and the facts of their cards. Without --image, licences are read from the packages of this
environment. With it they are read in the image, and what is in the image has to be what is here:
packages as the lock says, files and models byte for byte; a difference is an error and nothing is
written.

The same input gives the same bytes: the serial number is made of the content, and there is a time
only if SOURCE_DATE_EPOCH says which (https://reproducible-builds.org/specs/source-date-epoch/).
Runs in .venv-supply, which has the packages, and cyclonedx-python-lib, which writes and validates.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
import tomllib
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from classifier import card
from classifier.errors import SetupError

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements.txt"
# What the Dockerfile copies, as .dockerignore lets it through; and of its ARG MODEL.
SOURCES = ("lambda_function.py", "classifier/**/*.py", "web/**/*")
MODELS = ("**/*.tflite", "**/default.txt", "**/samples/**/*")
# Its own installer is all that AWS's image has among its packages.
OF_THE_BASE = {"pip"}

# Run by a Python, here or in the image: the packages and the function's files that it has.
# Nothing of ours can be imported: in the image there is the function alone.
LOOK = """
import hashlib, importlib.metadata, json, pathlib, sys
packages = {}
for d in importlib.metadata.distributions():
    m = d.metadata
    recorded = [line for line in (d.read_text("RECORD") or "").splitlines() if ".pyc," not in line]
    there = [f for f in d.files or () if f.suffix != ".pyc"]
    packages[m["Name"]] = {
        "version": d.version,
        "license": m["License-Expression"] or m["License"],
        "classifiers": m.get_all("Classifier") or [],
        "requires": d.requires or [],
        "files": len(recorded),
        "gone": len(recorded) - len(there),
    }
root = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else None
files = {}
for f in root.rglob("*") if root else ():
    if f.is_file() and f.suffix != ".pyc":
        files[f.relative_to(root).as_posix()] = hashlib.sha256(f.read_bytes()).hexdigest()
print(json.dumps({"packages": packages, "files": files}))
"""


class SbomError(Exception):
    """No SBOM can be written; the message says why, and what to do."""


@dataclass(frozen=True)
class Locked:
    """A requirement of the lock: name==version, its marker, and each hash that may be installed."""

    name: str
    version: str
    hashes: tuple[str, ...]
    marker: str | None

    @property
    def here(self) -> bool:
        """Is it installed on Linux? The lock's markers name nothing but systems."""
        on_linux = {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix"}
        return self.marker is None or Marker(self.marker).evaluate(on_linux)


def read_lock(path: Path) -> list[Locked]:
    """Every requirement of a lock file as `make lock` writes it.

    Raises:
        SbomError: a line is not pinned by == or has no sha256.
    """
    locked = []
    for line in path.read_text("utf-8").replace("\\\n", " ").splitlines():
        text, *hashes = line.split("--hash=")
        if not text.strip() or text.lstrip().startswith("#"):
            continue
        requirement = Requirement(text)
        pin = re.fullmatch(r"==([^*]+)", str(requirement.specifier))
        if not pin or not hashes or not all(h.startswith("sha256:") for h in hashes):
            raise SbomError(
                f"{path.name}: {requirement.name} is not locked by == and sha256: make lock"
            )
        digests = tuple(h.strip().removeprefix("sha256:") for h in hashes)
        marker = str(requirement.marker) if requirement.marker else None
        locked.append(Locked(canonicalize_name(requirement.name), pin[1], digests, marker))
    return locked


def own_files(model: str) -> dict[str, str]:
    """SHA-256 by path of every file that the image gets from this project.

    Args:
        model: the Dockerfile's MODEL: a `.tflite` file, or a folder of them, below the project.

    Raises:
        SbomError: there is no model.
    """
    given = ROOT / model
    found = [path for pattern in SOURCES for path in ROOT.glob(pattern)]
    models = [given] if given.is_file() else [p for m in MODELS for p in given.glob(m)]
    if not any(path.suffix == ".tflite" for path in models):
        raise SbomError(f"there is no .tflite at {given}; say where it is with --model")
    return {
        path.relative_to(ROOT).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(found + models)
        if path.is_file() and path.suffix != ".pyc"
    }


def look_in(image: str) -> Any:
    """The packages and files of an image, told by its own Python, without a network.

    Raises:
        SbomError: Docker is missing, or the image is, or it cannot run.
    """
    command = ("docker", "run", "--rm", "--network=none", "--read-only", "--entrypoint", "python")
    return json.loads(_output([*command, image, "-c", LOOK, "/var/task"]))


def _output(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    except OSError as error:
        raise SbomError(f"{command[0]}: {error.strerror}") from error
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        # Docker's last line may only say where its help is.
        telling = [line for line in said if line.strip() and "--help" not in line] or ["no output"]
        raise SbomError(f"{' '.join(command[:2])} failed: {telling[-1]}")
    return done.stdout


def differences(
    locked: Iterable[Locked], files: Mapping[str, str], seen: Mapping[str, Any]
) -> Iterator[str]:
    """A line for each thing in which an image is not what is here."""
    wanted: dict[str, str] = {one.name: one.version for one in locked if one.here}
    packages: dict[str, str] = {
        canonicalize_name(name): p["version"] for name, p in seen["packages"].items()
    }
    for name in OF_THE_BASE - wanted.keys():
        packages.pop(name, None)
    for kind, here, there in (("package", wanted, packages), ("file", files, seen["files"])):
        for name in sorted(here.keys() | there.keys()):
            if name not in there:
                yield f"{kind} {name} is not in the image"
            elif name not in here:
                yield f"{kind} {name} is in the image, and not here"
            elif here[name] != there[name]:
                versions = f": {here[name]} here, {there[name]} there" if kind == "package" else ""
                yield f"{kind} {name} differs{versions}"


def build(
    model: str = "models", image: str | None = None, base: str | None = None, lock: Path = LOCK
) -> str:
    """The SBOM, as JSON text that ends in a newline.

    Args:
        model: what is served, as the Dockerfile's MODEL.
        image: the image that was built; None describes what would be built here.
        base: reference of the base image; None takes the image's label, or else the Dockerfile's.

    Raises:
        SbomError: something is missing, or the image is not what is here.
    """
    locked, files = read_lock(lock), own_files(model)
    if image:
        seen = look_in(image)
        found = list(differences(locked, files, seen))
        if found:
            more = f"; and {len(found) - 5} more" if len(found) > 5 else ""
            raise SbomError(
                f"{image} is not what is here: {'; '.join(found[:5])}{more}: build it anew"
            )
        base = base or _label(image)
    else:
        seen = json.loads(_output([sys.executable, "-P", "-c", LOOK]))
    facts: dict[str, Any] = {canonicalize_name(name): p for name, p in seen["packages"].items()}

    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    license_of = LicenseFactory().make_from_string
    root = Component(
        type=ComponentType.CONTAINER,
        name=project["name"],
        version=project["version"],
        description=project["description"],
        licenses=[license_of(project["license"])],
        bom_ref="image",
    )
    code = Component(
        type=ComponentType.APPLICATION,
        name="lambda_function",
        version=project["version"],
        licenses=[license_of(project["license"])],
        hashes=[_sha256(tree_hash({p: h for p, h in files.items() if not p.startswith(model)}))],
        bom_ref="code",
        properties=[Property(name="hash", value="SHA-256 of `sha256sum` lines, sorted by path")],
    )
    libraries: dict[str, Component] = {
        one.name: _library(one, facts.get(one.name)) for one in locked if one.here
    }
    models = [_model(path, digest) for path, digest in files.items() if path.endswith(".tflite")]
    platform = _base(base or _default_base())

    bom = Bom(
        components=[code, platform, *libraries.values(), *models], serial_number=uuid.UUID(int=0)
    )
    bom.metadata.component = root
    bom.register_dependency(root, [code, platform, *models])
    wanted = {
        canonicalize_name(Requirement(line).name)
        for line in lock.with_suffix(".in").read_text("utf-8").splitlines()
        if line.strip() and not line.startswith("#")
    }
    bom.register_dependency(code, [libraries[name] for name in sorted(wanted)])
    for name, component in libraries.items():
        needs = {canonicalize_name(r.name) for r in _needs(facts.get(name))}
        bom.register_dependency(component, [libraries[n] for n in sorted(needs & libraries.keys())])

    text = _write(bom)
    fault = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    if fault:  # ours, not the user's
        raise SbomError(f"the SBOM would not be valid CycloneDX 1.6: {fault}")
    return text


def tree_hash(files: Mapping[str, str]) -> str:
    """One hash for many: of the lines that `sha256sum` prints, sorted by path."""
    lines = (f"{files[path]}  {path}\n" for path in sorted(files))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _sha256(digest: str) -> HashType:
    return HashType(alg=HashAlgorithm.SHA_256, content=digest)


def _library(one: Locked, fact: Mapping[str, Any] | None) -> Component:
    if fact is None:
        raise SbomError(f"{one.name} is not installed here, so its licence is unknown: make audit")
    # Some packages put the whole text into License.
    named = (fact["license"] or "").strip().splitlines()[:1]
    stated = [
        line.rpartition(" :: ")[2] for line in fact["classifiers"] if line.startswith("License ::")
    ]
    known = (named or [" AND ".join(stated)])[0]
    properties = []
    if fact["gone"]:  # deploy/slim.py; a scanner that looks for the name alone should be answered
        properties.append(
            Property(name="files-removed", value=f"{fact['gone']} of {fact['files']}")
        )
    return Component(
        name=one.name,
        version=one.version,
        purl=PackageURL("pypi", None, one.name, one.version),
        bom_ref=f"pkg:pypi/{one.name}@{one.version}",
        hashes=[_sha256(digest) for digest in one.hashes],
        licenses=[LicenseFactory().make_from_string(known)] if known else [],
        properties=properties,
    )


def _needs(fact: Mapping[str, Any] | None) -> Iterator[Requirement]:
    for line in (fact or {}).get("requires", ()):
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield requirement


def _model(path: str, digest: str) -> Component:
    """A model by its card. As properties: the library cannot write CycloneDX's modelCard."""
    about = card.load(ROOT / path)
    facts = {
        "path": path,
        "labels": ", ".join(about.labels),
        "input": f"{about.width} x {about.height} x {about.channels}, {about.dtype}",
        "output": about.output,
        "model_card": (Path(path).parent / "MODEL_CARD.md").as_posix(),
        **{f"provenance:{key}": value for key, value in about.provenance.items()},
    }
    if not (ROOT / facts["model_card"]).exists():
        del facts["model_card"]
    return Component(
        type=ComponentType.MACHINE_LEARNING_MODEL,
        name=about.name,
        version=digest[:12],
        bom_ref=f"model:{path}",
        hashes=[_sha256(digest)],
        properties=[
            Property(name=name, value=value if isinstance(value, str) else json.dumps(value))
            for name, value in facts.items()
        ],
    )


def _base(reference: str) -> Component:
    """The base image as a component, and its digest where the reference has one."""
    tagged, _, digest = reference.partition("@")
    repository, _, tag = tagged.rpartition(":")
    name = repository.rpartition("/")[2]
    where = {"repository_url": repository, "tag": tag}
    return Component(
        type=ComponentType.CONTAINER,
        name=repository,
        version=digest or tag,
        bom_ref="base",
        # https://github.com/package-url/purl-spec/blob/main/types-doc/oci-definition.md
        purl=PackageURL("oci", None, name, digest or None, where),
        hashes=[_sha256(digest.removeprefix("sha256:"))] if digest else [],
        properties=[] if digest else [Property(name="digest", value="unknown: named by tag")],
    )


def _label(image: str) -> str | None:
    name = "org.opencontainers.image.base.name"
    labels = (
        json.loads(_output(["docker", "inspect", "-f", "{{json .Config.Labels}}", image])) or {}
    )
    return labels.get(name) or None


def _default_base() -> str:
    values: dict[str, str] = {}
    for name, value in re.findall(
        r"^ARG (\w+)=(\S+)$", (ROOT / "Dockerfile").read_text("utf-8"), re.MULTILINE
    ):
        values.setdefault(name, re.sub(r"\$\{(\w+)\}", lambda m: values[m[1]], value))
    return values["BASE_IMAGE"]


def _write(bom: Bom) -> str:
    data = json.loads(JsonV1Dot6(bom).output_as_string())
    del data["metadata"]["timestamp"]
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    if epoch:
        try:
            data["metadata"]["timestamp"] = datetime.fromtimestamp(int(epoch), UTC).isoformat()
        except (ValueError, OverflowError, OSError):
            raise SbomError(f"SOURCE_DATE_EPOCH={epoch} is not a time in seconds") from None
    content = json.dumps(data, sort_keys=True)
    data["serialNumber"] = uuid.uuid5(uuid.NAMESPACE_OID, content).urn
    return json.dumps(data, indent=1, sort_keys=True) + "\n"


def main(argv: list[str] | None = None) -> int:
    """The command line; 1 if the image is not what is here, or something is missing."""
    parser = argparse.ArgumentParser(
        prog="python -m deploy.sbom",
        description="Write the software bill of materials: CycloneDX 1.6, JSON.",
    )
    parser.add_argument("-o", "--output", type=Path, required=True, help="the file to write")
    parser.add_argument(
        "--image", help="a built image: compared with what is here; a difference is an error"
    )
    parser.add_argument(
        "--model",
        default="models",
        help="the Dockerfile's MODEL: a .tflite, or a folder of them (%(default)s)",
    )
    parser.add_argument(
        "--base",
        help="the base image, best by digest: NAME:TAG@sha256:... (the image's label, or else the "
        "Dockerfile's default)",
    )
    arguments = parser.parse_args(argv)
    try:
        text = build(arguments.model, arguments.image, arguments.base)
        arguments.output.write_text(text, "utf-8")
    except (SbomError, SetupError) as error:
        print(f"sbom: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"sbom: {error.filename or arguments.output}: {error.strerror}", file=sys.stderr)
        return 1
    components = json.loads(text)["components"]
    compared = f", as in {arguments.image}" if arguments.image else ""
    print(f"wrote {arguments.output}: {len(components)} components{compared}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
