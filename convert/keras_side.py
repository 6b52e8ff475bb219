"""The Keras side: what runs in the sandbox with the user's model. JSON and arrays come out."""

from __future__ import annotations

import resource
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from classifier.card import PRESETS, SCHEMA_VERSION, Affine, ModelCard, distinct
from convert import digest, flatbuffer, keras_model, reference, sandbox, stages, terminal
from convert.errors import ConvertError
from convert.keras_model import OTHER, SIGMOID, SOFTMAX, KerasModel, Wanted
from convert.quantization import QUANTIZATIONS

LOAD_WITHIN_S = 600
# Layers that scale pixels inside the network: whoever names a scaling as well has it done twice.
SCALING_LAYERS = ("Rescaling", "Normalization")


def run(
    *,
    model: str,
    wanted: dict[str, Any],
    outline: dict[str, Any],
    photos: Sequence[str],
    folder: str,
    quantizations: Sequence[str] = (),
    io: str = "float32",
) -> dict[str, Any]:
    """Load a model, answer the photos as Keras does, and build the flatbuffers that are asked for.

    Args:
        model: the file or folder.
        wanted: the fields of `keras_model.Wanted`.
        outline: the card's name, labels, preprocessing and provenance, as JSON.
        photos: what is answered; also calibrates int8.
        folder: gets NAME.tflite for each quantization, and keras.npz: logits, float32 (read,
            classes); read, bool (photos,); parts, float32 (read, 3), see `stages`; pictures, uint8
            (read, height, width, channels), resized.
        quantizations: names of QUANTIZATIONS. With several, one that fails leaves the others.
        io: the dtype of an int8 model's input and output.

    Returns:
        The card, as JSON, and facts about the model and the run.
    """
    begin = time.perf_counter()
    terminal.step("loading the model")
    with sandbox.within(LOAD_WITHIN_S):
        loaded = keras_model.load(Path(model), Wanted.from_json(wanted))
    seconds = {"load": time.perf_counter() - begin}
    loaded = _two_sided(loaded, outline, photos)
    card = _card(loaded, outline)
    notes = [*loaded.notes, *_doubts(loaded, card)]
    deep = 0
    graph = loaded.concrete()

    begin = time.perf_counter()
    terminal.step(f"asking Keras about {len(photos)} photos")
    tensors, logits, parts, pictures, read, keras_ms = [], [], [], [], [], []
    for photo in terminal.progress(photos):
        try:
            seen = reference.see(Path(photo), card)
        except OSError:  # Pillow's for what it cannot read
            read.append(False)
            continue
        read.append(True)
        deep += reference.sixteen_bits(Path(photo))
        start = time.perf_counter()
        logits.append(keras_model.predict(graph, seen.tensor))
        keras_ms.append((time.perf_counter() - start) * 1000)
        parts.append(stages.differences(Path(photo), seen, card))
        pictures.append(np.rint(seen.resized.clip(0, 255)).astype(np.uint8))
        if "int8" in quantizations:  # the others are not calibrated
            tensors.append(seen.tensor)
    if deep:
        notes.append(_sixteen_bits(deep, card))
    if not logits:
        raise ConvertError("none of the samples could be read")
    rows = np.stack(logits)
    if not np.isfinite(rows).all():
        raise ConvertError(f"{model} answers with NaN or infinity; was it trained to the end?")
    card = replace(card, output=output_kind(loaded.ending, rows))
    np.savez(
        Path(folder) / "keras.npz",
        logits=rows,
        read=read,
        parts=np.array(parts, np.float32),
        pictures=np.stack(pictures),
    )
    seconds["answers"] = time.perf_counter() - begin

    failed = {}
    for name in quantizations:
        begin = time.perf_counter()
        terminal.step(f"converting: {name} ({QUANTIZATIONS[name].meaning})")
        try:
            data = flatbuffer.build(graph, name, tensors, loaded.layers, io)
        except ConvertError as error:
            if len(quantizations) == 1:
                raise
            failed[name] = str(error)
            continue
        (Path(folder) / f"{name}.tflite").write_bytes(data)
        seconds[name] = time.perf_counter() - begin
    return {
        "card": card.to_json(),
        "kind": loaded.kind,
        "written_by": loaded.written_by,
        "loaded_by": loaded.loaded_by,
        "parameters": loaded.parameters,
        "notes": notes,
        "failed": failed,
        "io": io,
        "keras_ms": float(np.median(keras_ms)),
        "seconds": {key: round(value, 2) for key, value in seconds.items()},
        # Kilobytes on Linux (getrusage(2)).
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000,
    }


def _two_sided(model: KerasModel, outline: dict[str, Any], photos: Sequence[str]) -> KerasModel:
    """A model of one output as one of two."""
    if model.classes != 1:
        return model
    if len(outline["labels"]) != 2:
        raise ConvertError(
            f"{model.path} has one output, which tells two classes apart: give two labels, first "
            f"the one that it answers with 0, not {len(outline['labels'])}"
        )
    if model.ending is None:
        graph, values = model.concrete(), []
        card = _card(replace(model, classes=2), outline)
        for photo in photos[:32]:
            try:
                values.append(keras_model.predict(graph, reference.see(Path(photo), card).tensor))
            except OSError:
                continue
        within = values and all(value.min() >= 0 and value.max() <= 1 for value in values)
        model = replace(model, ending=SIGMOID if within else OTHER)
    return keras_model.of_two_classes(model)


def _card(model: KerasModel, outline: dict[str, Any]) -> ModelCard:
    """The outline, completed with what the model knows."""
    if len(outline["labels"]) != model.classes:
        raise ConvertError(
            f"there are {len(outline['labels'])} labels, the model has {model.classes} outputs: "
            "give one label for each output, in the output's order"
        )
    body = {
        "schema_version": SCHEMA_VERSION,
        "output": "logits",  # until answers have been seen
        "name": outline["name"],
        "preprocessing": outline["preprocessing"],
        "labels": list(distinct(outline["labels"])),
        "height": model.height,
        "width": model.width,
        "channels": model.channels,
        "provenance": {
            **outline.get("provenance", {}),
            "source_file": model.path.name,
            "source_kind": model.kind,
            "source_sha256": digest.of(model.path),
            "written_by": model.written_by
            and f"{'tensorflow' if model.kind == 'saved_model' else 'keras'} {model.written_by}",
            "loaded_by": model.loaded_by,
            "keras_version": keras.__version__,
            "tensorflow_version": tf.__version__,
        },
    }
    return ModelCard.from_json(body)


def _doubts(model: KerasModel, card: ModelCard) -> list[str]:
    """What the user should look at again."""
    inside = [
        type(layer).__name__
        for layer in getattr(model.anchor, "layers", ())
        if type(layer).__name__ in SCALING_LAYERS
    ]
    scaling = card.preprocessing.scaling
    if inside and (isinstance(scaling, Affine) or PRESETS[scaling] != "raw"):
        return [
            f"the model scales pixels itself ({inside[0]}), and --preprocess does so before it: "
            "if that was not so in training, say --preprocess raw"
        ]
    return []


def _sixteen_bits(count: int, card: ModelCard) -> str:
    if card.preprocessing.interpolation.startswith("tf:"):
        return (
            f"{count} samples have 16 bits: read as image_dataset_from_directory does, by their "
            "high byte, 0..255"
        )
    values = "as 0..65535" if card.channels == 1 else "with all above 255 clipped to white"
    return (
        f"{count} samples have 16 bits: read as load_img does, {values}; if the model was trained "
        "by image_dataset_from_directory, which takes the high byte, give --interpolation "
        "tf:bilinear"
    )


def output_kind(ending: str | None, rows: np.ndarray) -> str:
    """Whether scores, float32 (samples, classes), are probabilities or logits.

    They are probabilities behind a softmax or sigmoid; and where the ending is not known, or is an
    operation without a name, if none is negative and each row's sum is 1.
    """
    sums = bool((rows >= 0).all() and np.allclose(rows.sum(axis=1), 1, atol=1e-3))
    return "probabilities" if ending in (SOFTMAX, SIGMOID) or sums else "logits"
