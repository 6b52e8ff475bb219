"""Records behave as the dataclasses that they replace, and `dataclasses` takes them."""

from __future__ import annotations

import dataclasses
import pickle
from typing import Any

import pytest

from keras_to_lambda.runtime.common import record


@record.dataclass(frozen=True)
class Ours:
    name: str
    size: tuple[int, int] = (1, 2)
    notes: Any = record.field(default_factory=dict, metadata={"help": "for people"})

    def __post_init__(self):
        if not self.name:
            raise ValueError("no name")


@pytest.mark.parametrize(
    ("values", "named", "expected"),
    [
        (("a",), {}, ("a", (1, 2), {})),
        (("a", (3, 4)), {}, ("a", (3, 4), {})),
        ((), {"notes": {"b": 1}, "name": "c"}, ("c", (1, 2), {"b": 1})),
    ],
)
def test_dataclasses_takes_an_instance(values, named, expected):
    ours = Ours(*values, **named)
    assert tuple(dataclasses.asdict(ours).values()) == expected
    assert repr(ours) == "Ours(name={!r}, size={!r}, notes={!r})".format(*expected)
    assert dataclasses.replace(ours, size=(9, 9)) == Ours(ours.name, (9, 9), ours.notes) != ours
    assert pickle.loads(pickle.dumps(ours)) == ours
    assert hash(Ours("a", notes=None)) == hash(Ours("a", notes=None))
    for fields in (record.fields(Ours), dataclasses.fields(ours)):
        assert [each.name for each in fields] == ["name", "size", "notes"]
        assert dict(fields[2].metadata) == {"help": "for people"}
        assert fields[1].default == (1, 2)


@pytest.mark.parametrize(
    ("values", "named", "error"),
    [
        ((), {}, TypeError),
        (("a", 1, 2, 3), {}, TypeError),
        (("a",), {"name": "b"}, TypeError),
        (("a",), {"other": 1}, TypeError),
        (("",), {}, ValueError),
    ],
)
def test_wrong_arguments_are_refused(values, named, error):
    with pytest.raises(error):
        Ours(*values, **named)


def test_an_instance_stays_as_it_is_and_shares_no_default():
    one = Ours("a")
    with pytest.raises(AttributeError, match="frozen"):
        one.name = "b"
    with pytest.raises(AttributeError, match="frozen"):
        del one.name
    one.notes["b"] = 1
    assert Ours("a").notes == {}
