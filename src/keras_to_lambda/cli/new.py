"""k2l new: a folder that is deployed as it is."""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from keras_to_lambda import project
from keras_to_lambda.cli import frame
from keras_to_lambda.runtime.common.errors import UserError
from keras_to_lambda.runtime.model_file import card

# What was written, so that `--update` can tell a user's edit from an old version.
RECORD = ".k2l.json"
README = project.PACKAGE / "skeleton" / "README.md"
IGNORED = ".aws-sam/\n__pycache__/\n"
# Of the function's code and the page an update prints the names alone.
SUMMARIZED = ("src/", "web/", "requirements.txt")

EPILOG = """\
examples:
  k2l new my-api --model my.tflite   a folder with template, Dockerfile, function and model
  cd my-api && k2l deploy            build and deploy it
  k2l new my-api --update            renew its files after an upgrade of keras-to-lambda

exit status: 0 done; 1 some files were edited and are not renewed; 2 wrong use"""


def parser() -> frame.Parser:
    """The command line."""
    p = frame.Parser(
        "k2l new",
        "Write a folder that is deployed as it is: function, Dockerfile, SAM template, locked "
        "packages, sample events and the model.",
        EPILOG,
    )
    p.add_argument(
        "folder",
        metavar="FOLDER",
        type=Path,
        nargs="?",
        default=Path(),
        help="folder to write; its name becomes the stack's (default with --update: this one)",
    )
    p.add_argument("--model", type=Path, metavar="FILE", help=".tflite file from `k2l convert`")
    p.add_argument(
        "--update", action="store_true", help="renew an existing folder, and show the differences"
    )
    return p


@frame.command("k2l new")
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit status is explained in its help."""
    args = parser().parse_args(argv)
    folder = Path(os.path.abspath(args.folder))  # noqa: PTH100  # without "..", links as they are
    if args.update:
        if args.model:
            raise UserError(
                f"--update keeps the model; to replace it: cp {args.model} {folder / 'models'}"
            )
        return update(folder)
    if args.model is None:
        raise UserError("no model; use --model FILE.tflite (`k2l convert` writes one)")
    return create(folder, args.model)


def create(folder: Path, model: Path) -> int:
    """Write the folder, with the model in models/.

    Raises:
        UserError: the folder exists, its name is not a stack's, or the model has no card.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} exists and is not empty; use another name, or --update")
    if not valid_stack(folder.name):
        raise UserError(
            f"invalid folder name {folder.name!r}, as it becomes the stack's name; use letters, "
            "digits and hyphens, with a letter first, at most 123"
        )
    if model.suffix != ".tflite":
        raise UserError(f"{model} is not a .tflite file; `k2l convert` writes one")
    described = card.load(model)
    written = dict(contents(folder.name))
    for name, data in written.items():
        _write(folder / name, data)
    version = metadata.version("keras-to-lambda")
    page = README.read_text("utf-8").replace("NAME", folder.name).replace("VERSION", version)
    _write(folder / "README.md", page.encode())
    _write(folder / ".gitignore", IGNORED.encode())
    place = folder / "models" / model.stem / model.name
    place.parent.mkdir(parents=True)
    shutil.copyfile(model, place)
    _record(folder, {name: _hash(data) for name, data in written.items()})
    print(
        f"wrote {len(written) + 3} files to {folder}, the model {described.name} "
        f"({len(described.labels)} labels) among them. Next: cd {folder} && k2l doctor; it prints "
        "fixes. Then: k2l deploy"
    )
    return frame.OK


def update(folder: Path) -> int:
    """Renew the files that the user has not edited; print what differs.

    Raises:
        UserError: `create` has not written the folder.
    """
    try:
        record: Any = json.loads((folder / RECORD).read_text("utf-8"))
        before: dict[str, str] = record["files"]
        stack = record["stack"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{folder} has no usable {RECORD}: `k2l new` did not write it") from error
    new = dict(contents(stack))
    # Of an edited file the new hash too: the next update compares with what was offered now.
    after = {name: _hash(data) for name, data in new.items()}
    counts = dict.fromkeys(("renewed", "removed", "edited"), 0)
    for name in sorted({*new, *before}):
        path, data = folder / name, new.get(name)
        old = path.read_bytes() if path.is_file() else None
        if old == data or (data is not None and after[name] == before.get(name)):
            continue  # the same, or the user's edit of what has not changed
        if not os.path.lexists(path) or (old is not None and _hash(old) == before.get(name)):
            counts["renewed" if data is not None else "removed"] += 1
            print("".join(difference(name, old or b"", data or b"")), end="")
            if data is None:
                path.unlink()
            else:
                _write(path, data)
        elif data is not None:
            counts["edited"] += 1
            print("".join(difference(name, old or b"", data)), end="")
            offer = path.with_name(f"{path.name}.new")
            if _replaceable(offer, {before.get(name), after[name]}):
                _write(offer, data)
                done = f"the new version is {offer.relative_to(folder)}"
            else:
                after[name] = before.get(name, "")  # the next update offers it again
                done = f"{offer.relative_to(folder)} is not ours and stays: rename it, update again"
            print(f"{name} was edited and stays; {done}")
    _record(folder, after, stack)
    print(", ".join(f"{count} {word}" for word, count in counts.items()))
    return frame.FAILED if counts["edited"] else frame.OK


def contents(stack: str) -> Iterator[tuple[str, bytes]]:
    """Every file but the model, by its path in the folder."""
    for name, path in project.sources():
        data = path.read_bytes()
        if name == "samconfig.toml":
            default = f'stack_name = "{project.DEFAULT_STACK}"'.encode()
            data = data.replace(default, f'stack_name = "{stack}"'.encode())
        yield name, data


def difference(name: str, old: bytes, new: bytes) -> Iterator[str]:
    """A unified diff; of code that is not the user's, one line."""
    if name.startswith(SUMMARIZED):
        yield f"{name}: {len(old):,} -> {len(new):,} bytes\n"
        return
    before, after = (data.decode("utf-8", "replace").splitlines(True) for data in (old, new))
    yield from difflib.unified_diff(before, after, f"a/{name}", f"b/{name}")


def valid_stack(name: str) -> bool:
    """Whether a name can be a stack's; its state machine adds five letters."""
    return (
        0 < len(name) <= 123
        and name.isascii()
        and name[0].isalpha()
        and all(letter.isalnum() or letter == "-" for letter in name)
    )


def _record(folder: Path, files: Mapping[str, str], stack: str = "") -> None:
    record = {
        "version": metadata.version("keras-to-lambda"),
        "stack": stack or folder.name,
        "files": dict(sorted(files.items())),
    }
    _write(folder / RECORD, (json.dumps(record, indent=1) + "\n").encode())


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _replaceable(path: Path, hashes: set[str | None]) -> bool:
    """Whether nothing is there, or a file, not a link, that one of the hashes is of."""
    if not path.is_file() or path.is_symlink():
        return not os.path.lexists(path)
    return _hash(path.read_bytes()) in hashes


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_symlink():
        path.unlink()  # what it leads to may be another project's
    path.write_bytes(data)
