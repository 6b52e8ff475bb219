"""python -m keras_to_lambda VERB: the command `k2l`, by the interpreter that is named."""

import os
import sys

# `python -m` puts the current folder in front: no file there may replace a module of Python's or
# of a package.
try:
    _current = os.getcwd()  # noqa: PTH109
except OSError:  # removed
    _current = ""
sys.path[:] = [path for path in sys.path if path not in ("", _current)]

from keras_to_lambda.cli.main import main  # noqa: E402

sys.exit(main())
