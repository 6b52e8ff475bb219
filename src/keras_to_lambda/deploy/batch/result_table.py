"""Table: the rows of a run's results as one Parquet, CSV or JSON Lines file."""

from __future__ import annotations

import csv
import itertools
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from keras_to_lambda.deploy.batch.cloud import BatchError
from keras_to_lambda.deploy.batch.ledger import Row

ROWS_AT_A_TIME = 50_000


def write(rows: Iterable[Row], path: Path) -> None:
    """Write a file that is whole or not there; its suffix decides what it is.

    Columns: image, model, label (the best), score, scores, error_code, error_message, retry, run.
    `scores` is a map in Parquet, an object in JSON Lines, and JSON text in CSV.

    Raises:
        BatchError: no such kind, or it cannot be written.
    """
    writer = writer_of(path)
    try:
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as folder:
            draft = Path(folder) / path.name
            with draft.open("wb") as file:
                writer(iter(rows), file)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
    except OSError as error:
        raise BatchError(f"{path} cannot be written: {error.strerror or error}") from error


def writer_of(path: Path) -> Callable[[Iterator[Row], IO[bytes]], None]:
    """What writes this file, by its suffix; asked for before the work, not after.

    Raises:
        BatchError: nothing does, or its folder is not there.
    """
    if not path.parent.is_dir():
        raise BatchError(f"{path} cannot be written: there is no folder {path.parent}")
    kinds = {".parquet": _parquet, ".csv": _csv, ".jsonl": _json_lines}
    try:
        return kinds[path.suffix]
    except KeyError:
        raise BatchError(f"{path}: name it .parquet, .csv or .jsonl") from None


def _parquet(rows: Iterator[Row], file: IO[bytes]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    text = pa.string()
    schema = pa.schema(
        {
            "image": text,
            "model": text,
            "label": text,
            "score": pa.float32(),
            "scores": pa.map_(text, pa.float32()),
            "error_code": text,
            "error_message": text,
            "retry": pa.bool_(),
            "run": text,
        }
    )
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        while some := list(itertools.islice(rows, ROWS_AT_A_TIME)):
            columns: dict[str, list[Any]] = {
                name: [getattr(row, name) for row in some] for name in schema.names
            }
            columns["scores"] = [
                None if scores is None else list(scores.items()) for scores in columns["scores"]
            ]
            writer.write_table(pa.table(columns, schema=schema))


def _csv(rows: Iterator[Row], file: IO[bytes]) -> None:
    # Not TextIOWrapper, which would close the file.
    lines = csv.writer(_Encoded(file))
    lines.writerow(Row._fields)
    for row in rows:
        scores = None if row.scores is None else json.dumps(row.scores, ensure_ascii=False)
        retry = "true" if row.retry else "false"
        lines.writerow([*row[:4], scores, *row[5:7], retry, row.run])


def _json_lines(rows: Iterator[Row], file: IO[bytes]) -> None:
    for row in rows:
        file.write(json.dumps(row._asdict(), ensure_ascii=False).encode() + b"\n")


class _Encoded:
    """What csv writes to: UTF-8 into a binary file."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def write(self, text: str) -> int:
        return self._file.write(text.encode())
