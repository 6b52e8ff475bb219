"""The receipt for real: containers with a share of a processor, measured."""

from __future__ import annotations

import json
import re

import pytest

from benchmarks import receipt
from tests.container.conftest import ROOT

CLOTHING = ROOT / "models" / "clothing" / "clothing.tflite"


def containers() -> set[str]:
    return set(receipt.docker("ps", "-aq", "--filter", f"label={receipt.LABEL}").split())


def test_a_receipt_and_a_model_that_fails(docker: str, tmp_path, capsys):
    options = ["--quick", "--sizes", "1024", "--model"]
    assert receipt.main([*options, str(CLOTHING)]) == 0
    row = re.search(r"^\| clothing, 1,024 \|(.*)\|$", capsys.readouterr().out, re.MULTILINE)[1]
    _, cold, p50, _, peak, *_ = map(float, row.split("|"))
    assert cold > p50 > 0
    assert peak > 20
    before = containers()

    (tmp_path / "broken.tflite").write_bytes(b"no model")
    assert receipt.main([*options, str(tmp_path / "broken.tflite")]) == 1
    assert "receipt: the function failed" in capsys.readouterr().err
    assert containers() == before == set()


def test_a_container_has_its_share_and_no_more_memory(docker: str):
    receipt.docker("build", "-q", "-t", receipt.TAG, ".", timeout_s=900)
    with receipt.running(receipt.TAG, *receipt.limits(1024)) as box:
        config = json.loads(receipt.docker("inspect", box.name))[0]["HostConfig"]
    assert config["CpuQuota"] / config["CpuPeriod"] == pytest.approx(1024 / 1769, abs=1e-3)
    assert config["Memory"] == config["MemorySwap"] == 1024 * 1024 * 1024
