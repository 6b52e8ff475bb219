"""A trained Keras classifier -> a self-describing `.tflite`, and the proof that the two agree."""

import importlib.util
import sys

import classifier  # noqa: F401  # leaves the current folder before anything else is imported

# argv[0] is that while `python -m` looks for the command. Said here, as the traceback of an import
# deep in a module would not say what to do. The sandbox also runs a .tflite by the interpreters of
# other environments, which have no TensorFlow and need none.
if (
    sys.argv[:1] == ["-m"]
    and "convert.sandbox" not in sys.orig_argv
    and importlib.util.find_spec("tensorflow") is None
):
    print(
        "there is no TensorFlow in this environment; `make setup` makes one that has it: "
        "say .venv-tf/bin/python in place of " + sys.executable.rpartition("/")[2],
        file=sys.stderr,
    )
    raise SystemExit(2)
