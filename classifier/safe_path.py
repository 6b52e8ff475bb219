"""Safe path: no file in the current folder stands in for a module of Python's or of a package.

`python -m` puts the current folder in front of all others on the module search path. What is
imported here is loaded already at that time: no `from __future__ import`, which loads a module.
"""

import os
import sys
from importlib.machinery import ModuleSpec, PathFinder

PROJECT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120
PACKAGES = ("classifier", "convert", "train", "serve", "deploy", "benchmarks", "samples", "tests")


class _Project:
    """Finds the project's packages, and nothing else that is in its folder."""

    @staticmethod
    def find_spec(name: str, *_: object) -> ModuleSpec | None:
        found = PathFinder.find_spec(name, [PROJECT]) if name in PACKAGES else None
        return found if found and found.submodule_search_locations is not None else None


def leave_current_folder() -> None:
    """Take the current folder and the project's off the module search path."""
    try:
        current = os.getcwd()  # noqa: PTH109
    except OSError:  # it was removed
        current = ""
    sys.path[:] = [path for path in sys.path if path not in ("", current, PROJECT)]
    if _Project not in sys.meta_path:
        sys.meta_path.append(_Project)
