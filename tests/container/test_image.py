"""The image: what is in it, what it answers, and that a broken one cannot be built."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess

import pytest

from tests.container.conftest import ADD_HOST, ROOT, SAMPLES, TAG, container, post, run
from tests.unavailable import unavailable

T_SHIRT = ROOT / "samples" / "t-shirt.jpg"
MODEL = "models/clothing/clothing.tflite"


def close_to(scores):
    return pytest.approx(scores, rel=1e-3, abs=1e-4)


def in_image(image: str, code: str) -> str:
    return run("docker", "run", "--rm", "--entrypoint", "python", image, "-c", code).stdout


@pytest.fixture
def context(tmp_path):
    """The files that a build needs, in a folder of our own."""
    locks = ("requirements.txt", "requirements-web.txt")
    for name in ("Dockerfile", ".dockerignore", "lambda_function.py", *locks):
        shutil.copy(ROOT / name, tmp_path / name)
    leave = shutil.ignore_patterns("__pycache__")
    for folder in ("src", "web"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=leave)
    (tmp_path / "deploy").mkdir()
    shutil.copy(ROOT / "deploy" / "slim.py", tmp_path / "deploy")
    (tmp_path / "models" / "mine").mkdir(parents=True)
    return tmp_path


def test_base64_is_answered_with_the_scores_of_this_machine(function, local_scores):
    image = T_SHIRT.read_bytes()
    body = json.dumps({"image": base64.b64encode(image).decode()}).encode()

    assert post(function, body) == (200, close_to(local_scores(image)))


def test_a_url_is_answered_with_the_flat_dict(function, image_host, local_scores):
    status, scores = post(
        function, json.dumps({"url": f"http://{image_host}/t-shirt.jpg"}).encode()
    )

    assert status == 200
    assert scores == close_to(local_scores(T_SHIRT.read_bytes()))


def test_neither_tensorflow_nor_keras_is_in_it(image):
    code = (
        "import importlib.util as u;"
        "print([n for n in ('tensorflow', 'keras', 'tf_keras', 'torch', 'jax') if u.find_spec(n)])"
    )

    assert in_image(image, code).strip() == "[]"


def test_only_the_function_its_pages_and_its_models_are_in_it(image):
    code = "import pathlib as p; print(*(f for f in p.Path('.').rglob('*') if f.is_file()))"
    files = set(in_image(image, code).split())

    sources = {name for name in files if not name.endswith(".pyc")}
    package = ROOT / "src" / "keras_to_lambda"
    runtime = (package / "runtime").rglob("*")
    parts = [package / "__init__.py", *(x for x in runtime if x.suffix in {".py", ".json"})]
    expected = {str(path.relative_to(ROOT / "src")) for path in parts}
    models = ("models/**/*.tflite", "models/**/default.txt", "models/**/samples/**/*")
    for part in ("web/*.html", "web/static/*", *models):
        expected |= {str(path.relative_to(ROOT)) for path in ROOT.glob(part) if path.is_file()}
    assert sources == expected | {"lambda_function.py"}


def test_the_packages_are_slimmed_of_what_is_never_loaded(image):
    code = (
        "import sysconfig, pathlib as p; site = p.Path(sysconfig.get_path('platlib'));"
        "skip = {'pip'};"
        "print(sum(f.stat().st_size for f in site.rglob('*') if f.is_file()"
        " and f.relative_to(site).parts[0] not in skip))"
    )
    # Of 165 MB as the wheels are (138 without boto3); the exact figure is in docs/benchmarks.md.
    assert int(in_image(image, code)) < 80e6


def test_every_format_is_decoded_in_it(image):
    code = (
        "import io; from PIL import Image; from keras_to_lambda.runtime.image.decode import decode;"
        "from keras_to_lambda.runtime.model_file.card import Preprocessing\n"
        "for kind in ('JPEG', 'PNG', 'WEBP', 'GIF', 'BMP'):\n"
        "    data = io.BytesIO(); Image.new('RGB', (9, 7), 'red').save(data, kind)\n"
        "    print(decode(data.getvalue(), Preprocessing(), 3, 10**6).size)"
    )
    assert in_image(image, code).split("\n")[:5] == ["(9, 7)"] * 5


def test_s3_can_be_asked_from_it(image):
    code = "import boto3; print(boto3.client('s3', region_name='eu-west-1').meta.endpoint_url)"
    assert "amazonaws.com" in in_image(image, code)


def test_every_module_has_its_bytecode(image):
    code = (
        "import importlib.util as u, pathlib as p;"
        "print([f for f in p.Path('.').rglob('*.py')"
        " if not p.Path(u.cache_from_source(f)).exists()])"
    )

    assert in_image(image, code).strip() == "[]"


def test_nothing_is_written_outside_tmp(image):
    with container(image) as (name, url):
        post(url, (ROOT / "events" / "direct-image.json").read_bytes())
        changes = run("docker", "diff", name).stdout.splitlines()

    assert [line for line in changes if not line.split(maxsplit=1)[1].startswith("/tmp")] == []


def test_another_model_can_be_built_in_from_files_that_only_their_owner_can_read(context, docker):
    shutil.copy(ROOT / MODEL, context / "models" / "mine" / "mine.tflite")
    for path in context.rglob("*"):
        path.chmod(0o700 if path.is_dir() else 0o600)
    tag = f"{TAG}-mine"
    run("docker", "build", "-t", tag, "--build-arg", "MODEL=models/mine/mine.tflite", context)
    try:
        with container(tag, "--user=12345", "--read-only", "--tmpfs=/tmp", ADD_HOST) as (_, url):
            status, scores = post(url, (ROOT / "events" / "direct-image.json").read_bytes())
        environment = run("docker", "inspect", "-f", "{{.Config.Env}}", tag).stdout
    finally:
        run("docker", "rmi", tag)

    assert status == 200
    assert "t-shirt" in scores
    assert "MODEL_PATH=/var/task/models/mine/mine.tflite" in environment


def test_packed_weights_can_be_built_in(context, docker):
    (context / "models" / "clothing").mkdir()
    shutil.copy(ROOT / MODEL, context / MODEL)
    tag = f"{TAG}-cache"
    run("docker", "build", "-t", tag, "--build-arg", "WEIGHT_CACHE=/var/task/cache", context)
    try:
        code = "import os; print(*os.listdir('/var/task/cache'))"
        files = in_image(tag, code).split()
        with container(tag, "--user=12345", "--read-only", "--tmpfs=/tmp", ADD_HOST) as (_, url):
            status, scores = post(url, (ROOT / "events" / "direct-image.json").read_bytes())
    finally:
        run("docker", "rmi", tag)

    assert [name.rpartition(".")[2] for name in files] == ["xnnpack"]
    assert status == 200
    assert "t-shirt" in scores


def cut_short(model: bytes) -> bytes:
    """The archive with card and labels is at the end, so that these are missed first."""
    return model[:-1000]


def one_byte_changed(model: bytes) -> bytes:
    middle = len(model) // 2
    return model[:middle] + bytes([model[middle] ^ 1]) + model[middle + 1 :]


@pytest.mark.parametrize(
    ("damage", "says"), [(cut_short, "its labels are missing"), (one_byte_changed, "altered")]
)
def test_a_damaged_model_cannot_be_built_in(context, docker, damage, says):
    damaged = damage((ROOT / MODEL).read_bytes())
    (context / "models" / "mine" / "mine.tflite").write_bytes(damaged)
    build = subprocess.run(
        [docker, "build", "--force-rm", "--build-arg", "MODEL=models/mine/mine.tflite", context],
        capture_output=True,
        text=True,
        check=False,
    )
    assert build.returncode != 0
    assert says in build.stdout + build.stderr


def test_the_container_answers_as_keras_did(image, tmp_path):
    python = ROOT / ".venv-tf" / "bin" / "python"
    if not python.exists():
        unavailable("there is no environment with TensorFlow: make setup", "REQUIRE_CONTAINER")
    model = tmp_path / "clothing.tflite"
    shutil.copyfile(ROOT / "models" / "clothing" / "clothing.tflite", model)
    command = (python, "-m", "keras_to_lambda", "verify", model, "--samples", SAMPLES, "--json")
    against = ROOT / "models" / "clothing" / "clothing.keras"
    done = run(*command, "--container", image, "--against", against)
    found = json.loads(done.stdout)
    assert set(found) == {"here", "container", "accuracy_faults", "hints"}
    assert found["accuracy_faults"] == []
    assert found["container"]["passed"] is True
    assert found["container"]["samples"] == 6
    apart = found["container"]["max_difference"] - found["here"]["max_difference"]
    assert abs(apart) < 1e-3
