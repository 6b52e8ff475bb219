"""Cold starts, warm calls, memory and throughput: contenders in turn, in one run."""

from __future__ import annotations

import base64
import statistics
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks import contenders as c
from benchmarks.material import CLOTHING, FOLDER, FORMS, NETWORKS, PHOTOS, ROOT, model, photo
from benchmarks.table import markdown, number
from keras_to_lambda.deploy import file_host
from keras_to_lambda.runtime.model_file import card as cards

SCALED = "handler, URL, decode: scaled"
MOBILE = model("MobileNetV2")
SIZES = {"clothing": 160, **NETWORKS}
# As the clothing model's card has it, for who works by hand.
STEPS: dict[str, Any] = {"FILTER": "BILINEAR", "UPRIGHT": True}
Results = dict[str, Any]
Runs = dict[str, list[c.Run]]


def _sources(who: c.Contender, photos: Sequence[Path], host: str) -> list[str]:
    if who.takes == "url":
        return [f"http://{host}/{path.relative_to(ROOT)}" for path in photos]
    return [base64.b64encode(path.read_bytes()).decode() for path in photos]


def _in_turn(
    whose: Sequence[c.Contender],
    photos: Sequence[Path],
    path: Path,
    *,
    rounds: int,
    pairs: int = 0,
    calls: int = 0,
    **more: Any,
) -> Runs:
    """Runs of each contender; what cannot run here is reported, and left out.

    Every second round goes backwards, so that none is always the first. After the rounds, the first
    two contenders have more: as many as `pairs`.
    """
    size = SIZES[path.stem.partition("-")[0]]
    runs: Runs = {who.name: [] for who in whose}
    left_out = {who.name: who.missing for who in whose if who.missing}
    with file_host.serving(ROOT) as host:
        # The first is not counted: files into memory, bytecode.
        for turn in range(-1, rounds + pairs):
            there = whose if turn < rounds else whose[:2]
            for who in there if turn % 2 else reversed(there):
                if who.name in left_out:
                    continue
                if turn < 0:
                    print(f"{path.stem}, {who.name}", file=sys.stderr, flush=True)
                try:
                    sources = _sources(who, photos, host)
                    run = who.run(sources, path, size, calls * (turn >= 0), **more)
                except c.ContenderError as error:
                    left_out[who.name], runs[who.name] = str(error), []
                    continue
                runs[who.name] += [run] * (turn >= 0)
    for name, reason in left_out.items():
        print(f"skipped: {name}: {reason}", file=sys.stderr)
    return runs


def _middle(runs: list[c.Run], of: str = "cold_ms") -> float | None:
    found = [value for run in runs if (value := getattr(run, of)) is not None]
    return statistics.median(found) if found else None


def _ratio(ours: list[c.Run], theirs: list[c.Run], of: str = "cold_ms") -> str:
    """The median of the ratios within the rounds; what drifts meets both."""
    pairs = [(getattr(a, of), getattr(b, of)) for a, b in zip(ours, theirs, strict=False)]
    return f"{statistics.median(a / b for a, b in pairs):.3f}" if pairs else "-"


def _by_photo(runs: list[c.Run], of: str, theirs: list[c.Run] | None = None) -> list[float]:
    """Medians over the rounds, for each photo: of times, or of their ratios to `theirs`."""
    rows = [getattr(run, of) for run in runs]
    if theirs is not None:
        both = zip(rows, (getattr(run, of) for run in theirs), strict=True)
        rows = [[x / y for x, y in zip(a, b, strict=True)] for a, b in both]
    return [statistics.median(times) for times in zip(*rows, strict=True)]


def _agree(runs: Runs) -> None:
    """The contenders must answer alike, or their times mean nothing."""
    firsts = [run[0].first for run in runs.values() if run]
    for other in firsts[1:]:
        spread = max(firsts[0]) - min(firsts[0])
        apart = max(abs(a - b) for a, b in zip(firsts[0], other, strict=True))
        if apart > 0.02 * spread:
            raise SystemExit(f"two contenders answer differently, by {apart / spread:.1%}")


def cold(quick: bool, results: Results) -> str:
    """(a) From the process's start to its first answer."""
    small = _in_turn(
        [c.FLOOR, c.HANDLER, c.BEFORE, c.FLOOR_CLIENT, c.HANDLER_CLIENT],
        [ROOT / "samples" / "t-shirt.jpg"], CLOTHING, rounds=5 if quick else 21, **STEPS,
    )  # fmt: skip
    _agree(small)
    kinds = ("cold_ms", "processor_ms", "peak_mb")
    rows = [[name, *(number(_middle(runs, of), 1) for of in kinds)] for name, runs in small.items()]
    head = ("", "first answer, ms", "processor, ms", "peak, MB")
    parts = ["The default model, the photo as base64:\n", markdown(head, rows), ""]
    for one, other in (
        (c.HANDLER, c.FLOOR), (c.HANDLER_CLIENT, c.FLOOR_CLIENT), (c.HANDLER, c.BEFORE)
    ):  # fmt: skip
        time_, processor, memory = (_ratio(small[one.name], small[other.name], of) for of in kinds)
        results[f"cold {one.name} / {other.name}"] = time_
        parts.append(
            f"- {one.name} / {other.name}: x {time_}, processor time x {processor} (wanted: at "
            f"most 0.60); memory x {memory} (wanted: at most 0.75)"
        )

    everybody = [c.FLOOR_URL, c.HANDLER_URL, c.CLASSIC, c.CLASSIC_EACH, c.ONNX, c.KERAS]
    runs = _in_turn(everybody, [photo(0.2)], MOBILE, rounds=2 if quick else 7)
    _agree(runs)
    theirs = runs[c.HANDLER_URL.name]
    rows = [[name, number(_middle(run)), _ratio(run, theirs)] for name, run in runs.items()]
    results["cold"] = {name: _middle(run) for name, run in runs.items()}
    parts.append("\nMobileNetV2, a photo of 0.2 megapixels by URL from loopback:\n")
    parts.append(markdown(("", "first answer, ms", "x the handler"), rows))

    packing = '\nimport os\nos.environ["WEIGHT_CACHE"] = CACHE\n'
    cached = replace(c.HANDLER, name="handler, packed weights", code=packing + c.HANDLER.code)
    rows = []
    for network in NETWORKS:
        both = _in_turn(
            [c.HANDLER, cached], [photo(0.2)], model(network),
            rounds=2 if quick else 7, CACHE=str(FOLDER / "packed"),
        )  # fmt: skip
        plain, packed = both.values()
        peaks = (number(_middle(each, "peak_mb")) for each in (plain, packed))
        times = (number(_middle(each)) for each in (plain, packed))
        rows.append([network, *times, _ratio(packed, plain), *peaks])
    parts.append("\nThe handler with and without packed weights (`WEIGHT_CACHE`):\n")
    parts.append(markdown(("", "first answer, ms", "packed", "ratio", "peak, MB", "packed"), rows))
    return "\n".join(parts)


def _scaled(network: str) -> Path:
    """A network whose card lets large photos be decoded at a fraction."""
    source, path = model(network), model(network, "scaled")
    if not path.exists():
        card = cards.load(source)
        steps = replace(card.preprocessing, decode="scaled")
        flatbuffer = source.read_bytes()[: card.model_bytes]
        path.write_bytes(cards.join(flatbuffer, replace(card, preprocessing=steps)))
    return path


def warm(quick: bool, results: Results) -> str:
    """(b) Warm calls: medians, by network, form, photo and contender."""
    photos = [photo(megapixels) for megapixels in PHOTOS]
    names = [f"{megapixels:g} MP" for megapixels in PHOTOS]
    rounds, pairs, calls = (1, 0, 5) if quick else (3, 12, 9)
    found: dict[str, Runs] = {}

    def measure(what: str, whose: Sequence[c.Contender], path: Path, **more: Any) -> None:
        runs = _in_turn(whose, photos, path, rounds=rounds, calls=calls, **more)
        found[what] = found.get(what, {}) | runs

    whose = [c.FLOOR, c.HANDLER, c.BEFORE]
    measure("clothing float32", whose, CLOTHING, pairs=pairs, **STEPS)
    for network in NETWORKS:
        for form in FORMS:
            whose = [c.FLOOR, c.HANDLER, c.HANDLER_URL, c.CLASSIC, c.ONNX]
            whose = whose[:-1] if form == "int8" else whose
            measure(f"{network} {form}", whose, model(network, form), pairs=pairs)
    code = "MODEL = SCALED_MODEL\n" + c.HANDLER_URL.code
    scaled = replace(c.HANDLER_URL, name=SCALED, code=code)
    measure(
        "MobileNetV2 float32", [scaled, c.LIMIT], MOBILE, SCALED_MODEL=str(_scaled("MobileNetV2"))
    )
    verdicts = []
    for kind, of in (("", "warm_ms"), (", processor time", "busy_ms")):
        ratios = {
            f"{what}, {name}": share
            for what, runs in found.items()
            for name, share in zip(
                names, _by_photo(runs[c.HANDLER.name], of, runs[c.FLOOR.name]), strict=True
            )
        }
        results[f"warm, handler / by hand{kind}"] = ratios
        worst = max(ratios, key=lambda each: ratios[each])
        verdicts.append(
            f"- handler / by hand, by body{kind}: median x "
            f"{statistics.median(ratios.values()):.2f}, largest x {ratios[worst]:.2f} "
            f"({worst}; wanted: at most 1.00)"
        )
    mobile = found["MobileNetV2 float32"]
    large, busy = (
        _by_photo(mobile[SCALED], of, mobile[c.LIMIT.name])[-1] for of in ("warm_ms", "busy_ms")
    )
    verdicts.append(
        f"- 12 megapixels by URL, MobileNetV2, `decode: scaled`: x {large:.2f} the "
        f"limit, processor time x {busy:.2f} (wanted: at most 1.15): fetching, "
        "libjpeg's entropy decoding and the inference, which no program that reads the whole JPEG "
        "can leave out; measured as decoding at an eighth, which computes one value of each block"
    )
    times = {
        f"{what}: {name}": _by_photo(each, "warm_ms")
        for what, runs in found.items()
        for name, each in runs.items()
    }
    results["warm"] = times
    rows = [
        [name, *([number(ms, 1) for ms in each] or ["-"] * len(photos))]
        for name, each in times.items()
    ]
    return markdown(("milliseconds", *names), rows) + "\n\n" + "\n".join(verdicts)


def memory(quick: bool, results: Results) -> str:
    """(c) Resident memory at the peak, the default model and a photo of 12 megapixels."""
    whose = [c.FLOOR, c.HANDLER, c.FLOOR_URL, c.HANDLER_URL, c.CLASSIC]
    runs = _in_turn(whose, [photo(12.0)], CLOTHING, rounds=1 if quick else 3, **STEPS)
    results["memory"] = {name: _middle(each, "peak_mb") for name, each in runs.items()}
    rows = [[name, number(peak)] for name, peak in results["memory"].items()]
    size = photo(12.0).stat().st_size / 1e6
    return (
        markdown(("", "MB at the peak"), rows)
        + f"\n\nA JPEG of {size:.1f} MB; the handler's limit is 128 MB."
    )


def throughput(quick: bool, results: Results) -> str:
    """(e) Requests a second of several processes."""
    calls = 40 if quick else 200
    text = base64.b64encode(photo(0.2).read_bytes()).decode()
    rows = []
    for workers in (1, 2, 4):
        with ThreadPoolExecutor(workers) as pool:
            asked = [
                pool.submit(c.HANDLER.run, [text], MOBILE, SIZES["MobileNetV2"], calls)
                for _ in range(workers)
            ]
        per_s = sum(1000 / each.result().warm_ms[0] for each in asked)
        rows.append([f"{workers} processes, one thread each", number(per_s)])
    results["throughput"] = rows
    return markdown(("MobileNetV2, 0.2 megapixels by body", "a second"), rows)
