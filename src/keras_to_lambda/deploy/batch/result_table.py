"""Table: the rows of a run's results as one Parquet or CSV file."""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from keras_to_lambda import atomic_files
from keras_to_lambda.deploy.batch.ledger import LedgerRow

ROWS_AT_A_TIME = 50_000


def write(rows: Iterable[LedgerRow], path: Path) -> None:
    """Write a file that is whole or not there; its suffix is one of WRITERS.

    `scores` is a map in Parquet, and JSON text in CSV.
    """
    with atomic_files.together(path.parent) as draft:
        WRITERS[path.suffix](iter(rows), draft / path.name)


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
        lines = csv.DictWriter(file, LedgerRow._fields)
        lines.writeheader()
        for row in rows:
            scores = row.scores and json.dumps(row.scores, ensure_ascii=False)
            lines.writerow({**row._asdict(), "scores": scores, "retry": json.dumps(row.retry)})


WRITERS: Mapping[str, Callable[[Iterator[LedgerRow], Path], None]] = {
    ".parquet": _parquet,
    ".csv": _csv,
}
