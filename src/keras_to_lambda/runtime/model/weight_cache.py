"""A model run with XNNPACK's weight cache: for large models, whose weights take long to pack.

XNNPACK lays weights out for the processor at each start. With WEIGHT_CACHE it does so once,
when the image is built (`k2l predict --check`), and maps the result at each start; what
that gains is in docs/benchmarks.md. A cache that is cut short or of another processor is rejected
by XNNPACK, which then packs as always. A cache of another model with the same shapes is not: it
would give that model's answers without a word. So a cache is named after what it was packed from.

Imported only with the setting for it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
from pathlib import Path

from keras_to_lambda.runtime.model import litert
from keras_to_lambda.runtime.model_file.card import ModelCard

# Blocks of the file that are looked at, evenly spread: reading all of a large model would cost what
# the cache saves. Weights that were trained again differ in every one of them.
BLOCKS = 64
BLOCK_BYTES = 4096


def file(folder: str, path: str, card: ModelCard) -> str:
    """Where the cache of a model is in a folder, which is made if it is not there."""
    with contextlib.suppress(OSError):  # a root that is read-only: weights are packed as always
        Path(folder).mkdir(parents=True, exist_ok=True)
    return os.path.join(folder, name(path, card) + ".xnnpack")  # noqa: PTH118


def name(path: str, card: ModelCard) -> str:
    """What a cache of this file is called: by its weights, its interpreter and its processor."""
    digest = hashlib.sha256()
    for part in (card.model_sha256 or "", litert.version(litert.folder()), platform.machine()):
        digest.update(f"{part}\n".encode())
    with open(path, "rb") as file:  # noqa: PTH123
        size = card.model_bytes or file.seek(0, os.SEEK_END)
        digest.update(f"{size}\n".encode())
        for block in range(BLOCKS):
            file.seek(block * max(size - BLOCK_BYTES, 0) // (BLOCKS - 1))
            digest.update(file.read(BLOCK_BYTES))
    return f"{card.name[:40]}-{digest.hexdigest()[:32]}".replace(os.sep, "_")
