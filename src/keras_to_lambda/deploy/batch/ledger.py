"""Ledger: for each image of a run the best that is known of it, and the sums of all of them.

It is a SQLite file that is deleted when it is closed: a run of ten million images is read in the
memory of one. A line that comes again, by a redrive or a later part, replaces a worse one, so
that reading anything twice changes nothing.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from enum import IntEnum
from pathlib import Path
from typing import Any, NamedTuple, Self

from keras_to_lambda.deploy.batch.cloud import BatchError


class Standing(IntEnum):
    """What is known of an image; a higher one replaces a lower one."""

    LISTED = 0  # it is in the input, and nothing else is known
    UNDONE = 1  # its batch failed, or was never started
    AGAIN = 2  # a temporary error
    REFUSED = 3  # an error that the same image will have again
    ANSWERED = 4

    @classmethod
    def of(cls, line: Any) -> Standing:
        """Of an image with this line in the results; None: its batch has no answer."""
        match line:
            case {"scores": dict()}:
                return cls.ANSWERED
            case {"error": dict(), "retry": True}:
                return cls.AGAIN
            case {"error": dict()}:
                return cls.REFUSED
        return cls.UNDONE


class LedgerRow(NamedTuple):
    """One image of the results. scores: by label, best first where top_k was asked for."""

    image: str
    model: str | None
    label: str | None
    score: float | None
    scores: Mapping[str, float] | None
    error_code: str | None
    error_message: str | None
    retry: bool
    run: str | None


class Summary(NamedTuple):
    """A run's ledger. inputs + unlisted = answered + refused + again + missing = rows.

    answered: by label. refused, again: by code.
    unlisted: images of the results that the input does not have, as it is now.
    """

    inputs: int
    unlisted: int
    answered: Mapping[str, int]
    refused: Mapping[str, int]
    again: Mapping[str, int]
    missing: int
    duplicates: int


# The file is scratch: what a crash leaves of it is not read.
SCHEMA = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
CREATE TABLE images (
  name TEXT PRIMARY KEY, standing INTEGER, part INTEGER, item TEXT, line TEXT,
  what TEXT, listed INTEGER
) WITHOUT ROWID;
BEGIN;
"""
# A tie goes to the later part.
PUT = """
INSERT INTO images VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0)
ON CONFLICT (name) DO UPDATE SET
  standing = excluded.standing, part = excluded.part, item = excluded.item,
  line = excluded.line, what = excluded.what
WHERE (excluded.standing, excluded.part) > (standing, part)
"""
# What the input lists twice is counted, not repeated.
LIST = """
INSERT INTO images VALUES (?1, 0, 0, ?2, NULL, NULL, 1)
ON CONFLICT (name) DO UPDATE SET listed = listed + 1
"""
COUNT = """
SELECT standing, what, count(*), sum(listed > 0), sum(max(listed, 1) - 1)
FROM images GROUP BY 1, 2 ORDER BY 3 DESC, 2
"""


def is_folder(name: str) -> bool:
    """Whether it is a folder that S3's console made: a key with no picture in it."""
    return name.startswith("s3://") and name.endswith("/")


@contextlib.contextmanager
def scratch() -> Iterator[None]:
    """Turn what a full temporary folder raises into one line with a remedy."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        # Not gettempdir(), which raises in its turn where there is none.
        raise BatchError(
            f"the temporary folder {tempfile.tempdir or ''} cannot be written ({error}): make room "
            "there, or set TMPDIR to a folder that has some"
        ) from error


class Ledger:
    """A run's images, from `with` to the end of its block.

    Raises:
        BatchError: the temporary folder has no room for it; as the block ends, for what is in it.
    """

    def __init__(self) -> None:
        with scratch(), contextlib.ExitStack() as opened:
            folder = opened.enter_context(tempfile.TemporaryDirectory(prefix="ledger-"))
            self._db = sqlite3.connect(Path(folder) / "images.sqlite", isolation_level=None)
            opened.callback(self._db.close)
            self._db.executescript(SCHEMA)
            self._opened = opened.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        self._opened.close()
        if isinstance(error, sqlite3.Error):
            with scratch():
                raise error

    def list(self, name: str, item: Any) -> None:
        """Note an image of the input."""
        if not is_folder(name):
            self._db.execute(LIST, (name, json.dumps(item)))

    def put(self, name: str, standing: Standing, part: int, item: Any, line: Any = None) -> None:
        """Note what the results of part number `part` have of an image."""
        if is_folder(name):
            return
        line = line if isinstance(line, dict) else {}
        scores, error = line.get("scores"), line.get("error")
        what = error.get("code") if isinstance(error, dict) else None
        if scores:
            what = max(scores, key=scores.__getitem__)
        # An image that is done is not asked for again.
        again = json.dumps(item) if standing <= Standing.AGAIN else None
        self._db.execute(PUT, (name, standing, part, again, json.dumps(line), what))

    def rows(self, parts: Mapping[int, str]) -> Iterator[LedgerRow]:
        """Every image, by name. parts: their names by number."""
        for name, standing, part, line, what in self._db.execute(
            "SELECT name, standing, part, line, what FROM images ORDER BY name"
        ):
            known = json.loads(line) if line else {}
            scores = known.get("scores")
            code, message = what, (known.get("error") or {}).get("message")
            if standing < Standing.AGAIN:
                code, message = "missing", "no answer is there; `resume` asks for it"
            yield LedgerRow(
                image=name,
                model=known.get("model"),
                label=what if scores else None,
                score=scores[what] if scores else None,
                scores=scores,
                error_code=None if scores else code,
                error_message=message,
                retry=standing <= Standing.AGAIN,
                run=parts.get(part),
            )

    def undone(self) -> Iterator[Any]:
        """The items of all images that another try may answer, by name."""
        for (item,) in self._db.execute(
            "SELECT item FROM images WHERE standing <= ? ORDER BY name", (Standing.AGAIN,)
        ):
            yield json.loads(item)

    def summary(self) -> Summary:
        """The sums over all images."""
        by: defaultdict[int, Counter[str]] = defaultdict(Counter)
        listed = duplicates = 0
        for standing, what, count, of_input, repeated in self._db.execute(COUNT):
            by[standing][what] += count
            listed += of_input
            duplicates += repeated
        return Summary(
            inputs=listed,
            unlisted=sum(map(Counter.total, by.values())) - listed,
            answered=by[Standing.ANSWERED],
            refused=by[Standing.REFUSED],
            again=by[Standing.AGAIN],
            missing=by[Standing.LISTED].total() + by[Standing.UNDONE].total(),
            duplicates=duplicates,
        )
