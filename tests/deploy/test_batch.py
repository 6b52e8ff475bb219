"""`k2l batch`: the real command and boto3, S3 at moto, the real function in emulators.

The Distributed Map between them is the stand-in of map_runs.py, its children moto's interpreter.
"""

from __future__ import annotations

import csv
import gzip
import json
import threading

import boto3
import pyarrow.parquet as pq
import pytest

from keras_to_lambda.deploy.batch import image_list
from keras_to_lambda.deploy.batch.cloud import BatchError, Cloud
from keras_to_lambda.deploy.batch.image_list import Images
from tests.cloud.function import THROTTLED


@pytest.fixture
def ran(aws, batch):
    """Start a run and wait for it; its status."""

    def ran(source, *arguments, name="run"):
        code, _, err = batch("start", source, "--name", name, "--items", 20, *arguments)
        assert code == 0, err
        return list(aws.map_runs.executions.values())[-1].wait()

    return ran


@pytest.fixture
def ledger(batch):
    """A run's ledger and its rows; what holds of every ledger is asserted."""

    def ledger(tmp_path, name="run", code=0):
        output = tmp_path / f"{name}.jsonl"
        got, out, err = batch("results", name, "--json", "-o", output)
        assert got == code, err
        summary = json.loads(out)
        rows = [json.loads(line) for line in output.read_text().splitlines()]
        total = summary["inputs"] + summary["unlisted"]
        assert len(rows) == len({row["image"] for row in rows}) == total
        refused, again = (sum(summary[kind].values()) for kind in ("refused", "again"))
        assert summary["answered"] == sum(row["label"] is not None for row in rows)
        assert summary["answered"] + refused + again + summary["missing"] == total
        assert sum(row["retry"] for row in rows) == again + summary["missing"]
        for row in rows:
            if row["label"]:
                assert row["image"].rpartition("/")[2].startswith(row["label"])
        return summary, rows

    return ledger


@pytest.fixture
def held(aws):
    """Keep every call waiting, from a number on, until the event that this gives is set."""
    opened = threading.Event()

    def held(first=1):
        aws.function.faults.append(lambda number, event: number >= first and not opened.wait(60))
        return opened

    yield held
    opened.set()


def poisoned(key):
    return lambda number, event: any(key in str(item) for item in event["Items"]) and "kill"


def test_many_images_with_poison_kills_throttles_and_duplicates(aws, batch, ran, ledger, tmp_path):
    keys = aws.photos(117)
    whole = aws.s3.get_object(Bucket="photos", Key=keys[1])["Body"].read()
    for key, body in ((keys[10], b"no photo at all"), (keys[20], whole[:5000])):
        aws.s3.put_object(Bucket="photos", Key=key, Body=body)
    listed = ["Bucket,Key", *(f"photos,{key}" for key in [*keys, keys[0], keys[30], keys[30]])]
    aws.s3.put_object(Bucket="data", Key="list.csv", Body="\n".join(listed).encode())
    aws.function.faults += [
        poisoned(keys[40]),
        lambda number, event: number in (2, 5) and "kill",
        lambda number, event: number in (3, 4) and THROTTLED,
    ]
    assert ran("s3://data/list.csv", "--concurrency", 4) == "SUCCEEDED"
    assert aws.function.kills >= 3
    summary, rows = ledger(tmp_path)
    assert summary["inputs"] == 117
    assert summary["duplicates"] == 3
    assert sum(summary["refused"].values()) == 2
    assert summary["again"] == {"function_failed": 1}
    assert summary["missing"] == 0
    # The poison was the machine's, not the image's: with another try it has an answer.
    aws.function.faults.clear()
    assert batch("resume", "run")[0] == 0
    assert list(aws.map_runs.executions.values())[-1].wait() == "SUCCEEDED"
    summary, rows = ledger(tmp_path)
    assert (summary["inputs"], summary["answered"], summary["again"]) == (117, 115, {})
    assert [row["run"] for row in rows].count("run.2") == 1
    code, out, _ = batch("resume", "run")
    assert (code, "nothing to do" in out) == (0, True)


def test_a_prefix_is_listed_and_its_folders_are_left_out(aws, ran, ledger, tmp_path):
    aws.photos(45, "in/")
    aws.photos(5, "other/")
    aws.s3.put_object(Bucket="photos", Key="in/", Body=b"")
    aws.s3.put_object(Bucket="photos", Key="in/sub/", Body=b"")
    assert ran("s3://photos/in/") == "SUCCEEDED"
    summary, _ = ledger(tmp_path)
    assert (summary["inputs"], summary["answered"], summary["folders"]) == (45, 45, 2)


def test_what_came_after_the_start_is_not_missing(aws, ran, ledger, tmp_path, monkeypatch):
    aws.photos(10)
    assert ran("s3://photos/in/") == "SUCCEEDED"
    run = json.loads(aws.s3.get_object(Bucket="data", Key="runs/run/run.json")["Body"].read())
    run["parts"][0]["started"] = "2020-01-01T00:00:00+00:00"
    aws.s3.put_object(Bucket="data", Key="runs/run/run.json", Body=json.dumps(run))
    aws.photos(20, "in/later-")
    summary, _ = ledger(tmp_path)
    # The ten that were answered look as if they had been changed since.
    assert (summary["inputs"], summary["unlisted"], summary["missing"]) == (0, 10, 0)


def test_an_inventory_whose_keys_are_url_encoded(aws, batch, ran, ledger, tmp_path):
    """Whether Step Functions decodes them is not documented; where it does not, `resume` does."""
    keys = aws.photos(6)  # "in/dress 0000.jpg": with a space
    rows = "".join(f'"photos","{key.replace(" ", "%20")}","1"\n' for key in keys)
    aws.s3.put_object(Bucket="data", Key="inventory/1.csv.gz", Body=gzip.compress(rows.encode()))
    manifest = {
        "sourceBucket": "photos",
        "destinationBucket": "arn:aws:s3:::data",
        "fileFormat": "CSV",
        "fileSchema": "Bucket, Key, Size",
        "files": [{"key": "inventory/1.csv.gz"}],
    }
    aws.s3.put_object(Bucket="data", Key="inventory/manifest.json", Body=json.dumps(manifest))
    assert ran("s3://data/inventory/manifest.json") == "SUCCEEDED"
    summary, _ = ledger(tmp_path)
    assert (summary["inputs"], summary["again"]) == (6, {"fetch_failed": 6})
    assert batch("resume", "run")[0] == 0
    assert list(aws.map_runs.executions.values())[-1].wait() == "SUCCEEDED"
    assert ledger(tmp_path)[0]["answered"] == 6


def test_a_run_that_failed_is_redriven(aws, batch, ran, ledger, tmp_path):
    aws.photos(60)
    aws.function.faults.append(lambda number, event: number > 2 and THROTTLED)
    assert ran("s3://photos/in/", "--concurrency", 2) == "FAILED"
    code, out, _ = batch("status", "run")
    assert (code, "ExceedToleratedFailureThreshold" in out, "resume run" in out) == (1, True, True)
    summary, _ = ledger(tmp_path, code=1)
    assert summary["inputs"] == 60
    assert summary["missing"] == 20
    aws.function.faults.clear()
    code, out, err = batch("resume", "run")
    assert (code, "goes on with its failed batches" in out) == (0, True), err
    [execution] = aws.map_runs.executions.values()
    assert execution.wait() == "SUCCEEDED"
    assert ledger(tmp_path)[0]["answered"] == 60
    # How many of these were done before the redrive is not known, so that no speed is shown.
    assert json.loads(batch("status", "run", "--json")[1])["a_second"] is None
    assert batch("status", "run")[1].splitlines()[0].endswith("60 of 60 images (100%)")


def test_a_run_that_fails_again_after_its_redrive_is_taken_up_by_a_list(
    aws, batch, ran, ledger, tmp_path
):
    aws.photos(60)
    aws.function.faults.append(lambda number, event: number > 2 and THROTTLED)
    assert ran("s3://photos/in/", "--concurrency", 2) == "FAILED"
    [execution] = aws.map_runs.executions.values()
    assert batch("resume", "run")[0] == 0
    assert execution.wait() == "FAILED"

    aws.function.faults.clear()
    code, out, err = batch("resume", "run")
    assert (code, "run.2 asks for" in out) == (0, True), err
    assert list(aws.map_runs.executions.values())[-1].wait() == "SUCCEEDED"
    assert ledger(tmp_path)[0]["answered"] == 60


def test_a_run_that_was_stopped_and_cannot_be_redriven_is_taken_up_by_a_list(
    aws, batch, ran, ledger, tmp_path
):
    aws.photos(60)
    aws.function.faults.append(
        lambda number, event: number == 2 and aws.front.map_runs.executions[arn]._stopping.set()
    )
    arn = aws.map_runs.arn.replace(":stateMachine:", ":execution:") + ":run"
    assert ran("s3://photos/in/", "--concurrency", 1) == "ABORTED"

    aws.map_runs.executions[arn].recent = False
    assert ledger(tmp_path, code=1)[0]["missing"] == 20
    code, out, _ = batch("resume", "run")
    assert (code, "20 images again" in out) == (0, True)
    assert list(aws.map_runs.executions.values())[-1].wait() == "SUCCEEDED"
    assert ledger(tmp_path)[0]["answered"] == 60


def test_a_run_that_is_running_has_no_results_yet(aws, batch, held, ledger, tmp_path):
    aws.photos(30)
    opened = held()
    output = tmp_path / "out.csv"
    assert batch("start", "s3://photos/in/", "--name", "run")[0] == 0
    [execution] = aws.map_runs.executions.values()
    for status in ("RUNNING", "PENDING_REDRIVE"):
        execution.status = status
        assert batch("status", "run")[0] == 0
        for command in (["results", "run", "-o", output], ["resume", "run"]):
            code, out, err = batch(*command)
            assert (code, out, err.count("\n")) == (1, "", 1)
            assert "run is running" in err
            assert "status run --watch" in err
    assert not output.exists()
    opened.set()
    assert execution.wait() == "SUCCEEDED"
    assert ledger(tmp_path)[0]["answered"] == 30


def test_results_of_which_a_file_is_gone_are_missed(aws, batch, ran, ledger, tmp_path):
    aws.photos(10)
    assert ran("s3://photos/in/") == "SUCCEEDED"
    listed = aws.s3.list_objects_v2(Bucket="data", Prefix="runs/run/part-1/")["Contents"]
    for each in listed:
        aws.s3.delete_object(Bucket="data", Key=each["Key"])
    summary, rows = ledger(tmp_path, code=1)
    assert summary["missing"] == 10
    assert {row["error_code"] for row in rows} == {"missing"}


def test_an_answer_to_what_is_not_in_the_input_is_seen(aws, batch, ran, ledger, tmp_path):
    keys = aws.photos(4)
    lines = [json.dumps({"url": f"s3://photos/{key}"}) for key in keys]
    aws.s3.put_object(Bucket="data", Key="list.jsonl", Body="\n".join(lines).encode())
    assert ran("s3://data/list.jsonl") == "SUCCEEDED"
    assert ledger(tmp_path)[0]["unlisted"] == 0
    assert "not in the input" not in batch("results", "run")[1]

    # As if the first had been listed by a name that Step Functions reads as another.
    lines[0] = json.dumps({"url": f"s3://photos/{keys[0].replace(' ', '+')}"})
    aws.s3.put_object(Bucket="data", Key="list.jsonl", Body="\n".join(lines).encode())
    summary, rows = ledger(tmp_path, code=1)
    assert (summary["inputs"], summary["answered"], summary["missing"]) == (4, 4, 1)
    assert (summary["unlisted"], len(rows)) == (1, 5)
    output = tmp_path / "out.csv"
    printed = batch("results", "run", "-o", output)[1]
    assert "answers to what is not in the input         1\n" in printed
    assert f"{output}: 5 rows" in printed


def test_a_model_that_is_not_there_ends_the_run_early_and_its_error_is_named(
    aws, batch, ran, ledger, tmp_path, monkeypatch
):
    aws.photos(60)
    code, _, err = batch("start", "s3://photos/in/", "--model", "gone")
    assert (code, err.count("\n"), aws.map_runs.executions) == (1, 1, {})
    assert "batch: nothing is started: no such model here" in err
    # As if it had been removed since.
    monkeypatch.setattr(Cloud, "try_options", lambda *_: None)
    calls = aws.function.calls
    assert ran("s3://photos/in/", "--concurrency", 1, "--model", "gone") == "FAILED"
    assert aws.function.calls == calls + 1  # no image alone, and no other batch
    summary, _ = ledger(tmp_path, code=1)
    assert (summary["inputs"], summary["missing"]) == (60, 60)
    for verb in ("status", "results"):
        code, out, _ = batch(verb, "run")
        assert code == 1
        assert "1 failed with ModelNotFound: no such model here" in out
        assert "would fail again" in out.splitlines()[-1]
        assert " resume " not in out
    code, _, err = batch("resume", "run")
    assert (code, "run would fail again: no such model here" in err) == (1, True)
    again = ran("s3://photos/in/", "--model", "clothing", name="again")
    assert (again, ledger(tmp_path, "again")[0]["answered"]) == ("SUCCEEDED", 60)


def test_the_three_formats_have_the_same_rows_and_are_the_same_each_time(aws, batch, ran, tmp_path):
    aws.photos(6)
    aws.s3.put_object(Bucket="photos", Key="in/broken.jpg", Body=b"?")
    assert ran("s3://photos/in/", "--top-k", 2, "--scores", "probabilities") == "SUCCEEDED"
    for kind in ("parquet", "csv", "jsonl"):
        for name in ("out", "again"):
            assert batch("results", "run", "-o", tmp_path / f"{name}.{kind}")[0] == 0
        first, second = (tmp_path / f"{name}.{kind}" for name in ("out", "again"))
        assert first.read_bytes() == second.read_bytes()
    assert len(list(tmp_path.iterdir())) == 6
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    parquet = pq.read_table(tmp_path / "out.parquet").to_pylist(maps_as_pydicts="strict")
    assert parquet == [
        {**line, "score": pytest.approx(line["score"]), "scores": pytest.approx(line["scores"])}
        if line["scores"]
        else line
        for line in lines
    ]
    with (tmp_path / "out.csv").open(newline="") as file:
        for row, line in zip(csv.DictReader(file), lines, strict=True):
            assert json.loads(row["scores"] or "null") == line["scores"]
            assert row["image"] == line["image"]
            assert row["retry"] == "false"
            assert row["error_code"] == (line["error_code"] or "")


def test_the_ledger_is_reported_before_a_table_that_cannot_be_written(aws, batch, ran, tmp_path):
    aws.photos(2)
    assert ran("s3://photos/in/") == "SUCCEEDED"
    output = tmp_path / "out.csv"
    output.mkdir()
    code, out, err = batch("results", "run", "-o", output)
    assert (code, err.count("\n"), "out.csv cannot be written" in err) == (1, 1, True)
    assert "answered                                    2" in out
    assert "rows" not in out


def test_the_same_start_again_is_the_same_run(aws, batch, ran):
    aws.photos(3)
    assert ran("s3://photos/in/") == "SUCCEEDED"
    assert ran("s3://photos/in/") == "SUCCEEDED"
    assert len(aws.map_runs.executions) == 1
    assert aws.function.calls == 1
    code, _, err = batch("start", "s3://photos/in/", "--name", "run", "--top-k", 3)
    assert (code, "other options" in err) == (1, True)
    aws.photos(1, "other/")
    code, _, err = batch("start", "s3://photos/other/", "--name", "run", "--items", 20)
    assert (code, "another input" in err) == (1, True)


def test_a_start_that_was_cut_off_is_finished_by_the_same_start(aws, batch, ran):
    aws.photos(3)
    assert ran("s3://photos/in/") == "SUCCEEDED"
    aws.map_runs.executions.clear()  # as if it had ended between run.json and the execution
    assert ran("s3://photos/in/") == "SUCCEEDED"


def test_status_counts_images_and_batches(aws, batch, ran):
    aws.photos(50)
    assert ran("s3://photos/in/") == "SUCCEEDED"
    code, out, _ = batch("status", "run", "--watch", "--json")
    now = json.loads(out)
    assert code == 0
    assert (now["status"], now["done"], now["images"]["total"]) == ("SUCCEEDED", 50, 50)
    assert now["batches"]["succeeded"] == 3
    code, out, _ = batch("status", "run")
    assert "run: succeeded" in out
    assert "50 of 50 images (100%)" in out
    assert out.splitlines()[-1].endswith(" k2l batch results run")


def test_what_has_no_images_takes_no_name(aws, batch):
    aws.s3.put_object(Bucket="photos", Key="empty.csv", Body=b"url\n")
    for source, said in (
        ("s3://photos/none/", "s3://photos/none/ has no images"),
        ("s3://photos/empty.csv", "has no images"),
        ("s3://photos/missing.csv", "NoSuchKey"),
        ("s3://no-such-bucket/in/", "NoSuchBucket"),
    ):
        code, out, err = batch("start", source, "--name", "run")
        assert (code, out, err.count("\n")) == (1, "", 1)
        assert said in err
    aws.photos(2)
    assert batch("start", "s3://photos/in/", "--name", "run")[0] == 0
    assert next(iter(aws.map_runs.executions.values())).wait() == "SUCCEEDED"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["status", "none"], "there is no run none"),
        (["results", "none"], "there is no run none"),
        (["results", "none", "-o", "x.xls"], ".parquet, .csv or .jsonl"),
        (["results", "none", "-o", "none/x.csv"], "there is no folder none"),
        (["start", "s3://photos"], "is not s3://bucket/"),
        (["start", "s3://photos/in"], "end a prefix with a slash"),
        (["start", "s3://photos/list.txt"], "must be CSV with a header, or JSON Lines"),
        (["start", "samples"], "aws s3 sync"),
        (["start", "README.md"], "is no list"),
        (["start", "missing.csv"], "cannot be read"),
        (["start", "s3://photos/in/", "--name", "a b"], "invalid name of a run: 'a b'"),
        (["start", "s3://photos/in/", "--items", "1000", "--top-k", "10"], "256 KiB"),
        (["start", "s3://photos/in/", "--stack", "none"], "Stack with id none does not exist"),
        (["start", "s3://photos/in/", "--stack", "no-bulk"], "Bulk=true"),
    ],
)
def test_what_cannot_be_done_is_one_line_with_a_remedy(aws, batch, arguments, said):
    code, out, err = batch(*arguments)
    assert (code, out) == (1, "")
    assert err.count("\n") == 1
    assert said in err


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.csv", "id,link\n1,https://example.com/1.jpg,more\n", "entry 1: more fields than"),
        ("a.csv", "id,url\n1,https://example.com/1.jpg\n2\n", "entry 2: no image in it"),
        ("a.csv", "Bucket,Key\nphotos,\n", "entry 1: no image in it"),
        ("a.jsonl", '{"url": ""}\n', "entry 1: no image in it"),
        ("a.jsonl", '{"url": " "}\n', "entry 1: no image in it"),
        ("a.jsonl", '""\n', "entry 1: no image in it"),
        ("a.jsonl", '{"Key": "x.jpg"}\n', "entry 1: no image in it"),
        ("a.jsonl", '{"url"\n', "line 1 is not JSON"),
    ],
)
def test_a_list_on_this_machine_is_read_strictly(aws, batch, tmp_path, name, text, said):
    path = tmp_path / name
    path.write_text(text)
    code, _, err = batch("start", path)
    assert (code, err.count("\n"), said in err) == (1, 1, True), err
    assert not aws.map_runs.executions


MANIFEST = {"fileFormat": "CSV", "fileSchema": "Bucket, Key", "destinationBucket": "arn:aws:s3:::d"}


@pytest.mark.parametrize(
    ("key", "body", "said"),
    [
        ("list.csv", b"url\nhttps://example.com/caf\xe9.jpg\n", "cannot be read: 'utf-8' codec"),
        ("list.csv", b"url\nhttps://example.com/caf\xe9", "cannot be read: 'utf-8' codec"),
        ("list.jsonl", b'{"url": "caf\xe9"}', "line 1 is not JSON"),
        ("manifest.json", b"<html>", "manifest.json is not JSON"),
        ("manifest.json", b"[]", "is not the manifest of an S3 inventory"),
        ("manifest.json", json.dumps({**MANIFEST, "files": [1]}).encode(), "is not the manifest"),
        ("manifest.json", b'{"fileFormat": "ORC"}', "is in ORC"),
        (
            "manifest.json",
            json.dumps({**MANIFEST, "destinationBucket": "data", "files": [{"key": "x"}]}).encode(),
            "cannot be read: Not a gzipped file",
        ),
    ],
)
def test_a_list_in_s3_that_cannot_be_read_is_one_line(aws, key, body, said):
    aws.s3.put_object(Bucket="data", Key="x", Body=b"not gzip")
    aws.s3.put_object(Bucket="data", Key=key, Body=body)
    cloud = Cloud.of_stack("keras-to-lambda", boto3.Session())
    with pytest.raises(BatchError) as raised:
        list(Images.named(f"s3://data/{key}").items(cloud))
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_no_credentials_and_no_region_have_their_remedies(aws, batch, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    code, out, err = batch("status", "run")
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "Unable to locate credentials; `aws configure" in err
    for name in ("AWS_DEFAULT_REGION", "AWS_REGION"):
        monkeypatch.delenv(name)
    assert "AWS_DEFAULT_REGION" in batch("status", "run")[2]


def test_a_list_that_the_temporary_folder_has_no_room_for_is_one_line(
    aws, batch, little_room, tmp_path
):
    path = tmp_path / "list.txt"
    path.write_text("".join(f"https://example.com/{n:060}.jpg\n" for n in range(5000)))
    little_room(1 << 18)
    code, out, err = batch("start", path)
    assert (code, out, err.count("\n"), "set TMPDIR" in err) == (1, "", 1, True)


def test_the_name_of_a_run_is_printed_before_it_is_started(aws, batch, monkeypatch):
    """So that whoever interrupts the start, or loses the network, knows what may be running."""
    aws.photos(1)
    aws.front.map_runs = None  # then there is no such state machine
    code, out, err = batch("start", "s3://photos/in/", "--name", "run")
    assert (code, out) == (1, "run: images of s3://photos/in/\n")
    assert "StateMachineDoesNotExist" in err


def test_runs_in_an_earlier_bucket_of_the_stack_are_found_by_its_name(aws, batch, ran):
    aws.photos(2)
    assert ran("s3://photos/in/", "--bucket", "photos") == "SUCCEEDED"
    assert "there is no run run in s3://data/runs/" in batch("status", "run")[2]
    code, out, _ = batch("status", "run", "--bucket", "photos")
    assert (code, out.splitlines()[-1]) == (0, "next: k2l batch results run --bucket photos")
    assert batch("results", "run", "--bucket", "photos")[0] == 0


URLS = ["s3://photos/a.jpg", "https://example.com/b.jpg?1"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("list.txt", "\n".join(URLS) + "\n\n"),
        ("list.csv", "id,url\n" + "".join(f"{n},{url}\n" for n, url in enumerate(URLS))),
        ("list.jsonl", "".join(json.dumps({"url": url}) + "\n" for url in URLS)),
    ],
)
def test_a_list_on_this_machine_has_urls(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    assert [item["url"] for item in image_list.local(tmp_path / name)] == URLS


def test_a_list_on_this_machine_is_uploaded(aws, batch, ran, ledger, tmp_path):
    path = tmp_path / "list.txt"
    path.write_text("".join(f"s3://photos/{key}\n" for key in aws.photos(8)))
    assert ran(path) == "SUCCEEDED"
    assert ledger(tmp_path)[0]["answered"] == 8
    assert batch("start", path, "--name", "run", "--items", 20)[0] == 0
    path.write_text("https://example.com/other.jpg")
    code, _, err = batch("start", path, "--name", "run", "--items", 20)
    assert (code, "another input" in err) == (1, True)
