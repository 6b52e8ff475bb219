"""Dataclasses and named tuples of the function, as cheap to import as a cold start needs them.

Importing `dataclasses`, with `inspect`, costs 7 ms, and `typing` 2 ms: modules which each start
imports take typing's names from here, where they mean something to type checkers alone.

`dataclasses.replace`, `asdict` and `fields` take these classes, too: the description that they need
is made when they first look for it.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dataclasses import *  # noqa: F403
    from typing import *  # noqa: F403
else:
    from collections import namedtuple

    Any = BinaryIO = ClassVar = Protocol = Self = object

    MISSING = object()

    class Named(type):
        """What makes a `collections.namedtuple` of a class's body."""

        def __new__(cls, name: str, bases: tuple[type, ...], body: dict[str, Any]) -> Any:
            if not bases:
                return super().__new__(cls, name, bases, body)
            names = [*body["__annotations__"]]
            defaults = [body[each] for each in names if each in body]
            module = body["__module__"]
            base = namedtuple(name, names, defaults=defaults, module=module)  # noqa: PYI024
            rest = {key: value for key, value in body.items() if key not in names}
            return type(name, (base,), {**rest, "__slots__": ()})

    class NamedTuple(metaclass=Named):
        """`typing.NamedTuple`."""

    class Generic:
        """`typing.Generic`: what is in the brackets is for type checkers."""

        def __class_getitem__(cls, _parameters: Any) -> type:
            return cls

    def TypeVar(name: str) -> str:  # noqa: N802
        """`typing.TypeVar`."""
        return name

    class Field:
        """What a class's body has for one field."""

        def __init__(
            self, default: Any = MISSING, default_factory: Any = MISSING, metadata: Any = None
        ) -> None:
            self.name = ""
            self.default, self.default_factory = default, default_factory
            self.metadata = metadata or {}

        def made(self) -> Any:
            """The value where none is given; MISSING: it has to be."""
            return self.default if self.default_factory is MISSING else self.default_factory()

    field = Field

    class Described:
        """`__dataclass_fields__`, made at its first use by the module that needs it."""

        def __get__(self, record: Any, cls: Any) -> Any:
            import dataclasses

            body = []
            for each in fields(cls):
                named = {"default": each.default, "default_factory": each.default_factory}
                given = {name: value for name, value in named.items() if value is not MISSING}
                made = dataclasses.field(metadata=each.metadata, **given)
                body.append((each.name, "object", made))
            made = dataclasses.make_dataclass(cls.__name__, body).__dataclass_fields__
            cls.__dataclass_fields__ = made
            return made

    def fields(record: Any) -> Any:
        """The fields of a class or of its instance, in order."""
        return record.__fields__

    def dataclass(*, frozen: bool) -> Any:  # noqa: ARG001  # every one is
        """Give a class the methods that `dataclasses.dataclass(frozen=True)` would."""

        def described(cls: Any) -> Any:
            found = []
            for name in cls.__annotations__:
                each = cls.__dict__.get(name, MISSING)
                each = each if isinstance(each, Field) else Field(each)
                each.name = name
                found.append(each)
                if each.default is not MISSING:
                    setattr(cls, name, each.default)
                elif name in cls.__dict__:
                    delattr(cls, name)
            cls.__fields__ = tuple(found)
            cls.__dataclass_fields__ = Described()
            cls.__init__, cls.__repr__, cls.__eq__, cls.__hash__ = _init, _repr, _eq, _hash
            cls.__setattr__ = cls.__delattr__ = _refuse
            return cls

        return described

    def _init(self: Any, *values: Any, **named: Any) -> None:
        names = [each.name for each in self.__fields__]
        given = dict(zip(names, values, strict=False))
        wrong = [*(given.keys() & named), *(named.keys() - {*names}), *values[len(names) :]]
        given.update(named)
        for each in self.__fields__:
            value = given[each.name] if each.name in given else each.made()
            self.__dict__[each.name] = value
            if value is MISSING:
                wrong.append(each.name)
        if wrong:
            raise TypeError(f"{type(self).__name__}: wrong or missing arguments: {wrong}")
        if hasattr(self, "__post_init__"):
            self.__post_init__()

    def _values(record: Any) -> tuple[Any, ...]:
        return tuple(record.__dict__[each.name] for each in record.__fields__)

    def _repr(self: Any) -> str:
        body = ", ".join(f"{each.name}={getattr(self, each.name)!r}" for each in self.__fields__)
        return f"{type(self).__qualname__}({body})"

    def _eq(self: Any, other: Any) -> Any:
        return _values(self) == _values(other) if type(other) is type(self) else NotImplemented

    def _hash(self: Any) -> int:
        return hash(_values(self))

    def _refuse(self: Any, name: str, *_value: Any) -> None:
        raise AttributeError(f"cannot set {name}: {type(self).__name__} is frozen")
