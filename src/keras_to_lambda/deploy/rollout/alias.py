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

from keras_to_lambda import aws
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
DESCRIPTION_CHARS = 256  # that Lambda takes
# https://docs.aws.amazon.com/lambda/latest/api/API_GetAlias.html#API_GetAlias_RequestParameters
FUNCTION = re.compile(
    r"(?P<function>(?:(?:arn:[\w-]+:lambda:[\w-]+:)?\d{12}:(?:function:)?)?(?P<name>[\w-]+))"
    r"(?::(?P<qualifier>[\w$-]+))?"
)


class AliasError(UserError):
    """The alias cannot be moved, or a version not be invoked; the message says why."""


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
    """The alias `live` of a function. Each method may raise AwsError as well.

    Args:
        function: its name or ARN, in each form that AWS takes.

    Raises:
        AliasError: `function` is none, or names another alias.
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
        self.function, self._name = form["function"], form["name"]
        self._session = aws.session(region, profile)
        self._this = {"FunctionName": self.function, "Name": ALIAS}

    def __str__(self) -> str:
        return f"{self.function}:{ALIAS}"

    def _call(self, service: str, operation: str, **arguments: Any) -> Any:
        """One of AWS's operations; of one with pages, all of them."""
        with aws.errors(str(self)):
            client = self._session.client(service)
            if client.can_paginate(operation):
                return client.get_paginator(operation).paginate(**arguments).build_full_result()
            return getattr(client, operation)(**arguments)

    def routing(self) -> Routing:
        """Where it leads now."""
        found = self._call("lambda", "get_alias", **self._this)
        weights = (found.get("RoutingConfig") or {}).get("AdditionalVersionWeights") or {}
        return Routing(found["FunctionVersion"], weights)

    def roll_back(self, faulty: str, doubt: Callable[[str], str]) -> str:
        """Lead all callers to the stable version of a canary, or else to an earlier one.

        That is the newest of the earlier versions against which nothing speaks.
        CodeDeploy leaves no note of what it rolled back by an alarm, so each is invoked first.

        Args:
            faulty: the version to lead away from.
            doubt: invokes a version; what speaks against it, empty where it will do. It may raise
                UserError: the version fails, or could not be invoked.

        Returns:
            What was done.

        Raises:
            AliasError: there is nothing to go back to, or it was rolled back already.
        """
        now = self.routing()
        if now.newest != faulty:
            raise AliasError(
                f"{self} is at {now} and no longer at version {faulty}: it was moved "
                "meanwhile. Run this again"
            )
        if now.weights:
            return self._end_canary(now, faulty)
        numbers = [int(v["Version"]) for v in self._versions() if v["Version"].isdecimal()]
        # Each further run would else go one version further back, to older and older ones.
        if faulty.isdecimal() and int(faulty) < max(numbers):
            raise AliasError(
                f"{self} is at version {faulty} and not at the newest, {max(numbers)}: it was "
                "rolled back already. Deploy a new version, or move it with `aws lambda "
                "update-alias`"
            )
        (_, noted), against, tried = self._described(), [], 0
        for version in map(str, sorted(numbers, reverse=True)):
            if version == faulty:
                continue
            if version in noted:
                against.append(f"version {version}: was found faulty before")
                continue
            if tried == CANDIDATES:
                break
            tried += 1
            try:
                why = doubt(version)
            except UserError as error:
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
            FunctionFailed: it was run, and failed. AwsError: it was not run.
        """
        answer = self._call(
            "lambda",
            "invoke",
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
        """MODEL_PATH of a version; empty where it has none."""
        [found] = [one for one in self._versions() if one["Version"] == version]
        return str(found.get("Environment", {}).get("Variables", {}).get("MODEL_PATH", ""))

    def _versions(self) -> Any:
        found = self._call("lambda", "list_versions_by_function", FunctionName=self.function)
        return found["Versions"]

    def _end_canary(self, now: Routing, faulty: str) -> str:
        """Stop CodeDeploy's deployment of this alias; where there is none, take the weight away."""
        deployment, unread = self._deployment()
        if not deployment:
            self._update(faulty, FunctionVersion=now.version, RoutingConfig=NO_WEIGHTS)
            stop = f"; CodeDeploy's {', '.join(unread)} could not be read: stop it if it is ours"
            return "took the canary's weight away" + (stop if unread else "")
        self._call(
            "codedeploy", "stop_deployment", deploymentId=deployment, autoRollbackEnabled=True
        )
        give_up = time.monotonic() + CODEDEPLOY_S
        # No weights alone may also be a shift that is done.
        while self.routing() != Routing(now.version):
            if time.monotonic() > give_up:
                raise AliasError(
                    f"CodeDeploy was asked to stop {deployment}, and {self} is at "
                    f"{self.routing()} after {CODEDEPLOY_S} s, not at version {now.version}: look "
                    "at it in the console"
                )
            time.sleep(2)
        done = f"stopped CodeDeploy's {deployment}, which led all calls back"
        try:
            self._update(faulty)  # not before: CodeDeploy need not bear that it is altered
        except aws.AwsError as error:
            done += f"; that version {faulty} is faulty could not be noted: {error}"
        return done

    def _deployment(self) -> tuple[str, list[str]]:
        """CodeDeploy's deployment that shifts this alias now, or "", and those that are unreadable.

        Deployments of all applications are listed; a target says what it is.
        https://docs.aws.amazon.com/codedeploy/latest/APIReference/API_LambdaFunctionInfo.html
        """
        under_way = self._call("codedeploy", "list_deployments", includeOnlyStatuses=UNDER_WAY)
        unread = []
        for deployment in under_way.get("deployments", []):
            try:
                targets = self._targets(deployment)
            except aws.AwsError as error:
                if error.code != "DeploymentNotStartedException":  # that shifts nothing
                    unread.append(deployment)
                continue
            for target in targets:
                info = target.get("lambdaTarget", {}).get("lambdaFunctionInfo", {})
                form = FUNCTION.fullmatch(info.get("functionName", ""))
                if form and (form["name"], info.get("functionAlias")) == (self._name, ALIAS):
                    return deployment, unread
        return "", unread

    def _targets(self, deployment: str) -> Any:
        of_it = {"deploymentId": deployment}
        # A deployment to Lambda has one target; one to EC2 may have thousands, or none yet.
        ids = self._call("codedeploy", "list_deployment_targets", **of_it).get("targetIds", [])[:1]
        if not ids:
            return []
        found = self._call("codedeploy", "batch_get_deployment_targets", **of_it, targetIds=ids)
        return found["deploymentTargets"]

    def _described(self) -> tuple[str, list[str]]:
        """Its own description, and the versions that it was led away from, the oldest first."""
        description = self._call("lambda", "get_alias", **self._this).get("Description", "")
        note = NOTE.search(description)
        return NOTE.sub("", description), re.findall(r"\d+", note[1]) if note else []

    def _update(self, faulty: str, **changes: Any) -> None:
        """Alter the alias, and note in the same step which version is faulty.

        Where there is no room for all, the oldest versions are left out.
        """
        own, noted = self._described()
        noted = [*(version for version in noted if version != faulty), faulty]
        texts = (f"{own} [found faulty: {', '.join(noted[at:])}]" for at in range(len(noted)))
        fitting = (text.lstrip() for text in texts if len(text.lstrip()) <= DESCRIPTION_CHARS)
        described = {"Description": next(fitting, own)}
        self._call("lambda", "update_alias", **self._this, **described, **changes)
