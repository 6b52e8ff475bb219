"""Class folders: photos in folders named after their labels; one rule for every command."""

from __future__ import annotations

import atexit
import contextlib
import lzma
import os
import shutil
import tempfile
import unicodedata
import zipfile
import zlib
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path

from keras_to_lambda.runtime.common.formats import MEDIA_TYPES

SHOWN = 8
TABLES = (".csv", ".tsv")
DATA = (*TABLES, ".npz", ".npy")  # endings of files with labels
SHARE_OF_DISK = 0.5  # of the free space: what a .zip file may fill


def ignored(name: str) -> bool:
    """Whether a file or folder is of a tool, not of the user: .ipynb_checkpoints, __MACOSX, ._a."""
    return name.startswith(".") or name == "__MACOSX"


def folders(top: Path) -> list[Path]:
    """The folders of the user in a folder, sorted."""
    return sorted(path for path in top.iterdir() if path.is_dir() and not ignored(path.name))


def unwrapped(root: Path) -> Path:
    """A folder, or the one in it if that is alone, without data beside it, and no class."""

    def has(folder: Path, endings: Collection[str]) -> bool:
        return any(path.suffix.lower() in endings for path in folder.glob("*.*"))

    inside = folders(root)
    alone = len(inside) == 1 and not has(root, (*MEDIA_TYPES, *DATA))
    return inside[0] if alone and (folders(inside[0]) or not has(inside[0], MEDIA_TYPES)) else root


def files(root: Path) -> list[Path]:
    """All files of the user below a folder, sorted by path; links that lead nowhere are files.

    A folder that a symbolic link leads to is read once, and none above root: links make circles.
    """
    found: list[Path] = []
    followed = {root.resolve(), *root.resolve().parents}
    for folder, inside, names in os.walk(root, followlinks=True):
        found += [Path(folder, name) for name in names if not ignored(name)]
        for name in sorted(inside):
            path = Path(folder, name)
            target = path.resolve() if path.is_symlink() else None
            if ignored(name) or target in followed:
                inside.remove(name)
            elif target:
                followed.add(target)
    return sorted(found)


def images(root: Path) -> list[Path]:
    """All images below a folder, sorted by path."""
    return [p for p in files(root) if p.suffix.lower() in MEDIA_TYPES and p.is_file()]


def unzipped(archive: Path) -> Path:
    """The files of a .zip file, in a folder that lasts until the program ends.

    Raises:
        ValueError: it is damaged, encrypted, too large for the disk, or has two files of one name.
    """
    root = Path(tempfile.mkdtemp(prefix="unzipped-"))
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    left = int(shutil.disk_usage(root).free * SHARE_OF_DISK)
    try:
        with zipfile.ZipFile(archive) as file:
            for member in file.infolist():
                member.filename = _name(member)
                path = Path(member.filename)
                if any(map(ignored, path.parts)):
                    continue
                left -= member.file_size  # zipfile gives no byte more than these
                if left < 0:
                    raise ValueError(f"{archive} has more than the disk has room for")
                if (root / path).is_file():
                    raise ValueError(f"{archive} has two files named {path}")
                file.extract(member, root)
    except (
        zipfile.BadZipFile,
        zlib.error,
        lzma.LZMAError,
        EOFError,
        RuntimeError,
        OSError,
    ) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise ValueError(f"{archive} cannot be unpacked: {reason}") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{archive} cannot be unpacked: a name is not UTF-8") from error
    while (inside := unwrapped(root)) != root:  # a folder that was zipped as a whole
        root = inside
    return root


def _name(member: zipfile.ZipInfo) -> str:
    """A member's path, as its program meant it: UTF-8 without the flag, or backslashes."""
    name = member.filename
    if not member.flag_bits & 0x800:  # then zipfile has read it as code page 437
        with contextlib.suppress(UnicodeError):
            name = name.encode("cp437").decode("utf-8")
    return name.replace("\\", "/")


def folded(name: str) -> str:
    """A name without what does not count: case, and how spaces, _ and - are used.

    A label's / is _ in the name of a folder.
    """
    text = unicodedata.normalize("NFC", name).casefold()
    return " ".join(text.replace("_", " ").replace("-", " ").replace("/", " ").split())


class ClassFolders:
    """Which label a folder is named after.

    Labels that fold alike ("T-shirt" and "t shirt") differ by their exact spelling alone.
    """

    def __init__(self, labels: Sequence[str]) -> None:
        self._exact = {unicodedata.normalize("NFC", name): i for i, name in enumerate(labels)}
        times = Counter(folded(name) for name in labels)
        self._folded = {
            key: index for index, name in enumerate(labels) if times[key := folded(name)] == 1
        }

    def place(self, folder: str) -> int | None:
        """The index of the folder's label; None: it is named after none, or after several."""
        exact = self._exact.get(unicodedata.normalize("NFC", folder))
        return self._folded.get(folded(folder)) if exact is None else exact

    def truth(self, photos: Sequence[Path]) -> list[int | None]:
        """The label of each photo: that of the nearest folder which is named after one.

        Folders above the one that holds all the photos do not count.
        """
        places: dict[Path, int | None] = {}
        top = _top(photos)
        for photo in photos:
            folder = photo.absolute().parent
            if folder not in places:
                above = [folder, *(p for p in folder.parents if p.is_relative_to(top))]
                found = (self.place(path.name) for path in above)
                places[folder] = next((place for place in found if place is not None), None)
        return [places[photo.absolute().parent] for photo in photos]

    def unmatched(self, photos: Sequence[Path], root: Path) -> str:
        """A sentence that names the folders below root which match no label; "" if all match."""
        top, truth = root.absolute(), self.truth(photos)
        strangers = Counter(
            os.path.relpath(photo.absolute().parent, top)
            for photo, place in zip(photos, truth, strict=True)
            if place is None and photo.absolute().parent != top
        )
        if not strangers:
            return ""
        names = sorted(strangers)
        shown = ", ".join(f"{name} ({strangers[name]} photos)" for name in names[:SHOWN])
        more = f" and {len(names) - SHOWN} more" * (len(names) > SHOWN)
        return f"folders that match no label: {shown}{more}; name each folder after its label"


def _top(photos: Sequence[Path]) -> Path:
    parents = {photo.absolute().parent for photo in photos}
    return Path(os.path.commonpath(parents)) if parents else Path()
