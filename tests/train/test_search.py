"""The search: its factors, its order, its resume, its report."""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys

import optuna
import pytest

from keras_to_lambda.train import recipe_options, search
from keras_to_lambda.train.data import photos
from keras_to_lambda.train.fit import fitting
from keras_to_lambda.train.search import Factor

OPTIONS = ("--model", "mlp", "--size", "32", "--epochs", "2", "--batch-size", "16")


@pytest.mark.parametrize(
    ("text", "ladder"),
    [
        ("learning_rate=0.0001..0.01", (0.0001, 0.0003162, 0.001, 0.003162, 0.01)),
        ("dropout=0..0.8", (0.0, 0.2, 0.4, 0.6, 0.8)),
        ("learning-rate=0.1|0.2", ("0.1", "0.2")),
        ("inner=0|10|100", ("0", "10", "100")),
        ("batch_size=8..10", (8, 9, 10)),
        ("model=Xception|MobileNetV2", ("Xception", "MobileNetV2")),
        ("augment=none|light,zoom=0.5..1", ("none", "light,zoom=0.5..1")),
    ],
)
def test_a_factor_has_a_ladder_of_values(text, ladder):
    assert Factor.read(text).values == ladder


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("depth=1|2", "NAME is one of model"),
        ("inner", "use NAME=a"),
        ("inner=a|b", "'a' is not a whole number"),
        ("dropout=0.5..0.1", "the lower end comes first"),
        ("augment=wild", "'wild' is not one of none"),
        ("augment=light..strong", "a range needs two numbers; list other values as augment=a|b|c"),
        ("fine_tune=0..all", "'fine_tune=0..all': a range needs two numbers"),
    ],
)
def test_a_wrong_factor_is_named(text, message):
    with pytest.raises(argparse.ArgumentTypeError, match=re.escape(message)):
        Factor.read(text)


def test_values_reach_the_recipe(shapes):
    args = search.parser().parse_args([str(shapes), "--weights", "none"])
    loaded = photos.load(shapes, 1)
    values = {"model": "MobileNetV2", "size": 96, "learning_rate": 0.003, "inner": 12,
              "dropout": "0.25", "augment": "none"}  # fmt: skip
    made = recipe_options.recipe(search.applied(args, values), loaded)
    assert (made.network.name, made.size, made.learning_rate) == ("MobileNetV2", 96, 0.003)
    assert (made.inner, made.dropout) == ((12,), 0.25)
    assert made.augmentation.rotation == 0
    assert recipe_options.recipe(search.applied(args, {"inner": "0"}), loaded).inner == ()


def run(shapes, output, *more):
    return search.main([str(shapes), "-o", str(output), *OPTIONS, *more])


def found_in(output):
    """The trials, and the texts of the page's table rows."""
    study = optuna.load_study(study_name="search", storage=f"sqlite:///{output / 'study.db'}")
    html = (output / "search.html").read_text(encoding="utf-8")
    return study.trials, re.findall(r"<tr[^>]*>(?=<td)(.*?)</tr>", html)


def test_one_at_a_time_each_factor_is_varied_from_the_best_so_far(shapes, tmp_path, capfd):
    factors = ("--factor", "learning_rate=0.0001|0.004", "--factor", "dropout=0|0.5")
    assert run(shapes, tmp_path, "--one-at-a-time", *factors) == 0
    printed = capfd.readouterr().out
    trials, rows = found_in(tmp_path)
    # Two rates, then the other dropout at the better rate; a known trial is not trained again.
    better = max(trials[:2], key=lambda trial: trial.value).params["learning_rate"]
    assert [(t.params["learning_rate"], t.params["dropout"]) for t in trials] == [
        ("0.0001", "0"), ("0.004", "0"), (better, "0.5"),
    ]  # fmt: skip
    assert len(rows) == 3
    for trial in trials:
        assert f"trial {trial.number + 1}: accuracy {trial.value:.3f}" in printed
    line = printed.splitlines()[-1]
    assert line.startswith("next: k2l train ")
    best = max(trials, key=lambda trial: trial.value)
    assert f"--learning-rate {best.params['learning_rate']}" in line
    assert "--factor" not in line
    html = (tmp_path / "search.html").read_text(encoding="utf-8")
    # The effect of each factor is its own spread, from the trials in which it alone differs.
    spread = abs(trials[0].value - trials[1].value)
    assert re.search(rf'learning_rate</th>.*<td class="n">{spread:.3f}</td>', html)
    assert "dashed: training pictures" in html
    assert "Training by dropout" in html
    assert not (tmp_path / "cache").exists()
    # A second run has nothing left to do.
    assert run(shapes, tmp_path, "--one-at-a-time", *factors) == 0
    assert len(found_in(tmp_path)[0]) == 3


def test_a_trial_that_was_stopped_by_ctrl_c_comes_first(shapes, tmp_path, monkeypatch, capfd):
    fit, begun = fitting.TrainingRun.fit, []

    def stopped(run):
        begun.append(run)
        if len(begun) == 2:
            raise KeyboardInterrupt
        return fit(run)

    monkeypatch.setattr(fitting.TrainingRun, "fit", stopped)
    line = ("--trials", "3", "--factor", "dropout=0..0.5")
    assert run(shapes, tmp_path, *line) == 130
    assert "the same command continues" in capfd.readouterr().err
    assert run(shapes, tmp_path, *line) == 0
    trials, rows = found_in(tmp_path)
    assert [trial.state.name for trial in trials[:2]] == ["COMPLETE", "FAIL"]
    assert trials[2].params == trials[1].params
    assert len(rows) == 3
    with pytest.raises(SystemExit):
        run(shapes, tmp_path, "--trials", "0")
    assert "--trials" in capfd.readouterr().err


def entry(epoch, accuracy):
    losses = {"loss": 1.0, "validation_loss": 1.0, "accuracy": accuracy}
    return {"epoch": epoch, **losses, "validation_accuracy": accuracy, "seconds": 1.0}


@pytest.fixture
def fitted(monkeypatch):
    """Stands for the training: the network gets worse, from an accuracy that dropout decides."""
    begun = []

    def fit(run):
        begun.append((run.recipe.inner, run.recipe.dropout))
        reached = 0.9 - run.recipe.dropout
        run.history = [entry(1, reached), entry(2, reached - 0.25)]
        run.folder.mkdir(parents=True)

    monkeypatch.setattr(fitting.TrainingRun, "fit", fit)
    return begun


def page(folder):
    return (folder / "search.html").read_text(encoding="utf-8")


def test_each_combination_of_lists_is_trained_once(shapes, tmp_path, fitted, capfd):
    line = ("--factor", "inner=0|16", "--factor", "dropout=0|0.25")
    for count, ended in ((1, False), (3, False), (9, True)):
        assert run(shapes, tmp_path, *line, "--trials", str(count)) == 0
        assert len(fitted) == min(4, count)
        assert ("all combinations of the values are done" in capfd.readouterr().out) is ended
    assert set(fitted) == {((), 0), ((), 0.25), ((16,), 0), ((16,), 0.25)}
    assert "The factor with the largest effect is dropout." in page(tmp_path)


@pytest.mark.parametrize(("options", "accuracy"), [((), 0.65), (("--patience", "2"), 0.9)])
def test_a_trial_counts_by_the_epoch_that_the_training_keeps(
    shapes, tmp_path, fitted, capfd, options, accuracy
):
    assert run(shapes, tmp_path, "--factor", "dropout=0", *options) == 0
    assert f"The only trial has a validation accuracy of {accuracy:.3f}" in capfd.readouterr().out
    html = page(tmp_path)
    assert "largest effect" not in html
    assert "A dot for each trial" not in html
    assert "Part of the lead" not in html
    assert ">1.000<" not in html


def test_effects_of_nothing_are_none(shapes, tmp_path, fitted):
    line = ("--factor", "inner=0|16", "--factor", "learning_rate=0.1|0.2", "--one-at-a-time")
    assert run(shapes, tmp_path, *line) == 0
    assert "No factor changed the accuracy." in page(tmp_path)
    assert "largest effect" not in page(tmp_path)


def test_a_stopped_trial_is_shown_by_its_last_epoch():
    trial = optuna.trial.create_trial(
        state=optuna.trial.TrialState.PRUNED, intermediate_values={0: 0.8, 1: 0.25}
    )
    assert search.accuracy(trial) == 0.25
    assert search.state(trial) == "stopped early, after epoch 2"


def test_values_that_no_network_has_together_are_refused_before_the_first_trial(
    shapes, tmp_path, capfd
):
    line = [str(shapes), "-o", str(tmp_path / "search"), "--weights", "none"]
    factors = ("--factor", "model=MobileNetV2|Xception", "--factor", "size=48|96")
    assert search.main([*line, *factors]) == 2
    message = capfd.readouterr().err.splitlines()[-1]
    assert "model=Xception, size=48: Xception at 48 pixels" in message
    assert message.endswith("; leave out model=Xception or size=48")
    line = [*line[:3], "--fine-tune", "5"]
    assert search.main([*line, "--factor", "model=residual|MobileNet"]) == 2
    assert "model=residual: --fine-tune" in capfd.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "search").exists()


def test_a_killed_search_continues_and_loses_no_trial(shapes, tmp_path, capfd):
    line = ["search", str(shapes), "-o", str(tmp_path), *OPTIONS, "--trials", "4", "--factor",
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
    after, rows = found_in(tmp_path)
    assert [trial.state.name for trial in after[:2]] == ["COMPLETE", "FAIL"]
    assert after[2].params == before[1].params  # the interrupted trial comes first
    assert sum(trial.state.name in ("COMPLETE", "PRUNED") for trial in after) == 4
    assert len(rows) == 4
    # Another search does not continue it.
    assert search.main([*line[1:-1], "dropout=0|0.2"]) == 2
    assert "is of another search" in capfd.readouterr().err
    assert search.main([*line[1:], "--factor", "dropout=0.2"]) == 2
    assert "--factor dropout is given twice" in capfd.readouterr().err
