"""`k2l doctor`: a healthy set-up has no FAIL, and each broken one has its own, with the remedy.

Real: Python, docker and its engine where there is one, sam, the model, the interpreter. AWS's
STS and IAM are a server that answers as AWS documents it.
"""

from __future__ import annotations

import http.server
import os
import re
import shutil
import stat
import subprocess
import sys
import threading
from xml.sax.saxutils import escape

import pytest

from keras_to_lambda import project
from keras_to_lambda.cli.main import VERBS
from keras_to_lambda.cli.main import main as k2l
from keras_to_lambda.deploy.doctor import checks
from keras_to_lambda.deploy.doctor import doctor as doctor_command
from keras_to_lambda.deploy.doctor.doctor import examine, main, parser
from keras_to_lambda.deploy.doctor.setup import Finding, Setup, Skip
from keras_to_lambda.deploy.doctor.template import Template
from keras_to_lambda.project import ROOT
from keras_to_lambda.runtime.model_file import card as cards
from tests.unavailable import unavailable

REGION = "eu-central-1"
MODEL = ROOT / "models" / "clothing" / "clothing.tflite"
INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
BASE = "public.ecr.aws/lambda/python:3.13"


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


# https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html
IDENTITY = (
    '<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">'
    "<GetCallerIdentityResult><Arn>arn:aws:sts::123456789012:assumed-role/dev/ada</Arn>"
    "</GetCallerIdentityResult></GetCallerIdentityResponse>"
)
CALLER, SIMULATOR = "Action=GetCallerIdentity", "Action=SimulatePrincipalPolicy"


class Account(http.server.ThreadingHTTPServer):
    """AWS for a test: the first of `answers`, status and text, whose key a request's body has."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers = {CALLER: (200, IDENTITY), SIMULATOR: (200, simulated("allowed"))}


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        said = self.rfile.read(int(self.headers["Content-Length"])).decode()
        status, text = next(a for key, a in self.server.answers.items() if key in said)
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_):
        pass


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
def front(monkeypatch):
    """An account of which all is as it should be."""
    with Account() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
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


ACCOUNT = ("region", "identity", "permissions")
SLOW = ("template", "sam", "aws")


@pytest.fixture
def doctor(monkeypatch, request):
    """Run the checks; what they found by name.

    only: names of the checks to run, as all of them take seconds. Where a test is about the
    account, those of it are run.
    """
    names = [name for name in checks.CHECKS if name not in SLOW]
    if "front" in request.fixturenames:
        names = ACCOUNT

    def run(*options, root=ROOT, only=names, **setup):
        chosen = {name: check for name, check in checks.CHECKS.items() if name in only}
        monkeypatch.setattr(doctor_command, "CHECKS", chosen)
        arguments = vars(parser().parse_args(options))
        del arguments["explain"]
        made = doctor_command._setup(arguments, root)
        for name, value in setup.items():
            setattr(made, name, value)
        found = dict(examine(made))
        for finding in found.values():
            assert finding.text
            # Whatever fails has a remedy.
            assert finding.fix or finding.status != "FAIL", finding
            prose = re.sub("`[^`]*`", "", finding.fix)
            assert not re.search(r"\b(aws|sam|k2l deploy) [a-z-]|make ", prose), finding
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


def machine_architecture():
    return {"x86_64": "x86_64", "amd64": "x86_64"}.get(os.uname().machine, "arm64")


# Healthy


def test_a_healthy_set_up_has_nothing_that_fails(engine, front, capsys):
    given = {"Architecture": machine_architecture()}
    assert doctor_command.check(Setup(images=(BASE,), parameters=given))

    out = capsys.readouterr().out
    assert "FAIL" not in out
    assert "could not be checked" not in out
    lines = re.findall(r"^(ok|warn|skipped) +(\w+(?: \w+)?) ", out, re.MULTILINE)
    assert [name for _, name in lines] == [*checks.CHECKS]
    assert "skipped" not in [status for status, _ in lines]
    assert re.search(r"^ok +Docker +\d+\.\d+", out, re.MULTILINE)
    assert re.search(r"^ok +template +\d+ resources, valid$", out, re.MULTILINE)
    assert re.search(r"^ok +model +models: hash, card and inference of 3; ", out, re.MULTILINE)
    assert re.search(r"^ok +identity +arn:aws:sts::\d{12}:", out, re.MULTILINE)


def test_offline_asks_nothing_of_aws_and_says_so(doctor, front):
    front.answers[""] = (500, "this must not be asked")

    found = doctor("--offline")

    for name in ACCOUNT:
        assert (found[name].status, found[name].text) == ("skipped", "--offline")


# Broken: this machine


def test_no_docker_on_path(doctor, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))

    found = doctor("--offline")

    assert found["Docker"].status == "FAIL"
    assert found["Docker"].text == "docker is not on PATH"
    assert "https://docs.docker.com/" in found["Docker"].fix
    for name in ("architecture", "image"):
        assert (found[name].status, found[name].text) == ("skipped", "there is no docker")
    # What needs no Docker is looked at all the same.
    assert found["model"].status == "ok"


def test_an_engine_that_does_not_answer(doctor, monkeypatch):
    if not shutil.which("docker"):
        pytest.skip("docker is not installed")
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:9")

    found = doctor("--offline", only=["Docker", "image"])

    assert found["Docker"].status == "FAIL"
    assert "127.0.0.1:9" in found["Docker"].text
    assert "echo $DOCKER_HOST" in found["Docker"].fix
    assert found["image"].text == "no Docker engine answers"


def test_another_architecture_than_the_functions(doctor, engine):
    here = machine_architecture()
    wanted = "arm64" if here == "x86_64" else "x86_64"

    found = doctor("--offline", f"Architecture={wanted}", images=(BASE,))

    assert found["image"].status == "FAIL"
    assert found["image"].text == f"{BASE} is {here}, the function {wanted}"
    assert "docker build --platform linux/" in found["image"].fix
    # Emulation may be there or not; either way it is said.
    assert found["architecture"].status in {"FAIL", "warn"}
    assert f"{here} here, {wanted} for the function" in found["architecture"].text


def test_no_sam_in_a_project_without_makefile(doctor, monkeypatch, tmp_path):
    assert k2l(["new", str(tmp_path / "my-api"), "--model", str(MODEL)]) == 0
    monkeypatch.setenv("PATH", str(tmp_path))

    found = doctor("--offline", root=tmp_path / "my-api", only=[*checks.CHECKS])

    assert found["sam"].status == "FAIL"
    assert found["sam"].fix == found["template"].fix == "`pipx install aws-sam-cli`"
    assert found["template"].text.endswith("not validated: no sam")
    assert found["model"].status == "ok"
    assert not any("could not be checked" in finding.text for finding in found.values())
    assert not any("make " in finding.text + finding.fix for finding in found.values())


def test_a_folder_that_is_not_a_project(doctor, tmp_path):
    found = doctor("--offline", root=tmp_path)

    assert found["project"].text.startswith("not a project folder; run it in a clone or in")
    assert {*found} == {"project", "Python", "Docker", "region", "identity"}
    assert not any("could not be checked" in finding.text for finding in found.values())


def test_without_the_extra_deploy_what_needs_it_is_skipped(doctor, monkeypatch):
    monkeypatch.setitem(sys.modules, "yaml", None)

    found = doctor("--offline", only=["Python", "Docker", "parameters"])

    assert found["Python"].text.endswith("without yaml")
    assert "keras-to-lambda[deploy]" in found["Python"].fix
    assert found["parameters"] == Finding("skipped", "yaml is not installed")
    assert not VERBS["doctor"].extra


# Broken: what is to be deployed


def test_a_template_that_sam_refuses(copy, capsys, monkeypatch):
    if not Setup().tool("sam"):
        pytest.skip("sam is not installed")
    edit(
        copy / "template.yaml",
        r"Type: AWS::Serverless::Function",
        "Type: AWS::Serverless::Funktion",
    )
    monkeypatch.setattr(doctor_command, "CHECKS", {"template": checks.template})

    assert main(["--offline"], copy) == 1

    out = capsys.readouterr().out
    assert re.search(r"^FAIL +template +\S.*\n", out)
    assert "validate --lint" in out


@pytest.mark.parametrize(
    ("region", "environment", "linted"),
    [("eu-west-3", "eu-west-1", "eu-west-3"), (None, "eu-west-1", "eu-west-1"),
     (None, None, "us-east-1")],
)  # fmt: skip
def test_the_template_is_judged_for_the_region_that_it_goes_to(
    region, environment, linted, monkeypatch
):
    monkeypatch.delenv("AWS_REGION", raising=False)
    monkeypatch.delenv("AWS_DEFAULT_REGION", raising=False)
    if environment:
        monkeypatch.setenv("AWS_DEFAULT_REGION", environment)
    setup = Setup(region, offline=True)
    done = subprocess.CompletedProcess((), 0, "", "")
    seen = {}
    monkeypatch.setattr(setup, "tool", lambda _: "sam")
    monkeypatch.setattr(setup, "run", lambda *_, **given: seen.update(given) or done)
    assert checks.template(setup).status == "ok"
    assert seen["AWS_DEFAULT_REGION"] == linted


def test_a_template_that_is_no_yaml_breaks_its_own_checks_alone(doctor, copy):
    (copy / "template.yaml").write_text("a: [1\nb: }", encoding="utf-8")

    found = doctor("--offline", root=copy)

    assert found["parameters"].status == "warn"
    assert found["parameters"].text.startswith("could not be checked: ")
    assert found["Python"].status == "ok"


def broken_models():
    whole = MODEL.read_bytes()
    with MODEL.open("rb") as file:
        size, card = cards.read(file)
    altered = bytearray(whole)
    altered[size // 2] ^= 1
    return {
        "altered": (bytes(altered), "was altered: its hash is not the one in its card"),
        "another file": (b"<!doctype html><title>404</title>", "is not a .tflite model"),
        "no graph": (cards.join(b"\0\0\0\0TFL3" + bytes(64), card), "interpreter"),
        None: (None, "mine.tflite is not there"),
    }


@pytest.mark.parametrize("fault", broken_models())
def test_a_broken_model_file(doctor, tmp_path, fault):
    content, said = broken_models()[fault]
    path = tmp_path / "mine.tflite"
    if content:
        path.write_bytes(content)

    found = doctor("--offline", f"Model={path}", only=["model"])["model"]

    assert found.status == "FAIL"
    assert said in found.text
    assert "k2l convert" in found.fix


# Broken: the image


@pytest.mark.parametrize(
    ("inspected", "status", "finding"),
    [
        ({"Descriptor": {"mediaType": INDEX}}, "FAIL", "index"),
        ({"Descriptor": {"mediaType": MANIFEST}}, "ok", "mine, arm64, 0.30 GB"),
        ({"Size": 11e9}, "FAIL", "Lambda takes 10"),
    ],
    ids=["index", "manifest", "too large"],
)
def test_an_image_that_lambda_refuses_is_found_before_it_is_pushed(inspected, status, finding):
    """A fake: only engines with containerd's image store keep an index, and none is here."""
    setup = Setup(parameters={"Architecture": "arm64"})
    setup.inspected = {"name": "mine", "Architecture": "arm64", "Size": 0.3e9, **inspected}

    found = checks.image(setup)

    assert (found.status, finding in found.text) == (status, True)
    if finding == "index":
        assert found.fix == (
            "docker build --platform linux/arm64 --provenance=false --sbom=false -t mine ."
        )


def test_an_image_that_was_asked_for_and_is_not_there(doctor, engine):
    found = doctor("--offline", images=("no-such-image:1",), only=["image"])["image"]

    assert found.text == "no image no-such-image:1 yet; `k2l deploy` builds it"


# Broken: the account


NO_KEYS = {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}
LATE = "Signature expired: 20261121T001427Z is now earlier than 20261121T014428Z (20261121T015928Z)"


# The environment and AWS's answers; options; a check, its status, and what finding and fix say.
@pytest.mark.parametrize(
    ("environ", "answers", "options", "check", "status", "finding", "fix"),
    [
        ({"AWS_DEFAULT_REGION": None}, {}, [], "region", "FAIL", "", "export AWS_DEFAULT_REGION="),
        ({"AWS_DEFAULT_REGION": None}, {}, [], "identity", "skipped", "no usable region", ""),
        ({"AWS_DEFAULT_REGION": None, "AWS_REGION": "eu-west-3"}, {}, [],
         "region", "ok", "eu-west-3", ""),
        ({}, {}, ["--region", "eu west 3"], "region", "FAIL", "supported format", "region"),
        ({}, {}, ["--profile", "absent"], "region", "FAIL", "absent", "aws configure --profile"),
        (NO_KEYS, {}, [], "identity", "FAIL", "Unable to locate credentials", "aws configure"),
        (NO_KEYS, {}, [], "permissions", "skipped", "AWS does not know who you are", ""),
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

    assert found.status == status
    assert finding in found.text
    assert fix in found.fix


def test_samconfigs_region_is_enough(doctor, front, copy, monkeypatch):
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    monkeypatch.setattr(project, "ROOT", copy)
    line = '[default.deploy.parameters]\nregion = "eu-north-1"\n'
    edit(copy / "samconfig.toml", r"^\[default\.deploy\.parameters\]\n", line)

    assert doctor(root=copy, only=["region"])["region"].text == "eu-north-1"


def test_with_a_service_role_only_the_deployers_own_actions_count(doctor, front):
    denied = (200, simulated("explicitDeny", "sqs:CreateQueue"))
    front.answers = {"sqs%3ACreateQueue": denied, **front.answers}

    def found(*options):
        return doctor(*options, only=["permissions"])["permissions"]

    assert "sqs:CreateQueue" in found().text
    assert found("--service-role").status == "ok"


def test_a_parameter_that_the_template_does_not_have_is_a_usage_error(capsys):
    assert main(["Concurrency=50"]) == 2
    assert "invalid parameter 'Concurrency=50': expected NAME=VALUE, NAME one of AccessLogs, " in (
        capsys.readouterr().err
    )


def test_values_that_would_be_refused_later_are_found_before(doctor):
    """test_stack.py has each kind of them."""
    given = ("RateLimit=many", "Authentication=none", "Bulk=true")
    found = doctor("--offline", *given, only=["parameters"])["parameters"]
    assert found.status == "FAIL"
    assert "RateLimit=many: a number, 1 or more; " in found.text
    assert "Everybody could see the pictures of Bulk" in found.text


def test_what_is_deployed_otherwise_than_by_default_is_shown(doctor):
    assert doctor("--offline", only=["parameters"])["parameters"].text == "the template's defaults"
    found = doctor("--offline", "MemorySize=1024", "Authentication=iam", "LogDays=7")
    assert found["parameters"].text == "MemorySize=1024, LogDays=7"


def test_every_rule_of_the_template_can_be_judged():
    template = Template.read(ROOT / "template.yaml")
    assert list(template.faults()) == []
    fits = {"Authentication": "none", "FunctionUrl": "none", "ConcurrencyLimit": "5"}
    assert list(template.deployed_with(fits).faults()) == []
    unknown = Template({**template.body, "Rules": {"R": {"RuleCondition": {"RefAll": ["x"]}}}})
    with pytest.raises(ValueError, match="RefAll, which is not known here"):
        list(unknown.faults())


# The command


def test_a_check_that_breaks_is_a_warning_and_the_others_go_on(doctor, monkeypatch, tmp_path):
    docker = tmp_path / "docker"
    docker.write_text("#!/bin/sh\necho '{\"Server\": nonsense'\n")
    docker.chmod(docker.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    found = doctor("--offline", only=["Docker", "parameters"])

    assert found["Docker"].status == "warn"
    assert found["Docker"].text.startswith("could not be checked: JSONDecodeError")
    assert found["parameters"].status == "ok"


def test_findings_come_as_they_are_made(monkeypatch, capsys):
    seen = []

    def first(_):
        return Finding("ok", "one")

    def second(_):
        seen.append(capsys.readouterr().out)
        raise Skip("two")

    monkeypatch.setattr(doctor_command, "CHECKS", {"first": first, "second": second})

    assert main([]) == 0
    assert seen == ["ok       first         one\n"]
    assert capsys.readouterr().out == f"skipped  second        two\n\n1 ok, 1 skipped in {ROOT}\n"


def test_every_check_has_a_row_in_the_document():
    text = (ROOT / "docs" / "doctor.md").read_text(encoding="utf-8")
    for name in checks.CHECKS:
        assert f"| {name} |" in text, name
