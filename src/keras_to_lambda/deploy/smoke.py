"""Smoke: a deployed function beside the same models on this machine, and the way back.

    k2l smoke URL [--function NAME]

Every sample is sent to the URL in both ways that clients use, and every logit of the answers is
compared with the handler's in this process. Where they differ, the alias goes back to an earlier
version; what no version causes is only told. docs/classic.md has it for reading.
"""

from __future__ import annotations

import argparse
import base64
import json
import math
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from keras_to_lambda import client
from keras_to_lambda.cli import frame
from keras_to_lambda.client import Client, EndpointError, Reply, refused
from keras_to_lambda.deploy import ALIAS
from keras_to_lambda.deploy.alias import Alias, AliasError, FunctionFailed
from keras_to_lambda.deploy.version import Version
from keras_to_lambda.project import ROOT
from keras_to_lambda.runtime.errors import UnsupportedFormat
from keras_to_lambda.runtime.handler import Handler
from keras_to_lambda.runtime.image.formats import MEDIA_TYPES
from keras_to_lambda.runtime.settings import Settings

PYTHON_TF = ROOT / ".venv-tf" / "bin" / "python"
SAME, DIFFERENT, NOT_ASKED = 0, 1, 2

# What convert allows a float32 model to differ from Keras; a card has its own model's.
TOLERANCE = 1e-4
ROWS = 20  # of differences that are shown

EPILOG = """\
examples:
  k2l smoke https://ID.execute-api.eu-west-1.amazonaws.com/Prod/predict --iam
  k2l smoke URL --api-key KEY --function NAME   go back by the alias if it differs
  k2l smoke URL --model models/my/my.tflite --samples photos --against my.keras

A logit may differ by the share of the logits' spread that `convert` allowed the model; the card
has it (float32: 0.0001). A deployed model must be here, and have the same SHA-256.

exit status:
  0  deployed is as here
  1  it differs, or fails. With --function the version is then invoked directly, past the gateway;
     if it answers wrongly there too, and without --no-rollback, the alias was led back
  2  it could not be asked: the network, the URL, the credentials, an option. Nothing is led back
"""


@dataclass(frozen=True)
class Sample:
    """A picture: its name (the path below the folder, which no other has), bytes, content type."""

    name: str
    image: bytes
    type: str


@dataclass(frozen=True)
class Model:
    """A model here: its SHA-256, its answers by sample, and how far a logit may be off."""

    sha256: str | None
    path: str
    answers: dict[str, dict[str, float]]
    allowed: float


@dataclass(frozen=True)
class Difference:
    """One score that is not as here. remote is None, and `said` the reason, where there is none."""

    model: str
    sample: str
    way: str
    label: str
    local: float | None
    remote: float | None
    said: str = ""


@dataclass(frozen=True)
class Fault:
    """What is wrong. version: by the function's version, so that the one before may be right."""

    text: str
    version: bool = False


@dataclass
class Found:
    """What a pass over the endpoint found.

    failed: whether a call ended in a 5xx. compared: answers. largest: difference of a score.
    default: the model that is asked by default.
    """

    faults: list[Fault] = field(default_factory=list)
    facts: dict[str, str] = field(default_factory=dict)
    differences: list[Difference] = field(default_factory=list)
    failed: bool = False
    compared: int = 0
    largest: float = 0.0
    default: str = ""

    @property
    def same(self) -> bool:
        """Whether the endpoint answers as this machine does."""
        return not self.faults and not self.differences

    @property
    def by_version(self) -> bool:
        """Whether the function's version is known to be the cause of something."""
        return any(f.version for f in self.faults) or any(not d.said for d in self.differences)


def read_samples(folder: Path) -> list[Sample]:
    """The pictures in a folder, or one picture.

    Raises:
        EndpointError: there are none.
    """
    home = folder.parent if folder.is_file() else folder
    files = [folder] if folder.is_file() else sorted(folder.rglob("*"))
    found = [
        Sample(
            file.relative_to(home).as_posix(), file.read_bytes(), MEDIA_TYPES[file.suffix.lower()]
        )
        for file in files
        if file.suffix.lower() in MEDIA_TYPES
    ]
    if not found:
        raise EndpointError(f"--samples {folder}: no image there ({', '.join(MEDIA_TYPES)})")
    return found


def local_models(path: Path, samples: Sequence[Sample]) -> dict[str, Model]:
    """What the handler in this process answers, by the models' names.

    Raises:
        EndpointError: a sample cannot be classified. SetupError: a model is wrong.
    """
    handler = Handler(Settings.from_environ({"MODEL_PATH": str(path), "LOG_LEVEL": "FATAL"}))
    found = {}
    for name, installed in handler.models.installed.items():
        answers = {}
        for sample in samples:
            try:
                answers[sample.name] = handler.handle(_event(sample, name))
            except Exception as error:
                raise EndpointError(f"{sample.name} cannot be classified here: {error}") from error
        spread = sum(max(a.values()) - min(a.values()) for a in answers.values()) / len(answers)
        tolerance = installed.card.verification.get("tolerance", {}).get("difference", TOLERANCE)
        found[name] = Model(
            installed.card.model_sha256, installed.path, answers, float(tolerance) * spread
        )
    return found


def compare(endpoint: Client, models: Mapping[str, Model], samples: Sequence[Sample]) -> Found:
    """Every deployed model against the one here, every sample in both ways.

    Raises:
        EndpointError; and of a Version FunctionFailed, AliasError.
    """
    found = Found()
    listed = endpoint.request("GET", "models")
    refused(listed, endpoint.url)
    content = listed.content if isinstance(listed.content, dict) else {}
    if listed.status >= 500:
        found.faults.append(Fault(f"GET /models answers {listed}"))
        found.failed = True
        return found
    if listed.status != 200 or "models" not in content:
        raise EndpointError(
            f"GET /models answers {listed}: is {endpoint.url} this project's function?"
        )
    names = [str(card.get("name")) for card in content["models"]]
    # Of several models without a default, the first.
    found.default = str(content.get("default") or next(iter(names), ""))
    for card in content["models"]:
        name, sha256 = str(card.get("name")), card.get("model_sha256")
        model = models.get(name)
        found.facts[f"model {name}"] = f"SHA-256 {str(sha256)[:12]}"
        if model is None:
            found.faults.append(Fault(f"model {name} is deployed, and not here: see --model"))
            continue
        if model.sha256 != sha256:
            said = f"SHA-256 {str(sha256)[:12]}, here {str(model.sha256)[:12]}"
            found.faults.append(Fault(f"model {name} is another: {said}", version=True))
        for sample in samples:
            _compare_sample(endpoint, name, model, sample, found)
    return found


def _compare_sample(
    endpoint: Client, name: str, model: Model, sample: Sample, found: Found
) -> None:
    here = model.answers[sample.name]
    for way in ("body", "base64"):
        reply = endpoint.classify(sample.image, sample.type, name, as_json=way == "base64")
        there = reply.content
        found.compared += 1
        if reply.status != 200 or not isinstance(there, dict):
            said = f"answers {reply}"
            found.differences.append(Difference(name, sample.name, way, "", None, None, said))
            found.failed = found.failed or reply.status >= 500
            continue
        for label in {**here, **there}:
            ours, theirs = here.get(label), there.get(label)
            off = math.inf if ours is None or theirs is None else abs(ours - theirs)
            found.largest = max(found.largest, off)
            if not off <= model.allowed:
                found.differences.append(Difference(name, sample.name, way, label, ours, theirs))


def check_refusal(endpoint: Client, found: Found) -> None:
    """An error is an error.

    Raises:
        EndpointError; and of a Version FunctionFailed, AliasError.
    """
    wrong = endpoint.classify(b"this is not an image", "application/octet-stream", found.default)
    found.facts["what is no image"] = str(wrong)
    if (wrong.status, wrong.code) != (UnsupportedFormat.status, UnsupportedFormat.code):
        own = wrong.status == 200 or wrong.own
        found.faults.append(Fault(f"what is no image is answered with {wrong}, not 415", own))
        found.failed = found.failed or wrong.status >= 500


def check_contract(endpoint: Client, found: Found) -> None:
    """A preflight gets its headers, and a stranger gets nothing.

    Raises:
        EndpointError
    """
    preflight = endpoint.request(
        "OPTIONS",
        headers={
            "Origin": "https://example.com",
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "content-type",
        },
        known=False,
    )
    origin = preflight.headers.get("access-control-allow-origin")
    found.facts["CORS preflight"] = f"{preflight.status}, {origin or 'no origin'} allowed"
    if preflight.status not in {200, 204} or not origin:
        said = f"a CORS preflight is answered with {preflight}, no browser may call"
        found.faults.append(Fault(said))
    if not (endpoint.key or endpoint.signature):
        found.facts["without credentials"] = "answered: everybody who knows the URL may call"
        return
    stranger = endpoint.request(headers={"Content-Type": "application/json"}, known=False)
    found.facts["without credentials"] = str(stranger)
    if stranger.status not in {401, 403}:
        said = f"a call without credentials is answered with {stranger}, not refused"
        found.faults.append(Fault(said))


def judge(version: Version, models: Mapping[str, Model], samples: Sequence[Sample]) -> Found:
    """A pass over one version, invoked directly: what differs is that version's fault."""
    note(f"comparing with {version.url}, invoked directly ...")
    try:
        found = compare(version, models, samples)
        if found.default in models:
            check_refusal(version, found)
    except FunctionFailed as error:
        return Found([Fault(str(error), version=True)])
    except (AliasError, EndpointError) as error:
        return Found([Fault(f"what it answers is not known: {error}")])
    if any(one.said for one in found.differences):
        found.faults.append(Fault("it does not classify every sample", version=True))
    return found


def doubt(alias: Alias, number: str, models: Mapping[str, Model], sample: Sample) -> str:
    """What speaks against going back to a version, by invoking it; nothing where it will do.

    It may serve another model than is here, whose answers cannot be judged. With the same models,
    other answers are no proof either, as what is here may be meant to answer otherwise.

    Raises:
        FunctionFailed: it does not answer. AliasError: it was not run.
    """
    alias.invoke(_event(sample, ""), number)
    try:
        found = compare(Version(alias, number), models, [sample])
    except EndpointError as error:
        return str(error)
    another = any(fault.version for fault in found.faults)  # of compare's, a SHA-256
    return "" if another or not found.differences else "differs from here with the same model"


def measure(endpoint: Client, sample: Sample, model: str, calls: int) -> dict[str, float | int]:
    """Warm calls, one after another.

    Returns:
        calls; p50_ms and p95_ms as the caller sees them; server_p50_ms and server_p95_ms, the
        handler's share.

    Raises:
        EndpointError
    """
    total, server = [], []
    for _ in range(calls):
        reply = endpoint.classify(sample.image, sample.type, model)
        if reply.status == 200 and not reply.cold:
            total.append(reply.ms)
            server.append(reply.server_ms or 0.0)
    if not total:
        return {"calls": 0}
    return {
        "calls": len(total),
        "p50_ms": percentile(total, 50),
        "p95_ms": percentile(total, 95),
        "server_p50_ms": percentile(server, 50),
        "server_p95_ms": percentile(server, 95),
    }


def percentile(values: Sequence[float], share: int) -> float:
    """The nearest-rank percentile: share in 1..100, of at least one value."""
    return round(sorted(values)[math.ceil(share / 100 * len(values)) - 1], 2)


def first_answer(endpoint: Client, sample: Sample, wait_s: float) -> Reply:
    """The first answer, of whatever kind; a new URL takes a while until it is known everywhere.

    Raises:
        EndpointError: none within wait_s seconds; or it refuses us.
    """
    give_up = time.monotonic() + wait_s
    told = False
    while True:
        try:
            reply = endpoint.request(body=sample.image, headers={"Content-Type": sample.type})
        except EndpointError:
            if time.monotonic() > give_up:
                raise
        else:
            if reply.status < 500 or time.monotonic() > give_up:
                refused(reply, endpoint.url)
                return reply
        if not told:
            note(f"waiting up to {wait_s:.0f} s for {endpoint.url} ...")
            told = True
        time.sleep(min(1.0, wait_s / 10))


def settle(
    endpoint: Client, models: Mapping[str, Model], samples: Sequence[Sample], settle_s: float
) -> Found:
    """Compare again after an alias was moved, which takes some seconds to be known everywhere.

    Raises:
        EndpointError
    """
    give_up = time.monotonic() + settle_s
    while True:
        found = compare(endpoint, models, samples[:1])
        if found.same or time.monotonic() > give_up:
            return compare(endpoint, models, samples) if found.same else found
        time.sleep(1)


def verify_keras(args: argparse.Namespace, endpoint: Client, model: Model) -> str:
    """`k2l verify` of the deployed function against the Keras model, in its own environment.

    Returns:
        A fault, or nothing.

    Raises:
        EndpointError: it cannot run, or could not ask.
    """
    if not PYTHON_TF.exists():
        raise EndpointError("--against needs TensorFlow's environment: run `make setup`")
    command: list[str | Path] = [
        PYTHON_TF,
        "-m",
        "keras_to_lambda",
        "verify",
        model.path,
        "--no-write",
    ]
    command += ["--against", args.against, "--samples", args.samples, "--url", endpoint.url]
    command += [
        f"--{name}={value}"
        for name in ("api-key", "region", "profile")
        if (value := getattr(args, name.replace("-", "_")))
    ]
    command += ["--iam"] * args.iam
    note("asking Keras, by k2l verify (half a minute or so) ...")
    # Its table is for reading too, and not to be mixed with JSON.
    done = subprocess.run(  # noqa: S603  # our own command, no shell
        command, cwd=ROOT, check=False, stdout=subprocess.PIPE, text=True
    )
    print(done.stdout, end="", file=sys.stderr)
    if done.returncode not in {SAME, DIFFERENT}:
        raise EndpointError("k2l verify could not compare with Keras; it says why above")
    return "" if done.returncode == SAME else "k2l verify: Keras answers otherwise (see above)"


def note(text: str) -> None:
    """Tell the person, not the program that reads standard output."""
    print(f"smoke: {text}", file=sys.stderr, flush=True)


def parser() -> frame.Parser:
    """The command line."""
    p = frame.Parser(
        "k2l smoke",
        description="Compare a deployed function with the same models here, measure it, and\n"
        "lead its alias back where they differ.",
        epilog=EPILOG,
    )
    p.add_argument("url", metavar="URL", help="the deployed route, .../predict")
    client.add_options(p)
    p.add_argument(
        "--function", metavar="NAME", help="the function behind the URL; its alias may be led back"
    )
    p.add_argument("--alias", default=ALIAS, help="of the function (default: %(default)s)")
    p.add_argument(
        "--no-rollback", action="store_true", help="only tell what differs, whatever it is"
    )
    p.add_argument(
        "--model",
        type=Path,
        default=ROOT / "models",
        metavar="PATH",
        help="what was deployed: a .tflite, or a folder with several (default: models)",
    )
    p.add_argument(
        "--samples",
        type=Path,
        default=ROOT / "samples",
        metavar="FOLDER",
        help="pictures to send (default: samples)",
    )
    p.add_argument(
        "--against",
        type=Path,
        metavar="KERAS",
        help="a .keras or .h5 file to ask as well, by k2l verify (default: none)",
    )
    p.add_argument(
        "--calls", type=int, default=30, metavar="N", help="warm calls measured (%(default)s)"
    )
    p.add_argument(
        "--wait", type=float, default=60, metavar="S", help="for the first answer (%(default)s s)"
    )
    p.add_argument(
        "--settle",
        type=float,
        default=30,
        metavar="S",
        help="for the version that was gone back to (%(default)s s)",
    )
    p.add_argument("--json", action="store_true", help="the result for a program")
    return p


@frame.command("k2l smoke")
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit status is explained in its help."""
    p = parser()
    args = p.parse_args(argv)
    if not args.url.startswith(("http://", "https://")):
        p.error(f"URL {args.url} does not start with https://")
    if args.calls < 0 or args.wait < 0 or args.settle < 0:
        p.error("--calls, --wait and --settle must not be negative")
    return smoke(args)


def smoke(args: argparse.Namespace) -> int:
    """Compare, measure, tell, and go back where that is wanted.

    Raises:
        EndpointError, SetupError, AliasError: before anything was changed.
    """
    samples = read_samples(args.samples)
    note(f"classifying {len(samples)} samples here ...")
    models = local_models(args.model, samples)
    endpoint = Client.of(args.url, args)
    result: dict[str, Any] = {"url": endpoint.url}
    alias = Alias(args.function, args.alias, args.region, args.profile) if args.function else None
    routing = alias.routing() if alias else None
    if alias:
        result["alias"] = f"{alias}, {routing}"
        result["invoked"] = _invoked(alias, samples[0])
    first = first_answer(endpoint, samples[0], args.wait)
    result["first_call"] = {"ms": round(first.ms, 1), "cold": first.cold}
    note(f"comparing with {endpoint.url} ...")
    if first.status >= 500:
        fault = Fault(f"it answered {first} for {args.wait:.0f} s")
        found = Found([fault], failed=True)
    else:
        found = compare(endpoint, models, samples)
    if found.default in models:
        check_refusal(endpoint, found)
        check_contract(endpoint, found)
        if args.against:
            said = verify_keras(args, endpoint, models[found.default])
            found.faults += [Fault(said)] if said else []
        if found.same and args.calls:
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
    result = {"same": same, **result, **_plain(found)}
    if trial:
        result["trial"] = {"version": newest, "same": trial.same, **_plain(trial)}
    if not same and alias and not args.no_rollback:
        if trial and trial.by_version:
            result["rollback"] = _roll_back(alias, newest, endpoint, models, samples, args.settle)
        else:
            why = (
                f"version {newest}, invoked directly, answers as here"
                if trial and trial.same
                else "no version is known to be the cause"
            )
            result["rollback"] = {"done": None, "now": f"nothing is led back: {why}"}
    if args.json:
        print(json.dumps(result, indent=1))
    else:
        print("\n".join(told(result, found, trial, models, samples)))
    return SAME if same else DIFFERENT


def _plain(found: Found) -> dict[str, Any]:
    """As JSON has it, without the infinity that a label which is missing there would be."""
    return {**asdict(found), "largest": found.largest if math.isfinite(found.largest) else None}


def _event(sample: Sample, model: str) -> dict[str, str]:
    """A sample as a direct invocation has it. model: "" for the default."""
    image = base64.b64encode(sample.image).decode()
    return {"image": image, "model": model} if model else {"image": image}


def _invoked(alias: Alias, sample: Sample) -> dict[str, float] | str:
    """The first call by Lambda's own API: of a version just deployed, a cold start's durations."""
    try:
        return alias.invoke(_event(sample, "")).figures
    except AliasError as error:  # a figure less is no reason to stop
        return f"not measured: {error}"


def _roll_back(
    alias: Alias,
    faulty: str,
    endpoint: Client,
    models: Mapping[str, Model],
    samples: Sequence[Sample],
    settle_s: float,
) -> dict[str, Any]:
    """Lead the alias back and compare again; what state that left."""
    note(f"the answers differ: leading {alias} back from version {faulty} ...")
    try:
        led = alias.roll_back(faulty, lambda number: doubt(alias, number, models, samples[0]))
        done = {"done": led, "now": f"{alias} is at {alias.routing()}"}
    except AliasError as error:
        return {"done": None, "now": f"NOT led back, look at once what is live: {error}"}
    try:
        again = settle(endpoint, models, samples, settle_s)
    except EndpointError as error:
        return {**done, "same": None, "then": f"it could not be asked again: {error}"}
    if again.same:
        return {**done, "same": True, "then": "it answers as here"}
    first = again.faults[0].text if again.faults else "some answers differ"
    return {**done, "same": False, "then": f"it differs from here too, as it may: {first}"}


def told(
    result: Mapping[str, Any],
    found: Found,
    trial: Found | None,
    models: Mapping[str, Model],
    samples: Sequence[Sample],
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
    invoked = result.get("invoked")
    if invoked:
        figures = (
            [f"{name} {number:g}" for name, number in dict(invoked).items()]
            if isinstance(invoked, dict)
            else [invoked]
        )
        facts["invoked directly"] = f"{', '.join(figures)}{' (ms, MB)' * isinstance(invoked, dict)}"
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
        yield from (f"  - {whose}{fault.text}" for fault in one.faults)
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
        row = f"  {one.model:12.12} {one.sample[-24:]:24} {one.way:7} "
        yield row + (one.said or f"{one.label:16.16} {here:>10} {there:>10}")
    if len(differences) > ROWS:
        yield f"  and {len(differences) - ROWS} more; --json has them all"
