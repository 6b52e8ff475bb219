"""The archive behind a flatbuffer: read as zipfile reads it, or refused."""

from __future__ import annotations

import contextlib
import io
import json
import zipfile

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from keras_to_lambda.runtime.common.errors import SetupError
from keras_to_lambda.runtime.model_file.card import ModelCard
from keras_to_lambda.runtime.model_file.zip_archive import Archive, DamagedArchive

MOST = 1 << 20


def zipped(members, *, before=b"", method=zipfile.ZIP_STORED, moved=False, comment=b""):
    buffer = io.BytesIO(b"" if moved else before)
    with zipfile.ZipFile(buffer, "w" if moved else "a", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
        archive.comment = comment
    return (before if moved else b"") + buffer.getvalue()


@hypothesis_settings(max_examples=100, deadline=None)
@given(
    members=st.dictionaries(
        st.text("abc/é.", min_size=1, max_size=8), st.binary(max_size=99), min_size=1, max_size=4
    ),
    before=st.binary(max_size=99),
    method=st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]),
    moved=st.booleans(),
    comment=st.binary(max_size=40),
)
def test_what_zipfile_writes_is_read_as_zipfile_reads_it(members, before, method, moved, comment):
    if b"PK" in comment:
        return
    data = zipped(members, before=before, method=method, moved=moved, comment=comment)
    archive = Archive.find(io.BytesIO(data))
    assert archive is not None
    assert archive.start == len(before)
    assert set(archive.names) == set(members)
    for name, content in members.items():
        assert archive.read(name, MOST) == content


@hypothesis_settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_damage_is_refused_or_harmless(data):
    members = {"card.json": b"{}" * 20, "labels.txt": b"a\nb\n"}
    whole = bytearray(zipped(members, before=b"model" * 9, method=zipfile.ZIP_DEFLATED))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(whole) - 1))
        whole[at] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(whole)))
    for version in (whole, whole[:cut]):
        try:
            archive = Archive.find(io.BytesIO(bytes(version)))
            for name in archive.names if archive else ():
                archive.read(name, MOST)
        except DamagedArchive:
            pass


def test_a_member_that_unpacks_into_more_than_it_says_is_never_unpacked():
    whole = zipped({"bomb": bytes(50_000_000)}, method=zipfile.ZIP_DEFLATED)
    archive = Archive.find(io.BytesIO(whole))
    with pytest.raises(DamagedArchive, match="larger than"):
        archive.read("bomb", MOST)
    name, member = next(iter(archive._members.items()))
    archive._members[name] = member._replace(size=10)
    with pytest.raises(DamagedArchive, match="damaged"):
        archive.read("bomb", MOST)


def test_no_archive_is_none():
    for data in (b"", b"x" * 100, b"PK\5\6", bytes(70_000)):
        assert Archive.find(io.BytesIO(data)) is None


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=6,
)
FINE = {
    "schema_version": 1, "name": "c", "labels": ["a", "b"], "height": 2, "width": 2, "channels": 3,
    "dtype": "float32", "output": "logits",
    "preprocessing": {"resize": "stretch", "interpolation": "tf:bilinear", "scaling": "raw"},
}  # fmt: skip


@hypothesis_settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_any_json_is_a_card_or_a_setup_error(data):
    card = json.loads(json.dumps(FINE))
    for _ in range(data.draw(st.integers(1, 3))):
        place = card if data.draw(st.booleans()) else card.get("preprocessing")
        if not isinstance(place, dict):
            place = card
        key = data.draw(st.sampled_from([*place, "new", "alpha", "exif", "decode", "provenance"]))
        place[key] = data.draw(json_values)
    with contextlib.suppress(SetupError):
        ModelCard.from_json(card)
    assert ModelCard.from_json(FINE).labels == ("a", "b")
