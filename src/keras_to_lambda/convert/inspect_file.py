"""k2l inspect: what a model file holds, and what would stop it from being served."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from keras_to_lambda.cli import frame, progress
from keras_to_lambda.convert.common import scaling
from keras_to_lambda.convert.common.conversion_errors import ConvertError, listed
from keras_to_lambda.convert.inspection import foreign, saved_contents, tflite_file
from keras_to_lambda.convert.load.saved_file import SavedFile
from keras_to_lambda.convert.sandbox.sandbox import Sandbox, model_files
from keras_to_lambda.runtime.model_file.card import ModelCard

EPILOG = """\
examples:
  k2l inspect clothing.tflite         a converted model: its tensors, card, labels
  k2l inspect download.tflite         a file from elsewhere, and what serving it needs
  k2l inspect old.h5                  the Keras that wrote it, and code in the file
  k2l inspect exported/ --json        a SavedModel folder, for a script

Nothing in the file is run. .keras and .h5 files are read as archives and JSON, without Keras; a
.tflite is read as a flatbuffer and then loaded by the interpreter in a separate process. Reading a
SavedModel needs TensorFlow.

exit status:
  0  it can be served (.tflite) or converted (the others)
  1  it cannot; each reason is printed, with the remedy
  2  not a model, or not readable
"""

# HDF5 can loop forever in a damaged file.
SANDBOX = Sandbox(memory_gb=8, minutes=2)
LABELS_SHOWN = 5
OPERATORS_SHOWN, OPERATORS_IN_ROW = 48, 6


@frame.command("k2l inspect")
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit status is explained in its help."""
    args = parser().parse_args(argv)
    progress.use(quiet=True)
    found = inspect(args.file)
    print(json.dumps(found, indent=1) if args.json else text(found))
    return frame.FAILED if found["stopped_by"] else frame.OK


def parser() -> frame.Parser:
    """The command line."""
    p = frame.Parser(
        "k2l inspect",
        "Show what a model file holds, without running anything in it, and what would stop it "
        "from being served or converted.",
        EPILOG,
    )
    p.add_argument("file", type=Path, metavar="FILE", help=".tflite, .keras, .h5, or a SavedModel")
    p.add_argument("--json", action="store_true", help="everything, as JSON on stdout")
    return p


def inspect(path: Path) -> dict[str, Any]:
    """What a file holds, as JSON values: read, and for a `.tflite` loaded, in child processes."""
    reads, here = model_files(path.absolute()), "keras_to_lambda.convert.inspect_file"
    found = SANDBOX.call(f"{here}:facts", reads=reads, path=str(path.absolute()))
    found["label_count"] = len(found["labels"]) or label_count(found)
    if found["kind"] == "tflite" and not found["stopped_by"]:
        try:
            SANDBOX.call(f"{here}:load", reads=reads, path=str(path.absolute()))
        except ConvertError as error:
            found["stopped_by"].append(str(error))
    return dict(found)


def facts(path: str) -> dict[str, Any]:
    """A file's contents; the job of the first child process."""
    file = Path(path)
    if foreign.is_one(file):
        return tflite_file.facts(file)
    with tempfile.TemporaryDirectory(prefix="model-") as folder:
        saved = SavedFile.read(file, Path(folder))
        try:
            return saved_contents.facts(file, saved)
        except saved_contents.DAMAGED as error:
            raise ConvertError(f"{file}: its network is described as no Keras does it") from error


def load(path: str) -> None:
    """Load a `.tflite` as the function does; the job of the second process, which may crash."""
    from keras_to_lambda.runtime.model.interpreter import Classifier

    Classifier(Path(path))


def text(found: dict[str, Any]) -> str:
    """What is printed without --json."""
    rows = [row for row in _rows(found) if row[1]]
    width = max(len(name) for name, _ in rows)
    lines = [f"{name:<{width}}  {value}".rstrip() for name, value in rows]
    stopped, served = found["stopped_by"], found["kind"] == "tflite"
    if stopped:
        verb = "served" if served else "converted"
        lines += ["", f"It cannot be {verb} as it is:", *(f"  - {reason}" for reason in stopped)]
    elif served:
        lines += ["", f"It can be served. {_verified((found['card'] or {}).get('verification'))}"]
    else:
        lines += [
            "",
            "Nothing was found that stops a conversion. The network was not built or run, and not "
            "compared with TensorFlow Lite's operators: k2l convert does that.",
        ]
    return "\n".join(progress.plain(line) for line in lines)


def _rows(found: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield "kind", found["kind"].replace("_", " ") + f", {found['bytes']:,} bytes"
    for name in ("written by", "backend"):
        yield name, found.get(name.replace(" ", "_")) or ""
    for kind in ("inputs", "outputs"):
        yield from _numbered(kind, map(_tensor_text, found[kind]))
    yield "outputs are", found.get("outputs_are") or ""
    if found["parameters"] is not None:
        yield "parameters", f"{found['parameters']:,}"
    yield "quantization", found.get("quantization") or ""
    operators = [
        f"{x['name']}{' v' + str(x['version']) if 'version' in x else ''} x {x['count']}"
        for x in sorted(found["operators"], key=lambda x: -x["count"])[:OPERATORS_SHOWN]
    ]
    kind = "layers" if found["kind"] in ("keras", "h5") else "operators"
    starts = range(0, len(operators), OPERATORS_IN_ROW)
    yield from _numbered(kind, (", ".join(operators[x : x + OPERATORS_IN_ROW]) for x in starts))
    yield "card", _card_text(found)
    labels = found["labels"]
    if labels:
        yield "labels", f"{len(labels)}: {listed(labels, LABELS_SHOWN)}"
    elif count := label_count(found):
        yield "labels", f"unknown; the outputs take {count}"
    yield "note", "; ".join(found.get("notes") or ())
    provenance = (found["card"] or {}).get("provenance") or {}
    yield from _numbered("provenance", (f"{key}: {value}" for key, value in provenance.items()))


def _numbered(name: str, values: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield a row for each value; only the first has the name."""
    for value in values:
        yield name, value
        name = ""


def _verified(measured: dict[str, Any] | None) -> str:
    """A card's verification, which any program may have written, as a sentence."""
    if not isinstance(measured, dict) or not isinstance(measured.get("passed"), bool):
        return "Its labels and its scaling were not tried on photos."
    words = ["verified" if measured["passed"] else "not verified"]
    for name, text in (
        ("samples", "on {:,} photos"),
        ("agreement", "{:.1%} have Keras' label"),
        ("accuracy", "accuracy {:.1%}"),
    ):
        value = measured.get(name)
        if isinstance(value, int | float):
            words.append(text.format(value))
    return f"By its card, which is not checked here: {', '.join(words)}."


def label_count(found: dict[str, Any]) -> int | None:
    """How many labels the outputs take, where the file determines it; one output is for two."""
    if len(found["outputs"]) != 1:
        return None
    output = found["outputs"][0]
    sizes = output["shape"] or [output.get("last")]
    if not isinstance(sizes[-1], int) or any(n not in (None, 1) for n in sizes[:-1]):
        return None
    return max(sizes[-1], 2)


def _tensor_text(tensor: dict[str, Any]) -> str:
    sizes = tensor["shape"]
    last = tensor.get("last")
    shape = "unknown shape" if last is None else f"unknown shape, the last size {last}"
    if sizes is not None:
        shape = " x ".join("?" if n is None else str(n) for n in sizes)
    words = f"{tensor['name']}: {shape}" + (f", {tensor['dtype']}" if tensor["dtype"] else "")
    if tensor.get("scale") and tensor["zero_point"]:
        words += f", scale {tensor['scale']:.6g}, zero point {tensor['zero_point']}"
    return words


def _card_text(found: dict[str, Any]) -> str:
    card = found["card"]
    if card is None:
        return found["card_from"] or "none"
    steps = card["preprocessing"]
    done = scaling.done(ModelCard.from_json({**card, "labels": found["labels"]}))
    return (
        f"{card['name']}, from {found['card_from']}: {steps['resize']}, {steps['interpolation']}, "
        f"{done}; {card['output']}"
    )
