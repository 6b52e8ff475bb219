"""KerasModel: the trained network as a function, whatever kind of file it came in."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from convert import keras1, repair
from convert.errors import ConvertError
from convert.saved import SavedFile, is_security_refusal

# What the user's file is called as a module.
CUSTOM = "custom_objects"
# What Keras 2 and 3 say of a class or function that they do not know.
_UNKNOWN = ("custom_objects", "custom object", "Unknown layer", "Could not locate", "Unknown activ")


@dataclass(frozen=True)
class KerasModel:
    """A network with one image input and one vector of scores.

    call: float32 tensor (batch, height, width, channels) -> (batch, classes), in inference mode.
    kind: "keras", "h5" or "saved_model". written_by: the version that wrote the file, if it says.
    loaded_by: the library that loaded it, with its version.
    notes: sentences about what was done to the network so that it can be served.
    parameters: how many numbers were trained; None for SavedModels.
    sha256: of the file, as it was judged and loaded.
    anchor: keeps the variables alive that `call` reads.
    flatbuffer: of a `.tflite`, which needs no conversion; None for all others.
    dtype: of the served network's input, where it is not the converter's choice.
    """

    path: Path
    kind: str
    call: Callable[[Any], Any]
    height: int
    width: int
    channels: int
    classes: int
    anchor: Any
    written_by: str | None = None
    loaded_by: str = ""
    notes: tuple[str, ...] = ()
    parameters: int | None = None
    layers: tuple[str, ...] = ()
    flatbuffer: bytes | None = None
    dtype: str = "float32"
    sha256: str = ""

    def concrete(self) -> Any:
        """The network as a TensorFlow graph for exactly one image: (1, height, width, channels)."""
        spec = tf.TensorSpec((1, self.height, self.width, self.channels), tf.float32, name="image")
        graph = tf.function(
            lambda image: tf.cast(self.call(image), tf.float32),
            autograph=False,
        ).get_concrete_function(spec)
        try:
            graph(tf.zeros(spec.shape))
        except tf.errors.OpError as error:
            # CuDNN's recurrent layers, for one, run on graphics cards alone.
            raise ConvertError(
                f"{self.path} cannot be computed on a CPU: {_first_line(error)}. Build that layer "
                "of others (LSTM for CuDNNLSTM), give it the same weights, and save the model anew"
            ) from error
        return graph


@dataclass(frozen=True)
class Wanted:
    """What the user said about the model file.

    size: (height, width), where the model leaves it open. head: the name or index of the output,
    where there are several. trust: run the code that the file carries. custom: a Python file that
    defines the layers and functions that the model names. backend: what trained the model, where
    the file does not say it: "tensorflow" or "theano".
    """

    size: tuple[int, int] | None = None
    head: str | None = None
    trust: bool = False
    custom: Path | None = None
    backend: str | None = None

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Wanted:
        """Of JSON values, as they come into the sandbox."""
        size, custom = data.get("size"), data.get("custom")
        return cls(
            size=(size[0], size[1]) if size else None,
            head=data.get("head"),
            trust=bool(data.get("trust")),
            custom=Path(custom) if custom else None,
            backend=data.get("backend"),
        )


def load(path: Path, wanted: Wanted | None = None) -> KerasModel:
    """Load a `.keras` or `.h5` file of any Keras, or a SavedModel folder.

    Keras 3 is asked first, then tf_keras, which is Keras 2 and reads what Keras 3 no longer does.

    Raises:
        ConvertError: it cannot be loaded, carries code, or is not an image classifier.
    """
    wanted = wanted or Wanted()
    with tempfile.TemporaryDirectory(prefix="model-") as folder:
        saved = SavedFile.read(path, Path(folder))
        if saved.faults:
            raise ConvertError(f"{path} is refused: " + "; ".join(saved.faults))
        if saved.code and not wanted.trust:
            raise ConvertError(f"{path} is refused: " + next(saved.refusals()))
        return replace(_load(path, saved, wanted), sha256=saved.sha256)


def _load(path: Path, saved: SavedFile, wanted: Wanted) -> KerasModel:
    """The network of a file that was judged. `path` is for messages: what is opened is the copy."""
    if saved.kind == "saved_model":
        return _saved_model(path, saved, wanted)
    model, custom, loaded_by, notes = _loaded(path, saved, wanted)
    model, more = _plain(model, custom)
    if (wanted.backend or saved.backend) == "theano":
        more += _turned(path, model)
    elif saved.kind == "h5" and not saved.backend and not wanted.backend:
        more += (
            "the file does not say which backend trained it; TensorFlow is assumed. If it was "
            "Theano, its answers are wrong without --backend theano",
        )
    output = _head(path, model, wanted)
    if len(model.inputs) != 1:
        raise ConvertError(
            f"{path} has {len(model.inputs)} inputs; an image classifier has one. Wrap it in a "
            "model that takes the image alone"
        )

    def call(image: Any) -> Any:
        scores = model(image, training=False)
        # Lists and dicts in the order of `outputs`: a dict's by its sorted keys.
        return tf.nest.flatten(scores)[output or 0]

    shape = model.outputs[output or 0].shape
    found = _checked(path, saved.kind, call, model.inputs[0].shape, shape, wanted, model)
    return replace(
        found,
        written_by=saved.written_by,
        loaded_by=loaded_by,
        notes=(*notes, *more, *found.notes),
        parameters=int(model.count_params()),
        layers=tuple(layer.name for layer in _layers(model)),
    )


def _loaded(
    path: Path, saved: SavedFile, wanted: Wanted
) -> tuple[Any, dict[str, Any], str, tuple[str, ...]]:
    """The model by the first library that loads it, custom objects, the library, and notes."""
    custom = _custom(path, saved, wanted)
    try:
        return _keras3(saved, custom, wanted), custom, f"keras {keras.__version__}", ()
    except Exception as error:
        # Keras raises whatever its layers raise.
        if is_security_refusal(error):
            raise ConvertError(f"{path} is refused by Keras: {_first_line(error)}") from error
        reasons = {f"Keras {keras.__version__}": _first_line(error)}
        cause = error
    if not str(saved.written_by or "").startswith("3"):
        try:
            import tf_keras
        except ModuleNotFoundError:
            reasons["tf_keras"] = "is not installed: pip install --no-deps tf_keras"
        else:
            try:
                with _as_it_was():
                    custom = _custom(path, saved, wanted)
                model = _keras2(saved, custom, wanted)
            except Exception as error:  # noqa: BLE001
                reasons[f"tf_keras {tf_keras.__version__}"] = _first_line(error)
                cause = error
            else:
                why = next(iter(reasons.values()))
                why = why if len(why) <= 100 else why[:100].rstrip() + "..."
                note = f"Keras 3 cannot load the file ({why}); tf_keras did"
                return model, custom, f"tf_keras {tf_keras.__version__}", (note,)
    writer = f"written by Keras {saved.written_by}" if saved.written_by else "of an unknown Keras"
    unknown = any(sign in reason for reason in reasons.values() for sign in _UNKNOWN)
    remedy = (
        "the model has layers or functions of its own: give the Python file that defines them with "
        "--custom"
        if unknown
        else "load it where it was trained and save it anew as .keras, or export() it as a "
        "SavedModel"
    )
    raise ConvertError(
        f"cannot load {path}, {writer}: "
        + "; ".join(f"{who}: {why}" for who, why in reasons.items())
        + f". What to do: {remedy}"
    ) from cause


def _keras3(saved: SavedFile, custom: dict[str, Any], wanted: Wanted) -> Any:
    if wanted.trust:
        keras.config.enable_unsafe_deserialization()
    return keras.models.load_model(
        saved.copy, custom_objects=custom, compile=False, safe_mode=not wanted.trust
    )


def _keras2(saved: SavedFile, custom: dict[str, Any], wanted: Wanted) -> Any:
    import tf_keras

    path = saved.copy
    assert path is not None
    with tempfile.TemporaryDirectory(prefix="convert-") as folder:
        if saved.kind == "h5" and keras1.is_one(saved.written_by, saved.config):
            assert saved.config is not None
            file = keras1.translated(path, saved.config, Path(folder))
        else:
            file = repair.moved(path, Path(folder)) or path
        return tf_keras.models.load_model(
            file,
            custom_objects=custom,
            compile=False,
            safe_mode=not wanted.trust,
        )


def _custom(path: Path, saved: SavedFile, wanted: Wanted) -> dict[str, Any]:
    """What the model names of the user's file, by name.

    Both Keras import the module that a configuration names, for what is not Keras's: it is made to
    be the user's file, by whatever name, and nothing else.

    Raises:
        ConvertError: the model names something that the file does not define.
    """
    module = _module(wanted)
    found = {}
    for name, thing in saved.own:
        bare = thing.rpartition(">")[2]
        if module is not None and callable(value := getattr(module, bare, None)):
            found[bare] = found[thing] = value
            # Never in place of a module that Python has already.
            known = sys.modules.get(name, module)
            if name and known.__spec__ and known.__spec__.name == CUSTOM:
                sys.modules[name] = module
        elif not wanted.trust:
            raise ConvertError(
                f"{path} has a layer or function that is not of Keras, {thing}"
                + (f" of the module {name!r}" if name else "")
                + ": give the Python file that defines it with --custom"
            )
    return found


@contextlib.contextmanager
def _as_it_was() -> Iterator[None]:
    """While a user's file is run for Keras 2: `keras` and `tf.keras` are tf_keras, as they were."""
    import tf_keras

    def of_keras() -> dict[str, Any]:
        return {
            name: module
            for name, module in sys.modules.items()
            if name.partition(".")[0] == "keras" or name.startswith("tensorflow.keras")
        }

    three, modules = tf.keras, of_keras()
    for name in modules:
        del sys.modules[name]
    sys.modules["keras"] = sys.modules["tensorflow.keras"] = tf.keras = tf_keras
    try:
        yield
    finally:
        for name in of_keras():
            del sys.modules[name]
        sys.modules.update(modules)
        tf.keras = three


def _module(wanted: Wanted) -> Any:
    """The user's file as a module, run anew each time; None: there is none."""
    if wanted.custom is None:
        return None
    spec = importlib.util.spec_from_file_location(CUSTOM, wanted.custom)
    if spec is None or spec.loader is None or not wanted.custom.exists():
        raise ConvertError(f"--custom {wanted.custom} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ConvertError(f"--custom {wanted.custom} fails: {_first_line(error)}") from error
    return module


def _first_line(error: Exception) -> str:
    """The part of a library's message that a person can use."""
    # Keras wraps the cause, config and all, around it.
    text = str(error).rpartition("Exception encountered: ")[2].strip() or repr(error)
    return text.splitlines()[0][:300]


def _plain(model: Any, custom: dict[str, Any]) -> tuple[Any, tuple[str, ...]]:
    """The same network in float32 and for any number of images at a time."""
    notes = []
    config = model.get_config()
    text = json.dumps(config, default=str)
    if "mixed_float16" in text or "mixed_bfloat16" in text:
        notes.append("mixed precision: computed in float32, the type that its weights have")
    fixed = model.inputs[0].shape[0]
    if fixed not in (None, 1):
        notes.append(f"a batch of {fixed} was fixed in the model: one image at a time is served")
    if not notes:
        return model, ()
    with _scope(model)(custom):
        twin = type(model).from_config(_float32_of_one(config))
    twin.set_weights(model.get_weights())
    return twin, tuple(notes)


def _turned(path: Path, model: Any) -> tuple[str, ...]:
    """Turn the kernels of a network that Theano trained, as neither Keras 2.x's heir nor 3 does.

    Theano's convolutions turn their kernels by 180 degrees, TensorFlow's do not: keras.utils'
    convert_all_kernels_in_model (https://keras.io/api/utils, until Keras 2.3).
    """
    for layer in _layers(model):
        strides = getattr(layer, "strides", None) or (1,)
        if getattr(layer, "padding", None) == "same" and set(np.ravel(strides)) != {1}:
            # Theano puts half of the border on either side, TensorFlow the odd rest at the end.
            raise ConvertError(
                f"{path} was trained on Theano, which pads the strided layer {layer.name!r} in "
                "another way than TensorFlow: put a ZeroPadding2D in front of it, make it "
                "padding='valid', and save the model anew"
            )
        if type(layer).__name__ in ("Conv1D", "Conv2D", "Conv2DTranspose"):
            kernel, *rest = layer.get_weights()
            layer.set_weights([np.flip(kernel, axis=tuple(range(kernel.ndim - 2))), *rest])
    return ("trained on Theano: the kernels of its convolutions were turned by 180 degrees",)


def _scope(model: Any) -> Any:
    """The library's way of naming custom objects."""
    if type(model).__module__.startswith("tf_keras"):
        import tf_keras

        return tf_keras.utils.custom_object_scope
    return keras.utils.custom_object_scope


def _float32_of_one(config: Any) -> Any:
    """A copy of a configuration: float32 in place of mixed precision, and the batch left open."""
    if isinstance(config, dict):
        if config.get("class_name") in ("Policy", "DTypePolicy") and str(
            config.get("config", {}).get("name")
        ).startswith("mixed_"):
            return "float32"
        changed = {key: _float32_of_one(value) for key, value in config.items()}
        for key in ("batch_input_shape", "batch_shape", "build_input_shape"):
            shape = changed.get(key)
            if isinstance(shape, list | tuple) and len(shape) > 1:
                changed[key] = type(shape)((None, *shape[1:]))
        return changed
    if isinstance(config, list | tuple):
        return type(config)(_float32_of_one(value) for value in config)
    return "float32" if config in ("mixed_float16", "mixed_bfloat16") else config


def _head(path: Path, model: Any, wanted: Wanted) -> int | None:
    """Which of a model's outputs is the classifier's; None: there is one."""
    names = list(getattr(model, "output_names", None) or [])
    if len(model.outputs) == 1:
        if wanted.head is not None and wanted.head not in (*names, "0"):
            raise ConvertError(f"{path} has one output; leave --head away")
        return None
    if wanted.head is None:
        listed = ", ".join(
            f"{name} {tuple(output.shape)}"
            for name, output in zip(names, model.outputs, strict=False)
        )
        raise ConvertError(
            f"{path} has {len(model.outputs)} outputs ({listed}): choose one with --head NAME"
        )
    index = names.index(wanted.head) if wanted.head in names else None
    if index is None and wanted.head.isdecimal() and int(wanted.head) < len(model.outputs):
        index = int(wanted.head)
    if index is None:
        raise ConvertError(
            f"{path} has no output {wanted.head!r}; it has {', '.join(names)}, or 0 to "
            f"{len(model.outputs) - 1}"
        )
    return index


def _layers(model: Any) -> list[Any]:
    """Every layer once, those of nested models too: one that is used twice is one layer."""
    found: dict[int, Any] = {}
    waiting = list(model.layers)
    while waiting:
        layer = waiting.pop(0)
        if id(layer) not in found:
            found[id(layer)] = layer
            waiting += getattr(layer, "layers", None) or []
    return list(found.values())


def _saved_model(path: Path, saved: SavedFile, wanted: Wanted) -> KerasModel:
    try:
        loaded = tf.saved_model.load(str(saved.copy))
    except Exception as error:
        reason = _first_line(error)
        raise ConvertError(f"TensorFlow {tf.__version__} cannot load {path}: {reason}") from error
    signature = loaded.signatures.get("serving_default")
    if signature is None:
        raise ConvertError(
            f"{path} has no signature serving_default (it has "
            f"{', '.join(loaded.signatures) or 'none'}); save it with model.export()"
        )
    inputs = signature.structured_input_signature[1]
    outputs = signature.structured_outputs
    if len(inputs) != 1:
        raise ConvertError(
            f"{path}: its signature has {len(inputs)} inputs; an image classifier has one"
        )
    key = wanted.head
    if key is None and len(outputs) == 1:
        key = next(iter(outputs))
    if key is None:
        raise ConvertError(
            f"{path} has {len(outputs)} outputs ({', '.join(outputs)}): choose one with --head NAME"
        )
    if key not in outputs:
        raise ConvertError(f"{path} has no output {key!r}; it has {', '.join(outputs)}")
    (name, spec), out = next(iter(inputs.items())), outputs[key]
    shape = tuple(spec.shape) if spec.shape.rank is not None else ()
    if shape and shape[0] not in (None, 1):
        raise ConvertError(
            f"{path} was exported for batches of {shape[0]}; export it for one image or any number"
        )
    found = _checked(
        path,
        saved.kind,
        lambda image: signature(**{name: tf.cast(image, spec.dtype)})[key],
        shape,
        tuple(out.shape) if out.shape.rank is not None else (),
        wanted,
        loaded,
    )
    version = f"tensorflow {tf.__version__}"
    return replace(found, written_by=saved.written_by, loaded_by=version)


def _checked(
    path: Path,
    kind: str,
    call: Callable[[Any], Any],
    shape: Any,
    outputs: Any,
    wanted: Wanted,
    anchor: Any,
) -> KerasModel:
    shape, outputs = tuple(shape), tuple(outputs)
    notes = []
    if len(shape) == 4 and shape[1] in (1, 3, 4) and shape[3] not in (1, 3, 4):
        shape, call = (shape[0], *shape[2:], shape[1]), _channels_first(path, call, shape)
        notes.append("channels first in the network: the picture is turned in front of it")
    flat = len(outputs) == 4 and outputs[1:3] == (1, 1)
    if len(shape) != 4 or not (len(outputs) == 2 or flat) or outputs[-1] is None:
        raise ConvertError(
            f"{path} maps {shape} to {outputs}; an image classifier maps (batch, height, width, "
            "channels) to (batch, classes)"
        )
    height, width, channels = shape[1:]
    if channels not in (1, 3, 4):
        raise ConvertError(f"{path} takes {channels} channels (last axis); 1, 3 and 4 are served")
    size = wanted.size
    if size and not (height in (None, size[0]) and width in (None, size[1])):
        raise ConvertError(f"{path} takes {height} x {width} pixels, not {size[0]} x {size[1]}")
    height, width = size or (height, width)
    if not height or not width:
        raise ConvertError(f"{path} leaves its input size open: give --size HEIGHTxWIDTH")
    classes = int(outputs[-1])
    inner = call
    return KerasModel(
        path,
        kind,
        (lambda image: tf.reshape(inner(image), (-1, classes))) if flat else call,
        int(height),
        int(width),
        int(channels),
        classes,
        anchor,
        notes=tuple(notes),
    )


def _channels_first(
    path: Path, call: Callable[[Any], Any], shape: tuple[Any, ...]
) -> Callable[[Any], Any]:
    """A network of (batch, channels, height, width) for pictures with their channels last."""
    try:
        call(tf.zeros([1 if n is None else n for n in shape]))
    except Exception as error:
        # Keras 3 turns the tensors itself, Keras 2 leaves that to graphics cards.
        raise ConvertError(
            f"{path} takes its channels first, {shape}, and TensorFlow cannot compute that on a "
            f"CPU ({_first_line(error)}). Build the same network with data_format='channels_last', "
            "give it the weights with set_weights(old.get_weights()), and save that; the weights "
            "have the same shapes, but a Dense layer's behind a Flatten come in another order"
        ) from error
    return lambda image: call(tf.transpose(image, (0, 3, 1, 2)))


def of_two_classes(model: KerasModel, *, sigmoid: bool) -> KerasModel:
    """A network with one output as one with two: of the first label, and of the second.

    The output is that of the second label, as Keras's binary losses and `flow_from_directory` have
    it. A sigmoid's p becomes (1 - p, p); a logit z becomes (0, z), whose softmax is sigmoid(z).
    """

    def call(image: Any) -> Any:
        second = model.call(image)
        first = 1 - second if sigmoid else tf.zeros_like(second)
        return tf.concat([first, second], axis=-1)

    kind = "probability" if sigmoid else "logit"
    note = f"one output, the {kind} of the second label: written as two, one for each label"
    return replace(model, call=call, classes=2, notes=(*model.notes, note))


def predict(graph: Any, tensor: np.ndarray) -> np.ndarray:
    """Run a concrete function on one image: (height, width, channels) -> (classes,), float32."""
    result = graph(tf.constant(tensor[np.newaxis]))
    return np.asarray(result)[0]
