"""The Keras side: what runs in the sandbox with the user's model. JSON and arrays come out."""

from __future__ import annotations

import contextlib
import functools
import math
import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_to_lambda.class_folders import ClassFolders
from keras_to_lambda.cli import progress
from keras_to_lambda.convert.common.conversion_errors import ConvertError
from keras_to_lambda.convert.common.scaling import for_channels
from keras_to_lambda.convert.detection.sample_orientation import Flagged
from keras_to_lambda.convert.inspection import foreign
from keras_to_lambda.convert.network import keras_model, operators, outputs, own_scaling
from keras_to_lambda.convert.network.keras_model import KerasModel, Wanted
from keras_to_lambda.convert.network.own_scaling import OwnScaling
from keras_to_lambda.convert.quantize import flatbuffer, pixel_front
from keras_to_lambda.convert.quantize.quantization import QUANTIZATIONS
from keras_to_lambda.convert.sandbox import sandbox
from keras_to_lambda.convert.verification import keras_preprocessing, pipeline_diff
from keras_to_lambda.convert.verification.accuracy import better
from keras_to_lambda.runtime.model_file.card import Affine, ModelCard, distinct

LOAD_WITHIN_S = 600
TWO_SIDED = math.log(2)  # for `better`: either way may be the more accurate
Answer = Callable[[np.ndarray], np.ndarray]


def run(
    *,
    model: str,
    wanted: dict[str, Any],
    outline: dict[str, Any],
    photos: Sequence[str],
    folder: str,
    quantizations: Sequence[str] = (),
    output: str | None = None,
    accept_scaling: bool = False,
    exif_open: bool = False,
) -> dict[str, Any]:
    """Load a model, answer the photos as Keras does, and build the wanted flatbuffers.

    Args:
        wanted: the fields of `keras_model.Wanted`.
        outline: the card's name, labels, preprocessing and provenance, as JSON.
        photos: also calibrate int8.
        folder: gets NAME.tflite for each quantization, and keras.npz: logits, float32 (read,
            classes); read, bool (photos,); parts, float32 (read, 2), see `pipeline_diff`; pictures,
            uint8 (read, height, width, channels), resized.
        quantizations: names of QUANTIZATIONS. With several, one that fails leaves the others.
        output: one of `outputs.CHOICES`; None: the evidence decides.
        accept_scaling: whether a scaling may precede a network that scales pixels itself.
        exif_open: whether samples may show another `exif` than the outline's.

    Returns:
        The network's card, as JSON; `pixels`, the type in which the flatbuffers take pixels (None:
        of a `.tflite`, which gets no front); and facts about the model and the run.
    """
    progress.step("loading the model")
    with sandbox.within(LOAD_WITHIN_S):
        if foreign.is_one(Path(model)):
            loaded = foreign.load(Path(model))
        else:
            loaded = keras_model.load(Path(model), Wanted(**wanted))
    card, graph = _card(loaded, outline), loaded.concrete()
    scaling = None
    if loaded.flatbuffer:
        foreign.check(loaded, card)
        ending = outputs.Ending.of_tflite(loaded.path)
    else:
        found, graph_def = operators.of_graph(graph)
        image = graph.inputs[0].name.partition(":")[0]
        ending = outputs.Ending.of(found)
        scaling = own_scaling.find(found, graph_def, image, tuple(graph.inputs[0].shape))

    answer = functools.partial(keras_model.predict, graph)
    flagged = _flagged(photos, card, answer)
    if exif_open and flagged.fits:
        card = replace(card, preprocessing=replace(card.preprocessing, exif=flagged.fits))
    progress.step(f"running {loaded.loaded_by} on {len(photos)} photos")
    kept: list[Path] = []
    tensors, logits, parts, pictures, keras_ms, deep = [], [], [], [], [], 0
    for photo in progress.progress([Path(photo) for photo in photos]):
        try:
            seen = keras_preprocessing.see(photo, card)
        except OSError:  # Pillow's for what it cannot read
            continue
        kept.append(photo)
        deep += keras_preprocessing.sixteen_bits(photo)
        start = time.perf_counter()
        logits.append(answer(seen.tensor))
        keras_ms.append((time.perf_counter() - start) * 1000)
        parts.append(pipeline_diff.differences(photo, seen, card))
        pictures.append(np.rint(seen.resized.clip(0, 255)).astype(np.uint8))
        if "int8" in quantizations:  # the others are not calibrated
            tensors.append(seen.tensor)
    if not logits:
        raise ConvertError("none of the samples could be read")
    rows = np.stack(logits)
    if not np.isfinite(rows).all():
        raise ConvertError(f"{model} answers with NaN or infinity; was it trained to the end?")
    kind = outputs.decide(ending, rows, output)
    provenance = {**card.provenance, "outputs": kind.note}
    if output:  # for k2l verify
        provenance["output_option"] = output
    card = replace(card, output=kind.output, activation=kind.activation, provenance=provenance)
    notes = [*loaded.notes, f"outputs: {kind.note}", *([kind.doubt] if kind.doubt else [])]
    notes += flagged.note(card.preprocessing.exif, chosen_here=exif_open)
    if deep:
        notes.append(
            f"{deep} samples have 16 bits: read as by load_img, or with tf:bilinear as by "
            "image_dataset_from_directory; give the --interpolation of the training"
        )
    if scaling is not None and own_scaling.scales(card.preprocessing):
        notes.append(_scaled_twice(scaling, accept_scaling))
    if loaded.classes == 1:
        sigmoid = kind.output == "probabilities"
        loaded = keras_model.of_two_classes(loaded, sigmoid=sigmoid)
        notes.append(loaded.notes[-1])
        first = 1 - rows if sigmoid else np.zeros_like(rows)
        rows, graph = np.concatenate([first, rows], axis=1), loaded.concrete()
    np.savez(
        Path(folder) / "keras.npz",
        logits=rows,
        read=np.isin(photos, [str(photo) for photo in kept]),
        parts=np.array(parts, np.float32),
        pictures=np.stack(pictures),
    )

    dtype = pixel_front.dtype_of(card, deep=deep > 0)
    failed = {}
    for name in quantizations:
        if not loaded.flatbuffer:
            progress.step(f"converting: {name} ({QUANTIZATIONS[name].meaning})")
        try:
            data = loaded.flatbuffer or pixel_front.attach(
                flatbuffer.build(graph, name, tensors, loaded.layers), card, dtype
            )
            (Path(folder) / f"{name}.tflite").write_bytes(data)
        except ConvertError as error:
            if len(quantizations) == 1:
                raise
            failed[name] = str(error)
    return {
        "card": card.to_json(),
        "pixels": None if loaded.flatbuffer else dtype,
        "kind": loaded.kind,
        "written_by": loaded.written_by,
        "loaded_by": loaded.loaded_by,
        "parameters": loaded.parameters,
        "notes": notes,
        "flagged": asdict(flagged),
        "failed": failed,
        "keras_ms": float(np.median(keras_ms)),
        # Kilobytes on Linux (getrusage(2)).
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000,
    }


def _scaled_twice(scaling: OwnScaling, accepted: bool) -> str:
    """A sentence on a network that scales pixels itself, with a scaling before it."""
    both = f"the network scales pixels itself ({scaling}), and --preprocess does so before it"
    if not scaling.for_bytes:
        return f"{both}: use --preprocess raw if training did not scale twice"
    if accepted:
        return f"{both}: accepted by --accept-scaling"
    raise ConvertError(
        f"{both}: such pixels would be scaled twice. The model already scales pixels; use "
        "--preprocess raw, or --accept-scaling if training scaled twice"
    )


def _card(model: KerasModel, outline: dict[str, Any]) -> ModelCard:
    """The outline, completed with the facts about the model."""
    if model.classes == 1 and len(outline["labels"]) != 2:
        raise ConvertError(
            f"{model.path} has one output, for two classes: give two labels, first the one that "
            f"it answers with 0, not {len(outline['labels'])}. A network that gives a number (an "
            "age, a price) is not an image classifier"
        )
    if len(outline["labels"]) != max(model.classes, 2):
        raise ConvertError(
            f"there are {len(outline['labels'])} labels, {model.path.name} has {model.classes} "
            "outputs: give one label for each output, in the output's order"
        )
    steps = outline["preprocessing"]
    if isinstance(steps["scaling"], dict):
        scaling = for_channels(Affine(**steps["scaling"]), model.channels)
        steps = {**steps, "scaling": asdict(scaling)}
    body = {
        "schema_version": 1,  # with the scaling, also where it is none
        "output": "logits",  # until answers have been seen
        "name": outline["name"],
        "preprocessing": steps,
        "labels": list(distinct(outline["labels"])),
        "height": model.height,
        "width": model.width,
        "channels": model.channels,
        "dtype": model.dtype,
        "provenance": {
            **outline.get("provenance", {}),
            "source_file": model.path.name,
            "source_kind": model.kind,
            "source_sha256": model.sha256,
            "written_by": model.written_by
            and f"{'tensorflow' if model.kind == 'saved_model' else 'keras'} {model.written_by}",
            "loaded_by": model.loaded_by,
            "keras_version": keras.__version__,
            "tensorflow_version": tf.__version__,
        },
    }
    return replace(ModelCard.from_json(body), schema_version=outline["schema_version"])


def _flagged(photos: Sequence[str], card: ModelCard, answer: Answer) -> Flagged:
    """The samples with an orientation flag, answered with it applied and with it ignored."""
    paths = [Path(photo) for photo in photos]
    flagged = []
    for path, label in zip(paths, ClassFolders(card.labels).truth(paths), strict=True):
        with contextlib.suppress(OSError):  # not readable: counted among the skipped ones
            if keras_preprocessing.orientation(path) != 1:
                flagged.append((path, label))
    known = [path for path, label in flagged if label is not None]
    labels = [label for _, label in flagged if label is not None]
    applied, ignored = (_right(known, labels, answer, card, exif) for exif in ("apply", "ignore"))
    return Flagged(
        samples=len(flagged),
        judged=len(known),
        apply=int(applied.sum()),
        ignore=int(ignored.sum()),
        fits="ignore" * better(applied, ignored, TWO_SIDED)
        or "apply" * better(ignored, applied, TWO_SIDED),
    )


def _right(
    photos: Sequence[Path], labels: Sequence[int], answer: Answer, card: ModelCard, exif: str
) -> np.ndarray:
    """Whether each photo's first label is the right one."""
    card = replace(card, preprocessing=replace(card.preprocessing, exif=exif))
    rows = [answer(keras_preprocessing.see(photo, card).tensor) for photo in photos]
    return np.asarray(_first(np.stack(rows)) == labels) if rows else np.zeros(0, bool)


def _first(rows: np.ndarray) -> np.ndarray:
    """The label with the highest score; of one output, the second label above its middle."""
    if rows.shape[1] > 1:
        return np.asarray(rows.argmax(axis=1))
    middle = 0.5 if ((rows >= 0) & (rows <= 1)).all() else 0.0
    return (rows[:, 0] > middle).astype(int)
