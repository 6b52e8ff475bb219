"""Remove from the image's packages what a classifier never loads: run by the Dockerfile.

    python slim.py SITE_PACKAGES

Every line names parts that nothing in the runtime reaches; the image's own check and the
container tests run with what is left. Prints what went, in MB; a line that matches nothing is told,
as then a package has changed its layout. It runs in the image, before anything else is there.
"""

from __future__ import annotations

import platform
import shutil
import sys
from pathlib import Path

UNUSED = (
    # The GPU's part, compilers for phones' processors, converters, and the schema's Python.
    "ai_edge_litert/libLiteRtWebGpuAccelerator.so",
    "ai_edge_litert/aot",
    "ai_edge_litert/tools",
    "ai_edge_litert/schema_py_generated.py",
    "ai_edge_litert/*_pb2.py",
    # What those need.
    "google/protobuf",
    "tqdm",
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
# Phones' processors again: of the wheel for x86-64 alone.
UNUSED_ON_X86_64 = ("ai_edge_litert/vendors",)
# Of botocore's services, these stay.
SERVICES = {"s3", "sts", "sso", "sso-oidc"}


def main(site: Path) -> int:
    """Remove; the exit status is 1 if `site` holds none of it."""
    saved: dict[str, int] = {}
    here = UNUSED_ON_X86_64 if platform.machine() in ("x86_64", "AMD64") else ()
    for pattern in (*UNUSED, *here):
        found = sorted(site.glob(pattern))
        if not found:
            print(f"slim: nothing here is {pattern}: has the package changed?")
        for path in found:
            saved[pattern.split("/")[0]] = saved.get(pattern.split("/")[0], 0) + _remove(path)
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
