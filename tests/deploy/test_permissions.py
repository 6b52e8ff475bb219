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
import json, os, pathlib
os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")
import cfnlint
from samcli.yamlhelper import yaml_parse
from samtranslator.translator.transform import transform

class NoPolicies:
    def load(self):
        return {}

template = yaml_parse(pathlib.Path("template.yaml").read_text("utf-8"))
resources = template["Resources"]
resources["Classifier"]["Properties"]["ImageUri"] = "1.dkr.ecr.us-east-1.amazonaws.com/x:1"
resources["StateMachine"]["Properties"]["DefinitionUri"] = "s3://bucket/key"
types = {each["Type"] for each in transform(template, {}, NoPolicies())["Resources"].values()}
actions = {}
for path in (pathlib.Path(cfnlint.__file__).parent / "data/schemas/resources").glob("*.json"):
    schema = json.loads(path.read_text("utf-8"))
    if schema["typeName"] in types:
        handlers = {**schema.get("handlers", {}), "list": {}}.values()
        found = {action for each in handlers for action in each.get("permissions", ())}
        actions[schema["typeName"]] = sorted(found)
print(json.dumps(actions))
"""
# Services and actions of the schemas that this template has no use for.
UNUSED = {
    "ec2": "the function is in no VPC",
    "elasticfilesystem": "the function has no file system",
    "s3files": "the function has no file system",
    "s3tables": "the bucket has no metadata tables",
    "firehose": "logs are not delivered to a stream",
    "kms": "nothing of the stack has its own key",
    "codedeploy:RegisterOnPremisesInstance": "there are no instances",
    "lambda:GetLayerVersion": "a container image has no layers",
    "lambda:PassCapacityProvider": "the function has no capacity provider",
    "s3:REST.PUT.OBJECT": "not an action of IAM",
}
# What the services call in the name of CloudFormation and the schemas leave out.
ALSO = {
    # https://docs.aws.amazon.com/lambda/latest/dg/images-create.html#gettingstarted-images-permissions
    "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer", "ecr:GetRepositoryPolicy",
    "ecr:SetRepositoryPolicy",
    # https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-logging.html
    "logs:GetLogDelivery", "logs:UpdateLogDelivery", "logs:DeleteLogDelivery",
    "logs:ListLogDeliveries",
}  # fmt: skip
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


def statements(resource):
    properties = Template.read(FILE).body["Resources"][resource]["Properties"]
    document = properties.get("PolicyDocument") or properties["Policies"][0]["PolicyDocument"]
    return document["Statement"]


def test_the_role_may_do_what_the_schemas_of_the_stacks_resources_list_and_no_more():
    needed = of_aws(SCHEMAS)
    assert {"AWS::Lambda::Alias", "AWS::S3::Bucket", "AWS::CodeDeploy::DeploymentGroup"} <= {
        *needed
    }
    used = {
        action.lower()
        for actions in needed.values()
        for action in actions
        if not {action, action.partition(":")[0]} & {*UNUSED}
    }
    allowed = {action.lower() for each in statements("ServiceRole") for action in each["Action"]}
    assert allowed == used | {action.lower() for action in ALSO}
    assert {"lambda:deletefunction", "s3:deletebucket", "apigateway:delete"} <= allowed


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
        ROOT / "src/keras_to_lambda/errors.toml",
        ROOT / "deploy/classic.sh", ROOT / "template.yaml", *ROOT.glob(".github/workflows/*.yml"),
    ]  # fmt: skip
    text = "\n".join(file.read_text("utf-8") for file in files)
    # As a command: at a line's beginning, or behind a backtick, `$(`, a pipe or the like.
    start = r"(?:^\s*|[`(|;&]\s*|: |\b(?:run|find|keep \S+|if|until) )"
    named = set(re.findall(rf"{start}aws ([a-z][a-z0-9-]+) ([a-z][a-z0-9-]+)", text, re.MULTILINE))
    assert {("lambda", "update-alias"), ("apigateway", "put-method")} <= named
    assert of_aws(COMMANDS, json.dumps(sorted(named))) == []
