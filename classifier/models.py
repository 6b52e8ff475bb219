"""Models: the one or several that are served, by the name in their cards."""

from __future__ import annotations

import os
import threading
from typing import NamedTuple

from classifier import card as cards
from classifier.card import ModelCard
from classifier.errors import ModelNotFound, SetupError
from classifier.model import Classifier
from classifier.settings import Settings


class Installed(NamedTuple):
    """A model file and its card."""

    path: str
    card: ModelCard


class Models:
    """What `settings.model_path` holds: a `.tflite` file, or those anywhere below a folder.

    Every card is read at start, so that a wrong one is told then. Interpreters are made at a
    model's first use, but for the default model's, or all of them by LOAD_MODELS.

    Raises:
        SetupError: no model, a wrong one, two of one name, or no such default.
    """

    def __init__(self, settings: Settings) -> None:
        self._threads, self._cache = settings.num_threads, settings.weight_cache
        self._lock = threading.Lock()
        self._loaded: dict[str, Classifier] = {}
        found: dict[str, Installed] = {}
        for path in files(settings.model_path):
            card = cards.load(path)
            twin = found.get(card.name)
            if twin is not None:
                raise SetupError(f"{twin.path} and {path} are both named {card.name!r}")
            found[card.name] = Installed(path, card)
        self.installed = dict(sorted(found.items()))
        self.default = settings.default_model or min(self.installed)
        if self.default not in self.installed:
            there = ", ".join(sorted(self.installed))
            raise SetupError(f"no model {self.default!r} (DEFAULT_MODEL); there is {there}")
        for name in self.installed if settings.load_models == "all" else (self.default,):
            self.get(name)

    def card(self, name: str | None = None) -> ModelCard:
        """A model's card, without loading it; the default one's for None.

        Raises:
            ModelNotFound
        """
        installed = self.installed.get(name or self.default)
        if installed is None:
            there = ", ".join(sorted(self.installed))
            raise ModelNotFound(f"no such model here; there is {there}")
        return installed.card

    def get(self, name: str | None = None) -> Classifier:
        """A model, loaded now if it was not yet; the default one for None.

        Raises:
            ModelNotFound; SetupError: its file is wrong.
        """
        name = name or self.default
        model = self._loaded.get(name)
        if model is None:
            card = self.card(name)
            with self._lock:
                model = self._loaded.get(name)
                if model is None:
                    path = self.installed[name].path
                    model = Classifier(path, self._threads, card, self._cache)
                    self._loaded[name] = model
        return model


def files(path: str) -> list[str]:
    """A `.tflite` file, or those anywhere below a folder.

    Raises:
        SetupError: there is none.
    """
    path = os.fspath(path)
    if not os.path.isdir(path):  # noqa: PTH112  # pathlib is 3 ms of a cold start
        return [path]
    found = sorted(
        os.path.join(folder, name)  # noqa: PTH118
        for folder, _, names in os.walk(path)
        for name in names
        if name.endswith(".tflite")
    )
    if not found:
        raise SetupError(f"no .tflite file in {path}")
    return found
