"""`k2l search`: which learning rate, inner layers, dropout, augmentation?

Trials are judged by the validation pictures; the test pictures are never looked at.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import hashlib
import json
import shlex
import shutil
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna

from keras_to_lambda.runtime.errors import SetupError
from keras_to_lambda.train import command, files, options, page, quiet
from keras_to_lambda.train.data import sources
from keras_to_lambda.train.data.dataset import DataError, Dataset
from keras_to_lambda.train.recipe import AUGMENTATIONS, Recipe
from keras_to_lambda.train.run import identity

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COMPLETE = optuna.trial.TrialState.COMPLETE
FINISHED = (COMPLETE, optuna.trial.TrialState.PRUNED)
DATA_IS = f"DATA is one of these:\n{sources.FORMS}"
STEPS = 5  # values of a range that are tried one at a time
FACTORS = (
    "learning_rate=0.0001..0.01",
    "inner=0|10|100|300",
    "dropout=0|0.2|0.5",
    "augment=none|light|strong",
)
# A factor's name: the option that it is, and what its values are.
KINDS: dict[str, type] = {
    "learning_rate": float,
    "inner": int,
    "dropout": float,
    "augment": str,
    "label_smoothing": float,
    "weight_decay": float,
    "balance": float,
    "batch_size": int,
    "fine_tune": int,
    "fine_tune_rate": float,
    "mixup": float,
    "cutout": float,
    "rotation": float,
}


@dataclasses.dataclass(frozen=True, slots=True)
class Factor:
    """One thing that is varied.

    name: of KINDS. values: the ones to choose from; or else low and high, ends of a range.
    """

    name: str
    values: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 0.0

    @classmethod
    def read(cls, text: str) -> Factor:
        """From the command line: name=a|b|c, or name=low..high.

        Raises:
            ArgumentTypeError: anything else.
        """
        name, _, given = text.partition("=")
        kind = KINDS.get(name)
        if kind is None or not given:
            raise argparse.ArgumentTypeError(
                f"{text!r}: say NAME=a|b|c or NAME=low..high; NAME is one of {', '.join(KINDS)}"
            )
        try:
            if kind is not str and ".." in given:
                low, _, high = given.partition("..")
                made = cls(name, (), kind(low), kind(high))
                if not made.low < made.high:
                    raise argparse.ArgumentTypeError(f"{text!r}: the lower end comes first")
                return made
            values = tuple(kind(value) for value in given.split("|"))
        except ValueError:
            raise argparse.ArgumentTypeError(
                f"{text!r}: values of {name} are {'words' if kind is str else 'numbers'}"
            ) from None
        if name == "augment" and (unknown := [v for v in values if v not in AUGMENTATIONS]):
            raise argparse.ArgumentTypeError(f"{unknown[0]} is none of {', '.join(AUGMENTATIONS)}")
        return cls(name, values)

    @property
    def logarithmic(self) -> bool:
        """Whether a range spans ratios rather than differences."""
        return not self.values and self.low > 0 and self.high / self.low >= 10

    def suggest(self, trial: optuna.Trial) -> Any:
        """Optuna's choice."""
        if self.values:
            return trial.suggest_categorical(self.name, self.values)
        if KINDS[self.name] is int:
            return trial.suggest_int(self.name, int(self.low), int(self.high))
        return trial.suggest_float(self.name, self.low, self.high, log=self.logarithmic)

    def ladder(self) -> tuple[Any, ...]:
        """The values that are tried one at a time."""
        if self.values:
            return self.values
        shares = [step / (STEPS - 1) for step in range(STEPS)]
        if self.logarithmic:
            ratio = self.high / self.low
            # Four digits: 0.000316, not 0.00031622776601683794.
            rungs = [float(f"{self.low * ratio**share:.4g}") for share in shares]
            rungs[-1] = self.high
        else:
            rungs = [self.low + (self.high - self.low) * share for share in shares]
        return tuple(dict.fromkeys(KINDS[self.name](rung) for rung in rungs))


@dataclasses.dataclass(slots=True)
class Search:
    """A study and all that its trials are made of.

    args: the command's. data: what is trained on. study: Optuna's. output: for trials' states.
    """

    args: argparse.Namespace
    data: Dataset
    study: optuna.Study
    output: Path

    def trial(self, trial: optuna.Trial) -> float:
        """Train with the factors' values. Returns the best epoch's validation accuracy."""
        from keras_to_lambda.train.trainer import Stopped, Trainer

        values = {factor.name: factor.suggest(trial) for factor in self.args.factor}
        recipe = options.recipe(applied(self.args, values), self.data)
        described = command.card("search", self.data.labels, recipe)
        # Named for its values: a trial that was killed is taken up where it was.
        key = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]
        folder = self.output / "trials" / key

        def watch(entry: dict[str, Any]) -> None:
            trial.report(entry["validation_accuracy"], entry["epoch"])
            if trial.should_prune():
                raise optuna.TrialPruned

        told = ", ".join(f"{name} {value}" for name, value in values.items())
        print(f"trial {trial.number + 1}: {told}", flush=True)
        trainer = Trainer(recipe, described, self.data, folder, self._cache, [watch], _quiet)
        try:
            trainer.run()
        except Stopped:
            if not self.args.one_at_a_time:
                self.study.enqueue_trial(values)  # first in line, when the search goes on
            raise
        trial.set_user_attr("seconds", round(trainer.seconds, 1))
        shutil.rmtree(folder, ignore_errors=True)
        return max(entry["validation_accuracy"] for entry in trainer.history)

    @property
    def _cache(self) -> Path:
        return self.args.cache or self.output / "cache"

    def jointly(self) -> None:
        """Optuna's sampler chooses all factors together, until there are enough trials."""
        missing = self.args.trials - self._finished()
        if missing > 0:
            self.study.optimize(self.trial, n_trials=missing)

    def one_at_a_time(self) -> None:
        """Each factor in turn along its ladder, the others at what has been best so far."""
        best = {factor.name: _middle(factor) for factor in self.args.factor}
        for factor in self.args.factor:
            for value in factor.ladder():
                wanted = {**best, factor.name: value}
                if self._known(wanted) is None:
                    self.study.enqueue_trial(wanted, skip_if_exists=False)
                    self.study.optimize(self.trial, n_trials=1)
            scored = [(self._known({**best, factor.name: v}), v) for v in factor.ladder()]
            # The first of equals: what was tried first is the milder one.
            best[factor.name] = max(scored, key=lambda pair: pair[0] or 0.0)[1]

    def _known(self, values: dict[str, Any]) -> float | None:
        for trial in self.study.trials:
            if trial.state == COMPLETE and trial.params == values:
                return trial.value
        return None

    def _finished(self) -> int:
        return sum(trial.state in FINISHED for trial in self.study.trials)


def _quiet(_line: str) -> None:
    """Epochs of a trial are in the report's plot."""


def applied(args: argparse.Namespace, values: dict[str, Any]) -> argparse.Namespace:
    """The command's options with the factors' values in them."""
    changed = copy.copy(args)
    for name, value in values.items():
        setattr(changed, name, [value] if name == "inner" else value)
    return changed


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns the exit code: 2 for wrong arguments or data, 130 if stopped."""
    parser = _parser()
    args = parser.parse_args(arguments)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        args.factor = args.factor or [Factor.read(text) for text in FACTORS]
        names = [factor.name for factor in args.factor]
        if len(set(names)) < len(names):
            raise DataError("a --factor stands twice")
        output = Path(args.output or f"searches/{command.named(args.data)}")
        data = command.read(args)
        quiet.tensorflow()
        plain = options.recipe(args, data)
        output.mkdir(parents=True, exist_ok=True)
        study = _study(args, data, plain, output)
        search = Search(args, data, study, output)
        return _run(search, [*sys.argv[1:]] if arguments is None else list(arguments))
    except (DataError, SetupError) as error:
        print(f"{parser.prog}: error: {error}", file=sys.stderr)
        return 2


def _run(search: Search, given: list[str]) -> int:
    from keras_to_lambda.train.trainer import Stopped

    study, output = search.study, search.output
    stopped = False
    try:
        search.one_at_a_time() if search.args.one_at_a_time else search.jointly()
    except Stopped:
        stopped = True
    completed = [trial for trial in study.trials if trial.state == COMPLETE]
    if completed:
        print(_write(search, given))
    if stopped:
        print("stopped; the same command goes on from here", file=sys.stderr)
        return 130
    if search.args.cache is None:
        shutil.rmtree(output / "cache", ignore_errors=True)
    shutil.rmtree(output / "trials", ignore_errors=True)
    return 0


def _study(args: argparse.Namespace, data: Dataset, recipe: Recipe, output: Path) -> optuna.Study:
    """The study in OUTPUT/study.db, with what was killed in it put first in line.

    Raises:
        DataError: the study that is there is of other data, options or factors.
    """
    seed = command.seed_of(args)
    # One at a time, every rung is wanted: the plot is of them.
    pruner: optuna.pruners.BasePruner = optuna.pruners.NopPruner()
    if not args.one_at_a_time:
        pruner = optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=3)
    study = optuna.create_study(
        storage=f"sqlite:///{output / 'study.db'}",
        study_name="search",
        direction="maximize",
        pruner=pruner,
        load_if_exists=True,
    )
    # Gone on with, it does not draw again what it has drawn.
    study.sampler = optuna.samplers.TPESampler(seed=seed + len(study.trials))
    facts = {
        "run": identity(recipe, data),
        "factors": [dataclasses.asdict(factor) for factor in args.factor],
        "one_at_a_time": args.one_at_a_time,
    }
    facts = json.loads(json.dumps(facts))
    known = study.user_attrs.get("facts")
    if known not in (None, facts):
        raise DataError(
            f"{output / 'study.db'} is of another search (data, options or factors differ): name "
            "another folder with -o, or remove it"
        )
    study.set_user_attr("facts", facts)
    for trial in study.trials:
        if trial.state == optuna.trial.TrialState.RUNNING:
            study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
            if not args.one_at_a_time:  # where what is missing is found by itself
                study.enqueue_trial(trial.params)
    if finished := sum(trial.state in FINISHED for trial in study.trials):
        print(f"resuming after {finished} trials", flush=True)
    return study


def _write(search: Search, given: list[str]) -> str:
    """Write search.json and search.html. Returns what to say."""
    from keras_to_lambda.train import report

    study, output = search.study, search.output
    best = study.best_trial
    winner = [
        part
        for name, value in best.params.items()
        for part in (
            f"--{name.replace('_', '-')}",
            f"{value:g}" if isinstance(value, float) else str(value),
        )
    ]
    line = ["k2l", "train", *_options_of_train(given), *winner]
    rows = [
        {
            "trial": trial.number + 1,
            "state": trial.state.name.lower(),
            "accuracy": trial.value if trial.state == COMPLETE else _last(trial),
            "seconds": trial.user_attrs.get("seconds"),
            **trial.params,
        }
        for trial in study.trials
        if trial.state in FINISHED
    ]
    seen = len(search.data.splits["validation"])
    files.write_json(
        output / "search.json",
        {
            "data_sha256": search.data.sha256,
            "validation_pictures": seen,
            "best": {"accuracy": best.value, **best.params},
            "trials": rows,
        },
    )
    html = page.render(
        "search.html.jinja",
        title=f"Search: {command.named(search.args.data)}",
        rows=rows,
        factors=[factor.name for factor in search.args.factor],
        best=best,
        seen=seen,
        line=report.public(line),
        plots=[(title, page.plot(figure)) for title, figure in _plots(search)],
        one_at_a_time=search.args.one_at_a_time,
    )
    files.write_text(output / "search.html", html)
    return (
        f"best of {len(rows)} trials: validation accuracy {best.value:.3f} on {seen} pictures\n"
        f"wrote {output / 'search.html'} and search.json\nnext: {shlex.join(line)}"
    )


def _plots(search: Search) -> list[tuple[str, Figure]]:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt
    from optuna.visualization import matplotlib as plots

    study = search.study
    varied = [
        name
        for name in (factor.name for factor in search.args.factor)
        if len({trial.params.get(name) for trial in study.trials if trial.state == COMPLETE}) > 1
    ]
    figures = [(f"Accuracy by {name}", _by(search, name)) for name in varied]
    with warnings.catch_warnings():
        # Optuna calls its own plots experimental.
        warnings.simplefilter("ignore")
        axes = [
            ("Trial by trial", plots.plot_optimization_history(study)),
            ("Epoch by epoch", plots.plot_intermediate_values(study)),
        ]
        completed = sum(trial.state == COMPLETE for trial in study.trials)
        if len(varied) > 1 and completed >= 4:
            axes.append(("What mattered", plots.plot_param_importances(study)))
        for title, axis in axes:
            figure = axis.figure
            figure.set_size_inches(8, 4)
            legend = axis.get_legend()
            if legend is not None and len(legend.get_texts()) > 12:
                legend.remove()
            figures.append((title, figure))
    plt.close("all")
    return figures


def _by(search: Search, name: str) -> Figure:
    """Each trial's accuracy over one factor, with its interval: few pictures tell little."""
    from matplotlib import pyplot as plt

    from keras_to_lambda.cli.evaluation import wilson

    figure, axis = plt.subplots(figsize=(6, 3.2))
    factor = next(factor for factor in search.args.factor if factor.name == name)
    trials = [trial for trial in search.study.trials if trial.state == COMPLETE]
    seen = len(search.data.splits["validation"])
    for trial in trials:
        x = trial.params[name]
        place = factor.values.index(x) if factor.values else x
        low, high = wilson(round(trial.value * seen), seen)
        chosen = trial.number == search.study.best_trial.number
        axis.plot([place, place], [low, high], color="#94a3b8", linewidth=1, zorder=1)
        axis.plot(place, trial.value, "o", color="#b42318" if chosen else "#2563eb", zorder=2)
    if factor.values:
        axis.set_xticks(range(len(factor.values)), [str(value) for value in factor.values])
    elif factor.logarithmic:
        axis.set_xscale("log")
    axis.set_xlabel(name)
    axis.set_ylabel("validation accuracy")
    axis.grid(alpha=0.3)
    return figure


def _last(trial: optuna.trial.FrozenTrial) -> float | None:
    values = trial.intermediate_values
    return values[max(values)] if values else None


def _middle(factor: Factor) -> Any:
    ladder = factor.ladder()
    return ladder[len(ladder) // 2] if not factor.values else ladder[0]


def _options_of_train(given: list[str]) -> list[str]:
    """The command line without what only the search knows."""
    parser = argparse.ArgumentParser(add_help=False)
    _own(parser)
    _, kept = parser.parse_known_args(given)
    return kept


def _own(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-o",
        "--output",
        metavar="DIR",
        help="where the study and its report are written (default: searches/NAME)",
    )
    parser.add_argument(
        "--factor",
        type=Factor.read,
        action="append",
        metavar="NAME=VALUES",
        help="what is varied: NAME=a|b|c, or NAME=low..high; may stand several times, in the order "
        f"in which they are tried one at a time (default: {' '.join(FACTORS)}); names: "
        f"{', '.join(KINDS)}",
    )
    parser.add_argument(
        "--trials",
        type=int,
        default=20,
        metavar="N",
        help="in all, resumed ones included; not one at a time, which has as many as there are "
        "values (default: %(default)s)",
    )
    parser.add_argument(
        "--one-at-a-time",
        action="store_true",
        help="each factor in turn, the others at their best so far, instead of all together",
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="k2l search",
        usage="%(prog)s DATA [options]",
        description="Search for the hyper-parameters of `k2l train`, whose options it takes.",
        epilog="A search that was stopped, at whatever moment, goes on when it is started again\n"
        f"with the same arguments; more --trials continue a finished one.\n\n{DATA_IS}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_data(parser)
    _own(parser)
    options.add(parser)
    return parser
