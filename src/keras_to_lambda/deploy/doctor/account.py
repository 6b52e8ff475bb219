"""Checks of the AWS account: who calls, what they may do, what is there already."""

from __future__ import annotations

import contextlib
import json
import os
import re
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError, ProfileNotFound

from keras_to_lambda.deploy.doctor.context import Finding, Setup, Skip, fail, ok, warn
from keras_to_lambda.deploy.doctor.explain import advice, aws_error
from keras_to_lambda.deploy.doctor.template import Template

# Of a function's images: far more than the versions that a rollback tries (alias.CANDIDATES).
KEPT_IMAGES = 100
LIFECYCLE = (
    '{"rules":[{"rulePriority":1,"selection":{"tagStatus":"any","countType":"imageCountMoreThan",'
    f'"countNumber":{KEPT_IMAGES}}},"action":{{"type":"expire"}}}}]}}'
)
AT_ONCE = 100  # actions that IAM's simulator is given
# https://docs.aws.amazon.com/lambda/latest/dg/configuration-concurrency.html: all but 100 can be
# reserved; a new account's limit may be 10, and then nothing can.
UNRESERVED = 100


def region(setup: Setup) -> Finding:
    """Where it is deployed to."""
    try:
        found = setup.session.region_name
    except ProfileNotFound as error:
        return fail(
            str(error), "--profile with one of ~/.aws/config, or `aws configure --profile NAME`"
        )
    if not found:
        if other := os.environ.get("AWS_REGION"):
            return fail(
                f"AWS_REGION is {other}, but boto3 and awscli 1 read AWS_DEFAULT_REGION",
                f"export AWS_DEFAULT_REGION={other}",
            )
        return fail(
            "no region is set: --region, AWS_DEFAULT_REGION, the profile or samconfig.toml",
            "`export AWS_DEFAULT_REGION=eu-central-1`, or --region",
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
    arn = setup.caller["Arn"]
    if arn.endswith(":root"):
        return warn("you are the account's root user, who may do all", "make an IAM user or role")
    # The simulator takes the role, not the session of it. (A role's path is not in the latter.)
    source = re.sub(r":sts::(\d+):assumed-role/([^/]+)/.*", r":iam::\1:role/\2", arn)
    actions = _actions(setup)
    answers: list[dict[str, str]] = []
    try:
        pages = setup.aws("iam").get_paginator("simulate_principal_policy")
        for start in range(0, len(actions), AT_ONCE):
            some = actions[start : start + AT_ONCE]
            found = pages.paginate(PolicySourceArn=source, ActionNames=some).build_full_result()
            answers += found["EvaluationResults"]
    except (BotoCoreError, ClientError) as error:
        fix = "none needed if the deployment goes through"
        return warn(f"unknown: {aws_error(error).partition('; ')[0]}", fix)
    denied = [x["EvalActionName"] for x in answers if x["EvalDecision"] == "explicitDeny"]
    if denied:
        return fail(
            f"denied to {source}: {', '.join(denied)}",
            "ask the account's administrator to lift the denial, or use another --profile",
        )
    lacking = [x["EvalActionName"] for x in answers if x["EvalDecision"] == "implicitDeny"]
    if lacking:
        # A policy for named resources alone is not seen by a simulation for all of them.
        return warn(
            f"not allowed on every resource: {', '.join(lacking)}",
            "ask the account's administrator for these, unless a policy allows them by name; or "
            "deploy with a service role (docs/supply-chain.md)",
        )
    return ok(f"{len(actions)} actions of a deployment are allowed")


def _actions(setup: Setup) -> list[str]:
    """What the caller has to be allowed: what service-role.yaml gives to those who deploy.

    A stack without a service role is deployed with the caller's own permissions, so that the
    role's come on top.
    """
    made = Template.read(Path(__file__).parents[1] / "service-role.yaml").body["Resources"]
    deployer = made["Deployer"]["Properties"]["PolicyDocument"]["Statement"]
    [role] = made["ServiceRole"]["Properties"]["Policies"]
    with_role = setup.service_role
    with contextlib.suppress(Skip):
        with_role = with_role or bool(setup.outputs["RoleARN"])
    statements = [*deployer, *([] if with_role else role["PolicyDocument"]["Statement"])]
    actions: set[str] = set()
    for each in statements:
        actions |= {each["Action"]} if isinstance(each["Action"], str) else set(each["Action"])
    return sorted(actions)


def concurrency(setup: Setup) -> Finding:
    """How many instances may run, and whether some can be reserved."""
    limit = setup.aws("lambda").get_account_settings()["AccountLimit"]
    every, free = limit["ConcurrentExecutions"], limit["UnreservedConcurrentExecutions"]
    text = f"{every} at a time, {free} of them not reserved"
    wanted = int(setup.parameter("ConcurrencyLimit") or 0)
    if wanted:
        # What the function itself has reserved is given back for what it will have.
        with contextlib.suppress(Skip):
            own = setup.deployed["Concurrency"].get("ReservedConcurrentExecutions", 0)
            free += own
            text += f", {own} reserved by this function" if own else ""
        if free - wanted < min(UNRESERVED, every):
            most = max(free - UNRESERVED, 0)
            return fail(
                f"{text}: {wanted} cannot be reserved for the function, {most} can",
                f"`k2l deploy ConcurrencyLimit={most}`; or have the quota 'Concurrent executions' "
                "raised: https://console.aws.amazon.com/servicequotas/",
            )
    if every <= UNRESERVED:
        return warn(
            f"{text}: a new account's limit; nothing can be reserved, and bursts are throttled",
            "have the quota 'Concurrent executions' raised: "
            "https://console.aws.amazon.com/servicequotas/",
        )
    return ok(text)


def repository(setup: Setup) -> Finding:
    """The repository of the function's image: whether its lifecycle keeps what a way back needs."""
    image = setup.deployed.get("Code", {}).get("ImageUri", "")
    name = re.sub(r"[:@][^/]*$", "", image.partition("/")[2])
    if not name:
        raise Skip("the function is not made of an image")
    ecr = setup.aws("ecr")
    images = [
        image
        for page in ecr.get_paginator("describe_images").paginate(repositoryName=name)
        for image in page["imageDetails"]
    ]
    text = f"{name}, images: {len(images)}"
    remedy = (
        f"`aws ecr put-lifecycle-policy --repository-name {name} --lifecycle-policy-text "
        f"'{LIFECYCLE}'`"
    )
    try:
        policy = json.loads(ecr.get_lifecycle_policy(repositoryName=name)["lifecyclePolicyText"])
    except ClientError as error:
        if error.response["Error"]["Code"] != "LifecyclePolicyNotFoundException":
            raise
        return warn(f"{text}; no lifecycle policy: each is kept, and billed", remedy)
    fewest = min(
        (
            rule["selection"]["countNumber"]
            for rule in policy["rules"]
            if rule["selection"]["countType"] == "imageCountMoreThan"
        ),
        default=KEPT_IMAGES,
    )
    if fewest < KEPT_IMAGES:
        return warn(
            f"{text}; its lifecycle policy keeps {fewest}: a version whose image is deleted cannot "
            "be rolled back to",
            remedy,
        )
    return ok(text)


def stack(setup: Setup) -> Finding:
    """The stack's state."""
    status = setup.outputs["StackStatus"]
    if status in ("ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "CREATE_FAILED", "DELETE_FAILED"):
        return fail(
            f"{setup.stack} is in {status}: its creation failed, and it cannot be updated",
            f"`aws cloudformation delete-stack --stack-name {setup.stack}`, then deploy again",
        )
    if status == "UPDATE_ROLLBACK_FAILED":
        return fail(
            f"{setup.stack} is in {status}, and cannot be updated",
            f"`aws cloudformation continue-update-rollback --stack-name {setup.stack}`",
        )
    if status == "REVIEW_IN_PROGRESS":
        return ok(f"{setup.stack} is in {status}: its first changes were not agreed to")
    if status.endswith("IN_PROGRESS"):
        return warn(f"{setup.stack} is in {status}", "wait until it is over")
    return ok(f"{setup.stack} is in {status}")


def function(setup: Setup) -> Finding:
    """The function as callers get it: by the stack, or by its name.

    Warnings alone: whatever it is, the next deployment fixes it.
    """
    found = setup.deployed
    name = found["called"]
    config: dict[str, Any] = found["Configuration"]
    state, updated = config.get("State", "Active"), config.get("LastUpdateStatus", "Successful")
    if "Failed" in (state, updated):
        why = config.get("StateReason") or config.get("LastUpdateStatusReason") or "no reason given"
        return warn(
            f"{name} is {state}, its update {updated}: {why}", advice(why) or "deploy again"
        )
    architecture = (config.get("Architectures") or ["x86_64"])[0]
    if architecture != setup.architecture:
        return warn(
            f"{name} is {architecture}, {setup.architecture} is to be deployed",
            f"`k2l deploy Architecture={architecture}` keeps it",
        )
    uri = found.get("Code", {}).get("ImageUri", "")
    place = re.search(r"\.ecr\.([\w-]+)\.", uri)
    if place and place[1] != setup.session.region_name:
        return warn(f"{name}'s image is in {place[1]}", "push it to the function's own region")
    text = f"{name} is {state}, {architecture}, {config['MemorySize']} MB, {config['Timeout']} s"
    reserved = found.get("Concurrency", {}).get("ReservedConcurrentExecutions")
    if reserved == 0:
        return warn(
            f"{text}, and reserved concurrency is 0: every call is throttled",
            f"`aws lambda delete-function-concurrency --function-name {found['name']}`",
        )
    if updated == "InProgress":
        return warn(
            f"{text}, being updated",
            f"`aws lambda wait function-updated-v2 --function-name {name}`",
        )
    return ok(f"{text}, {reserved} reserved" if reserved else text)
