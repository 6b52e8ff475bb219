"""Several environments behind one port: Lambda's limits, and processes that are lost."""

from __future__ import annotations

import json
import socket

import boto3
import botocore.config
import pytest

from tests.emulator.fleet import Fleet
from tests.endurance.faults import (
    CREDENTIALS,
    EVENT,
    FAULTS,
    INVOKE,
    PHOTO,
    Silent,
    alive,
    call,
    calling,
    right,
)
from tests.endurance.load import Closed, Open, table
from tests.endurance.load import run as put_under_load


@pytest.fixture(scope="module")
def fleet():
    with Fleet(2) as running:
        yield running


@pytest.fixture
def lambda_client(monkeypatch):
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    clients = []

    def connect(fleet):
        config = botocore.config.Config(retries={"total_max_attempts": 1})
        clients.append(boto3.client("lambda", endpoint_url=fleet.url, config=config))
        return clients[-1]

    yield connect
    for client in clients:
        client.close()


@pytest.mark.parametrize(
    "fault", [each for each in FAULTS if each.quick], ids=lambda fault: fault.name
)
def test_callers_see_what_aws_documents_and_it_is_over_when_it_is_over(fault):
    seen = fault.run()

    assert seen.callers
    assert seen.held


def test_a_photo_and_an_event_are_answered(fleet):
    right(call(fleet.url + "/predict", PHOTO))
    right(call(fleet.url + INVOKE, EVENT))


def test_as_many_at_a_time_as_there_are_environments(fleet):
    with calling(*[(fleet.url + "/predict", PHOTO)] * 2) as answers:
        pass
    for answer in answers:
        right(answer)


def test_an_error_of_the_functions_own_costs_no_environment(fleet):
    before = [environment.functions() for environment in fleet.environments]
    for _ in before:
        answer = call(fleet.url + INVOKE, {"image": "AAAA"})
        assert (answer.status, answer.failed, answer.code) == (
            200,
            "Unhandled",
            "UnsupportedFormat",
        )
        assert call(fleet.url + "/predict", {"image": "AAAA"}).status == 415
    assert [environment.functions() for environment in fleet.environments] == before


def test_boto3_knows_an_error_of_the_function(fleet, lambda_client):
    answer = lambda_client(fleet).invoke(FunctionName="any-name", Payload=b"{}")

    assert answer["FunctionError"] == "Unhandled"
    assert answer["ExecutedVersion"] == "$LATEST"
    with answer["Payload"] as payload:
        assert json.load(payload)["errorType"] == "MissingImage"


def test_boto3_knows_a_throttle(lambda_client):
    with Silent() as host, Fleet(1, env={"FETCH_PRIVATE_HOSTS": host.host}) as fleet:
        client = lambda_client(fleet)
        with calling((fleet.url + INVOKE, host.event)):
            host.wait()
            with pytest.raises(client.exceptions.TooManyRequestsException) as raised:
                client.invoke(FunctionName="function", Payload=b"{}")
            host.end()
    assert raised.value.response["Reason"] == "ReservedFunctionConcurrentInvocationLimitExceeded"


def test_boto3_knows_that_an_event_is_too_large_or_no_json(fleet, lambda_client):
    client = lambda_client(fleet)
    with pytest.raises(client.exceptions.RequestTooLargeException):
        client.invoke(FunctionName="function", Payload=b'"' + b"A" * 7_000_000 + b'"')
    with pytest.raises(client.exceptions.InvalidRequestContentException):
        client.invoke(FunctionName="function", Payload=b"{")


def test_nothing_is_left_behind():
    with Fleet(2) as fleet:
        started = [
            pid
            for environment in fleet.environments
            for pid in (environment.emulator_pid, *environment.functions())
        ]
        port = fleet.port
    assert len(started) == 4
    assert not any(alive(pid) for pid in started)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), 1)


def test_load_beyond_the_limit_is_throttled_and_all_is_counted(fleet):
    results = [
        put_under_load(fleet.url + INVOKE, EVENT, load)
        for load in (Closed(1, count=5), Closed(6, count=30), Open(20, count=10))
    ]

    assert [len(result.answers) for result in results] == [5, 30, 10]
    assert set(results[0].statuses) == {200}
    assert set(results[1].statuses) <= {200, 429}
    assert results[1].statuses[200]
    assert "| 6 clients" in table(results)
