"""The search: its factors, its order, its resume, its report."""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys

import optuna
import pytest

from keras_to_lambda.train import recipe_options, search
from keras_to_lambda.train.data import photos
from keras_to_lambda.train.search import Factor

OPTIONS = ("--model", "mlp", "--size", "32", "--epochs", "2", "--batch-size", "16")


@pytest.mark.parametrize(
    ("text", "ladder"),
    [
        ("learning_rate=0.0001..0.01", (0.0001, 0.0003162, 0.001, 0.003162, 0.01)),
        ("dropout=0..0.8", (0.0, 0.2, 0.4, 0.6, 0.8)),
        ("inner=0|10|100", (0, 10, 100)),
        ("batch_size=8..10", (8, 9, 10)),
        ("model=Xception|MobileNetV2", ("Xception", "MobileNetV2")),
    ],
)
def test_a_factor_has_a_ladder_of_values(text, ladder):
    made = Factor.read(text).ladder()
    assert [type(value) for value in made] == [type(value) for value in ladder]
    assert made == pytest.approx(ladder) if isinstance(ladder[0], float) else made == ladder


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("depth=1|2", "NAME is one of model"),
        ("inner", "use NAME=a"),
        ("inner=a|b", "values of inner are numbers"),
        ("dropout=0.5..0.1", "the lower end comes first"),
        ("augment=wild", "wild is not one of none"),
    ],
)
def test_a_wrong_factor_is_named(text, message):
    with pytest.raises(argparse.ArgumentTypeError, match=re.escape(message)):
        Factor.read(text)


@pytest.fixture(scope="module")
def data(pictures, tmp_path_factory):
    return pictures(tmp_path_factory.mktemp("search") / "data", each=14)


def test_values_reach_the_recipe(data):
    args = search.parser().parse_args([str(data), "--weights", "none"])
    loaded = photos.load(data, 1)
    values = {"model": "MobileNetV2", "size": 96, "learning_rate": 0.003, "inner": 12,
              "dropout": 0.25, "augment": "none"}  # fmt: skip
    made = recipe_options.recipe(search.applied(args, values), loaded)
    assert (made.network.name, made.size, made.learning_rate) == ("MobileNetV2", 96, 0.003)
    assert (made.head.inner, made.head.dropout) == ((12,), 0.25)
    assert made.augmentation.rotation == 0
    assert recipe_options.recipe(search.applied(args, {"inner": 0}), loaded).head.inner == ()


def run(data, output, *more):
    return search.main([str(data), "-o", str(output), *OPTIONS, *more])


def found_in(output):
    return json.loads((output / "search.json").read_text(encoding="utf-8"))


def test_one_at_a_time_each_factor_is_varied_from_the_best_so_far(data, tmp_path, capfd):
    factors = ("--factor", "learning_rate=0.0001|0.004", "--factor", "model=mlp|residual")
    assert run(data, tmp_path, "--one-at-a-time", *factors) == 0
    printed = capfd.readouterr().out
    found = found_in(tmp_path)
    trials = found["trials"]
    # Two rates, then the other network at the better rate; a known trial is not trained again.
    better = max(trials[:2], key=lambda trial: trial["accuracy"])["learning_rate"]
    assert [(t["learning_rate"], t["model"]) for t in trials] == [
        (0.0001, "mlp"), (0.004, "mlp"), (better, "residual"),
    ]  # fmt: skip
    for trial in trials:
        assert f"trial {trial['trial']}: accuracy {trial['accuracy']:.3f}" in printed
    # The effect of each factor is its own spread, from the trials in which it alone differs.
    rates = [trial["accuracy"] for trial in trials[:2]]
    assert found["effects"]["learning_rate"] == pytest.approx(max(rates) - min(rates), abs=1e-4)
    line = printed.splitlines()[-1]
    assert line.startswith("next: k2l train ")
    assert f"--learning-rate {found['best']['learning_rate']:g}" in line
    assert "--factor" not in line
    html = (tmp_path / "search.html").read_text(encoding="utf-8")
    assert "dashed: training pictures" in html
    assert "Training by model" in html
    assert not (tmp_path / "cache").exists()
    # A second run has nothing left to do.
    assert run(data, tmp_path, "--one-at-a-time", *factors) == 0
    assert found_in(tmp_path) == found


def test_a_killed_search_continues_and_loses_no_trial(data, tmp_path, capfd):
    line = ["search", str(data), "-o", str(tmp_path), *OPTIONS, "--trials", "4", "--factor",
            "dropout=0..0.5"]  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-m", "keras_to_lambda", *line], stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    for text in process.stdout:
        if text.startswith("trial 2:"):
            break
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    storage = f"sqlite:///{tmp_path / 'study.db'}"
    before = optuna.load_study(study_name="search", storage=storage).trials
    assert [trial.state.name for trial in before] == ["COMPLETE", "RUNNING"]
    assert search.main(line[1:]) == 0
    after = optuna.load_study(study_name="search", storage=storage).trials
    assert [trial.state.name for trial in after[:2]] == ["COMPLETE", "FAIL"]
    assert after[2].params == before[1].params  # the interrupted trial comes first
    assert sum(trial.state.name in ("COMPLETE", "PRUNED") for trial in after) == 4
    assert len(found_in(tmp_path)["trials"]) == 4
    # Another search does not continue it.
    assert search.main([*line[1:-1], "dropout=0|0.2"]) == 2
    assert "is of another search" in capfd.readouterr().err
    assert search.main([*line[1:], "--factor", "dropout=0.2"]) == 2
    assert "--factor dropout is given twice" in capfd.readouterr().err
