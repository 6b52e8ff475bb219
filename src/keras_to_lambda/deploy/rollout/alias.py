"""Alias: which version of a function callers reach, and the rollback to an earlier one.

https://docs.aws.amazon.com/lambda/latest/dg/configuration-aliases.html
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from keras_to_lambda.deploy.doctor.explain import aws_error
from keras_to_lambda.function_defaults import ALIAS
from keras_to_lambda.runtime.common.errors import UserError

SAID_BYTES = 300  # of an error; its stack trace is in the log
# CodeDeploy shifts the weight back at once; an answer that takes longer is a case for a person.
CODEDEPLOY_S = 120
UNDER_WAY = ["Created", "Queued", "InProgress", "Baking", "Ready"]
NO_WEIGHTS: dict[str, Any] = {"AdditionalVersionWeights": {}}
CANDIDATES = 5  # versions that are tried; each may be a cold start, while the faulty one is live
# An alias's description has the versions that it was led away from: UpdateAlias writes it in the
# same step that moves the alias, and needs no other permission. Tags are of the whole function.
NOTE = re.compile(r"\s*\[found faulty: ([\d, ]*)\]")
DESCRIPTION_CHARS = 256
# https://docs.aws.amazon.com/lambda/latest/api/API_GetAlias.html#API_GetAlias_RequestParameters
FUNCTION = re.compile(
    r"(?P<function>(?:(?:arn:[\w-]+:lambda:[\w-]+:)?\d{12}:(?:function:)?)?(?P<name>[\w-]+))"
    r"(?::(?P<qualifier>[\w$-]+))?"
)


class AliasError(UserError):
    """The alias cannot be read or moved; the message says why."""


class FunctionFailed(AliasError):
    """The function was invoked, and failed: not Lambda's refusal, but its own error or end."""


@dataclass(frozen=True)
class Routing:
    """Where an alias leads.

    version: of the function; with a canary the stable one, which gets the rest.
    weights: share of the calls (0..1) by version, of a canary that is under way.
    """

    version: str
    weights: dict[str, float] = field(default_factory=dict)

    @property
    def newest(self) -> str:
        """The version that came last: of a canary the one that is tried."""
        return next(iter(self.weights), self.version)

    def __str__(self) -> str:
        shares = [f", {share:.0%} at version {version}" for version, share in self.weights.items()]
        return f"version {self.version}{''.join(shares)}"


class Alias:
    """The alias `live` of a function, by boto3 with the credentials that it finds.

    Args:
        function: its name or ARN, in each form that AWS takes.
        region, profile: as AWS is configured for None.

    Raises:
        AliasError: `function` is none, or names another alias; no such profile; no region or no
            credentials are set.
    """

    def __init__(
        self, function: str, region: str | None = None, profile: str | None = None
    ) -> None:
        form = FUNCTION.fullmatch(function)
        if form is None or form["qualifier"] not in {None, ALIAS}:
            raise AliasError(
                f"invalid function {function!r}: use a name or an ARN, with no other alias than "
                f"{ALIAS}"
            )
        self.function = form["function"]
        try:
            self._session = boto3.Session(region_name=region, profile_name=profile)
            self._lambda = self._session.client("lambda")
        except BotoCoreError as error:
            raise AliasError(aws_error(error)) from error

    def __str__(self) -> str:
        return f"{self.function}:{ALIAS}"

    def routing(self) -> Routing:
        """Where it leads now.

        Raises:
            AliasError
        """
        found = self._get()
        weights = (found.get("RoutingConfig") or {}).get("AdditionalVersionWeights") or {}
        return Routing(found["FunctionVersion"], weights)

    def roll_back(self, faulty: str, doubt: Callable[[str], str]) -> str:
        """Lead all callers to the stable version of a canary, or else to an earlier one.

        That is the newest of the earlier versions against which nothing speaks.
        CodeDeploy leaves no note of what it rolled back by an alarm, so each is invoked first.

        Args:
            faulty: the version to lead away from.
            doubt: invokes a version; what speaks against it, empty where it will do. It may raise
                AliasError: the version fails, or could not be invoked.

        Returns:
            What was done.

        Raises:
            AliasError: there is nothing to go back to, it was rolled back already, or AWS
                refuses.
        """
        now = self.routing()
        if now.newest != faulty:
            raise AliasError(
                f"{self} is at {now} and no longer at version {faulty}: it was moved "
                "meanwhile. Run this again"
            )
        if now.weights:
            return self._end_canary(now, faulty)
        if not faulty.isdecimal():
            raise AliasError(f"{self} is at {faulty}, before which there is no version")
        numbers = [int(v["Version"]) for v in self._versions() if v["Version"].isdecimal()]
        # Each further run would else go one version further back, to older and older ones.
        if int(faulty) < max(numbers):
            raise AliasError(
                f"{self} is at version {faulty} and not at the newest, {max(numbers)}: it was "
                "rolled back already. Deploy a new version, or move it with `aws lambda "
                "update-alias`"
            )
        description = self._get().get("Description", "")
        against, tried = [], 0
        for version in map(str, sorted(numbers, reverse=True)[1:]):
            if version in faulty_versions(description):
                against.append(f"version {version}: was found faulty before")
                continue
            if tried == CANDIDATES:
                break
            tried += 1
            try:
                why = doubt(version)
            except AliasError as error:
                why = str(error)
            if not why:
                self._update(faulty, FunctionVersion=version, RoutingConfig=NO_WEIGHTS)
                return "; ".join([f"led the alias from version {faulty} to {version}", *against])
            against.append(f"version {version}: {why}")
        raise AliasError(
            f"{self} still points to the faulty version: no earlier version passed the check "
            f"({'; '.join(against) or 'there is none'}). Deploy a right one, or lead the alias to "
            "one with `aws lambda update-alias`"
        )

    def invoke(self, event: Any, version: str) -> Any:
        """The answer of one version, which is called once.

        Raises:
            FunctionFailed: it was run, and failed. AliasError: it was not run.
        """
        answer = self._ask(
            self._lambda.invoke,
            FunctionName=self.function,
            Qualifier=version,
            Payload=json.dumps(event).encode(),
        )
        # https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html#API_Invoke_ResponseSyntax
        payload = answer["Payload"].read()
        if "FunctionError" in answer:
            said = payload[:SAID_BYTES].decode(errors="replace")
            raise FunctionFailed(f"{self.function}:{version} fails with {said}")
        return json.loads(payload or b"null")

    def model_path(self, version: str) -> str:
        """MODEL_PATH of a version; empty where it has none.

        Raises:
            AliasError
        """
        [found] = [one for one in self._versions() if one["Version"] == version]
        return str(found.get("Environment", {}).get("Variables", {}).get("MODEL_PATH", ""))

    def _versions(self) -> Any:
        pages = self._lambda.get_paginator("list_versions_by_function")
        return self._ask(
            lambda **names: pages.paginate(**names).build_full_result(), FunctionName=self.function
        )["Versions"]

    def _end_canary(self, now: Routing, faulty: str) -> str:
        """Stop CodeDeploy's deployment of this alias; where there is none, take the weight away.

        Deployments of all applications are listed; a target says what it is.
        https://docs.aws.amazon.com/codedeploy/latest/APIReference/API_LambdaFunctionInfo.html
        """
        deploy = self._session.client("codedeploy")
        pages = deploy.get_paginator("list_deployments")
        under_way = self._ask(
            lambda **filters: pages.paginate(**filters).build_full_result(),
            includeOnlyStatuses=UNDER_WAY,
        )
        unread = []
        for deployment in under_way.get("deployments", []):
            try:
                ours = self._is_target(deploy, deployment)
            except AliasError as error:
                if "DeploymentNotStarted" not in str(error):  # that shifts nothing
                    unread.append(deployment)
                continue
            if ours:
                self._ask(deploy.stop_deployment, deploymentId=deployment, autoRollbackEnabled=True)
                self._wait(Routing(now.version), deployment)
                done = f"stopped CodeDeploy's {deployment}, which led all calls back"
                try:
                    self._update(faulty)  # not before: CodeDeploy need not bear that it is altered
                except AliasError as error:
                    done += f"; that version {faulty} is faulty could not be noted: {error}"
                return done
        self._update(faulty, FunctionVersion=now.version, RoutingConfig=NO_WEIGHTS)
        done = "took the canary's weight away"
        if unread:
            done += f"; CodeDeploy's {', '.join(unread)} could not be read: stop it if it is ours"
        return done

    def _is_target(self, deploy: Any, deployment: str) -> bool:
        """Whether a deployment shifts this alias."""
        listed = self._ask(deploy.list_deployment_targets, deploymentId=deployment)
        # A deployment to Lambda has one target; one to EC2 may have thousands, or none yet.
        ids = listed.get("targetIds", [])[:1]
        if not ids:
            return False
        found = self._ask(
            deploy.batch_get_deployment_targets, deploymentId=deployment, targetIds=ids
        )
        info = found["deploymentTargets"][0].get("lambdaTarget", {}).get("lambdaFunctionInfo", {})
        same = _name(info.get("functionName", "")) == _name(self.function)
        return bool(same and info.get("functionAlias") == ALIAS)

    def _wait(self, wanted: Routing, deployment: str) -> None:
        """Wait for the alias: no weights alone may also be a shift that is done."""
        give_up = time.monotonic() + CODEDEPLOY_S
        while self.routing() != wanted:
            if time.monotonic() > give_up:
                raise AliasError(
                    f"CodeDeploy was asked to stop {deployment}, and {self} is at "
                    f"{self.routing()} after {CODEDEPLOY_S} s, not at {wanted}: look at it in the "
                    "console"
                )
            time.sleep(2)

    def _update(self, faulty: str, **changes: Any) -> None:
        """Alter the alias, and note in the same step which version is faulty."""
        description = noted(self._get().get("Description", ""), faulty)
        self._ask(
            self._lambda.update_alias,
            FunctionName=self.function,
            Name=ALIAS,
            Description=description,
            **changes,
        )

    def _get(self) -> Any:
        return self._ask(self._lambda.get_alias, FunctionName=self.function, Name=ALIAS)

    def _ask(self, call: Any, **arguments: Any) -> Any:
        try:
            return call(**arguments)
        except (ClientError, BotoCoreError) as error:
            raise AliasError(f"{self}: {aws_error(error)}") from error


def _name(function: str) -> str:
    """A function's bare name, of its name or ARN with or without a qualifier."""
    form = FUNCTION.fullmatch(function)
    return form["name"] if form else function


def faulty_versions(description: str) -> list[str]:
    """The versions that an alias was led away from, by its description; the oldest note first."""
    note = NOTE.search(description)
    return re.findall(r"\d+", note[1]) if note else []


def noted(description: str, version: str) -> str:
    """The description with one more version that was led away from; what else is in it stays.

    Where Lambda's 256 characters are too few for all, the oldest are left out.
    """
    versions = [*(v for v in faulty_versions(description) if v != version), version]
    own = NOTE.sub("", description)
    while versions:
        found = f"{own} [found faulty: {', '.join(versions)}]".lstrip()
        if len(found) <= DESCRIPTION_CHARS:
            return found
        del versions[0]
    return own
