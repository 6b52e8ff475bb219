"""The frame of every command: one parser, one error format, one table of exit statuses.

    0    done
    1    done, with a negative result: not verified, different, a failed step
    2    wrong use: an option, a file, a setting; or a fault of the program, with its traceback
    3    not verified (convert, verify)
    130  interrupted (Ctrl-C)

A command raises `UserError` for what its user can correct; `command` turns it into one line and a
status.
"""

from __future__ import annotations

import argparse
import difflib
import functools
import os
import re
import sys
import textwrap
from collections.abc import Callable, Iterable
from typing import Any, NoReturn, ParamSpec

from keras_to_lambda.cli.progress import plain
from keras_to_lambda.runtime.common.errors import ClassifierError, UserError

OK, FAILED, WRONG_USE, NOT_VERIFIED, INTERRUPTED = 0, 1, 2, 3, 130

P = ParamSpec("P")

# As argparse words it.
_CHOICE = re.compile(r"(argument .+): invalid choice: '(.*)' \(choose from (.*)\)")


class Parser(argparse.ArgumentParser):
    """A command line whose epilog is printed as written, and whose errors are one line.

    An error states what is wrong, the nearest right value, and where to read more.
    """

    def __init__(
        self, prog: str, description: str | None = None, epilog: str | None = None, **options: Any
    ) -> None:
        if description and "\n" not in description:
            description = textwrap.fill(description, 79)
        options.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        # An abbreviation would hide a secret from `html_report.command_line`, and break with the
        # next option.
        options.setdefault("allow_abbrev", False)
        super().__init__(prog=prog, description=description, epilog=epilog, **options)

    def error(self, message: str) -> NoReturn:
        """Print what is wrong, and exit with 2."""
        wrong = _CHOICE.fullmatch(message)
        if wrong:
            known = re.findall(r"'?([^',\s]+)'?", wrong[3])
            near = nearest(wrong[2], known) or f"choose from {', '.join(known)}"
            message = f"{wrong[1]}: unknown value {wrong[2]!r}; {near}"
        self.exit(WRONG_USE, f"{self.prog}: {plain(message)}; see {self.prog} -h\n")


def fail(name: str, error: BaseException | str) -> None:
    """Print the one line of a failed command: its name, and the error without control characters.

    Of an operating system's error: the file and the reason, not its number.
    """
    if isinstance(error, OSError) and error.strerror:
        error = ": ".join(map(str, filter(None, (error.filename, error.strerror))))
    print(f"{name}: {plain(str(error))}", file=sys.stderr)


def command(
    name: str, *, refused: int = WRONG_USE, interrupted: str = "stopped"
) -> Callable[[Callable[P, int]], Callable[P, int]]:
    """Decorate a command's `main(argv)`: its errors become a line and an exit status.

    Args:
        name: as it is typed. refused: the status of a UserError. interrupted: printed at Ctrl-C.
    """

    def decorate(main: Callable[P, int]) -> Callable[P, int]:
        @functools.wraps(main)
        def framed(*args: P.args, **options: P.kwargs) -> int:
            try:
                return main(*args, **options)
            except BrokenPipeError:  # `| head`
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                return OK
            except (UserError, ClassifierError, OSError) as error:
                fail(name, error)
                return refused
            except KeyboardInterrupt:
                print(f"\n{name}: {interrupted}", file=sys.stderr)
                return INTERRUPTED

        return framed

    return decorate


def nearest(wrong: str, known: Iterable[str]) -> str:
    """A question with the nearest known name; "" if none is near."""
    found = difflib.get_close_matches(wrong.lower(), list(known), 1)
    if not found:
        found = [name for name in known if name.rpartition(":")[2] == wrong.lower()][:1]
    return f"did you mean {found[0]}?" if found else ""
