"""The receipt: its arithmetic, advice, tables and picture. For real it is in tests/container."""

from __future__ import annotations

import json
import os
import shutil
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from benchmarks import simulation
from benchmarks.receipt import __main__ as receipt
from benchmarks.receipt.__main__ import Advice, Measured, Photos, Receipt
from benchmarks.receipt.box import Report
from benchmarks.receipt.models import Form, ModelError, Source, convert, judged
from keras_to_lambda.deploy.prices import Prices

ROOT = Path(__file__).resolve().parents[2]
CLOTHING = ROOT / "models" / "clothing" / "clothing.tflite"
PRICES = Prices.load()
FORM = Form("clothing", "none", CLOTHING, 4_740_000)
# Of a size: warm milliseconds and the cold start.
SPEEDS = {512: (40.0, 1400.0), 1024: (19.2, 700.0), 1769: (11.0, 400.0), 3008: (10.5, 390.0)}


def row(memory_mb: int, ms: float, cold_ms: float, form: Form = FORM, threads: int = 1) -> Measured:
    reports = [Report(ms + step / 10, int(ms) + 1) for step in range(20)]
    return Measured(
        form, memory_mb, threads, cold_ms=[cold_ms] * 3, cold_billed_ms=[int(cold_ms)] * 3,
        warm=reports, lists=[Report(ms * 16, int(ms * 16))], list_images=16,
        log_bytes=[1280.0], peak_mb=[70.0],
    )  # fmt: skip


ROWS = [row(size, *speed) for size, speed in SPEEDS.items()]


def whole(rows: list[Measured] = ROWS) -> Receipt:
    said = receipt.advice(rows, PRICES, 100, 1000)
    twice = [row(3008, 10.5, 390, threads=2), row(3008, 10.5, 390)]
    return Receipt("a machine", rows, rows[:1], twice, {"clothing": said}, ["5,307 MB: too large"])


def test_a_million_requests_cost_their_billed_time_and_their_number():
    # 20 ms of 1 GB, and 0.20 dollars.
    assert ROWS[1].dollars(PRICES) == pytest.approx(1e6 * 0.020 * 0.0000166667 + 0.20)
    assert ROWS[1].dollars(PRICES, "arm64") == pytest.approx(1e6 * 0.020 * 0.0000133334 + 0.20)


def test_of_sizes_that_cost_about_the_same_the_fastest_is_advised():
    said = receipt.advice(ROWS, PRICES, 100, 1000)
    assert 1 < ROWS[2].dollars(PRICES) / ROWS[1].dollars(PRICES) < 1.05
    assert said.memory_mb == 1769
    assert said.reason.startswith(
        "1,769 MB: the fastest size within 5 % of the cheapest with p95 within 100 ms"
    )
    assert "(1,024 MB would cost 0.53" in said.reason
    assert "The knee is at 1,769 MB" in said.reason


def test_a_faster_size_that_costs_more_than_noise_is_not_advised():
    dear = [*ROWS[:2], row(1769, 12.0, 400.0), ROWS[3]]
    assert dear[2].dollars(PRICES) > 1.05 * ROWS[1].dollars(PRICES)
    said = receipt.advice(dear, PRICES, 100, 1000)
    assert said.memory_mb == 1024
    assert "would cost" not in said.reason


def test_of_two_that_are_as_fast_and_as_cheap_the_smaller_is_advised():
    same = [row(1060, 11.0, 400.0), row(1024, 11.0, 400.0)]
    assert receipt.advice(same, PRICES, 100, 1000).memory_mb == 1024


def test_a_cheaper_size_that_is_too_slow_is_named_beside_it():
    cheap = [row(512, 30.0, 1400.0), *ROWS[1:]]
    said = receipt.advice(cheap, PRICES, 100, 1000)
    assert said.memory_mb == 1769
    assert "(512 MB would cost 0.46, with p95 32 ms and cold 1400 ms)" in said.reason


def test_wishes_that_no_size_fulfils_name_the_nearest():
    said = receipt.advice(ROWS, PRICES, 5, 100)
    assert said.memory_mb is None
    assert "3,008 MB comes nearest" in said.reason


def test_there_is_no_knee_while_every_step_pays():
    assert receipt.knee(ROWS[:3]) is None
    assert receipt.knee(ROWS) is ROWS[2]
    assert "no knee" in receipt.advice(ROWS[:3], PRICES, 100, 1000).reason


def test_one_more_image_in_a_list_costs_its_share():
    assert ROWS[1].ms_per_image == pytest.approx((16 * 19.2 - ROWS[1].p50) / 15)
    assert row(512, 10.0, 1.0).ms_per_image > 0


def test_the_function_takes_the_threads_that_the_receipt_gives_it(monkeypatch):
    from keras_to_lambda.runtime.settings import vcpus

    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    for size in (*receipt.SIZES, 10240):
        told = vcpus({"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(size)})
        assert receipt.threads_of(size) == told


def test_every_table_has_as_many_cells_as_its_head():
    for section in whole().sections(PRICES).values():
        lines = [line for line in section.splitlines() if line.startswith("|")]
        widths = {line.replace("\\|", "").count("|") for line in lines}
        assert len(widths) <= 1, section


def test_every_section_has_its_place_in_the_docs(tmp_path):
    docs = tmp_path / "cost.md"
    shutil.copy(receipt.DOCS, docs)
    for name, text in whole().sections(PRICES).items():
        receipt.put(name, text, docs)
    written = docs.read_text(encoding="utf-8")
    assert "| 1,024 | 0.58 | 1 | 700 |" in written
    assert "- 5,307 MB: too large" in written


def test_the_table_of_prices_is_that_of_the_code():
    assert receipt.price_table(PRICES) in receipt.DOCS.read_text(encoding="utf-8")


def test_the_simulation_reads_what_the_receipt_writes(tmp_path):
    path = tmp_path / "receipt.json"
    path.write_text(json.dumps(whole().to_json(PRICES)), encoding="utf-8")
    speed = simulation.measured(path)
    assert speed.memory_mb == 1769
    assert speed.cold_ms == 400
    assert speed.log_bytes == 1280
    assert speed.ms_per_image == pytest.approx(ROWS[2].ms_per_image)
    other = simulation.measured(path, 1024)
    assert (other.memory_mb, other.cold_ms) == (1024, 700)
    with pytest.raises(ValueError, match=r"no row of 1000 MB, but of 512, 1024, 1769, 3008"):
        simulation.measured(path, 1000)


def test_without_an_advised_size_the_simulation_takes_the_cheapest(tmp_path):
    nothing = whole()
    nothing.advice["clothing"] = Advice(None, "none fits")
    path = tmp_path / "receipt.json"
    path.write_text(json.dumps(nothing.to_json(PRICES)), encoding="utf-8")
    cheapest = min(ROWS, key=lambda each: each.dollars(PRICES))
    assert simulation.measured(path).memory_mb == cheapest.memory_mb


def test_the_picture_has_a_point_for_each_size(tmp_path):
    path = tmp_path / "receipt.svg"
    receipt.plot.draw(path, whole().panels(PRICES))
    svg = ET.fromstring(path.read_text(encoding="utf-8"))
    circles = svg.findall("{http://www.w3.org/2000/svg}circle")
    assert len(circles) == 2 * len(ROWS)
    assert all(0 < float(circle.get("cx")) < 720 for circle in circles)
    assert all(0 < float(circle.get("cy")) < 300 for circle in circles)


def test_a_list_stays_within_a_payload(tmp_path):
    (tmp_path / "large.jpg").write_bytes(b"x" * 700_000)
    photos = Photos([tmp_path / "large.jpg"])
    assert photos.in_list == 4
    assert len(photos.many) < 6 * 1024 * 1024
    assert Photos(sorted((ROOT / "samples").glob("*.jpg"))).in_list == 16


def test_a_model_carries_options_of_the_converter():
    source = Source.read(f"{CLOTHING} --preprocess xception --labels 'my labels.txt'")
    assert source.path == CLOTHING
    assert source.options == ("--preprocess", "xception", "--labels", "my labels.txt")
    with pytest.raises(ModelError, match=r"no such model: gone\.keras"):
        Source.read("gone.keras")


def test_a_tflite_is_measured_as_it_is(tmp_path):
    form = convert(Source(CLOTHING), "none", ROOT / "samples", tmp_path)
    assert form.path == CLOTHING
    assert form.quantization == "as it is"


def test_accuracy_is_that_of_folders_named_after_labels(tmp_path):
    for label in ("dress", "pants", "t-shirt"):
        (tmp_path / label).mkdir()
        shutil.copy(ROOT / "samples" / f"{label}.jpg", tmp_path / label)
    shutil.copy(ROOT / "samples" / "skirt.jpg", tmp_path / "pants")
    form = judged(FORM, tmp_path)
    assert form.photos == 4
    assert form.accuracy == 0.75
    assert form.interval[0] < 0.75 < form.interval[1]


def test_photos_in_no_labelled_folder_give_no_accuracy():
    assert judged(FORM, ROOT / "samples").accuracy is None


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--model", "gone.keras"], "no such model: gone.keras"),
        (["--sizes", "64"], "Lambda has 128 to 10240 MB, not 64"),
        (["--sizes", "much"], "numbers of MB"),
        (["--cold", "0"], "--cold must be more than 0"),
        (["--photos", "deploy"], "no .jpg or .png in deploy"),
        (["--data", "gone"], "--data: no folder gone"),
    ],
)
def test_wrong_use_ends_with_2(arguments, said, capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    with pytest.raises(SystemExit) as ended:
        receipt.main(arguments)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_without_docker_it_says_that_a_share_cannot_be_enforced(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert receipt.main(["--quick"]) == 1
    assert "a share of a processor cannot be enforced" in capsys.readouterr().err
