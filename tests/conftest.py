"""All tests: processes that they start import the package from this tree."""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
os.environ["PYTHONPATH"] = os.pathsep.join((str(ROOT / "src"), str(ROOT)))
# `k2l`, as the documents have it, is this environment's.
os.environ["PATH"] = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))

try:
    import hypothesis
except ModuleNotFoundError:  # the environment with TensorFlow has none
    pass
else:
    # A busy machine is no fault of an example.
    hypothesis.settings.register_profile("project", deadline=None)
    hypothesis.settings.load_profile("project")
