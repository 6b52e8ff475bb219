"""deploy/bulk.asl.json by its text alone; tests/cloud runs it."""

from __future__ import annotations

import json
import re
import subprocess

from keras_to_lambda.deploy.emulator import ROOT

MAPS = {"prefix": "Prefix", "csv": "Csv", "jsonl": "JsonLines", "manifest": "Inventory"}
ROLE = "arn:aws:iam::123456789012:role/states"
FUNCTION = "arn:aws:lambda:us-east-1:123456789012:function:f:live"


def definition():
    """With its substitution made."""
    text = (ROOT / "deploy" / "bulk.asl.json").read_text("utf-8")
    return json.loads(text.replace("${FunctionArn}", FUNCTION))


def test_the_linter_finds_nothing(tmp_path):
    properties = {"RoleArn": ROLE, "Definition": definition()}
    machine = {"Type": "AWS::StepFunctions::StateMachine", "Properties": properties}
    template = tmp_path / "template.json"
    template.write_text(json.dumps({"Resources": {"Bulk": machine}}))
    lint = [ROOT / ".venv-aws" / "bin" / "cfn-lint", "--include-checks", "I", "--", template]
    done = subprocess.run(lint, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr


def names(states):
    """Every state's, at any depth."""
    for name, state in states.items():
        yield name
        yield from names(state.get("ItemProcessor", {}).get("States", {}))


def test_no_name_of_a_state_is_there_twice():
    """https://states-language.net/spec.html#states-fields: unique within the whole machine."""
    found = list(names(definition()["States"]))
    assert len(found) == 6 + 4 * 5
    assert len(set(found)) == len(found)


def test_the_four_maps_differ_only_in_what_they_read():
    states = definition()["States"]
    rest = []
    for name in MAPS.values():
        state = {k: v for k, v in states[name].items() if k not in ("Label", "ItemReader")}
        # States are called by what they do and the map that they are in.
        rest.append(json.loads(re.sub(rf'(\w){name}"', r'\1"', json.dumps(state))))
    assert all(each == rest[0] for each in rest)
    assert {states[name]["Label"] for name in MAPS.values()} == set(MAPS.values())


def test_a_batch_ends_within_the_five_minutes_of_an_express_workflow():
    """https://docs.aws.amazon.com/step-functions/latest/dg/choosing-workflow-type.html."""

    def waits(retrier):
        waits = [
            retrier["IntervalSeconds"] * retrier["BackoffRate"] ** n
            for n in range(retrier["MaxAttempts"])
        ]
        return sum(min(wait, retrier.get("MaxDelaySeconds", wait)) for wait in waits)

    states = definition()["States"]["Prefix"]["ItemProcessor"]["States"]
    throttled = states["ClassifyPrefix"]["Retry"][0]
    assert throttled["ErrorEquals"] == ["Lambda.TooManyRequestsException"]
    # Throttled all the time and then, in vain, a call that takes as long as it may.
    assert waits(throttled) + states["ClassifyPrefix"]["TimeoutSeconds"] < 300
