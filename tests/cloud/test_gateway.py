"""The stack as CloudFormation makes it, and POST /predict through its REST API."""

from __future__ import annotations

import pytest
import requests

from tests.cloud.conftest import SAMPLES

T_SHIRT = next(path for path in SAMPLES if path.stem == "t-shirt")


def test_the_stack_has_every_resource_of_the_template_with_bulk(cloud):
    found = cloud.formation.describe_stack_resources(StackName="keras-to-lambda")["StackResources"]
    assert {each["ResourceStatus"] for each in found} == {"CREATE_COMPLETE"}
    kinds = {each["ResourceType"] for each in found}
    assert {
        "AWS::ApiGateway::RestApi",
        "AWS::CloudWatch::Alarm",
        "AWS::IAM::Role",
        "AWS::Lambda::Alias",
        "AWS::Lambda::EventSourceMapping",
        "AWS::Lambda::Function",
        "AWS::Lambda::Permission",
        "AWS::Lambda::Version",
        "AWS::Logs::LogGroup",
        "AWS::S3::Bucket",
        "AWS::S3::BucketPolicy",
        "AWS::SQS::Queue",
        "AWS::SQS::QueuePolicy",
        "AWS::StepFunctions::StateMachine",
    } <= kinds


@pytest.mark.parametrize("way", ["body", "form"])
def test_a_photo_is_classified_through_the_rest_api(cloud, way):
    photo = T_SHIRT.read_bytes()
    sent = {
        "body": {"data": photo, "headers": {"Content-Type": "image/jpeg"}},
        "form": {"files": {"image": ("t-shirt.jpg", photo, "image/jpeg")}},
    }[way]
    answer = requests.post(cloud.url, timeout=60, **sent)
    assert answer.status_code == 200, answer.text
    scores = answer.json()
    assert max(scores, key=scores.get) == "t-shirt"


def test_what_is_no_image_is_answered_415_through_the_rest_api(cloud):
    headers = {"Content-Type": "image/jpeg"}
    answer = requests.post(cloud.url, data=b"\xff\xd8 no photo", headers=headers, timeout=60)
    assert (answer.status_code, answer.json()["error"]["code"]) == (415, "unsupported_format")


def test_a_pages_preflight_is_answered_by_the_function(cloud):
    answer = requests.options(
        cloud.url,
        headers={"Origin": "https://example.com", "Access-Control-Request-Method": "POST"},
        timeout=60,
    )
    assert answer.status_code == 204
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert "POST" in answer.headers["Access-Control-Allow-Methods"]
