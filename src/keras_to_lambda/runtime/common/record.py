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

        __slots__ = ("default", "default_factory", "metadata", "name")

        def __init__(
            self, default: Any = MISSING, default_factory: Any = MISSING, metadata: Any = None
        ) -> None:
            self.name = ""
            self.default, self.default_factory = default, default_factory
            self.metadata = metadata or {}

    field = Field

    class Described:
        """`__dataclass_fields__`, made at its first use by the module that needs it."""

        def __get__(self, record: Any, cls: Any) -> Any:
            import dataclasses

            body = [(each.name, "object", _original(dataclasses, each)) for each in fields(cls)]
            made = dataclasses.make_dataclass(cls.__name__, body).__dataclass_fields__
            cls.__dataclass_fields__ = made
            return made

    def _original(dataclasses: Any, each: Field) -> Any:
        options = {
            name: value
            for name in ("default", "default_factory")
            if (value := getattr(each, name)) is not MISSING
        }
        return dataclasses.field(metadata=each.metadata, **options)

    def fields(record: Any) -> Any:
        """The fields of a class or of its instance, in order."""
        return record.__fields__

    def dataclass(cls: Any = None, *, frozen: bool = False) -> Any:
        """Give a class the methods that `dataclasses.dataclass` would."""
        if cls is None:
            return lambda cls: dataclass(cls, frozen=frozen)
        found = []
        for name in cls.__annotations__:
            each = cls.__dict__.get(name, MISSING)
            if not isinstance(each, Field):
                each = Field(each)
            each.name = name
            found.append(each)
            if each.default is not MISSING:
                setattr(cls, name, each.default)
            elif name in cls.__dict__:
                delattr(cls, name)
        cls.__fields__ = tuple(found)
        cls.__dataclass_fields__ = Described()
        cls.__init__, cls.__repr__, cls.__eq__ = _init, _repr, _eq
        cls.__hash__ = _hash if frozen else None
        if frozen:
            cls.__setattr__ = cls.__delattr__ = _refuse
        return cls

    def _init(self: Any, *values: Any, **named: Any) -> None:
        known = self.__fields__
        if len(values) > len(known):
            raise TypeError(f"{type(self).__name__} takes {len(known)} values, not {len(values)}")
        state = self.__dict__
        for each, value in zip(known, values, strict=False):
            if each.name in named:
                raise TypeError(f"{type(self).__name__} got {each.name} twice")
            state[each.name] = value
        for each in known[len(values) :]:
            value = each.default
            if each.name in named:
                value = named.pop(each.name)
            elif each.default_factory is not MISSING:
                value = each.default_factory()
            if value is MISSING:
                raise TypeError(f"{type(self).__name__} needs {each.name}")
            state[each.name] = value
        if named:
            raise TypeError(f"{type(self).__name__} has no {', '.join(named)}")
        if hasattr(self, "__post_init__"):
            self.__post_init__()

    def _values(record: Any) -> tuple[Any, ...]:
        return tuple(record.__dict__[each.name] for each in record.__fields__)

    def _repr(self: Any) -> str:
        body = ", ".join(f"{each.name}={getattr(self, each.name)!r}" for each in self.__fields__)
        return f"{type(self).__qualname__}({body})"

    def _eq(self: Any, other: Any) -> Any:
        if type(other) is not type(self):
            return NotImplemented
        return _values(self) == _values(other)

    def _hash(self: Any) -> int:
        return hash(_values(self))

    def _refuse(self: Any, name: str, *_value: Any) -> None:
        raise AttributeError(f"cannot set {name}: {type(self).__name__} is frozen")
