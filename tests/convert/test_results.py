"""What comes back from the sandbox: arrays and JSON that an attacker may have written."""

from __future__ import annotations

import io
import os
import pickle
import zipfile

import numpy as np
import pytest

from keras_to_lambda.convert.common.conversion_errors import ConvertError
from keras_to_lambda.convert.sandbox import untrusted_results


def npy(values):
    buffer = io.BytesIO()
    np.save(buffer, values)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "values",
    [
        np.arange(6, dtype=np.float32).reshape(2, 3),
        np.asfortranarray(np.arange(6, dtype=np.uint8).reshape(2, 3)),
        np.array([True, False]),
        np.zeros((0, 4), np.float32),
        np.float32(3),
    ],
)
def test_an_array_comes_back_as_it_was_saved(values):
    found = untrusted_results.array(npy(values))
    assert found.dtype == values.dtype
    assert found.tolist() == values.tolist()
    if found.size:
        found[...] = 0  # it can be written to


WHOLE = npy(np.zeros((2, 3), np.float32))


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"PK\3\4 something else", id="another kind"),
        pytest.param(WHOLE[:-1], id="cut short"),
        pytest.param(WHOLE + b"x", id="something behind"),
        pytest.param(WHOLE.replace(b"(2, 3)", b"(2, 9)"), id="a shape that is too large"),
        pytest.param(WHOLE.replace(b"(2, 3)", b"(-2,-3)"[:6]), id="a negative shape"),
        pytest.param(WHOLE.replace(b"'<f4'", b"'|O' "), id="objects"),
        pytest.param(WHOLE.replace(b"{'descr'", b"{{{{{{{{"), id="a header that is no header"),
        pytest.param(pickle.dumps([1, 2]), id="a pickle"),
        pytest.param(npy(np.array([{}], object)), id="pickled objects"),
    ],
)
def test_what_is_no_such_array_is_a_sentence(data):
    with pytest.raises(ConvertError, match="invalid array from the model process: damaged"):
        untrusted_results.array(data)


def test_arrays_of_savez_come_back(tmp_path):
    np.savez(tmp_path / "x.npz", a=np.arange(3), b=np.ones((2, 2), np.float32))
    found = untrusted_results.arrays(tmp_path / "x.npz")
    assert {name: array.tolist() for name, array in found.items()} == {
        "a": [0, 1, 2],
        "b": [[1.0, 1.0], [1.0, 1.0]],
    }


def packed(path):
    np.savez_compressed(path, a=np.zeros(10_000_000, np.uint8))


def objects(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.npy", npy(np.array([{}], object)))


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (packed, "x.npz from the model process: larger than its file"),
        (objects, "invalid array from the model process: damaged"),
        (lambda path: path.write_bytes(b"PK"), "x.npz from the model process: missing or damaged"),
        (lambda path: None, "x.npz from the model process: missing or damaged"),
    ],
    ids=["a bomb", "pickled objects", "no archive", "nothing"],
)
def test_an_archive_that_is_none_is_a_sentence(write, words, tmp_path):
    write(tmp_path / "x.npz")
    with pytest.raises(ConvertError, match=words):
        untrusted_results.arrays(tmp_path / "x.npz")


@pytest.mark.parametrize(
    "found",
    [
        None,
        np.zeros((3, 2), np.float64),
        np.zeros((3, 2, 1), np.float32),
        np.zeros((4, 2), np.float32),
        np.zeros((0, 2), np.float32),
    ],
    ids=["nothing", "another type", "another rank", "more rows", "no rows"],
)
def test_another_array_than_was_asked_for_is_a_sentence(found):
    assert untrusted_results.shaped(np.ones((3, 7), np.float32), np.float32, 3, None).sum() == 21
    with pytest.raises(ConvertError, match="from the model process: another type or shape"):
        untrusted_results.shaped(found, np.float32, 3, None)


@pytest.mark.parametrize("kind", ["symlink", "hardlink", "pipe", "folder"])
def test_what_is_no_plain_file_is_not_collected(kind, tmp_path):
    source, secret = tmp_path / "source", tmp_path / "secret"
    source.mkdir()
    secret.write_text("a secret", encoding="utf-8")
    planted = source / "planted"
    {
        "symlink": lambda: planted.symlink_to(secret),
        "hardlink": lambda: planted.hardlink_to(secret),
        "pipe": lambda: os.mkfifo(planted),
        "folder": planted.mkdir,
    }[kind]()
    (tmp_path / "into").mkdir()
    with pytest.raises(ConvertError, match="invalid result file from the model process: 'planted'"):
        untrusted_results.collect(source, tmp_path / "into")
    assert not list((tmp_path / "into").iterdir())


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (lambda path: path.symlink_to("/etc/passwd"), "invalid result file from .*: answer.json"),
        (os.mkfifo, "invalid result file from .*: answer.json"),
        (lambda path: path.write_bytes(b" " * (65 << 20)), "has more than 67108864 bytes"),
        (lambda path: path.write_bytes(b"[" * 1_000_000), "not JSON"),
        (lambda path: path.write_bytes(b"[]"), "not a JSON object"),
    ],
    ids=["a link", "a pipe", "large", "deep", "a list"],
)
def test_an_answer_that_is_none_is_a_sentence(write, words, tmp_path):
    write(tmp_path / "answer.json")
    with pytest.raises(ConvertError, match=words):
        untrusted_results.read_json(tmp_path / "answer.json")
