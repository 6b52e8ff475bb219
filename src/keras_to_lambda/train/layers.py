"""`k2l layers`: a network's layers, their parameters, and what they make of a picture."""

from __future__ import annotations

import shlex
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from keras_to_lambda import html_report
from keras_to_lambda.cli import frame
from keras_to_lambda.convert import command_options as shared
from keras_to_lambda.convert.sandbox import untrusted_results
from keras_to_lambda.convert.sandbox.sandbox import model_files
from keras_to_lambda.train.assess.split_predictions import EvaluatedModel, add_card, load_keras
from keras_to_lambda.train.data.dataset import DataError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

TEMPLATE = Path(__file__).with_name("layers.html.jinja")
SHOWN = 8  # layers of which feature maps are shown
MAPS = 12  # of each of them
MAX_PIXELS = 100_000_000
MEANING = {
    "InputLayer": "the picture as numbers",
    "Rescaling": "scales pixels",
    "Conv2D": "moves small filters over the picture; each gives one feature map",
    "DepthwiseConv2D": "one filter for each feature map",
    "SeparableConv2D": "one filter for each feature map, then mixtures of the maps",
    "BatchNormalization": "brings each map to a common mean and spread; half of its numbers are "
    "statistics, which training does not fit",
    "ReLU": "turns negative values to 0",
    "Activation": "a function of each value, such as negative values to 0",
    "MaxPooling2D": "keeps the largest of neighbouring values: a smaller map",
    "AveragePooling2D": "averages neighbouring values: a smaller map",
    "GlobalAveragePooling2D": "one number for each map: its mean",
    "GlobalMaxPooling2D": "one number for each map: its largest value",
    "Flatten": "all values in one row",
    "Dropout": "sets values to 0 at random, in training only",
    "Dense": "each output is a weighted sum of all inputs",
    "Add": "adds the maps of two branches",
    "Concatenate": "puts the maps of branches beside each other",
}


@frame.command("k2l layers")
def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns the exit code: 2 for whatever the user can put right."""
    options = parser().parse_args(arguments)
    output = options.output or Path(options.model).resolve().with_suffix(".layers.html")
    words = sys.argv[1:] if arguments is None else arguments
    page = report(options, shlex.join(["k2l", "layers", *words]))
    output.write_text(page, encoding="utf-8")
    print(f"wrote {output}")
    return 0


def parser() -> argparse.ArgumentParser:
    parser = frame.Parser(
        "k2l layers",
        "Report on a network's layers: their shapes, their parameters and what these do, and the "
        "feature maps of a picture. The file is loaded in a sandbox.",
    )
    add = parser.add_argument
    add("model", metavar="MODEL", help=".keras or .h5 file with its card beside it")
    add("--picture", type=Path, required=True, metavar="FILE", help="picture for the feature maps")
    add("-o", "--output", type=Path, metavar="FILE.html", help="report (default: NAME.layers.html "
        "beside the model)")  # fmt: skip
    add_card(parser)
    shared.add_model(parser)
    shared.add_run(parser)
    return parser


def report(options: argparse.Namespace, command: str = "") -> str:
    """The page.

    Raises:
        DataError: the model has no card, or the picture cannot be read.
        ConvertError: the model cannot be loaded, or its file has no layers.
    """
    model = EvaluatedModel.of(options.model, options.card, options.preprocess, ("one", "other"))
    if model.kind != "keras" or model.card is None:
        raise DataError(f"{options.model} has no Keras layers; give a .keras or .h5 file")
    if not options.picture.is_file():
        raise DataError(f"no such picture: {options.picture}")
    path = Path(options.model).resolve()
    with tempfile.TemporaryDirectory(prefix="layers-") as folder:
        facts = shared.sandbox(options).call(
            f"{__name__}:look",
            reads=[*model_files(path, options.custom), options.picture.absolute()],
            into=Path(folder),
            model=str(path),
            card=model.card.to_json(),
            sized=model.place is not None,
            picture=str(options.picture.absolute()),
            wanted=shared.wanted(options),
        )
        maps = untrusted_results.arrays(Path(folder) / "maps.npz")
    rows = [{**row, "meaning": MEANING.get(str(row["kind"]), "")} for row in facts["layers"]]
    total = sum(int(row["parameters"]) for row in rows)
    most = max(rows, key=lambda row: int(row["parameters"]))
    share = int(most["parameters"]) / max(1, total)
    return html_report.render(
        TEMPLATE,
        kind="Layers",
        title=model.name,
        conclusion=f"{model.name} has {len(rows)} layers with {total:,} parameters: the numbers "
        f"that training fits, and statistics. {share:.0%} of them are in {most['name']} "
        f"({most['kind']}).",
        command=command,
        rows=rows,
        most=max(1, int(most["parameters"])),
        maps=[
            (name, html_report.thumbnail(Image.fromarray(pixels), 960))
            for name, pixels in maps.items()
            if pixels.dtype == np.uint8 and pixels.ndim == 2
        ],
    )


def look(
    *,
    model: str,
    card: dict[str, Any],
    sized: bool,
    picture: str,
    wanted: dict[str, Any],
    folder: str,
) -> dict[str, Any]:
    """List layers, and write feature maps; runs in the sandbox.

    Args:
        model, card, sized, wanted: as for `load_keras`. picture: a file.
        folder: gets maps.npz: of each of SHOWN layers a sheet of maps, uint8, (height, width).

    Raises:
        ConvertError: the model cannot be loaded, or its file has no layers.
    """
    from keras_to_lambda.convert.common.conversion_errors import ConvertError
    from keras_to_lambda.convert.load.repairs import layers_of
    from keras_to_lambda.runtime.image.decode import decode
    from keras_to_lambda.runtime.image.preprocess import prepare

    loaded, described = load_keras(model, card, wanted, sized=sized)
    if loaded.kind == "saved_model":
        raise ConvertError(f"{model} is a SavedModel, without layers; give a .keras or .h5 file")
    outputs: dict[str, Any] = {}
    # A nested network is shown by its layers.
    layers = [one for one in layers_of(loaded.anchor) if not getattr(one, "layers", None)]
    for layer in layers:
        layer.call = _recorded(layer, outputs)
    image = decode(Path(picture).read_bytes(), described.preprocessing, loaded.channels, MAX_PIXELS)
    loaded.call(np.asarray(prepare(image, described), np.float32)[np.newaxis])
    pictured = [
        name for name, values in outputs.items() if values.ndim == 4 and min(values.shape[1:3]) > 2
    ]
    chosen = sorted({int(place) for place in np.linspace(0, len(pictured) - 1, SHOWN)})
    sheets = {pictured[index]: _sheet(outputs[pictured[index]][0]) for index in chosen if pictured}
    np.savez(Path(folder) / "maps.npz", **sheets)
    shapes = {name: " x ".join(map(str, values.shape[1:])) for name, values in outputs.items()}
    rows = [
        {
            "name": layer.name,
            "kind": type(layer).__name__,
            "shape": shapes.get(layer.name, ""),
            "parameters": int(layer.count_params()),
        }
        for layer in layers
    ]
    return {"layers": rows}


def _recorded(layer: Any, outputs: dict[str, Any]) -> Callable[..., Any]:
    """The layer's call, whose last result is kept."""
    call = layer.call

    def recorded(*args: Any, **options: Any) -> Any:
        result = call(*args, **options)
        if hasattr(result, "numpy"):
            outputs[layer.name] = result.numpy()
        return result

    return recorded


def _sheet(values: Any) -> Any:
    """The first feature maps beside each other, each from black to white: uint8, 2-D."""
    maps = np.moveaxis(values, -1, 0)[:MAPS].astype(np.float64)
    low, high = maps.min(axis=(1, 2), keepdims=True), maps.max(axis=(1, 2), keepdims=True)
    bright = 255 * (maps - low) / np.maximum(high - low, 1e-9)
    return np.hstack([np.pad(one, 1) for one in bright]).astype(np.uint8)
