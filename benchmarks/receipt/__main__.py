"""What a model costs on Lambda: memory sizes, threads and quantizations, measured here.

    make receipt                                      the clothing model, some ten minutes
    python -m benchmarks.receipt --model 'my.keras --labels l.txt --preprocess xception'

Each memory size is the project's own container with AWS's emulator in it, and with as much of a
processor as Lambda gives for that memory. Only this machine's architecture can be measured; arm64
is its price with these milliseconds. Not measured: the sandbox's creation and the image's way to
it, which are part of Lambda's cold starts; the network; Lambda's own scheduler and processors.
"""

from __future__ import annotations

import argparse
import base64
import itertools
import json
import os
import platform
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.receipt import box, models, plot
from benchmarks.receipt.box import BoxError, Report
from benchmarks.receipt.models import Form, ModelError, Source
from benchmarks.table import markdown, number, put
from keras_to_lambda.deploy.prices import PriceError, Prices
from keras_to_lambda.runtime.settings import MB_PER_VCPU

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / ".receipt"
DOCS = ROOT / "docs" / "cost.md"
CLOTHING = ROOT / "models" / "clothing" / "clothing.keras"

SIZES = (512, 768, 1024, 1536, 1769, 2048, 3008, 3538)
QUICK_SIZES = (512, 1024, 1769)
QUICK_FORMS = ("none", "int8")
LIST_BYTES = 4_000_000  # of a list as base64; Lambda's limit is 6 MB
LIST_IMAGES = 16
SLOWEST_S = 8.0  # for the requests of one round
CONVERSION = 4  # takes as long as so many containers
GAIN = 0.10  # what a step in memory has to save of p50 to be worth a mention
CLOSE = 0.05  # costs that differ by less are the same: the next measurement may swap them
MILLION = 1_000_000


class Effort(NamedTuple):
    """How much is measured: containers for each figure, and requests in each of them."""

    rounds: int
    requests: int
    lists: int


FULL, QUICK = Effort(3, 60, 4), Effort(2, 15, 2)


@dataclass
class Measured:
    """A model in containers of one size: what was seen in all of them."""

    form: Form
    memory_mb: int
    threads: int
    cold_ms: list[float] = field(default_factory=list)
    cold_billed_ms: list[int] = field(default_factory=list)
    warm: list[Report] = field(default_factory=list)
    lists: list[Report] = field(default_factory=list)
    list_images: int = LIST_IMAGES
    log_bytes: list[float] = field(default_factory=list)
    peak_mb: list[float] = field(default_factory=list)

    @property
    def cold(self) -> float:
        """Median of the first answers of fresh containers."""
        return statistics.median(self.cold_ms)

    @property
    def p50(self) -> float:
        """Median milliseconds of a warm request."""
        return statistics.median(report.ms for report in self.warm)

    @property
    def p95(self) -> float:
        """Milliseconds that 95 of a hundred warm requests stay under."""
        return statistics.quantiles((r.ms for r in self.warm), n=20, method="inclusive")[-1]

    @property
    def billed(self) -> float:
        """Mean billed milliseconds of a warm request."""
        return statistics.fmean(report.billed_ms for report in self.warm)

    @property
    def list_ms(self) -> float:
        """Median milliseconds of a request with `list_images` images."""
        return statistics.median(report.ms for report in self.lists)

    @property
    def ms_per_image(self) -> float:
        """Of one more image in a request."""
        return max(0.0, (self.list_ms - self.p50) / (self.list_images - 1))

    def dollars(self, prices: Prices, architecture: str = "x86_64") -> float:
        """For a million warm requests: Lambda's time and requests, no gateway, no free tier."""
        time_ = statistics.fmean(
            prices.compute(
                MILLION, memory_mb=self.memory_mb, ms=r.billed_ms, architecture=architecture
            )
            for r in self.warm
        )
        return time_ + MILLION * prices.lambda_request.each


class Advice(NamedTuple):
    """A size, if one fits, and why."""

    memory_mb: int | None
    reason: str


def threads_of(memory_mb: int) -> int:
    """The interpreter threads that the function takes by itself (runtime.settings.vcpus)."""
    return max(1, memory_mb // MB_PER_VCPU)


def advice(rows: Sequence[Measured], prices: Prices, p95_ms: float, cold_ms: float) -> Advice:
    """Of the sizes that are as wished and cost about the least, the fastest; and where more is not.

    About the least: within CLOSE of the cheapest. The fastest: by p95, then the smallest.
    """
    by_cost = sorted(rows, key=lambda row: (row.dollars(prices), row.memory_mb))
    fitting = [row for row in by_cost if row.p95 <= p95_ms and row.cold <= cold_ms]
    wished = f"p95 within {p95_ms:g} ms and a cold start within {cold_ms:g} ms"
    if not fitting:
        nearest = min(rows, key=lambda row: max(row.p95 / p95_ms, row.cold / cold_ms))
        return Advice(
            None,
            f"no measured size has {wished}; {nearest.memory_mb:,} MB comes nearest, with "
            f"p95 {nearest.p95:.0f} ms and cold {nearest.cold:.0f} ms",
        )
    most = (1 + CLOSE) * fitting[0].dollars(prices)
    close = [row for row in fitting if row.dollars(prices) <= most]
    best = min(close, key=lambda row: (row.p95, row.memory_mb))
    cheapest = by_cost[0]
    reason = (
        f"{best.memory_mb:,} MB: the fastest size within {100 * CLOSE:g} % of the cheapest with "
        f"{wished}: {best.dollars(prices):.2f} dollars a million, p95 {best.p95:.0f} ms, "
        f"cold {best.cold:.0f} ms"
    )
    if cheapest is not best:
        reason += (
            f" ({cheapest.memory_mb:,} MB would cost {cheapest.dollars(prices):.2f}, with p95 "
            f"{cheapest.p95:.0f} ms and cold {cheapest.cold:.0f} ms)"
        )
    bend = knee(rows)
    reason += (
        f". The knee is at {bend.memory_mb:,} MB: no larger size takes {100 * GAIN:g} % off its "
        f"p50 of {bend.p50:.1f} ms."
        if bend
        else f". There is no knee: p50 still falls by {100 * GAIN:g} % or more up to the largest "
        "size."
    )
    return Advice(best.memory_mb, reason)


def knee(rows: Sequence[Measured]) -> Measured | None:
    """The smallest size from which no larger one is faster by GAIN; None if that is the largest."""
    by_size = sorted(rows, key=lambda row: row.memory_mb)
    for index, row in enumerate(by_size[:-1]):
        if all(larger.p50 > (1 - GAIN) * row.p50 for larger in by_size[index + 1 :]):
            return row
    return None


class Progress:
    """What is under way and how long the rest will take, on stderr."""

    def __init__(self, steps: int) -> None:
        self._steps, self._done, self._start = steps, 0, time.monotonic()

    def step(self, what: str, size: int = 1) -> None:
        """Say what begins now, and how many containers' time it takes, about."""
        took = time.monotonic() - self._start
        left = took / self._done * (self._steps - self._done) if self._done else None
        rest = f", about {_minutes(left)} left" if left is not None else ""
        text = f"{self._done + 1}/{self._steps}: {what}{rest}"
        if sys.stderr.isatty():
            print(f"\r{text:<79.79}", end="", file=sys.stderr, flush=True)
        else:
            print(text, file=sys.stderr, flush=True)
        self._done += size

    def end(self) -> None:
        """Leave the line."""
        if sys.stderr.isatty():
            print(f"\r{'':<79}\r", end="", file=sys.stderr, flush=True)


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


class Photos:
    """Requests: one photo each, in turn, and a list of as many as a payload holds."""

    def __init__(self, files: Sequence[Path]) -> None:
        texts = [base64.b64encode(path.read_bytes()).decode() for path in files]
        self._bodies = itertools.cycle([json.dumps({"image": text}).encode() for text in texts])
        mean = statistics.fmean(len(text) for text in texts)
        self.in_list = max(2, min(LIST_IMAGES, int(LIST_BYTES / mean)))
        chosen = itertools.islice(itertools.cycle(texts), self.in_list)
        self.many = json.dumps({"images": [{"image": text} for text in chosen]}).encode()

    def next(self) -> bytes:
        """The next request's body."""
        return next(self._bodies)


def measure(row: Measured, photos: Photos, effort: Effort) -> None:
    """One fresh container more: its first answer, warm requests, and lists.

    Raises:
        BoxError: the container failed, or an answer was an error; `row` is as it was.
    """
    # As template.yaml has it, so that log lines are as long as they will be.
    settings = {"METRICS_NAMESPACE": "keras-to-lambda", "NUM_THREADS": str(row.threads)}
    with box.opened(row.memory_mb, row.form.path, settings) as container:
        cold_ms, _ = container.invoke(photos.next())
        for _ in range(3):
            container.invoke(photos.next())
        give_up = time.monotonic() + SLOWEST_S
        warm = 0
        while warm < effort.requests and (warm < 10 or time.monotonic() < give_up):
            container.invoke(photos.next())
            warm += 1
        single = 1 + 3 + warm
        for _ in range(1 + effort.lists):
            _, answers = container.invoke(photos.many)
            wrong = next((each["error"] for each in answers if "error" in each), None)
            if wrong:
                raise BoxError(f"an image of a list failed: {wrong}")
        reports = container.reports(single + 1 + effort.lists)
        row.log_bytes.append(len(container.said().encode()) / len(reports))
        peak = container.peak_mb()
    row.cold_ms.append(cold_ms)
    row.cold_billed_ms.append(reports[0].billed_ms)
    row.warm += reports[4:single]
    row.lists += reports[single + 1 :]
    row.list_images = photos.in_list
    if peak is not None:
        row.peak_mb.append(peak)


def in_turn(
    rows: Sequence[Measured],
    photos: Photos,
    effort: Effort,
    told: Callable[[str], None],
    skipped: list[str],
) -> list[Measured]:
    """Each row in each round, so that the machine's drift meets all; those that were measured."""
    for round_ in range(effort.rounds):
        for row in rows:
            what = f"{row.form.model} {row.form.quantization}, {row.memory_mb} MB"
            told(f"{what}, {row.threads} thread{'s' * (row.threads > 1)}, container {round_ + 1}")
            for attempt in (1, 2):
                try:
                    measure(row, photos, effort)
                except BoxError as error:
                    if attempt == 2:
                        skipped.append(f"{what}: {error}")
                else:
                    break
    return [row for row in rows if row.warm and row.lists]


def size_table(rows: Iterable[Measured], prices: Prices) -> str:
    """Memory sizes of one model."""
    head = ("MB", "vCPU", "threads", "cold, ms", "p50, ms", "p95, ms", "billed, ms",
            "$/million", "$/million arm64*")  # fmt: skip
    return markdown(
        head,
        [
            [f"{row.memory_mb:,}", f"{box.cpus(row.memory_mb):.2f}", str(row.threads),
             number(row.cold), number(row.p50, 1), number(row.p95, 1), number(row.billed, 1),
             number(row.dollars(prices), 2), number(row.dollars(prices, "arm64"), 2)]
            for row in rows
        ],
    )  # fmt: skip


def form_table(rows: Iterable[Measured], prices: Prices) -> str:
    """Quantizations, each model at one size."""
    head = ("model, quantization", "MB of memory", "file, MB", "accuracy", "cold, ms", "p50, ms",
            "p95, ms", "$/million")  # fmt: skip
    cells = [
        [f"{row.form.model}, {row.form.quantization}", f"{row.memory_mb:,}",
         number(row.form.size_bytes / 1e6, 2), _accuracy(row.form), number(row.cold),
         number(row.p50, 1), number(row.p95, 1), number(row.dollars(prices), 2)]
        for row in rows
    ]  # fmt: skip
    return markdown(head, cells)


def _accuracy(form: Form) -> str:
    if form.accuracy is None or form.interval is None:
        return "-"
    low, high = form.interval
    return f"{form.accuracy:.1%} ({low:.1%} to {high:.1%})"


def thread_table(rows: Sequence[Measured]) -> str:
    """One thread beside two."""
    head = ("model, MB", "vCPU", "1 thread, p50", "2 threads, p50", "a list, 1 thread",
            "a list, 2 threads")  # fmt: skip
    cells = []
    for key in dict.fromkeys((row.form.model, row.memory_mb) for row in rows):
        one, two = (
            next((r for r in rows if (r.form.model, r.memory_mb, r.threads) == (*key, n)), None)
            for n in (1, 2)
        )
        cells.append(
            [f"{key[0]}, {key[1]:,}", f"{box.cpus(key[1]):.2f}",
             *(number(row.p50 if row else None, 1) for row in (one, two)),
             *(number(row.list_ms if row else None, 1) for row in (one, two))]
        )  # fmt: skip
    return markdown(head, cells)


def price_table(prices: Prices) -> str:
    """Every price, with the page that decides and where it was seen."""
    lines = [f"{prices.region}, {prices.dated}:", ""]
    lines += [
        "| | $ | for | the page that decides; where it was seen |",
        "| --- | ---: | --- | --- |",
    ]
    for name in Prices.named():
        price = getattr(prices, name)
        seen = re.sub(r"https://\S*[^\s(),]", lambda match: f"<{match[0]}>", price.seen)
        count = f"{price.units:,} x " if price.units > 1 else ""
        note = f"; {price.note}" if price.note else ""
        lines.append(
            f"| `{name}` | {price.usd:.10f}".rstrip("0").rstrip(".")
            + f" | {count}{price.unit}{note} | [page]({price.source}); {seen} |"
        )
    return "\n".join(lines)


def machine(effort: Effort) -> str:
    """The processor and how much was measured."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text("utf-8").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                name = value.strip()
    return (
        f"{name}, {time.strftime('%Y-%m-%d')}; {effort.rounds} containers for each row, "
        f"{effort.requests} warm requests in each"
    )


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(
        prog="python -m benchmarks.receipt",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="exit status: 0 measured; 1 nothing could be measured; 2 wrong use",
    )
    p.add_argument(
        "--model", action="append", metavar="'FILE [OPTIONS]'",
        help="a Keras model, or a .tflite; after it options of k2l convert, in one "
        "argument; labels are looked for in FILE.labels.txt; may be repeated "
        "(default: the clothing model)",
    )  # fmt: skip
    p.add_argument(
        "--samples", type=Path, metavar="DIR",
        help="photos for the conversion (default: samples/)",
    )  # fmt: skip
    p.add_argument(
        "--data", type=Path, metavar="DIR",
        help="folders of photos named after labels: accuracy (default: it is left out)",
    )  # fmt: skip
    p.add_argument(
        "--photos", type=Path, default=ROOT / "samples", metavar="DIR",
        help="what the requests hold, as base64 (default: samples/)",
    )  # fmt: skip
    p.add_argument("--sizes", help=f"MB, with commas (default: {','.join(map(str, SIZES))})")
    p.add_argument("--p95", type=float, default=100, metavar="MS", help="wished (%(default)s)")
    p.add_argument("--cold", type=float, default=1000, metavar="MS", help="wished (%(default)s)")
    p.add_argument("--quick", action="store_true", help="three sizes, two forms, few requests")
    p.add_argument("--docs", action="store_true", help="renew the tables in docs/cost.md")
    p.add_argument("--json", action="store_true", help="the whole receipt as JSON on stdout")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, and keep it in .receipt/; the exit status is explained in the help."""
    p = parser()
    args = p.parse_args(argv)
    effort = QUICK if args.quick else FULL
    for name in ("p95", "cold"):
        if getattr(args, name) <= 0:
            p.error(f"--{name} must be more than 0 milliseconds")
    files = sorted(
        path for path in args.photos.glob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png")
    )
    if not files:
        p.error(f"no .jpg or .png in {args.photos}")
    if args.data and not args.data.is_dir():
        p.error(f"--data: no folder {args.data}")
    try:
        asked = _sizes(args.sizes, QUICK_SIZES if args.quick else SIZES)
        sources = [Source.read(text) for text in args.model or [str(CLOTHING)]]
    except (ValueError, ModelError) as error:
        p.error(str(error))
    try:
        prices = Prices.load()
        processors = box.require_docker()
        sizes = [size for size in asked if box.cpus(size) <= processors]
        skipped = [
            f"{size:,} MB: {box.cpus(size):.1f} vCPUs, and this machine has {processors}"
            for size in asked
            if size not in sizes
        ]
        if not sizes:
            raise BoxError(f"no size of {asked} can be measured on {processors} processors")
        print("building the image", file=sys.stderr, flush=True)
        box.build()
        with tempfile.TemporaryDirectory(prefix="receipt-") as folder:
            receipt = take(
                sources, Photos(files), sizes, effort, prices, skipped, Path(folder),
                samples=args.samples or ROOT / "samples", data=args.data,
                forms=QUICK_FORMS if args.quick else models.FORMS,
                wishes=(args.p95, args.cold),
            )  # fmt: skip
    except (BoxError, PriceError) as error:
        print(f"receipt: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    if not receipt.sizes:
        print(f"receipt: nothing was measured: {'; '.join(skipped)}", file=sys.stderr)
        return 1
    FOLDER.mkdir(exist_ok=True)
    text = json.dumps(receipt.to_json(prices), indent=1)
    (FOLDER / "receipt.json").write_text(text + "\n", encoding="utf-8")
    plot.draw(FOLDER / "receipt.svg", receipt.panels(prices))
    sections = receipt.sections(prices)
    if args.docs:
        plot.draw(DOCS.with_suffix(".svg"), receipt.panels(prices))
        picture = "![milliseconds by dollars](cost.svg)\n\n"
        for name, section in sections.items():
            put(name, picture + section if name == "sizes" else section, DOCS)
    try:
        _show(text if args.json else "", sections)
    except BrokenPipeError:  # `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _show(text: str, sections: dict[str, str]) -> None:
    """What was found, on standard output: `text` if there is any, or else the tables."""
    if text:
        print(text, flush=True)
        return
    for name, section in sections.items():
        if name != "prices":
            print(f"## {name}\n\n{section}\n")
    print("wrote .receipt/receipt.json and .receipt/receipt.svg", flush=True)


def _sizes(text: str | None, default: Sequence[int]) -> list[int]:
    """Raises ValueError: what was given is no list of Lambda's memory sizes."""
    if not text:
        return list(default)
    try:
        sizes = sorted({int(part) for part in text.split(",")})
    except ValueError:
        raise ValueError(f"--sizes {text}: numbers of MB, with commas between them") from None
    # https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html
    wrong = [size for size in sizes if not 128 <= size <= 10240]
    if wrong:
        raise ValueError(f"--sizes: Lambda has 128 to 10240 MB, not {wrong[0]}")
    return sizes


@dataclass
class Receipt:
    """All that was measured."""

    machine: str
    sizes: list[Measured]
    forms: list[Measured]
    threads: list[Measured]
    advice: dict[str, Advice]
    skipped: list[str]

    def by_model(self) -> dict[str, list[Measured]]:
        """The sizes of each model."""
        names = dict.fromkeys(row.form.model for row in self.sizes)
        return {name: [r for r in self.sizes if r.form.model == name] for name in names}

    def sections(self, prices: Prices) -> dict[str, str]:
        """Markdown by the name of its place in docs/cost.md."""
        sizes = "\n\n".join(
            f"{name}, {rows[0].form.quantization}:\n\n{size_table(rows, prices)}"
            for name, rows in self.by_model().items()
        )
        gateway = (
            f"\\* if it takes as long there. A gateway's million is on top: REST API "
            f"{prices.entry(MILLION, 'rest'):.2f}, HTTP API {prices.entry(MILLION, 'http'):.2f}, "
            f"function URL {prices.entry(MILLION, 'url'):.2f} dollars. Prices of {prices.region}, "
            f"{prices.dated}, without the free tier."
        )
        notes = "".join(f"\n- {each}" for each in self.skipped)
        return {
            "machine": self.machine,
            "sizes": f"{sizes}\n\n{gateway}" + (f"\n\nLeft out:\n{notes}" if notes else ""),
            "quantizations": form_table(self.forms, prices),
            "threads": thread_table(self.threads) if self.threads else "Not measured.",
            "advice": "\n".join(f"- {name}: {said.reason}" for name, said in self.advice.items()),
            "prices": price_table(prices),
        }

    def panels(self, prices: Prices) -> list[tuple[str, dict[str, Sequence[plot.Point]]]]:
        """The plot's: warm and cold, by model."""
        return [
            (
                title,
                {
                    name: [
                        plot.Point(str(row.memory_mb), row.dollars(prices), getattr(row, what))
                        for row in rows
                    ]
                    for name, rows in self.by_model().items()
                },
            )
            for title, what in (("Warm, p50, ms", "p50"), ("Cold, first answer, ms", "cold"))
        ]

    def to_json(self, prices: Prices) -> dict[str, Any]:
        """Every figure, and what it came from."""

        def rows(measured: Sequence[Measured]) -> list[dict[str, Any]]:
            return [
                {
                    "model": row.form.model, "quantization": row.form.quantization,
                    "file_bytes": row.form.size_bytes, "accuracy": row.form.accuracy,
                    "accuracy_interval_95": row.form.interval, "photos": row.form.photos,
                    "memory_mb": row.memory_mb, "vcpus": box.cpus(row.memory_mb),
                    "threads": row.threads, "cold_ms": row.cold, "p50_ms": row.p50,
                    "p95_ms": row.p95, "billed_ms": row.billed,
                    "cold_billed_ms": statistics.median(row.cold_billed_ms),
                    "list_images": row.list_images, "list_ms": row.list_ms,
                    "ms_per_image": row.ms_per_image,
                    "log_bytes": statistics.fmean(row.log_bytes),
                    "peak_mb": max(row.peak_mb, default=None),
                    "dollars_per_million": {
                        "x86_64": row.dollars(prices), "arm64": row.dollars(prices, "arm64"),
                    },
                    "containers": len(row.cold_ms), "requests": len(row.warm),
                }
                for row in measured
            ]  # fmt: skip

        return {
            "machine": self.machine,
            "prices": {"region": prices.region, "dated": str(prices.dated)},
            "sizes": rows(self.sizes),
            "quantizations": rows(self.forms),
            "threads": rows(self.threads),
            "advice": {name: said._asdict() for name, said in self.advice.items()},
            "skipped": self.skipped,
        }


def take(
    sources: Sequence[Source],
    photos: Photos,
    sizes: Sequence[int],
    effort: Effort,
    prices: Prices,
    skipped: list[str],
    folder: Path,
    *,
    samples: Path,
    data: Path | None,
    forms: Sequence[str],
    wishes: tuple[float, float],
) -> Receipt:
    """Convert every model and measure it; what fails is in `skipped`, and the rest goes on."""
    double = [size for size in sizes if size > MB_PER_VCPU][-2:]
    # A .tflite is measured as it is.
    asked = {source: forms[: 1 if source.path.suffix == ".tflite" else None] for source in sources}
    steps = sum(
        CONVERSION * len(each) + effort.rounds * (len(sizes) + len(each) + 2 * len(double))
        for each in asked.values()
    )
    progress = Progress(steps)
    receipt = Receipt(machine(effort), [], [], [], {}, skipped)
    for source in sources:
        made: list[Form] = []
        for form in asked[source]:
            progress.step(f"converting {source.name}, {form}", CONVERSION)
            try:
                converted = models.convert(source, form, samples, folder)
                made.append(models.judged(converted, data) if data else converted)
            except ModelError as error:
                skipped.append(f"{source.name}, {form}: {error}")
        if not made:
            continue
        rows = in_turn(
            [Measured(made[0], size, threads_of(size)) for size in sizes],
            photos, effort, progress.step, skipped,
        )  # fmt: skip
        if not rows:
            continue
        receipt.sizes += rows
        receipt.advice[source.name] = said = advice(rows, prices, *wishes)
        # All forms at one size, in turn: the advised one, or the cheapest.
        cheapest = min(rows, key=lambda row: row.dollars(prices))
        size = said.memory_mb or cheapest.memory_mb
        receipt.forms += in_turn(
            [Measured(form, size, threads_of(size)) for form in made],
            photos, effort, progress.step, skipped,
        )  # fmt: skip
        receipt.threads += in_turn(
            [Measured(made[0], size, threads) for size in double for threads in (1, 2)],
            photos, effort, progress.step, skipped,
        )  # fmt: skip
    progress.end()
    return receipt


if __name__ == "__main__":
    sys.exit(main())
