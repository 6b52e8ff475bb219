"""Cold starts, warm calls, memory and throughput: contenders in turn, in one run."""

from __future__ import annotations

import base64
import statistics
import subprocess
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks import contenders as c
from benchmarks.material import CLOTHING, FOLDER, FORMS, NETWORKS, PHOTOS, ROOT, model, photo
from benchmarks.table import markdown, number
from keras_to_lambda.deploy import file_host
from keras_to_lambda.runtime.model_file import card as cards

CLOTHING_SIZE = 160
SCALED = "handler, URL, decode: scaled"
Results = dict[str, Any]


def _sources(who: c.Contender, photos: Sequence[Path], host: str) -> list[str]:
    if who.takes == "url":
        return [f"http://{host}/{path.relative_to(ROOT)}" for path in photos]
    return [base64.b64encode(path.read_bytes()).decode() for path in photos]


def _progress(text: str = "") -> None:
    """Show what is under way: each step on a terminal, else each beginning."""
    if text.endswith(", 0") and not sys.stderr.isatty():
        print(text.removesuffix(", 0"), file=sys.stderr, flush=True)
    if sys.stderr.isatty():
        print(f"\r{text:<78}", end="" if text else "\r", file=sys.stderr, flush=True)


def _in_turn(
    whose: Sequence[c.Contender],
    photos: Sequence[Path],
    host: str,
    path: Path,
    size: int,
    *,
    rounds: int,
    pairs: int = 0,
    calls: int = 0,
    **more: Any,
) -> dict[str, list[c.Run]]:
    """Runs of each contender; what cannot run here is reported, and left out.

    Every second round goes backwards, so that none is always the first. After the rounds, the first
    two contenders have more: as many as `pairs`.
    """
    runs: dict[str, list[c.Run]] = {who.name: [] for who in whose}
    left_out = {who.name for who in whose if who.missing}
    # The first is not counted: files into memory, bytecode.
    for number_ in range(-1, rounds + pairs):
        turn = whose if number_ < rounds else whose[:2]
        for who in turn if number_ % 2 else reversed(turn):
            if who.name in left_out:
                continue
            _progress(f"{path.stem}, {who.name}, {number_ + 1}")
            try:
                run = who.run(
                    _sources(who, photos, host), path, size, calls * (number_ >= 0), **more
                )
            except c.ContenderError as error:
                print(f"\nskipped: {error}", file=sys.stderr)
                left_out.add(who.name)
                runs[who.name] = []
                continue
            if number_ >= 0:
                runs[who.name].append(run)
    _progress()
    return runs


def _median(runs: list[c.Run]) -> float | None:
    return statistics.median(run.cold_ms for run in runs) if runs else None


def _processor(runs: list[c.Run]) -> float | None:
    return statistics.median(run.processor_ms for run in runs) if runs else None


def _ratio(ours: list[c.Run], theirs: list[c.Run], of: str = "cold_ms") -> str:
    """The median of the ratios within the rounds; what drifts meets both."""
    if not (ours and theirs):
        return "-"
    pairs = zip(ours, theirs, strict=False)
    return f"{statistics.median(getattr(a, of) / getattr(b, of) for a, b in pairs):.3f}"


def _by_photo(runs: Iterable[Sequence[float]]) -> list[float]:
    """Medians over the rounds, for each photo."""
    return [statistics.median(times) for times in zip(*runs, strict=True)]


def _shares(ours: list[c.Run], theirs: list[c.Run], of: str) -> list[float]:
    """The same as `_ratio`, for each photo."""
    return _by_photo(
        [x / y for x, y in zip(getattr(a, of), getattr(b, of), strict=True)]
        for a, b in zip(ours, theirs, strict=True)
    )


def _agree(runs: dict[str, list[c.Run]]) -> None:
    """The contenders must answer alike, or their times mean nothing."""
    firsts = [run[0].first for run in runs.values() if run]
    for other in firsts[1:]:
        spread = max(firsts[0]) - min(firsts[0])
        apart = max(abs(a - b) for a, b in zip(firsts[0], other, strict=True))
        if apart > 0.02 * spread:
            raise SystemExit(f"two contenders answer differently, by {apart / spread:.1%}")


def cold(quick: bool, results: Results) -> str:
    """(a) From the process's start to its first answer."""
    parts = []
    shirt = [ROOT / "samples" / "t-shirt.jpg"]
    with file_host.serving(ROOT) as host:
        small = _in_turn(
            [c.FLOOR, c.HANDLER, c.BEFORE, c.FLOOR_CLIENT, c.HANDLER_CLIENT],
            shirt, host, CLOTHING, CLOTHING_SIZE,
            rounds=5 if quick else 21, FILTER="BILINEAR", UPRIGHT=True,
        )  # fmt: skip
        _agree(small)
        rows = [
            [name, number(_median(runs), 1), number(_processor(runs), 1), number(_peak(runs), 1)]
            for name, runs in small.items()
        ]
        parts.append("The default model, the photo as base64:\n")
        parts.append(markdown(("", "first answer, ms", "processor, ms", "peak, MB"), rows))
        parts.append("")
        for one, other in (
            (c.HANDLER, c.FLOOR), (c.HANDLER_CLIENT, c.FLOOR_CLIENT), (c.HANDLER, c.BEFORE)
        ):  # fmt: skip
            pair = small[one.name], small[other.name]
            peaks = _ratio(*pair, "peak_mb")
            results[f"cold {one.name} / {other.name}"] = _ratio(*pair)
            parts.append(
                f"- {one.name} / {other.name}: x {_ratio(*pair)}, processor time x "
                f"{_ratio(*pair, 'processor_ms')} (wanted: at most 0.60); memory x {peaks} "
                "(wanted: at most 0.75)"
            )
        parts.append("")

        everybody = [c.FLOOR_URL, c.HANDLER_URL, c.CLASSIC, c.CLASSIC_EACH, c.ONNX, c.KERAS]
        path, size = model("MobileNetV2"), NETWORKS["MobileNetV2"]
        runs = _in_turn(everybody, [photo(0.2)], host, path, size, rounds=2 if quick else 7)
        _agree(runs)
        theirs = runs[c.HANDLER_URL.name]
        rows = [[name, number(_median(run), 0), _ratio(run, theirs)] for name, run in runs.items()]
        results["cold"] = {name: _median(run) for name, run in runs.items()}
        parts.append("MobileNetV2, a photo of 0.2 megapixels by URL from loopback:\n")
        parts.append(markdown(("", "first answer, ms", "x the handler"), rows))

        parts.append("\nThe handler with and without packed weights (`WEIGHT_CACHE`):\n")
        rows = []
        cached = replace(
            c.HANDLER,
            name="handler, packed weights",
            code='\nimport os\nos.environ["WEIGHT_CACHE"] = CACHE\n' + c.HANDLER.code,
        )
        for network, size in NETWORKS.items():
            both = _in_turn(
                [c.HANDLER, cached], [photo(0.2)], host, model(network), size,
                rounds=2 if quick else 7, CACHE=str(FOLDER / "packed"),
            )  # fmt: skip
            plain, packed = both[c.HANDLER.name], both[cached.name]
            rows.append(
                [network, number(_median(plain)), number(_median(packed)), _ratio(packed, plain),
                 number(_peak(plain)), number(_peak(packed))]
            )  # fmt: skip
        head = ("", "first answer, ms", "packed", "ratio", "peak, MB", "packed")
        parts.append(markdown(head, rows))
    return "\n".join(parts)


def _peak(runs: list[c.Run]) -> float | None:
    found = [run.peak_mb for run in runs if run.peak_mb is not None]
    return statistics.median(found) if found else None


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
    whose = [c.FLOOR, c.HANDLER, c.HANDLER_URL, c.CLASSIC, c.ONNX]
    rounds, pairs, calls = (1, 0, 5) if quick else (3, 12, 9)
    rows, verdicts = [], []
    found: dict[str, dict[str, list[c.Run]]] = {}

    def measured(what: str, runs: dict[str, list[c.Run]]) -> None:
        found.setdefault(what, {}).update(runs)
        for name, each in runs.items():
            times = [number(ms, 1) for ms in _by_photo(run.warm_ms for run in each)]
            rows.append([f"{what}: {name}", *(times or ["-"] * len(photos))])

    with file_host.serving(ROOT) as host:
        measured("clothing float32", _in_turn(
            [c.FLOOR, c.HANDLER, c.BEFORE], photos, host, CLOTHING, CLOTHING_SIZE,
            rounds=rounds, pairs=pairs, calls=calls, FILTER="BILINEAR", UPRIGHT=True,
        ))  # fmt: skip
        for network, size in NETWORKS.items():
            for form in FORMS:
                asked = [w for w in whose if not (w is c.ONNX and form == "int8")]
                measured(f"{network} {form}", _in_turn(
                    asked, photos, host, model(network, form), size,
                    rounds=rounds, pairs=pairs, calls=calls,
                ))  # fmt: skip
        scaled = replace(
            c.HANDLER_URL, name=SCALED, code="MODEL = SCALED_MODEL\n" + c.HANDLER_URL.code
        )
        measured("MobileNetV2 float32", _in_turn(
            [scaled, c.LIMIT], photos, host, model("MobileNetV2"), NETWORKS["MobileNetV2"],
            rounds=rounds, calls=calls, SCALED_MODEL=str(_scaled("MobileNetV2")),
        ))  # fmt: skip
    for kind, of in (("", "warm_ms"), (", processor time", "busy_ms")):
        ratios = {
            f"{what}, {name}": share
            for what, runs in found.items()
            for name, share in zip(
                names, _shares(runs[c.HANDLER.name], runs[c.FLOOR.name], of), strict=True
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
        _shares(mobile[SCALED], mobile[c.LIMIT.name], of)[-1] for of in ("warm_ms", "busy_ms")
    )
    verdicts.append(
        f"- 12 megapixels by URL, MobileNetV2, `decode: scaled`: x {large:.2f} the "
        f"limit, processor time x {busy:.2f} (wanted: at most 1.15): fetching, "
        "libjpeg's entropy decoding and the inference, which no program that reads the whole JPEG "
        "can leave out; measured as decoding at an eighth, which computes one value of each block"
    )
    for kind, of in (("warm", "warm_ms"), ("warm processor", "busy_ms")):
        results[kind] = {
            f"{what} {name}": _by_photo(getattr(run, of) for run in each)
            for what, runs in found.items()
            for name, each in runs.items()
        }
    return markdown(("milliseconds", *names), rows) + "\n\n" + "\n".join(verdicts)


def memory(quick: bool, results: Results) -> str:
    """(c) Resident memory at the peak, the default model and a photo of 12 megapixels."""
    whose = [c.FLOOR, c.HANDLER, c.FLOOR_URL, c.HANDLER_URL, c.CLASSIC]
    with file_host.serving(ROOT) as host:
        runs = _in_turn(
            whose, [photo(12.0)], host, CLOTHING, CLOTHING_SIZE,
            rounds=1 if quick else 3, FILTER="BILINEAR", UPRIGHT=True,
        )  # fmt: skip
    results["memory"] = {name: _peak(each) for name, each in runs.items()}
    rows = [[name, number(peak)] for name, peak in results["memory"].items()]
    size = photo(12.0).stat().st_size / 1e6
    return (
        markdown(("", "MB at the peak"), rows)
        + f"\n\nA JPEG of {size:.1f} MB; the handler's limit is 128 MB."
    )


def throughput(quick: bool, results: Results) -> str:
    """(e) Requests a second: several processes, and one server with several clients."""
    calls = 40 if quick else 200
    rows = []
    path, size = model("MobileNetV2"), NETWORKS["MobileNetV2"]
    text = base64.b64encode(photo(0.2).read_bytes()).decode()
    for workers in (1, 2, 4):
        _progress(f"{workers} processes")
        with ThreadPoolExecutor(workers) as pool:
            runs = list(
                pool.map(lambda _: c.HANDLER.run([text], path, size, calls), range(workers))
            )
        per_s = sum(1000 / run.warm_ms[0] for run in runs)
        rows.append([f"{workers} processes, one thread each", number(per_s), ""])
    for clients in (1, 2, 4):
        _progress(f"serve, {clients} clients")
        per_s, median = _served(path, photo(0.2).read_bytes(), clients, calls)
        rows.append([f"`k2l serve`, {clients} clients", number(per_s), number(median, 1)])
    _progress()
    results["throughput"] = rows
    return markdown(("MobileNetV2, 0.2 megapixels by body", "a second", "median, ms"), rows)


def _served(path: Path, body: bytes, clients: int, calls: int) -> tuple[float, float]:
    import os
    import re
    import time

    import requests

    environ = {**os.environ, "LOG_LEVEL": "FATAL", "NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [
        sys.executable,
        "-m",
        "keras_to_lambda",
        "serve",
        "--port",
        "0",
        "--model",
        str(path),
    ]
    with subprocess.Popen(
        command, cwd=ROOT, env=environ, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as server:
        assert server.stdout is not None
        found = re.search(r"http://\S+:\d+", server.stdout.readline())
        assert found is not None
        url = f"{found[0]}/predict"

        def ask(_: int) -> list[float]:
            times = []
            with requests.Session() as session:
                for _ in range(calls // clients + 5):
                    start = time.perf_counter()
                    session.post(url, data=body, headers={"Content-Type": "image/jpeg"}, timeout=60)
                    times.append((time.perf_counter() - start) * 1000)
            return times[5:]

        start = time.perf_counter()
        with ThreadPoolExecutor(clients) as pool:
            times = [ms for each in pool.map(ask, range(clients)) for ms in each]
        seconds = time.perf_counter() - start
        server.terminate()
    return (len(times) + 5 * clients) / seconds, statistics.median(times)
