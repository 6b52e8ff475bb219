"""Checks of the AWS account: where it is deployed, who calls, what they may do."""

from __future__ import annotations

import os
import re
from pathlib import Path

from botocore.exceptions import BotoCoreError, ClientError, ProfileNotFound

from keras_to_lambda.deploy.doctor.context import Finding, Setup, Skip, fail, ok, warn
from keras_to_lambda.deploy.doctor.explain import aws_error
from keras_to_lambda.deploy.doctor.template import Template

AT_ONCE = 100  # actions that IAM's simulator is given
ASK = "ask the account's administrator for these, or use another --profile"


def region(setup: Setup) -> Finding:
    """Where it is deployed to."""
    try:
        found = setup.session.region_name
    except ProfileNotFound as error:
        return fail(
            str(error), "--profile with one of ~/.aws/config, or `aws configure --profile NAME`"
        )
    if not found:
        # boto3 and awscli 1 do not read AWS_REGION.
        other = os.environ.get("AWS_REGION", "eu-central-1")
        return fail(
            "no region is set: --region, AWS_DEFAULT_REGION, the profile or samconfig.toml",
            f"`export AWS_DEFAULT_REGION={other}`, or --region",
        )
    return ok(found)


def identity(setup: Setup) -> Finding:
    """Who calls, by STS; the one call that needs no permission.

    https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html
    """
    try:
        caller = setup.client("sts").get_caller_identity()
    except (BotoCoreError, ClientError) as error:
        text, _, fix = aws_error(error).partition("; ")
        return fail(text, f"{fix or '`aws configure`'}; or --offline, to skip this")
    return ok(caller["Arn"])


def permissions(setup: Setup) -> Finding:
    """What a deployment calls, by IAM's simulator where one may ask it.

    https://docs.aws.amazon.com/IAM/latest/APIReference/API_SimulatePrincipalPolicy.html
    """
    caller = identity(setup)
    if caller.fix:
        raise Skip("AWS does not know who you are")
    if caller.text.endswith(":root"):
        return warn("you are the account's root user, who may do all", "make an IAM user or role")
    # The simulator takes the role, not the session of it. (A role's path is not in the latter.)
    source = re.sub(r":sts::(\d+):assumed-role/([^/]+)/.*", r":iam::\1:role/\2", caller.text)
    actions = _actions(setup.service_role)
    decided: dict[str, str] = {}
    try:
        pages = setup.client("iam").get_paginator("simulate_principal_policy")
        for start in range(0, len(actions), AT_ONCE):
            some = actions[start : start + AT_ONCE]
            found = pages.paginate(PolicySourceArn=source, ActionNames=some).build_full_result()
            decided |= {x["EvalActionName"]: x["EvalDecision"] for x in found["EvaluationResults"]}
    except (BotoCoreError, ClientError) as error:
        fix = "none needed if the deployment goes through"
        return warn(f"unknown: {aws_error(error).partition('; ')[0]}", fix)
    if denied := [action for action, said in decided.items() if said == "explicitDeny"]:
        return fail(f"denied to {source}: {', '.join(denied)}", ASK)
    # A policy for named resources alone is not seen by a simulation for all of them.
    if lacking := [action for action, said in decided.items() if said == "implicitDeny"]:
        return warn(
            f"not allowed on every resource: {', '.join(lacking)}",
            f"{ASK}, unless a policy allows them by name; or deploy with a service role "
            "(docs/supply-chain.md)",
        )
    return ok(f"{len(actions)} actions of a deployment are allowed")


def _actions(with_role: bool) -> list[str]:
    """What the caller has to be allowed: what service-role.yaml gives to those who deploy.

    A stack without a service role is deployed with the caller's own permissions, so that the
    role's come on top.
    """
    made = Template.read(Path(__file__).parents[1] / "service-role.yaml").body["Resources"]
    statements = [*made["Deployer"]["Properties"]["PolicyDocument"]["Statement"]]
    if not with_role:
        statements += made["ServiceRole"]["Properties"]["Policies"][0]["PolicyDocument"][
            "Statement"
        ]
    actions: set[str] = set()
    for each in statements:
        actions |= {each["Action"]} if isinstance(each["Action"], str) else set(each["Action"])
    return sorted(actions)
