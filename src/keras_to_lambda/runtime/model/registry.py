"""Models: the one or several that are served, by the name in their cards."""

from __future__ import annotations

import os
import threading

from keras_to_lambda.runtime.common.errors import ModelNotFound, ModelNotNamed, SetupError
from keras_to_lambda.runtime.common.record import NamedTuple
from keras_to_lambda.runtime.common.settings import Settings
from keras_to_lambda.runtime.common.text import clean
from keras_to_lambda.runtime.model.interpreter import Classifier
from keras_to_lambda.runtime.model_file import card as cards
from keras_to_lambda.runtime.model_file.card import ModelCard

# In a folder of several models: the name of the one that answers when a request names none.
DEFAULT = "default.txt"
REMOTE = ("s3://", "models:/")


class Installed(NamedTuple):
    """A model file and its card."""

    path: str
    card: ModelCard


class Models:
    """What `settings.model_path` holds: a `.tflite` file, or those anywhere below a folder.

    A model elsewhere, in S3 or in MLflow's registry, is downloaded first.

    Every card is read at start, so that a wrong one is reported then. Interpreters are made at a
    model's first use, but for the default model's, or all of them by LOAD_MODELS.

    default: the model that DEFAULT_MODEL or the folder's `default.txt` names, or the only one; else
        None. So another model in the folder changes no caller's answer.

    Raises SetupError: no model, a wrong one, two of one name, or no such default.
    """

    def __init__(self, settings: Settings) -> None:
        self._threads, self._cache = settings.num_threads or 1, settings.weight_cache
        self._lock = threading.Lock()
        self._loaded: dict[str, Classifier] = {}
        found: dict[str, Installed] = {}
        for path in files(_here(settings)):
            card = cards.load(path)
            twin = found.get(card.name)
            if twin is not None:
                raise SetupError(f"{twin.path} and {path} are both named {card.name!r}")
            found[card.name] = Installed(path, card)
        self.installed = dict(sorted(found.items()))
        self.default: str | None = settings.default_model or None
        where = ", which DEFAULT_MODEL or --model names"
        if self.default is None:
            if len(self.installed) == 1:
                self.default = min(self.installed)
            else:
                file = os.path.join(settings.model_path, DEFAULT)  # noqa: PTH118
                self.default, where = _first_line(file), f", which {file} names"
        if self.default is not None and self.default not in self.installed:
            there = ", ".join(self.installed)
            raise SetupError(f"no model {self.default!r}{where}; there is {there}")
        at_start = [self.default] if self.default else []
        for name in self.installed if settings.load_models == "all" else at_start:
            self.get(name)

    def card(self, name: str | None = None) -> ModelCard:
        """A model's card, without loading it; the default one's for None.

        Raises ModelNotFound, ModelNotNamed.
        """
        return self.installed[self._known(name or None)].card

    def names(self, text: str | None) -> list[str]:
        """The models that a text names, separated by commas; the default one for None.

        Raises ModelNotFound, ModelNotNamed.
        """
        if not text or text in self.installed:
            return [self._known(text or None)]
        return [self._known(name) for name in dict.fromkeys(text.split(","))]

    def _known(self, name: str | None) -> str:
        name = self.default if name is None else name
        if name in self.installed:
            return name
        there = clean(", ".join(self.installed), 500)
        if name is None:
            raise ModelNotNamed(
                f"several models are served and none is the default: give model as one of {there}, "
                f"or name a default with DEFAULT_MODEL or in {DEFAULT}"
            )
        raise ModelNotFound(f"no such model here; there is {there}")

    def get(self, name: str | None = None) -> Classifier:
        """A model, loaded now if it was not yet; the default one for None.

        Raises ModelNotFound, ModelNotNamed; SetupError: its file is wrong.
        """
        name = self._known(name or None)
        model = self._loaded.get(name)
        if model is None:
            path, card = self.installed[name]
            with self._lock:
                model = self._loaded.get(name)
                if model is None:
                    model = Classifier(path, self._threads, card, self._cache)
                    self._loaded[name] = model
        return model


def _here(settings: Settings) -> str:
    """The model's path on this machine."""
    path = settings.model_path
    if not path.startswith(REMOTE):
        return path
    from keras_to_lambda.runtime.model import remote_model  # with hashlib, http.client or boto3

    return remote_model.local(settings)


def _first_line(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8") as file:  # noqa: PTH123
            return file.readline().strip() or None
    except FileNotFoundError:
        return None


def files(path: str) -> list[str]:
    """A `.tflite` file, or those anywhere below a folder. Raises SetupError: there is none."""
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
