"""`k2l search`: which network, learning rate, inner layers, dropout, augmentation?

Trials are compared on the validation pictures; the test pictures are not used.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import itertools
import json
import math
import shlex
import shutil
import sys
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

from keras_to_lambda import atomic_files, html_report
from keras_to_lambda.cli import frame
from keras_to_lambda.cli.evaluation import wilson
from keras_to_lambda.train import recipe_options, train
from keras_to_lambda.train.data import sources
from keras_to_lambda.train.data.dataset import DataError, Dataset
from keras_to_lambda.train.fit import history, quiet
from keras_to_lambda.train.fit.recipe import Backbone, Recipe

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
TEMPLATE = Path(__file__).with_name("search.html.jinja")
STEPS = 5  # values of a range that are tried one at a time
MOST_CURVES = len(html_report.SERIES)  # histories in one plot
FACTORS = (
    "learning_rate=0.0001..0.01",
    "inner=0|10|100|300",
    "dropout=0|0.2|0.5",
    "augment=none|light|strong",
)
SHAPING = ("model", "size", "width", "fine_tune")  # not every network has every value of these
READERS = {name: read for name, read in recipe_options.READERS.items() if name != "seed"}


@dataclasses.dataclass(frozen=True, slots=True)
class Factor:
    """One option that is varied.

    name: of READERS. values: as on the command line; of a range, numbers that are evenly spread.
    ranged: whether other numbers between the first and the last are tried as well.
    """

    name: str
    values: tuple[Any, ...]
    ranged: bool = False

    @classmethod
    def read(cls, text: str) -> Factor:
        """From the command line: name=a|b|c, or name=low..high."""
        name, _, given = text.partition("=")
        name = name.replace("-", "_")
        if name not in READERS or not given:
            raise argparse.ArgumentTypeError(
                f"{text!r}: use NAME=a|b|c or NAME=low..high; NAME is one of {', '.join(READERS)}"
            )
        ends = given.split("..")
        ranged = len(ends) == 2 and "=" not in given  # --augment has ranges in it
        values = [READERS[name](value) for value in (ends if ranged else given.split("|"))]
        if not ranged:
            return cls(name, tuple(given.split("|")))
        kind = float if isinstance(values[0], float) else int
        try:
            low, high = map(kind, ends)
        except ValueError:
            raise argparse.ArgumentTypeError(
                f"{text!r}: a range needs two numbers; list other values as {name}=a|b|c"
            ) from None
        if low >= high:
            raise argparse.ArgumentTypeError(f"{text!r}: the lower end comes first")
        spread = np.geomspace if _logarithmic(low, high) else np.linspace
        # Four digits: 0.0003162, not 0.00031622776601683794.
        rungs = dict.fromkeys(kind(float(f"{rung:.4g}")) for rung in spread(low, high, STEPS))
        return cls(name, tuple(rungs), ranged=True)

    def suggest(self, trial: optuna.Trial) -> Any:
        """Optuna's choice."""
        if not self.ranged:
            return trial.suggest_categorical(self.name, self.values)
        low, high = self.values[0], self.values[-1]
        if isinstance(low, int):
            return trial.suggest_int(self.name, low, high)
        return trial.suggest_float(self.name, low, high, log=_logarithmic(low, high))

    @property
    def start(self) -> Any:
        """The value while other factors are varied before it."""
        return self.values[len(self.values) // 2 if self.ranged else 0]


def _logarithmic(low: float, high: float) -> bool:
    """Whether a range spans ratios rather than differences."""
    return low > 0 and high / low >= 10


def shown(value: Any) -> str:
    """A factor's value as on the command line."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def described(values: Mapping[str, Any]) -> str:
    """Factors and their values, for people."""
    return ", ".join(f"{name} {shown(value)}" for name, value in values.items())


def applied(args: argparse.Namespace, values: Mapping[str, Any]) -> argparse.Namespace:
    """The command's options with the factors' values in them."""
    given = {name: READERS[name](shown(value)) for name, value in values.items()}
    return argparse.Namespace(**{**vars(args), **given})


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

    def run(self, count: int) -> None:
        """Train so many trials."""
        if count > 0:
            self.study.optimize(self._trial, n_trials=count, callbacks=[_finished])

    def _trial(self, trial: optuna.Trial) -> float:
        """Train with the factors' values. Returns the kept epoch's validation accuracy."""
        from optuna_integration import KerasPruningCallback

        from keras_to_lambda.train.fit.fitting import ACCURACY, TrainingRun, identity

        values = {factor.name: factor.suggest(trial) for factor in self.args.factor}
        print(f"trial {trial.number + 1}: {described(values)}", flush=True)
        recipe = recipe_options.recipe(applied(self.args, values), self.data)
        # Named for all that decides it: an interrupted trial continues where it was.
        facts = json.dumps([described(values), identity(recipe, self.data)])
        key = hashlib.sha256(facts.encode()).hexdigest()[:12]
        run = TrainingRun(
            recipe, train.card("search", self.data.labels, recipe), self.data,
            self.output / "trials" / key, self.output / "cache",
            more_callbacks=lambda: [KerasPruningCallback(trial, ACCURACY)], verbose=0,
        )  # fmt: skip
        try:
            run.fit()
        except KeyboardInterrupt:
            if sampled(self.args):
                self.study.enqueue_trial(trial.params)
            raise
        finally:
            trial.set_user_attr("seconds", round(run.seconds, 1))
            trial.set_user_attr("history", run.history)
        shutil.rmtree(run.folder)
        reached = [float(entry["validation_accuracy"]) for entry in run.history]
        return max(reached) if recipe.keep == "best" else reached[-1]

    def one_at_a_time(self) -> None:
        """Each factor in turn along its values, the others at what has been best so far."""
        best = {factor.name: factor.start for factor in self.args.factor}
        for factor in self.args.factor:
            trials = [self._tried({**best, factor.name: value}) for value in factor.values]
            best[factor.name] = max(trials, key=accuracy).params[factor.name]
            self.ladders[factor.name] = trials

    def combinations(self, most: int) -> None:
        """Each combination of the listed values once, in an order that the seed decides."""
        shape = [len(factor.values) for factor in self.args.factor]
        order = np.random.default_rng(self.args.seed or 0).permutation(math.prod(shape))
        for place in order[:most]:
            chosen = zip(self.args.factor, np.unravel_index(place, shape), strict=True)
            self._tried({factor.name: factor.values[index] for factor, index in chosen})
        if len(order) <= most:
            print("all combinations of the values are done", flush=True)

    def completed(self) -> list[FrozenTrial]:
        """The trials that were trained to the end."""
        return [trial for trial in self.study.trials if trial.state == TrialState.COMPLETE]

    def _tried(self, values: dict[str, Any]) -> FrozenTrial:
        """The trial with these values, trained now if it was not."""
        if not self._with(values):
            self.study.enqueue_trial(values)
            self.run(1)
        return self._with(values)[0]

    def _with(self, values: dict[str, Any]) -> list[FrozenTrial]:
        done = self.study.get_trials(states=FINISHED)
        return [trial for trial in done if trial.params == values]


def sampled(args: argparse.Namespace) -> bool:
    """Whether Optuna chooses the values; else those that are missing are found by their order."""
    return not args.one_at_a_time and any(factor.ranged for factor in args.factor)


def _finished(study: optuna.Study, trial: FrozenTrial) -> None:
    ending = f", {state(trial)}"
    if trial.state == TrialState.COMPLETE:
        ending = ", the best so far" * (study.best_trial.number == trial.number)
    print(f"trial {trial.number + 1}: accuracy {accuracy(trial):.3f}{ending}", flush=True)


def accuracy(trial: FrozenTrial) -> float:
    """A trial's validation accuracy; of one that was stopped, after its last epoch."""
    if trial.state == TrialState.COMPLETE:
        return trial.value or 0.0
    return float(trial.intermediate_values.get(trial.last_step or 0, 0.0))


def state(trial: FrozenTrial) -> str:
    """A finished trial's state, for people; its accuracy is of the epoch in it."""
    if trial.state == TrialState.COMPLETE:
        return "complete"
    return f"stopped early, after epoch {(trial.last_step or 0) + 1}"


@frame.command("k2l search", interrupted="stopped; the same command continues from the last epoch")
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns the exit code."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    args = parser().parse_args(given)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    args.factor = args.factor or [Factor.read(text) for text in FACTORS]
    names = [factor.name for factor in args.factor]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise DataError(f"--factor {twice[0]} is given twice: list all its values in one")
    output = Path(args.output or f"searches/{sources.name_of(args.data)}")
    data = train.read(args.data, args.seed)
    quiet.tensorflow()
    first = {factor.name: factor.start for factor in args.factor}
    _check(args, data, first)
    plain = recipe_options.recipe(applied(args, first), data)
    output.mkdir(parents=True, exist_ok=True)
    search = Search(args, data, _study(args, data, plain, output), output)
    if args.one_at_a_time:
        search.one_at_a_time()
    elif not sampled(args):
        search.combinations(args.trials)
    else:  # Optuna's sampler chooses all factors together
        search.run(args.trials - len(search.study.get_trials(states=FINISHED)))
    print(_write(search, given))
    for folder in ("cache", "trials"):
        shutil.rmtree(output / folder, ignore_errors=True)
    return 0


def _check(args: argparse.Namespace, data: Dataset, first: Mapping[str, Any]) -> None:
    """Refuse values that no trial can have, and fetch weights, before the first trial's minutes."""
    from keras_to_lambda.train.fit import backbones

    def recipe(values: Mapping[str, Any]) -> Recipe:
        return recipe_options.recipe(applied(args, {**first, **values}), data)

    shaping = {each.name: each.values for each in args.factor if each.name in SHAPING}
    for values in itertools.product(*shaping.values()):
        chosen = dict(zip(shaping, values, strict=True))
        try:
            wanted = recipe(chosen)
            if shaping and isinstance(wanted.network, Backbone):
                for size in {phase.size for phase in wanted.phases()}:
                    backbones.build(wanted.network, size)
        except DataError as error:
            if not shaping:
                raise
            named = [f"{name}={shown(value)}" for name, value in chosen.items()]
            raise DataError(
                f"{', '.join(named)}: {error}; leave out {' or '.join(named)}"
            ) from error
        if shaping and isinstance(wanted.network, Backbone):
            backbones.fetch(wanted.network, wanted.phases()[0].size)
    for factor in args.factor:
        if factor.name not in SHAPING:
            for value in factor.values:
                recipe({factor.name: value})


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
    factors = [dataclasses.astuple(factor) for factor in args.factor]
    facts = json.dumps([identity(recipe, data), factors, args.one_at_a_time])
    if study.user_attrs.get("facts", facts) != facts:
        raise DataError(
            f"{output / 'study.db'} is of another search (data, options or factors differ): give "
            "another folder with -o, or remove it"
        )
    study.set_user_attr("facts", facts)
    for trial in study.get_trials(states=[TrialState.RUNNING]):
        study.tell(trial.number, state=TrialState.FAIL)
        if trial.params and sampled(args):
            study.enqueue_trial(trial.params)
    if finished := len(study.get_trials(states=FINISHED)):
        print(f"continuing after {finished} trial{'s' * (finished > 1)}", flush=True)
    return study


def _write(search: Search, given: list[str]) -> str:
    """Write search.html. Returns the summary to print."""
    from keras_to_lambda.train import run_report

    best, seen = search.study.best_trial, len(search.data.splits["validation"])
    own = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    _own(own)
    line = ["k2l", "train", *own.parse_known_args(given)[1]]
    for name, value in best.params.items():
        line += [f"--{name.replace('_', '-')}", shown(value)]
    trials = search.study.get_trials(states=FINISHED)
    effects = _effects(search)
    low, high = _interval(search, best)
    page = search.output / "search.html"
    which = f"best of {len(trials)} trials" if len(trials) > 1 else "only trial"
    summary = f"The {which} has a validation accuracy of {best.value:.3f}"
    largest = " No factor changed the accuracy."
    if any(round(value, 3) for value in effects.values()):
        largest = f" The factor with the largest effect is {next(iter(effects))}."
    html = html_report.render(
        TEMPLATE,
        kind="Search",
        title=sources.name_of(search.args.data),
        conclusion=f"{summary}: {described(best.params)}." + largest * (len(effects) > 1),
        command=run_report.public(["k2l", "search", *given]),
        factors=[factor.name for factor in search.args.factor],
        trials=trials,
        accuracy=accuracy,
        state=state,
        shown=shown,
        best=best.number,
        tiles=[
            (f"{low:.3f} to {high:.3f}", "95% interval of the best accuracy"),
            (str(seen), "validation pictures"),
            (str(len(trials)), "trial" + "s" * (len(trials) > 1)),
        ],
        effects=[(name, value, f"{value:.3f}") for name, value in effects.items()],
        one_at_a_time=search.args.one_at_a_time,
        line=run_report.public(line),
        plots=[(title, html_report.plot(figure, title)) for title, figure in _plots(search)],
    )
    atomic_files.write_text(page, html)
    return f"{summary} on {seen} pictures\nwrote {page}\nnext: {shlex.join(line)}"


def _interval(search: Search, trial: FrozenTrial) -> tuple[float, float]:
    """The 95% interval of a trial's accuracy."""
    seen = len(search.data.splits["validation"])
    return wilson(round(accuracy(trial) * seen), seen)


def _varied(search: Search) -> dict[str, list[FrozenTrial]]:
    """By factor with several values: the trials that show its effect."""
    names, done = [factor.name for factor in search.args.factor], search.completed()
    trials = {name: search.ladders.get(name, done) for name in names}
    return {name: of for name, of in trials.items() if len({t.params[name] for t in of}) > 1}


def _effects(search: Search) -> dict[str, float]:
    """How much each varied factor matters, the most first.

    One at a time: highest minus lowest accuracy of the trials in which it alone was varied.
    Jointly: Optuna's importances, which add up to 1; {} for fewer than four trials, a single factor
    or equal accuracies.
    """
    found: dict[str, float] = {}
    varied, done = _varied(search), search.completed()
    if search.args.one_at_a_time:
        for name, trials in varied.items():
            reached = [accuracy(trial) for trial in trials]
            found[name] = max(reached) - min(reached)
    elif len(varied) > 1 and len(done) >= 4 and len({trial.value for trial in done}) > 1:
        evaluator = optuna.importance.FanovaImportanceEvaluator(seed=1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            shares = optuna.importance.get_param_importances(search.study, evaluator=evaluator)
        found = {name: shares[name] for name in varied}
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def _plots(search: Search) -> Iterable[tuple[str, Figure]]:
    factors = {factor.name: factor for factor in search.args.factor}
    for name, trials in _varied(search).items():
        factor = factors[name]
        yield f"Accuracy by {factor.name}", _by(search, factor, trials)
        if search.ladders:
            curves = {
                described({factor.name: trial.params[factor.name]}): trial.user_attrs["history"]
                for trial in trials[:MOST_CURVES]
            }
            yield f"Training by {factor.name}", history.plot(curves)
    if not search.ladders:
        ranked = sorted(search.completed(), key=accuracy, reverse=True)[:MOST_CURVES]
        curves = {f"trial {trial.number + 1}": trial.user_attrs["history"] for trial in ranked}
        yield "Training of the best trials", history.plot(curves)


def _by(search: Search, factor: Factor, trials: Sequence[FrozenTrial]) -> Figure:
    """Each trial's accuracy over one factor, with its interval."""
    from matplotlib.figure import Figure as Drawn

    figure = Drawn(figsize=(4, 3), layout="constrained")
    axis = html_report.axes(figure, xlabel=factor.name, ylabel="validation accuracy")
    for trial in trials:
        value, reached = trial.params[factor.name], accuracy(trial)
        place = value if factor.ranged else factor.values.index(value)
        best = trial.number == search.study.best_trial.number
        axis.vlines(place, *_interval(search, trial), color=html_report.SOFT, alpha=0.6, zorder=1)
        axis.plot(place, reached, "o", color=html_report.SERIES[2 if best else 0], zorder=2)
    if not factor.ranged:
        axis.set_xticks(range(len(factor.values)), factor.values)
    elif _logarithmic(factor.values[0], factor.values[-1]):
        axis.set_xscale("log")
    return figure


def _own(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("-o", "--output", metavar="DIR", help="folder for the study and its report (default: "
        "searches/NAME)")  # fmt: skip
    add("--factor", type=Factor.read, action="append", metavar="NAME=VALUES", help="option to "
        "vary: NAME=a|b|c, or NAME=low..high; repeatable, in the order in which they are tried one "
        f"at a time (default: {' '.join(FACTORS)}); names: {', '.join(READERS)}")  # fmt: skip
    add("--trials", type=recipe_options.whole(1, 100_000), default=20, metavar="N", help="number "
        "of trials, earlier ones included; of lists alone, each combination once at most; one at a "
        "time, it follows from the values (default: %(default)s)")  # fmt: skip
    add("--one-at-a-time", action="store_true", help="each factor in turn, the others at their "
        "best so far, instead of all together")  # fmt: skip


def parser() -> argparse.ArgumentParser:
    parser = frame.Parser(
        "k2l search",
        "Search for the best options of `k2l train`, whose options it takes.",
        "After an interruption the same command continues the search; more --trials continue a "
        f"finished one.\n\n{recipe_options.AUGMENTATION_HELP}\nDATA is one of these:\n"
        f"{sources.FORMS}",
        usage="%(prog)s DATA [options]",
    )
    sources.add(parser)
    _own(parser)
    recipe_options.add(parser)
    return parser
