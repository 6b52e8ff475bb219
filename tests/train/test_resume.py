"""A run that is killed, at whatever moment, comes to the same as one that is not."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
# Every step is saved, and made slow enough by its size to be hit in its midst.
OPTIONS = ("--size", "32", "--epochs", "6", "--batch-size", "8", "--save-every", "0", "--track",
           "none", "--dropout", "0.3")  # fmt: skip


def start(data, output):
    return subprocess.Popen(
        [sys.executable, "-m", "keras_to_lambda", "train", str(data), "-o", str(output), *OPTIONS],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def lines_until(process, wanted):
    """Its lines until one contains `wanted`."""
    seen = []
    for line in process.stdout:
        seen.append(line)
        if wanted in line:
            return seen
    raise AssertionError(f"ended without {wanted!r}: {''.join(seen)}")


def finish(process):
    told = process.communicate(timeout=240)[0]
    assert process.returncode == 0, told
    return told


def history(output):
    record = json.loads((output / "training.json").read_text(encoding="utf-8"))
    return [{k: v for k, v in entry.items() if k != "seconds"} for entry in record["history"]]


def weights(output):
    import keras

    model = keras.saving.load_model(output / f"{output.name}.keras", compile=False)
    return model.get_weights()


@pytest.fixture(scope="module")
def data(pictures, tmp_path_factory):
    return pictures(tmp_path_factory.mktemp("resume") / "data", each=20)


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    output = tmp_path_factory.mktemp("resume") / "shapes"
    finish(start(data, output))
    return output


def test_a_run_that_is_killed_and_stopped_ends_as_if_it_had_not_been(data, whole, tmp_path):
    output = tmp_path / "shapes"
    moments = random.Random(5)
    for number, wanted in (
        (signal.SIGKILL, "training   1/6"),
        (signal.SIGINT, "training   3/6"),
        (signal.SIGTERM, "training   4/6"),
    ):
        process = start(data, output)
        lines_until(process, wanted)
        time.sleep(moments.uniform(0, 0.3))  # somewhere in the next epoch
        process.send_signal(number)
        error = process.communicate(timeout=60)[1]
        if number != signal.SIGKILL:
            assert process.returncode == 130
            assert error.endswith("stopped; the same command goes on from here\n")
            assert "Traceback" not in error
        assert not (output / "shapes.keras").exists()
        assert (output / "shapes.checkpoints" / "state.npz").exists()
    told = finish(start(data, output))
    assert "resuming after epoch" in told
    assert history(output) == history(whole)
    for mine, theirs in zip(weights(output), weights(whole), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert not (output / "shapes.checkpoints").exists()
