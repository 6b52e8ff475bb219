"""python -m convert MODEL ...: the same as `k2l convert`."""

import os
import sys

# No file of the current folder replaces a module of Python's or of a package.
sys.path[:] = [path for path in sys.path if path not in ("", os.getcwd())]  # noqa: PTH109

try:
    from keras_to_lambda.cli.main import main
except ModuleNotFoundError:  # not installed: this clone's own
    from pathlib import Path

    sys.path.append(str(Path(__file__).resolve().parents[1] / "src"))
    from keras_to_lambda.cli.main import main

sys.exit(main(["convert", *sys.argv[1:]]))
