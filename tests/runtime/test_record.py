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


@dataclasses.dataclass(frozen=True)
class Theirs:
    name: str
    size: tuple[int, int] = (1, 2)
    notes: Any = dataclasses.field(default_factory=dict, metadata={"help": "for people"})


@pytest.mark.parametrize(
    ("values", "named"),
    [(("a",), {}), (("a", (3, 4)), {}), ((), {"notes": {"b": 1}, "name": "c"})],
)
def test_an_instance_has_the_values_of_the_dataclass(values, named):
    ours, theirs = Ours(*values, **named), Theirs(*values, **named)
    assert dataclasses.asdict(ours) == dataclasses.asdict(theirs)
    assert repr(ours) == repr(theirs).replace("Theirs", "Ours")
    assert dataclasses.replace(ours, size=(9, 9)) == Ours(ours.name, (9, 9), ours.notes)
    assert pickle.loads(pickle.dumps(ours)) == ours


@pytest.mark.parametrize(
    ("values", "named"),
    [((), {}), (("a", 1, 2, 3), {}), (("a",), {"name": "b"}), (("a",), {"other": 1})],
)
def test_wrong_arguments_are_refused(values, named):
    for cls in (Ours, Theirs):
        with pytest.raises(TypeError):
            cls(*values, **named)
    with pytest.raises(ValueError, match="no name"):
        Ours("")


def test_equality_and_hash_are_those_of_the_values():
    assert Ours("a") == Ours("a") != Ours("b")
    assert Ours("a") != Theirs("a")
    assert hash(Ours("a", (1, 2), None)) == hash(Ours("a", (1, 2), None))


def test_a_frozen_instance_stays_as_it_is_and_shares_no_default():
    one = Ours("a")
    with pytest.raises(AttributeError, match="frozen"):
        one.name = "b"
    with pytest.raises(AttributeError, match="frozen"):
        del one.name
    one.notes["b"] = 1
    assert Ours("a").notes == {}


def test_fields_are_those_that_dataclasses_sees():
    for fields in (record.fields(Ours), dataclasses.fields(Ours), dataclasses.fields(Ours("a"))):
        assert [each.name for each in fields] == ["name", "size", "notes"]
        assert dict(fields[2].metadata) == {"help": "for people"}
    assert dataclasses.is_dataclass(Ours)
