"""Smoke: a deployed function beside the same models on this machine, and the rollback.

    k2l smoke URL [--function NAME]

Every sample is sent to the URL in both ways that clients use, and every logit of the answers is
compared with the handler's in this process. Where they differ, the alias goes back to an earlier
version; what no version causes is only reported. docs/classic.md explains it.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from keras_to_lambda import client, project
from keras_to_lambda.cli import frame
from keras_to_lambda.client import Client, EndpointError
from keras_to_lambda.deploy.rollout.alias import Alias
from keras_to_lambda.deploy.rollout.endpoint_comparison import (
    WAIT_S,
    Found,
    LocalModel,
    SmokeSample,
    check_refusal,
    check_stranger,
    compare,
    doubt,
    first_answer,
    judge,
    local_models,
    measure,
    note,
    read_samples,
    settled,
)
from keras_to_lambda.deploy.rollout.version import Version
from keras_to_lambda.runtime.common.errors import UserError
from keras_to_lambda.runtime.model.registry import REMOTE

ROWS = 20  # of differences that are shown

EPILOG = """\
examples:
  k2l smoke https://ID.execute-api.eu-west-1.amazonaws.com/Prod/predict --iam
  k2l smoke URL --api-key KEY --function NAME   roll the alias back if it differs
  k2l smoke URL --model models/my/my.tflite --samples photos

A logit may differ by the share of the logits' spread that `convert` allowed the model; the card
has it (float32: 0.0001). A deployed model must be here, and have the same SHA-256.

exit status:
  0  the deployment matches the local models
  1  it differs, or fails. With --function the version is then invoked directly, past the gateway;
     if it answers wrongly there too, the alias was rolled back
  2  not tested: the network, the URL, the credentials, an option, or a difference of a function
     with a model from S3 or MLflow without --model. No rollback
"""


@dataclass
class SmokeOutcome:
    """What came of a smoke test.

    trial: of the version `newest`, invoked directly. rollback: what was done, "" for nothing; and
    back: why nothing was, or how the endpoint answers since.
    """

    found: Found
    facts: dict[str, str] = field(default_factory=dict)
    newest: str = ""
    trial: Found | None = None
    rollback: str = ""
    back: str = ""

    @property
    def same(self) -> bool:
        """Whether the deployment matches the local models."""
        return self.found.same and (self.trial is None or self.trial.same)


def parser() -> frame.Parser:
    """The command line."""
    p = frame.Parser(
        "k2l smoke",
        description="Compare a deployed function with the same models here, measure it, and\n"
        "roll its alias back if they differ.",
        epilog=EPILOG,
    )
    p.add_argument("url", metavar="URL", help="the deployed route, .../predict")
    client.add_options(p)
    p.add_argument(
        "--function",
        metavar="NAME",
        help="the function behind the URL, whose alias is rolled back on a difference (default: "
        "nothing is rolled back)",
    )
    p.add_argument(
        "--model",
        type=Path,
        metavar="PATH",
        help="deployed model: a .tflite, or a folder with several (default: models)",
    )
    p.add_argument(
        "--samples",
        type=Path,
        default=project.samples(),
        metavar="FOLDER",
        help="pictures to send (default: samples of this folder, else the package's)",
    )
    return p


@frame.command("k2l smoke")
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit status is explained in its help."""
    outcome = smoke(parser().parse_args(argv))
    print("\n".join(lines(outcome)))
    return frame.OK if outcome.same else frame.FAILED


def smoke(args: argparse.Namespace) -> SmokeOutcome:
    """Compare, measure, and go back where that is wanted.

    Raises:
        UserError: before anything was changed.
    """
    samples = read_samples(args.samples)
    endpoint = Client.of(args.url, args)
    note(f"classifying {len(samples)} samples here ...")
    models = local_models(args.model or project.ROOT / "models", samples)
    alias = Alias(args.function, args.region, args.profile) if args.function else None
    routing = alias.routing() if alias else None
    note(f"comparing with {endpoint.url} ...")
    first = first_answer(endpoint, samples[0])
    if first.status >= 500:
        found = Found([f"it answered {first} for {WAIT_S:.0f} s"])
    else:
        found = compare(endpoint, models, samples)
        check_stranger(endpoint, found)
    outcome = SmokeOutcome(found, {"URL": endpoint.url})
    if alias:
        outcome.facts["alias"] = f"{alias}, {routing}"
    kind = {True: "a cold start", False: "warm", None: "cold or warm is not said"}[first.cold]
    outcome.facts["first call"] = f"{first.ms:,.0f} ms, {kind}"
    if found.default in models:
        check_refusal(endpoint, found)
        if found.same:
            outcome.facts["warm calls"] = measure(endpoint, samples[0], found.default)
    if alias:
        now = alias.routing()
        outcome.newest = now.newest
        # Over HTTP a gateway can be at fault, and in a canary the stable version answers too: the
        # alias moves only if the version itself, invoked directly, answers wrongly.
        if now.weights or now != routing or not found.same:
            outcome.trial = judge(Version(alias, now.newest), models, samples)
        if not outcome.same:
            if not args.model and (path := alias.model_path(now.newest)).startswith(REMOTE):
                raise EndpointError(
                    f"version {now.newest} of {args.function} serves MODEL_PATH={path}, which is "
                    "not in models/: compare with that file, --model FILE.tflite"
                )
            _roll_back(outcome, alias, endpoint, models, samples)
    return outcome


def _roll_back(
    outcome: SmokeOutcome,
    alias: Alias,
    endpoint: Client,
    models: Mapping[str, LocalModel],
    samples: Sequence[SmokeSample],
) -> None:
    """Lead the alias back if the version is wrong, and compare again."""
    faulty, trial = outcome.newest, outcome.trial
    if trial is None or not trial.wrong:
        same = f"version {faulty}, invoked directly, answers as here"
        why = same if trial and trial.same else "no version is known to be the cause"
        outcome.back = f"nothing is rolled back: {why}"
        return
    note(f"the answers differ: leading {alias} back from version {faulty} ...")
    try:
        outcome.rollback = alias.roll_back(
            faulty, lambda number: doubt(alias, number, models, samples[0])
        )
    except UserError as error:
        outcome.back = f"NOT rolled back; check at once which version is live: {error}"
        return
    try:
        again = settled(endpoint, models, samples)
    except UserError as error:
        outcome.back = f"it could not be asked again: {error}"
        return
    first = next(iter([*again.faults, *again.unproven]), "some answers differ")
    different = f"it differs as well (it may serve another model): {first}"
    outcome.back = "it answers as here" if again.same else different


def lines(outcome: SmokeOutcome) -> Iterator[str]:
    """The outcome, for reading."""
    found, trial = outcome.found, outcome.trial
    facts = {**outcome.facts, **found.facts}
    passes = {"over HTTP": found, **({f"version {outcome.newest}": trial} if trial else {})}
    for who, one in passes.items():
        verdict = "as here" if one.same else "DIFFERENT"
        largest = f"largest difference {one.largest:.2g} (up to {one.allowed:.2g} allowed)"
        facts[who] = f"{verdict}: {one.compared} answers, {largest}"
    facts["verdict"] = "the same" if outcome.same else "DIFFERENT"
    width = max(map(len, facts))
    yield from (f"  {name:{width}}  {text}" for name, text in facts.items())
    for who, one in passes.items():
        yield from (f"  - {who}: {fault}" for fault in [*one.faults, *one.unproven])
        yield from (f"  - {who}: {each}" for each in one.differences[:ROWS])
        if len(one.differences) > ROWS:
            yield f"  and {len(one.differences) - ROWS} more"
    yield from (f"\n  {text}" for text in (outcome.rollback, outcome.back) if text)
