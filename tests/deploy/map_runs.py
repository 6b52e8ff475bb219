"""A stand-in for Step Functions' Distributed Map, which no local engine has.

moto's interpreter (and Step Functions Local) know neither ItemBatcher nor JSONL nor inventories,
list one page of S3, and write empty manifests. So the real deploy/bulk.asl.json is taken apart
here: its reader, batcher, limits and result writer are done below as AWS documents them, and each
child workflow runs in moto's interpreter, with its own Retry, Catch, inline Map and Pass, from the
definition's very text. Only the seconds between retries are shortened.

https://docs.aws.amazon.com/step-functions/latest/dg/state-map-distributed.html
"""

from __future__ import annotations

import csv
import gzip
import io
import itertools
import json
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

DEFINITION = Path(__file__).parents[2] / "deploy" / "bulk.asl.json"
STATUSES = {"SUCCEEDED": "succeeded", "FAILED": "failed", "TIMED_OUT": "timedOut"}


class ServiceError(Exception):
    def __init__(self, code: str, message: str = "") -> None:
        super().__init__(message or code)
        self.code = code


def definition(function: str = "arn:aws:lambda:us-east-1:123456789012:function:f:live") -> Any:
    """deploy/bulk.asl.json with its substitution made."""
    return json.loads(DEFINITION.read_text("utf-8").replace("${FunctionArn}", function))


def child(state: Any) -> Any:
    """A Distributed Map's child workflow as a state machine of its own, in less of a hurry."""
    processor = {k: v for k, v in state["ItemProcessor"].items() if k != "ProcessorConfig"}

    def hasten(value: Any) -> Any:
        if isinstance(value, list):
            return [hasten(each) for each in value]
        if not isinstance(value, dict):
            return value
        short = {"IntervalSeconds": 1, "MaxDelaySeconds": 1, "BackoffRate": 1}
        return {k: min(short.get(k, v), v) if k in short else hasten(v) for k, v in value.items()}

    return hasten(processor)


class MapRuns:
    """The state machine `bulk`: its executions, each of which is one Map Run."""

    def __init__(self, s3: Any, states: Any, function: str) -> None:
        self._s3, self._states = s3, states
        self._definition = definition(function)
        self.executions: dict[str, _Execution] = {}
        kinds = self._definition["States"]["Kind"]["Choices"]
        self._maps = {each["StringEquals"]: each["Next"] for each in kinds}
        first = self._definition["States"][self._maps["prefix"]]
        made = states.create_state_machine(
            name="child",
            definition=json.dumps(child(first)),
            roleArn="arn:aws:iam::123456789012:role/states",
        )
        self._child = made["stateMachineArn"]
        self.arn = self._child.replace("child", "bulk")

    def call(self, action: str, given: dict[str, Any]) -> dict[str, Any] | None:
        """An API call's answer; None if it is moto's."""
        arn = given.get("executionArn", "")
        if action == "StartExecution" and given["stateMachineArn"] == self.arn:
            return self._start(given["name"], given["input"])
        if action == "DescribeMapRun":
            found = [x for x in self.executions.values() if x.map_run == given["mapRunArn"]]
            return found[0].described_map_run()
        if ":bulk:" not in arn:
            return None
        if arn not in self.executions:
            raise ServiceError("ExecutionDoesNotExist", f"Execution Does Not Exist: '{arn}'")
        execution = self.executions[arn]
        if action == "DescribeExecution":
            return execution.described()
        if action == "ListMapRuns":
            return {"mapRuns": [execution.listed()]}
        if action == "StopExecution":
            execution.abort()
            return {"stopDate": time.time()}
        if action == "RedriveExecution":
            return execution.redrive()
        raise ServiceError("ValidationException", action)

    def _start(self, name: str, given: str) -> dict[str, Any]:
        arn = self.arn.replace(":stateMachine:", ":execution:") + f":{name}"
        known = self.executions.get(arn)
        if known is None:
            state = self._definition["States"][self._maps[json.loads(given)["input"]["kind"]]]
            known = self.executions[arn] = _Execution(
                arn, given, state, self._s3, self._states, self._child
            )
        elif known.given != given or known.status != "RUNNING":
            raise ServiceError("ExecutionAlreadyExists", f"Execution Already Exists: '{arn}'")
        return {"executionArn": arn, "startDate": known.began}


class _Execution:
    def __init__(
        self, arn: str, given: str, state: Any, s3: Any, states: Any, child_arn: str
    ) -> None:
        self.arn, self.given, self._state = arn, given, state
        self._s3, self._states, self._child = s3, states, child_arn
        self._input = json.loads(given)
        self.map_run = f"{arn.replace(':execution:', ':mapRun:')}:{uuid.uuid4()}"
        self.status, self.began, self.ended = "RUNNING", time.time(), 0.0
        self.error: str | None = None
        self._children: list[dict[str, Any]] = []
        self._redrives, self._redriven = 0, 0.0
        self.recent = True  # ended within the last 14 days
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def wait(self) -> str:
        self._thread.join(120)
        return self.status

    def abort(self) -> None:
        self._stopping.set()
        self._thread.join(60)

    def redrive(self) -> dict[str, Any]:
        if self.status not in ("FAILED", "ABORTED", "TIMED_OUT"):
            raise ServiceError("ExecutionNotRedrivable", f"{self.status} cannot be redriven")
        self._redrives, self._redriven = self._redrives + 1, time.time()
        self.status, self.error = "RUNNING", None
        self._stopping.clear()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return {"redriveDate": self._redriven}

    def described(self) -> dict[str, Any]:
        """Without a redriveDate, which there is none of where the children are Express."""
        ended = {"stopDate": self.ended, "error": self.error} if self.status != "RUNNING" else {}
        redrivable = self.recent and self.status in ("FAILED", "ABORTED", "TIMED_OUT")
        return {
            "executionArn": self.arn,
            "status": self.status,
            "startDate": self.began,
            "input": self.given,
            "redriveCount": self._redrives,
            "redriveStatus": "REDRIVABLE" if redrivable else "NOT_REDRIVABLE",
            **{k: v for k, v in ended.items() if v},
        }

    def listed(self) -> dict[str, Any]:
        machine = self.arn.replace(":execution:", ":stateMachine:").rpartition(":")[0]
        return {
            "executionArn": self.arn,
            "mapRunArn": self.map_run,
            "stateMachineArn": machine,
            "startDate": self.began,
        }

    def described_map_run(self) -> dict[str, Any]:
        names = (*STATUSES.values(), "pending", "running", "aborted", "total", "resultsWritten")
        items, batches = dict.fromkeys(names, 0), dict.fromkeys(names, 0)
        for each in list(self._children):
            state = STATUSES.get(each["Status"], each["Status"].lower())
            for counts, count in ((items, len(each["items"])), (batches, 1)):
                counts[state] += count
                counts["total"] += count
        return {
            "mapRunArn": self.map_run,
            "executionArn": self.arn,
            "status": self.status,
            "startDate": self.began,
            "redriveCount": self._redrives,
            **({"redriveDate": self._redriven} if self._redrives else {}),
            "maxConcurrency": self._input["batch"]["concurrency"],
            "toleratedFailurePercentage": self._input["batch"]["tolerated_percent"],
            "toleratedFailureCount": 0,
            "itemCounts": items,
            "executionCounts": batches,
        }

    def _run(self) -> None:
        try:
            self._work()
        except Exception as error:  # noqa: BLE001
            self.status, self.error = "FAILED", f"States.Runtime {error!r}"
        self.ended = time.time()

    def _work(self) -> None:
        if not self._children:
            batcher = self._state["ItemBatcher"]
            common = _template(batcher["BatchInput"], self._input)
            size = _path(batcher["MaxItemsPerBatchPath"], self._input)
            items = iter(self._items())
            while some := list(itertools.islice(items, size)):
                given = json.dumps({"BatchInput": common, "Items": some})
                assert len(given) <= 262_144, "States.DataLimitExceeded"
                self._children.append({"Status": "PENDING", "items": some, "Input": given})
        todo = [each for each in self._children if each["Status"] != "SUCCEEDED"]
        for each in todo:
            each["Status"] = "PENDING"
        limit = _path(self._state["ToleratedFailurePercentagePath"], self._input)
        total = sum(len(each["items"]) for each in self._children)

        def failed() -> int:
            bad = ("FAILED", "TIMED_OUT")
            return sum(len(x["items"]) for x in self._children if x["Status"] in bad)

        def work(one: dict[str, Any]) -> None:
            if self._stopping.is_set() or failed() * 100 > limit * total:
                return
            self._one(one)

        with ThreadPoolExecutor(_path(self._state["MaxConcurrencyPath"], self._input)) as pool:
            list(pool.map(work, todo))
        self._write()
        if self._stopping.is_set():
            self.status = "ABORTED"
        elif failed() * 100 > limit * total:
            self.status, self.error = "FAILED", "States.ExceedToleratedFailureThreshold"
        else:
            self.status = "SUCCEEDED"

    def _one(self, one: dict[str, Any]) -> None:
        one.update(Status="RUNNING", Name=str(uuid.uuid4()), StartDate=_now())
        started = self._states.start_execution(
            stateMachineArn=self._child, name=one["Name"], input=one["Input"]
        )
        while True:
            now = self._states.describe_execution(executionArn=started["executionArn"])
            if now["status"] != "RUNNING":
                break
            time.sleep(0.02)
        one.update(
            ExecutionArn=started["executionArn"],
            Status=now["status"],
            StopDate=_now(),
            RedriveCount=self._redrives,
            InputDetails={"Included": True},
        )
        for ours, theirs in (("Output", "output"), ("Error", "error"), ("Cause", "cause")):
            if now.get(theirs):
                one[ours] = now[theirs]
        assert len(one.get("Output", "")) <= 262_144, "States.DataLimitExceeded"

    def _items(self) -> Any:
        reader = self._state["ItemReader"]
        where = _template(reader["Parameters"], self._input)
        if reader["Resource"].endswith(":listObjectsV2"):
            pages = self._s3.get_paginator("list_objects_v2").paginate(**where)
            for page in pages:
                for each in page.get("Contents", ()):
                    yield {
                        "Etag": each["ETag"],
                        "Key": each["Key"],
                        "LastModified": int(each["LastModified"].timestamp()),
                        "Size": each["Size"],
                        "StorageClass": each["StorageClass"],
                    }
            return
        text = self._s3.get_object(**where)["Body"].read().decode()
        match reader["ReaderConfig"]["InputType"]:
            case "CSV":
                yield from csv.DictReader(io.StringIO(text, newline=""))
            case "JSONL":
                yield from map(json.loads, filter(str.strip, text.splitlines()))
            case "MANIFEST":
                manifest = json.loads(text)
                fields = manifest["fileSchema"].split(", ")
                bucket = manifest["destinationBucket"].rpartition(":")[2]
                for file in manifest["files"]:
                    body = self._s3.get_object(Bucket=bucket, Key=file["key"])["Body"].read()
                    rows = csv.reader(io.StringIO(gzip.decompress(body).decode(), newline=""))
                    yield from (dict(zip(fields, row, strict=True)) for row in rows)

    def _write(self) -> None:
        """https://docs.aws.amazon.com/step-functions/latest/dg/input-output-resultwriter.html."""
        writer = self._state["ResultWriter"]
        assert writer["WriterConfig"] == {"Transformation": "NONE", "OutputType": "JSONL"}
        where = _template(writer["Parameters"], self._input)
        bucket = where["Bucket"]
        folder = f"{where['Prefix']}/{self.map_run.rpartition(':')[2]}/"
        if self._redrives:
            folder += f"Redrive-{self._redrives}/"
        files: dict[str, list[Any]] = {}
        for status, counted in (
            ("SUCCEEDED", ("SUCCEEDED",)),
            ("FAILED", ("FAILED", "TIMED_OUT", "ABORTED")),
            ("PENDING", ("PENDING",)),
        ):
            some = [each for each in self._children if each["Status"] in counted]
            files[status] = []
            if some:
                lines = [{k: v for k, v in each.items() if k != "items"} for each in some]
                body = "".join(json.dumps(each) + "\n" for each in lines).encode()
                key = f"{folder}{status}_0.jsonl"
                self._s3.put_object(Bucket=bucket, Key=key, Body=body)
                files[status].append({"Key": key, "Size": len(body)})
        manifest = {
            "DestinationBucket": bucket,
            "MapRunArn": self.map_run,
            "ResultFiles": files,
        }
        body = json.dumps(manifest).encode()
        self._s3.put_object(Bucket=bucket, Key=f"{folder}manifest.json", Body=body)


def _path(path: str, given: Any) -> Any:
    """A reference path such as $.batch.items."""
    for name in path.removeprefix("$.").split("."):
        given = given[name]
    return given


def _template(template: dict[str, Any], given: Any) -> dict[str, Any]:
    return {
        k.removesuffix(".$"): _path(v, given) if k.endswith(".$") else v
        for k, v in template.items()
    }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
