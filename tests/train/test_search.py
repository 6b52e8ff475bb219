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

OPTIONS = ("--size", "32", "--epochs", "2", "--batch-size", "16")


@pytest.mark.parametrize(
    ("text", "ladder"),
    [
        ("learning_rate=0.0001..0.01", (0.0001, 0.0003162, 0.001, 0.003162, 0.01)),
        ("dropout=0..0.8", (0.0, 0.2, 0.4, 0.6, 0.8)),
        ("inner=0|10|100", (0, 10, 100)),
        ("augment=none|strong", ("none", "strong")),
        ("batch_size=8..10", (8, 9, 10)),
        ("model=Xception|MobileNetV2", ("Xception", "MobileNetV2")),
        ("size=150|299", (150, 299)),
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
    args = search.parser().parse_args([str(data), *OPTIONS, "--weights", "none"])
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
    output = tmp_path / "one"
    factors = ("--factor", "learning_rate=0.0001|0.004", "--factor", "model=residual|mlp")
    assert run(data, output, "--one-at-a-time", *factors) == 0
    printed = capfd.readouterr().out
    found = found_in(output)
    trials = found["trials"]
    # Two rates, then the other network at the better rate; a known trial is not trained again.
    assert [(t["learning_rate"], t["model"]) for t in trials[:2]] == [
        (0.0001, "residual"), (0.004, "residual"),
    ]  # fmt: skip
    better = max(trials[:2], key=lambda trial: trial["accuracy"])["learning_rate"]
    assert [(t["learning_rate"], t["model"]) for t in trials[2:]] == [(better, "mlp")]
    for trial in trials:
        assert f"trial {trial['trial']}: accuracy {trial['accuracy']:.3f}" in printed
    # The effect of each factor is its own spread, from the trials in which it alone differs.
    rates = [trial["accuracy"] for trial in trials[:2]]
    assert found["effects"]["learning_rate"] == pytest.approx(max(rates) - min(rates), abs=1e-4)
    line = printed.splitlines()[-1]
    assert line.startswith("next: k2l train ")
    assert f"--learning-rate {found['best']['learning_rate']:g}" in line
    assert "--factor" not in line
    html = (output / "search.html").read_text(encoding="utf-8")
    assert "dashed: training pictures" in html
    assert "Training by model" in html
    assert not (output / "cache").exists()
    # A second run has nothing left to do.
    assert run(data, output, "--one-at-a-time", *factors) == 0
    assert found_in(output) == found


def test_a_killed_search_continues_and_loses_no_trial(data, tmp_path):
    output = tmp_path / "joint"
    line = [sys.executable, "-m", "keras_to_lambda", "search", str(data), "-o", str(output),
            *OPTIONS, "--model", "mlp", "--trials", "3", "--factor", "dropout=0..0.5"]  # fmt: skip
    process = subprocess.Popen(
        line, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    for text in process.stdout:
        if text.startswith("trial 2:"):
            break
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    storage = f"sqlite:///{output / 'study.db'}"
    before = optuna.load_study(study_name="search", storage=storage).trials
    assert [trial.state.name for trial in before] == ["COMPLETE", "RUNNING"]
    assert search.main(line[4:]) == 0
    after = optuna.load_study(study_name="search", storage=storage).trials
    assert [trial.state.name for trial in after[:2]] == ["COMPLETE", "FAIL"]
    assert after[2].params == before[1].params  # the interrupted trial comes first
    assert sum(trial.state.name in ("COMPLETE", "PRUNED") for trial in after) == 3
    assert len(found_in(output)["trials"]) == 3
    with pytest.raises(SystemExit):
        search.main([*line[4:], "--factor", "nonsense"])


def test_another_search_is_not_continued(data, tmp_path, capfd):
    once = ("--model", "mlp", "--trials", "1")
    assert run(data, tmp_path, *once, "--factor", "dropout=0|0.5") == 0
    assert run(data, tmp_path, *once, "--factor", "dropout=0|0.2") == 2
    assert "is of another search" in capfd.readouterr().err
    assert run(data, tmp_path, "--factor", "dropout=0", "--factor", "dropout=0.2") == 2
    assert "--factor dropout is given twice" in capfd.readouterr().err
