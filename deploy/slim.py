"""Remove from the image's packages what a classifier never loads: run by the Dockerfile.

    python slim.py SITE_PACKAGES

Every line names parts that nothing in the runtime reaches; the image's own check and the
container tests run with what is left. Prints what went, in MB, and each line that matches nothing:
a package has changed its layout then. It runs in the image's build, which has nothing else.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

# Of LiteRT's package, this one stays.
ENGINE = "libLiteRt.so"
UNUSED = (
    # The check before this compares with it.
    "keras_image_helper",
    # What LiteRT's Python classes and compilers need, and programs that packages install.
    "backports",
    "bin",
    "flatbuffers",
    "google",
    "ml_dtypes",
    "tqdm",
    "typing_extensions.py",
    # Fonts, colour management, AVIF (not decoded: 5 MB, and one decoder more for hostile bytes),
    # Tk, and TIFF's and fonts' libraries that only those use.
    "PIL/_imagingft.*.so",
    "PIL/_imagingcms.*.so",
    "PIL/_imagingtk.*.so",
    "PIL/_imagingmath.*.so",
    "PIL/_imagingmorph.*.so",
    "PIL/_avif.*.so",
    "pillow.libs/libavif-*",
    "pillow.libs/libharfbuzz-*",
    "pillow.libs/libfreetype-*",
    "pillow.libs/liblcms2-*",
    # Tests, a Fortran compiler's front end, headers, annotations, random numbers.
    "numpy/**/tests",
    "numpy/f2py",
    "numpy/random",
    "numpy/typing",
    "numpy/_core/include",
    "numpy/_core/lib",
    "numpy/_core/_simd.*.so",
    "numpy/_core/_*_tests.*.so",
    "numpy/**/*.pyi",
    # Examples, and every service's description but S3's and what gives it credentials.
    "boto3/data",
    "boto3/examples",
)
# Of botocore's services, these stay.
SERVICES = {"s3", "sts", "sso", "sso-oidc"}


def main(site: Path) -> int:
    """Remove; the exit status is 1 if `site` holds none of it."""
    saved: dict[str, int] = {}
    for pattern in UNUSED:
        found = sorted(site.glob(pattern))
        if not found:
            print(f"slim: nothing here is {pattern}: has the package changed?")
        for path in found:
            saved[pattern.split("/")[0]] = saved.get(pattern.split("/")[0], 0) + _remove(path)
    for path in sorted((site / "ai_edge_litert").iterdir()):
        if path.name != ENGINE:
            saved["ai_edge_litert"] = saved.get("ai_edge_litert", 0) + _remove(path)
    for path in (site / "botocore" / "data").iterdir():
        if path.is_dir() and path.name not in SERVICES:
            saved["botocore"] = saved.get("botocore", 0) + _remove(path)
    for package, size in saved.items():
        print(f"slim: {package:<16} -{size / 1e6:5.1f} MB")
    return 0 if saved else 1


def _remove(path: Path) -> int:
    """Delete a file or folder, if an earlier pattern has not; the bytes that it took."""
    if not path.exists():
        return 0
    if path.is_file():
        size = path.stat().st_size
        path.unlink()
        # Bytecode of what is gone.
        for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"):
            size += compiled.stat().st_size
            compiled.unlink()
        return size
    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    shutil.rmtree(path)
    return size


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
