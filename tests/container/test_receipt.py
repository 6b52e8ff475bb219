"""The receipt for real: containers with a share of a processor, measured."""

from __future__ import annotations

import json
import subprocess

import pytest
from benchmarks.receipt.__main__ import Measured, Photos
from benchmarks.receipt.models import Form

from benchmarks.receipt import __main__ as receipt
from benchmarks.receipt import box as receipt_box
from tests.container.conftest import ROOT

CLOTHING = ROOT / "models" / "clothing" / "clothing.tflite"
FORM = Form("clothing", "none", CLOTHING, 4_740_000)


@pytest.fixture(scope="module", autouse=True)
def built(docker: str) -> None:
    receipt_box.build()


def containers() -> set[str]:
    done = subprocess.run(
        ["docker", "ps", "-aq", "--filter", f"ancestor={receipt_box.TAG}"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return set(done.stdout.split())


def test_a_container_has_its_share_and_no_more_memory():
    with receipt_box.opened(1024) as box:
        config = json.loads(receipt_box.docker("inspect", box._name))[0]["HostConfig"]
        assert config["CpuQuota"] / config["CpuPeriod"] == pytest.approx(1024 / 1769, abs=1e-3)
        assert config["Memory"] == config["MemorySwap"] == 1024 * 1024 * 1024
        name = box._name
    assert name[:12] not in containers()


def test_a_container_that_fails_is_told_and_the_others_are_measured(tmp_path):
    (tmp_path / "broken.tflite").write_bytes(b"no model")
    broken = Form("broken", "none", tmp_path / "broken.tflite", 8)
    skipped: list[str] = []
    rows = receipt.in_turn(
        [Measured(broken, 1024, 1), Measured(FORM, 1024, 1)],
        Photos([ROOT / "samples" / "t-shirt.jpg"]),
        receipt.Effort(1, 10, 1), lambda text: None, skipped,
    )  # fmt: skip
    assert [each.form.model for each in rows] == ["clothing"]
    assert len(rows[0].warm) == 10
    assert rows[0].cold_billed_ms[0] > max(report.billed_ms for report in rows[0].warm)
    [reason] = skipped
    assert reason.startswith("broken none, 1024 MB: ")


def test_a_whole_receipt(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(receipt, "FOLDER", tmp_path)
    before = containers()
    assert receipt.main(["--quick", "--model", str(CLOTHING), "--sizes", "1024,10240"]) == 0
    said = capsys.readouterr()
    assert "clothing, as it is" in said.out
    assert "10,240 MB: 5.8 vCPUs, and this machine has" in said.out
    assert "1/8: converting clothing, none" in said.err
    assert "8/8: clothing as it is, 1024 MB, 1 thread, container 2" in said.err
    kept = json.loads((tmp_path / "receipt.json").read_text("utf-8"))
    [measured] = kept["sizes"]
    assert measured["containers"] == 2
    assert measured["requests"] == 30
    assert measured["cold_ms"] > measured["p50_ms"] > 0
    assert (tmp_path / "receipt.svg").exists()
    assert containers() <= before
