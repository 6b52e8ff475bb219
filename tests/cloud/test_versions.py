"""Versions of the stack's function: smoke rolls a wrong one back; the stack's update and deletion.

The tests follow each other: each begins with the version that the one before has left.
"""

from __future__ import annotations

import json

import pytest

from keras_to_lambda.deploy.rollout import endpoint_comparison, smoke
from keras_to_lambda.project import DEFAULT_STACK
from tests.altered_model import altered_clothing
from tests.cloud.conftest import PARAMETERS, environment, settled, until
from tests.cloud.function import Function


def live(cloud):
    """The version that the alias leads to."""
    name = cloud.outputs["FunctionName"]
    return cloud.lambdas.get_alias(FunctionName=name, Name="live")["FunctionVersion"]


def publish(cloud):
    """Another version, to which the alias leads."""
    name = cloud.outputs["FunctionName"]
    cloud.lambdas.update_function_configuration(FunctionName=name, Description="another")
    until(
        lambda: (
            cloud.lambdas.get_function_configuration(FunctionName=name)["LastUpdateStatus"]
            == "Successful"
        ),
        "the function's update",
    )
    version = cloud.lambdas.publish_version(FunctionName=name)["Version"]
    cloud.lambdas.update_alias(FunctionName=name, Name="live", FunctionVersion=version)


@pytest.fixture
def smoked(cloud, monkeypatch):
    """The outcome of `k2l smoke` at the REST API."""
    monkeypatch.setattr(endpoint_comparison, "CALLS", 2)

    def smoked(url=cloud.url):
        options = [url, "--function", cloud.outputs["FunctionName"]]
        return smoke.smoke(smoke.parser().parse_args(options))

    return smoked


def test_a_right_version_stays(cloud, smoked):
    outcome = smoked()
    assert outcome.same, outcome.found.faults
    assert not outcome.rollback
    assert live(cloud) == "1"


def test_a_wrong_version_is_led_back_to_the_one_before(cloud, smoked, tmp_path):
    publish(cloud)
    assert live(cloud) == "2"
    model = altered_clothing(tmp_path)
    cloud.api.versions["2"] = Function(environment(cloud), sandboxes=1, model=model)
    try:
        outcome = smoked()
        assert (outcome.same, outcome.newest) == (False, "2")
        assert outcome.rollback.startswith("led the alias from version 2 to 1")
        assert outcome.back == "it answers as here"
        assert live(cloud) == "1"
    finally:
        cloud.api.versions.pop("2").stop()


@pytest.fixture
def by_hand(cloud):
    """A REST API before the alias that passes each body on as text."""
    gateway, region = cloud.gateway, cloud.gateway.meta.region_name
    api = {"restApiId": gateway.create_rest_api(name="by-hand")["id"]}
    [root] = gateway.get_resources(**api)["items"]
    proxy = gateway.create_resource(**api, parentId=root["id"], pathPart="{proxy+}")["id"]
    method = {**api, "resourceId": proxy, "httpMethod": "ANY"}
    gateway.put_method(**method, authorizationType="NONE")
    function = f"path/2015-03-31/functions/{cloud.outputs['FunctionAlias']}/invocations"
    uri = f"arn:aws:apigateway:{region}:lambda:{function}"
    gateway.put_integration(**method, type="AWS_PROXY", integrationHttpMethod="POST", uri=uri)
    gateway.create_deployment(**api, stageName="Prod")
    yield cloud.predict(api["restApiId"])
    gateway.delete_rest_api(**api)


def test_a_gateway_that_damages_bodies_is_reported_and_moves_no_version(cloud, smoked, by_hand):
    before = live(cloud)
    outcome = smoked(by_hand)
    assert outcome.found.faults
    assert outcome.trial.same
    assert not outcome.rollback
    assert live(cloud) == before


def test_an_update_of_a_parameter_changes_the_function_and_no_version(cloud):
    """A version needs another description, which `k2l deploy` writes."""

    def memory(version):
        name = cloud.outputs["FunctionName"]
        found = cloud.lambdas.get_function_configuration(FunctionName=name, Qualifier=version)
        return found["MemorySize"]

    before = live(cloud)
    translated = cloud.formation.get_template(StackName=DEFAULT_STACK, TemplateStage="Processed")[
        "TemplateBody"
    ]
    cloud.formation.update_stack(
        StackName=DEFAULT_STACK,
        TemplateBody=json.dumps(translated),
        Parameters=[
            {"ParameterKey": name, "ParameterValue": text}
            for name, text in {**PARAMETERS, "MemorySize": "3008"}.items()
        ],
        Capabilities=["CAPABILITY_IAM"],
    )
    assert settled(cloud.formation, DEFAULT_STACK)["StackStatus"] == "UPDATE_COMPLETE"
    assert (memory("$LATEST"), memory("1"), live(cloud)) == (3008, 1769, before)


def test_a_deleted_stack_is_gone(cloud):
    """The last of all tests here."""
    stack_id = cloud.formation.describe_stacks(StackName=DEFAULT_STACK)["Stacks"][0]["StackId"]
    cloud.formation.delete_stack(StackName=DEFAULT_STACK)
    assert settled(cloud.formation, stack_id)["StackStatus"] == "DELETE_COMPLETE"
    assert not cloud.lambdas.list_functions()["Functions"]
    assert not cloud.gateway.get_rest_apis()["items"]
    assert not cloud.states.list_state_machines()["stateMachines"]
    assert not cloud.sqs.list_queues().get("QueueUrls")
