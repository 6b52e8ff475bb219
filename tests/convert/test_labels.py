"""Labels: one for each output, in every form that people have, and never by guessing."""

from __future__ import annotations

import json

import pytest

from keras_to_lambda.cli import progress
from keras_to_lambda.convert.common import labels
from keras_to_lambda.convert.common.conversion_errors import ConvertError
from keras_to_lambda.runtime.model_file.card import distinct


@pytest.fixture
def write(tmp_path):
    def written(content, name="labels.txt"):
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return written


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("hat\nt-shirt\n", ("hat", "t-shirt")),
        (b"\xef\xbb\xbfhat\r\n\r\n t-shirt \r\n", ("hat", "t-shirt")),
        ("0\n1\n2\n", ("0", "1", "2")),
        ("Class 0\nClass 1\n", ("Class 0", "Class 1")),
        ("7 Up\n3 Musketeers\n", ("7 Up", "3 Musketeers")),
        ("1 dollar\n5 dollars\n10 dollars\n", ("1 dollar", "5 dollars", "10 dollars")),
        ("0-9 years\n10-19 years\n", ("0-9 years", "10-19 years")),
        ("tench, Tinca tinca\ngoldfish, Carassius auratus\n",
         ("tench, Tinca tinca", "goldfish, Carassius auratus")),
        ("none\nsome\n", ("none", "some")),
        # numbered
        ("0 Class 1\n1 Class 2\n", ("Class 1", "Class 2")),
        ("0: cat\n1: polar bear\n", ("cat", "polar bear")),
        ("1) dog\n0) cat\n", ("cat", "dog")),
        ("0:cat\n1:dog\n", ("cat", "dog")),
        ("0 - cat\n1 - dog\n", ("cat", "dog")),
        ("0=cat\n1=dog\n", ("cat", "dog")),
        ("dog: 1\ncat: 0\n", ("cat", "dog")),
        ("cat -> 0\ndog -> 1\n", ("cat", "dog")),
        ("class 0\nclass 1\n", ("class 0", "class 1")),
        ("0:30\n1:00\n", ("0:30", "1:00")),
        ("0,cat\n1,dog\n", ("cat", "dog")),
        ("cat,0\ndog,1\n", ("cat", "dog")),
        ('id,label\n1,"tench, Tinca"\n0,cat\n', ("cat", "tench, Tinca")),
        ("0\tcat\n1\tdog\n", ("cat", "dog")),
        ("name;index\ndog;1\ncat;0\n", ("cat", "dog")),
        # JSON, in a file of any name
        ('["hat", "t-shirt"]', ("hat", "t-shirt")),
        ("[0, 1, 2]", ("0", "1", "2")),
        ('["0 stars", "None"]', ("0 stars", "None")),
        ('{"NORMAL": 0, "PNEUMONIA": 1}', ("NORMAL", "PNEUMONIA")),
        ('{"b": "1", "a": "0"}', ("a", "b")),
        ('{"1": "dog", "0": "cat"}', ("cat", "dog")),
        ('{"0": 0, "1": 1}', ("0", "1")),
        ('{"0": ["n01440764", "tench"], "1": ["n11939491", "daisy"]}', ("tench", "daisy")),
        # Python's print
        ("{'cat': 0, 'dog': 1}", ("cat", "dog")),
        ("{0: 'tench, Tinca tinca',\n 1: 'goldfish'}", ("tench, Tinca tinca", "goldfish")),
        ("['cat', 'dog']", ("cat", "dog")),
    ],
)  # fmt: skip
def test_each_form_is_read(content, expected, write):
    assert labels.read(write(content)) == expected


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("1 cat\n2 dog\n", "2 labels with indices from 1 to 2, without 0"),
        ("cat: 1\ndog: 2\n", "2 labels with indices from 1 to 2, without 0"),
        ("0 cat\n2 dog\n", "2 labels with indices from 0 to 2, without 1"),
        ("0,cat\n0,dog\n", "several labels for the index 0"),
        ("0,cat,n02\n1,dog,n03\n", "rows of 3 columns, such as '0,cat,n02'; give two"),
        ("cat,dog,bird\n", "has one line, 'cat,dog,bird'; give one label per line"),
        ("0 stars\n1 star\n2 stars\n3 stars\n", "what follows repeats; give one label per line"),
        ("cat\nNone\n", "label 2 is 'None'; give one label per line, or a JSON list if"),
        ("cat\nnan\n", "label 2 is 'nan'"),
        ("{'id': 0, 'name': 'cat'}\n{'id': 1, 'name': 'dog'}\n", "is not a list or dictionary"),
        ('item {\n  id: 1\n  name: "cat"\n}\n', "label 1 is 'item {'"),
        ("'cat',\n'dog'\n", """label 1 is "'cat',"; give one label per line"""),
        ('{"0": "cat", "2": "dog"}', "indices from 0 to 2, without 1"),
        ('{"0": "cat", "0": "dog"}', "several labels for the index 0"),
        ('{"cat": 0, "dog": 0}', "several labels for the index 0"),
        ('{"0": 0, "1": 1, "10": 2, "2": 3}', "maps numbers to other numbers"),
        ('{"cat": 0.5, "dog": 1.5}', "holds \"{'cat': 0.5, 'dog': 1.5}\"; give a list of labels"),
        ('{"labels": ["cat", "dog"]}', "give a list of labels, or a dictionary"),
        ("{'id': 0, 'name': 'cat'}", "give a list of labels, or a dictionary"),
        ('["cat", null]', "give a list of labels"),
        ('["cat", ""]', "label 1 is ''; give text without"),
        ('["cat", "a\\nb"]', "label 1 is 'a\\nb'; give text without line breaks"),
        ("cat\n\x1b[2Jdog\n", r"label 1 is '\x1b[2Jdog'"),
        ("cat\ndog\n".encode("utf-16"), "is not UTF-8 text; save it as UTF-8"),
        ("[1, 2]]", "is not a list or dictionary"),
        ("[1, 2", "is not a list or dictionary"),
    ],
)
def test_what_is_not_clear_is_questioned(content, message, write):
    with pytest.raises(ConvertError) as error:
        labels.read(write(content))
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("content", "note"),
    [
        ("0 cat\n1 dog\n", "labels.txt is numbered; the numbers are not part of the labels"),
        ("a\nb\nb\n", "duplicate labels were numbered: b [1], b [2]"),
        ("a\nb\n", None),
    ],
)
def test_what_was_done_to_labels_is_noted(content, note, write, monkeypatch):
    notes = []
    monkeypatch.setattr(progress, "note", notes.append)
    labels.read(write(content))
    assert notes == ([note] if note else [])


def test_imagenets_two_cranes_are_distinguished(shared_data):
    # 1001 outputs: the first is "background".
    path = shared_data / "models" / "mobilenet_v2_imagenet.labels.txt"
    names = distinct(labels.read(path))
    assert len(set(names)) == 1001
    twice = {index: name for index, name in enumerate(names) if "crane" in name}
    assert twice == {135: "crane [135]", 518: "crane [518]"}


def test_imagenet_is_the_list_that_keras_keeps(tmp_path, monkeypatch):
    from pathlib import Path

    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    names = distinct(labels.read(Path("imagenet")))  # ours, where Keras has not been online
    assert (len(set(names)), names[2], names[999]) == (1000, "great_white_shark", "toilet_tissue")
    (tmp_path / "models").mkdir()
    index = {str(i): [f"n0144{i:04}", f"fish {i}"] for i in range(1000)}
    (tmp_path / "models" / "imagenet_class_index.json").write_text(json.dumps(index))
    assert labels.read(Path("imagenet"))[999] == "fish 999"


def test_teachable_machines_numbers_are_read_and_checked(write):
    assert labels.read(write("0 None\n1 polar bear\n"), numbered=True) == ("None", "polar bear")
    with pytest.raises(ConvertError, match="no lines `INDEX LABEL`, as Teachable Machine"):
        labels.read(write("cat\npolar bear\n"), numbered=True)
