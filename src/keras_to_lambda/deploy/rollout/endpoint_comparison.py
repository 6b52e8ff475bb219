"""Comparison: a deployed endpoint, or one version of a function, with the models in this folder."""

from __future__ import annotations

import base64
import math
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from keras_to_lambda.client import Client, EndpointError, Reply, refused
from keras_to_lambda.deploy.rollout.alias import Alias, FunctionFailed
from keras_to_lambda.deploy.rollout.version import Version
from keras_to_lambda.runtime.common.errors import UnsupportedFormat, UserError
from keras_to_lambda.runtime.common.formats import MEDIA_TYPES
from keras_to_lambda.runtime.common.settings import Settings
from keras_to_lambda.runtime.handler import Handler

WAIT_S = 60.0  # for the first answer
SETTLE_S = 30.0  # for a version after a rollback
CALLS = 30  # warm ones that are measured
# What convert allows a float32 model to differ from Keras; a card has its own model's.
TOLERANCE = 1e-4


class SmokeSample(NamedTuple):
    """A picture: its name (the path below the folder, which no other has), bytes, content type."""

    name: str
    image: bytes
    type: str


class LocalModel(NamedTuple):
    """A model here: its SHA-256, its answers by sample, and how far a logit may be off."""

    sha256: str | None
    answers: dict[str, dict[str, float]]
    allowed: float


class Difference(NamedTuple):
    """One score that is not as here; None where one side does not have the label."""

    model: str
    sample: str
    way: str
    label: str
    local: float | None
    remote: float | None

    def __str__(self) -> str:
        here, there = ("-" if n is None else f"{n:.5g}" for n in (self.local, self.remote))
        where = f"{self.model}, {self.sample[-24:]} as {self.way}"
        return f"{where}: {self.label[:24]} is {there} there, {here} here"


@dataclass
class Found:
    """What a pass over the endpoint found.

    faults: of the answers. unproven: what is wrong, too, and proves nothing about a version.
    compared: answers. largest: difference of a score. allowed: of the models the largest.
    default: the model that is asked by default. another: a model has another SHA-256 than here.
    """

    faults: list[str] = field(default_factory=list)
    unproven: list[str] = field(default_factory=list)
    facts: dict[str, str] = field(default_factory=dict)
    differences: list[Difference] = field(default_factory=list)
    compared: int = 0
    largest: float = 0.0
    allowed: float = 0.0
    default: str = ""
    another: bool = False

    @property
    def wrong(self) -> bool:
        """Whether an answer is not as this machine's."""
        return bool(self.faults or self.differences)

    @property
    def same(self) -> bool:
        """Whether all is as on this machine."""
        return not self.wrong and not self.unproven


def read_samples(folder: Path) -> list[SmokeSample]:
    """The pictures in a folder, or one picture.

    Raises:
        EndpointError: there are none.
    """
    home, files = folder, sorted(folder.rglob("*"))
    if folder.is_file():
        home, files = folder.parent, [folder]
    found = [
        SmokeSample(file.relative_to(home).as_posix(), file.read_bytes(), kind)
        for file in files
        if (kind := MEDIA_TYPES.get(file.suffix.lower()))
    ]
    if not found:
        raise EndpointError(f"--samples {folder}: no image there ({', '.join(MEDIA_TYPES)})")
    return found


def local_models(path: Path, samples: Sequence[SmokeSample]) -> dict[str, LocalModel]:
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
                answers[sample.name] = handler.handle({**sample_event(sample), "model": name})
            except Exception as error:
                raise EndpointError(f"{sample.name} cannot be classified here: {error}") from error
        spread = sum(max(a.values()) - min(a.values()) for a in answers.values()) / len(answers)
        tolerance = installed.card.verification.get("tolerance", {}).get("difference", TOLERANCE)
        found[name] = LocalModel(installed.card.model_sha256, answers, float(tolerance) * spread)
    return found


def compare(
    endpoint: Client, models: Mapping[str, LocalModel], samples: Sequence[SmokeSample]
) -> Found:
    """Every deployed model against the one here, every sample in both ways.

    Raises:
        EndpointError; and of a Version FunctionFailed, AwsError.
    """
    found = Found()
    listed = endpoint.request("GET", "models")
    refused(listed, endpoint.url)
    content = listed.content if isinstance(listed.content, dict) else {}
    if listed.status >= 500:
        found.faults.append(f"GET /models answers {listed}")
        return found
    if listed.status != 200 or "models" not in content:
        raise EndpointError(
            f"GET /models answers {listed}: is {endpoint.url} this project's function?"
        )
    deployed = {str(card.get("name")): card.get("model_sha256") for card in content["models"]}
    # Of several models without a default, the first.
    found.default = str(content.get("default") or next(iter(deployed), ""))
    for name, sha256 in deployed.items():
        found.facts[f"model {name}"] = f"SHA-256 {str(sha256)[:12]}"
        model = models.get(name)
        if model is None:
            found.unproven.append(f"model {name} is deployed, and not here: see --model")
            continue
        if model.sha256 != sha256:
            said = f"SHA-256 {str(sha256)[:12]}, here {str(model.sha256)[:12]}"
            found.faults.append(f"model {name} is another: {said}")
            found.another = True
        found.allowed = max(found.allowed, model.allowed)
        for sample in samples:
            _compare_sample(endpoint, name, model, sample, found)
    return found


def _compare_sample(
    endpoint: Client, name: str, model: LocalModel, sample: SmokeSample, found: Found
) -> None:
    here = model.answers[sample.name]
    for way in ("body", "base64"):
        reply = endpoint.classify(sample.image, sample.type, name, as_json=way == "base64")
        there = reply.content
        found.compared += 1
        if reply.status != 200 or not isinstance(there, dict):
            found.faults.append(f"model {name} answers {sample.name} as {way} with {reply}")
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
        EndpointError; and of a Version FunctionFailed, AwsError.
    """
    wrong = endpoint.classify(b"this is not an image", "application/octet-stream", found.default)
    found.facts["non-image"] = str(wrong)
    if (wrong.status, wrong.code) != (UnsupportedFormat.status, UnsupportedFormat.code):
        found.faults.append(f"a non-image is answered with {wrong}, not 415")


def check_stranger(endpoint: Client, found: Found) -> None:
    """Where the caller has credentials, one without them is refused: else the stack is open.

    Raises:
        EndpointError
    """
    if not (endpoint.key or endpoint.signature):
        return
    answer = Client(endpoint.url).request(headers={"Content-Type": "application/json"})
    found.facts["without credentials"] = str(answer)
    if answer.status not in {401, 403}:
        found.unproven.append(f"a call without credentials is answered with {answer}, not refused")


def judge(
    version: Version, models: Mapping[str, LocalModel], samples: Sequence[SmokeSample]
) -> Found:
    """A pass over one version, invoked directly: what differs is that version's fault."""
    note(f"comparing with {version.url}, invoked directly ...")
    try:
        found = compare(version, models, samples)
        if found.default in models:
            check_refusal(version, found)
    except FunctionFailed as error:
        return Found([str(error)])
    except UserError as error:
        return Found(unproven=[f"what it answers is not known: {error}"])
    return found


def doubt(alias: Alias, number: str, models: Mapping[str, LocalModel], sample: SmokeSample) -> str:
    """What speaks against going back to a version, by invoking it; nothing where it will do.

    It may serve another model than is here, whose answers cannot be judged. With the same models,
    other answers are no proof either, as what is here may be meant to answer otherwise.

    Raises:
        FunctionFailed: it does not answer. AwsError: it was not run. EndpointError: it is another.
    """
    alias.invoke(sample_event(sample), number)
    found = compare(Version(alias, number), models, [sample])
    return "differs from here with the same model" if found.wrong and not found.another else ""


def measure(endpoint: Client, sample: SmokeSample, model: str) -> str:
    """Warm calls, one after another: milliseconds as the caller sees them, and the handler's.

    Raises:
        EndpointError
    """
    replies = [endpoint.classify(sample.image, sample.type, model) for _ in range(CALLS)]
    warm = [reply for reply in replies if reply.status == 200 and not reply.cold]
    if not warm:
        return "none"
    times = [(reply.ms, reply.server_ms or 0.0) for reply in warm]
    (p50, own_p50), (p95, own_p95) = np.percentile(times, (50, 95), axis=0, method="higher")
    return (
        f"{len(warm)}: p50 {p50:.1f} ms, p95 {p95:.1f} ms; of that the function {own_p50:.1f} and "
        f"{own_p95:.1f}"
    )


def first_answer(endpoint: Client, sample: SmokeSample) -> Reply:
    """The first answer of any kind; a new URL takes a while until it is known everywhere.

    Raises:
        EndpointError: none within WAIT_S seconds; or it refuses us.
    """
    give_up = time.monotonic() + WAIT_S
    waiting = False
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
        if not waiting:
            waiting = True
            note(f"waiting up to {WAIT_S:.0f} s for {endpoint.url} ...")
        time.sleep(min(1.0, WAIT_S / 10))


def settled(
    endpoint: Client, models: Mapping[str, LocalModel], samples: Sequence[SmokeSample]
) -> Found:
    """Compare again after an alias was moved, which takes some seconds to be known everywhere.

    Raises:
        EndpointError
    """
    give_up = time.monotonic() + SETTLE_S
    while True:
        found = compare(endpoint, models, samples)
        if found.same or time.monotonic() > give_up:
            return found
        time.sleep(1)


def sample_event(sample: SmokeSample) -> dict[str, str]:
    """A sample as a direct invocation has it."""
    return {"image": base64.b64encode(sample.image).decode()}


def note(text: str) -> None:
    """Tell the person, not the program that reads standard output."""
    print(f"smoke: {text}", file=sys.stderr, flush=True)
