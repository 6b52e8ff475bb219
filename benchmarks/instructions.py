"""(f) Instructions of one inference on a processor with AVX2 and no more.

Valgrind's processor has no AVX-512, VNNI or AMX: XNNPACK then chooses the kernels that such a
machine would get. Where int8 takes as many instructions there as float32, what it gains elsewhere
is those extensions'.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from typing import Any

from benchmarks.contenders import FLOOR
from benchmarks.material import FORMS, ROOT, model
from benchmarks.table import markdown, number

_INFER = """
import sys
import numpy as np
from ai_edge_litert.interpreter import Interpreter
interpreter = Interpreter(model_path=sys.argv[1], num_threads=1)
interpreter.allocate_tensors()
detail = interpreter.get_input_details()[0]
interpreter.set_tensor(detail["index"], np.zeros(detail["shape"], detail["dtype"]))
for _ in range(int(sys.argv[2])):
    interpreter.invoke()
"""


def instructions(_: bool, results: dict[str, Any]) -> str:
    """Thousand millions of instructions by network and form."""
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        return "Skipped: valgrind is not installed (Debian: apt-get install valgrind)."
    rows = []
    # The others take valgrind a quarter of an hour each.
    for network in ("MobileNetV2",):
        counted = {}
        for form in FORMS:
            one, three = (_count(valgrind, str(model(network, form)), n) for n in (1, 3))
            counted[form] = (three - one) / 2 / 1e9
        ratio = counted["int8"] / counted["float32"]
        rows.append([network, *(number(counted[form], 2) for form in FORMS), number(ratio, 2)])
    results["instructions"] = rows
    return markdown(("thousand millions of instructions", *FORMS, "int8 / float32"), rows)


def _count(valgrind: str, path: str, times: int) -> int:
    done = subprocess.run(
        [valgrind, "--tool=callgrind", "--callgrind-out-file=/dev/null",
         FLOOR.python, "-c", _INFER, path, str(times)],
        cwd=ROOT, env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    found = re.search(r"Collected\s*:\s*(\d+)", done.stderr)
    assert found is not None, done.stderr[-1000:]
    return int(found[1])
