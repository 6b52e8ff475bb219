"""Accuracy on labelled samples, and which mistake would explain a low one.

Two pipelines with the same mistake agree. Only labelled photos show that the order of labels and
the scaling are those of training.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from keras_to_lambda.convert.verification.comparison import labelled

Scores = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

# Risk of error of the verdicts "no better than chance", "below the card", "another order".
ALPHA_CHANCE, ALPHA_CLAIM, ALPHA_ORDER = 0.05, 0.01, 0.05
# Risk that the right scaling is refused; another must also have less than this share of its loss.
ALPHA_SCALING, FITTED_LOSS, TRAINED_LOSS = 0.01, 0.8, 0.5
LESS_LOSS = 0.2  # and by so much, as a network that is only surer of what is right gains little
SCALINGS = 10  # with colour orders, at most: how many are compared
# Logits that differ by less than this, or than this share of the largest, are the same: a softmax
# makes less than a ten-thousandth of a difference of them.
LEAST_SPREAD, SAME = 1e-4, 1e-6
# Scores of all samples that differ by less than this share of what labels differ by are nearly the
# same: any network that always gives one label has such.
NEARLY_SAME = 0.01
# An order of labels or a scaling with a smaller accuracy is named as a possibility.
HIGH = 0.8
# Without a Keras file to compare with: this many labels need this many photos each.
PROOF_LABELS, PROOF_PHOTOS = 2, 2
# Labels that a sentence lists.
LISTED = 12


@dataclass(frozen=True, slots=True)
class Claim:
    """The accuracy in a card and its lower bound, 0..1."""

    accuracy: float
    low: float

    @classmethod
    def of(cls, provenance: Mapping[str, Any]) -> Claim | None:
        """Of a card's provenance; None: it states no accuracy."""
        accuracy, interval = (provenance.get(x) for x in ("test_accuracy", "test_interval_95"))
        if not isinstance(accuracy, int | float) or not 0 <= accuracy <= 1:
            return None
        low = interval[0] if isinstance(interval, list | tuple) and interval else accuracy
        return cls(float(accuracy), float(low) if isinstance(low, int | float) else accuracy)


def without_claims(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """A card's provenance without what was measured on test photos."""
    return {key: value for key, value in provenance.items() if not key.startswith("test_")}


@dataclass(frozen=True, slots=True)
class Verdict:
    """The evidence of the samples.

    faults: why they do not show that the model is right; empty: they do, or are too few. hints:
    what would fit better. right, judged: of the labelled samples. unseen: labels without a sample.
    refuted: the accuracy is significantly below the card's. doubt: it is above chance, but not
    significantly. scaling: why they do not show the scaling; empty: they do, or were not asked.
    """

    faults: tuple[str, ...]
    hints: tuple[str, ...] = ()
    right: int = 0
    judged: int = 0
    unseen: tuple[str, ...] = ()
    refuted: bool = False
    doubt: str = ""
    scaling: str = ""


def examine(
    answers: Scores,
    truth: Sequence[int | None],
    labels: Sequence[str],
    pictures: npt.NDArray[np.uint8],
    *,
    claim: Claim | None = None,
    card_labels: Sequence[str] = (),
    sole_proof: bool = False,
) -> Verdict:
    """Judge answers, (samples, labels), by the samples.

    truth: each sample's label by index, where it is known. pictures: (samples, height, width,
    channels), what the model saw. claim, card_labels: of the card beside the model. sole_proof:
    there is no Keras file to compare with, so the samples have to show more.
    """
    faults = _without_content(answers, pictures)
    known, targets = labelled(truth)
    if not len(known):
        return Verdict((*faults, *[_UNLABELLED] * sole_proof))
    chosen = answers[known].argmax(axis=1)
    right, judged = int((chosen == targets).sum()), len(known)
    unseen = tuple(name for index, name in enumerate(labels) if index not in set(targets.tolist()))
    fault, doubt = _always_one(answers[known], pictures[known], targets, labels), ""
    if not fault:
        fault, doubt = _chance(chosen, targets, len(labels))
    refuted = claim is not None and p_value(right, judged, claim.low, "less") < ALPHA_CLAIM
    if claim is not None and refuted and not fault:
        fault = (
            f"{_measured(right, judged)}: significantly below the {claim.accuracy:.1%} of the card "
            "beside the model"
        )
    faults += [fault] * bool(fault)
    if sole_proof and not faults:
        faults += [text] if (text := doubt or _unproven(chosen, targets, labels)) else []
    hints = []
    if found := _fitting(_orders(chosen, targets, labels, card_labels), chosen, targets, labels):
        if not faults:
            faults.append(
                f"{right} of {judged} labelled samples are right, and significantly more would be "
                "with other labels"
            )
        hints.append(_hint(found, targets))
    return Verdict(tuple(faults), tuple(hints), right, judged, unseen, refuted, doubt)


_STATE = "make sure that --preprocess is that of training"
_UNLABELLED = (
    "fewer than half of the samples are in folders named after labels, and a .tflite has no Keras "
    "file to compare with: put them into such folders"
)


def shown(count: int, labels: Sequence[str]) -> str:
    """How many of the labels samples show."""
    return f"{count} of {len(labels)} labels"


def _measured(right: int, judged: int) -> str:
    return f"accuracy {right / judged:.1%} ({right} of {judged} labelled samples)"


def _several(pictures: npt.NDArray[np.uint8]) -> bool:
    return len({picture.tobytes() for picture in pictures}) > 1


def _logits(answers: Scores) -> npt.NDArray[np.float64]:
    """Answers as logits: probabilities near 1 are alike, and their logarithms are not."""
    logits = answers.astype(np.float64)
    if logits.min() >= 0 and np.abs(logits.sum(axis=1) - 1).max() < 0.05:
        logits = np.log(np.maximum(logits, 1e-30))
    return logits


def _without_content(answers: Scores, pictures: npt.NDArray[np.uint8]) -> list[str]:
    """Why answers would prove nothing, whatever they are compared with."""
    logits = _logits(answers)
    least = max(SAME * float(np.abs(logits).max()), LEAST_SPREAD)
    if float(np.ptp(logits, axis=1).max()) <= least:
        return ["the network gives every label the same score: its answers prove nothing"]
    if _several(pictures) and float(np.ptp(logits, axis=0).max()) <= least:
        return [
            f"the network answers the same for all {len(answers)} samples: its answers prove "
            "nothing; check that it was trained, and that --preprocess is that of training"
        ]
    return []


def _always_one(
    answers: Scores, pictures: npt.NDArray[np.uint8], targets: Ints, labels: Sequence[str]
) -> str:
    """Why a network may give the same label to every picture there is."""
    chosen, count = set(answers.argmax(axis=1).tolist()), len(set(targets.tolist()))
    if len(chosen) > 1:
        return ""
    place = chosen.pop()
    if count > 1:
        measured = _measured(int((targets == place).sum()), len(targets))
        return f"{measured}: all samples, of {count} labels, get the label {labels[place]!r}"
    logits = _logits(answers)
    alike = np.ptp(logits, axis=0).max() <= NEARLY_SAME * np.ptp(logits, axis=1).max()
    if not (alike and _several(pictures)):
        return ""
    return (
        f"all {len(targets)} labelled samples get {labels[place]!r} with nearly the same scores, "
        f"and show {shown(1, labels)}: give samples of other labels"
    )


def _unproven(chosen: Ints, targets: Ints, labels: Sequence[str]) -> str:
    """What labelled samples lack as the only proof of the labels and the scaling."""
    places, counts = np.unique(targets, return_counts=True)
    right, judged = int((chosen == targets).sum()), len(targets)
    needed = f"give at least {PROOF_PHOTOS} photos of each of {PROOF_LABELS} or more labels"
    if len(places) < PROOF_LABELS:
        return f"accuracy not proven: the samples show {shown(len(places), labels)}; {needed}"
    if (counts >= PROOF_PHOTOS).sum() < PROOF_LABELS:
        return f"accuracy not proven: too few samples of each label; {needed}"
    if p_value(right, judged, 1 / len(labels), "greater") > ALPHA_CHANCE:
        return (
            f"accuracy not proven: guessing among {len(labels)} labels may give {right} of "
            f"{judged} right as well; give more photos"
        )
    for place, count in zip(places, counts, strict=True):
        if (chosen[targets == place] == place).any():
            continue
        # As often wrong as the other labels' photos, would all of these be?
        wrong = 1 - (right + 1) / (judged - int(count) + 2)
        if wrong ** int(count) * len(places) < ALPHA_ORDER:
            return (
                f"no sample of {labels[place]!r} is right (0 of {count}), and nearly all others "
                "are: check --labels"
            )
    return ""


def _chance(chosen: Ints, targets: Ints, labels: int) -> tuple[str, str]:
    """Why an accuracy is no better than chance, and why that is in doubt; "" for no reason."""
    judged, right = len(targets), int((chosen == targets).sum())
    measured = _measured(right, judged)
    if right <= judged / labels:
        return f"{measured}: no better than guessing among {labels} labels", ""
    given, wanted = (np.bincount(each, minlength=labels) / judged for each in (chosen, targets))
    luck = float(given @ wanted)
    if wanted.max() == 1 or p_value(right, judged, luck, "greater") <= ALPHA_CHANCE:
        return "", ""
    # Not shown to be better; and so many samples that a model which is half way to being always
    # right would have shown it.
    if p_value(right, judged, (1 + luck) / 2, "less") >= ALPHA_CHANCE:
        return "", ""
    if right <= judged * luck + 1e-9:
        random = "no better than the same answers given to the samples at random"
        return f"{measured}: {random} ({luck:.1%})", ""
    return "", f"{measured}: not significantly better than chance ({luck:.1%})"


def p_value(right: int, judged: int, share: float, alternative: str) -> float:
    """The one-sided binomial test's p, 1e-300..1: its logarithm is a number."""
    from scipy.stats import binomtest

    found = binomtest(right, judged, min(max(share, 1e-15), 1 - 1e-15), alternative=alternative)
    return max(float(found.pvalue), 1e-300)


def better(own: Bools, other: Bools, tries: float = 0.0) -> bool:
    """Whether other answers are right significantly more often, on the same samples.

    McNemar's exact test, one-sided (https://doi.org/10.1007/BF02295996). own, other: which samples
    are right. tries: the logarithm of how many were tried.
    """
    gained, lost = int((other & ~own).sum()), int((own & ~other).sum())
    if gained <= lost:
        return False
    return math.log(p_value(gained, gained + lost, 0.5, "greater")) + tries < math.log(ALPHA_ORDER)


@dataclass(frozen=True, slots=True)
class _Guess:
    """What may have been the way in training.

    name: for a sentence. chosen: the labels of the samples, had it been. tries: the logarithm of
    how many guesses of its kind there are. alone: not to be named beside others that fit as well.
    """

    name: str
    chosen: Ints
    tries: float
    alone: bool = False


def _fitting(
    guesses: Iterable[_Guess],
    chosen: Ints,
    targets: Ints,
    labels: Sequence[str],
    *,
    sure: bool = True,
) -> list[_Guess]:
    """The guesses that fit best, of those that fit significantly better, or with high accuracy.

    chosen: the model's own answers.
    """
    own = chosen == targets
    best: list[_Guess] = []
    most = int(own.sum())
    for guess in guesses:
        other = guess.chosen == targets
        right = int(other.sum())
        if best and right == most and not guess.alone:
            best.append(guess)
        if right <= most:
            continue
        if sure:
            chance = _chance(guess.chosen, targets, len(labels))
            fits = better(own, other, guess.tries) and not any(chance)
        else:  # with photos of one label, any order that begins with it would be named
            fits = len(set(targets.tolist())) > 1 and right > HIGH * len(own) - 1e-9
        if fits:
            best, most = [guess], right
    return best


def _hint(guesses: Sequence[_Guess], targets: Ints, *, sure: bool = True) -> str:
    right, judged = int((guesses[0].chosen == targets).sum()), len(targets)
    what = f"with {', or '.join(guess.name for guess in guesses)}"
    if right < HIGH * judged:
        return f"possibly {what}: {right} of {judged} would be right"
    doubt = "" if sure else " (too few photos to be sure)"
    return f"{what} {right} of {judged} would be right{doubt}"


def _orders(
    chosen: Ints, targets: Ints, labels: Sequence[str], card_labels: Sequence[str]
) -> Iterator[_Guess]:
    """Other orders of the labels, each once."""
    from scipy.optimize import linear_sum_assignment  # a quarter of a second

    count = len(labels)
    found: dict[str, Sequence[int]] = {}
    if known := set(card_labels) == set(labels):
        found["of the card beside the model"] = [labels.index(label) for label in card_labels]
    found["in alphabetical order"] = sorted(range(count), key=lambda index: labels[index])
    found["in reversed order"] = range(count)[::-1]
    seen = {tuple(range(count))}
    for name, places in found.items():
        if tuple(places) not in seen:
            seen.add(tuple(places))
            yield _Guess(f"the labels {name}", np.array(places)[chosen], 0.0, known)
    table = np.zeros((count, count))
    np.add.at(table, (chosen, targets), 1)
    # Outputs that no sample is of keep their labels, where that is possible.
    best = linear_sum_assignment(table + 1e-6 * np.eye(count), True)[1]
    moved = np.flatnonzero(best != np.arange(count)).tolist()
    if tuple(best.tolist()) not in seen:
        tries = math.lgamma(count + 1) - math.lgamma(count - len(moved) + 1)
        name = f"the labels {_described(best, moved, labels)}"
        yield _Guess(name, best[chosen], tries, known or len(moved) > 2)


def _described(places: Ints, moved: Sequence[int], labels: Sequence[str]) -> str:
    if len(moved) == 2:
        first, second = (labels[output] for output in moved)
        return f"{first!r} and {second!r} swapped"
    if len(labels) <= LISTED:
        return f"in the order {', '.join(labels[place] for place in places)}"
    pairs = ", ".join(f"{labels[x]!r} for {labels[places[x]]!r}" for x in moved[:LISTED])
    return f"changed at {len(moved)} outputs ({pairs}{', ...' * (len(moved) > LISTED)})"


def slip(
    trials: Sequence[Mapping[str, Any]],
    chosen: Ints,
    targets: Ints,
    labels: Sequence[str],
    card_labels: Sequence[str] = (),
    *,
    unsure: bool = True,
) -> tuple[str, ...]:
    """The scaling, and order of labels, that fits significantly better; else, what seems to.

    trials: as `trials.scalings` returns them. chosen, targets: of the same samples, the label that
    the model gives and the right one. unsure: also what fits without being significantly better.
    """
    tries = math.log(max(len(trials), 1))
    guesses = [_Guess(_option(x), np.array(x["chosen"], np.int64), tries) for x in trials]
    both = []
    for guess in guesses:
        orders = _orders(guess.chosen, targets, labels, card_labels)
        better_order = _fitting(orders, guess.chosen, targets, labels)[:1]
        named = [_Guess(f"{guess.name} and {x.name}", x.chosen, tries) for x in better_order]
        both += named or [guess]
    if found := _fitting(both, chosen, targets, labels):
        return (_hint(found, targets),)
    if not unsure:
        return ()
    # Two guesses at once, an order and a scaling, are one too many here.
    kinds = (_orders(chosen, targets, labels, card_labels), guesses)
    likely = [_fitting(kind, chosen, targets, labels, sure=False) for kind in kinds]
    return tuple(_hint(found, targets, sure=False) for found in likely if found)


def too_few(targets: Ints) -> str:
    """Why labelled samples cannot show the scaling, whatever the answers; empty: they may."""
    if len(set(targets.tolist())) > 1 and SCALINGS * 0.5 ** len(targets) < ALPHA_SCALING:
        return ""
    return f"{len(targets)} labelled samples are too few to show the scaling: {_STATE}"


def likelier(trials: Sequence[Mapping[str, Any]], targets: Ints) -> tuple[str, str]:
    """A scaling under which the scores of the labelled samples are significantly better.

    As many may be right under a wrong scaling; the scores still differ. A network that is only more
    sure of itself than in training gains at the temperature that suits it best, and one that is
    less sure at that of training: the other scaling has to do better at both, at one of them
    significantly, with as many samples right.

    trials: as `trials.scalings` returns them. targets: the right labels of the same samples.

    Returns:
        a hint, or ""; and why the samples do not show which scaling is right, or "".
    """
    own = next((trial for trial in trials if trial["own"]), None)
    if own is None:  # a scaling that has no name: there is nothing to hold it against
        return "", ""
    others = sorted((x for x in trials if not x["same"]), key=lambda trial: float(trial["loss"]))

    def right(trial: Mapping[str, Any]) -> Bools:
        return np.asarray(np.array(trial["chosen"]) == targets)

    def shown(trial: Mapping[str, Any]) -> str:
        return f"{right(trial).sum()} of {len(targets)} right, loss {trial['loss']:.2f}"

    for trial in others:
        fits = trial["loss"] < own["loss"] and right(trial).sum() >= right(own).sum()
        sure = trial["p"] < ALPHA_SCALING and trial["loss"] < min(
            TRAINED_LOSS * own["loss"], own["loss"] - LESS_LOSS
        )
        fitted = trial["fitted_p"] < ALPHA_SCALING and trial["fitted"] < FITTED_LOSS * own["fitted"]
        if fits and (sure or fitted):
            return f"with {_option(trial)} ({shown(trial)}; with this scaling {shown(own)})", ""
    close = [
        f"{_option(trial)} ({shown(trial)})"
        for trial in others
        if trial["worse"] > ALPHA_ORDER and not better(right(trial), right(own))
    ]
    if not close:
        return "", ""
    return "", f"{shown(own)}, and with {'; with '.join(close[:3])}: {_STATE}"


def _option(trial: Mapping[str, Any]) -> str:
    bgr = " --color-order bgr" * (trial["color_order"] == "bgr")
    return f"--preprocess {trial['scaling']}{bgr}"
