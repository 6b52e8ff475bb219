"""Estimates and the simulation: the formula beside events, limits, costs, and what went in."""

from __future__ import annotations

import base64
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import simulation
from benchmarks.simulation import Speed, event_by_event
from keras_to_lambda.deploy import estimate as estimates
from keras_to_lambda.deploy.estimate import LIMITS, WAYS, EstimateError, Work, duration_s, estimate
from keras_to_lambda.deploy.prices import PriceError, Prices
from keras_to_lambda.runtime.handler import Handler
from keras_to_lambda.runtime.settings import Settings
from keras_to_lambda.runtime.sources import images as sources

ROOT = Path(__file__).resolve().parents[2]
PRICES = Prices.load()
SPEED = Speed(12.0, 1.0, 900.0, 1300, 1024, "a test")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("concurrency", [10, 1000])
@pytest.mark.parametrize("images", [50_000, 300_000])
def test_the_formula_agrees_with_events(way, concurrency, images):
    batch = 10 if way == "sqs" else 100
    work = Work(images, 12.0, batch, concurrency, way=way)
    assert event_by_event(work) == pytest.approx(duration_s(work), rel=0.05)


def test_events_are_the_same_each_time():
    work = Work(20_000, 12.0)
    assert event_by_event(work) == event_by_event(work)
    assert event_by_event(work) != event_by_event(work, seed=8)


@given(
    images=st.integers(1, 10**7),
    ms=st.floats(0, 2_000),
    batch=st.integers(1, 600),
    concurrency=st.integers(1, 10_000),
    way=st.sampled_from(WAYS),
)
def test_an_estimate_is_finite_and_adds_up(images, ms, batch, concurrency, way):
    found = estimate(images, ms, batch, concurrency, way=way, prices=PRICES)
    assert found.dollars == pytest.approx(sum(found.parts.values()))
    assert found.dollars > 0
    assert found.seconds >= found.work.invocation_ms / 1000
    assert found.at_a_time <= min(concurrency, found.work.invocations) + 1e-6
    assert found.bound == "" or found.bound in LIMITS
    slower = estimate(images, ms, batch, max(1, concurrency // 2), way=way, prices=PRICES)
    # To one invocation: bound by how many run, or by how many begin, the last one counts otherwise.
    assert slower.seconds >= found.seconds - found.work.invocation_ms / 1000 - 1e-6


def test_a_million_images_by_hand():
    found = estimate(
        1_000_000, 10.0, batch=16, concurrency=1000, memory_mb=1024, way="map", prices=PRICES,
        overhead_ms=0, cold_ms=0, download_ms=0,
    )  # fmt: skip
    assert found.work.invocations == 62_500
    assert found.work.invocation_ms == 160
    # 62,500 x 0.16 s x 1 GB
    assert found.parts["Lambda, time"] == pytest.approx(10_000 * 0.0000166667)
    assert found.parts["Lambda, requests"] == pytest.approx(0.0125)
    assert found.parts["S3, reading"] == pytest.approx(0.4)
    assert found.parts["Step Functions, requests"] == pytest.approx(0.0625)
    # 0.2 s x 64 MB
    assert found.parts["Step Functions, time"] == pytest.approx(62_500 * 0.2 / 16 * 0.06 / 3600)
    # 5,500 GETs a second
    assert found.bound == "s3 get"
    assert found.seconds == pytest.approx(1_000_000 / 5_500 + 0.16)


@pytest.mark.parametrize(
    ("change", "bound"),
    [
        ({"concurrency": 10}, "concurrency"),
        ({}, "s3 get"),
        ({"prefixes": 100}, "concurrency"),
        ({"prefixes": 1_000, "concurrency": 100_000, "images": 10**10}, "map"),
        ({"way": "sqs", "batch": 10}, "s3 put"),
        ({"way": "sqs", "batch": 10, "images": 5_000}, "queue scaling"),
        ({"way": "http", "prefixes": 100, "ms_per_image": 500}, "concurrency"),
        ({"way": "http", "prefixes": 100, "concurrency": 100_000}, "gateway"),
        ({"way": "http", "concurrency": 10, "download_ms": 0}, "rate"),
        ({"images": 500}, ""),
    ],
)  # fmt: skip
def test_what_bounds_the_work_is_named(change, bound):
    asked = {"images": 10_000_000, "ms_per_image": 12.0, "prices": PRICES, **change}
    assert estimate(**asked).bound == bound


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"batch": 700}, "at most 609 in a batch, or a smaller top_k"),
        ({"batch": 100, "answer_bytes": 46_000}, "at most 5 in a batch"),
        ({"batch": 500, "ms_per_image": 200.0}, "the function has 28 s"),
    ],
)
def test_work_that_cannot_run_says_what_would(change, said):
    asked = {"images": 10_000, "ms_per_image": 1.0, "prices": PRICES, **change}
    [sentence] = estimate(**asked).broken
    assert said in sentence


def test_a_request_has_one_image_and_a_queue_its_batch():
    assert Work(100, 1.0, 50, way="http").in_each == 1
    assert Work(100, 1.0, 10, way="sqs").invocations == 10
    assert Work(7, 1.0, 10, way="map").in_each == 7


def test_downloads_of_a_group_go_side_by_side():
    asked = Work(16, 0.0, 16, download_ms=50.0, overhead_ms=0.0)
    assert asked.invocation_ms == 100  # two waves of eight
    assert replace(asked, ms_per_image=20.0).invocation_ms == 50 + 16 * 20


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"images": 0}, "images is 0"),
        ({"batch": 0}, "batch is 0"),
        ({"concurrency": -1}, "concurrency is -1"),
        ({"ms_per_image": -1.0}, "ms_per_image is -1.0"),
        ({"ms_per_image": float("nan")}, "ms_per_image is nan"),
        ({"way": "pigeon"}, "one of http, sqs, map"),
    ],
)
def test_nonsense_is_refused(change, said):
    with pytest.raises(EstimateError, match=said):
        estimate(**{"images": 1, "ms_per_image": 1.0, "prices": PRICES, **change})


def test_an_unknown_architecture_is_refused():
    with pytest.raises(PriceError, match="sparc"):
        estimate(1, 1.0, architecture="sparc", prices=PRICES)


def test_the_function_is_as_the_estimate_takes_it():
    assert Settings().max_images == estimates.GROUP
    assert sources.SIDE_BY_SIDE == estimates.SIDE_BY_SIDE


def test_items_and_answers_are_of_the_size_that_is_assumed():
    key = f"photos/2026/11/21/{'a' * 38}.jpg"
    assert len(key) == 60
    event = json.loads((ROOT / "tests" / "events" / "map-batch.json").read_text("utf-8"))
    item = {**event["event"]["Items"][0], "Key": key}
    assert len(json.dumps(item)) == pytest.approx(estimates.ITEM_BYTES, rel=0.1)
    photo = base64.b64encode((ROOT / "samples" / "t-shirt.jpg").read_bytes()).decode()
    handler = Handler(Settings(num_threads=1, log_level="FATAL"))
    [line] = handler({"Items": [{"image": photo}]})["answers"]
    line["image"] = f"s3://my-data-bucket/{key}"
    assert len(json.dumps(line)) == pytest.approx(estimates.ANSWER_BYTES, rel=0.05)


def test_the_parents_transitions_are_those_of_the_state_machine():
    # The choice of the input's kind, then one map; what follows an error is not counted.
    machine = json.loads((ROOT / "deploy" / "bulk.asl.json").read_text("utf-8"))
    first = machine["States"][machine["StartAt"]]
    assert first["Type"] == "Choice"
    nexts = {machine["States"][choice["Next"]]["Type"] for choice in first["Choices"]}
    assert nexts == {"Map"}
    assert estimates.PARENT_TRANSITIONS == 2


@pytest.mark.parametrize("limit", LIMITS.values(), ids=LIMITS)
def test_every_limit_names_its_page(limit):
    assert limit.value > 0
    assert limit.source.startswith("https://docs.aws.amazon.com/")


def test_the_table_of_limits_is_that_of_the_code():
    assert simulation.limit_table() in simulation.DOCS.read_text(encoding="utf-8")


def test_every_table_has_its_place_in_the_docs(tmp_path, monkeypatch, capsys):
    docs = tmp_path / "simulation.md"
    shutil.copy(simulation.DOCS, docs)
    monkeypatch.setattr(simulation, "DOCS", docs)
    assert simulation.main(["--ms", "12", "--docs"]) == 0
    written = docs.read_text(encoding="utf-8")
    assert "Not measured yet" not in written
    assert "| 10,000,000, Distributed Map | 100 |" in written
    assert written.split("<!-- bench: cases -->\n")[1].startswith("| images, way |")
    assert "as given with --ms, not measured" in capsys.readouterr().out


def test_without_a_receipt_it_says_where_milliseconds_come_from(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(simulation, "_speed", lambda args: simulation.measured(tmp_path / "none"))
    with pytest.raises(SystemExit) as ended:
        simulation.main([])
    assert ended.value.code == 2
    assert "run make receipt, or give --ms" in capsys.readouterr().err


@pytest.mark.parametrize("content", ["{}", '{"sizes": []}', '{"sizes": [{"model": "a"}]}'])
def test_a_file_that_is_no_receipt_is_named(tmp_path, content):
    path = tmp_path / "receipt.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=r"receipt\.json is no receipt"):
        simulation.measured(path)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["--ms", "-1"], "ms_per_image is -1"), (["--ms", "1", "--batch", "0"], "batch is 0")],
)
def test_wrong_use_ends_with_2(arguments, said, capsys):
    with pytest.raises(SystemExit) as ended:
        simulation.main(arguments)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("seconds", "said"), [(12, "12 s"), (1_500, "25 min"), (15_000, "4.2 h"), (400_000, "4.6 days")]
)
def test_times_are_said_as_people_do(seconds, said):
    assert simulation.duration(seconds) == said


def test_every_case_is_estimated():
    cases = simulation.all_cases(SPEED, simulation.BATCHES)
    assert len(cases) == 3 * 5 * 2
    assert {case.work.log_bytes for case in cases} == {1300}
