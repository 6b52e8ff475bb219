"""The alias: when it is led back, to which version, and when it is left."""

from __future__ import annotations

import re

import pytest
from botocore.exceptions import ClientError
from botocore.stub import Stubber

from keras_to_lambda.deploy.rollout import smoke
from keras_to_lambda.deploy.rollout.alias import Alias, AliasError, FunctionFailed, Routing
from tests.altered_model import CLOTHING
from tests.deploy.rollout.versions import (
    ARN,
    FIRST,
    FUNCTION,
    answering,
    canary,
    credulous,
    failing,
    has,
    live,
    not_invoked,
    noted,
    played,
    relabelled,
    run,
    texts,
)
from tests.http_host import wsgi as served

# --- going back


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (None, ""),
        (relabelled, "model clothing is another: SHA-256 000000000000"),
        (credulous, "not 415"),
        (lambda _: failing, "classifier:3 fails with"),
        (lambda application: played(application, failing, has(FIRST)), "classifier:3 fails with"),
    ],
    ids=["a weight", "another hash", "takes everything", "fails", "fails for one"],
)
def test_the_alias_goes_back_from_a_wrong_version(routed, right, altered, capsys, wrong, said):
    with served(routed(v2=right, v3=wrong(right) if wrong else altered)) as url:
        status, result, _ = run(capsys, url, "--function", FUNCTION)
    assert status == 1
    assert said in " ".join(texts(result.trial))
    assert live() == Routing("2")
    assert result.rollback == "led the alias from version 3 to 2"
    assert result.back == "it answers as here"


def test_a_run_after_that_goes_no_version_further_back(routed, right, altered, capsys):
    with served(routed(v1=right, v2=credulous(right), v3=altered)) as url:
        for _ in range(2):
            status, result, _ = run(capsys, url, "--function", FUNCTION)
            assert status == 1
            assert live() == Routing("2")
    assert not result.rollback
    assert "version 2 and not at the newest, 3: it was rolled back" in result.back


@pytest.mark.parametrize(
    ("v2", "version", "done", "same"),
    [
        # It may serve another model than is here, whose scores prove nothing.
        (lambda right, altered, another: another, "2", "to 2", False),
        (lambda right, altered, another: relabelled(altered), "2", "to 2", False),
        # Of one that CodeDeploy rolled back by its alarm there is no note.
        (lambda *_: failing, "1", "to 1; version 2: classifier:2 fails with", True),
        (lambda right, altered, another: played(another, failing, has(FIRST)),
         "1", "to 1; version 2: classifier:2 fails with", True),
        (lambda right, altered, another: altered,
         "1", "to 1; version 2: differs from here with the same model", True),
        (lambda right, altered, another: not_invoked(right), "1", "AccessDenied", True),
    ],
    ids=["another model", "another hash", "fails", "fails for one", "differs", "not invoked"],
)  # fmt: skip
def test_the_alias_goes_to_the_newest_version_against_which_nothing_speaks(
    routed, right, another, altered, capsys, v2, version, done, same
):
    with served(routed(v1=right, v2=v2(right, altered, another), v3=altered)) as url:
        _, result, _ = run(capsys, url, "--function", FUNCTION)
    assert live() == Routing(version)
    assert result.rollback.startswith(f"led the alias from version 3 to {version}")
    assert done in result.rollback
    assert (result.back == "it answers as here") == same


def test_a_version_that_was_led_away_from_is_never_gone_back_to(function, routed, right, capsys):
    """Its answers to samples are right, so that nothing but the note speaks against it."""
    wrong = credulous(right)
    with served(routed(v2=right, v3=wrong, v4=wrong)) as url:
        run(capsys, url, "--function", FUNCTION)
        assert live() == Routing("2")
        function.update_function_configuration(FunctionName=FUNCTION, Description="4")
        function.publish_version(FunctionName=FUNCTION)
        function.update_alias(FunctionName=FUNCTION, Name="live", FunctionVersion="4")
        _, result, _ = run(capsys, url, "--function", FUNCTION)
    assert live() == Routing("2")
    assert result.rollback == (
        "led the alias from version 4 to 2; version 3: was found faulty before"
    )
    assert noted(function) == "[found faulty: 3, 4]"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("owner team-a", "owner team-a [found faulty: 3]"),
        (
            "of 7 [found faulty: 3, 1] by hand, ticket 2",
            "of 7 by hand, ticket 2 [found faulty: 1, 3]",
        ),
        ("found faulty: 2", "found faulty: 2 [found faulty: 3]"),
        ("x" * 230 + " [found faulty: 10, 11, 12]", "x" * 230 + " [found faulty: 11, 12, 3]"),
        ("x" * 250, "x" * 250),
    ],
    ids=["its own text", "digits around", "no note of ours", "the oldest go", "no room"],
)
def test_the_description_of_an_alias_keeps_its_own_text(function, before, after):
    function.update_alias(FunctionName=FUNCTION, Name="live", Description=before)
    assert "from version 3 to 2" in Alias(FUNCTION).roll_back("3", lambda _: "")
    assert noted(function) == after


def test_where_no_version_before_answers_the_alias_stays_and_that_is_said_aloud(
    routed, altered, capsys
):
    with served(routed(v1=altered, v2=failing, v3=altered)) as url:
        _, result, _ = run(capsys, url, "--function", FUNCTION)
    assert live() == Routing("3")
    assert not result.rollback
    said = result.back
    assert said.startswith("NOT rolled back")
    assert "classifier:2 fails with" in said
    assert "version 1: differs from here with the same model" in said


def test_only_some_versions_are_tried_as_the_faulty_one_is_live_meanwhile(function, monkeypatch):
    tried = []

    def doubt(version):
        tried.append(version)
        raise FunctionFailed(version)

    monkeypatch.setattr("keras_to_lambda.deploy.rollout.alias.CANDIDATES", 1)
    with pytest.raises(AliasError, match="no earlier version passed the check"):
        Alias(FUNCTION).roll_back("3", doubt)
    assert tried == ["2"]
    # One that was found faulty is not tried, and does not count.
    function.update_alias(FunctionName=FUNCTION, Name="live", Description="[found faulty: 2]")
    with pytest.raises(AliasError, match="version 2: was found faulty before"):
        Alias(FUNCTION).roll_back("3", doubt)
    assert tried == ["2", "1"]


def test_an_alias_that_was_led_elsewhere_meanwhile_is_left_there(function):
    with pytest.raises(AliasError, match="at version 3 and no longer at version 2"):
        Alias(FUNCTION).roll_back("2", str)
    canary(function)
    with pytest.raises(AliasError, match="50% at version 3 and no longer at version 2"):
        Alias(FUNCTION).roll_back("2", str)
    assert live() == Routing("2", {"3": 0.5})


# --- a canary


def test_what_the_stable_version_answers_is_not_the_new_ones_fault(
    function, routed, right, altered, capsys
):
    canary(function)
    with served(routed(v2=altered, v3=right)) as url:
        status, result, _ = run(capsys, url, "--function", FUNCTION)
    assert status == 1
    assert result.found.differences, "it is reported"
    assert (result.newest, result.trial.same, result.trial.compared) == ("3", True, 4)
    assert not result.rollback
    assert result.back == "nothing is rolled back: version 3, invoked directly, answers as here"
    assert live() == Routing("2", {"3": 0.5})


@pytest.mark.parametrize(
    "wrong",
    [
        *(None, lambda _: failing, credulous),
        answering(415, b'"content-type": "image/jpeg"'),
        answering(500, b'"rawPath": "/models"'),
    ],
    ids=["a weight", "it fails", "all is an image", "no JPEG", "no models"],
)
def test_a_new_version_that_no_call_over_http_has_reached_is_judged(
    wrong, function, invoked, right, altered, capsys
):
    canary(function, weight=0.01)
    invoked(v2=right, v3=wrong(right) if wrong else altered)
    with served(right) as url:
        status, result, _ = run(capsys, url, "--function", FUNCTION)
    assert status == 1
    assert result.found.same
    assert not result.trial.same
    assert result.rollback == "took the canary's weight away"
    assert live() == Routing("2")
    assert noted(function) == "[found faulty: 3]"


def test_a_new_version_that_may_not_be_invoked_is_not_led_away_from(
    function, routed, right, altered, capsys
):
    canary(function)
    with served(routed(v2=altered, v3=not_invoked(right))) as url:
        status, result, _ = run(capsys, url, "--function", FUNCTION)
    assert status == 1
    assert "what it answers is not known" in result.trial.unproven[0]
    assert result.back.endswith("no version is known to be the cause")
    assert live() == Routing("2", {"3": 0.5})


def test_a_version_that_comes_while_others_are_compared_is_judged_by_its_own_answers(
    function, routed, right, altered, capsys
):
    function.update_alias(FunctionName=FUNCTION, Name="live", FunctionVersion="2")

    def last_of_the_old(environ, start):
        answer = altered(environ, start)
        if environ.get("CONTENT_TYPE") == "application/json":
            function.update_alias(FunctionName=FUNCTION, Name="live", FunctionVersion="3")
        return answer

    with served(routed(v1=right, v2=last_of_the_old, v3=right)) as url:
        status, result, _ = run(capsys, url, "--function", FUNCTION)
    assert status == 1
    assert result.found.differences
    assert result.trial.same
    assert live() == Routing("3")


def test_whose_answers_differ_is_reported_in_lines_of_a_terminal(
    function, routed, right, altered, capsys
):
    canary(function)
    with served(routed(v2=right, v3=altered)) as url:
        options = ("--model", str(CLOTHING), "--function", FUNCTION)
        assert smoke.main([url, *options]) == 1
    lines = capsys.readouterr().out.splitlines()
    for who in ("over HTTP", "version 3"):
        assert any(re.match(f"  - {who}: clothing, .*: t-shirt is ", line) for line in lines)
        assert any(
            re.match(rf"  {who} .*difference [\d.]+ \(up to [\d.]+ allowed", x) for x in lines
        )
    assert any(line.startswith("  version 3 ") and "DIFFERENT" in line for line in lines)
    assert max(map(len, lines)) <= 100


# --- where nothing moves


def test_a_first_version_has_none_before_it_and_that_is_said_aloud(function):
    function.update_alias(FunctionName=FUNCTION, Name="live", FunctionVersion="1")
    for version in ("2", "3"):
        function.delete_function(FunctionName=FUNCTION, Qualifier=version)
    with pytest.raises(AliasError, match="there is none"):
        Alias(FUNCTION).roll_back("1", str)
    assert live() == Routing("1")


@pytest.mark.parametrize(
    ("left_at", "denied"),
    [("2", False), ("2", True), ("3", False)],
    ids=["led back", "no note", "done before its stop"],
)
@pytest.mark.parametrize("name", [FUNCTION, f"{ARN}:live"])
def test_a_canary_is_stopped_by_codedeploy(name, left_at, denied, function, aws, monkeypatch):
    """moto has no deployments: botocore's Stubber holds their answers to AWS's description."""
    canary(function)
    alias, client = Alias(name), aws("codedeploy")
    monkeypatch.setattr("keras_to_lambda.deploy.rollout.alias.CODEDEPLOY_S", 0)
    monkeypatch.setattr(
        alias._session, "client", lambda name: client if name == "codedeploy" else function
    )

    def lead_back(**_):
        function.update_alias(
            FunctionName=FUNCTION,
            Name="live",
            FunctionVersion=left_at,
            RoutingConfig={"AdditionalVersionWeights": {}},
        )

    def deny(**_):
        error = {"Error": {"Code": "AccessDeniedException", "Message": "no"}}
        raise ClientError(error, "UpdateAlias")

    client.meta.events.register("before-parameter-build.codedeploy.StopDeployment", lead_back)
    with Stubber(client) as stub:
        stub.add_response("list_deployments", {"deployments": ["SOON", "EMPTY", "OTHER", "OURS"]})
        stub.add_client_error("list_deployment_targets", "DeploymentNotStartedException")
        stub.add_response("list_deployment_targets", {"targetIds": []})
        for deployment, each in (("OTHER", "another"), ("OURS", FUNCTION)):
            info = {"functionName": each, "functionAlias": "live"}
            target = {"lambdaTarget": {"lambdaFunctionInfo": info}}
            of_it = {"deploymentId": deployment}
            stub.add_response("list_deployment_targets", {"targetIds": ["t"]}, of_it)
            stub.add_response(
                "batch_get_deployment_targets",
                {"deploymentTargets": [target]},
                {**of_it, "targetIds": ["t"]},
            )
        stub.add_response(
            "stop_deployment", {}, {"deploymentId": "OURS", "autoRollbackEnabled": True}
        )
        if left_at == "3":
            with pytest.raises(AliasError, match="is at version 3 after 0 s, not at version 2"):
                alias.roll_back("3", str)
            return
        if denied:
            stopped = "before-parameter-build.codedeploy.StopDeployment"
            update = "before-parameter-build.lambda.UpdateAlias"
            client.meta.events.register_last(
                stopped, lambda **_: function.meta.events.register(update, deny)
            )
        done = alias.roll_back("3", str)
        stub.assert_no_pending_responses()
    assert alias.routing() == Routing("2")
    led_back = "stopped CodeDeploy's OURS, which led all calls back"
    if denied:
        assert done.startswith(f"{led_back}; that version 3 is faulty could not be noted: ")
        assert "AccessDenied" in done
    else:
        assert (done, noted(function)) == (led_back, "[found faulty: 3]")
