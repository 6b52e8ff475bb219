"""deploy/bulk.asl.json: its parts in moto's interpreter, with the real function in emulators.

What moto has no interpreter for (ItemReader's JSONL and manifests, ItemBatcher, ResultWriter) is
checked here by the definition's text alone, and stood in for in map_runs.py.
"""

from __future__ import annotations

import json
import re
import subprocess
import time

import pytest

from keras_to_lambda.deploy.emulator import PREFLIGHT, ROOT
from tests.cloud.function import EXITED, THROTTLED, TIMED_OUT
from tests.deploy.aws import FUNCTION
from tests.deploy.map_runs import child, definition

MAPS = {"prefix": "Prefix", "csv": "Csv", "jsonl": "JsonLines", "manifest": "Inventory"}
ROLE = "arn:aws:iam::123456789012:role/states"


def run(aws, machine, given):
    """One execution in moto's interpreter: its status, and its output or its error."""
    name = f"machine-{time.time_ns()}"
    made = aws.states.create_state_machine(name=name, definition=json.dumps(machine), roleArn=ROLE)
    started = aws.states.start_execution(
        stateMachineArn=made["stateMachineArn"], input=json.dumps(given)
    )
    while True:
        now = aws.states.describe_execution(executionArn=started["executionArn"])
        if now["status"] != "RUNNING":
            return now["status"], json.loads(now["output"]) if "output" in now else now["error"]
        time.sleep(0.02)


@pytest.fixture
def classify(aws):
    """Run the child workflow over keys of the bucket `photos`."""

    def classify(keys, **options):
        common = {"Bucket": "photos", "top_k": 1, "scores": None, "model": None, **options}
        batch = {"Items": [{"Key": key} for key in keys], "BatchInput": common}
        return run(aws, child(definition(FUNCTION)["States"]["Prefix"]), batch)

    return classify


def accounted(output, keys):
    """Each key has one line, in its place."""
    lines = output["answers"]
    assert len(lines) == len(keys)
    for line, key in zip(lines, keys, strict=True):
        assert line.get("image") == f"s3://photos/{key}" or line["item"]["Key"] == key
        assert ("scores" in line) != ("error" in line)
    return lines


def holds(key):
    """Whether an event has an image of this key."""
    return lambda event: any(item["Key"] == key for item in event["Items"])


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


def test_each_kind_is_read_as_step_functions_documents_it():
    readers = [definition()["States"][name]["ItemReader"] for name in MAPS.values()]
    actions = [reader["Resource"].rpartition(":")[2] for reader in readers]
    assert actions == ["listObjectsV2", "getObject", "getObject", "getObject"]
    assert [reader.get("ReaderConfig") for reader in readers] == [
        None,
        {"InputType": "CSV", "CSVHeaderLocation": "FIRST_ROW"},
        {"InputType": "JSONL"},
        {"InputType": "MANIFEST"},
    ]


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


@pytest.mark.parametrize("kind", [*MAPS, "tarball"])
def test_an_input_goes_to_the_map_of_its_kind(aws, kind):
    machine = definition(FUNCTION)
    for name in MAPS.values():
        machine["States"][name] = {"Type": "Pass", "Result": {"map": name}, "End": True}
    printed = run(aws, machine, {"input": {"kind": kind}})
    assert printed == (
        ("SUCCEEDED", {"map": MAPS[kind]}) if kind in MAPS else ("FAILED", "UnknownKind")
    )


def test_a_batch_is_one_call_and_one_line_an_image(aws, classify):
    keys = aws.photos(30)
    status, output = classify(keys)
    assert status == "SUCCEEDED"
    lines = accounted(output, keys)
    assert all(next(iter(line["scores"])) in line["image"] for line in lines)
    assert aws.function.calls == 1


def test_a_damaged_image_is_a_line_and_costs_no_other_call(aws, classify):
    keys = aws.photos(5)
    aws.s3.put_object(Bucket="photos", Key=keys[2], Body=b"\xff\xd8\xff\xe0 no photo")
    lines = accounted(classify(keys)[1], keys)
    assert ["scores" in line for line in lines] == [True, True, False, True, True]
    assert aws.function.calls == 1


def test_a_throttled_call_is_made_again(aws, classify):
    keys = aws.photos(3)
    aws.function.faults.append(lambda number, event: number <= 3 and THROTTLED)
    status, output = classify(keys)
    assert status == "SUCCEEDED"
    assert all("scores" in line for line in accounted(output, keys))
    assert aws.function.calls == 4


def test_throttles_without_end_fail_the_batch_and_are_not_multiplied(aws, classify):
    aws.function.faults.append(lambda number, event: THROTTLED)
    assert classify(aws.photos(3)) == ("FAILED", "Lambda.TooManyRequestsException")
    assert aws.function.calls == 11  # and not three images' eleven more


@pytest.mark.parametrize(
    ("option", "error"), [({"top_k": -1}, "InvalidRequest"), ({"model": "gone"}, "ModelNotFound")]
)
def test_wrong_options_fail_the_batch_at_once(aws, classify, option, error):
    assert classify(aws.photos(3), **option) == ("FAILED", error)
    assert aws.function.calls == 1


def test_a_kill_comes_before_the_quickest_answer(aws):
    event = json.dumps(PREFLIGHT).encode()
    assert aws.function.invoke(event).error == ""
    aws.function.faults.append(lambda number, event: "kill")
    assert [aws.function.invoke(event) for _ in range(3)] == [EXITED] * 3
    # What was killed is replaced.
    aws.function.faults.clear()
    assert [aws.function.invoke(event).error for _ in range(4)] == [""] * 4


def test_an_image_that_kills_the_function_takes_no_other_with_it(aws, classify):
    keys = aws.photos(8)
    poison = holds(keys[3])
    aws.function.faults.append(lambda number, event: poison(event) and "kill")
    status, output = classify(keys)
    assert status == "SUCCEEDED"
    lines = accounted(output, keys)
    assert ["scores" in line for line in lines] == [n != 3 for n in range(8)]
    assert lines[3] == {
        "item": {"Key": keys[3]},
        "error": {
            "code": "function_failed",
            "message": "the function gave no answer: Runtime.ExitError",
        },
        "retry": True,
    }
    assert aws.function.kills == 3  # in the batch, alone, and once more


def test_a_function_killed_in_the_middle_loses_nothing(aws, classify):
    keys = aws.photos(8)
    aws.function.faults.append(lambda number, event: number in (1, 4) and "kill")
    status, output = classify(keys)
    assert status == "SUCCEEDED"
    assert all("scores" in line for line in accounted(output, keys))
    assert aws.function.kills == 2


def test_a_batch_that_times_out_is_done_one_by_one(aws, classify):
    keys = aws.photos(4)
    aws.function.faults.append(lambda number, event: len(event["Items"]) > 1 and TIMED_OUT)
    lines = accounted(classify(keys)[1], keys)
    assert all("scores" in line for line in lines)
    assert aws.function.calls == 5
