"""A model run with XNNPACK's weight cache: for large models, whose weights take long to pack.

XNNPACK lays weights out for the processor at each start. With WEIGHT_CACHE it does so once,
when the image is built (`python -m classifier --check`), and maps the result at each start; what
that gains is in docs/benchmarks.md. A cache that is cut short or of another processor is rejected
by XNNPACK, which then packs as always. A cache of another model with the same shapes is not: it
would give that model's answers without a word. So a cache is named after what it was packed from.

Imported only where the setting asks for it; tflite-runtime has no such thing.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from classifier.card import ModelCard
from classifier.errors import SetupError

if TYPE_CHECKING:
    import numpy.typing as npt

# Blocks of the file that are looked at, evenly spread: reading all of a large model would cost what
# the cache saves. Weights that were trained again differ in every one of them.
BLOCKS = 64
BLOCK_BYTES = 4096


class CachedEngine:
    """An interpreter for one image at a time, as `model.Engine`, its weights from the cache.

    Args:
        path: the `.tflite` file.
        folder: where caches are; written to if this model's is not there yet and it can be.

    Raises:
        SetupError: the model is not float32, or the interpreter has no weight cache.
    """

    def __init__(self, path: str, num_threads: int, card: ModelCard, folder: str) -> None:
        try:
            from ai_edge_litert.compiled_model import CompiledModel
            from ai_edge_litert.options import CpuOptions, Options
        except ModuleNotFoundError as error:
            raise SetupError(
                f"WEIGHT_CACHE needs ai-edge-litert 2 or newer, whole ({error}); unset it"
            ) from error
        with contextlib.suppress(OSError):  # a root that is read-only: weights are packed as always
            Path(folder).mkdir(parents=True, exist_ok=True)
        place = os.path.join(folder, name(path, card) + ".xnnpack")  # noqa: PTH118
        options = Options(
            cpu_options=CpuOptions(num_threads=num_threads, xnnpack_weight_cache_path=place)
        )
        try:
            self._model = CompiledModel.from_file(path, options=options)
        except (ValueError, RuntimeError) as error:
            raise SetupError(f"the interpreter cannot load {path}: {error}") from error
        signature = next(iter(self._model.get_signature_list()))
        self.inputs = _details(self._model.get_input_tensor_details(signature))
        self.outputs = _details(self._model.get_output_tensor_details(signature))
        if any(detail["dtype"] is not np.float32 for detail in (*self.inputs, *self.outputs)):
            raise SetupError(f"{path} is not float32 in and out: unset WEIGHT_CACHE for it")
        self._in = self._model.create_input_buffers(0)
        self._out = self._model.create_output_buffers(0)

    def __call__(self, tensors: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """One image, (1, height, width, channels), to its outputs, (1, labels)."""
        self._in[0].write(np.ascontiguousarray(tensors))
        self._model.run_by_index(0, self._in, self._out)
        shape = self.outputs[0]["shape"]
        output: npt.NDArray[Any] = self._out[0].read(int(np.prod(shape)), np.float32)
        return np.array(output).reshape(shape)


def name(path: str, card: ModelCard) -> str:
    """What a cache of this file is called: by its weights, its interpreter and its processor."""
    import ai_edge_litert

    digest = hashlib.sha256()
    version = getattr(ai_edge_litert, "__version__", "")
    for part in (card.model_sha256 or "", version, platform.machine()):
        digest.update(f"{part}\n".encode())
    with open(path, "rb") as file:  # noqa: PTH123
        size = card.model_bytes or file.seek(0, os.SEEK_END)
        digest.update(f"{size}\n".encode())
        for block in range(BLOCKS):
            file.seek(block * max(size - BLOCK_BYTES, 0) // (BLOCKS - 1))
            digest.update(file.read(BLOCK_BYTES))
    return f"{card.name[:40]}-{digest.hexdigest()[:32]}".replace(os.sep, "_")


def _details(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Details as the interpreter has them: shape, and numpy's dtype."""
    return [
        {
            "index": 0,
            "shape": detail["shape"],
            "dtype": np.dtype(detail["dtype"]).type,
            "quantization": (0.0, 0),
        }
        for detail in found.values()
    ]
