"""Renew the tables in the docs that come from the code: `make docs`; the tests compare."""

from __future__ import annotations

import re
import sys
from dataclasses import MISSING, fields
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "src"))

from keras_to_lambda.deploy import estimate
from keras_to_lambda.deploy.doctor import explain, template
from keras_to_lambda.runtime.common import errors
from keras_to_lambda.runtime.common.settings import MODELS, Settings
from keras_to_lambda.runtime.model_file import card


def settings_table() -> str:
    """Every environment variable."""
    rows = ["| variable | default | meaning |", "| --- | --- | --- |"]
    for setting in fields(Settings):
        value = "" if setting.default is MISSING else setting.default
        if value == MODELS:
            value = Path(MODELS).relative_to(ROOT).as_posix()
        if isinstance(value, frozenset):
            value = ",".join(sorted(str(item) for item in value))
        meaning = setting.metadata["help"]
        rows.append(f"| `{setting.name.upper()}` | {f'`{value}`' if value else ''} | {meaning} |")
    return "\n".join(rows)


def errors_table() -> str:
    """Every error that a caller can cause."""
    rows = ["| status | code | errorType |", "| ---: | --- | --- |"]
    kinds = errors.every()
    for kind in sorted(kinds, key=lambda kind: (kind.status, kind.code)):
        rows.append(f"| {kind.status} | `{kind.code}` | `{kind.__name__}` |")  # noqa: PERF401
    return "\n".join(rows)


def explained_table() -> str:
    """Every error that `k2l doctor --explain` knows, but for the function's own codes."""
    rows = ["| error | sign | cause |", "| --- | --- | --- |"]
    own = {kind.code for kind in errors.every()}
    rows += [
        f"| {entry.id} | {entry.sign} | {entry.cause} |"
        for entry in explain.known()
        if entry.id not in own
    ]
    return "\n".join(rows)


def parameters_table() -> str:
    """Every parameter of the template."""
    with (ROOT / "template.yaml").open(encoding="utf-8") as file:
        parameters = template.load(file)["Parameters"]
    rows = ["| parameter | values | default | meaning |", "| --- | --- | --- | --- |"]
    for name, each in parameters.items():
        values = ", ".join(f"`{value}`" for value in each.get("AllowedValues", []))
        if "MaxValue" in each:
            values = f"{each['MinValue']:,} to {each['MaxValue']:,}"
        default = each.get("Default", "")
        shown = f"`{default}`" if default != "" else ""
        rows.append(f"| `{name}` | {values} | {shown} | {each['Description']} |")
    return "\n".join(rows)


def generations_table() -> str:
    """What Keras 3 does with a file of Keras 2."""
    from keras_to_lambda.convert.load import generations

    networks = {"Sequential", "Functional", "Model"}
    layers = len(generations.EQUAL_LAYERS - networks)
    activations = len(generations.EQUAL_ACTIVATIONS)
    different = "; ".join(f"`{x}`: {why}" for x, why in generations.DIFFERENCES.items())
    rows = ["| Keras 3, given an `.h5` file of Keras 2 | layers and activations |", "| --- | --- |"]
    rows.append(f"| computes something else, without a warning | {different} |")
    rows.append(
        "| refuses it, or some of its options | all others, as attention, recurrent and transposed "
        "layers, depthwise and separable convolutions, `Resizing`, `UpSampling2D` |"
    )
    rows.append(f"| answers alike | {layers} layers, {activations} activations |")
    return "\n".join(rows)


def repairs_table() -> str:
    """Every repair of a Keras file."""
    from keras_to_lambda.convert.load.repairs import REPAIRS

    rows = ["| repair | what the file has | what is done |", "| --- | --- | --- |"]
    for name, repair in REPAIRS.items():
        fault, remedy = repair.change.__doc__.removesuffix(".").split(": ", 1)
        rows.append(f"| {name} | {fault} | {remedy} |")
    return "\n".join(rows)


SCALING = (
    'a name of `--preprocess`, or `{"scale": [...], "offset": [...]}` with a number for each '
    "channel: pixel x scale + offset"
)


def preprocessing_table() -> str:
    """Every field of a card's preprocessing."""
    rows = ["| field of `preprocessing` | values | default |", "| --- | --- | --- |"]
    for field in fields(card.Preprocessing):
        choices = card.CHOICES.get(field.name)
        values = ", ".join(map(str, choices)) if choices else SCALING
        rows.append(f"| `{field.name}` | {values} | {field.default} |")
    return "\n".join(rows)


def million() -> str:
    """The cost of a million images, by the p50 that `make receipt DOCS=1` measured at 1,769 MB."""
    page = (ROOT / "docs" / "cost.md").read_text(encoding="utf-8")
    found = re.search(r"^\| default, 1,769 \|[^|]*\|[^|]*\| *([0-9.]+) *\|", page, re.MULTILINE)
    if found is None:
        raise SystemExit("docs/cost.md has no row of the default model at 1,769 MB: make receipt")
    ms = float(found[1])
    return (
        f"By the measured {ms} ms of the default model at 1,769 MB:\n\n"
        f"{estimate.million_table(ms)}\n\n"
        "The least time is the function's own, divided by the invocations that run at a time: "
        f"{1e6 * ms / 10 / 60_000:.0f} minutes for ten\nof them, "
        f"{1e6 * ms / 1000 / 1000:.0f} seconds for 1,000. S3, the internet and cold starts come on "
        "top."
    )


TABLES = {
    "prices": estimate.price_table,
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
