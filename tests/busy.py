"""Run a command while every core is busy: python -m tests.busy COMMAND ...

Tests that only pass on a quiet machine fail here. The exit status is the command's.
"""

from __future__ import annotations

import os
import subprocess
import sys


def main(command: list[str]) -> int:
    """Start a process for each core that never rests, run the command, and end them."""
    # They end with their standard input, so that none is left if this process is killed.
    spin = "import sys, threading, os\n"
    spin += (
        "threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()\n"
    )
    spin += "while True: pass"
    spinners = [
        subprocess.Popen([sys.executable, "-c", spin], stdin=subprocess.PIPE)
        for _ in range(os.cpu_count() or 1)
    ]
    try:
        return subprocess.run(command, check=False).returncode
    finally:
        for spinner in spinners:
            spinner.kill()
            spinner.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
