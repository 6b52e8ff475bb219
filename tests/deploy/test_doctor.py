"""`k2l doctor`: a healthy set-up has no FAIL, and each broken one has its own, with the remedy.

Real: Python, docker and its engine where there is one, sam, awscli, the model, the interpreter, and
moto's server for AWS. Two calls moto does not have, and two states it does not get into (an expired
token, a stack that was rolled back): a proxy in front of it answers those as AWS documents them.
"""

from __future__ import annotations

import dataclasses
import http.client
import http.server
import json
import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
import threading
from xml.sax.saxutils import escape

import boto3
import pytest
import requests
from botocore.exceptions import WaiterError
from moto.server import ThreadedMotoServer

from keras_to_lambda.cli.main import main as k2l
from keras_to_lambda.deploy.doctor import account, command, context, project
from keras_to_lambda.deploy.doctor.command import main, parser
from keras_to_lambda.deploy.doctor.context import ROOT, Setup, version
from keras_to_lambda.deploy.doctor.finding import Skip, Status
from keras_to_lambda.runtime.model import card as cards
from tests.unavailable import unavailable

REGION = "eu-central-1"
# Named as sam names it.
REPOSITORY = "of-sam/classifier1repo"
ACCOUNT = "123456789012"
MODEL = ROOT / "models" / "clothing" / "clothing.tflite"
INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
BASE = "public.ecr.aws/lambda/python:3.13"

# https://docs.aws.amazon.com/lambda/latest/api/API_GetAccountSettings.html
SETTINGS = json.dumps(
    {"AccountLimit": {"ConcurrentExecutions": 1000, "UnreservedConcurrentExecutions": 900}}
)


def simulated(decision, action="lambda:CreateFunction"):
    """https://docs.aws.amazon.com/IAM/latest/APIReference/API_SimulatePrincipalPolicy.html"""
    member = "<member><EvalActionName>{}</EvalActionName><EvalDecision>{}</EvalDecision></member>"
    return (
        '<SimulatePrincipalPolicyResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/">'
        "<SimulatePrincipalPolicyResult><IsTruncated>false</IsTruncated><EvaluationResults>"
        + member.format("s3:PutObject", "allowed")
        + member.format(action, decision)
        + "</EvaluationResults></SimulatePrincipalPolicyResult></SimulatePrincipalPolicyResponse>"
    )


def query_error(code, message):
    """An error of AWS's query protocol."""
    return (
        f"<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code>"
        f"<Message>{escape(message)}</Message></Error><RequestId>1</RequestId></ErrorResponse>"
    )


class Front(http.server.ThreadingHTTPServer):
    """AWS for a test: moto, but for requests with a key of `answers` in path, action or body."""

    def __init__(self, moto_port):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.moto_port = moto_port
        self.answers = {}
        self.url = f"http://127.0.0.1:{self.server_port}"


class _Handler(http.server.BaseHTTPRequestHandler):
    def _answer(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        action = self.headers.get("X-Amz-Target", "")
        said = f"{self.path} {action} {body.decode(errors='replace')}"
        for key, (status, text) in self.server.answers.items():
            if key in said:
                return self._send(status, text.encode(), {})
        moto = http.client.HTTPConnection("127.0.0.1", self.server.moto_port, timeout=20)
        moto.request(self.command, self.path, body, dict(self.headers))
        answer = moto.getresponse()
        return self._send(answer.status, answer.read(), dict(answer.getheaders()))

    do_GET = do_POST = do_PUT = do_DELETE = _answer  # noqa: N815

    def _send(self, status, body, headers):
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in {"content-length", "connection", "date", "server"}:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def moto_port():
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    yield server.get_host_and_port()[1]
    server.stop()


@pytest.fixture(autouse=True)
def no_aws(monkeypatch, tmp_path):
    """None of this machine's AWS configuration, nor of another test's."""
    for name in list(os.environ):
        if name.startswith("AWS_") and name != "AWS_CA_BUNDLE":
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "no-config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "no-credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture
def front(moto_port, monkeypatch):
    """An account of which all is as it should be, with nothing in it."""
    requests.post(f"http://127.0.0.1:{moto_port}/moto-api/reset", timeout=10)
    with Front(moto_port) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        server.answers["account-settings"] = (200, SETTINGS)
        server.answers["Action=SimulatePrincipalPolicy"] = (200, simulated("allowed"))
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
        yield server
        server.shutdown()


@pytest.fixture
def copy(tmp_path):
    """The project, of which a test may break template.yaml and Dockerfile."""
    root = tmp_path / "project"
    root.mkdir()
    for path in ROOT.iterdir():
        if path.name in {"template.yaml", "Dockerfile", "samconfig.toml"}:
            shutil.copy(path, root)
        elif path.name != ".git":
            (root / path.name).symlink_to(path)
    return root


def edit(path, pattern, replacement):
    text = path.read_text(encoding="utf-8")
    changed, count = re.subn(pattern, replacement, text, flags=re.MULTILINE)
    assert count, f"{pattern} is not in {path.name}"
    path.write_text(changed, encoding="utf-8")


def skipping(*names):
    """CHECKS without those that a test has no use for, and pays seconds for."""
    return tuple((name, check) for name, check in command.CHECKS if name not in names)


@pytest.fixture
def doctor(capsys, monkeypatch, request):
    """Run the command; its findings by name, each with status, finding and fix.

    only: names of the checks to run, as all of them take seconds. Where a test is about the
    account, or the API, those are run.
    """
    checks = skipping("template", "sam", "aws")
    if {"front", "served"} & set(request.fixturenames):
        checks = tuple((n, check) for n, check in checks if check.__module__ == account.__name__)
    # moto imports a service at its first call, which takes a busy machine longer than AWS.
    monkeypatch.setattr(context, "READ_TIMEOUT_S", 60)

    def run(*options, root=ROOT, only=()):
        chosen = tuple((name, each) for name, each in checks if not only or name in only)
        monkeypatch.setattr(command, "CHECKS", chosen)
        status = main([*options, "--json"], root)
        answer = json.loads(capsys.readouterr().out)
        found = {row["name"]: row for row in answer["checks"]}
        assert answer["ok"] == (status == 0)
        assert status == any(row["status"] == "FAIL" for row in found.values())
        for row in found.values():
            assert row["finding"]
            # Whatever fails has a remedy.
            assert row["fix"] or row["status"] != "FAIL", row
            # What is said of region and profile is said in backticks.
            prose = re.sub("`[^`]*`", "", row["fix"])
            assert not re.search(r"\b(aws|sam|make deploy) [a-z-]", prose), row
        return found

    return run


@pytest.fixture(scope="module")
def engine():
    if not shutil.which("docker"):
        unavailable("docker is not installed", "REQUIRE_CONTAINER")
    if subprocess.run(["docker", "info"], capture_output=True, check=False).returncode:
        unavailable("no Docker engine answers", "REQUIRE_CONTAINER")
    found = subprocess.run(
        ["docker", "image", "inspect", BASE], capture_output=True, check=False
    ).returncode
    if found and subprocess.run(["docker", "pull", "-q", BASE], check=False).returncode:
        unavailable(f"{BASE} is not here", "REQUIRE_CONTAINER")


@pytest.fixture
def build(engine, tmp_path):
    """Build an image of Lambda's base image and some lines; its name."""
    made = []

    def image(*lines, files=("lambda_function.py",)):
        name = f"doctor-test-{os.getpid()}:{len(made)}"
        context = tmp_path / f"context-{len(made)}"
        context.mkdir()
        for file in files:
            shutil.copy(ROOT / file, context)
        (context / "Dockerfile").write_text("\n".join([f"FROM {BASE}", *lines]) + "\n")
        subprocess.run(
            ["docker", "build", "-q", "-t", name, str(context)],
            check=True,
            capture_output=True,
            env={**os.environ, "BUILDX_NO_DEFAULT_ATTESTATIONS": "1"},
        )
        made.append(name)
        return name

    yield image
    for name in made:
        subprocess.run(["docker", "rmi", "-f", name], capture_output=True, check=False)


COPY = "COPY lambda_function.py /var/task/"
CMD = 'CMD ["lambda_function.lambda_handler"]'


def machine_architecture():
    return {"x86_64": "x86_64", "amd64": "x86_64"}.get(os.uname().machine, "arm64")


def other_architecture():
    return "arm64" if machine_architecture() == "x86_64" else "x86_64"


# Healthy


def test_a_healthy_set_up_has_nothing_that_fails(build, front, capsys):
    deployed(timeout=28)
    name = build(COPY, CMD)

    options = ["--image", name, "--architecture", machine_architecture()]
    assert main(options) == 0

    out = capsys.readouterr().out
    assert "FAIL" not in out
    assert "could not be checked" not in out
    lines = re.findall(r"^(ok|warn|skipped) +(\w+(?: \w+)?) ", out, re.MULTILINE)
    assert [name for _, name in lines] == [name for name, _ in command.CHECKS]
    # No wheel is in this image, and no --url was given.
    assert [name for status, name in lines if status == "skipped"] == ["wheels", "gateway"]
    assert re.search(r"^ok +Docker engine +\d+\.\d+", out, re.MULTILINE)
    assert re.search(r"^ok +template +\d+ resources, valid$", out, re.MULTILINE)
    assert re.search(r"^ok +model +models: 3 models, hash, card, inference$", out, re.MULTILINE)
    assert re.search(r"^ok +identity +arn:aws:sts::\d{12}:", out, re.MULTILINE)


def deployed(*, timeout=28, architecture=None, media_type=MANIFEST, role=None):
    """A repository, an image in it, a role, a function and a stack that names it."""
    ecr, lambdas = boto3.client("ecr"), boto3.client("lambda")
    ecr.create_repository(repositoryName=REPOSITORY)
    uri = pushed(media_type)
    execution = boto3.client("iam").create_role(RoleName="r", AssumeRolePolicyDocument="{}")
    lambdas.create_function(
        FunctionName="the-function",
        PackageType="Image",
        Code={"ImageUri": uri},
        Role=execution["Role"]["Arn"],
        Timeout=timeout,
        MemorySize=1024,
        Architectures=[architecture or machine_architecture()],
    )
    template = {
        "Resources": {"Topic": {"Type": "AWS::SNS::Topic"}},
        "Outputs": {"FunctionName": {"Value": "the-function"}},
    }
    boto3.client("cloudformation").create_stack(
        StackName="keras-to-lambda",
        TemplateBody=json.dumps(template),
        **({"RoleARN": role} if role else {}),
    )


def pushed(media_type, tag="latest"):
    """An image of that type in the repository, as `docker push` puts it."""
    entry = {"mediaType": MANIFEST, "size": 100, "digest": "sha256:" + "0" * 64}
    manifest = {"schemaVersion": 2, "mediaType": media_type}
    manifest |= (
        {"manifests": [entry]} if media_type == INDEX else {"config": entry, "layers": [entry]}
    )
    boto3.client("ecr").put_image(
        repositoryName=REPOSITORY,
        imageTag=tag,
        imageManifest=json.dumps(manifest),
        imageManifestMediaType=media_type,
    )
    return f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com/{REPOSITORY}:{tag}"


def test_offline_asks_nothing_of_aws_and_says_so(doctor, front):
    front.answers[""] = (500, "this must not be asked")

    found = doctor("--offline")

    remote = [name for name, check in command.CHECKS if check.__module__ == account.__name__]
    for name in set(remote) - {"gateway"}:
        assert (found[name]["status"], found[name]["finding"]) == ("skipped", "--offline")


def test_an_empty_account_sees_what_is_not_there_yet(doctor, front):
    found = doctor()

    assert found["region"]["finding"] == REGION
    assert found["repository"]["finding"].startswith("no function keras-to-lambda")
    assert found["stack"]["finding"] == f"no stack keras-to-lambda in {REGION} yet"
    assert found["function"]["finding"] == f"no function keras-to-lambda in {REGION} yet"


# Broken: this machine


def test_no_docker_on_path(doctor, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))

    found = doctor("--offline")

    assert found["Docker client"]["status"] == "FAIL"
    assert found["Docker client"]["finding"] == "docker is not on PATH"
    assert "https://docs.docker.com/" in found["Docker client"]["fix"]
    for name in ("Docker engine", "architecture", "image size", "image files"):
        assert (found[name]["status"], found[name]["finding"]) == ("skipped", "there is no docker")
    # What needs no Docker is looked at all the same.
    assert found["model"]["status"] == "ok"
    assert "Lambda's python:3.13 has 2.34" in found["wheels"]["finding"]


def test_an_engine_that_does_not_answer(doctor, monkeypatch, tmp_path):
    if not shutil.which("docker"):
        pytest.skip("docker is not installed")
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:9")

    found = doctor("--offline")

    assert found["Docker client"]["status"] == "ok"
    assert found["Docker engine"]["status"] == "FAIL"
    assert "127.0.0.1:9" in found["Docker engine"]["finding"]
    assert found["Docker engine"]["fix"].startswith("`unset DOCKER_HOST`")
    assert found["image size"]["finding"] == "no Docker engine answers"


def test_a_docker_that_takes_every_format_for_a_template(monkeypatch, tmp_path):
    """Before 23, `--format json` printed the word; such a Docker is not here, so it is played."""
    server = {"Version": "20.10.24", "Os": "linux", "Arch": "amd64"}
    script = tmp_path / "docker"
    script.write_text(
        f"#!{sys.executable}\n"
        "import sys\n"
        f"print(sys.argv[-1].replace('{{{{json .}}}}', {json.dumps({'Server': server})!r}))\n"
    )
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")

    assert Setup().engine == server


def test_another_architecture_than_the_functions(doctor, build):
    name = build(COPY, CMD)
    wanted, here = other_architecture(), machine_architecture()

    found = doctor("--offline", "--image", name, "--architecture", wanted)

    assert found["image architecture"]["status"] == "FAIL"
    assert found["image architecture"]["finding"] == f"{name} is {here}, the function {wanted}"
    assert "docker build --platform linux/" in found["image architecture"]["fix"]
    # Emulation may be there or not; either way it is said.
    assert found["architecture"]["status"] in {"FAIL", "warn"}
    assert f"{here} here, {wanted} for the function" in found["architecture"]["finding"]


def test_no_sam(copy, capsys, monkeypatch, tmp_path):
    (copy / ".venv-aws").unlink(missing_ok=True)
    monkeypatch.setenv("PATH", str(tmp_path))

    assert main(["--offline"], copy) == 1

    out = capsys.readouterr().out
    assert re.search(r"^FAIL +sam +sam is not here\n +fix: `make setup`,", out, re.MULTILINE)
    assert re.search(r"^warn +template +\d+ resources, not validated", out, re.MULTILINE)


def test_a_folder_that_is_not_a_project(doctor, tmp_path):
    found = doctor("--offline", root=tmp_path)

    assert found["project"]["finding"].startswith("not a project folder; run it in a clone or in")
    assert {*found} == {
        *("project", "Python", "Docker client", "Docker engine", "disk space"),
        *("region", "identity"),
    }
    assert not any("could not be checked" in row["finding"] for row in found.values())
    assert not any("make " in row["fix"] for row in found.values())


def test_remedies_in_a_folder_of_k2l_new_name_no_makefile(capsys, monkeypatch, tmp_path):
    assert k2l(["new", str(tmp_path / "my-api"), "--model", str(MODEL)]) == 0
    monkeypatch.setenv("PATH", str(tmp_path))
    capsys.readouterr()

    assert main(["--offline", "--json"], tmp_path / "my-api") == 1

    found = {row["name"]: row for row in json.loads(capsys.readouterr().out)["checks"]}
    assert found["sam"]["fix"] == "`pipx install aws-sam-cli`"
    assert found["model"]["status"] == "ok"
    assert not any("could not be checked" in row["finding"] for row in found.values())
    assert not any("make " in row["finding"] + row["fix"] for row in found.values())


@pytest.mark.parametrize(
    ("remedy", "typed"),
    [
        ("`make deploy MEMORY=2048`, or less", "`k2l deploy MemorySize=2048 --region x`, or less"),
        ("`make deploy WITH=Bulk=true`; z", "`k2l deploy Bulk=true --region x`; z"),
    ],
)
def test_a_remedy_without_makefile_is_k2l_deploy(remedy, typed, tmp_path):
    assert Setup(region="x", offline=True, root=tmp_path).addressed(remedy) == typed


# Broken: what is to be deployed


@pytest.mark.parametrize("globally", [False, True], ids=["its own", "in Globals"])
def test_a_timeout_that_outlives_the_gateway(doctor, copy, globally):
    if globally:
        edit(copy / "template.yaml", r"^      Timeout: .*\n", "")
        globals_ = "Globals:\n  Function:\n    Timeout: 60\n\nResources:\n"
        edit(copy / "template.yaml", r"^Resources:\n", globals_)
        found = doctor("--offline", root=copy, only=["timeouts"])["timeouts"]
    else:
        found = doctor("--offline", "Timeout=60", only=["timeouts"])["timeouts"]

    assert found["status"] == "warn"
    assert "Classifier may take 60 s, but API Gateway gives up after 29 s" in found["finding"]
    assert "Timeout=28" in found["fix"]


def test_a_template_that_sam_refuses(copy, capsys, monkeypatch):
    if not Setup().tool("sam"):
        pytest.skip("sam is not installed")
    edit(
        copy / "template.yaml",
        r"Type: AWS::Serverless::Function",
        "Type: AWS::Serverless::Funktion",
    )
    monkeypatch.setattr(command, "CHECKS", (("template", project.template),))

    assert main(["--offline"], copy) == 1

    out = capsys.readouterr().out
    assert re.search(r"^FAIL +template +\S.*\n", out)
    assert "validate --lint" in out


def test_a_template_that_is_no_yaml_breaks_its_own_checks_alone(doctor, copy):
    (copy / "template.yaml").write_text("a: [1\nb: }", encoding="utf-8")

    found = doctor("--offline", "--architecture", "x86_64", "--model", str(MODEL), root=copy)

    assert found["timeouts"]["status"] == "warn"
    assert found["timeouts"]["finding"].startswith("could not be checked: ")
    assert found["model"]["status"] == "ok"


def broken_models():
    whole = MODEL.read_bytes()
    with MODEL.open("rb") as file:
        size, card = cards.read(file)
    altered = bytearray(whole)
    altered[size // 2] ^= 1
    return {
        "cut short": (whole[: size // 2], "cut short"),
        "altered": (bytes(altered), "was altered: its hash is not the one in its card"),
        "another file": (b"<!doctype html><title>404</title>", "is not a .tflite model"),
        "no graph": (cards.join(b"\0\0\0\0TFL3" + bytes(64), card), "interpreter"),
        "empty": (b"", "is not a .tflite model"),
    }


@pytest.mark.parametrize("fault", broken_models())
def test_a_broken_model_file(doctor, tmp_path, fault):
    content, said = broken_models()[fault]
    path = tmp_path / "mine.tflite"
    path.write_bytes(content)

    found = doctor("--offline", "--model", str(path), only=["model"])["model"]

    assert found["status"] == "FAIL"
    assert said in found["finding"]
    assert "k2l convert" in found["fix"]


def test_a_model_that_is_not_there(doctor):
    found = doctor(
        "--offline", "--model", "models/mine.tflite", only=["model", "labels", "model size"]
    )

    assert found["model size"]["status"] == "skipped"
    assert found["model"]["finding"] == "models/mine.tflite is not there"
    assert found["model"]["status"] == "FAIL"
    assert found["labels"]["status"] == "skipped"


def test_wheels_that_are_newer_than_the_base_images_glibc(doctor, copy, monkeypatch, tmp_path):
    """The wheels installed here are real; so would be the crash, with Python 3.11's base image."""
    edit(copy / "Dockerfile", r"^ARG PYTHON_VERSION=.*", "ARG PYTHON_VERSION=3.11")
    monkeypatch.setenv("PATH", str(tmp_path))  # without docker: by the Dockerfile

    found = doctor("--offline", root=copy, only=["wheels"])["wheels"]

    if found["status"] == "skipped":
        pytest.skip("no manylinux wheels are installed here")
    assert found["status"] == "FAIL"
    assert re.search(r"needs glibc 2\.\d\d; Lambda's python:3\.11 has 2\.26", found["finding"])
    assert "ARG PYTHON_VERSION=3.13" in found["fix"]


@pytest.mark.parametrize(
    ("tags", "least"),
    [
        (["py3-none-any"], ()),
        (["cp313-cp313-manylinux_2_28_x86_64"], (2, 28)),
        (["cp313-cp313-manylinux_2_28_x86_64", "cp313-cp313-manylinux_2_27_x86_64"], (2, 27)),
        (["cp313-cp313-manylinux_2_17_x86_64", "cp313-cp313-manylinux2014_x86_64"], (2, 17)),
        (["cp310-abi3-manylinux2014_aarch64"], (2, 17)),
        (["cp313-cp313-manylinux1_x86_64"], (2, 5)),
    ],
)
def test_the_glibc_that_a_wheel_needs(tags, least):
    assert project._least_glibc(tags) == least


def test_a_lock_whose_wheels_need_a_newer_glibc(copy, monkeypatch, tmp_path):
    """A made-up wheel for glibc 2.28, installed and locked, before a base image with 2.26."""
    site = tmp_path / "site"
    (site / "newer-1.0.dist-info").mkdir(parents=True)
    (site / "newer-1.0.dist-info" / "METADATA").write_text("Name: newer\nVersion: 1.0\n")
    (site / "newer-1.0.dist-info" / "WHEEL").write_text("Tag: cp311-cp311-manylinux_2_28_x86_64\n")
    (copy / "requirements.txt").unlink()
    (copy / "requirements.txt").write_text("newer==1.0 \\\n    --hash=sha256:0\n")
    edit(copy / "Dockerfile", r"^ARG PYTHON_VERSION=.*", "ARG PYTHON_VERSION=3.11")
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setenv("PATH", str(tmp_path))

    found = project.wheels(Setup(root=copy))

    assert found.status is Status.FAIL
    assert found.text.startswith("newer needs glibc 2.28; Lambda's python:3.11 has 2.26")


# Broken: the image


def test_an_image_that_was_asked_for_and_is_not_there(doctor, engine):
    found = doctor("--offline", "--image", "no-such-image:1", only=["image size"])["image size"]

    assert found["finding"] == "no image no-such-image:1 yet; `make image` builds it"


def test_an_image_whose_command_is_no_handler(doctor, build):
    name = build(COPY, "CMD python lambda_function.py")

    found = doctor("--offline", "--image", name, only=["image command"])["image command"]

    assert found["status"] == "FAIL"
    assert 'CMD ["lambda_function.lambda_handler"]' in found["fix"]


def test_an_image_without_the_handlers_module(doctor, build):
    found = doctor("--offline", "--image", build(CMD), only=["image files"])["image files"]

    assert found["status"] == "FAIL"
    assert (
        found["finding"] == "lambda_function.lambda_handler: there is no such module in the image"
    )
    assert "COPY lambda_function.py" in found["fix"]


def test_an_image_whose_files_only_root_can_read(doctor, build):
    name = build(COPY, "RUN touch /var/task/secret.py && chmod 600 /var/task/secret.py", CMD)

    found = doctor("--offline", "--image", name, only=["image files"])["image files"]

    assert found["status"] == "FAIL"
    assert "/var/task/secret.py" in found["finding"]
    assert "chmod -R a+rX" in found["fix"]


@pytest.mark.parametrize(
    ("descriptor", "status"),
    [
        ({"mediaType": INDEX}, Status.FAIL),
        ({"mediaType": "application/vnd.docker.distribution.manifest.list.v2+json"}, Status.FAIL),
        ({"mediaType": "application/vnd.oci.image.manifest.v1+json"}, Status.OK),
        (None, Status.OK),
    ],
)
def test_an_image_index_is_refused_before_it_is_pushed(descriptor, status):
    """A fake: only engines with containerd's image store keep an index, and none is here."""
    setup = Setup(architecture="arm64")
    setup.inspected = {"name": "mine", "Descriptor": descriptor}

    found = project.image_manifest(setup)

    assert found.status is status
    if status is Status.FAIL:
        assert found.fix == (
            "docker build --platform linux/arm64 --provenance=false --sbom=false -t mine ."
        )


@pytest.mark.parametrize(
    ("size", "status"), [(0.3e9, Status.OK), (2e9, Status.WARN), (11e9, Status.FAIL)]
)
def test_a_large_image(size, status):
    setup = Setup()
    setup.inspected = {"name": "mine", "Size": size}

    assert project.image_size(setup).status is status


# Broken: the account


NO_KEYS = {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}
CALLER, SIMULATOR = "Action=GetCallerIdentity", "Action=SimulatePrincipalPolicy"
EXPIRED = "The security token included in the request is expired"
INVALID = "The security token included in the request is invalid."
LATE = "Signature expired: 20261121T001427Z is now earlier than 20261121T014428Z (20261121T015928Z)"


# The environment and AWS's answers; options; a check, its status, and what finding and fix say.
@pytest.mark.parametrize(
    ("environ", "answers", "options", "check", "status", "finding", "fix"),
    [
        ({"AWS_DEFAULT_REGION": None}, {}, [], "region", "FAIL", "", "export AWS_DEFAULT_REGION="),
        ({"AWS_DEFAULT_REGION": None}, {}, [], "identity", "skipped", "no region is set", ""),
        # boto3 does not read this one.
        ({"AWS_DEFAULT_REGION": None, "AWS_REGION": "eu-west-3"}, {}, [],
         "region", "FAIL", "", "export AWS_DEFAULT_REGION=eu-west-3"),
        ({}, {}, ["--region", "eu-centrall-1"], "region", "warn", "eu-centrall-1", ""),
        ({}, {}, ["--profile", "absent"], "region", "FAIL", "absent", "aws configure --profile"),
        (NO_KEYS, {}, [], "identity", "FAIL", "Unable to locate credentials", "aws configure"),
        (NO_KEYS, {}, [], "function", "skipped", "AWS does not know who you are", ""),
        ({}, {CALLER: (403, query_error("ExpiredToken", EXPIRED))}, [],
         "identity", "FAIL", EXPIRED, "sign in again in the way"),
        ({}, {CALLER: (403, query_error("InvalidClientTokenId", INVALID))}, [],
         "identity", "FAIL", INVALID, "aws configure"),
        ({}, {CALLER: (403, query_error("SignatureDoesNotMatch", LATE))}, [],
         "identity", "FAIL", LATE, "sudo hwclock -s"),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, {}, [],
         "identity", "FAIL", "127.0.0.1:9", "--offline"),
        ({}, {SIMULATOR: (200, simulated("allowed"))}, [], "permissions", "ok", "are allowed", ""),
        ({}, {SIMULATOR: (200, simulated("implicitDeny"))}, [],
         "permissions", "warn", "lambda:CreateFunction", "service role"),
        ({}, {SIMULATOR: (200, simulated("explicitDeny"))}, [],
         "permissions", "FAIL", "lambda:CreateFunction", "--profile"),
        ({}, {SIMULATOR: (403, query_error("AccessDenied", "not authorized to perform: iam:S"))},
         [], "permissions", "warn", "unknown: ", ""),
    ],
)  # fmt: skip
def test_the_account(
    doctor, front, monkeypatch, environ, answers, options, check, status, finding, fix
):
    for name, value in environ.items():
        if value is None:
            monkeypatch.delenv(name)
        else:
            monkeypatch.setenv(name, value)
    front.answers |= answers

    found = doctor(*options, only=[check])[check]

    assert found["status"] == status
    assert finding in found["finding"]
    assert fix in found["fix"]


def test_samconfigs_region_is_enough(doctor, front, copy, monkeypatch):
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    line = '[default.deploy.parameters]\nregion = "eu-north-1"\n'
    edit(copy / "samconfig.toml", r"^\[default\.deploy\.parameters\]\n", line)

    assert doctor(root=copy, only=["region"])["region"]["finding"] == "eu-north-1"


def test_with_a_service_role_only_the_deployers_own_actions_count(doctor, front):
    denied = (200, simulated("explicitDeny", "sqs:CreateQueue"))
    front.answers = {"sqs%3ACreateQueue": denied, **front.answers}

    def found(*options):
        return doctor(*options, only=["permissions"])["permissions"]

    assert "sqs:CreateQueue" in found()["finding"]
    assert found("--service-role")["status"] == "ok"
    deployed(role="arn:aws:iam::123456789012:role/service")
    assert found()["status"] == "ok"


@pytest.mark.parametrize(
    ("limit", "free", "own", "wanted", "status", "fits"),
    [
        (1000, 1000, 0, 0, "ok", None),
        (1000, 1000, 0, 50, "ok", None),
        (1000, 110, 0, 50, "FAIL", 10),
        (10, 10, 0, 0, "warn", None),
        (10, 10, 0, 1, "FAIL", 0),
        # What the function has reserved can be reserved again.
        (1000, 110, 50, 60, "ok", None),
        (1000, 110, 50, 61, "FAIL", 60),
    ],
)
def test_concurrency_is_judged_as_it_will_be_deployed(
    doctor, front, limit, free, own, wanted, status, fits
):
    settings = {"ConcurrentExecutions": limit, "UnreservedConcurrentExecutions": free}
    front.answers["account-settings"] = (200, json.dumps({"AccountLimit": settings}))
    described(front, Concurrency={"ReservedConcurrentExecutions": own} if own else {})

    found = doctor(f"ConcurrencyLimit={wanted}", only=["concurrency"])["concurrency"]

    assert found["status"] == status
    if fits is not None:
        assert f"`make deploy WITH=ConcurrencyLimit={fits} REGION={REGION}`;" in found["fix"]


def test_a_parameter_that_the_template_does_not_have_is_a_usage_error(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["Concurrency=50"])
    assert "unknown parameter Concurrency; template.yaml has AccessLogs, " in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["Authentication=public"], "Authentication=public: one of iam, api-key, none"),
        (["MemorySize=12"], "MemorySize=12: a number, 512 to 10,240"),
        (["RateLimit=many"], "RateLimit=many: a number, 1 or more"),
        (["Authentication=api-key", "ApiType=http"], "HTTP APIs have no API keys"),
        (["Authentication=none", "Bulk=true"], "Everybody could see the pictures of Bulk"),
    ],
)
def test_values_that_cloudformation_would_refuse_are_reported_before(doctor, given, said):
    found = doctor("--offline", *given, only=["parameters"])["parameters"]

    assert found["status"] == "FAIL"
    assert said in found["finding"]


def test_what_is_deployed_otherwise_than_by_default_is_shown(doctor):
    assert (
        doctor("--offline", only=["parameters"])["parameters"]["finding"]
        == "the template's defaults"
    )
    found = doctor("--offline", "MemorySize=1024", "Authentication=iam", "LogDays=7")
    assert found["parameters"]["finding"] == "MemorySize=1024, LogDays=7"


def test_every_rule_of_the_template_can_be_judged():
    from keras_to_lambda.deploy.doctor.template import Template

    template = Template.read(ROOT / "template.yaml")
    assert list(template.faults()) == []
    assert len(template.body["Rules"]) == 3
    fits = {"Authentication": "none", "FunctionUrl": "none", "ConcurrencyLimit": "5"}
    assert list(template.deployed_with(fits).faults()) == []
    unknown = Template({**template.body, "Rules": {"R": {"RuleCondition": {"RefAll": ["x"]}}}})
    with pytest.raises(ValueError, match="RefAll, which is not known here"):
        list(unknown.faults())


def test_the_lifecycle_of_the_functions_own_repository(doctor, front):
    deployed()
    ecr = boto3.client("ecr")

    found = doctor(only=["repository"])["repository"]
    assert found["status"] == "warn"
    assert "of-sam/classifier1repo, images: 1; no lifecycle policy" in found["finding"]
    assert found["fix"].endswith(f" --region {REGION}`")

    few = json.dumps(
        {"rules": [{"selection": {"countType": "imageCountMoreThan", "countNumber": 5}}]}
    )
    front.answers["GetLifecyclePolicy"] = (200, json.dumps({"lifecyclePolicyText": few}))
    found = doctor(only=["repository"])["repository"]
    assert found["status"] == "warn"
    assert "keeps 5: a version whose image is deleted cannot be gone back to" in found["finding"]
    del front.answers["GetLifecyclePolicy"]

    policy = re.search(r"--lifecycle-policy-text '(.*)'", found["fix"])[1]
    ecr.put_lifecycle_policy(repositoryName=REPOSITORY, lifecyclePolicyText=policy)
    assert doctor(only=["repository"])["repository"]["status"] == "ok"


@pytest.mark.parametrize(
    ("status", "mark", "fix"),
    [
        (
            "ROLLBACK_COMPLETE",
            "FAIL",
            "`aws cloudformation delete-stack --stack-name keras-to-lambda "
            f"--region {REGION}`, then deploy again",
        ),
        ("UPDATE_ROLLBACK_FAILED", "FAIL", "`aws cloudformation continue-update-rollback"),
        ("UPDATE_IN_PROGRESS", "warn", "`aws cloudformation wait stack-update-complete"),
        ("IMPORT_ROLLBACK_IN_PROGRESS", "warn", "wait until it is over"),
        ("REVIEW_IN_PROGRESS", "ok", ""),
    ],
)
def test_the_state_of_a_stack(doctor, front, status, mark, fix):
    front.answers["Action=DescribeStacks"] = (200, stack_in(status))

    found = doctor(only=["stack"])["stack"]

    assert found["status"] == mark
    assert status in found["finding"]
    assert (found.get("fix") or "").startswith(fix)


def stack_in(status):
    """https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_DescribeStacks.html"""
    return (
        '<DescribeStacksResponse xmlns="http://cloudformation.amazonaws.com/doc/2010-05-15/">'
        "<DescribeStacksResult><Stacks><member><StackName>keras-to-lambda</StackName>"
        "<CreationTime>2026-11-21T10:00:00Z</CreationTime>"
        f"<StackStatus>{status}</StackStatus></member></Stacks></DescribeStacksResult>"
        "</DescribeStacksResponse>"
    )


# A state that is under way, the one after it, and the end of a waiter by then.
UNDER_WAY = [
    ("CREATE_IN_PROGRESS", "CREATE_COMPLETE", "done"),
    ("ROLLBACK_IN_PROGRESS", "ROLLBACK_COMPLETE", "failed"),
    ("UPDATE_IN_PROGRESS", "UPDATE_COMPLETE", "done"),
    ("UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", "UPDATE_COMPLETE", "done"),
    ("UPDATE_ROLLBACK_IN_PROGRESS", "UPDATE_ROLLBACK_COMPLETE", "done"),
    ("UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS", "UPDATE_ROLLBACK_COMPLETE", "done"),
    ("DELETE_IN_PROGRESS", "DELETE_COMPLETE", "done"),
    ("IMPORT_IN_PROGRESS", "IMPORT_COMPLETE", "done"),
]


@pytest.mark.parametrize(("during", "after", "end"), UNDER_WAY)
def test_what_waits_for_a_stack_ends_as_soon_as_its_state_is_over(
    doctor, front, during, after, end
):
    front.answers["Action=DescribeStacks"] = (200, stack_in(during))
    found = doctor(only=["stack"])["stack"]
    assert found["status"] == "warn"
    name = re.match(r"`aws cloudformation wait (\S+) --stack-name keras-to-lambda ", found["fix"])[
        1
    ]
    # awscli makes its commands of these.
    waiter = boto3.client("cloudformation").get_waiter(name.replace("-", "_"))

    def asked_once():
        try:
            waiter.wait(StackName="keras-to-lambda", WaiterConfig={"MaxAttempts": 1})
        except WaiterError as error:
            return "waits" if "Max attempts exceeded" in str(error) else "failed"
        return "done"

    assert asked_once() == "waits"
    front.answers["Action=DescribeStacks"] = (200, stack_in(after))
    assert asked_once() == end


def test_every_state_that_is_under_way_is_waited_for():
    model = boto3.client("cloudformation", "us-east-1").meta.service_model
    states = {x for x in model.shape_for("StackStatus").enum if x.endswith("_IN_PROGRESS")}

    # The first waits for its owner, the second has no waiter.
    unwaited = {"REVIEW_IN_PROGRESS", "IMPORT_ROLLBACK_IN_PROGRESS"}
    assert account.WAITERS.keys() == states - unwaited == {during for during, *_ in UNDER_WAY}


def test_what_is_judged_is_the_version_that_callers_get(doctor, front):
    deployed(timeout=28)
    lambdas = boto3.client("lambda")
    version = lambdas.publish_version(FunctionName="the-function")["Version"]
    lambdas.create_alias(FunctionName="the-function", Name="live", FunctionVersion=version)
    lambdas.update_function_configuration(FunctionName="the-function", Timeout=60)

    found = doctor("--architecture", machine_architecture(), only=["function"])["function"]

    assert found["finding"].startswith("the-function:live is Active")
    assert "1024 MB, 28 s" in found["finding"]


ECR_WHY = "Lambda does not have permission to access the ECR image. Check the ECR permissions."


@pytest.mark.parametrize(
    ("configuration", "finding", "fix"),
    [
        ({"LastUpdateStatus": "InProgress"}, "being updated",
         "`aws lambda wait function-updated-v2 --function-name keras-to-lambda:live "
         f"--region {REGION}`"),
        ({"Concurrency": {"ReservedConcurrentExecutions": 0}}, "every call is throttled",
         "`aws lambda delete-function-concurrency --function-name keras-to-lambda "
         f"--region {REGION}`"),
        ({"LastUpdateStatus": "Failed", "LastUpdateStatusReason": ECR_WHY}, ECR_WHY,
         "ecr:SetRepositoryPolicy"),
        ({"Code": {"ImageUri": f"{ACCOUNT}.dkr.ecr.us-east-1.amazonaws.com/x:1"}}, "us-east-1", ""),
        ({"Architectures": ["x86_64"]}, "keras-to-lambda:live is x86_64, arm64 is wanted", ""),
    ],
)  # fmt: skip
def test_a_function_that_callers_cannot_use(doctor, front, configuration, finding, fix):
    described(front, **configuration)

    found = doctor("--architecture", "arm64", only=["function"])["function"]

    assert found["status"] == "warn"
    assert finding in found["finding"]
    assert fix in found["fix"]


def described(front, Code=None, Concurrency=None, **configuration):  # noqa: N803
    """What GetFunction answers, which moto does not get to.

    https://docs.aws.amazon.com/lambda/latest/api/API_GetFunction.html
    """
    common = {"State": "Active", "Architectures": ["arm64"], "MemorySize": 1024, "Timeout": 28}
    alias = {"Configuration": common | configuration, "Code": Code or {}}
    function = alias | {"Concurrency": Concurrency or {}}
    path = "/2015-03-31/functions/keras-to-lambda"
    front.answers[f"{path}?Qualifier=live"] = (200, json.dumps(alias))
    front.answers[path] = (200, json.dumps(function))


# The API


@pytest.fixture
def served():
    """The function by the project's own local server; its address."""
    process = subprocess.Popen(
        [sys.executable, "-m", "keras_to_lambda", "serve", "--port", "0"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    found = None
    for line in process.stdout:
        if found := re.search(r"http://127\.0\.0\.1:\d+", line):
            break
    assert found
    yield found[0]
    process.terminate()
    process.wait(60)
    process.stdout.close()


def test_an_api_that_answers(doctor, served):
    found = doctor("--offline", "--url", f"{served}/predict", only=["gateway"])["gateway"]

    assert found["status"] == "ok"
    assert found["finding"].startswith("the function answers, in ")


def test_the_address_of_something_else(doctor, served):
    found = doctor("--offline", "--url", f"{served}/predictions", only=["gateway"])["gateway"]

    assert found["status"] == "FAIL"
    assert found["finding"].startswith("status 404: ")


@pytest.mark.parametrize(
    ("status", "body", "mark", "fix"),
    [
        (403, '{"message":"Missing Authentication Token"}', "warn", "stack's output Url"),
        (403, '{"message":"Forbidden"}', "warn", "x-api-key"),
        (500, '{"message": "Internal server error"}', "FAIL", "sam logs"),
        (504, '{"message": "Endpoint request timed out"}', "FAIL", "Timeout: 28"),
        (200, "<html>a parking page</html>", "FAIL", "stack's output Url"),
    ],
)
def test_what_api_gateway_says_is_explained(doctor, front, status, body, mark, fix):
    front.answers["/Prod/predict"] = (status, body)

    found = doctor("--url", f"{front.url}/Prod/predict", only=["gateway"])["gateway"]

    assert (found["status"], fix in found["fix"]) == (mark, True)
    assert found["finding"].startswith(f"status {status}")


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/predict", "abc.execute-api/predict"])
def test_an_address_that_does_not_answer(doctor, url):
    assert doctor("--offline", "--url", url, only=["gateway"])["gateway"]["status"] == "FAIL"


# What is to be typed


ELSEWHERE = Setup(region="eu-west-3", profile="work", stack="mine", offline=True)


@pytest.mark.parametrize(
    ("remedy", "typed"),
    [
        ("`aws lambda x --a b`", "`aws lambda x --a b --region eu-west-3 --profile work`"),
        ("`aws x`, then `sam y`", "`aws x {}`, then `sam y {}`"),
        ("`aws x && aws y`; z", "`aws x {0} && aws y {0}`; z"),
        (
            "`aws x --region REGION | docker y`",
            "`aws x --region eu-west-3 --profile work | docker y`",
        ),
        ("`sam logs --stack-name STACK --tail`", "`sam logs --stack-name mine --tail {}`"),
        ("`aws configure`; or new keys", "`aws configure --profile work`; or new keys"),
        ("`aws configure`", "`aws configure --profile work`"),
        ("`make deploy`", "`make deploy REGION=eu-west-3 PROFILE=work STACK=mine`"),
        ("a, then `make deploy MEMORY=2048`", "a, then `make deploy MEMORY=2048 {make}`"),
        ("`make setup`, which brings `x/bin/aws`", "`make setup`, which brings `x/bin/aws`"),
        ("what aws and sam say", "what aws and sam say"),
        ("", ""),
    ],
)
def test_commands_name_the_region_the_profile_and_the_stack_that_were_given(remedy, typed):
    options = "--region eu-west-3 --profile work"
    make = "REGION=eu-west-3 PROFILE=work STACK=mine"

    assert ELSEWHERE.addressed(remedy) == typed.format(options, options, make=make)


def test_a_name_with_a_space_stays_one_word():
    typed = Setup(profile="my work", offline=True).addressed("`aws x`")

    assert shlex.split(typed.strip("`")) == ["aws", "x", "--profile", "my work"]


def test_where_nothing_was_given_and_nothing_is_known_commands_stay_as_they_are():
    for setup in (Setup(offline=True), Setup(), Setup(profile="absent", region="")):
        assert setup.addressed("`aws x`").startswith("`aws x")
        assert "--region" not in setup.addressed("`aws x`")
    assert Setup(offline=True).addressed("`make deploy`") == "`make deploy`"


def test_the_region_is_named_wherever_it_is_from_and_the_profile_only_if_it_was_given(
    copy, front, monkeypatch, tmp_path
):
    """Keys in the environment come before a profile there, and after one that is named."""
    (tmp_path / "config").write_text("[profile there]\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_PROFILE", "there")
    assert Setup(root=copy).addressed("`aws x`") == f"`aws x --region {REGION}`"

    monkeypatch.delenv("AWS_DEFAULT_REGION")
    line = '[default.deploy.parameters]\nregion = "eu-north-1"\n'
    edit(copy / "samconfig.toml", r"^\[default\.deploy\.parameters\]\n", line)
    assert Setup(root=copy).addressed("`aws x`") == "`aws x --region eu-north-1`"


def test_what_is_pasted_deletes_the_stack_that_was_looked_at_and_not_its_namesake(
    doctor, front, monkeypatch, tmp_path
):
    aws = Setup().tool("aws")
    if not aws:
        pytest.skip("aws is not installed")
    (tmp_path / "config").write_text("[profile work]\nregion = eu-north-1\n")
    (tmp_path / "keys").write_text("[work]\naws_access_key_id = a\naws_secret_access_key = b\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "keys"))
    template = json.dumps({"Resources": {"Topic": {"Type": "AWS::SNS::Topic"}}})
    regions = [REGION, "eu-west-3"]
    clients = [boto3.client("cloudformation", region) for region in regions]
    for client in clients:
        client.create_stack(StackName="keras-to-lambda", TemplateBody=template)
    front.answers["Action=DescribeStacks"] = (200, stack_in("ROLLBACK_COMPLETE"))
    found = doctor("--region", "eu-west-3", "--profile", "work", only=["stack"])["stack"]
    del front.answers["Action=DescribeStacks"]

    command = re.match("`([^`]+)`, then deploy again$", found["fix"])[1]
    program, *options = shlex.split(command)
    assert (program, options[-2:]) == ("aws", ["--profile", "work"])
    subprocess.run([aws, *options], check=True, timeout=60)

    there = [client.describe_stacks()["Stacks"] for client in clients]
    assert [len(stacks) for stacks in there] == [1, 0]


def test_the_makefile_hands_on_what_a_remedy_says_to_it():
    command = ELSEWHERE.addressed("`make deploy MEMORY=2048 WITH=ConcurrencyLimit=5`").strip("`")
    environ = {n: value for n, value in os.environ.items() if not n.startswith(("MAKE", "MFLAGS"))}
    done = subprocess.run(
        ["make", "-n", *shlex.split(command)[1:]],
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
        check=True,
    )

    said = " ".join(done.stdout.split())
    assert "k2l deploy --stack mine --region eu-west-3 --profile work MemorySize=2048" in said
    assert "ConcurrencyLimit=5 --" in said


def test_memory_for_a_large_model_is_what_make_deploy_takes_and_then_enough(tmp_path):
    path = tmp_path / "large.tflite"
    with path.open("wb") as file:
        file.truncate(200_000_000)

    found = project.model_size(Setup(model=str(path), parameters={"MemorySize": "512"}))
    assert found.status is Status.WARN
    assert "MemorySize 512 MB" in found.text
    assert found.fix.startswith("`make deploy MEMORY=1600`, or ")

    setup = Setup(model=str(path), parameters={"MemorySize": "1600"})
    assert project.model_size(setup).status is Status.OK


# The command


def test_a_check_that_breaks_is_a_warning_and_the_others_go_on(doctor, monkeypatch, tmp_path):
    docker = tmp_path / "docker"
    docker.write_text("#!/bin/sh\necho '{\"Server\": nonsense'\n")
    docker.chmod(docker.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    found = doctor("--offline")

    assert found["Docker engine"]["status"] == "warn"
    assert found["Docker engine"]["finding"].startswith("could not be checked: JSONDecodeError")
    assert found["labels"]["status"] == "ok"


def test_a_program_that_hangs_is_given_up():
    with pytest.raises(TimeoutError, match="`sleep 60` did not end within 0 s"):
        Setup().run("sleep", "60", timeout_s=0.1)


def test_findings_come_as_they_are_made(monkeypatch, capsys):
    seen = []

    def first(_):
        return command.Finding(Status.OK, "one")

    def second(_):
        seen.append(capsys.readouterr().out)
        raise Skip("two")

    monkeypatch.setattr(command, "CHECKS", (("first", first), ("second", second)))

    assert main([]) == 0
    assert seen == ["ok       first               one\n"]
    assert capsys.readouterr().out == "skipped  second              two\n\n1 ok, 1 skipped\n"


def test_lines_fit_a_terminal_and_fixes_can_be_copied():
    text = "word " * 60
    lines = command.shown("name", command.Finding(Status.FAIL, text, "make " + "x" * 200)).split(
        "\n"
    )

    assert all(len(line) <= 100 for line in lines[:-1])
    assert lines[-1].strip() == "fix: make " + "x" * 200


def test_every_option_has_a_help_and_the_exit_status_is_explained():
    p = parser()
    for action in p._actions:
        assert action.help, action.dest
    for status in ("0", "1", "2"):
        assert re.search(rf"^  {status}  \S", p.epilog, re.MULTILINE)


@pytest.mark.parametrize("wrong", [["--architecture", "riscv"], ["ConcurrencyLimit"]])
def test_a_wrong_option_is_a_usage_error(wrong):
    with pytest.raises(SystemExit) as exit_status:
        main(wrong)
    assert exit_status.value.code == 2


def test_every_check_has_a_row_in_the_document():
    text = (ROOT / "docs" / "doctor.md").read_text(encoding="utf-8")
    for name, _ in command.CHECKS:
        assert f"| {name} |" in text, name


@pytest.mark.parametrize(
    ("text", "found"),
    [("SAM CLI, version 1.170.0", (1, 170, 0)), ("glibc 2.34", (2, 34)), ("nothing", ())],
)
def test_versions_are_read(text, found):
    assert version(text) == found


def test_every_argument_of_the_command_reaches_the_set_up():
    names = {field.name for field in dataclasses.fields(Setup)} - {"root"}
    assert names == {action.dest for action in parser()._actions} - {"help", "explain", "json"}
