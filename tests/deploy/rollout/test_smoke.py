"""smoke: a deployed stack's answers beside those of the files here."""

from __future__ import annotations

import re
import shutil

import pytest

from keras_to_lambda.deploy.rollout import endpoint_comparison, smoke
from keras_to_lambda.deploy.rollout.alias import Routing
from tests import aws_signature
from tests.deploy.rollout.versions import (
    ARN,
    FUNCTION,
    NO_IMAGE,
    REGION,
    ROOT,
    failing,
    fixed,
    forbidding,
    live,
    missing,
    played,
    relabelled,
    run,
    texts,
)
from tests.http_host import wsgi as served


def test_the_same_model_answers_the_same(right, capsys):
    with served(right) as url:
        status, result, _ = run(capsys, url)
        assert (status, result.same) == (0, True)
        assert (result.found.compared, result.found.largest) == (4, 0)
        calls = result.facts["warm calls"]
        assert re.match(r"3: p50 [\d.]+ ms, p95 .* of that the function", calls)
        assert result.found.facts["non-image"] == "415 unsupported_format"
        # A model that is here and not deployed is no fault.
        assert run(capsys, url, "--model", str(ROOT / "models"))[0] == 0


def test_a_weight_that_differs_is_seen_although_the_card_says_the_same(altered, capsys):
    with served(altered) as url:
        status, result, _ = run(capsys, url)
    assert status == 1
    assert not result.found.faults, "the hash in the card is the right one's"
    assert {row.label for row in result.found.differences} == {"t-shirt"}
    assert len(result.found.differences) == 4
    first = result.found.differences[0]
    assert first.remote - first.local == pytest.approx(0.01, abs=1e-4)


def test_samples_of_one_name_in_two_folders_are_two(tmp_path):
    for label in ("dress", "pants"):
        (tmp_path / label).mkdir()
        shutil.copy(ROOT / "samples" / f"{label}.jpg", tmp_path / label / "1.jpg")
    names = [sample.name for sample in endpoint_comparison.read_samples(tmp_path)]
    assert names == ["dress/1.jpg", "pants/1.jpg"]
    [only] = endpoint_comparison.read_samples(tmp_path / "dress" / "1.jpg")
    assert only.name == "1.jpg"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "cannot be reached"),
        (["--samples", str(ROOT / "docs" / "images" / "none")], "no image there"),
        (["--model", "none.tflite"], "none.tflite"),
        (["--function", "other"], "other:live"),
        (["--function", f"{FUNCTION}:staging"], ":staging': use a name or an ARN"),
        (["--function", f"{ARN}:3"], ":3': use a name or an ARN"),
        (["--function", "https://x"], "invalid function 'https://x'"),
        (["--profile", "none"], "The config profile (none) could not be found"),
    ],
)
def test_nothing_is_led_back_where_nothing_was_compared(options, said, function, capsys):
    function_first = ("--function", FUNCTION, *options)
    status, result, err = run(capsys, "http://127.0.0.1:1/predict", *function_first)
    assert (status, result) == (2, None)
    assert said in err.splitlines()[-1]
    assert live() == Routing("3")


def test_another_model_than_here_is_not_judged_where_it_comes_from_s3(
    function, routed, right, capsys
):
    variables = {"MODEL_PATH": "s3://models/v2.tflite"}
    function.update_function_configuration(
        FunctionName=FUNCTION, Environment={"Variables": variables}
    )
    assert function.publish_version(FunctionName=FUNCTION)["Version"] == "4"
    function.update_alias(FunctionName=FUNCTION, Name="live", FunctionVersion="4")
    with served(routed(v4=relabelled(right), v3=right)) as url:
        assert smoke.main([url, "--function", FUNCTION]) == 2
    out, err = capsys.readouterr()
    assert not out
    assert err.splitlines()[-1].endswith(
        "version 4 of classifier serves MODEL_PATH=s3://models/v2.tflite, which is not in models/: "
        "compare with that file, --model FILE.tflite"
    )
    assert live() == Routing("4")


def test_a_url_that_is_not_ours_is_answered_with_that(function, capsys):
    with served(missing) as url:
        status, _, err = run(capsys, url, "--function", FUNCTION)
    assert status == 2
    assert "is this the URL of .../predict?" in err
    assert live() == Routing("3")


def test_a_profile_is_for_the_signature_and_for_the_alias(
    right, function, capsys, monkeypatch, tmp_path
):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION", "AWS_REGION"):
        monkeypatch.delenv(name)
    keys = "aws_access_key_id = testing\naws_secret_access_key = secret\n"
    (tmp_path / "config").write_text(f"[profile work]\nregion = {REGION}\n{keys}", "utf-8")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    locked = played(right, forbidding, lambda e, body: not aws_signature.valid(e, body))
    with served(locked) as url:
        assert run(capsys, url)[0] == 2
        status, result, _ = run(capsys, url, "--iam", "--function", FUNCTION, "--profile", "work")
    assert status == 0
    assert result.facts["alias"] == f"{FUNCTION}:live, version 3"
    assert result.found.facts["without credentials"] == "403"


def test_a_stack_that_answers_callers_without_credentials_is_reported(
    function, invoked, right, capsys
):
    invoked(v3=right)
    with served(right) as url:
        status, result, _ = run(capsys, url, "--api-key", "key", "--function", FUNCTION)
    assert status == 1
    [said] = texts(result.found)
    assert re.fullmatch("a call without credentials is answered with 4.*, not refused", said)
    assert live() == Routing("3")


def test_waiting_for_the_first_answer_is_said_once(right, capsys, monkeypatch):
    monkeypatch.setattr(endpoint_comparison, "WAIT_S", 1)
    starting = iter([True, True])
    with served(played(right, failing, lambda *_: next(starting, False))) as url:
        status, _, err = run(capsys, url)
    assert (status, err.count("smoke: waiting up to 1 s for http://")) == (0, 1)


# --- what no version causes is no reason to go back either


# A gateway's own answer to a photo, or to a non-image.
GATEWAYS = {
    "throttles": (failing, "502"),
    # As template.yaml has a REST API word it.
    "an error like the function's": (
        fixed("500 Internal Server Error", b'{"error": {"code": "INTEGRATION_FAILURE"}}'),
        "500 INTEGRATION_FAILURE, not 415",
    ),
    # Without BinaryMediaTypes: a right function reports the gateway's fault as its own error.
    "bodies as text": (
        fixed("400 Bad Request", b'{"error": {"code": "invalid_request", "message": "list it"}}'),
        "400 invalid_request, not 415",
    ),
}


@pytest.mark.parametrize("fault", GATEWAYS)
def test_a_fault_of_the_gateway_before_a_right_version_moves_nothing(
    function, invoked, right, capsys, fault
):
    instead, said = GATEWAYS[fault]
    invoked(v3=right)

    def when(environ, body):
        return body == NO_IMAGE or (instead is failing and environ["REQUEST_METHOD"] == "POST")

    with served(played(right, instead, when)) as url:
        status, result, _ = run(capsys, url, "--function", FUNCTION)
    assert status == 1
    assert said in texts(result.found)[0]
    assert result.trial.same
    assert result.back == "nothing is rolled back: version 3, invoked directly, answers as here"
    assert live() == Routing("3")


def test_a_model_that_is_not_here_moves_no_version(function, invoked, another, capsys):
    invoked(v3=another)
    with served(another) as url:
        status, result, _ = run(capsys, url, "--function", FUNCTION)
    assert status == 1
    assert texts(result.found) == ["model digits is deployed, and not here: see --model"]
    assert result.back.startswith("nothing is rolled back")
    assert live() == Routing("3")
