"""All that runs in the function; it needs numpy, Pillow, the interpreter and keras-image-helper.

One request flows through once: event -> Request -> bytes -> pixels -> tensor -> logits -> response.
`handler.Handler` is the only place that knows this order; every other module owns one noun.
"""

import sys

# argv[0] while `python -m` looks for the command; the function is never started so.
if sys.argv[:1] == ["-m"]:
    from classifier.safe_path import leave_current_folder

    leave_current_folder()
