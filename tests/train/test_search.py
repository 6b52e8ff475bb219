"""The search: its factors, its order, its memory, its report."""

from __future__ import annotations

import argparse
import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import optuna
import pytest

from keras_to_lambda.train import search
from keras_to_lambda.train.search import Factor

ROOT = Path(__file__).resolve().parents[2]
OPTIONS = ("--size", "32", "--epochs", "2", "--batch-size", "16")


@pytest.mark.parametrize(
    ("text", "ladder"),
    [
        ("learning_rate=0.0001..0.01", (0.0001, 0.0003162, 0.001, 0.003162, 0.01)),
        ("dropout=0..0.8", (0.0, 0.2, 0.4, 0.6, 0.8)),
        ("inner=0|10|100", (0, 10, 100)),
        ("augment=none|strong", ("none", "strong")),
        ("batch_size=8..10", (8, 9, 10)),
    ],
)
def test_a_factor_has_a_ladder_of_values(text, ladder):
    made = Factor.read(text).ladder()
    assert [type(value) for value in made] == [type(value) for value in ladder]
    assert made == pytest.approx(ladder) if isinstance(ladder[0], float) else made == ladder


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("depth=1|2", "NAME is one of learning_rate"),
        ("inner", "say NAME=a"),
        ("inner=a|b", "values of inner are numbers"),
        ("dropout=0.5..0.1", "the lower end comes first"),
        ("augment=wild", "wild is none of none"),
    ],
)
def test_a_wrong_factor_is_told(text, message):
    with pytest.raises(argparse.ArgumentTypeError, match=re.escape(message)):
        Factor.read(text)


def test_values_reach_the_recipe(pictures, tmp_path):
    from keras_to_lambda.train import options
    from keras_to_lambda.train.data import photos

    args = search._parser().parse_args([str(tmp_path), *OPTIONS])
    data = photos.load(pictures(tmp_path / "data", each=10), 1)
    values = {"learning_rate": 0.003, "inner": 12, "dropout": 0.25, "augment": "none"}
    made = options.recipe(search.applied(args, values), data)
    assert (made.learning_rate, made.head.inner, made.head.dropout) == (0.003, (12,), 0.25)
    assert made.augmentation.rotation == 0
    assert options.recipe(search.applied(args, {"inner": 0}), data).head.inner == ()
    assert args.inner is None  # the command's own are as they were


@pytest.fixture(scope="module")
def data(pictures, tmp_path_factory):
    return pictures(tmp_path_factory.mktemp("search") / "data", each=14)


def run(data, output, *more):
    return search.main([str(data), "-o", str(output), *OPTIONS, *more])


def test_one_at_a_time_each_factor_is_taken_in_turn_from_the_best_so_far(data, tmp_path, capfd):
    output = tmp_path / "one"
    factors = ("--factor", "learning_rate=0.0001|0.004", "--factor", "inner=0|8")
    assert run(data, output, "--one-at-a-time", *factors) == 0
    told = capfd.readouterr().out
    found = json.loads((output / "search.json").read_text(encoding="utf-8"))
    trials = found["trials"]
    # Two rates, then the other width at the better rate; what is known is not trained twice.
    assert [(t["learning_rate"], t["inner"]) for t in trials[:2]] == [(0.0001, 0), (0.004, 0)]
    better = max(trials[:2], key=lambda trial: trial["accuracy"])["learning_rate"]
    assert [(t["learning_rate"], t["inner"]) for t in trials[2:]] == [(better, 8)]
    best = max(trials, key=lambda trial: trial["accuracy"])
    assert found["best"]["accuracy"] == best["accuracy"]
    assert found["validation_pictures"] == 3
    line = told.splitlines()[-1]
    assert re.match(r"next: \S*k2l train ", line)
    assert f"--learning-rate {found['best']['learning_rate']:g}" in line
    assert "--factor" not in line
    html = (output / "search.html").read_text(encoding="utf-8")
    assert html.count('src="data:image/svg') == html.count("<img") >= 4
    assert "http://" not in html.replace("http://www.w3.org", "")
    assert not (output / "cache").exists()
    # Run again, it has nothing left to do.
    assert run(data, output, "--one-at-a-time", *factors) == 0
    again = json.loads((output / "search.json").read_text(encoding="utf-8"))
    assert again == found


def test_a_search_that_is_killed_goes_on_and_loses_no_trial(data, tmp_path):
    output = tmp_path / "joint"
    command = [sys.executable, "-m", "keras_to_lambda", "search",
         str(data), "-o", str(output), *OPTIONS,
               "--trials", "4", "--factor", "dropout=0..0.5"]  # fmt: skip
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    for line in process.stdout:
        if line.startswith("trial 2"):
            break
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)
    storage = f"sqlite:///{output / 'study.db'}"
    (one, killed) = optuna.load_study(study_name="search", storage=storage).trials
    assert killed.state == optuna.trial.TrialState.RUNNING
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "resuming after 1 trials" in done.stdout
    trials = optuna.load_study(study_name="search", storage=storage).trials
    finished = [trial for trial in trials if trial.state in search.FINISHED]
    assert len(finished) == 4
    assert finished[0].params == one.params
    # What was being tried when it was killed comes next.
    assert finished[1].params == killed.params


def test_one_at_a_time_what_was_killed_is_tried_again_and_nothing_is_left_out(data, tmp_path):
    output = tmp_path / "one"
    output.mkdir()
    factors = ("--factor", "dropout=0|0.3|0.5")
    tried = []
    ask = search.Search.trial

    def killed_once(self, trial):
        if len(tried) == 1:
            tried.append(None)
            raise KeyboardInterrupt  # leaves the trial as kill -9 does: running
        tried.append(ask(self, trial))
        return tried[-1]

    search.Search.trial = killed_once
    try:
        with pytest.raises(KeyboardInterrupt):
            run(data, output, "--one-at-a-time", *factors)
        storage = f"sqlite:///{output / 'study.db'}"
        study = optuna.load_study(study_name="search", storage=storage)
        assert len(study.trials) == 2
        assert run(data, output, "--one-at-a-time", *factors) == 0
    finally:
        search.Search.trial = ask
    found = json.loads((output / "search.json").read_text(encoding="utf-8"))
    assert [trial["dropout"] for trial in found["trials"]] == [0, 0.3, 0.5]


def test_more_trials_are_other_trials(data, tmp_path):
    output = tmp_path / "more"
    for trials in ("2", "4"):
        assert run(data, output, "--trials", trials, "--factor", "dropout=0..0.5") == 0
    found = json.loads((output / "search.json").read_text(encoding="utf-8"))
    assert len({trial["dropout"] for trial in found["trials"]}) == 4


def test_a_study_of_other_options_is_not_gone_on_with(data, tmp_path, capfd):
    output = tmp_path / "other"
    assert run(data, output, "--trials", "1", "--factor", "dropout=0|0.5") == 0
    assert run(data, output, "--trials", "1", "--factor", "dropout=0|0.4") == 2
    assert "study.db is of another search" in capfd.readouterr().err
    assert run(data, output, "--trials", "1", "--factor", "dropout=0", "--factor",
               "dropout=1") == 2  # fmt: skip
    assert "stands twice" in capfd.readouterr().err


def test_poor_trials_are_pruned(data, tmp_path, monkeypatch):
    """Four good ones first; one that never learns is given up before its end."""
    made = []
    create = optuna.create_study

    def remembered(**given):
        made.append(create(**given))
        return made[-1]

    monkeypatch.setattr(optuna, "create_study", remembered)
    output = tmp_path / "pruned"
    rates = "learning_rate=0.004|0.0000001"
    arguments = ["--epochs", "8", "--trials", "1", "--factor", rates]
    monkeypatch.setattr(Factor, "suggest", _planned([0.004] * 4 + [1e-7], Factor.suggest))
    for trials in range(1, 6):
        arguments[3] = str(trials)
        assert run(data, output, *arguments) == 0
    states = [trial.state for trial in made[-1].trials]
    assert states[:4] == [search.COMPLETE] * 4
    assert states[4] == optuna.trial.TrialState.PRUNED
    assert len(made[-1].trials[4].intermediate_values) < 8


def _planned(values, suggest):
    """Optuna's choice is luck: these are what it chooses."""

    def planned(self, trial):
        trial.storage.set_trial_param(
            trial._trial_id, self.name,
            self.values.index(values[trial.number]),
            optuna.distributions.CategoricalDistribution(self.values),
        )  # fmt: skip
        return values[trial.number]

    return planned
