"""moto's Lambda for alias and versions, with real handlers behind its invocations.

The gateway of these tests asks moto, for each request, which version the alias leads to, as AWS
does. moto runs no function, so that a front before it gives invocations to the handlers that are
behind the gateway.
"""

from __future__ import annotations

import contextlib
import itertools
from urllib.parse import parse_qs

import boto3
import pytest
import requests

from keras_to_lambda.deploy.rollout import endpoint_comparison, smoke
from keras_to_lambda.deploy.rollout.alias import Alias
from tests.altered_model import CLOTHING, altered_clothing
from tests.deploy.rollout.versions import (
    DIGITS,
    FUNCTION,
    app,
    invoke,
)
from tests.http_host import wsgi as served


@pytest.fixture(scope="session")
def right():
    return app(CLOTHING)


@pytest.fixture(scope="session")
def another():
    return app(DIGITS)


@pytest.fixture(scope="session")
def altered(tmp_path_factory):
    return app(altered_clothing(tmp_path_factory.mktemp("altered")))


@pytest.fixture
def aws(moto, monkeypatch):
    """moto, emptied, as this process's AWS: boto3's client of a service by its name."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    requests.post(f"{moto}/moto-api/reset", timeout=10).raise_for_status()
    # Invocations are not run, where moto would start a container of another image than ours.
    requests.post(
        f"{moto}/moto-api/config", json={"lambda": {"use_docker": False}}, timeout=10
    ).raise_for_status()
    return boto3.client


@pytest.fixture
def function(aws):
    """A function with three versions, and its alias at the last."""
    role = aws("iam").create_role(RoleName="role", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
    lambda_ = aws("lambda")
    lambda_.create_function(
        FunctionName=FUNCTION,
        PackageType="Image",
        Code={"ImageUri": "123456789012.dkr.ecr.us-east-1.amazonaws.com/c@sha256:1"},
        Role=role,
    )
    for number in (1, 2, 3):
        lambda_.update_function_configuration(FunctionName=FUNCTION, Description=str(number))
        lambda_.publish_version(FunctionName=FUNCTION)
    lambda_.create_alias(FunctionName=FUNCTION, Name="live", FunctionVersion="3")
    return lambda_


@pytest.fixture
def invoked(moto, monkeypatch):
    """Invocations go to the given applications by version, as Lambda tells it; all else to moto.

    https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html
    """

    def begin(**versions):
        alias = boto3.client("lambda", endpoint_url=moto)

        def front(environ, start):
            path, query = environ["PATH_INFO"], environ["QUERY_STRING"]
            body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            if path.endswith("/invocations"):
                [asked] = parse_qs(query)["Qualifier"]
                if not asked.isdecimal():
                    asked = alias.get_alias(FunctionName=FUNCTION, Name=asked)["FunctionVersion"]
                application = versions.get(f"v{asked}")
                if application:
                    return invoke(application, body, start)
            answer = requests.request(
                environ["REQUEST_METHOD"],
                f"{moto}{path}?{query}",
                data=body,
                headers={"Authorization": environ.get("HTTP_AUTHORIZATION", "")},
                timeout=10,
            )
            start(f"{answer.status_code} {answer.reason}", [("Content-Type", "application/json")])
            return [answer.content]

        url = stack.enter_context(served(front))
        monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", url)

    with contextlib.ExitStack() as stack:
        yield begin


@pytest.fixture
def routed(function, invoked):
    """Versions of the function, by which it is invoked, and asked over HTTP as its alias leads.

    In a canary the two are asked in turn.
    """
    turn = itertools.count()
    alias = Alias(FUNCTION)

    def begin(**versions):
        invoked(**versions)

        def application(environ, start):
            routing = alias.routing()
            names = [routing.version, *routing.weights]
            return versions[f"v{names[next(turn) % len(names)]}"](environ, start)

        return application

    return begin


@pytest.fixture(autouse=True)
def in_a_hurry(monkeypatch):
    """No waiting, and two of the samples."""
    for name, value in (("WAIT_S", 0), ("SETTLE_S", 0), ("CALLS", 3)):
        monkeypatch.setattr(endpoint_comparison, name, value)
    monkeypatch.setattr(
        smoke, "read_samples", lambda folder: endpoint_comparison.read_samples(folder)[:2]
    )
