"""deploy: one set of parameters for build, doctor and deployment, and what stays of a stack.

The stack is in moto's CloudFormation. sam and the doctor are not run here, as there is no AWS to
deploy to; their arguments are compared, and read by sam's own parser of parameters.
"""

from __future__ import annotations

import json
import re
import subprocess

import boto3
import pytest

from keras_to_lambda.deploy import deploy_stack
from keras_to_lambda.deploy.deploy_stack import StackError
from keras_to_lambda.deploy.doctor.doctor import parser
from keras_to_lambda.deploy.doctor.template import Template
from tests.http_host import HttpHost, Quiet

RESOURCES = {"Queue": {"Type": "AWS::SQS::Queue"}}
PARSE = """
import json, sys
from samcli.cli.types import CfnParameterOverridesType
print(json.dumps(CfnParameterOverridesType().convert(tuple(sys.argv[1:]), None, None)))
"""


@pytest.fixture
def commands(monkeypatch, tmp_path):
    """What was run, in order; the template that sam has built."""
    built = tmp_path / "template.yaml"
    built.write_text("  Classifier:\n    Properties:\n      Description: settings not set\n")
    monkeypatch.setattr(deploy_stack, "BUILT", built)
    monkeypatch.setattr(deploy_stack, "SAM", built)  # which is there
    ran = []
    monkeypatch.setattr(
        deploy_stack, "run", lambda *command, **_: ran.append([str(x) for x in command])
    )
    return ran


def parameters_of(command):
    """The parameters in a command of sam, by sam's own reading."""
    given = command[command.index("--parameter-overrides") + 1 :]
    python = deploy_stack.ROOT / ".venv-aws" / "bin" / "python"
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


def test_a_first_deployment_may_say_nothing_at_all(aws, commands):
    assert deploy_stack.main(["--stack", "new"]) == 0
    build, _, deploy = commands
    assert "--parameter-overrides" not in [*build, *deploy]


def test_after_an_alias_was_led_back_one_deployment_goes_without_codedeploy(
    led_back, commands, capsys
):
    assert deploy_stack.main(["--stack", "back"]) == 0
    assert parameters_of(commands[0]) == parameters_of(commands[2]) == {"Deployment": "Off"}
    said = capsys.readouterr()
    assert "live was rolled back from version 3 to 2" in said.err
    # sam made no new version here.
    assert "code and settings are unchanged, so that there is no new version" in said.out
    assert "aws lambda update-alias --function-name f --name live --function-version 3" in said.out
    # Who says how is heard.
    commands.clear()
    deploy_stack.BUILT.write_text("Description: settings not set")
    assert deploy_stack.main(["--stack", "back", "Deployment=AllAtOnce"]) == 0
    assert parameters_of(commands[2]) == {"Deployment": "AllAtOnce"}


def test_the_deployment_after_that_is_gradual_again_and_of_the_same_version(
    led_back, commands, capsys
):
    assert deploy_stack.main(["--stack", "back"]) == 0
    first = deploy_stack.BUILT.read_text()
    led_back.update_alias(FunctionName="f", Name="live", FunctionVersion="3")
    boto3.client("cloudformation").update_stack(
        StackName="back",
        UsePreviousTemplate=True,
        Parameters=[{"ParameterKey": "Deployment", "ParameterValue": "Off"}],
    )
    commands.clear()
    deploy_stack.BUILT.write_text(first.replace(first.split()[-1], "not set"))
    assert deploy_stack.main(["--stack", "back"]) == 0
    assert parameters_of(commands[2]) == {"Deployment": "Canary10Percent5Minutes"}
    assert deploy_stack.BUILT.read_text() == first
    assert "version 3 stays live" in capsys.readouterr().out


def test_an_alias_that_is_gone_is_no_reason_not_to_deploy(led_back, commands):
    led_back.delete_alias(FunctionName="f", Name="live")
    assert deploy_stack.main(["--stack", "back"]) == 0
    assert "--parameter-overrides" not in commands[2]


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
        (["Bulk=true", "ConcurrencyLimit=9", "QueueConcurrency=10"], "leaves nothing beside"),
    ],
)
def test_what_would_fail_on_its_way_is_refused_before(aws, commands, capsys, given, said):
    assert deploy_stack.main(["--stack", "new", *given]) == 1
    assert re.search(said, capsys.readouterr().err)
    assert commands == []


def test_settings_that_fit_are_deployed(aws, commands):
    for fits in (
        ["Bulk=true", "Authentication=iam"], ["Bulk=true", "ConcurrencyLimit=6"],
        ["ConcurrencyLimit=1", "FunctionUrl=none"], ["Authentication=none"],
        ["Model=models/clothing/clothing.tflite"],
    ):  # fmt: skip
        deploy_stack.BUILT.write_text("Description: settings not set")
        assert deploy_stack.main(["--stack", "new", *fits]) == 0


def test_the_doctor_counts_on_a_service_role_that_sam_deploy_gets(aws, commands):
    role = "arn:aws:iam::123456789012:role/service"
    assert deploy_stack.main(["--stack", "new", "--", "--role-arn", role]) == 0
    _, doctor, deploy = commands
    assert "--service-role" in doctor
    assert deploy[-2:] == ["--role-arn", role]


def test_a_profile_is_handed_on_if_it_was_named(aws, commands, monkeypatch, tmp_path):
    config = tmp_path / "config"
    config.write_text("[profile mine]\naws_access_key_id = a\naws_secret_access_key = b\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    assert deploy_stack.main(["--stack", "new", "--profile", "mine"]) == 0
    assert all(command[command.index("--profile") + 1] == "mine" for command in commands[1:])
    # Of the environment: its keys, if there are some, are what every program takes.
    commands.clear()
    deploy_stack.BUILT.write_text("Description: settings not set")
    monkeypatch.setenv("AWS_PROFILE", "mine")
    assert deploy_stack.main(["--stack", "new"]) == 0
    assert not any("--profile" in command for command in commands)


def test_a_first_deployment_gets_what_was_given(aws, commands):
    assert (
        deploy_stack.main(["--stack", "new", "Authentication=none", "--", "--no-confirm-changeset"])
        == 0
    )
    build, doctor, deploy = commands
    assert build[1] == "build"
    assert parameters_of(build) == parameters_of(deploy) == {"Authentication": "none"}
    assert doctor[1:6] == ["-m", "keras_to_lambda", "doctor", "--image", "classifier"]
    assert {"Authentication=none", "ConcurrencyLimit=0", "Architecture=x86_64"} <= set(doctor)
    assert deploy[1] == "deploy"
    assert "--no-confirm-changeset" in deploy
    assert "--service-role" not in doctor
    assert "settings not set" not in deploy_stack.BUILT.read_text()


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


def test_a_model_and_an_architecture_that_are_not_said_stay_as_they_are(aws, commands):
    there("there", {"Architecture": "arm64", "Model": "models/digits"})
    assert deploy_stack.main(["--stack", "there", "MemorySize=1769"]) == 0
    build, doctor, deploy = commands
    expected = {"Architecture": "arm64", "Model": "models/digits", "MemorySize": "1769"}
    assert parameters_of(build) == parameters_of(deploy) == expected
    assert {"Architecture=arm64", "Model=models/digits", "MemorySize=1769"} <= set(doctor)
    commands.clear()
    deploy_stack.BUILT.write_text("Description: settings not set")
    assert (
        deploy_stack.main(["--stack", "there", f"Model={deploy_stack.ROOT}/models/clothing"]) == 0
    )
    assert parameters_of(commands[0]) == {"Architecture": "arm64", "Model": "models/clothing"}


def test_the_doctor_judges_what_will_be_in_the_stack_by_parameters_of_this_template(aws, commands):
    parameters = {"ConcurrencyLimit": "50", "LogDays": "7", "OfAnOlderTemplate": "x"}
    there("limited", parameters)
    assert deploy_stack.main(["--stack", "limited", "LogDays=30"]) == 0
    _, doctor, _ = commands
    judged = dict(parser().parse_args(doctor[4:]).parameters)
    template = Template.read(deploy_stack.ROOT / "template.yaml")
    defaults = dict(template.parameters)
    assert judged == {**defaults, "ConcurrencyLimit": "50", "LogDays": "30"}


def test_values_with_spaces_quotes_and_nothing_in_them_arrive(aws, commands):
    parameters = {"EmbedOrigins": "https://a.example https://b.example", "AlarmEmail": ""}
    same_choice = [f"{name}={value}" for name, value in parameters.items()]
    assert deploy_stack.main(["--stack", "new", *same_choice]) == 0
    assert parameters_of(commands[0]) == parameters_of(commands[2]) == parameters


def test_the_same_deployment_again_gets_the_same_parameters(aws, commands):
    """Before there is a stack its parameters are the template's defaults; then the stack's."""

    def settled():
        deploy_stack.BUILT.write_text("Description: settings not set")
        assert deploy_stack.main(["--stack", "again", "MemorySize=1769"]) == 0
        return deploy_stack.BUILT.read_text()

    first = settled()
    template = Template.read(deploy_stack.ROOT / "template.yaml")
    parameters = dict(template.parameters)
    parameters["MemorySize"] = "1769"
    there("again", parameters)
    assert settled() == first


def test_the_same_settings_get_the_same_description_and_others_another(tmp_path):
    def settled(**parameters):
        path = tmp_path / "template.yaml"
        path.write_text("Description: settings not set")
        deploy_stack.settle(path, parameters)
        return path.read_text()

    assert settled(A="1", B="2") == settled(B="2", A="1")
    assert settled(A="1") != settled(A="2")


def test_the_template_has_the_place_once(tmp_path):
    path = tmp_path / "template.yaml"
    path.write_text((deploy_stack.ROOT / "template.yaml").read_text("utf-8"), "utf-8")
    deploy_stack.settle(path, {})
    with pytest.raises(StackError, match="build it"):
        deploy_stack.settle(path, {})


@pytest.mark.parametrize(
    ("status", "body"), [(200, b"<!doctype html><p>log in"), (200, b"{}"), (503, b"<html>")]
)
def test_what_answers_and_is_not_aws_is_one_line(aws, commands, monkeypatch, capsys, status, body):
    class Portal(Quiet):
        def do_POST(self):
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    with HttpHost(Portal) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{server.address}")
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
        assert deploy_stack.main(["--stack", "new"]) == 1
    [printed] = capsys.readouterr().err.splitlines()
    assert printed.startswith("k2l deploy: stack new: ")
    assert "<" not in printed
    assert commands == []


def test_the_settings_are_reported_before_anything_is_built(aws, commands, capsys):
    assert deploy_stack.main(["--stack", "new", "Authentication=none", "LogDays=7"]) == 0
    assert capsys.readouterr().out == (
        "stack: new in us-east-1, MemorySize=1769, Authentication=none, LogDays=7\n"
    )


@pytest.mark.parametrize("wrong", ["Memory=1769", "MemorySize"])
def test_a_parameter_that_is_none_is_refused(wrong, commands, capsys):
    assert deploy_stack.main([wrong]) == 1
    assert "MemorySize" in capsys.readouterr().err
    assert commands == []


def test_what_failed_is_named(capsys):
    with pytest.raises(
        StackError,
        match=r"^false failed \(exit status 1\); its output is above\. .*`k2l doctor --explain`$",
    ):
        deploy_stack.run("false")


def test_no_region_is_said(commands, monkeypatch, capsys, tmp_path):
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    assert deploy_stack.main([]) == 1
    assert "--region" in capsys.readouterr().err
    assert commands == []
