"""Standard metadata: written so that others read it, and the network behind it is untouched."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from keras_to_lambda.convert.common import source_card
from keras_to_lambda.convert.common.conversion_errors import ConvertError
from keras_to_lambda.convert.quantize import metadata_writer
from keras_to_lambda.convert.quantize.flatbuffer import _integer_weights
from keras_to_lambda.runtime.image.decode import decode
from keras_to_lambda.runtime.image.preprocess import prepare
from keras_to_lambda.runtime.model.interpreter import Classifier
from keras_to_lambda.runtime.model_file import card as cards
from keras_to_lambda.runtime.model_file import tflite_metadata as reading
from keras_to_lambda.runtime.model_file.card import Affine, Preprocessing
from tests.convert.test_pixel_front import alignments

ROOT = Path(__file__).parents[2]
CLOTHING = ROOT / "models" / "clothing" / "clothing.tflite"


@pytest.fixture(scope="module")
def clothing():
    """The project's own network, without what stands in front of it, and its card."""
    with CLOTHING.open("rb") as file:
        size, card = cards.read(file)
    whole = CLOTHING.read_bytes()[:size]
    return whole[whole.rindex(b"TFL3") - 4 :], source_card.network(card)


@pytest.fixture(scope="module")
def python():
    """An interpreter with MediaPipe, which is too large for ours (OpenCV, matplotlib)."""
    path = Path(os.environ.get("MEDIAPIPE_PYTHON", ROOT / ".venv-mediapipe" / "bin" / "python"))
    if not path.exists():
        pytest.skip("no MediaPipe here: MEDIAPIPE_PYTHON or .venv-mediapipe")

    def run(program, *arguments):
        done = subprocess.run(
            [path, "-c", program, *map(str, arguments)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


def answer(flatbuffer):
    interpreter = Interpreter(model_content=flatbuffer)
    interpreter.allocate_tensors()
    (source,), (target,) = interpreter.get_input_details(), interpreter.get_output_details()
    image = np.random.default_rng(4).uniform(-1, 1, source["shape"]).astype(np.float32)
    interpreter.set_tensor(source["index"], image)
    interpreter.invoke()
    return interpreter.get_tensor(target["index"]).tobytes()


def test_weights_behind_the_flatbuffer_are_still_found(clothing):
    """As ai-edge-quantizer writes them."""
    flatbuffer, card = clothing
    outside = _integer_weights(flatbuffer)
    buffers = schema.ModelT.InitFromPackedBuf(outside, 0).buffers
    assert max(buffer.offset for buffer in buffers) > 1
    described = metadata_writer.attach(outside, card)
    assert len(described) > len(outside)
    assert answer(described) == answer(outside)
    assert answer(cards.join(described, card)) == answer(outside)


def test_weights_stay_aligned_as_they_were(clothing):
    flatbuffer, card = clothing
    described = metadata_writer.attach(flatbuffer, card)
    assert described.rstrip(b"\0").endswith(flatbuffer.rstrip(b"\0"))
    before, after = alignments(flatbuffer), alignments(described)
    assert after[:-1] == before
    assert after[-1] % 16 == 0
    assert 0 < len(described) - len(flatbuffer) < 4096


def test_what_was_in_the_model_is_still_in_it_and_attaching_again_replaces(clothing):
    flatbuffer, card = clothing
    described = metadata_writer.attach(flatbuffer, card)
    twice = metadata_writer.attach(described, replace(card, name="other"))
    one, two, three = (
        schema.ModelT.InitFromPackedBuf(x, 0) for x in (flatbuffer, described, twice)
    )
    assert (two.version, two.description) == (one.version, one.description)
    names = [[entry.name for entry in model.metadata] for model in (one, two, three)]
    assert names[1] == names[2] == [*names[0], b"TFLITE_METADATA"]
    assert len(two.buffers) == len(one.buffers) + 1
    keys = [[signature.signatureKey for signature in x.signatureDefs] for x in (one, two)]
    assert keys[0] == keys[1]
    assert [t.name for t in two.subgraphs[0].tensors] == [t.name for t in one.subgraphs[0].tensors]
    assert answer(twice) == answer(flatbuffer)


@pytest.mark.parametrize(
    ("scaling", "scale", "offset"),
    [
        ("mobilenet", (1 / 127.5,) * 3, (-1.0,) * 3),
        ("rescale", (1 / 255,) * 3, (0.0,) * 3),
        ("raw", (1.0,) * 3, (0.0,) * 3),
        (
            "densenet",
            (0.0171247538, 0.0175070028, 0.0174291939),
            (-2.11790393, -2.03571429, -1.80444444),
        ),
        (Affine((2, 0.5, 1), (-1, 0, 3)), (2, 0.5, 1), (-1, 0, 3)),
    ],
    ids=str,
)
def test_every_scaling_in_rgb_order_comes_back(scaling, scale, offset, clothing, tmp_path):
    flatbuffer, card = clothing
    card = replace(card, preprocessing=Preprocessing(scaling=scaling))
    path = tmp_path / "net.tflite"
    path.write_bytes(cards.join(metadata_writer.attach(flatbuffer, card), card))
    found = reading.read(path)
    read = found["preprocessing"]["scaling"]
    np.testing.assert_allclose(read["scale"], scale, rtol=1e-6)
    np.testing.assert_allclose(read["offset"], offset, rtol=1e-6, atol=1e-7)
    assert tuple(found["labels"]) == card.labels


@pytest.mark.parametrize(
    "change",
    [
        {"preprocessing": Preprocessing(scaling="vgg16")},
        {"preprocessing": Preprocessing(color_order="bgr")},
        {"preprocessing": Preprocessing(scaling=Affine((1, 0, 1), (0, 0, 0)))},
    ],
    ids=["caffe", "bgr", "by 0"],
)
def test_what_the_standard_cannot_say_is_left_unsaid(change, clothing):
    flatbuffer, card = clothing
    card = replace(card, **change)
    assert metadata_writer.objection(card).startswith("standard metadata has no word for ")
    assert metadata_writer.attach(flatbuffer, card) == flatbuffer


@pytest.mark.parametrize("size", [0, 7, 100])
def test_a_damaged_flatbuffer_is_our_error(size, clothing):
    with pytest.raises(ConvertError):
        metadata_writer.attach(clothing[0][:size], clothing[1])


CLASSIFY = """
import json, sys
import mediapipe as mp
from mediapipe.tasks.python import BaseOptions, vision
options = vision.ImageClassifierOptions(
    base_options=BaseOptions(model_asset_path=sys.argv[1]), max_results=1
)
with vision.ImageClassifier.create_from_options(options) as classifier:
    results = [classifier.classify(mp.Image.create_from_file(name)) for name in sys.argv[2:]]
print(json.dumps([r.classifications[0].categories[0].category_name for r in results]))
"""


@pytest.fixture(scope="module")
def as_others(clothing, tmp_path_factory):
    """The project's network as other programs have them: floats, scaled as its metadata says."""
    flatbuffer, card = clothing
    path = tmp_path_factory.mktemp("floats") / "clothing.tflite"
    path.write_bytes(cards.join(metadata_writer.attach(flatbuffer, card), card))
    return path


@pytest.mark.parametrize("pixels", [True, False], ids=["pixels", "floats"])
def test_mediapipe_classifies_with_the_file_unchanged(pixels, as_others, python):
    path = CLOTHING if pixels else as_others
    ours = Classifier(path)
    photos = sorted((ROOT / "samples").glob("*.jpg"))
    tops = []
    for photo in photos:
        image = decode(photo.read_bytes(), ours.card.preprocessing, 3, 10**8)
        tops.append(ours.card.labels[np.argmax(ours.logits(prepare(image, ours.card)))])
    assert len(tops) == 6
    assert python(CLASSIFY, path, *photos) == tops


# What other programs write: the generated classes of both schemas, the whole model packed again,
# and no card of ours.
WRITE = """
import sys, zipfile
import flatbuffers
from mediapipe.tasks.metadata import metadata_schema_py_generated as schema
from mediapipe.tasks.metadata import schema_py_generated as tflite
bare, path, *labels = sys.argv[1:]
options = schema.NormalizationOptionsT()
options.mean, options.std = [127.5], [127.5]
unit = schema.ProcessUnitT()
unit.optionsType, unit.options = schema.ProcessUnitOptions.NormalizationOptions, options
source, target = schema.TensorMetadataT(), schema.TensorMetadataT()
source.processUnits = [unit]
file = schema.AssociatedFileT()
file.name, file.type = "names.txt", schema.AssociatedFileType.TENSOR_AXIS_LABELS
target.associatedFiles = [file]
graph, about = schema.SubGraphMetadataT(), schema.ModelMetadataT()
graph.inputTensorMetadata, graph.outputTensorMetadata = [source], [target]
about.name, about.subgraphMetadata = "theirs", [graph]
builder = flatbuffers.Builder(0)
builder.Finish(about.Pack(builder), b"M001")
model = tflite.ModelT.InitFromPackedBuf(open(bare, "rb").read(), 0)
buffer, entry = tflite.BufferT(), tflite.MetadataT()
buffer.data = builder.Output()
entry.name, entry.buffer = "TFLITE_METADATA", len(model.buffers)
model.buffers.append(buffer)
model.metadata.append(entry)
builder = flatbuffers.Builder(0)
builder.Finish(model.Pack(builder), b"TFL3")
open(path, "wb").write(builder.Output())
with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
    archive.writestr("names.txt", "\\n".join(labels))
print("null")
"""


def test_a_file_that_the_schemas_own_classes_wrote_is_served_without_a_card(
    clothing, python, tmp_path
):
    flatbuffer, card = clothing
    (tmp_path / "bare.tflite").write_bytes(flatbuffer)
    path = tmp_path / "theirs.tflite"
    python(WRITE, tmp_path / "bare.tflite", path, *card.labels)
    found = Classifier(path).card
    assert (found.labels, found.output, found.dtype) == (card.labels, "logits", "float32")
    assert (found.height, found.width, found.channels) == (160, 160, 3)
    np.testing.assert_allclose(found.preprocessing.scaling.scale, (1 / 127.5,) * 3, rtol=1e-6)
    np.testing.assert_allclose(found.preprocessing.scaling.offset, (-1.0,) * 3, rtol=1e-6)
