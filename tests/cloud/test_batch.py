"""`k2l batch` over the stack's own state machine, and the function in emulators behind it.

A Distributed Map's reading, batches and result files are those of tests.cloud.distributed_map, all
else is the engine's.
"""

from __future__ import annotations

import csv
import gzip
import json
import threading

import boto3
import pyarrow.parquet as pq
import pytest

from keras_to_lambda.deploy.batch import runs
from keras_to_lambda.deploy.batch.batch import main
from keras_to_lambda.deploy.batch.cloud import Cloud
from keras_to_lambda.deploy.batch.ledger import Ledger
from keras_to_lambda.project import DEFAULT_STACK
from tests.cloud.conftest import SAMPLES, until
from tests.cloud.function import THROTTLED, TIMED_OUT


class Batch:
    """`k2l batch` in this process, and its one run."""

    def __init__(self, cloud, capsys, folder, name):
        self.cloud, self._capsys, self._folder, self.name = cloud, capsys, folder, name
        self.prefix = f"batches/{name}/"

    def __call__(self, *arguments):
        """Exit code, stdout, stderr."""
        code = main([str(each) for each in arguments])
        return code, *self._capsys.readouterr()

    def url(self, key):
        return f"s3://{self.cloud.bucket}/{key}"

    def put(self, name, body):
        key = self.prefix + name
        self.cloud.s3.put_object(Bucket=self.cloud.bucket, Key=key, Body=body)
        return key

    def photos(self, count):
        return self.cloud.photos(count, self.prefix)

    def ended(self, name):
        """How an execution has ended."""
        arn = self.cloud.outputs["StateMachine"].replace(":stateMachine:", ":execution:")

        def found():
            now = self.cloud.states.describe_execution(executionArn=f"{arn}:{name}")
            return None if now["status"] == "RUNNING" else now["status"]

        return until(found, f"the end of {name}")

    def run(self, source, *arguments):
        """Start it and wait for it."""
        code, _, err = self("start", source, "--name", self.name, "--items", 20, *arguments)
        assert code == 0, err
        return self.ended(self.name)

    def resumed(self, part=2):
        code, out, err = self("resume", self.name)
        assert code == 0, err
        assert f"{self.name}.{part} asks for" in out
        return self.ended(f"{self.name}.{part}")

    def ledger(self, code=0):
        """The summary and rows; what holds of every ledger is asserted."""
        output = self._folder / "ledger.csv"
        got, _, err = self("results", self.name, "-o", output)
        assert got == code, err
        deployed = Cloud.of_stack(DEFAULT_STACK, boto3.Session())
        with Ledger() as ledger:
            for _ in runs.read(deployed, runs.load(deployed, self.name), ledger):
                pass
            summary = ledger.summary()
        with output.open(newline="") as file:
            rows = list(csv.DictReader(file))
        total = summary.inputs + summary.unlisted
        assert len(rows) == len({row["image"] for row in rows}) == total
        answered, refused, again = (
            sum(counts.values()) for counts in (summary.answered, summary.refused, summary.again)
        )
        assert answered == sum(row["label"] != "" for row in rows)
        assert answered + refused + again + summary.missing == total
        assert sum(row["retry"] == "true" for row in rows) == again + summary.missing
        for row in rows:
            if row["label"]:
                assert row["image"].rpartition("/")[2].startswith(row["label"])
        return {**summary._asdict(), "answered": answered}, rows


@pytest.fixture
def batch(cloud, capsys, tmp_path, request):
    name = request.node.name.removeprefix("test_").translate({ord("["): "-", ord("]"): ""})
    return Batch(cloud, capsys, tmp_path, name[:60])


def holds(key):
    return lambda event: any(key in str(item) for item in event["Items"])


def test_two_hundred_images_with_poison_kills_throttles_a_time_out_and_duplicates(cloud, batch):
    keys = batch.photos(197)
    broken = [batch.put("broken.jpg", b"no photo at all")]
    broken.append(batch.put("cut.jpg", SAMPLES[0].read_bytes()[:5000]))
    gone = batch.prefix + "gone.jpg"
    listed = [*keys, *broken, gone, keys[0], keys[50], keys[50]]
    rows = "".join(f"{cloud.bucket},{key}\n" for key in listed)
    source = batch.url(batch.put("list.csv", f"Bucket,Key\n{rows}".encode()))
    poison, slow = holds(keys[100]), holds(keys[150])
    cloud.function.faults += [
        lambda number, event: poison(event) and "kill",
        lambda number, event: slow(event) and len(event["Items"]) > 1 and TIMED_OUT,
        lambda number, event: number == 2 and "kill",
        lambda number, event: number in (3, 4, 5) and THROTTLED,
    ]
    assert batch.run(source, "--concurrency", 4) == "SUCCEEDED"
    # In its batch, alone, and alone once more; and a machine that died under another batch.
    assert cloud.function.kills >= 4
    summary, rows = batch.ledger()
    assert (summary["inputs"], summary["duplicates"], summary["missing"]) == (200, 3, 0)
    assert summary["answered"] == 196
    assert sum(summary["refused"].values()) == 3
    assert summary["again"] == {"function_failed": 1}
    # The poison was the machine's, not the image's: with another try it has an answer.
    cloud.function.faults.clear()
    assert batch.resumed() == "SUCCEEDED"
    summary, rows = batch.ledger()
    assert (summary["inputs"], summary["answered"], summary["again"]) == (200, 197, {})
    assert [row["run"] for row in rows].count(f"{batch.name}.2") == 1
    code, out, _ = batch("resume", batch.name)
    assert (code, "nothing to do" in out) == (0, True)


def test_a_prefix_is_listed_and_its_folders_are_left_out(batch):
    batch.photos(45)
    batch.put("", b"")
    batch.put("sub/", b"")
    assert batch.run(batch.url(batch.prefix)) == "SUCCEEDED"
    summary, _ = batch.ledger()
    assert (summary["inputs"], summary["answered"]) == (45, 45)
    out = batch("status", batch.name, "--watch")[1]
    assert "47 of 47 images (100%)" in out
    assert out.splitlines()[-1].endswith(f" k2l batch results {batch.name}")


def test_an_inventory_whose_keys_are_url_encoded(cloud, batch):
    """Whether Step Functions decodes them is not documented; where it does not, `resume` does."""
    keys = batch.photos(6)  # "dress 0000.jpg": with a space
    rows = "".join(f'"{cloud.bucket}","{key.replace(" ", "%20")}","1"\n' for key in keys)
    packed = batch.put("inventory/1.csv.gz", gzip.compress(rows.encode()))
    manifest = {
        "sourceBucket": cloud.bucket,
        "destinationBucket": f"arn:aws:s3:::{cloud.bucket}",
        "fileFormat": "CSV",
        "fileSchema": "Bucket, Key, Size",
        "files": [{"key": packed}],
    }
    listed = batch.put("inventory/manifest.json", json.dumps(manifest).encode())
    assert batch.run(batch.url(listed)) == "SUCCEEDED"
    assert sum(batch.ledger()[0]["again"].values()) == 6
    assert batch.resumed() == "SUCCEEDED"
    assert batch.ledger()[0]["answered"] == 6


def test_an_input_of_an_unknown_kind_fails(cloud):
    machine = cloud.outputs["StateMachine"]
    started = cloud.states.start_execution(
        stateMachineArn=machine, input='{"input": {"kind": "tarball"}}'
    )

    def found():
        now = cloud.states.describe_execution(executionArn=started["executionArn"])
        return None if now["status"] == "RUNNING" else now

    now = until(found, "its end")
    assert (now["status"], now["error"]) == ("FAILED", "UnknownKind")


def test_a_run_that_failed_is_taken_up_by_a_list(cloud, batch):
    batch.photos(60)
    cloud.function.faults.append(lambda number, event: number > 2 and THROTTLED)
    assert batch.run(batch.url(batch.prefix), "--concurrency", 2) == "FAILED"
    code, out, _ = batch("status", batch.name)
    assert (code, "ExceedToleratedFailureThreshold" in out) == (1, True)
    assert f"resume {batch.name}" in out
    # The call that was throttled was made eleven times, and no image of its batch alone.
    assert cloud.function.calls == 2 + 11
    summary, _ = batch.ledger(code=1)
    assert (summary["inputs"], summary["missing"]) == (60, 20)
    cloud.function.faults.clear()
    assert batch.resumed() == "SUCCEEDED"
    assert batch.ledger()[0]["answered"] == 60


def test_a_run_that_was_stopped_is_taken_up_by_a_list(cloud, batch):
    batch.photos(60)
    arn = cloud.outputs["StateMachine"].replace(":stateMachine:", ":execution:")

    def stop(number, _event):
        if number == 2:
            cloud.states.stop_execution(executionArn=f"{arn}:{batch.name}")

    cloud.function.faults.append(stop)
    assert batch.run(batch.url(batch.prefix), "--concurrency", 1) == "ABORTED"
    assert batch.ledger(code=1)[0]["missing"] >= 20
    assert batch.resumed() == "SUCCEEDED"
    assert batch.ledger()[0]["answered"] == 60


def test_a_run_that_is_running_has_no_results_yet(cloud, batch, tmp_path):
    batch.photos(3)
    opened = threading.Event()
    cloud.function.faults.append(lambda number, event: not opened.wait(60))
    output = tmp_path / "out.csv"
    assert batch("start", batch.url(batch.prefix), "--name", batch.name)[0] == 0
    assert batch("status", batch.name)[0] == 0
    for command in (["results", batch.name, "-o", output], ["resume", batch.name]):
        code, out, err = batch(*command)
        assert (code, out, err.count("\n")) == (1, "", 1)
        assert f"{batch.name} is running" in err
        assert f"status {batch.name} --watch" in err
    assert not output.exists()
    opened.set()
    assert batch.ended(batch.name) == "SUCCEEDED"
    assert batch.ledger()[0]["answered"] == 3


def test_a_model_that_is_not_there_ends_the_run_early_and_its_error_is_named(
    cloud, batch, monkeypatch
):
    batch.photos(60)
    source = batch.url(batch.prefix)
    code, _, err = batch("start", source, "--model", "gone")
    assert (code, err.count("\n")) == (1, 1)
    assert "batch: nothing is started: no such model here" in err
    # As if it had been removed since.
    monkeypatch.setattr(Cloud, "try_options", lambda *_: None)
    cloud.function.reset()
    assert batch.run(source, "--concurrency", 1, "--model", "gone") == "FAILED"
    assert cloud.function.calls == 1  # no image alone, and no other batch
    summary, _ = batch.ledger(code=1)
    assert (summary["inputs"], summary["missing"]) == (60, 60)
    for verb in ("status", "results"):
        code, out, _ = batch(verb, batch.name)
        assert code == 1
        assert "1 failed with ModelNotFound: no such model here" in out
        assert "would fail again" in out.splitlines()[-1]
        assert " resume " not in out
    code, _, err = batch("resume", batch.name)
    assert (code, f"{batch.name} would fail again: no such model here" in err) == (1, True)


def test_both_formats_say_the_same_and_twice(batch, tmp_path):
    batch.photos(6)
    batch.put("broken.jpg", b"?")
    source = batch.url(batch.prefix)
    assert batch.run(source, "--top-k", 2, "--scores", "probabilities") == "SUCCEEDED"
    for kind in ("parquet", "csv"):
        first, second = (tmp_path / f"{name}.{kind}" for name in ("out", "again"))
        assert batch("results", batch.name, "-o", first)[0] == 0
        assert batch("results", batch.name, "-o", second)[0] == 0
        assert first.read_bytes() == second.read_bytes()
    assert len(list(tmp_path.iterdir())) == 4
    parquet = pq.read_table(tmp_path / "out.parquet").to_pylist(maps_as_pydicts="strict")
    assert [row["error_code"] for row in parquet].count("unsupported_format") == 1
    with (tmp_path / "out.csv").open(newline="") as file:
        for row, line in zip(csv.DictReader(file), parquet, strict=True):
            scores = json.loads(row.pop("scores") or "null")
            assert scores == (line["scores"] and pytest.approx(line["scores"]))
            assert (row.pop("score") == "") == (line["score"] is None)
            assert row.pop("retry") == "false"
            assert row == {name: line[name] or "" for name in row}


def test_the_ledger_is_reported_before_a_table_that_cannot_be_written(batch):
    batch.photos(2)
    assert batch.run(batch.url(batch.prefix)) == "SUCCEEDED"
    # A folder that exists and takes no files.
    code, out, err = batch("results", batch.name, "-o", "/proc/self/out.csv")
    assert (code, err.count("\n"), "/proc/self" in err) == (1, 1, True)
    assert "answered                                    2" in out
    assert "rows" not in out


def test_runs_in_an_earlier_bucket_of_the_stack_are_found_by_its_name(cloud, batch):
    cloud.s3.create_bucket(Bucket="earlier")
    batch.photos(2)
    where = ("--bucket", "earlier")
    assert batch.run(batch.url(batch.prefix), *where) == "SUCCEEDED"
    assert f"there is no run {batch.name} in s3://" in batch("status", batch.name)[2]
    code, out, _ = batch("status", batch.name, *where)
    shown = f"next: k2l batch results {batch.name} --bucket earlier"
    assert (code, out.splitlines()[-1]) == (0, shown)
    assert batch("results", batch.name, *where)[0] == 0


def test_the_same_start_again_is_the_same_run(cloud, batch):
    batch.photos(3)
    source = batch.url(batch.prefix)
    assert batch.run(source) == "SUCCEEDED"
    assert batch.run(source) == "SUCCEEDED"
    assert cloud.function.calls == 1
    code, _, err = batch("start", source, "--name", batch.name, "--top-k", 3)
    assert (code, "other options" in err) == (1, True)


def test_what_came_after_the_start_is_not_missing(cloud, batch):
    batch.photos(10)
    assert batch.run(batch.url(batch.prefix)) == "SUCCEEDED"
    key = f"runs/{batch.name}/run.json"
    run = json.loads(cloud.s3.get_object(Bucket=cloud.bucket, Key=key)["Body"].read())
    run["parts"][0]["started"] = "2020-01-01T00:00:00+00:00"
    cloud.s3.put_object(Bucket=cloud.bucket, Key=key, Body=json.dumps(run))
    cloud.photos(20, f"{batch.prefix}later-")
    summary, _ = batch.ledger()
    # The ten that were answered look as if they had been changed since.
    assert (summary["inputs"], summary["unlisted"], summary["missing"]) == (0, 10, 0)


def test_results_of_which_a_file_is_gone_are_missed(cloud, batch):
    batch.photos(10)
    assert batch.run(batch.url(batch.prefix)) == "SUCCEEDED"
    prefix = f"runs/{batch.name}/part-1/"
    for each in cloud.s3.list_objects_v2(Bucket=cloud.bucket, Prefix=prefix)["Contents"]:
        cloud.s3.delete_object(Bucket=cloud.bucket, Key=each["Key"])
    summary, rows = batch.ledger(code=1)
    assert summary["missing"] == 10
    assert {row["error_code"] for row in rows} == {"missing"}


def test_an_answer_to_what_is_not_in_the_input_is_seen(cloud, batch, tmp_path):
    keys = batch.photos(4)
    lines = [json.dumps({"url": batch.url(key)}) for key in keys]
    listed = batch.put("list.jsonl", "\n".join(lines).encode())
    assert batch.run(batch.url(listed)) == "SUCCEEDED"
    assert batch.ledger()[0]["unlisted"] == 0
    assert "not in the input" not in batch("results", batch.name)[1]

    # As if the first had been listed by a name that Step Functions reads as another.
    lines[0] = json.dumps({"url": batch.url(keys[0].replace(" ", "+"))})
    batch.put("list.jsonl", "\n".join(lines).encode())
    summary, rows = batch.ledger(code=1)
    assert (summary["inputs"], summary["answered"], summary["missing"]) == (4, 4, 1)
    assert (summary["unlisted"], len(rows)) == (1, 5)
    output = tmp_path / "out.csv"
    shown = batch("results", batch.name, "-o", output)[1]
    assert "answers to what is not in the input         1\n" in shown
    assert f"{output}: 5 rows" in shown
