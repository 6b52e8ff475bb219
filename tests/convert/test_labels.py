"""Labels: one for each output, no two alike."""

from __future__ import annotations

import pytest

from classifier.card import distinct
from convert import labels
from convert.errors import ConvertError


def test_labels_that_stand_twice_get_their_index(tmp_path):
    path = tmp_path / "labels.txt"
    path.write_text("crane\nheron\ncrane\n", encoding="utf-8")
    assert distinct(labels.read(path)) == ("crane [0]", "heron", "crane [2]")


def test_imagenets_two_cranes_are_told_apart(shared_data):
    # 1001 outputs: the first is "background".
    path = shared_data / "models" / "mobilenet_v2_imagenet.labels.txt"
    names = distinct(labels.read(path))
    assert len(set(names)) == 1001
    twice = {index: name for index, name in enumerate(names) if "crane" in name}
    assert twice == {135: "crane [135]", 518: "crane [518]"}


def test_a_json_list_a_byte_order_mark_and_blank_lines_are_read(tmp_path):
    (tmp_path / "l.json").write_text('["hat", "t-shirt"]', encoding="utf-8")
    assert labels.read(tmp_path / "l.json") == ("hat", "t-shirt")
    (tmp_path / "l.txt").write_bytes(b"\xef\xbb\xbfhat\r\n\r\n t-shirt \r\n")
    assert labels.read(tmp_path / "l.txt") == ("hat", "t-shirt")


def test_teachable_machines_numbers_are_read_and_checked(tmp_path):
    path = tmp_path / "labels.txt"
    path.write_text("0 cat\n1 polar bear\n", encoding="utf-8")
    assert labels.read(path, numbered=True) == ("cat", "polar bear")
    assert labels.read(path) == ("0 cat", "1 polar bear")
    path.write_text("0 cat\n2 polar bear\n", encoding="utf-8")
    with pytest.raises(ConvertError, match="line 2 is '2 polar bear', not `1 LABEL`"):
        labels.read(path, numbered=True)
