"""What LocalStack's Step Functions lacks of a Distributed Map, put into it as it runs.

Its grammar refuses ItemBatcher, WriterConfig, EXPRESS and the input types JSONL and MANIFEST; it
reads one page of a bucket's list, tolerates no failures, and writes manifests without results.
Those are done here as AWS documents them. The rest is LocalStack's: paths, Choice, workers, Retry,
Catch, Fail, the inline Map, CSV, and the API of executions and Map Runs. There is no redrive.

https://docs.aws.amazon.com/step-functions/latest/dg/state-map-distributed.html
"""

from __future__ import annotations

import csv
import gzip
import importlib
import io
import itertools
import json
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

ASL = "localstack.services.stepfunctions.asl."
MAP = f"{ASL}component.state.state_execution.state_map."
ERRORS = f"{ASL}component.common.error_name."
PAYLOAD_BYTES = 262_144  # of an input or output
RETRY_S = 0.05  # in place of the definition's seconds
DONE = {"SUCCEEDED": "succeeded", "FAILED": "failed", "ABORTED": "aborted", "PENDING": "pending"}
# By a map's name, what its grammar refuses.
unknown: dict[str, dict[str, Any]] = {}


def _of(module: str, name: str) -> Any:
    return getattr(importlib.import_module(module), name)


def complete() -> None:
    """Put it in."""
    parser = _of(f"{ASL}parse.asl_parser", "AmazonStateLanguageParser")
    parse = parser.parse
    parser.parse = staticmethod(lambda definition: parse(known(definition)))

    reader = _of(f"{MAP}item_reader.resource_eval.resource_eval_s3", "ResourceEvalS3")
    reader._handle_list_objects_v2 = staticmethod(list_objects)
    reader._handle_get_object = staticmethod(get_object)

    component = _of(
        f"{MAP}iteration.distributed_iteration_component", "DistributedIterationComponent"
    )
    run = component._map_run
    component._map_run = lambda self, env, eval_input: map_run(self, env, eval_input, run)

    processor = f"{MAP}iteration.itemprocessor."
    worker = _of(f"{processor}distributed_item_processor_worker", "DistributedItemProcessorWorker")
    work = worker._eval_job
    worker._eval_job = lambda self, env, job: child(self, env, job, work)

    record = _of(f"{processor}map_run_record", "MapRunRecord")
    describe = record.describe
    record.describe = lambda self: {**describe(self), **counts(self)}

    retrier = importlib.import_module(f"{ASL}component.common.retry.retrier_decl")
    retrier.time = SimpleNamespace(sleep=lambda seconds: time.sleep(min(seconds, RETRY_S)))


def known(definition: str) -> str:
    """The definition without what the grammar refuses, which is kept in `unknown`."""

    def take(states: dict[str, Any]) -> None:
        for name, state in states.items():
            processor = state.get("ItemProcessor")
            if processor is None:
                continue
            take(processor["States"])
            if processor.get("ProcessorConfig", {}).get("Mode") != "DISTRIBUTED":
                continue
            reading = state["ItemReader"].get("ReaderConfig", {})
            unknown[name] = {
                "batcher": state.pop("ItemBatcher"),
                "writer": state.pop("ResultWriter"),
                "input": reading.get("InputType"),
            }
            processor["ProcessorConfig"]["ExecutionType"] = "STANDARD"
            if reading.get("InputType") in {"JSONL", "MANIFEST"}:
                reading["InputType"] = "JSON"

    try:
        machine = json.loads(definition)
    except ValueError:  # LocalStack's own parser refuses it
        return definition
    take(machine.get("States", {}))
    return json.dumps(machine)


def s3_of(env: Any) -> Any:
    role = _of(f"{ASL}component.state.state_execution.state_task.credentials", "StateCredentials")(
        role_arn=env.aws_execution_details.role_arn
    )
    client_for = _of(f"{ASL}utils.boto_client", "boto_client_for")
    region = env.aws_execution_details.region
    return client_for(service="s3", region=region, state_credentials=role)


def list_objects(env: Any, *_: Any) -> None:
    """All pages; LocalStack reads the first."""
    pages = s3_of(env).get_paginator("list_objects_v2").paginate(**env.stack.pop())
    env.stack.append(
        [
            {
                "Etag": each["ETag"],
                "Key": each["Key"],
                "LastModified": int(each["LastModified"].timestamp()),
                "Size": each["Size"],
                "StorageClass": each["StorageClass"],
            }
            for page in pages
            for each in page.get("Contents", ())
        ]
    )


def get_object(env: Any, *_: Any) -> None:
    """A list; JSON Lines and inventories as the JSON that LocalStack's reader takes."""
    s3, where = s3_of(env), env.stack.pop()
    text = s3.get_object(**where)["Body"].read().decode("utf-8-sig")
    name = env.states.context_object.context_object_data["State"]["Name"]
    match unknown[name]["input"]:
        case "JSONL":
            text = json.dumps([json.loads(line) for line in text.splitlines() if line.strip()])
        case "MANIFEST":
            text = json.dumps(list(inventory(s3, json.loads(text))))
    env.stack.append(text)


def inventory(s3: Any, manifest: dict[str, Any]) -> Iterator[dict[str, str]]:
    """https://docs.aws.amazon.com/AmazonS3/latest/userguide/storage-inventory-location.html"""
    fields = manifest["fileSchema"].split(", ")
    bucket = manifest["destinationBucket"].rpartition(":")[2]
    for file in manifest["files"]:
        packed = s3.get_object(Bucket=bucket, Key=file["key"])["Body"].read()
        rows = csv.reader(io.StringIO(gzip.decompress(packed).decode(), newline=""))
        yield from (dict(zip(fields, row, strict=True)) for row in rows)


def filled(template: dict[str, Any], given: Any) -> dict[str, Any]:
    """A template with its paths put in."""
    return {
        name.removesuffix(".$"): at(value, given) if name.endswith(".$") else value
        for name, value in template.items()
    }


def at(path: str, given: Any) -> Any:
    return _of(f"{ASL}utils.json_path", "extract_json")(path, given)


def map_run(component: Any, env: Any, eval_input: Any, original: Any) -> None:
    """The items in batches; results written; failed where more failed than is tolerated."""
    added, given, record = (
        unknown[eval_input.state_name],
        env.states.get_input(),
        eval_input.map_run_record,
    )
    batcher = added["batcher"]
    common = filled(batcher["BatchInput"], given)
    items = iter(env.stack.pop())
    size = at(batcher["MaxItemsPerBatchPath"], given)
    batches = []
    while some := list(itertools.islice(items, size)):
        batches.append({"BatchInput": common, "Items": some})
        assert len(json.dumps(batches[-1])) <= PAYLOAD_BYTES, "States.DataLimitExceeded"
    record.children = [{"Status": "PENDING", "Input": batch} for batch in batches]
    env.stack.append(batches)
    original(component, env, eval_input)
    env.stack.pop()
    env.stack.append(write(s3_of(env), record, filled(added["writer"]["Parameters"], given)))
    if exceeded(record):
        raise failed(env, "StatesExceedToleratedFailureThreshold")


def exceeded(record: Any) -> bool:
    items = counts(record)["itemCounts"]
    return bool(items["failed"] * 100 > (record.tolerated_failure_percentage or 0) * items["total"])


def failed(env: Any, kind: str) -> Exception:
    """An error of the whole run."""
    name = _of(f"{ERRORS}states_error_name", "StatesErrorName")(
        typ=_of(f"{ERRORS}states_error_name_type", "StatesErrorNameType")[kind]
    )
    api = importlib.import_module("localstack.aws.api.stepfunctions")
    details = _of(f"{ASL}eval.event.event_detail", "EventDetails")(
        mapRunFailedEventDetails=api.MapRunFailedEventDetails(
            error=name.error_name,
            cause="The specified tolerated failure threshold was exceeded",
        )
    )
    errors = importlib.import_module(f"{ERRORS}failure_event")
    event = errors.FailureEvent(
        env=env,
        error_name=name,
        event_type=api.HistoryEventType.MapRunFailed,
        event_details=details,
    )
    error: Exception = errors.FailureEventException(failure_event=event)
    return error


def child(worker: Any, env: Any, job: Any, original: Any) -> None:
    """One batch; none begins where more has failed than is tolerated, or the run was stopped."""
    record = worker._map_run_record
    one = record.children[job.job_index]
    if exceeded(record) or worker.stopped():
        return
    one.update(Status="RUNNING", StartDate=now())
    original(worker, env=env, job=job)
    states = importlib.import_module(f"{ASL}eval.program_state")
    match env.program_state():
        case states.ProgramError(error=error):
            one.update(Status="FAILED", Error=error.get("error"), Cause=error.get("cause"))
        case states.ProgramStopped():
            one["Status"] = "ABORTED"
        case _:
            one.update(Status="SUCCEEDED", Output=json.dumps(job.job_output))
            assert len(one["Output"]) <= PAYLOAD_BYTES, "States.DataLimitExceeded"
    one["StopDate"] = now()


def counts(record: Any) -> dict[str, dict[str, int]]:
    """DescribeMapRun's, from the children."""
    names = (*DONE.values(), "running", "timedOut", "total", "resultsWritten")
    items, batches = dict.fromkeys(names, 0), dict.fromkeys(names, 0)
    for one in getattr(record, "children", ()):
        status = DONE.get(one["Status"], "running")
        for each, count in ((items, len(one["Input"]["Items"])), (batches, 1)):
            each[status] += count
            each["total"] += count
    return {"itemCounts": items, "executionCounts": batches}


def write(s3: Any, record: Any, where: dict[str, str]) -> dict[str, Any]:
    """https://docs.aws.amazon.com/step-functions/latest/dg/input-output-resultwriter.html"""
    bucket, run = where["Bucket"], record.map_run_arn.rpartition(":")[2]
    folder = f"{where['Prefix'].rstrip('/')}/{run}/"
    files: dict[str, list[dict[str, Any]]] = {}
    for name, statuses in (
        ("SUCCEEDED", {"SUCCEEDED"}),
        ("FAILED", {"FAILED", "ABORTED"}),
        ("PENDING", {"PENDING"}),
    ):
        lines = [
            json.dumps({**one, **described(record, one)}) + "\n"
            for one in record.children
            if one["Status"] in statuses
        ]
        files[name] = []
        if lines:
            body = "".join(lines).encode()
            s3.put_object(Bucket=bucket, Key=f"{folder}{name}_0.jsonl", Body=body)
            files[name].append({"Key": f"{folder}{name}_0.jsonl", "Size": len(body)})
    manifest = {
        "DestinationBucket": bucket,
        "MapRunArn": record.map_run_arn,
        "ResultFiles": files,
    }
    key = f"{folder}manifest.json"
    s3.put_object(Bucket=bucket, Key=key, Body=json.dumps(manifest).encode())
    return {
        "MapRunArn": record.map_run_arn,
        "ResultWriterDetails": {"Bucket": bucket, "Key": key},
    }


def described(record: Any, one: dict[str, Any]) -> dict[str, Any]:
    """What a line of results has besides."""
    name = str(uuid.uuid4())
    machine = record.map_state_machine_arn.replace(":stateMachine:", ":execution:")
    return {
        "ExecutionArn": f"{machine}:{name}",
        "Name": name,
        "Input": json.dumps(one["Input"]),
        "InputDetails": {"Included": True},
        "RedriveCount": 0,
    }


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
