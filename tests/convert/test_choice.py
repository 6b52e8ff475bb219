"""Which quantization is chosen, and what speaks against the others."""

from __future__ import annotations

import json

import numpy as np
import pytest

from keras_to_lambda.class_folders import ClassFolders
from keras_to_lambda.convert.quantize.quantization import QUANTIZATIONS
from keras_to_lambda.convert.verification.comparison import Comparison
from keras_to_lambda.convert.verification.measurement import _truth
from keras_to_lambda.convert.verification.quantization_choice import Candidate, choose
from keras_to_lambda.runtime.model_file import card as cards


def candidate(name, *, agreement=1.0, mean=0.0, drop=None, size=100, ms=10.0):
    comparison = Comparison(
        samples=200,
        skipped=0,
        agreement=agreement,
        max_difference=mean,
        mean_difference=mean,
        spread=10.0,
        tolerance=QUANTIZATIONS[name].tolerance,
        accuracy=None if drop is None else 0.9 - drop,
        reference_accuracy=None if drop is None else 0.9,
        judged=0 if drop is None else 200,
    )
    return Candidate(name, comparison, np.zeros((1, 2)), size, {"ms": {"1": ms}})


FIVE = [
    candidate("none", size=400, ms=10.0),
    candidate("float16", size=200, ms=10.2, mean=0.01),
    candidate("weights", size=110, ms=10.4, mean=0.02),
    candidate("dynamic", size=100, ms=14.0, mean=0.05, agreement=0.98),
    candidate("int8", size=105, ms=4.0, mean=0.1, agreement=0.95),
]
# A few bytes are not worth a slower model.
NEAR = [candidate("weights", size=101, ms=3.0), candidate("dynamic", size=100, ms=9.0)]


def judged(drop):
    return [candidate("none", drop=0.0), candidate("int8", drop=drop, agreement=0.95, ms=1)]


@pytest.mark.parametrize(
    ("candidates", "prefer", "max_drop", "chosen"),
    [
        # int8 is fastest but loses too much; the next three are level, and the smallest is taken.
        (FIVE, "speed", 0.01, "weights"),
        (FIVE, "speed", 0.06, "int8"),
        (FIVE, "size", 0.01, "weights"),
        (FIVE, "size", 0.03, "dynamic"),
        (FIVE, "fidelity", 0.5, "none"),
        (NEAR, "size", 0.01, "weights"),
        (NEAR, "speed", 0.01, "weights"),
        # Accuracy counts where it is known, and a gain is no loss.
        (judged(0.015), "speed", 0.01, "none"),
        (judged(0.015), "speed", 0.015, "int8"),
        (judged(-0.02), "speed", 0.0, "int8"),
    ],
)
def test_the_preference_decides_among_what_keeps_the_answers(candidates, prefer, max_drop, chosen):
    choice = choose(candidates, prefer=prefer, max_drop=max_drop)
    assert choice.chosen.quantization == chosen


def test_each_refusal_has_its_reason():
    assert choose(FIVE, prefer="speed", max_drop=0.01).objections == {
        "dynamic": "keeps 98.0% of the top-1 labels, less than 99.0%",
        "int8": "keeps 95.0% of the top-1 labels, less than 99.0%",
    }
    lost = choose(judged(0.015), prefer="speed", max_drop=0.01).objections
    assert lost["int8"] == "loses 1.5% of accuracy (3 of 200 photos), more than 1.0%"
    failed = choose([candidate("int8", agreement=0.5)], prefer="speed", max_drop=1.0)
    assert failed.chosen is None
    assert "agree on 50.0%" in failed.objections["int8"]


def test_a_few_folders_named_after_labels_do_not_judge_all_photos(tmp_path):
    photos = [tmp_path / "cat" / f"{n}.jpg" for n in range(3)]
    photos += [tmp_path / "holiday" / f"{n}.jpg" for n in range(17)]
    folders = ClassFolders(("Cat", "dog"))
    assert set(_truth(photos, folders)) == {None}
    assert _truth(photos[:6], folders) == (0, 0, 0, None, None, None)


def test_auto_measures_all_and_writes_the_chosen_one(models, convert, capsys):
    options = ("--quantize", "auto", "--prefer", "size", "--max-accuracy-drop", "0.2")
    status, output = convert(models["keras"], *options, "--json", "--quiet")
    assert status == 0
    out = capsys.readouterr().out
    findings = json.loads(out[out.index("{\n") :])  # a converter prints here, not in the sandbox
    assert [c["quantization"] for c in findings["candidates"]] == list(QUANTIZATIONS)
    for found in findings["candidates"]:
        assert found["bytes"] > 0
        assert set(found["ms"]) == {"1", "2"}
        assert found["load_ms"] > 0
    chosen = cards.load(output).provenance["quantization"]
    assert findings["quantization"] == chosen
    table = output.with_suffix(".report.md").read_text("utf-8")
    assert "| quantization | agreement |" in table
    assert next(line for line in table.splitlines() if line.startswith(f"| {chosen} |")).endswith(
        "| chosen |"
    )
