"""Run inside the image, by any Python from 3.8 on: what only the image itself can tell, as JSON.

python -c "$(cat probe.py)" lambda_function.lambda_handler
"""

import importlib.metadata
import importlib.util
import json
import os
import sys

handler = sys.argv[1]
task = os.environ.get("LAMBDA_TASK_ROOT", ".")
sys.path.insert(0, task)
module = handler.rpartition(".")[0].replace("/", ".")
try:
    found = bool(module) and importlib.util.find_spec(module) is not None
except ImportError:
    found = False
wheels = {
    distribution.metadata["Name"]: [
        line.split(":", 1)[1].strip()
        for line in (distribution.read_text("WHEEL") or "").splitlines()
        if line.startswith("Tag:")
    ]
    for distribution in importlib.metadata.distributions()
}
unreadable = [
    os.path.join(folder, name)  # noqa: PTH118
    for folder, folders, files in os.walk(task)
    for name in folders + files
    if not os.access(os.path.join(folder, name), os.R_OK)  # noqa: PTH118
]
json.dump(
    {
        "python": "{}.{}.{}".format(*sys.version_info[:3]),
        "glibc": os.confstr("CS_GNU_LIBC_VERSION"),
        "user": os.getuid(),
        "handler": found,
        "unreadable": unreadable,
        "wheels": wheels,
    },
    sys.stdout,
)
