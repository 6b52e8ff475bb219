"""LocalStack's engine, with our function behind its Lambda and a whole Distributed Map.

    .venv-localstack/bin/python -m tests.cloud.engine

It runs in its own environment, on this machine, without Docker; `tests.cloud.process` starts it.
What is put in here stands for:

- Lambda's execution environments, which LocalStack starts as containers: each invocation goes to
  INVOKE_URL by Lambda's Invoke API, with the version as its qualifier.
- API Gateway's binary media types: a body of these goes on as base64, any other as text, which
  damages an image. LocalStack looks at the bytes instead.
- CloudFormation's parameters of the type Number, which are text to a condition and to a mapping.
- the parts of Step Functions' Distributed Map that LocalStack's grammar does not know: see
  tests.cloud.distributed_map.
"""

from __future__ import annotations

import base64
import os
from types import SimpleNamespace
from typing import Any

import requests
from localstack.aws.api.lambda_ import TooManyRequestsException
from localstack.runtime.main import main
from localstack.services.apigateway.next_gen.execute_api.integrations.aws import (
    RestApiAwsProxyIntegration,
)
from localstack.services.cloudformation.engine.v2.change_set_model_preproc import (
    ChangeSetModelPreproc,
)
from localstack.services.cloudformation.engine.v2.change_set_model_transform import (
    ChangeSetModelTransform,
)
from localstack.services.lambda_.invocation import runtime_executor
from localstack.services.lambda_.invocation.lambda_models import InvocationResult
from localstack.services.lambda_.invocation.version_manager import LambdaVersionManager

from tests.cloud import distributed_map

CALL_S = 60


class Number(int):
    """A parameter: a number to a resource's property, and else its text."""

    def __eq__(self, other: object) -> bool:
        return str(int(self)) == other if isinstance(other, str) else int(self) == other

    def __hash__(self) -> int:
        return hash(str(int(self)))


def parameter(model: Any, node: Any, original: Any) -> Any:
    """A parameter's value before and after a change."""
    delta = original(model, node)
    kind = model.visit(node.type_)
    if "Number" in (kind.before, kind.after):
        for name in ("before", "after"):
            if str(value := getattr(delta, name)).isdecimal():
                setattr(delta, name, Number(value))
    return delta


class NoContainers:
    """The executor of versions that nothing has to be started for."""

    @staticmethod
    def prepare_version(_version: Any) -> None:
        pass

    @staticmethod
    def cleanup_version(_version: Any) -> None:
        pass


def proxied(integration: Any, context: Any, original: Any) -> Any:
    """The event of a REST API's request."""
    event, body = original(integration, context), context.integration_request["body"]
    kind = context.invocation_request["headers"].get("Content-Type", "").partition(";")[0]
    binary = kind in context.deployment.rest_api.rest_api.get("binaryMediaTypes", [])
    if body:
        text = base64.b64encode(body).decode() if binary else body.decode(errors="replace")
        event.update(body=text, isBase64Encoded=binary)
    return event


def invoke(manager: LambdaVersionManager, *, invocation: Any) -> InvocationResult:
    """In place of a container's answer: that of INVOKE_URL."""
    version = manager.function_version.id
    answer = requests.post(
        f"{os.environ['INVOKE_URL']}/2015-03-31/functions/{version.function_name}/invocations",
        params={"Qualifier": version.qualifier},
        data=invocation.payload or b"{}",
        timeout=CALL_S,
    )
    if answer.status_code == 429:
        raise TooManyRequestsException("Rate Exceeded.", Type="User", **_reason(answer))
    return InvocationResult(
        request_id=invocation.request_id,
        payload=answer.content,
        is_error="X-Amz-Function-Error" in answer.headers,
        logs="",
        executed_version=version.qualifier,
    )


def _reason(answer: requests.Response) -> dict[str, str]:
    return {"Reason": answer.json()["Reason"]}


if __name__ == "__main__":
    # The one executor, whatever its name in LocalStack's settings.
    plugin = SimpleNamespace(load=lambda: NoContainers)
    runtime_executor.EXECUTOR_PLUGIN_MANAGER = SimpleNamespace(
        exists=lambda _name: True, load=lambda _name: plugin
    )
    LambdaVersionManager.invoke = invoke
    event = RestApiAwsProxyIntegration.create_lambda_input_event
    RestApiAwsProxyIntegration.create_lambda_input_event = lambda self, context: proxied(
        self, context, event
    )
    # It would look up names that only SAM's transform makes; the template has no Fn::Transform.
    ChangeSetModelTransform._execute_local_transforms = lambda _self: None
    visit = ChangeSetModelPreproc.visit_node_parameter
    ChangeSetModelPreproc.visit_node_parameter = lambda self, node: parameter(self, node, visit)
    distributed_map.complete()
    main()
