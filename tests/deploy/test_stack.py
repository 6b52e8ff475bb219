"""deploy: one set of parameters for build, doctor and deployment, and what stays of a stack.

The stack is in moto's CloudFormation. sam and the doctor are not run here, as there is no AWS to
deploy to; their arguments are compared, and read by sam's own parser of parameters.
"""

from __future__ import annotations

import json
import re
import subprocess
from typing import NamedTuple

import boto3
import pytest

from keras_to_lambda.deploy import deploy_stack
from keras_to_lambda.deploy.deploy_stack import ROOT
from keras_to_lambda.deploy.doctor import doctor
from keras_to_lambda.deploy.doctor.setup import Setup
from keras_to_lambda.deploy.doctor.template import Template
from keras_to_lambda.runtime.common.errors import UserError
from tests.http_host import HttpHost, Quiet

RESOURCES = {"Queue": {"Type": "AWS::SQS::Queue"}}
DEFAULTS = Template.read(ROOT / "template.yaml").parameters
PARSE = """
import json, sys
from samcli.cli.types import CfnParameterOverridesType
print(json.dumps(CfnParameterOverridesType().convert(tuple(sys.argv[1:]), None, None)))
"""


class Ran(NamedTuple):
    """What a deployment ran: sam build, the doctor's set-up, sam deploy; and what sam deploys."""

    build: list[str]
    examined: Setup
    deploy: list[str]
    template: str


@pytest.fixture
def run(monkeypatch, tmp_path):
    """`k2l deploy`, by its arguments; Ran, or its exit status where nothing was run."""
    built = tmp_path / "template.yaml"
    monkeypatch.setattr(deploy_stack, "BUILT", built)
    monkeypatch.setattr(deploy_stack, "SAM", built)  # which is there

    def run(*arguments):
        built.write_text("  Classifier:\n    Properties:\n      Description: settings not set\n")
        ran = []
        monkeypatch.setattr(
            deploy_stack, "run", lambda *command, **_: ran.append([str(x) for x in command])
        )
        monkeypatch.setattr(doctor, "check", lambda setup: ran.append(setup) or True)
        status = deploy_stack.main(arguments)
        assert (status == 0) == bool(ran)
        return Ran(*ran, built.read_text()) if ran else status

    return run


def parameters_of(command):
    """The parameters in a command of sam, by sam's own reading."""
    given = command[command.index("--parameter-overrides") + 1 :]
    python = ROOT / ".venv-aws" / "bin" / "python"
    done = subprocess.run([python, "-c", PARSE, *given], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.fixture
def led_back(aws):
    """A stack that put its alias at version 3, and `smoke` then at 2."""
    role = boto3.client("iam").create_role(RoleName="r", AssumeRolePolicyDocument="{}")["Role"]
    lambdas = boto3.client("lambda")
    lambdas.create_function(
        FunctionName="f", Role=role["Arn"], PackageType="Image", Code={"ImageUri": "x"}
    )
    for number in "123":
        lambdas.update_function_configuration(FunctionName="f", Description=number)
        lambdas.publish_version(FunctionName="f")
    lambdas.create_alias(FunctionName="f", Name="live", FunctionVersion="2")
    boto3.client("cloudformation").create_stack(
        StackName="back",
        TemplateBody=json.dumps(
            {
                "Parameters": {"Deployment": {"Type": "String", "Default": "AllAtOnce"}},
                "Resources": RESOURCES,
                "Outputs": {"FunctionName": {"Value": "f"}, "FunctionVersion": {"Value": "3"}},
            }
        ),
    )
    return lambdas


def test_after_an_alias_was_led_back_one_deployment_goes_without_codedeploy(led_back, run, capsys):
    first = run("--stack", "back")
    assert parameters_of(first.build) == parameters_of(first.deploy) == {"Deployment": "Off"}
    said = capsys.readouterr()
    assert "live was rolled back from version 3 to 2" in said.err
    # sam made no new version here.
    assert "code and settings are unchanged, so that there is no new version" in said.out
    assert "aws lambda update-alias --function-name f --name live --function-version 3" in said.out
    # Who says how is heard.
    said = run("--stack", "back", "Deployment=AllAtOnce")
    assert parameters_of(said.deploy) == {"Deployment": "AllAtOnce"}

    led_back.update_alias(FunctionName="f", Name="live", FunctionVersion="3")
    boto3.client("cloudformation").update_stack(
        StackName="back",
        UsePreviousTemplate=True,
        Parameters=[{"ParameterKey": "Deployment", "ParameterValue": "Off"}],
    )
    after = run("--stack", "back")
    assert parameters_of(after.deploy) == {"Deployment": "Canary10Percent5Minutes"}
    assert after.template == first.template
    assert "version 3 stays live" in capsys.readouterr().out

    led_back.delete_alias(FunctionName="f", Name="live")  # no reason not to deploy
    assert parameters_of(run("--stack", "back").deploy) == {"Deployment": "Canary10Percent5Minutes"}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--stack", "a" * 76, "Bulk=true"], "may have 75 letters.*this one has 76"),
        (["--stack", "my_stack"], "invalid stack name 'my_stack'"),
        (["Authentication=public"], "Authentication=public: one of iam, api-key, none"),
        (["MemorySize=12"], "MemorySize=12: a number, 512 to 10,240"),
        (["MemorySize=abc", "RateLimit=0"], "512 to 10,240; RateLimit=0: a number, 1 or more"),
        (["ApiType=http", "Authentication=api-key"], "HTTP APIs have no API keys"),
        (["Authentication=none", "Bulk=true"], "Everybody could see the pictures of Bulk"),
        (["Authentication=none", "ImageBuckets=a"], "the pictures in ImageBuckets"),
        (["DefaultModel=zzz"], "fail at its start: no model 'zzz'"),
        (["EmbedOrigins=foo"], "fail at its start: .*'foo' is not an origin"),
        (["AllowedHosts=https://a/b"], "fail at its start: .*'https://a/b' is not a host name"),
        (["ImageBuckets=s3://b"], "ImageBuckets=s3://b: must match"),
        (["Timeout=29"], "Timeout=29: one of 28, 60, 300, 900"),
        (["FunctionUrl=none"], "Nothing throttles a function URL but ConcurrencyLimit"),
        (["Bulk=true", "ConcurrencyLimit=abc"], "ConcurrencyLimit=abc: a number, 0 to 10,000"),
        (["Model=models/nope.tflite"], "there is no .tflite; use one below models/"),
        (["Model=models/clothing/clothing.keras"], "there is no .tflite"),
        (["Model=/etc"], "there is no .tflite"),
        (["Bulk=true", "ConcurrencyLimit=5"], "leaves nothing beside.*QueueConcurrency=5"),
        (["Memory=1769"], "invalid parameter 'Memory=1769': .* MemorySize"),
        (["MemorySize"], "invalid parameter 'MemorySize': expected NAME=VALUE"),
    ],
)
def test_what_would_fail_on_its_way_is_refused_before(aws, run, capsys, given, said):
    assert run("--stack", "new", *given) == 1
    assert re.search(said, capsys.readouterr().err)


@pytest.mark.parametrize(
    "fits",
    [
        ["Bulk=true", "Authentication=iam"],
        ["Bulk=true", "ConcurrencyLimit=6"],
        ["ConcurrencyLimit=1", "FunctionUrl=none"],
        ["Model=models/clothing/clothing.tflite"],
    ],
)
def test_settings_that_fit_are_deployed(aws, run, fits):
    parameters_of(run("--stack", "new", *fits).deploy)


def test_a_first_deployment_gets_what_was_given(aws, run, capsys):
    nothing = run("--stack", "new")
    assert "--parameter-overrides" not in [*nothing.build, *nothing.deploy]
    capsys.readouterr()
    role = ("--role-arn", "arn:aws:iam::123456789012:role/service")
    ran = run("--stack", "new", "Authentication=none", "LogDays=7", "--", *role)
    # Before anything is built.
    assert capsys.readouterr().out == (
        "stack: new in us-east-1, MemorySize=1769, Authentication=none, LogDays=7\n"
    )
    given = {"Authentication": "none", "LogDays": "7"}
    assert (ran.build[1], ran.deploy[1], *ran.deploy[6:8]) == ("build", "deploy", *role)
    assert parameters_of(ran.build) == parameters_of(ran.deploy) == given
    assert ran.examined.parameters == {**DEFAULTS, **given}
    assert (ran.examined.images, ran.examined.service_role) == (("classifier",), True)
    assert not nothing.examined.service_role
    assert "settings not set" not in ran.template


def test_a_profile_is_handed_on_if_it_was_named(aws, run, monkeypatch, tmp_path):
    config = tmp_path / "config"
    config.write_text("[profile mine]\naws_access_key_id = a\naws_secret_access_key = b\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    ran = run("--stack", "new", "--profile", "mine")
    assert ran.deploy[ran.deploy.index("--profile") + 1] == "mine"
    assert ran.examined.profile == "mine"
    # Of the environment: its keys, if there are some, are what every program takes.
    monkeypatch.setenv("AWS_PROFILE", "mine")
    assert "--profile" not in run("--stack", "new").deploy


def there(name, parameters):
    """A stack that was deployed with these."""
    known = {each: {"Type": "String"} for each in parameters}
    boto3.client("cloudformation").create_stack(
        StackName=name,
        TemplateBody=json.dumps({"Parameters": known, "Resources": RESOURCES}),
        Parameters=[
            {"ParameterKey": each, "ParameterValue": value} for each, value in parameters.items()
        ],
    )


def test_what_is_not_said_stays_as_it_is_in_the_stack(aws, run):
    """Parameters of an older template, which this one has not, are not judged."""
    stays = {"Architecture": "arm64", "Model": "models/digits"}
    there("there", {**stays, "LogDays": "7", "OfAnOlderTemplate": "x"})
    ran = run("--stack", "there", "MemorySize=1024")
    expected = {**stays, "MemorySize": "1024"}
    assert parameters_of(ran.build) == parameters_of(ran.deploy) == expected
    assert ran.examined.parameters == {**DEFAULTS, **expected, "LogDays": "7"}
    # An absolute path is one from here.
    ran = run("--stack", "there", f"Model={ROOT}/models/clothing")
    assert parameters_of(ran.build) == {"Architecture": "arm64", "Model": "models/clothing"}


def test_values_with_spaces_quotes_and_nothing_in_them_arrive(aws, run):
    parameters = {"EmbedOrigins": "https://a.example https://b.example", "AlarmEmail": ""}
    ran = run("--stack", "new", *(f"{name}={value}" for name, value in parameters.items()))
    assert parameters_of(ran.build) == parameters_of(ran.deploy) == parameters


def test_the_same_settings_get_the_same_description_and_others_another(aws, run):
    """Before there is a stack its parameters are the template's defaults; then the stack's."""
    first = run("--stack", "again", "MemorySize=1024").template
    there("again", {**DEFAULTS, "MemorySize": "1024"})
    assert run("--stack", "again").template == first
    assert run("--stack", "again", "MemorySize=2048").template != first


def test_the_template_has_the_place_once(tmp_path):
    path = tmp_path / "template.yaml"
    path.write_text((ROOT / "template.yaml").read_text("utf-8"), "utf-8")
    deploy_stack.settle(path, {})
    with pytest.raises(UserError, match="build it"):
        deploy_stack.settle(path, {})


@pytest.mark.parametrize(
    ("status", "body"), [(200, b"<!doctype html><p>log in"), (200, b"{}"), (503, b"<html>")]
)
def test_what_answers_and_is_not_aws_is_one_line(aws, run, monkeypatch, capsys, status, body):
    class Portal(Quiet):
        def do_POST(self):
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    with HttpHost(Portal) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{server.address}")
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
        assert run("--stack", "new") == 1
    [printed] = capsys.readouterr().err.splitlines()
    assert printed.startswith("k2l deploy: stack new: ")
    assert "<" not in printed


def test_what_failed_is_named():
    with pytest.raises(
        UserError,
        match=r"^false failed \(exit status 1\); its output is above\. .*`k2l doctor --explain`$",
    ):
        deploy_stack.run("false")


def test_a_check_that_fails_ends_the_deployment(aws, run, monkeypatch, capsys):
    ran = []
    monkeypatch.setattr(deploy_stack, "SAM", ROOT / "template.yaml")
    monkeypatch.setattr(deploy_stack, "run", lambda *command, **_: ran.append(command[1]))
    monkeypatch.setattr(doctor, "check", lambda _: False)
    assert deploy_stack.main(["--stack", "new"]) == 1
    assert ran == ["build"]
    assert "nothing was deployed" in capsys.readouterr().err


def test_no_region_is_said(run, monkeypatch, capsys, tmp_path):
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    assert run() == 1
    assert "--region" in capsys.readouterr().err
