"""Alias: which version of a function callers reach, and the way back to the one before.

https://docs.aws.amazon.com/lambda/latest/dg/configuration-aliases.html
"""

from __future__ import annotations

import base64
import json
import re
import time
from dataclasses import dataclass, field
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError, NoRegionError

# CodeDeploy shifts the weight back at once; an answer that takes longer is a case for a person.
CODEDEPLOY_S = 120
SAID_BYTES = 300  # of an error; its stack trace is in the log
UNDER_WAY = ["Created", "Queued", "InProgress", "Ready"]
# https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs-view.html
REPORT = re.compile(r"\t(Duration|Init Duration|Max Memory Used|Memory Size): ([\d.]+) (?:ms|MB)")


class AliasError(Exception):
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

    def __str__(self) -> str:
        shares = [f", {share:.0%} at version {version}" for version, share in self.weights.items()]
        return f"version {self.version}{''.join(shares)}"


class Alias:
    """An alias of a function, by boto3 with the credentials that it finds.

    Args:
        function: its name. region: AWS's name of it; boto3's own default for None.
        profile: of AWS's configuration; the shell's for None.
        clients: gives a client by a service's name.

    Raises:
        AliasError: no such profile; no region or no credentials are set.
    """

    def __init__(
        self,
        function: str,
        name: str = "live",
        region: str | None = None,
        profile: str | None = None,
        clients: Any = None,
    ) -> None:
        self.function, self.name = function, name
        try:
            self._clients = (
                clients or boto3.Session(region_name=region, profile_name=profile).client
            )
            self._lambda = self._clients("lambda")
        except NoRegionError as error:
            raise AliasError(f"{error} Give --region") from error
        except BotoCoreError as error:
            raise AliasError(str(error)) from error

    def __str__(self) -> str:
        return f"{self.function}:{self.name}"

    def routing(self) -> Routing:
        """Where it leads now.

        Raises:
            AliasError
        """
        found = self._ask(self._lambda.get_alias, FunctionName=self.function, Name=self.name)
        weights = (found.get("RoutingConfig") or {}).get("AdditionalVersionWeights") or {}
        return Routing(found["FunctionVersion"], weights)

    def roll_back(self) -> str:
        """Lead all callers to the stable version of a canary, or else to the version before.

        Returns:
            What was done.

        Raises:
            AliasError: there is nothing to go back to, it has been led back already, or AWS
                refuses.
        """
        now = self.routing()
        if now.weights:
            deployment = self._deployment()
            if deployment:
                self._stop(deployment, Routing(now.version))
                return f"stopped CodeDeploy's {deployment}, which led all calls back"
            self._lead_to(now.version)
            return "took the canary's weight away"
        if not now.version.isdecimal():
            raise AliasError(f"{self} is at {now.version}, before which there is no version")
        pages = self._lambda.get_paginator("list_versions_by_function")
        listed = self._ask(
            lambda **names: pages.paginate(**names).build_full_result(), FunctionName=self.function
        )
        numbers = [int(v["Version"]) for v in listed["Versions"] if v["Version"].isdecimal()]
        # Each further run would else go one version further back, to older and older ones.
        if int(now.version) < max(numbers, default=0):
            raise AliasError(
                f"{self} is at version {now.version} and not at the newest, {max(numbers)}: it has "
                "been led back already. Deploy a new version, or lead it with `aws lambda "
                "update-alias`"
            )
        before = [number for number in numbers if number < int(now.version)]
        if not before:
            raise AliasError(f"{self} is at version {now.version}, and there is none before it")
        self._lead_to(str(max(before)))
        return f"led the alias from version {now.version} to {max(before)}"

    def invoke(self, event: Any, version: str | None = None) -> dict[str, float]:
        """Call it once, and read the last lines of its log.

        Args:
            version: to be called in place of the alias.

        Returns:
            "Duration" and, of a cold start, "Init Duration" (ms), "Memory Size" and "Max Memory
            Used" (MB), as far as the log has them.

        Raises:
            FunctionFailed: it was run, and failed. AliasError: it was not run.
        """
        answer = self._ask(
            self._lambda.invoke,
            FunctionName=self.function,
            Qualifier=version or self.name,
            LogType="Tail",
            Payload=json.dumps(event).encode(),
        )
        # https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html#API_Invoke_ResponseSyntax
        if "FunctionError" in answer:
            said = answer["Payload"].read(SAID_BYTES).decode(errors="replace")
            raise FunctionFailed(f"{self.function}:{version or self.name} fails with {said}")
        tail = base64.b64decode(answer.get("LogResult", "")).decode(errors="replace")
        return {name: float(number) for name, number in REPORT.findall(tail)}

    def _lead_to(self, version: str) -> None:
        self._ask(
            self._lambda.update_alias,
            FunctionName=self.function,
            Name=self.name,
            FunctionVersion=version,
            RoutingConfig={"AdditionalVersionWeights": {}},
        )

    def _deployment(self) -> str | None:
        """The id of CodeDeploy's deployment that is shifting this alias; None where none is.

        https://docs.aws.amazon.com/codedeploy/latest/APIReference/API_LambdaFunctionInfo.html
        """
        deploy = self._clients("codedeploy")
        pages = deploy.get_paginator("list_deployments")
        under_way = self._ask(
            lambda **filters: pages.paginate(**filters).build_full_result(),
            includeOnlyStatuses=UNDER_WAY,
        )
        for deployment in under_way.get("deployments", []):
            targets = self._ask(deploy.list_deployment_targets, deploymentId=deployment)
            found = self._ask(
                deploy.batch_get_deployment_targets,
                deploymentId=deployment,
                targetIds=targets["targetIds"],
            )
            for target in found["deploymentTargets"]:
                info = target.get("lambdaTarget", {}).get("lambdaFunctionInfo", {})
                if (info.get("functionName"), info.get("functionAlias")) == (
                    self.function,
                    self.name,
                ):
                    return str(deployment)
        return None

    def _stop(self, deployment: str, wanted: Routing) -> None:
        """Stop it, and wait for the alias: no weights alone may also be a shift that is done."""
        deploy = self._clients("codedeploy")
        self._ask(deploy.stop_deployment, deploymentId=deployment, autoRollbackEnabled=True)
        give_up = time.monotonic() + CODEDEPLOY_S
        while self.routing() != wanted:
            if time.monotonic() > give_up:
                raise AliasError(
                    f"CodeDeploy was told to stop {deployment}, and {self} is at "
                    f"{self.routing()} after {CODEDEPLOY_S} s, not at {wanted}: look at it in the "
                    "console"
                )
            time.sleep(2)

    def _ask(self, call: Any, **arguments: Any) -> Any:
        try:
            return call(**arguments)
        except (ClientError, BotoCoreError) as error:
            raise AliasError(f"{self}: {error}") from error
