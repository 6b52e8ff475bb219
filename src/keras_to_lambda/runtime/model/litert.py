"""LiteRT by its C API, `libLiteRt.so` of the ai-edge-litert package, through ctypes.

The package's own Python classes import numpy and a second library of 18 MB: most of a cold start.
The declarations below are those of litert/c/*.h (https://github.com/google-ai-edge/LiteRT). Another
version of the library may have other ones, so that only the version is loaded that was tested.
"""

from __future__ import annotations

import ctypes
import importlib.machinery
import math
import mmap
import os
import struct
import sys
import threading
from ctypes import byref, c_int, c_int32, c_int64, c_size_t, c_uint32, c_void_p

from keras_to_lambda.runtime.common.errors import SetupError
from keras_to_lambda.runtime.common.memory import Buffer
from keras_to_lambda.runtime.common.record import Any, Self
from keras_to_lambda.runtime.model.engine import EngineError, Tensor

PACKAGE = "ai_edge_litert"
LIBRARY = {"linux": "libLiteRt.so", "darwin": "libLiteRt.dylib"}
# The C API that is declared here.
TESTED = "2.3."
# The environment's options: which accelerators to look for (1: the processor alone), and the least
# severity of a message (3: an error).
ACCELERATORS, SEVERITY = 24, 25
PROCESSOR, ERROR = 1, 3
HOST_MEMORY = 1
# LiteRtErrorReporterMode: to standard error, or kept with the compiled model.
SPOKEN, KEPT = 1, 2
PER_TENSOR = 1
# LiteRtElementType, and the code of `struct`.
ELEMENTS = {
    "float32": (1, "f"),
    "int32": (2, "i"),
    "uint8": (3, "B"),
    "int64": (4, "q"),
    "bool": (6, "?"),
    "int16": (7, "h"),
    "int8": (9, "b"),
    "float64": (11, "d"),
}
NAMES = {number: name for name, (number, _) in ELEMENTS.items()}
# LiteRtStatus, of those that a model or its file can cause.
STATUS = {
    1: "invalid argument",
    2: "not enough memory",
    3: "runtime failure",
    5: "unsupported",
    500: "the file cannot be read",
    501: "not a valid flatbuffer",
    504: "the graph cannot be compiled",
}
# What its lines on standard error begin with, before the place in its source: `[file.cc:27] `.
KINDS = (b"VERBOSE", b"INFO", b"WARNING", b"ERROR")
# The beginning of its one line without a place.
NOTICE = b"INFO: Created TensorFlow Lite "


class Option(ctypes.Structure):
    """LiteRtEnvOption, whose value is a LiteRtAny with an integer."""

    _fields_ = (("tag", c_int), ("kind", c_int64), ("value", c_int64))


class TensorLayout(ctypes.Structure):
    """LiteRtLayout; the lower seven bits of `rank` are the rank."""

    _fields_ = (("rank", c_uint32), ("dimensions", c_int32 * 8), ("strides", c_uint32 * 8))


class TensorType(ctypes.Structure):
    """LiteRtRankedTensorType."""

    _fields_ = (("element", c_int), ("layout", TensorLayout))


class Steps(ctypes.Structure):
    """LiteRtQuantizationPerTensor."""

    _fields_ = (("scale", ctypes.c_float), ("zero_point", c_int64))


# The headers assert these sizes, too.
SIZES = {Option: 24, TensorLayout: 68, TensorType: 72, Steps: 16}
POINTER, NUMBER, TEXT = c_void_p, c_size_t, ctypes.c_char_p
# Every function that is called, with its arguments; all but the Destroy functions return a status.
FUNCTIONS: dict[str, tuple[Any, ...]] = {
    "CreateEnvironment": (c_int, POINTER, POINTER),
    "CreateModelFromBuffer": (POINTER, POINTER, NUMBER, POINTER),
    "DestroyModel": (POINTER,),
    "CreateOptions": (POINTER,),
    "SetOptionsHardwareAccelerators": (POINTER, c_int),
    "CreateOpaqueOptions": (TEXT, POINTER, POINTER, POINTER),
    "AddOpaqueOptions": (POINTER, POINTER),
    "DestroyOptions": (POINTER,),
    "CreateCompiledModel": (POINTER, POINTER, POINTER, POINTER),
    "DestroyCompiledModel": (POINTER,),
    "GetModelSignature": (POINTER, NUMBER, POINTER),
    "GetNumSignatureInputs": (POINTER, POINTER),
    "GetNumSignatureOutputs": (POINTER, POINTER),
    "GetSignatureInputTensorByIndex": (POINTER, NUMBER, POINTER),
    "GetSignatureOutputTensorByIndex": (POINTER, NUMBER, POINTER),
    "GetRankedTensorType": (POINTER, POINTER),
    "GetQuantizationTypeId": (POINTER, POINTER),
    "GetPerTensorQuantization": (POINTER, POINTER),
    "GetCompiledModelInputTensorLayout": (POINTER, NUMBER, NUMBER, POINTER),
    "GetCompiledModelOutputTensorLayouts": (POINTER, NUMBER, NUMBER, POINTER, ctypes.c_bool),
    "CompiledModelResizeInputTensorNonStrict": (POINTER, NUMBER, NUMBER, POINTER, NUMBER),
    "CompiledModelGetErrorMessages": (POINTER, POINTER),
    "CompiledModelClearErrors": (POINTER,),
    "CreateManagedTensorBuffer": (POINTER, c_int, POINTER, NUMBER, POINTER),
    "DestroyTensorBuffer": (POINTER,),
    "GetTensorBufferHostMemory": (POINTER, POINTER),
    "RunCompiledModel": (POINTER, NUMBER, NUMBER, POINTER, NUMBER, POINTER),
}
# One library and one environment for all models. Loading them, and models, takes turns: standard
# error is the process's.
_lock = threading.Lock()
_loaded: Library | None = None


def folder() -> str | None:
    """Where the package is; None: it is not installed."""
    spec = importlib.machinery.PathFinder.find_spec(PACKAGE)
    places = spec.submodule_search_locations if spec else None
    return next(iter(places), None) if places else None


def version(place: str | None) -> str:
    """The package's, by the folder that its installer wrote beside it; "": unknown."""
    if place is None:
        return ""
    for name in os.listdir(os.path.dirname(place)):  # noqa: PTH120, PTH208  # pathlib costs 3 ms
        if name.startswith(f"{PACKAGE}-") and name.endswith(".dist-info"):
            return name[len(PACKAGE) + 1 : -len(".dist-info")]
    return ""


class Library:
    """The functions of the C API, and the environment that models are loaded in.

    Raises SetupError: the library is another version than the tested one, or does not load.
    """

    def __init__(self, place: str) -> None:
        wrong = {kind.__name__ for kind, size in SIZES.items() if ctypes.sizeof(kind) != size}
        if wrong:
            raise SetupError(f"LiteRT's structures have another size here: {', '.join(wrong)}")
        found = version(place)
        if not found.startswith(TESTED):
            raise SetupError(
                f"ai-edge-litert {found or 'of an unknown version'} in {place} is not supported; "
                f"install {TESTED}x"
            )
        try:
            library = ctypes.CDLL(os.path.join(place, LIBRARY[sys.platform]))  # noqa: PTH118
            self._functions = {}
            for name, arguments in FUNCTIONS.items():
                function = getattr(library, "LiteRt" + name)
                function.argtypes = arguments
                if name.startswith("Destroy"):
                    function.restype = None
                self._functions[name] = function
        except (OSError, AttributeError, KeyError) as error:
            raise SetupError(f"LiteRT in {place} does not load: {error}") from error
        self.c = ctypes.CDLL(None)
        self.c.strdup.argtypes, self.c.strdup.restype = (TEXT,), c_void_p
        self.c.free.argtypes, self.c.free.restype = (c_void_p,), None
        self._free = ctypes.cast(self.c.free, c_void_p)
        self.environment = c_void_p()
        options = (Option * 2)(
            Option(ACCELERATORS, 2, PROCESSOR),
            Option(SEVERITY, 2, ERROR),
        )
        self.call("CreateEnvironment", len(options), byref(options), byref(self.environment))

    def call(self, name: str, *arguments: Any) -> None:
        """Call a function. Raises EngineError: it returned an error's status."""
        status = self._functions[name](*arguments)
        if status:
            raise EngineError(STATUS.get(status, f"LiteRt{name} returned status {status}"))

    def made(self, name: str, *arguments: Any) -> c_void_p:
        """What a function makes, which it returns through its last argument."""
        handle = c_void_p()
        self.call(name, *arguments, byref(handle))
        return handle

    def counted(self, name: str, handle: c_void_p) -> int:
        """The number that a function returns through its last argument."""
        number = c_size_t()
        self.call(name, handle, byref(number))
        return number.value

    def memory(self, buffer: c_void_p, size: int) -> memoryview:
        """The bytes of a tensor's buffer, for as long as it is there."""
        address = self.made("GetTensorBufferHostMemory", buffer).value
        assert address is not None
        return memoryview((ctypes.c_char * size).from_address(address)).cast("B")

    def add(self, options: c_void_p, kind: bytes, text: str) -> None:
        """Add options of a kind, written as TOML."""
        copy = self.c.strdup(text.encode())
        self.call(
            "AddOpaqueOptions", options, self.made("CreateOpaqueOptions", kind, copy, self._free)
        )


def library(place: str) -> Library:
    """The one library of this process, loaded at the first call."""
    global _loaded  # noqa: PLW0603  # an environment is made once
    with _lock:
        _loaded = _loaded or Library(place)
        return _loaded


class CompiledModel:
    """A `.tflite` file, loaded by LiteRT; it takes as many images at a time as came last.

    Not for two threads at a time: its tensors are one set of buffers. Arguments and errors as of
    `engine.load`; place: the package's folder.
    """

    def __init__(self, place: str, path: str, num_threads: int, weight_cache: str = "") -> None:
        self._model, self._compiled = c_void_p(), c_void_p()
        self._buffers: list[c_void_p] = []
        self._memory: list[memoryview] = []
        self._images = 0
        self._library = library(place)
        with open(path, "rb") as file:  # noqa: PTH123
            # Private and writable, as ctypes takes no address of a read-only one.
            self._file = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        self._bytes = (ctypes.c_char * len(self._file)).from_buffer(self._file)
        quiet = Quiet()
        try:
            with _lock, quiet:
                self._load(num_threads, weight_cache)
        except EngineError as error:
            raise EngineError(quiet.words or str(error)) from error

    def _load(self, num_threads: int, weight_cache: str) -> None:
        lib = self._library
        # By its bytes, as then LiteRT verifies the flatbuffer; of a file it does not.
        self._model = lib.made(
            "CreateModelFromBuffer", lib.environment, self._bytes, len(self._bytes)
        )
        settings = f"num_threads = {num_threads}\n"
        if weight_cache:
            quoted = weight_cache.replace("\\", "\\\\").replace('"', '\\"')
            settings += f'weight_cache_file_path = "{quoted}"\n'
        try:
            self._compiled = self._compile(settings, KEPT)
        except EngineError:
            # Once more: the reason is kept with the model that was not made.
            self._compiled = self._compile(settings, SPOKEN)
        signature = lib.made("GetModelSignature", self._model, 0)
        self.inputs = self._tensors(signature, "Input")
        self.outputs = self._tensors(signature, "Output")

    def _compile(self, settings: str, errors: int) -> c_void_p:
        lib = self._library
        options = lib.made("CreateOptions")
        try:
            lib.call("SetOptionsHardwareAccelerators", options, PROCESSOR)
            lib.add(options, b"xnnpack", settings)
            lib.add(options, b"runtime_options_string", f"error_reporter_mode = {errors}\n")
            return lib.made("CreateCompiledModel", lib.environment, self._model, options)
        finally:
            lib.call("DestroyOptions", options)

    def _tensors(self, signature: c_void_p, kind: str) -> tuple[Tensor, ...]:
        return tuple(
            self._tensor(self._library.made(f"GetSignature{kind}TensorByIndex", signature, index))
            for index in range(self._library.counted(f"GetNumSignature{kind}s", signature))
        )

    def _tensor(self, handle: c_void_p) -> Tensor:
        lib = self._library
        found, quantized, steps = TensorType(), c_int(), Steps()
        lib.call("GetRankedTensorType", handle, byref(found))
        lib.call("GetQuantizationTypeId", handle, byref(quantized))
        if quantized.value == PER_TENSOR:
            lib.call("GetPerTensorQuantization", handle, byref(steps))
        name = NAMES.get(found.element, f"element type {found.element}")
        # A number of images that is left open is one, until it is set.
        shape = tuple(max(1, n) for n in _dimensions(found.layout))
        return Tensor(shape, name, steps.scale, steps.zero_point)

    def __call__(self, tensors: Buffer, images: int = 1) -> bytes:
        """Run the network.

        Raises EngineError: this graph does not take so many images, or it failed.
        """
        lib = self._library
        try:
            if images != self._images:
                self._resize(images)
            given, made = self._buffers
            self._memory[0][:] = memoryview(tensors).cast("B")
            lib.call("RunCompiledModel", self._compiled, 0, 1, byref(given), 1, byref(made))
            return self._memory[1].tobytes()
        except EngineError as error:
            raise EngineError(self._words() or str(error)) from error

    def _resize(self, images: int) -> None:
        """Make room for so many images."""
        lib = self._library
        self._free_buffers()
        wanted = (images, *self.inputs[0].shape[1:])
        given, made = TensorLayout(), TensorLayout()
        lib.call("GetCompiledModelInputTensorLayout", self._compiled, 0, 0, byref(given))
        if _dimensions(given) != wanted:
            numbers = (c_int * len(wanted))(*wanted)
            lib.call(
                "CompiledModelResizeInputTensorNonStrict",
                *(self._compiled, 0, 0, byref(numbers), len(wanted)),
            )
            lib.call("GetCompiledModelInputTensorLayout", self._compiled, 0, 0, byref(given))
        lib.call("GetCompiledModelOutputTensorLayouts", self._compiled, 0, 1, byref(made), True)
        for tensor, layout in ((self.inputs[0], given), (self.outputs[0], made)):
            size = struct.calcsize(ELEMENTS[tensor.dtype][1]) * math.prod(_dimensions(layout))
            kind = TensorType(ELEMENTS[tensor.dtype][0], layout)
            self._buffers.append(
                lib.made(
                    "CreateManagedTensorBuffer", lib.environment, HOST_MEMORY, byref(kind), size
                )
            )
            self._memory.append(lib.memory(self._buffers[-1], size))
        self._images = images

    def _words(self) -> str:
        """LiteRT's words for the last error."""
        lib = self._library
        try:
            message = lib.made("CompiledModelGetErrorMessages", self._compiled)
            lib.call("CompiledModelClearErrors", self._compiled)
        except EngineError:
            return ""
        words = ctypes.string_at(message).decode(errors="replace")
        lib.c.free(message)
        return " ".join(words.split())

    def _free_buffers(self) -> None:
        self._images, self._memory = 0, []
        while self._buffers:
            self._library.call("DestroyTensorBuffer", self._buffers.pop())

    def __del__(self) -> None:
        if not hasattr(self, "_library"):  # it did not load
            return
        self._free_buffers()
        self._library.call("DestroyCompiledModel", self._compiled)
        self._library.call("DestroyModel", self._model)


class Quiet:
    """Standard error kept back while a model loads: LiteRT gives its reasons there alone."""

    def __enter__(self) -> Self:
        self.words = ""
        sys.stderr.flush()
        # A file, as it has room for all that other threads write meanwhile; a pipe has 64 KB.
        self._kept = _unnamed_file()
        self._saved = os.dup(2)
        os.dup2(self._kept, 2)
        return self

    def __exit__(self, *error: object) -> None:
        os.dup2(self._saved, 2)
        os.close(self._saved)
        text = os.pread(self._kept, os.fstat(self._kept).st_size, 0)
        os.close(self._kept)
        reasons = []
        for line in text.splitlines(keepends=True):
            kind, _, rest = line.partition(b": ")
            place, _, words = rest.partition(b"] ")
            number = place.rpartition(b":")[2]
            if kind in KINDS and place.startswith(b"[") and number.isdigit():
                if kind == b"ERROR":
                    reasons.append(words.decode(errors="replace"))
            elif line.strip() and not line.startswith(NOTICE):  # another thread's
                os.write(2, line)
        self.words = " ".join(" ".join(reasons).split())


def _unnamed_file() -> int:
    """A new file without a name, in memory where the system can."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("stderr")
    import tempfile

    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _dimensions(layout: TensorLayout) -> tuple[int, ...]:
    return tuple(layout.dimensions[: layout.rank & 127])
