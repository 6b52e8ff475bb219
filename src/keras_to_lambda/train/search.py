"""`k2l search`: which network, learning rate, inner layers, dropout, augmentation?

Trials are compared on the validation pictures; the test pictures are not used.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import hashlib
import json
import math
import shlex
import shutil
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

from keras_to_lambda import atomic_files
from keras_to_lambda.cli import frame
from keras_to_lambda.cli.evaluation import wilson
from keras_to_lambda.train import recipe_options, train
from keras_to_lambda.train.data import sources
from keras_to_lambda.train.data.dataset import DataError, Dataset
from keras_to_lambda.train.fit import quiet
from keras_to_lambda.train.fit.recipe import AUGMENTATIONS, FLIPS, PHOTOS, Recipe

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
TEMPLATE = Path(__file__).with_name("search.html.jinja")
STEPS = 5  # values of a range that are tried one at a time
MOST_CURVES = 6  # histories in one plot: the colours that a page has
FACTORS = (
    "learning_rate=0.0001..0.01",
    "inner=0|10|100|300",
    "dropout=0|0.2|0.5",
    "augment=none|light|strong",
)
# A factor's name: the option that it is, and the type of its values.
KINDS: dict[str, type] = {
    **dict.fromkeys(("model", "augment", "flip"), str),
    **dict.fromkeys(("size", "inner", "batch_size", "fine_tune"), int),
    **dict.fromkeys(("learning_rate", "fine_tune_rate", "dropout", "label_smoothing"), float),
    **dict.fromkeys(("weight_decay", "balance", "mixup", "cutout", "rotation"), float),
}
WORDS = {"augment": tuple(AUGMENTATIONS), "flip": FLIPS}


@dataclasses.dataclass(frozen=True, slots=True)
class Factor:
    """One option that is varied. name: of KINDS. values: to choose from, or the ends of a range."""

    name: str
    values: tuple[Any, ...]
    ranged: bool = False

    @classmethod
    def read(cls, text: str) -> Factor:
        """From the command line: name=a|b|c, or name=low..high."""
        name, _, given = text.partition("=")
        kind = KINDS.get(name)
        if kind is None or not given:
            raise argparse.ArgumentTypeError(
                f"{text!r}: use NAME=a|b|c or NAME=low..high; NAME is one of {', '.join(KINDS)}"
            )
        ranged = kind is not str and ".." in given
        try:
            values = tuple(map(kind, given.split(".." if ranged else "|")))
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r}: values of {name} are numbers") from None
        if ranged and not (len(values) == 2 and values[0] < values[1]):
            raise argparse.ArgumentTypeError(f"{text!r}: the lower end comes first")
        if unknown := [v for v in values if v not in WORDS.get(name, values)]:
            raise argparse.ArgumentTypeError(f"{unknown[0]} is not one of {', '.join(WORDS[name])}")
        return cls(name, values, ranged)

    @property
    def logarithmic(self) -> bool:
        """Whether a range spans ratios rather than differences."""
        return self.ranged and self.values[0] > 0 and self.values[1] / self.values[0] >= 10

    def suggest(self, trial: optuna.Trial) -> Any:
        """Optuna's choice."""
        if not self.ranged:
            return trial.suggest_categorical(self.name, self.values)
        if KINDS[self.name] is int:
            return trial.suggest_int(self.name, *self.values)
        return trial.suggest_float(self.name, *self.values, log=self.logarithmic)

    def ladder(self) -> tuple[Any, ...]:
        """The values that are tried one at a time."""
        if not self.ranged:
            return self.values
        spread = np.geomspace if self.logarithmic else np.linspace
        rungs = spread(self.values[0], self.values[1], STEPS)
        # Four digits: 0.0003162, not 0.00031622776601683794.
        return tuple(dict.fromkeys(KINDS[self.name](float(f"{rung:.4g}")) for rung in rungs))

    @property
    def start(self) -> Any:
        """The value while other factors are varied before it."""
        return self.ladder()[len(self.ladder()) // 2 if self.ranged else 0]


@dataclasses.dataclass(slots=True)
class Search:
    """A study and everything that its trials need.

    args: the command's. data: what is trained on. study: Optuna's. output: for the trials' states.
    ladders: of a search one at a time, the trials in which each factor alone was varied.
    """

    args: argparse.Namespace
    data: Dataset
    study: optuna.Study
    output: Path
    ladders: dict[str, list[FrozenTrial]] = dataclasses.field(default_factory=dict)

    def trial(self, trial: optuna.Trial) -> float:
        """Train with the factors' values. Returns the best epoch's validation accuracy."""
        from optuna_integration import KerasPruningCallback

        from keras_to_lambda.train.fit.fitting import ACCURACY, TrainingRun

        values = {factor.name: factor.suggest(trial) for factor in self.args.factor}
        print(f"trial {trial.number + 1}: {described(values)}", flush=True)
        recipe = recipe_options.recipe(applied(self.args, values), self.data)
        # Named for its values: an interrupted trial continues where it was.
        key = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]
        run = TrainingRun(
            recipe, train.card("search", self.data.labels, recipe), self.data,
            self.output / "trials" / key, self.output / "cache",
            more_callbacks=lambda: [KerasPruningCallback(trial, ACCURACY)], verbose=0,
        )  # fmt: skip
        try:
            run.fit()
        finally:
            trial.set_user_attr("seconds", round(run.seconds, 1))
            trial.set_user_attr("history", run.history)
        shutil.rmtree(run.folder)
        return float(max(entry["validation_accuracy"] for entry in run.history))

    def finished(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Print a trial's result."""
        ending = ", stopped early"
        if trial.state == TrialState.COMPLETE:
            ending = ", the best so far" * (study.best_trial.number == trial.number)
        print(f"trial {trial.number + 1}: accuracy {accuracy(trial):.3f}{ending}", flush=True)

    def one_at_a_time(self) -> None:
        """Each factor in turn along its ladder, the others at what has been best so far."""
        best = {factor.name: factor.start for factor in self.args.factor}
        for factor in self.args.factor:
            trials = [self._tried({**best, factor.name: value}) for value in factor.ladder()]
            best[factor.name] = max(trials, key=accuracy).params[factor.name]
            self.ladders[factor.name] = trials

    def completed(self) -> list[FrozenTrial]:
        """The trials that were trained to the end."""
        return [trial for trial in self.study.trials if trial.state == TrialState.COMPLETE]

    def _tried(self, values: dict[str, Any]) -> FrozenTrial:
        """The trial with these values, trained now if it was not."""
        known = [trial for trial in self.completed() if trial.params == values]
        if not known:
            self.study.enqueue_trial(values, skip_if_exists=False)
            self.study.optimize(self.trial, n_trials=1, callbacks=[self.finished])
            known = self.completed()[-1:]
        return known[0]

    def interval(self, trial: FrozenTrial) -> tuple[float, float]:
        """The 95% interval of a trial's accuracy."""
        seen = len(self.data.splits["validation"])
        return wilson(round(accuracy(trial) * seen), seen)


def accuracy(trial: FrozenTrial) -> float:
    """A trial's validation accuracy; of one that was stopped, after its last epoch."""
    if trial.state == TrialState.COMPLETE:
        return trial.value or 0.0
    values = trial.intermediate_values
    return values[max(values)] if values else 0.0


def described(values: dict[str, Any]) -> str:
    """Factors and their values, for people."""
    return ", ".join(f"{name} {_short(value)}" for name, value in values.items())


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def applied(args: argparse.Namespace, values: dict[str, Any]) -> argparse.Namespace:
    """The command's options with the factors' values in them."""
    changed = copy.copy(args)
    for name, value in values.items():
        setattr(changed, name, [value] if name == "inner" else value)
    return changed


@frame.command("k2l search", interrupted="stopped; the same command continues from the last epoch")
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns the exit code."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    args = parser().parse_args(given)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    args.factor = args.factor or [Factor.read(text) for text in FACTORS]
    names = [factor.name for factor in args.factor]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise DataError(f"--factor {twice[0]} is given twice: list all its values in one")
    output = Path(args.output or f"searches/{sources.name_of(args.data)}")
    data = train.read(args)
    quiet.tensorflow()
    first = {factor.name: factor.start for factor in args.factor}
    plain = recipe_options.recipe(applied(args, first), data)
    output.mkdir(parents=True, exist_ok=True)
    search = Search(args, data, _study(args, data, plain, output), output)
    missing = args.trials - sum(trial.state in FINISHED for trial in search.study.trials)
    if args.one_at_a_time:
        search.one_at_a_time()
    elif missing > 0:  # Optuna's sampler chooses all factors together
        search.study.optimize(search.trial, n_trials=missing, callbacks=[search.finished])
    print(_write(search, given))
    for folder in ("cache", "trials"):
        shutil.rmtree(output / folder, ignore_errors=True)
    return 0


def _study(args: argparse.Namespace, data: Dataset, recipe: Recipe, output: Path) -> optuna.Study:
    """The study in OUTPUT/study.db; an interrupted trial of it comes first."""
    from keras_to_lambda.train.fit.fitting import identity

    # One at a time, each value is wanted: the plot is of them.
    pruner: optuna.pruners.BasePruner = optuna.pruners.NopPruner()
    if not args.one_at_a_time:
        pruner = optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=3)
    study = optuna.create_study(
        storage=f"sqlite:///{output / 'study.db'}", study_name="search", direction="maximize",
        pruner=pruner, load_if_exists=True,
    )  # fmt: skip
    # A continued study does not draw again what it has drawn.
    study.sampler = optuna.samplers.TPESampler(seed=recipe.seed + len(study.trials))
    facts = {
        "run": identity(recipe, data),
        "factors": [list(dataclasses.astuple(factor)) for factor in args.factor],
        "one_at_a_time": args.one_at_a_time,
    }
    facts = json.loads(json.dumps(facts))  # as the study gives it back
    if study.user_attrs.get("facts", facts) != facts:
        raise DataError(
            f"{output / 'study.db'} is of another search (data, options or factors differ): give "
            "another folder with -o, or remove it"
        )
    study.set_user_attr("facts", facts)
    for trial in study.trials:
        if trial.state == TrialState.RUNNING:
            study.tell(trial.number, state=TrialState.FAIL)
            # One at a time, what is missing is found anyway.
            if trial.params and not args.one_at_a_time:
                study.enqueue_trial(trial.params)
    if finished := sum(trial.state in FINISHED for trial in study.trials):
        print(f"continuing after {finished} trials", flush=True)
    return study


def _write(search: Search, given: list[str]) -> str:
    """Write search.json and search.html. Returns the summary to print."""
    from keras_to_lambda import html_report
    from keras_to_lambda.train import run_report

    best, seen = search.study.best_trial, len(search.data.splits["validation"])
    line = ["k2l", "train", *_options_of_train(given)]
    for name, value in best.params.items():
        line += [f"--{name.replace('_', '-')}", _short(value)]
    rows = [
        {
            "trial": trial.number + 1,
            "state": trial.state.name.lower(),
            "accuracy": accuracy(trial),
            "seconds": trial.user_attrs.get("seconds"),
            **trial.params,
        }
        for trial in search.study.trials
        if trial.state in FINISHED
    ]
    effects = _effects(search)
    low, high = search.interval(best)
    largest = f" The factor with the largest effect is {next(iter(effects), '')}."
    html = html_report.render(
        TEMPLATE,
        kind="Search",
        title=sources.name_of(search.args.data),
        conclusion=f"The best of {len(rows)} trials has a validation accuracy of {best.value:.3f}: "
        f"{described(best.params)}." + largest * bool(effects),
        command=run_report.public(["k2l", "search", *given]),
        rows=rows,
        factors=[factor.name for factor in search.args.factor],
        best=best.number + 1,
        tiles=[
            (
                f"{best.value:.3f}",
                f"validation accuracy of the best, 95% interval {low:.3f} to {high:.3f}",
            ),
            (str(seen), "validation pictures"),
            (str(len(rows)), "trials"),
        ],
        effects=[(name, value, f"{value:.3f}") for name, value in effects.items()],
        one_at_a_time=search.args.one_at_a_time,
        line=run_report.public(line),
        plots=[(title, html_report.plot(figure, title)) for title, figure in _plots(search)],
    )
    record = {
        "data_sha256": search.data.sha256,
        "validation_pictures": seen,
        "best": {"accuracy": best.value, **best.params},
        "effects": effects,
        "trials": rows,
    }
    atomic_files.write_report(search.output / "search.html", html, record)
    return (
        f"best of {len(rows)} trials: validation accuracy {best.value:.3f} on {seen} pictures\n"
        f"wrote {search.output / 'search.html'} and search.json\nnext: {shlex.join(line)}"
    )


def _effects(search: Search) -> dict[str, float]:
    """How much each factor matters, the most first.

    One at a time: highest minus lowest accuracy of the trials in which it alone was varied.
    Jointly: Optuna's importances, which add up to 1; {} for fewer than four trials
    or equal accuracies.
    """
    if search.args.one_at_a_time:
        found = {
            name: max(map(accuracy, trials)) - min(map(accuracy, trials))
            for name, trials in search.ladders.items()
            if len(trials) > 1
        }
    else:
        values = [trial.value for trial in search.completed()]
        if len(values) < 4 or len(set(values)) < 2:
            return {}
        seed = PHOTOS.seed if search.args.seed is None else search.args.seed
        evaluator = optuna.importance.FanovaImportanceEvaluator(seed=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = optuna.importance.get_param_importances(search.study, evaluator=evaluator)
    ranked = sorted(found.items(), key=lambda item: -item[1])
    return {name: round(value, 4) for name, value in ranked if math.isfinite(value)}


def _plots(search: Search) -> list[tuple[str, Figure]]:
    from keras_to_lambda.train.fit import history

    figures = []
    for factor in search.args.factor:
        name = factor.name
        trials = search.ladders.get(name, search.completed())
        if len({trial.params[name] for trial in trials}) < 2:
            continue
        figures.append((f"Accuracy by {name}", _by(search, factor, trials)))
        if search.ladders:
            curves = {
                described({name: trial.params[name]}): trial.user_attrs["history"]
                for trial in trials[:MOST_CURVES]
            }
            figures.append((f"Training by {name}", history.plot(curves)))
    if not search.ladders:
        ranked = sorted(search.completed(), key=accuracy, reverse=True)[:MOST_CURVES]
        curves = {f"trial {trial.number + 1}": trial.user_attrs["history"] for trial in ranked}
        figures.append(("Training of the best trials", history.plot(curves)))
    return figures


def _by(search: Search, factor: Factor, trials: Sequence[FrozenTrial]) -> Figure:
    """Each trial's accuracy over one factor, with its interval."""
    from matplotlib.figure import Figure as Drawn

    from keras_to_lambda import html_report

    figure = Drawn(figsize=(4, 3), layout="constrained")
    axis = html_report.axes(figure, xlabel=factor.name, ylabel="validation accuracy")
    first, _, other, *_ = html_report.SERIES
    for trial in trials:
        value = trial.params[factor.name]
        place = value if factor.ranged else factor.values.index(value)
        chosen = trial.number == search.study.best_trial.number
        axis.vlines(place, *search.interval(trial), color=html_report.SOFT, alpha=0.6, zorder=1)
        axis.plot(place, accuracy(trial), "o", color=other if chosen else first, zorder=2)
    if not factor.ranged:
        axis.set_xticks(range(len(factor.values)), [str(value) for value in factor.values])
    elif factor.logarithmic:
        axis.set_xscale("log")
    axis.grid(color=html_report.LINE, linewidth=0.6)
    return figure


def _options_of_train(given: list[str]) -> list[str]:
    """The command line without the search's own options."""
    parser = argparse.ArgumentParser(add_help=False)
    _own(parser)
    _, kept = parser.parse_known_args(given)
    return kept


def _own(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("-o", "--output", metavar="DIR", help="folder for the study and its report (default: "
        "searches/NAME)")  # fmt: skip
    add("--factor", type=Factor.read, action="append", metavar="NAME=VALUES", help="option to "
        "vary: NAME=a|b|c, or NAME=low..high; repeatable, in the order in which they are tried one "
        f"at a time (default: {' '.join(FACTORS)}); names: {', '.join(KINDS)}")  # fmt: skip
    add("--trials", type=int, default=20, metavar="N", help="number of trials, earlier ones "
        "included; one at a time, it follows from the values (default: %(default)s)")  # fmt: skip
    add("--one-at-a-time", action="store_true", help="each factor in turn, the others at their "
        "best so far, instead of all together")  # fmt: skip


def parser() -> argparse.ArgumentParser:
    parser = frame.Parser(
        "k2l search",
        "Search for the best options of `k2l train`, whose options it takes.",
        "After an interruption the same command continues the search; more --trials continue a "
        f"finished one.\n\nDATA is one of these:\n{sources.FORMS}",
        usage="%(prog)s DATA [options]",
    )
    sources.add(parser)
    _own(parser)
    recipe_options.add(parser)
    return parser
