"""The service role against AWS's resource schemas, and awscli's commands against the program."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from keras_to_lambda.deploy.doctor.template import Template

ROOT = Path(__file__).resolve().parents[2]
PYTHON = ROOT / ".venv-aws" / "bin" / "python"
FILE = ROOT / "src" / "keras_to_lambda" / "deploy" / "service-role.yaml"
SCHEMAS = """
import json
from keras_to_lambda.deploy import permissions
types = permissions.resource_types()
schemas = permissions.handlers()
print(json.dumps({
    "text": permissions.text(),
    "unused": permissions.UNUSED,
    "actions": {each: sorted(schemas[each]) for each in types},
}))
"""
COMMANDS = """
import json, sys
from awscli.clidriver import create_clidriver
services = create_clidriver()._get_command_table()
missing = []
for service, command in json.loads(sys.argv[1]):
    known = services.get(service)
    table = getattr(known, "subcommand_table", None)
    if known is not None and table is None:
        table = known._get_command_table()
    if not table or command not in table:
        missing.append(f"aws {service} {command}")
print(json.dumps(missing))
"""


def of_aws(program, *arguments):
    """What a program of .venv-aws prints."""
    if not PYTHON.exists():
        pytest.skip("sam is not installed: make setup")
    done = subprocess.run(
        [PYTHON, "-c", program, *arguments], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def generated():
    return of_aws(SCHEMAS)


def statements(resource):
    properties = Template.read(FILE).body["Resources"][resource]["Properties"]
    document = properties.get("PolicyDocument") or properties["Policies"][0]["PolicyDocument"]
    return document["Statement"]


def allowed(resource="ServiceRole"):
    return {action.lower() for each in statements(resource) for action in each["Action"]}


def test_the_file_is_what_the_template_needs_now(generated):
    assert FILE.read_text("utf-8") == generated["text"], (
        "run python -m keras_to_lambda.deploy.permissions"
    )


def test_the_role_may_do_whatever_the_schemas_of_the_stacks_resources_list(generated):
    assert {"AWS::Lambda::Alias", "AWS::S3::Bucket", "AWS::CodeDeploy::DeploymentGroup"} <= set(
        generated["actions"]
    )
    for kind, actions in generated["actions"].items():
        assert actions, f"{kind} has no handlers"
        for action in actions:
            unused = {action, action.partition(":")[0]} & generated["unused"].keys()
            assert unused or action.lower() in allowed(), f"{kind} needs {action}"


@pytest.mark.parametrize(
    "action",
    [
        "lambda:GetFunction", "lambda:TagResource", "lambda:PutFunctionConcurrency",
        "lambda:CreateFunctionUrlConfig", "lambda:GetEventSourceMapping", "lambda:DeleteFunction",
        "lambda:PutProvisionedConcurrencyConfig", "apigateway:GET", "apigateway:PUT",
        "apigateway:DELETE", "logs:DescribeLogGroups", "logs:DeleteLogGroup", "iam:GetRolePolicy",
        "iam:DeleteRole", "sqs:GetQueueAttributes", "sqs:DeleteQueue", "sns:GetTopicAttributes",
        "s3:PutBucketOwnershipControls", "s3:PutBucketPublicAccessBlock", "s3:GetObject",
        "s3:DeleteBucket", "states:DeleteStateMachine", "cloudwatch:DeleteAlarms",
        "codedeploy:DeleteApplication", "ecr:GetRepositoryPolicy",
    ],
)  # fmt: skip
def test_the_role_creates_updates_rolls_back_and_deletes(action):
    assert action.lower() in allowed()


def test_roles_and_functions_of_other_stacks_are_out_of_reach():
    for each in statements("ServiceRole"):
        if any(action.startswith(("iam:", "s3:", "sqs:")) for action in each["Action"]):
            for resource in each["Resource"]:
                assert re.search(r"\$\{(StackName|ArtifactBucket)\}", resource["Fn::Sub"])


@pytest.mark.parametrize(("resource", "most"), [("ServiceRole", 10_240), ("Deployer", 6_144)])
def test_the_policies_fit_into_iams_limits(resource, most):
    # https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
    assert len(json.dumps(statements(resource), separators=(",", ":"))) < most


def test_every_aws_command_that_is_named_is_one_of_the_installed_awscli():
    files = [
        *ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("events/*.md"),
        *ROOT.glob("src/keras_to_lambda/deploy/**/*.py"),
        ROOT / "src/keras_to_lambda/deploy/doctor/errors.toml",
        ROOT / "deploy/classic.sh", ROOT / "template.yaml", *ROOT.glob(".github/workflows/*.yml"),
    ]  # fmt: skip
    text = "\n".join(file.read_text("utf-8") for file in files)
    # As a command: at a line's beginning, or behind a backtick, `$(`, a pipe or the like.
    start = r"(?:^\s*|[`(|;&]\s*|: |\b(?:run|find|keep \S+|if|until) )"
    named = set(re.findall(rf"{start}aws ([a-z][a-z0-9-]+) ([a-z][a-z0-9-]+)", text, re.MULTILINE))
    assert {("lambda", "update-alias"), ("apigateway", "put-method")} <= named
    assert of_aws(COMMANDS, json.dumps(sorted(named))) == []
