"""The image asks for no rights, holds nothing but what it needs, and is what the lock says."""

from __future__ import annotations

import base64
import json
import subprocess

import pytest

from tests.container.conftest import ROOT, SAMPLES, container, post, run
from tests.unavailable import unavailable

T_SHIRT = json.dumps(
    {"image": base64.b64encode((SAMPLES / "t-shirt.jpg").read_bytes()).decode()}
).encode()
HARD = (
    "--read-only",
    "--tmpfs=/tmp:rw,noexec,nosuid,nodev,size=64m",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
    "--pids-limit=64",
    "--memory=512m",
)
BASE = "public.ecr.aws/lambda/python:3.13"


def find(image: str, expression: str) -> set[str]:
    """Paths in an image that `find` finds, as root, where every folder can be read."""
    command = (
        "docker",
        "run",
        "--rm",
        "--network=none",
        "--user=0",
        "--entrypoint",
        "python",
        image,
    )
    code = (
        "import os, stat, sys\n"
        "for top, folders, files in os.walk('/'):\n"
        "    if top == '/': folders[:] = [f for f in folders if f not in ('proc', 'sys', 'dev')]\n"
        "    for name in folders + files:\n"
        "        path = os.path.join(top, name); s = os.lstat(path); mode = s.st_mode\n"
        f"        if {expression}: print(path)\n"
    )
    return set(run(*command, "-c", code).stdout.splitlines())


def added(image: str, expression: str) -> set[str]:
    """What is found in the image, and not in the image that it is made from."""
    return find(image, expression) - find(BASE, expression)


@pytest.mark.parametrize("user", ["65534", "993:990", "2147483647:2147483647"])
def test_it_answers_any_user_without_rights_on_a_root_that_is_read_only(image, user, local_scores):
    with container(image, *HARD, f"--user={user}") as (name, url):
        status, scores = post(url, T_SHIRT)
        caps = run("docker", "exec", name, "python", "-c", "print(open('/proc/1/status').read())")

    assert status == 200
    expected = local_scores((SAMPLES / "t-shirt.jpg").read_bytes())
    assert scores == pytest.approx(expected, rel=1e-3, abs=1e-4)
    facts = dict(line.split(":\t", 1) for line in caps.stdout.splitlines() if ":\t" in line)
    assert int(facts["CapEff"], 16) == int(facts["CapPrm"], 16) == 0
    assert facts["NoNewPrivs"] == "1"
    assert facts["Uid"].split()[0] == user.partition(":")[0]


ASK_FROM_WITHIN = """
import sys, time, urllib.request
body = sys.stdin.buffer.read()
for _ in range(100):
    try:
        url = "http://127.0.0.1:8080/2015-03-31/functions/function/invocations"
        print(urllib.request.urlopen(url, body).read().decode())
        break
    except OSError:
        time.sleep(0.1)
"""


def test_it_answers_without_a_network(image):
    name = run("docker", "run", "-d", "--network=none", *HARD, "--user=65534", image).stdout.strip()
    try:
        ask = ("docker", "exec", "-i", name, "python", "-c", ASK_FROM_WITHIN)
        scores = json.loads(run(*ask, input=T_SHIRT.decode()).stdout)
    finally:
        run("docker", "rm", "-f", name)

    assert max(scores, key=scores.get) == "t-shirt"


@pytest.mark.parametrize(
    "expression",
    [
        pytest.param(
            "stat.S_ISREG(mode) and mode & (stat.S_ISUID | stat.S_ISGID)", id="takes another user"
        ),
        pytest.param("not stat.S_ISLNK(mode) and mode & stat.S_IWOTH", id="all may write"),
        pytest.param("s.st_uid or s.st_gid", id="not root's"),
        pytest.param(
            "name in ('.git', '.aws', '.ssh', '.env', '.netrc', '.pypirc', 'pip.conf', '.cache')",
            id="configuration or cache",
        ),
        pytest.param(
            "name == 'tests' or name.endswith(('.pem', '.key', '.whl', '.keras', '.h5'))"
            # Certificates of authorities, which are public, come with botocore.
            " and not path.endswith('/botocore/cacert.pem')",
            id="tests, keys or training files",
        ),
        pytest.param(
            "path.startswith('/tmp/') and not path.startswith('/tmp/slim.py')"
            " and path != '/tmp/requirements.txt'",
            id="left in tmp",
        ),
    ],
)
def test_nothing_of_this_kind_is_added_to_the_base_image(image, expression):
    assert added(image, expression) == set()


def test_no_secret_is_in_its_settings_or_its_history(image):
    settings = json.loads(run("docker", "inspect", "-f", "{{json .Config}}", image).stdout)
    history = run("docker", "history", "--no-trunc", "--format", "{{.CreatedBy}}", image).stdout

    said = f"{settings['Env']} {history}".lower()
    for word in ("secret", "token", "password", "aws_access_key", "index-url", "://"):
        assert word not in said
    assert settings.get("ExposedPorts") is None
    assert settings["Labels"]["org.opencontainers.image.base.name"] == BASE


def test_the_base_can_be_named_by_anything_that_docker_can_pull(docker, tmp_path):
    """In a release by digest; an image's id is the digest that is there without a registry."""
    identity = run("docker", "inspect", "-f", "{{.Id}}", BASE).stdout.strip()
    tag = "keras-to-lambda:test-base"
    run("docker", "build", "-t", tag, "--build-arg", f"BASE_IMAGE={identity}", ".")
    try:
        labels = json.loads(run("docker", "inspect", "-f", "{{json .Config.Labels}}", tag).stdout)
    finally:
        run("docker", "rmi", tag)

    assert labels["org.opencontainers.image.base.name"] == identity


def sbom(*options: str) -> subprocess.CompletedProcess[str]:
    python = ROOT / ".venv-supply" / "bin" / "python"
    if not python.exists():
        unavailable("there is no .venv-supply: make sbom", "REQUIRE_CONTAINER")
    return subprocess.run(
        [python, "-m", "keras_to_lambda.deploy.sbom", *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_image_is_what_the_lock_and_the_tree_say(image, tmp_path):
    done = sbom("--image", image, "-o", str(tmp_path / "sbom.json"))
    assert done.returncode == 0, done.stderr
    assert f"the same as in {image}" in done.stdout


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("RUN rm -r $SITE/six-*.dist-info", "package six is not in"),
        ("RUN sed -i s/^Version:.*/Version:0.1/ $SITE/six-*/METADATA", "package six differs: 1."),
        (
            "RUN cp -r $SITE/six-*.dist-info /tmp/x && "
            "sed -i s/^Name:.*/Name:stray/ /tmp/x/METADATA && "
            "cp -r /tmp/x $SITE/stray-1.dist-info",
            "package stray is in the image, and not here",
        ),
        (
            "RUN echo >> keras_to_lambda/runtime/sources/address_guard.py",
            "file keras_to_lambda/runtime/sources/address_guard.py differs",
        ),
        ("RUN echo > backdoor.py", "file backdoor.py is in the image, and not here"),
        ("RUN rm models/digits/digits.tflite", "file models/digits/digits.tflite is not in"),
    ],
)
def test_an_image_that_is_something_else_gets_no_sbom(image, change, says, tmp_path):
    tag = "keras-to-lambda:test-changed"
    site = "/var/lang/lib/python3.13/site-packages"
    run("docker", "build", "-t", tag, "-", input=f"FROM {image}\n{change.replace('$SITE', site)}\n")
    try:
        done = sbom("--image", tag, "-o", str(tmp_path / "sbom.json"))
    finally:
        run("docker", "rmi", tag)

    assert done.returncode == 1
    assert says in done.stderr
    assert not (tmp_path / "sbom.json").exists()
