"""Accuracy on labelled samples, and which mistake would explain a low one.

Two pipelines with the same mistake agree. Only labelled photos show that the order of labels and
the scaling are those of training.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from keras_to_lambda.convert.common import scaling
from keras_to_lambda.convert.verification.comparison import labelled

Scores = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

# Risk of error of the verdicts "no better than chance", "below the card", "another order".
ALPHA_CHANCE, ALPHA_CLAIM, ALPHA_ORDER = 0.05, 0.01, 0.05
# Answers that differ by less than this share of their size are the same.
SAME = 1e-6
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
class Order:
    """Another order of the labels.

    name: for a sentence; several orders, where the samples do not decide between them.
    places: for each output the index of its label among those given.
    """

    name: str
    places: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """The evidence of the samples.

    faults: why they do not show that the model is right; empty: they do, or are too few. hints:
    what would fit better. right, judged: of the labelled samples. unseen: labels without a sample.
    refuted: the accuracy is significantly below the card's. doubt: it is above chance, but not
    significantly.
    """

    faults: tuple[str, ...]
    hints: tuple[str, ...] = ()
    right: int = 0
    judged: int = 0
    unseen: tuple[str, ...] = ()
    refuted: bool = False
    doubt: str = ""


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
    faults = [*_without_content(answers, pictures)]
    known, targets = labelled(truth)
    if not len(known):
        return Verdict((*faults, *[_UNLABELLED] * sole_proof))
    chosen = answers[known].argmax(axis=1)
    right, judged = int((chosen == targets).sum()), len(known)
    unseen = tuple(name for index, name in enumerate(labels) if index not in set(targets.tolist()))
    always = _always_one(answers[known], pictures[known], targets, labels)
    fault, doubt = _chance(chosen, targets, len(labels))
    faults += always or [fault] * bool(fault)
    if claim is not None and _is_below(right, judged, claim) and not (always or fault):
        faults.append(
            f"{_measured(right, judged)}: significantly below the {claim.accuracy:.1%} of the card "
            "beside the model"
        )
    if sole_proof and not faults:
        faults += [doubt] if doubt else _unproven(chosen, targets, labels)
    hints = []
    found = _better_order(chosen, targets, labels, card_labels)
    if found is not None:
        fitting = int((np.array(found.places)[chosen] == targets).sum())
        if not faults:
            faults.append(
                f"{right} of {judged} labelled samples are right, and significantly more would be "
                "with other labels"
            )
        hints.append(_hint(f"with the labels {found.name}", fitting, judged))
    refuted = _is_below(right, judged, claim)
    return Verdict(tuple(faults), tuple(hints), right, judged, unseen, refuted, doubt)


_UNLABELLED = (
    "fewer than half of the samples are in folders named after labels, and a .tflite has no Keras "
    "file to compare with: put them into such folders"
)


def _always_one(
    answers: Scores, pictures: npt.NDArray[np.uint8], targets: Ints, labels: Sequence[str]
) -> list[str]:
    """Why a network may give the same label to every picture there is."""
    chosen, count = set(answers.argmax(axis=1).tolist()), len(set(targets.tolist()))
    if len(chosen) > 1:
        return []
    label = labels[chosen.pop()]
    if count > 1:
        right = int((targets == answers[0].argmax()).sum())
        return [
            f"{_measured(right, len(targets))}: all samples, of {count} labels, get the label "
            f"{label!r}"
        ]
    logits = answers.astype(np.float64)
    if logits.min() >= 0 and np.abs(logits.sum(axis=1) - 1).max() < 0.05:
        # Probabilities near 1 are alike, and their logarithms are not.
        logits = np.log(np.maximum(logits, 1e-30))
    several = len({picture.tobytes() for picture in pictures}) > 1
    if several and np.ptp(logits, axis=0).max() <= NEARLY_SAME * np.ptp(logits, axis=1).max():
        return [
            f"all {len(targets)} labelled samples get {label!r} with nearly the same scores, and "
            f"show {shown(1, labels)}: give samples of other labels"
        ]
    return []


def shown(count: int, labels: Sequence[str]) -> str:
    """How many of the labels samples show."""
    return f"{count} of {len(labels)} labels"


def _unproven(chosen: Ints, targets: Ints, labels: Sequence[str]) -> list[str]:
    """What labelled samples lack as the only proof of the labels and the scaling."""
    places, counts = np.unique(targets, return_counts=True)
    needed = f"give at least {PROOF_PHOTOS} photos of each of {PROOF_LABELS} or more labels"
    if len(places) < PROOF_LABELS:
        return [f"accuracy not proven: the samples show {shown(len(places), labels)}; {needed}"]
    if (counts >= PROOF_PHOTOS).sum() < PROOF_LABELS:
        return [f"accuracy not proven: too few samples of each label; {needed}"]
    right, judged = int((chosen == targets).sum()), len(targets)
    if _p(right, judged, 1 / len(labels), "greater") > ALPHA_CHANCE:
        return [
            f"accuracy not proven: guessing among {len(labels)} labels may give {right} of "
            f"{judged} right as well; give more photos"
        ]
    for place in places:
        mine = targets == place
        if (chosen[mine] == place).any():
            continue
        # As often wrong as the other labels' photos, would all of these be?
        wrong = 1 - (int((chosen == targets)[~mine].sum()) + 1) / (int((~mine).sum()) + 2)
        if wrong ** int(mine.sum()) * len(places) < ALPHA_ORDER:
            return [
                f"no sample of {labels[place]!r} is right (0 of {int(mine.sum())}), and nearly all "
                "others are: check --labels"
            ]
    return []


def _hint(what: str, right: int, judged: int, *, sure: bool = True) -> str:
    if right < HIGH * judged:
        return f"possibly {what}: {right} of {judged} would be right"
    return f"{what} {right} of {judged} would be right" + (
        "" if sure else " (too few photos to be sure)"
    )


def _without_content(answers: Scores, pictures: npt.NDArray[np.uint8]) -> list[str]:
    """Why answers would prove nothing, whatever they are compared with."""
    size = max(float(np.abs(answers).max()), 1e-12)
    if float(np.ptp(answers, axis=1).max()) <= SAME * size:
        return ["the network gives every label the same score: its answers prove nothing"]
    several = len({picture.tobytes() for picture in pictures}) > 1
    if several and float(np.ptp(answers, axis=0).max()) <= SAME * size:
        return [
            f"the network answers the same for all {len(answers)} samples: its answers prove "
            "nothing; check that it was trained, and that --preprocess is that of training"
        ]
    return []


def _measured(right: int, judged: int) -> str:
    return f"accuracy {right / judged:.1%} ({right} of {judged} labelled samples)"


def _chance(chosen: Ints, targets: Ints, labels: int) -> tuple[str, str]:
    """Why an accuracy is no better than chance, and why that is in doubt; "" for no reason."""
    judged, right = len(targets), int((chosen == targets).sum())
    measured = _measured(right, judged)
    if right <= judged / labels:
        return f"{measured}: no better than guessing among {labels} labels", ""
    given, wanted = (np.bincount(each, minlength=labels) / judged for each in (chosen, targets))
    luck = float(given @ wanted)
    if wanted.max() == 1 or _p(right, judged, luck, "greater") <= ALPHA_CHANCE:
        return "", ""
    # Not shown to be better; and so many samples that a model which is half way to being always
    # right would have shown it.
    if _p(right, judged, (1 + luck) / 2, "less") >= ALPHA_CHANCE:
        return "", ""
    if right <= judged * luck + 1e-9:
        random = "no better than the same answers given to the samples at random"
        return f"{measured}: {random} ({luck:.1%})", ""
    return "", f"{measured}: not significantly better than chance ({luck:.1%})"


def _is_below(right: int, judged: int, claim: Claim | None) -> bool:
    return claim is not None and _p(right, judged, claim.low, "less") < ALPHA_CLAIM


def _p(right: int, judged: int, share: float, alternative: str) -> float:
    """The one-sided binomial test's p, 1e-300..1: its logarithm is a number."""
    from scipy.special import bdtr, bdtrc

    share = min(max(share, 1e-15), 1 - 1e-15)
    tail = {"less": bdtr(right, judged, share), "greater": bdtrc(right - 1, judged, share)}
    return min(max(float(tail[alternative]), 1e-300), 1.0)


def better(own: Bools, other: Bools, tries: float = 0.0) -> bool:
    """Whether other answers are right significantly more often, on the same samples.

    McNemar's exact test, one-sided (https://doi.org/10.1007/BF02295996). own, other: which samples
    are right. tries: the logarithm of how many were tried.
    """
    gained, lost = int((other & ~own).sum()), int((own & ~other).sum())
    if gained <= lost:
        return False
    return math.log(_p(gained, gained + lost, 0.5, "greater")) + tries < math.log(ALPHA_ORDER)


def may_be_better(gained: int, tried: int = 1) -> bool:
    """Whether so many gained samples, and none lost, are significantly more among so many tries."""
    return better(np.zeros(gained, bool), np.ones(gained, bool), math.log(max(tried, 1)))


def wrong_ones(answers: Scores, truth: Sequence[int | None]) -> list[int]:
    """The labelled samples that are answered wrong, by index."""
    chosen = answers.argmax(axis=1).tolist()
    pairs = enumerate(zip(chosen, truth, strict=True))
    return [index for index, (mine, right) in pairs if right not in (None, mine)]


def _better_order(
    chosen: Ints,
    targets: Ints,
    labels: Sequence[str],
    card_labels: Sequence[str],
    *,
    sure: bool = True,
) -> Order | None:
    """The order of labels that fits better: significantly (sure), or with a high accuracy."""
    own = chosen == targets
    if own.all():
        return None
    best, most = None, int(own.sum())
    for order, tries in _orders(chosen, targets, labels, card_labels):
        other = np.array(order.places)[chosen] == targets
        right = int(other.sum())
        if best is not None and right == most:
            if card_labels or tries > math.log(len(labels) ** 2):
                continue  # the card's is enough; or it is one of many that fit as well
            best = Order(f"{best.name}, or {order.name}", best.places)
        elif right > most and _fits(own, order.places, chosen, targets, tries, sure=sure):
            best, most = order, right
    return best


def _fits(
    own: Bools, places: Sequence[int], chosen: Ints, targets: Ints, tries: float, *, sure: bool
) -> bool:
    """Whether answers whose labels are in another order fit better than the model's own."""
    answers = np.array(places)[chosen]
    other = answers == targets
    if not sure:  # with photos of one label, any order that begins with it would be named
        several = len(set(targets.tolist())) > 1
        return several and int(other.sum()) > max(int(own.sum()), HIGH * len(own) - 1e-9)
    return better(own, other, tries) and not any(_chance(answers, targets, len(places)))


def _orders(
    chosen: Ints, targets: Ints, labels: Sequence[str], card_labels: Sequence[str]
) -> list[tuple[Order, float]]:
    """Orders to try, each with the logarithm of how many of its kind there are."""
    from scipy.optimize import linear_sum_assignment  # a quarter of a second

    count = len(labels)
    found: list[tuple[Order, float]] = []
    if set(card_labels) == set(labels):
        places = tuple(labels.index(label) for label in card_labels)
        found.append((Order("of the card beside the model", places), 0.0))
    places = tuple(sorted(range(count), key=lambda index: labels[index]))
    found.append((Order("in alphabetical order", places), 0.0))
    found.append((Order("in reversed order", tuple(reversed(range(count)))), 0.0))
    table = np.zeros((count, count))
    np.add.at(table, (chosen, targets), 1)
    # Outputs that no sample is of keep their labels, where that is possible.
    places = tuple(int(x) for x in linear_sum_assignment(table + 1e-6 * np.eye(count), True)[1])
    moved = [output for output, place in enumerate(places) if output != place]
    tries = math.lgamma(count + 1) - math.lgamma(count - len(moved) + 1)
    found.append((Order(_described(places, moved, labels), places), tries))
    # Each once: labels in alphabetical order may be those of the card.
    once: dict[tuple[int, ...], tuple[Order, float]] = {}
    for order, tries in found:
        once.setdefault(order.places, (order, tries))
    once.pop(tuple(range(count)), None)
    return list(once.values())


def _described(places: Sequence[int], moved: Sequence[int], labels: Sequence[str]) -> str:
    if len(moved) == 2:
        first, second = (labels[output] for output in moved)
        return f"{first!r} and {second!r} swapped"
    if len(labels) <= LISTED:
        return f"in the order {', '.join(labels[place] for place in places)}"
    pairs = ", ".join(f"{labels[x]!r} for {labels[places[x]]!r}" for x in moved[:LISTED])
    return f"changed at {len(moved)} outputs ({pairs}{', ...' * (len(moved) > LISTED)})"


def slip(
    trials: Sequence[Mapping[str, Any]],
    own: Scores,
    truth: Sequence[int | None],
    labels: Sequence[str],
    card_labels: Sequence[str] = (),
    *,
    unsure: bool = True,
) -> tuple[str, ...]:
    """The scaling, and order of labels, that fits significantly better; else, what seems to.

    trials: as `trials.scalings` returns them. own: the answers, (samples, labels). unsure: also
    what fits without being significantly better.
    """
    known, targets = labelled(truth)
    for sure in (True, False) if unsure else (True,):
        hints = []
        if found := _scaling(trials, own, known, targets, labels, card_labels, sure=sure):
            hints.append(_hint(*found, len(known), sure=sure))
        chosen = own[known].argmax(axis=1)
        order = None if sure else _better_order(chosen, targets, labels, card_labels, sure=False)
        if order is not None:
            right = int((np.array(order.places)[chosen] == targets).sum())
            hints.insert(0, _hint(f"with the labels {order.name}", right, len(known), sure=False))
        if hints:
            return tuple(hints)
    return ()


def _scaling(
    trials: Sequence[Mapping[str, Any]],
    own: Scores,
    known: Ints,
    targets: Ints,
    labels: Sequence[str],
    card_labels: Sequence[str],
    *,
    sure: bool,
) -> tuple[str, int] | None:
    """The scalings that fit best, for a sentence, and how many samples they have right."""
    before, tries = own[known].argmax(axis=1) == targets, math.log(max(len(trials), 1))
    found: list[str] = []
    most = int(before.sum())
    for trial in trials:
        chosen = np.array(trial["chosen"], np.int64)[known]
        # Two guesses at once are one too many.
        order = _better_order(chosen, targets, labels, card_labels) if sure else None
        places = order.places if order else tuple(range(len(labels)))
        right = int((np.array(places)[chosen] == targets).sum())
        if right < most or not _fits(before, places, chosen, targets, tries, sure=sure):
            continue
        option = f"--preprocess {scaling.synonyms(trial['scaling'])}"
        option += " --color-order bgr" * (trial["color_order"] == "bgr")
        option += f" and the labels {order.name}" if order else ""
        found = [*(found if right == most else []), option]
        most = right
    return (f"with {', or '.join(found)}", most) if found else None
