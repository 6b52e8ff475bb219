"""Renew the tables in the docs that come from the code: `make docs`; the tests compare."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from dataclasses import MISSING, fields
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from benchmarks import estimate
from benchmarks.table import markdown
from keras_to_lambda import explain
from keras_to_lambda.deploy.doctor import template
from keras_to_lambda.runtime.common import errors
from keras_to_lambda.runtime.common.settings import MODELS, Settings
from keras_to_lambda.runtime.model_file import card


def table(*head: str, rows: Iterable[Iterable[str]], figures: int = 0) -> str:
    """A table whose first columns, as many as `figures`, are aligned as figures."""
    return markdown(head, [[*row] for row in rows], words=range(figures, len(head)))


def code(value: object) -> str:
    """A value as code; "": nothing."""
    return f"`{value}`" if value != "" else ""


def settings_table() -> str:
    """Every environment variable."""
    rows = []
    for setting in fields(Settings):
        value = "" if setting.default is MISSING else setting.default
        if value == MODELS:
            value = Path(MODELS).relative_to(ROOT).as_posix()
        if isinstance(value, frozenset):
            value = ",".join(sorted(str(item) for item in value))
        rows.append((code(setting.name.upper()), code(value or ""), setting.metadata["help"]))
    return table("variable", "default", "meaning", rows=rows)


def errors_table() -> str:
    """Every error that a caller can cause."""
    kinds = sorted(errors.every(), key=lambda kind: (kind.status, kind.code))
    rows = [(str(kind.status), code(kind.code), code(kind.__name__)) for kind in kinds]
    return table("status", "code", "errorType", rows=rows, figures=1)


def explained_table() -> str:
    """Every error that `k2l doctor --explain` knows, but for the function's own codes."""
    own = {kind.code for kind in errors.every()}
    rows = [(each.id, each.sign, each.cause) for each in explain.known() if each.id not in own]
    return table("error", "sign", "cause", rows=rows)


def parameters_table() -> str:
    """Every parameter of the template."""
    rows = []
    for name, each in template.Template.read(ROOT / "template.yaml").body["Parameters"].items():
        values = ", ".join(map(code, each.get("AllowedValues", [])))
        if "MaxValue" in each:
            values = f"{each['MinValue']:,} to {each['MaxValue']:,}"
        rows.append((code(name), values, code(each.get("Default", "")), each["Description"]))
    return table("parameter", "values", "default", "meaning", rows=rows)


def generations_table() -> str:
    """What Keras 3 does with a file of Keras 2."""
    from keras_to_lambda.convert.load import generations

    layers = len(generations.EQUAL_LAYERS - {"Sequential", "Functional", "Model"})
    activations = len(generations.EQUAL_ACTIVATIONS)
    different = "; ".join(f"{code(x)}: {why}" for x, why in generations.DIFFERENCES.items())
    rows = (
        ("computes something else, without a warning", different),
        (
            "refuses it, or some of its options",
            "all others, as attention, recurrent and transposed layers, depthwise and separable "
            "convolutions, `Resizing`, `UpSampling2D`",
        ),
        ("answers alike", f"{layers} layers, {activations} activations"),
    )
    head = ("Keras 3, given an `.h5` file of Keras 2", "layers and activations")
    return table(*head, rows=rows)


def repairs_table() -> str:
    """Every repair of a Keras file."""
    from keras_to_lambda.convert.load.repairs import REPAIRS

    rows = []
    for name, repair in REPAIRS.items():
        fault, remedy = repair.change.__doc__.removesuffix(".").split(": ", 1)
        rows.append((name, fault, remedy))
    return table("repair", "what the file has", "what is done", rows=rows)


SCALING = (
    'a name of `--preprocess`, or `{"scale": [...], "offset": [...]}` with a number for each '
    "channel: pixel x scale + offset"
)


def preprocessing_table() -> str:
    """Every field of a card's preprocessing."""
    rows = [
        (
            code(field.name),
            ", ".join(map(str, card.CHOICES.get(field.name, ()))) or SCALING,
            str(getattr(card.Preprocessing(), field.name)),
        )
        for field in fields(card.Preprocessing)
    ]
    return table("field of `preprocessing`", "values", "default", rows=rows)


def prices_table() -> str:
    """Every price."""
    rows = []
    for name, price in estimate.PRICES.items():
        count = f"{price.units:,} x " if price.units > 1 else ""
        link, _, date = price.seen.partition(" ")
        usd = f"{price.usd:.10f}".rstrip("0").rstrip(".")
        rows.append(
            (f"[`{name}`]({price.page})", usd, f"{count}{price.unit}", f"[seen]({link}) {date}")
        )
    return markdown(("what", "$", "for", "where it was seen"), rows, words=(0, 2, 3))


WAYS = {
    "REST API, photo of 300 KB in the request": ("rest", 300_000),
    "HTTP API, photo of 300 KB in the request": ("http", 300_000),
    "HTTP API, photo of 2 MB in the request": ("http", 2_000_000),
    "uploads, by the queue": ("sqs", 0),
    "batch run": ("map", 0),
}


def million() -> str:
    """The cost of a million images, by the p50 that `make receipt DOCS=1` measured at 1,769 MB."""
    page = (ROOT / "docs" / "cost.md").read_text(encoding="utf-8")
    found = re.search(r"^\| default, 1,769 \|[^|]*\|[^|]*\| *([0-9.]+) *\|", page, re.MULTILINE)
    if found is None:
        raise SystemExit("docs/cost.md has no row of the default model at 1,769 MB: make receipt")
    ms = float(found[1])
    rows = [
        (name, *(f"{dollars:.2f}" for dollars in estimate.million(way, ms, image_bytes=size)))
        for name, (way, size) in WAYS.items()
    ]
    return (
        f"By the measured {ms} ms of the default model at 1,769 MB:\n\n"
        f"{markdown(('way', '$', 'of which Lambda'), rows)}\n\n"
        "The least time is the function's own, divided by the invocations that run at a time: "
        f"{1e6 * ms / 10 / 60_000:.0f} minutes for ten\nof them, "
        f"{1e6 * ms / 1000 / 1000:.0f} seconds for 1,000. S3, the internet and cold starts come on "
        "top."
    )


TABLES = {
    "prices": prices_table,
    "million": million,
    "settings": settings_table,
    "errors": errors_table,
    "parameters": parameters_table,
    "explained": explained_table,
    "generations": generations_table,
    "preprocessing": preprocessing_table,
    "repairs": repairs_table,
}


def renewed(text: str) -> str:
    """A document with each `<!-- table: NAME -->` ... `<!-- end -->` block renewed."""
    for name, table in TABLES.items():
        text = re.sub(
            rf"(<!-- table: {name} -->\n).*?(<!-- end -->)",
            lambda match, table=table: f"{match[1]}{table()}\n{match[2]}",
            text,
            flags=re.DOTALL,
        )
    return text


def documents() -> list[Path]:
    """Every Markdown file that may hold a table."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


if __name__ == "__main__":
    for document in documents():
        document.write_text(renewed(document.read_text(encoding="utf-8")), encoding="utf-8")
