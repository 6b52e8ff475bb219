"""Images: what a run goes through, wherever the list of it is, and what tells one from another."""

from __future__ import annotations

import codecs
import csv
import gzip
import hashlib
import json
import zlib
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, Self
from urllib.parse import unquote_plus

from keras_to_lambda.deploy.batch.cloud import BatchError, Cloud, aws_errors

Item = Any  # as Step Functions hands it to the function: an object of S3, {"url": ...}, or a URL
LISTS = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".txt": "txt"}
HOW = (
    "give s3://bucket/prefix/, s3://bucket/list.csv or .jsonl, the manifest.json of an inventory, "
    "or a local .csv, .jsonl or .txt with a URL in each line"
)


class Images(NamedTuple):
    """A data set in S3, as the state machine takes it.

    kind: `prefix`, `csv`, `jsonl` or `manifest` (of an S3 inventory in CSV).
    key: the prefix, or the list's key.
    """

    kind: str
    bucket: str
    key: str

    @classmethod
    def named(cls, text: str) -> Self:
        """Read s3://...; what its last letters say decides the kind.

        Raises:
            BatchError: that is no such URL.
        """
        bucket, slash, key = text.removeprefix("s3://").partition("/")
        if not bucket or not slash:
            raise BatchError(f"{text} is not s3://bucket/...; {HOW}")
        if key.endswith("manifest.json"):
            return cls("manifest", bucket, key)
        # To Path a slash at the end is nothing.
        kind = None if key.endswith("/") else LISTS.get(Path(key).suffix)
        if kind == "txt":
            raise BatchError(f"{text}: a list in S3 must be CSV with a header, or JSON Lines")
        if kind is None and key and not key.endswith("/"):
            raise BatchError(f"{text}: end a prefix with a slash; {HOW}")
        return cls(kind or "prefix", bucket, key)

    def items(self, cloud: Cloud, before: datetime | None = None) -> Iterator[Item]:
        """Every image, as Step Functions reads the same source.

        https://docs.aws.amazon.com/step-functions/latest/dg/input-output-itemreader.html

        Args:
            before: of a prefix, objects that came later were not there to be listed.

        Raises:
            BatchError: the source is gone, or cannot be read.
        """
        try:
            yield from map(self.plain, self._items(cloud, before))
        except (ValueError, csv.Error, OSError, EOFError, zlib.error) as error:
            raise BatchError(f"s3://{self.bucket}/{self.key} cannot be read: {error}") from error

    def plain(self, item: Item) -> Item:
        """An item with its key as S3 knows it: inventories in CSV URL-encode theirs.

        https://docs.aws.amazon.com/AmazonS3/latest/userguide/storage-inventory.html
        Whether Step Functions decodes them is not documented; so both count as the same image.
        """
        if self.kind == "manifest" and isinstance(item, dict) and isinstance(item.get("Key"), str):
            return {"Bucket": item.get("Bucket"), "Key": unquote_plus(item["Key"])}
        return item

    def _items(self, cloud: Cloud, before: datetime | None) -> Iterator[Item]:
        if self.kind == "prefix":
            for each in cloud.objects(self.bucket, self.key):
                if before is None or each["LastModified"] <= before:
                    yield {"Key": each["Key"]}
        elif self.kind == "jsonl":
            for number, line in enumerate(cloud.lines(self.bucket, self.key), 1):
                yield _json(line, f"s3://{self.bucket}/{self.key}, line {number}")
        elif self.kind == "csv":
            for row in _rows(_text(cloud.lines(self.bucket, self.key))):
                row.pop(None, None)
                yield row
        else:
            yield from self._inventory(cloud)

    def _inventory(self, cloud: Cloud) -> Iterator[Item]:
        # https://docs.aws.amazon.com/AmazonS3/latest/userguide/storage-inventory-location.html
        where = f"s3://{self.bucket}/{self.key}"
        match _json(b"".join(cloud.lines(self.bucket, self.key)), where):
            case {
                "fileFormat": "CSV",
                "fileSchema": str(schema),
                "destinationBucket": str(destination),
                "files": [*files],
            } if all(isinstance(file, dict) and "key" in file for file in files):
                pass
            case {"fileFormat": str(form)} if form != "CSV":
                raise BatchError(
                    f"{where} is in {form}: Step Functions reads inventories in CSV alone"
                )
            case _:
                raise BatchError(f"{where} is not the manifest of an S3 inventory")
        fields = [name.strip() for name in schema.split(",")]
        bucket = destination.rpartition(":")[2]
        for key in (file["key"] for file in files):
            with aws_errors(f"s3://{bucket}/{key}"):
                body = cloud.s3.get_object(Bucket=bucket, Key=key)["Body"]
                with body, gzip.open(body, "rt", encoding="utf-8", newline="") as rows:
                    for row in csv.reader(rows):
                        yield dict(zip(fields, row, strict=False))


def identity(item: Item, bucket: str | None) -> str:
    """What an image is called in results, and known by: its s3:// name or its whole URL.

    Args:
        bucket: of items that have only a Key.
    """
    match item:
        case {"Key": str(key)}:
            return f"s3://{item.get('Bucket') or bucket}/{key}"
        case {"url": str(url)} | str(url):
            return url
    digest = hashlib.sha256(json.dumps(item, sort_keys=True).encode()).hexdigest()
    return f"inline:{digest[:20]}"


def is_folder(name: str) -> bool:
    """Whether a listed object is a folder that S3's console made: a key with no picture in it."""
    return name.startswith("s3://") and name.endswith("/")


def local(path: Path) -> Iterator[Item]:
    """The images of a list on this machine.

    Raises:
        BatchError: it cannot be read, or a line of it holds no image.
    """
    if path.is_dir():
        raise BatchError(
            f"{path} is a folder: copy it first, `aws s3 sync {path} s3://BUCKET/photos/`, then "
            "start s3://BUCKET/photos/"
        )
    kind = LISTS.get(path.suffix)
    if kind is None:
        raise BatchError(f"{path} is no list; {HOW}")
    try:
        with path.open(encoding="utf-8-sig", newline="") as lines:
            for number, item in enumerate(_read(kind, lines), 1):
                if isinstance(item, dict) and None in item:
                    raise BatchError(
                        f"{path}, entry {number}: more fields than the header has; a URL with a "
                        "comma in it needs quotes"
                    )
                if not _is_image(item):
                    raise BatchError(
                        f"{path}, entry {number}: no image in it; a CSV has a column url, or "
                        'Bucket and Key, JSON Lines have {"url": "..."}'
                    )
                yield item
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BatchError(f"{path} cannot be read: {error}") from error


def _is_image(item: Item) -> bool:
    match item:
        case {"Key": str(key)}:
            return bool(key and item.get("Bucket"))
        case {"url": str(text)} | {"image": str(text)} | str(text):
            return bool(text.strip())
    return False


def _rows(lines: Iterable[str]) -> Iterator[dict[str | None, Any]]:
    """The rows of a CSV with a header: fields that are missing are empty, as to Step Functions.

    https://docs.aws.amazon.com/step-functions/latest/dg/example-csv-parse-dist-map.html
    It leaves out those beyond the header; here they are under None.
    """
    yield from csv.DictReader(lines, restval="")


def _read(kind: str, lines: Iterable[str]) -> Iterator[Item]:
    if kind == "csv":
        yield from _rows(lines)
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if text:
            yield {"url": text} if kind == "txt" else _json(text, f"line {number}")


def _json(line: bytes | str, where: str) -> Item:
    try:
        return json.loads(line)
    except ValueError as error:
        raise BatchError(f"{where} is not JSON: {error}") from error


def _text(lines: Iterable[bytes]) -> Iterator[str]:
    decode = codecs.getincrementaldecoder("utf-8-sig")()
    for line in lines:
        yield decode.decode(line, final=True) + "\n"
