"""Table: the rows of a run's results as one Parquet, CSV or JSON Lines file."""

from __future__ import annotations

import csv
import itertools
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from keras_to_lambda.deploy.batch.cloud import BatchError
from keras_to_lambda.deploy.batch.ledger import LedgerRow

ROWS_AT_A_TIME = 50_000


def write(rows: Iterable[LedgerRow], path: Path) -> None:
    """Write a file that is whole or not there; its suffix decides the format.

    `scores` is a map in Parquet, an object in JSON Lines, and JSON text in CSV.

    Raises:
        BatchError: no such format, or it cannot be written.
    """
    writer = writer_of(path)
    try:
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}-") as folder:
            draft = Path(folder) / path.name
            writer(iter(rows), draft)
            with draft.open("rb") as file:
                os.fsync(file.fileno())
            draft.replace(path)
    except OSError as error:
        raise BatchError(f"{path} cannot be written: {error.strerror or error}") from error


def writer_of(path: Path) -> Callable[[Iterator[LedgerRow], Path], None]:
    """The function that writes this file, by its suffix; looked up before the work, not after.

    Raises:
        BatchError: there is none, or the file's folder does not exist.
    """
    if not path.parent.is_dir():
        raise BatchError(f"{path} cannot be written: there is no folder {path.parent}")
    formats = {".parquet": _parquet, ".csv": _csv, ".jsonl": _json_lines}
    try:
        return formats[path.suffix]
    except KeyError:
        raise BatchError(f"{path}: name it .parquet, .csv or .jsonl") from None


def _parquet(rows: Iterator[LedgerRow], path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds: dict[str, Any] = {
        "score": pa.float32(),
        "scores": pa.map_(pa.string(), pa.float32()),
        "retry": pa.bool_(),
    }
    schema = pa.schema({name: kinds.get(name, pa.string()) for name in LedgerRow._fields})
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        while some := list(itertools.islice(rows, ROWS_AT_A_TIME)):
            writer.write_table(pa.Table.from_pylist([row._asdict() for row in some], schema))


def _csv(rows: Iterator[LedgerRow], path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(LedgerRow._fields)
        for row in rows:
            scores = None if row.scores is None else json.dumps(row.scores, ensure_ascii=False)
            lines.writerow(row._replace(scores=scores, retry="true" if row.retry else "false"))  # type: ignore[arg-type]  # text, in CSV


def _json_lines(rows: Iterator[LedgerRow], path: Path) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row._asdict(), ensure_ascii=False) + "\n" for row in rows)
