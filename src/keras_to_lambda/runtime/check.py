"""python -m keras_to_lambda.runtime.check: one real inference of each model; in image builds."""

from __future__ import annotations

import argparse
import io
import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from keras_to_lambda.runtime.common.errors import SetupError
from keras_to_lambda.runtime.common.settings import Settings
from keras_to_lambda.runtime.handler import Handler
from keras_to_lambda.runtime.image import decode, pixels
from keras_to_lambda.runtime.image.budget import Limits
from keras_to_lambda.runtime.image.plain_jpeg import Photo
from keras_to_lambda.runtime.image.preprocess import matches_helper
from keras_to_lambda.runtime.model_file import card as cards

if TYPE_CHECKING:
    from collections.abc import Sequence

    from keras_to_lambda.runtime.common.memory import Buffer
    from keras_to_lambda.runtime.model.interpreter import Classifier


def check(handler: Handler, *, compare: bool = False) -> str:
    """Check each model's hash and answer a picture with it; a line about each.

    Args:
        compare: the engine's answer with that of LiteRT's own `Interpreter`, the pixels of a
            common JPEG with PIL.Image's, and a card's scaling with keras-image-helper's.

    Raises SetupError: a file was altered; it does not answer with finite numbers; a comparison
    found a difference.
    """
    lines = []
    for name, (path, card) in handler.models.installed.items():
        cards.check_hash(path, card)
        photo = _photo(Path(path))
        model = handler.models.get(name)
        picture = pixels.opened(photo, card, Limits())
        tensor = pixels.prepare(picture, card)
        answer = model.logits(tensor)
        if not all(map(math.isfinite, answer)):
            raise SetupError(f"{path}: output contains NaN or infinity")
        done = ["hash and inference checked"]
        same = matches_helper(card) if compare else None
        if same is False:
            raise SetupError(f"{path}: its scaling is not keras-image-helper's; report this")
        if same:
            done.append("scaling as keras-image-helper's")
        if compare:
            size = (card.width, card.height)
            theirs = decode.opened(photo, card.preprocessing, card.channels, Limits(), size)
            if isinstance(picture, Photo) and tensor != pixels.prepare(theirs, card):
                raise SetupError("Pillow's C core gives other pixels than PIL.Image; report this")
            if answer != _by_interpreter(model, tensor):
                raise SetupError(f"{path}: LiteRT's Interpreter gives other answers; report this")
            done.append("answers as LiteRT's Interpreter's")
        default = " (default)" if name == handler.models.default else ""
        lines.append(f"{name}{default}: {len(card.labels)} labels, {', '.join(done)}")
    return "\n".join(lines)


def _photo(model: Path) -> bytes:
    """A JPEG: a sample that is beside the model, or a drawn one."""
    for sample in sorted(model.parent.glob("samples/*.jpg")):
        return sample.read_bytes()
    from PIL import Image

    file = io.BytesIO()
    bands = [Image.effect_mandelbrot((333, 250), (-2, -1, at, 1), 100) for at in (1, 0.5, 0)]
    Image.merge("RGB", bands).save(file, "JPEG")
    return file.getvalue()


def _by_interpreter(model: Classifier, tensor: Buffer) -> list[float]:
    import numpy as np
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=model.path, num_threads=1)
    interpreter.allocate_tensors()
    [given], [made] = interpreter.get_input_details(), interpreter.get_output_details()
    codes = np.frombuffer(memoryview(model.codes(tensor)).cast("B"), given["dtype"])
    interpreter.set_tensor(given["index"], codes.reshape(given["shape"]))
    interpreter.invoke()
    [answer] = model.answers(interpreter.get_tensor(made["index"]).tobytes(), 1)
    return answer


def main(argv: Sequence[str] | None = None) -> int:
    """Print what was checked. Exit status 2: a model or a setting is wrong, or a comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--compare",
        action="store_true",
        help="compare with LiteRT's Interpreter and keras-image-helper, which the finished image "
        "does not have, and with PIL.Image",
    )
    compare = parser.parse_args(argv).compare
    settings = replace(Settings.from_environ(), log_level="FATAL", num_threads=1)
    try:
        print(check(Handler(settings), compare=compare))
    except (SetupError, OSError, ModuleNotFoundError) as error:
        print(f"check: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
