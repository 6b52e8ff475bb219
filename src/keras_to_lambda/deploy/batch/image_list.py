"""Images: what a run goes through, wherever the list of it is, and what tells one from another."""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
import zlib
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, Self
from urllib.parse import unquote_plus

from keras_to_lambda import aws
from keras_to_lambda.deploy.batch.cloud import BatchError, Cloud

Item = Any  # as Step Functions hands it to the function: an object of S3, {"url": ...}, or a URL
LISTS = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
HOW = (
    "give s3://bucket/prefix/, s3://bucket/list.csv or .jsonl, or the manifest.json of an "
    "inventory; what is on this machine is copied first: `aws s3 cp`, or `aws s3 sync` of a folder"
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
        if not text.startswith("s3://") or not bucket or not slash:
            raise BatchError(f"{text} is not s3://bucket/...; {HOW}")
        if key.endswith("/") or not key:
            return cls("prefix", bucket, key)
        kind = "manifest" if key.endswith("manifest.json") else LISTS.get(Path(key).suffix)
        if kind is None:
            raise BatchError(f"{text}: end a prefix with a slash; {HOW}")
        return cls(kind, bucket, key)

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}"

    def items(self, cloud: Cloud, before: datetime | None = None) -> Iterator[Item]:
        """Every image, as Step Functions reads the same source.

        https://docs.aws.amazon.com/step-functions/latest/dg/input-output-itemreader.html

        Args:
            before: of a prefix, objects that came later were not there to be listed.

        Raises:
            BatchError: the source cannot be read. AwsError: it is gone.
        """
        try:
            match self.kind:
                case "prefix":
                    for each in cloud.objects(self.bucket, self.key):
                        if before is None or each["LastModified"] <= before:
                            yield {"Key": each["Key"]}
                case "manifest":
                    yield from map(self.plain, self._inventory(cloud))
                case "csv":
                    for row in csv.DictReader(self._lines(cloud), restval=""):
                        # Step Functions leaves out fields beyond the header:
                        # https://docs.aws.amazon.com/step-functions/latest/dg/example-csv-parse-dist-map.html
                        row.pop(None, None)
                        yield row
                case "jsonl":
                    for number, line in enumerate(self._lines(cloud), 1):
                        try:
                            yield json.loads(line)
                        except ValueError as error:
                            raise BatchError(f"{self}, line {number}: {error}") from error
        except (ValueError, csv.Error, OSError, EOFError, zlib.error) as error:
            raise BatchError(f"{self} cannot be read: {error}") from error

    def plain(self, item: Item) -> Item:
        """An item with its key as S3 knows it: inventories in CSV URL-encode theirs.

        https://docs.aws.amazon.com/AmazonS3/latest/userguide/storage-inventory.html
        Whether Step Functions decodes them is not documented; so both count as the same image.
        """
        if self.kind == "manifest" and isinstance(item, dict) and isinstance(item.get("Key"), str):
            return {"Bucket": item.get("Bucket"), "Key": unquote_plus(item["Key"])}
        return item

    def _lines(self, cloud: Cloud) -> Iterator[str]:
        for line in cloud.lines(self.bucket, self.key):
            yield line.decode("utf-8-sig") + "\n"

    def _inventory(self, cloud: Cloud) -> Iterator[Item]:
        # https://docs.aws.amazon.com/AmazonS3/latest/userguide/storage-inventory-location.html
        match json.loads(b"".join(cloud.lines(self.bucket, self.key))):
            case {
                "fileFormat": "CSV",
                "fileSchema": str(schema),
                "destinationBucket": str(destination),
                "files": [*files],
            } if all(isinstance(file, dict) and "key" in file for file in files):
                pass
            case _:
                raise BatchError(
                    f"{self} is not the manifest of an S3 inventory in CSV, the one format that "
                    "Step Functions reads"
                )
        fields = [name.strip() for name in schema.split(",")]
        bucket = destination.rpartition(":")[2]
        for key in (file["key"] for file in files):
            with aws.errors(f"s3://{bucket}/{key}"):
                body = cloud.s3.get_object(Bucket=bucket, Key=key)["Body"]
                with body, gzip.open(body, "rt", encoding="utf-8", newline="") as rows:
                    yield from (dict(zip(fields, row, strict=False)) for row in csv.reader(rows))


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
