"""The engine: LiteRT by its C API gives what its own Python class gives, and says why it cannot."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from keras_to_lambda.runtime.common.errors import SetupError
from keras_to_lambda.runtime.common.settings import MODELS
from keras_to_lambda.runtime.model import engine, litert
from keras_to_lambda.runtime.model.engine import EngineError, Tensor
from tests.small_tflite import network

pytestmark = pytest.mark.engine

interpreter = pytest.importorskip("ai_edge_litert.interpreter", reason="no ai-edge-litert here")

ROOT = Path(__file__).resolve().parents[2]
CLOTHING = f"{MODELS}/clothing/clothing.tflite"
TREE = f"{MODELS}/digits-tree/digits-tree.tflite"


@pytest.fixture
def saved(tmp_path):
    """A file with these bytes."""

    def save(content):
        path = tmp_path / "network.tflite"
        path.write_bytes(content)
        return str(path)

    return save


def expected(path, tensors):
    """What LiteRT's own class answers."""
    theirs = interpreter.Interpreter(model_path=path, num_threads=1)
    index = theirs.get_input_details()[0]["index"]
    theirs.resize_tensor_input(index, tensors.shape)
    theirs.allocate_tensors()
    theirs.set_tensor(index, tensors)
    theirs.invoke()
    return theirs.get_tensor(theirs.get_output_details()[0]["index"])


@pytest.mark.parametrize("dtype", ["float32", "uint8", "int8"])
def test_images_alone_and_together_get_the_answers_of_litert_s_own_class(saved, dtype):
    path = saved(network(dtype))
    ours = engine.load(path, 1)
    codes = np.random.default_rng(1).integers(0, 100, (5, 8, 8, 3)).astype(dtype)
    for images in (codes[:1], codes, codes[:2], codes[1:2]):
        answers = np.frombuffer(ours(images, len(images)), dtype).reshape(len(images), 3)
        np.testing.assert_array_equal(answers, expected(path, images))
    theirs = interpreter.Interpreter(model_path=path)
    described = (*theirs.get_input_details(), *theirs.get_output_details())
    for one, other in zip((*ours.inputs, *ours.outputs), map(Tensor.of, described), strict=True):
        assert (one.shape, one.dtype) == (other.shape, other.dtype)
        assert (one.scale, one.zero_point) == (other.scale, other.zero_point)


def test_a_batch_that_a_graph_does_not_take_is_refused_in_litert_s_words_and_one_image_is_not():
    tree = engine.load(TREE, 1)
    one = np.zeros((1, 28, 28, 1), np.uint8)
    before = tree(one)
    with pytest.raises(EngineError, match=r"Node number \d+ \(GATHER\) failed to prepare"):
        tree(np.zeros((3, 28, 28, 1), np.uint8), 3)
    assert tree(one) == before


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"\x1c\0\0\0TFL3" + bytes(64), "schema version 0 not equal to supported version 3"),
        (Path(CLOTHING).read_bytes()[:100_000], "not a valid flatbuffer"),
    ],
    ids=["version", "cut"],
)
def test_a_file_that_is_no_model_is_refused_with_the_reason(saved, content, reason):
    with pytest.raises(EngineError, match=reason):
        engine.load(saved(content), 1)


LOADS = """
import sys
from keras_to_lambda.runtime.model import engine, litert
litert.ERROR = int(sys.argv[1])
for path in sys.argv[2:]:
    try:
        engine.load(path, 1)(bytes(160 * 160 * 3))
    except engine.EngineError as error:
        print(error)
"""


def test_nothing_is_written_to_standard_error_and_no_accelerator_is_looked_for(saved):
    bad = saved(b"\x1c\0\0\0TFL3" + bytes(64))
    for severity in ("3", "0"):  # 0: LiteRT reports all that it does
        done = subprocess.run(
            [sys.executable, "-c", LOADS, severity, CLOTHING, bad],
            capture_output=True, text=True, check=True, cwd=ROOT,
        )  # fmt: skip
        assert "schema version 0" in done.stdout
        assert ("XNNPACK CPU accelerator registered" in done.stderr) == (severity == "0")
        assert severity == "0" or done.stderr == ""
        assert "GPU" not in done.stderr
        assert "NPU" not in done.stderr


@pytest.mark.parametrize("in_memory", [True, False])
@pytest.mark.parametrize(
    ("written", "kept", "words"),
    [
        (b"INFO: [b.cc:1] loading\nmine\nERROR: [a.cc:7] no such op\n", b"mine\n", "no such op"),
        (b"a long line\n" * 20_000, ..., ""),  # more than a pipe holds
        (b"ERROR: my own line\nINFO: another\nWARNING: [mine] a third\n", ..., ""),
        (b"not UTF-8: \xff\n", ..., ""),
    ],
    ids=["LiteRT's", "long", "others'", "bytes"],
)
def test_what_another_thread_writes_while_a_model_loads_is_kept(
    capfdbinary, monkeypatch, in_memory, written, kept, words
):
    if not in_memory:
        monkeypatch.delattr(os, "memfd_create")
    with litert.Quiet() as quiet:
        for at in range(0, len(written), 4000):
            os.write(2, written[at : at + 4000])
    assert capfdbinary.readouterr().err == (written if kept is ... else kept)
    assert quiet.words == words


def test_another_version_of_the_library_and_structures_of_another_size_are_refused(monkeypatch):
    for found in ("2.2.1", "3.0.0", ""):
        monkeypatch.setattr(litert, "version", lambda _, found=found: found)
        with pytest.raises(SetupError, match=r"is not supported; install 2\.3\.x"):
            litert.Library(litert.folder())
    monkeypatch.setitem(litert.SIZES, litert.TensorLayout, 72)
    with pytest.raises(SetupError, match="another size here: TensorLayout"):
        litert.Library(litert.folder())


def test_models_that_come_and_go_leave_nothing_behind():
    def state():
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        mapped = Path("/proc/self/maps").read_text().count("clothing.tflite")
        files = len(list(Path("/proc/self/fd").iterdir()))
        return files, mapped, pages * os.sysconf("SC_PAGE_SIZE")

    image = np.zeros((2, 160, 160, 3), np.uint8)

    def use():
        for _ in range(10):
            loaded = engine.load(CLOTHING, 1)
            loaded(image[:1])
            loaded(image, 2)

    use()
    before = state()
    use()
    after = state()
    # Sockets of other tests may still close.
    assert after[0] <= before[0]
    assert after[1] == before[1]
    # Ten models take 150 MB; what the C library keeps for the next one varies by one model.
    assert after[2] - before[2] < 50_000_000
