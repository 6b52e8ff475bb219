"""The receipt for real: containers with a share of a processor, measured."""

from __future__ import annotations

import json

import pytest

from benchmarks import receipt
from tests.container.conftest import ROOT

CLOTHING = ROOT / "models" / "clothing" / "clothing.tflite"


def containers() -> set[str]:
    return set(receipt.docker("ps", "-aq", "--filter", f"label={receipt.LABEL}").split())


def test_a_receipt_of_two_models_one_of_which_fails(docker: str, tmp_path, capsys):
    options = ["--quick", "--json", "--sizes", "1024"]
    assert receipt.main([*options, "--model", str(CLOTHING)]) == 0
    [row] = json.loads(capsys.readouterr().out)
    assert (row["model"], row["memory_mb"], len(row["warm"])) == ("clothing", 1024, 10)
    assert row["cold"][0] > max(row["warm"]) > 0
    assert row["peak_mb"] > 20
    before = containers()

    (tmp_path / "broken.tflite").write_bytes(b"no model")
    assert receipt.main([*options, "--model", str(tmp_path / "broken.tflite")]) == 1
    assert "receipt: the function failed" in capsys.readouterr().err
    assert containers() == before == set()


def test_a_container_has_its_share_and_no_more_memory(docker: str):
    receipt.docker("build", "-q", "-t", receipt.TAG, ".", timeout_s=900)
    with receipt.opened(1024) as box:
        config = json.loads(receipt.docker("inspect", box.name))[0]["HostConfig"]
    assert config["CpuQuota"] / config["CpuPeriod"] == pytest.approx(1024 / 1769, abs=1e-3)
    assert config["Memory"] == config["MemorySwap"] == 1024 * 1024 * 1024
