"""ModelCard: the description with which a `.tflite` file is served as it was trained.

The card travels in the model file, as `card.json` and `labels.txt` in a zip archive appended to the
flatbuffer: the place where TensorFlow Lite model metadata keeps its associated files
(https://ai.google.dev/edge/litert/conversion/tensorflow/metadata), so that every runtime still
loads the file and `unzip` lists it. A third-party file without a card is served with the same JSON
beside it: `model.tflite` and `model.card.json`.
"""

from __future__ import annotations

import io
import json
import math
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from keras_to_lambda.runtime.common.errors import SetupError
from keras_to_lambda.runtime.common.record import (
    TYPE_CHECKING,
    Any,
    BinaryIO,
    dataclass,
    field,
    fields,
)
from keras_to_lambda.runtime.model_file.zip_archive import Archive

if TYPE_CHECKING:
    from pathlib import Path

# 1: the tensor is scaled by the function. 2: it is the pixels; what scales them is in the graph.
SCHEMA_VERSIONS = (1, 2)
CARD_FILE = "card.json"
LABELS_FILE = "labels.txt"
MAX_MEMBER_BYTES = 16 << 20

# Scaling presets: the names of keras.applications, and the four conventions behind them
# (keras/src/applications/imagenet_utils.py, `preprocess_input`, and each network's own module).
#   tf:    x / 127.5 - 1
#   caffe: RGB -> BGR, minus the means 103.939, 116.779, 123.68
#   torch: x / 255, minus the means 0.485, 0.456, 0.406, over 0.229, 0.224, 0.225
#   raw:   unchanged; the network scales by itself, or was trained on 0..255
#   rescale: x / 255, which keras.applications does not have but most own networks use
PRESETS: Mapping[str, str] = {
    **dict.fromkeys(("xception", "inception_v3", "inception_resnet_v2", "mobilenet"), "tf"),
    **dict.fromkeys(("mobilenet_v2", "resnet50_v2", "resnet_v2", "nasnet"), "tf"),
    **dict.fromkeys(("resnet50", "resnet", "vgg16", "vgg19"), "caffe"),
    **dict.fromkeys(("densenet121", "densenet"), "torch"),
    **dict.fromkeys(("efficientnet", "efficientnet_v2", "mobilenet_v3", "convnext"), "raw"),
    "raw": "raw",
    "rescale": "rescale",
}

CHOICES: Mapping[str, tuple[Any, ...]] = {
    "schema_version": SCHEMA_VERSIONS,
    "dtype": ("float32", "int8", "uint8"),
    "channels": (1, 3, 4),
    "resize": ("stretch", "crop", "pad"),
    "interpolation": (
        *("pillow:nearest", "pillow:bilinear", "pillow:bicubic", "pillow:lanczos"),
        *("tf:bilinear", "tf:nearest", "tf:bicubic"),
    ),
    "color_order": ("rgb", "bgr"),
    "exif": ("ignore", "apply"),
    "alpha": ("drop", "white", "black"),
    "decode": ("exact", "scaled"),
    "drawing": ("none", "mnist"),
    "output": ("logits", "probabilities"),
    "activation": ("softmax", "sigmoid"),
}
# Fields of Preprocessing that schema 2 does not have.
IN_THE_GRAPH = ("color_order", "scaling")


@dataclass(frozen=True)
class Affine:
    """Scaling by hand, per channel: tensor = pixel * scale + offset, pixel in 0..255."""

    scale: tuple[float, ...]
    offset: tuple[float, ...]


@dataclass(frozen=True)
class Preprocessing:
    """How pixels become the tensor. The defaults are what `keras.utils.load_img` does.

    A card of schema 2 has neither color_order nor scaling: they are "rgb" and "raw".

    resize: stretch to the input size; crop the centre at the input's aspect ratio, then resize
        (`PIL.ImageOps.fit`); pad with black around the centre (`PIL.ImageOps.pad`).
    interpolation: the implementation and its filter. Pillow's bilinear antialiases, TensorFlow's
        (`tf.image.resize`, `image_dataset_from_directory`) does not.
    color_order: what the scaling gets; rgb also for the `caffe` presets, which turn it themselves.
    scaling: a name from PRESETS, or an Affine.
    exif: ignore the orientation flag, as Keras does, or apply it.
    alpha: drop the alpha channel, as `Image.convert("RGB")` does, or blend with white or black.
    decode: exact, or scaled: a large JPEG is decoded at a half, a quarter or an eighth, at least
        twice the input's size. `convert` writes it where it has seen that answers stay the same.
    drawing: none, or mnist: made light on black and centred as MNIST's digits are.
    """

    resize: str = "stretch"
    interpolation: str = "pillow:nearest"
    color_order: str = "rgb"
    scaling: str | Affine = "raw"
    exif: str = "ignore"
    alpha: str = "drop"
    decode: str = "exact"
    drawing: str = "none"


@dataclass(frozen=True)
class ModelCard:
    """Everything about a model but its weights.

    name: what clients and logs call it.
    labels: one for each output, in the output's order.
    height, width, channels: of the input tensor, in pixels.
    dtype: of the input tensor. An integer model's scale and zero point are in the flatbuffer.
        Schema 2: uint8, or float32 where resizing leaves numbers between whole ones or above 255.
    output: logits, or probabilities if the network ends in a softmax or sigmoid.
    activation: what made the probabilities, or makes them of the logits. Several labels with a
        sigmoid each are multi-label: their probabilities do not add up to 1.
    model_bytes, model_sha256: of the flatbuffer in front of the archive; a file cut short or
        altered is found by them.
    provenance: the source file's name and hash, versions, quantization; schema 2: the colour order
        and scaling that are in the graph.
    verification: what `convert` measured; empty until then.
    calibration: how often answers of which confidence are right, by `evaluate`; empty until then.
        docs/training.md has its fields.
    """

    name: str
    labels: tuple[str, ...]
    height: int
    width: int
    channels: int = 3
    dtype: str = "float32"
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    output: str = "logits"
    activation: str = "softmax"
    model_bytes: int | None = None
    model_sha256: str | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)
    verification: Mapping[str, Any] = field(default_factory=dict)
    calibration: Mapping[str, Any] = field(default_factory=dict)
    schema_version: int = 1

    def __post_init__(self) -> None:
        faults = list(_faults(self))
        if faults:
            raise SetupError(f"wrong model card ({self.name!r}): " + "; ".join(faults))

    def to_json(self) -> dict[str, Any]:
        """The card as plain JSON values, `from_json`'s inverse."""
        from dataclasses import asdict

        body = {"schema_version": self.schema_version, **asdict(self)}
        if self.schema_version == 2:
            for name in IN_THE_GRAPH:
                del body["preprocessing"][name]
        if self.activation == "softmax":
            del body["activation"]  # older releases read the card
        if not self.calibration:
            del body["calibration"]
        return body

    @classmethod
    def from_json(cls, data: Any) -> ModelCard:
        """Read a card strictly: anything unknown is an error.

        Raises SetupError: an unknown schema version or field, a missing one, a wrong value.
        """
        if not isinstance(data, dict):
            raise SetupError("wrong model card: not a JSON object")
        version = data.get("schema_version")
        if version not in SCHEMA_VERSIONS:
            raise SetupError(
                f"wrong model card: schema_version is {version!r}, this release reads "
                f"{', '.join(map(str, SCHEMA_VERSIONS))}; convert the model again, or use a newer "
                "release"
            )
        _only_fields(cls, data)
        steps = data.get("preprocessing", {})
        _only_fields(Preprocessing, steps, IN_THE_GRAPH if version == 2 else ())
        data, steps = dict(data), dict(steps)
        scaling = steps.get("scaling")
        if isinstance(scaling, dict):
            _only_fields(Affine, scaling)
            tuples = {key: _tuple(value) for key, value in scaling.items()}
            steps["scaling"] = Affine(**tuples)
        data["preprocessing"] = Preprocessing(**steps)
        data["labels"] = _tuple(data["labels"])
        return cls(**data)


def _tuple(value: Any) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise SetupError(f"wrong model card: {value!r} is not a list")
    return tuple(value)


# What a card must have, by the names before it. How pixels are treated has no default: that would
# be a guess.
REQUIRED: Mapping[Any, tuple[str, tuple[str, ...]]] = {
    ModelCard: ("", ("schema_version", "name", "labels", "height", "width", "output")),
    Preprocessing: ("preprocessing.", ("resize", "interpolation", "scaling")),
    Affine: ("preprocessing.scaling.", ("scale", "offset")),
}


def _only_fields(cls: Any, data: Any, absent: Sequence[str] = ()) -> None:
    """Raise SetupError unless `data` has all that `cls` requires, and nothing that it lacks.

    Args:
        absent: fields of `cls` that this schema does not have.
    """
    prefix, required = REQUIRED[cls]
    if not isinstance(data, dict):
        raise SetupError(f"wrong model card: {prefix or 'card'} is not a JSON object")
    names = {each.name for each in fields(cls)} - {*absent}
    faults = {"missing": ({*required} & names) - set(data), "unknown": set(data) - names}
    if any(faults.values()):
        words = (
            f" {fault} {', '.join(prefix + name for name in sorted(found))}"
            for fault, found in faults.items()
            if found
        )
        raise SetupError("wrong model card:" + "".join(words))


def _faults(card: ModelCard) -> Iterator[str]:
    """A sentence for each value that is wrong."""
    steps, scaling = card.preprocessing, card.preprocessing.scaling
    for name, choices in CHOICES.items():
        of, prefix = (steps, "preprocessing.") if hasattr(steps, name) else (card, "")
        value = getattr(of, name)
        # True is 1 and 3.0 is 3 to `in`, and neither is a number of channels.
        if type(value) is not type(choices[0]) or value not in choices:
            yield f"{prefix}{name} is {value!r}, not one of {', '.join(map(str, choices))}"
    for name, size in (("height", card.height), ("width", card.width)):
        if type(size) is not int or not 1 <= size <= 4096:
            yield f"{name} is {size!r}, not a whole number from 1 to 4096"
    if not isinstance(card.name, str) or not card.name:
        yield "name is empty"
    if len(card.labels) < 2:
        yield "fewer than two labels"
    if not all(isinstance(label, str) and label for label in card.labels):
        yield "a label is empty or not a string"
    elif len(set(card.labels)) != len(card.labels):
        # The answer is an object by label: a second "crane" would silently take the first's place.
        twice = sorted(label for label, times in Counter(card.labels).items() if times > 1)
        yield f"duplicate labels: {', '.join(twice)}; make each label unique"
    if card.calibration:
        yield from _calibration_faults(card.calibration)
    if isinstance(scaling, Affine):
        for values in (scaling.scale, scaling.offset):
            if len(values) != card.channels:
                yield f"preprocessing.scaling needs {card.channels} numbers each, for each channel"
            elif not all(isinstance(v, int | float) and math.isfinite(v) for v in values):
                yield "preprocessing.scaling has something that is not a finite number"
    elif not isinstance(scaling, str) or scaling not in PRESETS:
        yield f"preprocessing.scaling is {scaling!r}, not one of {', '.join(PRESETS)}"
    elif card.channels != 3 and PRESETS[scaling] in ("caffe", "torch"):
        yield f"preprocessing.scaling {scaling!r} is for three channels"
    if card.schema_version == 2:
        if (steps.color_order, scaling) != ("rgb", "raw"):
            yield "schema 2 has colour order and scaling in the graph, not in preprocessing"
        if card.dtype == "int8":
            yield "dtype is 'int8'; schema 2 takes pixels, in uint8 or float32"


def _calibration_faults(calibration: Any) -> Iterator[str]:
    """A sentence for each value that a reader would compute with and that is wrong."""
    if not isinstance(calibration, Mapping):
        yield "calibration is not a JSON object"
        return
    temperature, bins = calibration.get("temperature"), calibration.get("bins")
    if not _is_number(temperature, 0) or temperature == 0:
        yield f"calibration.temperature is {temperature!r}, not a number above 0"
    if not isinstance(bins, list | tuple) or not bins or not all(map(_is_bin, bins)):
        yield "calibration.bins is not a list of low, high, pictures and right"
    energy = calibration.get("energy", (0, 0))
    pair = isinstance(energy, list | tuple) and len(energy) == 2
    if not pair or not all(_is_number(value, -math.inf) for value in energy):
        yield f"calibration.energy is {energy!r}, not two numbers"


def _is_bin(row: Any) -> bool:
    return (
        isinstance(row, Mapping)
        and _is_number(row.get("low"), 0, 1)
        and _is_number(row.get("high"), row["low"], 1)
        and _is_number(row.get("pictures"), 1)
        and _is_number(row.get("right"), 0, row["pictures"])
    )


def _is_number(value: Any, least: float, most: float = math.inf) -> bool:
    return type(value) in (int, float) and math.isfinite(value) and least <= value <= most


def distinct(labels: Sequence[str]) -> tuple[str, ...]:
    """Give duplicate labels (ImageNet has two cranes) their output's index.

    The answer is an object by label, in which a second one would replace the first.
    """
    times = Counter(labels)
    return tuple(
        f"{label} [{index}]" if times[label] > 1 else label for index, label in enumerate(labels)
    )


def read(file: BinaryIO) -> tuple[int, ModelCard | None]:
    """Where the flatbuffer of an open `.tflite` file ends, and its card if it carries one.

    Only the archive's end is read, so that a large model costs no more than a small one.

    Raises SetupError: the archive is there and damaged, or its card is wrong.
    """
    size = file.seek(0, io.SEEK_END)
    try:
        archive = Archive.find(file)
        if archive is None or CARD_FILE not in archive.names:
            return size, None
        body = json.loads(archive.read(CARD_FILE, MAX_MEMBER_BYTES))
        if LABELS_FILE in archive.names and isinstance(body, dict):
            labels = archive.read(LABELS_FILE, MAX_MEMBER_BYTES).decode()
            body["labels"] = labels.splitlines()
    except (ValueError, RecursionError) as error:  # archive.Damaged is a ValueError
        raise SetupError(f"the model file's card cannot be read: {error}") from error
    return archive.start, ModelCard.from_json(body)


def join(flatbuffer: bytes, card: ModelCard) -> bytes:
    """The file's bytes: flatbuffer, then the archive with the card. Same input, same bytes."""
    import dataclasses
    import hashlib
    import zipfile

    digest = hashlib.sha256(flatbuffer).hexdigest()
    card = dataclasses.replace(card, model_bytes=len(flatbuffer), model_sha256=digest)
    body = card.to_json()
    del body["labels"]  # labels.txt is the one place for them
    buffer = io.BytesIO(flatbuffer)
    with zipfile.ZipFile(buffer, "a", zipfile.ZIP_STORED) as archive:
        # ZipInfo's default date is 1980: the same model gives the same bytes on any day.
        archive.writestr(zipfile.ZipInfo(LABELS_FILE), "".join(f"{x}\n" for x in card.labels))
        archive.writestr(zipfile.ZipInfo(CARD_FILE), json.dumps(body, indent=1) + "\n")
    return buffer.getvalue()


def beside(path: str | os.PathLike[str]) -> Path:
    """Where a model file's card is looked for when the file has none in it."""
    from pathlib import Path

    path = Path(path)
    return path.with_name(path.stem + ".card.json")


def load(path: str | os.PathLike[str]) -> ModelCard:
    """The card of a `.tflite` file: in it, or else beside it, or else from its standard metadata.

    Raises SetupError: no such file, not a `.tflite`, cut short, no card, or a wrong card.
    """
    try:
        with open(path, "rb") as file:  # noqa: PTH123  # a path may be text here
            head = file.read(8)
            model_bytes, card = read(file)
    except OSError as error:
        raise SetupError(f"cannot read the model {path}: {error.strerror}") from error
    # Bytes 4 to 8 are the flatbuffer file identifier of the TensorFlow Lite schema.
    if head[4:] != b"TFL3":
        raise SetupError(f"{path} is not a .tflite model; `k2l convert` writes one of a Keras file")
    if card is None:
        card = _third_party(path)
    if card.model_bytes is not None and card.model_bytes != model_bytes:
        raise SetupError(
            f"{path} holds {model_bytes} bytes of model, its card says {card.model_bytes}: "
            "the file was cut short or altered; convert the model again"
        )
    return card


def _third_party(path: str | os.PathLike[str]) -> ModelCard:
    """The card of a file that was not converted here."""
    aside = beside(path)
    if aside.exists():
        return load_json(aside)
    # Most files have a card: they do not pay for this.
    from pathlib import Path

    from keras_to_lambda.runtime.model_file import tflite_metadata

    path = Path(path)
    remedy = tflite_metadata.describe(path)
    body = tflite_metadata.read(path)
    if body is None:
        raise SetupError(
            f"{path} has no card in it: it is another program's, or was cut short; "
            f"get the whole file, or {remedy}"
        )
    file = body.pop("label_file")
    if body["labels"] is None:
        missing = "names no label file; "
        if file:
            missing = f"names {file!r}, which is not in the file; get the whole file, or "
        raise SetupError(f"{path}: its labels are missing: its metadata {missing}{remedy}")
    if body["preprocessing"]["scaling"] is None:
        raise SetupError(
            f"{path}: its metadata does not say how pixels are scaled for {body['channels']} "
            f"channels; {remedy}"
        )
    labels = distinct(body["labels"])
    return ModelCard.from_json({**body, "schema_version": 1, "labels": labels})


def load_json(path: Path) -> ModelCard:
    """The card in a JSON file. Raises SetupError: it cannot be read, is not JSON, or is wrong."""
    try:
        return ModelCard.from_json(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise SetupError(f"cannot read the card {path}: {error.strerror}") from error
    except ValueError as error:
        raise SetupError(f"{path} is not JSON: {error}") from error


def check_hash(path: str | os.PathLike[str], card: ModelCard) -> None:
    """Compare the flatbuffer's hash with the card's: when an image is built, not at each start.

    Raises SetupError: they differ.
    """
    import hashlib

    with open(path, "rb") as file:  # noqa: PTH123
        model_bytes, _ = read(file)
        file.seek(0)
        digest = hashlib.sha256(file.read(model_bytes)).hexdigest()
    if card.model_sha256 not in (None, digest):
        raise SetupError(f"{path} was altered: its hash is not the one in its card")
