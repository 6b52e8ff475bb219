"""Loaded: a model as the library that answers as its writer did gives it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Loaded:
    """A model, the module of the library that loaded it, and the objects that it names."""

    model: Any
    library: Any
    objects: dict[str, Any]

    @property
    def loaded_by(self) -> str:
        """The library with its version."""
        return f"{self.library.__name__} {self.library.__version__}"

    def scope(self) -> Any:
        """A context in which a configuration's objects are found."""
        return self.library.utils.custom_object_scope(self.objects)


def layers_of(model: Any) -> list[Any]:
    """Every layer once, those of nested models too: one that is used twice is one layer."""
    found: dict[int, Any] = {}
    waiting = list(model.layers)
    while waiting:
        layer = waiting.pop(0)
        if id(layer) not in found:
            found[id(layer)] = layer
            waiting += getattr(layer, "layers", None) or []
    return list(found.values())
