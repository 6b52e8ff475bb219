"""Smoke: a deployed function beside the same models on this machine, and the rollback.

    k2l smoke URL [--function NAME]

Every sample is sent to the URL in both ways that clients use, and every logit of the answers is
compared with the handler's in this process. Where they differ, the alias goes back to an earlier
version; what no version causes is only reported. docs/classic.md explains it.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from keras_to_lambda import client
from keras_to_lambda.cli import frame
from keras_to_lambda.client import Client, EndpointError
from keras_to_lambda.deploy.rollout.alias import Alias, AliasError
from keras_to_lambda.deploy.rollout.endpoint_comparison import (
    WAIT_S,
    Difference,
    Found,
    LocalModel,
    SmokeSample,
    check_contract,
    check_refusal,
    compare,
    doubt,
    first_answer,
    judge,
    local_models,
    measure,
    note,
    read_samples,
    settle,
)
from keras_to_lambda.deploy.rollout.version import Version
from keras_to_lambda.project import ROOT
from keras_to_lambda.runtime.common.settings import bundled
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
     if it answers wrongly there too, and without --no-rollback, the alias was rolled back
  2  not tested: the network, the URL, the credentials, an option, or a difference of a function
     with a model from S3 or MLflow without --model. No rollback
"""


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
        help="the function behind the URL; its alias can be rolled back",
    )
    p.add_argument(
        "--no-rollback", action="store_true", help="leave the alias as it is, whatever differs"
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
        default=ROOT / "samples" if (ROOT / "samples").is_dir() else Path(bundled("samples")),
        metavar="FOLDER",
        help="pictures to send (default: samples of this folder, else the package's)",
    )
    p.add_argument(
        "--calls",
        type=int,
        default=30,
        metavar="N",
        help="warm calls to measure, 0 for none (default: %(default)s)",
    )
    p.add_argument("--json", action="store_true", help="output as one JSON document")
    return p


@frame.command("k2l smoke")
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit status is explained in its help."""
    p = parser()
    args = p.parse_args(argv)
    if not args.url.startswith(("http://", "https://")):
        p.error(f"URL {args.url} does not start with https://")
    return smoke(args)


def smoke(args: argparse.Namespace) -> int:
    """Compare, measure, tell, and go back where that is wanted.

    Raises:
        EndpointError, SetupError, AliasError: before anything was changed.
    """
    samples = read_samples(args.samples)
    note(f"classifying {len(samples)} samples here ...")
    models = local_models(args.model or ROOT / "models", samples)
    endpoint = Client.of(args.url, args)
    result: dict[str, Any] = {"url": endpoint.url}
    alias = Alias(args.function, args.region, args.profile) if args.function else None
    routing = alias.routing() if alias else None
    if alias:
        result["alias"] = f"{alias}, {routing}"
    first = first_answer(endpoint, samples[0])
    result["first_call"] = {"ms": round(first.ms, 1), "cold": first.cold}
    note(f"comparing with {endpoint.url} ...")
    if first.status >= 500:
        found = Found([f"it answered {first} for {WAIT_S:.0f} s"])
    else:
        found = compare(endpoint, models, samples)
    if found.default in models:
        check_refusal(endpoint, found)
        check_contract(endpoint, found)
        if found.same:
            result["warm"] = measure(endpoint, samples[0], found.default, args.calls)
    trial, newest = None, ""
    if alias:
        now = alias.routing()
        newest = now.newest
        # Over HTTP a gateway can be at fault, and in a canary the stable version answers too: the
        # alias moves only if the version itself, invoked directly, answers wrongly.
        if now.weights or now != routing or not found.same:
            trial = judge(Version(alias, newest), models, samples)
    same = found.same and (trial is None or trial.same)
    if alias and not (same or args.model):
        path = alias.model_path(newest)
        if path.startswith(REMOTE):
            raise EndpointError(
                f"version {newest} of {args.function} serves MODEL_PATH={path}, which is not in "
                "models/: compare with that file, --model FILE.tflite"
            )
    result = {"same": same, **result, **_plain(found)}
    if trial:
        result["trial"] = {"version": newest, "same": trial.same, **_plain(trial)}
    if not same and alias and not args.no_rollback:
        if trial and trial.wrong:
            result["rollback"] = _roll_back(alias, newest, endpoint, models, samples)
        else:
            why = (
                f"version {newest}, invoked directly, answers as here"
                if trial and trial.same
                else "no version is known to be the cause"
            )
            result["rollback"] = {"done": None, "now": f"nothing is rolled back: {why}"}
    if args.json:
        print(json.dumps(result, indent=1))
    else:
        print("\n".join(summary_lines(result, found, trial, models, samples)))
    return frame.OK if same else frame.FAILED


def _plain(found: Found) -> dict[str, Any]:
    """As JSON has it, without the infinity that a label which is missing there would be."""
    return {**asdict(found), "largest": found.largest if math.isfinite(found.largest) else None}


def _roll_back(
    alias: Alias,
    faulty: str,
    endpoint: Client,
    models: Mapping[str, LocalModel],
    samples: Sequence[SmokeSample],
) -> dict[str, Any]:
    """Lead the alias back and compare again; what state that left."""
    note(f"the answers differ: leading {alias} back from version {faulty} ...")
    try:
        led = alias.roll_back(faulty, lambda number: doubt(alias, number, models, samples[0]))
        done = {"done": led, "now": f"{alias} is at {alias.routing()}"}
    except AliasError as error:
        return {
            "done": None,
            "now": f"NOT rolled back; check at once which version is live: {error}",
        }
    try:
        again = settle(endpoint, models, samples)
    except EndpointError as error:
        return {**done, "same": None, "then": f"it could not be asked again: {error}"}
    if again.same:
        return {**done, "same": True, "then": "it answers as here"}
    first = next(iter([*again.faults, *again.unproven]), "some answers differ")
    return {
        **done,
        "same": False,
        "then": f"it differs as well (it may serve another model): {first}",
    }


def summary_lines(
    result: Mapping[str, Any],
    found: Found,
    trial: Found | None,
    models: Mapping[str, LocalModel],
    samples: Sequence[SmokeSample],
) -> Iterator[str]:
    """The result, for reading. trial: what a version that was invoked directly differs in."""
    yield result["url"]
    facts = {**({"alias": result["alias"]} if "alias" in result else {}), **found.facts}
    allowed = max((model.allowed for model in models.values()), default=0.0)
    if found.compared:
        facts["compared"] = (
            f"{found.compared} answers: {len(samples)} samples, as body and as base64"
        )
        facts["largest difference"] = f"{found.largest:.2g} (up to {allowed:.2g} allowed)"
    first = result["first_call"]
    kind = {True: "a cold start", False: "warm", None: "cold or warm is not said"}[first["cold"]]
    facts["first call"] = f"{first['ms']:,.0f} ms, {kind}"
    warm = result.get("warm", {})
    if warm.get("calls"):
        facts[f"{warm['calls']} warm calls"] = (
            f"p50 {warm['p50_ms']:.1f} ms, p95 {warm['p95_ms']:.1f} ms; of that the function "
            f"{warm['server_p50_ms']:.1f} and {warm['server_p95_ms']:.1f}"
        )
    passes = {"over HTTP": found}
    if trial:
        passes[f"version {result['trial']['version']}"] = trial
        for who, one in passes.items():
            verdict = "as here" if one.same else "DIFFERENT"
            facts[who] = f"{verdict}, {one.compared} answers compared"
    facts["verdict"] = "the same" if result["same"] else "DIFFERENT"
    width = max(map(len, facts))
    yield from (f"  {name:{width}}  {text}" for name, text in facts.items())
    for who, one in passes.items():
        whose = f"{who}: " if trial else ""
        yield from (f"  - {whose}{fault}" for fault in [*one.faults, *one.unproven])
        if one.differences:
            yield from ("", *([f"  {who}"] if trial else []))
            yield from _table(one.differences)
    if "rollback" in result:
        yield ""
        yield from (
            f"  {text}" for key, text in result["rollback"].items() if key != "same" and text
        )


def _table(differences: Sequence[Difference]) -> Iterator[str]:
    yield f"  {'model':12} {'sample':24} {'way':7} {'label':16} {'here':>10} {'deployed':>10}"
    for one in differences[:ROWS]:
        here, there = ("-" if n is None else f"{n:.5g}" for n in (one.local, one.remote))
        row = f"  {one.model:12.12} {one.sample[-24:]:24} {one.way:7} {one.label:16.16}"
        yield f"{row} {here:>10} {there:>10}"
    if len(differences) > ROWS:
        yield f"  and {len(differences) - ROWS} more; --json has them all"
