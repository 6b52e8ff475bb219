"""python -m benchmarks: the serving path beside what people would otherwise use.

    make bench                        all of it, about fifteen minutes on two cores
    python -m benchmarks cold memory  some of it

Each section's contenders take turns in one run, so that the machine's drift meets all of them; what
is printed are medians. Run it on a machine that does nothing else. --docs puts the tables into
docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks import footprint, material, serving, table

SECTIONS: dict[str, Callable[[bool, dict[str, Any]], str]] = {
    "cold": serving.cold,
    "warm": serving.warm,
    "memory": serving.memory,
    "size": footprint.size,
    "throughput": serving.throughput,
}
# What int8 and float32 kernels are chosen by.
FLAGS = ("avx2", "fma", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm", "sve")


def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print."""
    p = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument("sections", nargs="*", metavar="SECTION", help=f"of {', '.join(SECTIONS)}")
    p.add_argument("--quick", action="store_true", help="few repetitions: to see that it runs")
    p.add_argument("--docs", action="store_true", help="renew the tables in docs/benchmarks.md")
    args = p.parse_args(argv)
    unknown = set(args.sections) - set(SECTIONS)
    if unknown:
        p.error(f"no such section: {', '.join(unknown)}")
    material.prepare()
    results: dict[str, Any] = {"machine": machine()}
    print(f"{results['machine']}\n")
    if args.docs:
        table.put("machine", results["machine"])
    for name in args.sections or SECTIONS:
        start = time.monotonic()
        print(f"{name} ...", file=sys.stderr, flush=True)
        text = SECTIONS[name](args.quick, results)
        print(f"## {name} ({time.monotonic() - start:.0f} s)\n\n{text}\n", flush=True)
        if args.docs:
            table.put(name, text)
    (material.FOLDER / "results.json").write_text(json.dumps(results, indent=1), "utf-8")


def machine() -> str:
    """The processor, what it can do, and the versions that were measured."""
    name, flags = platform.processor() or platform.machine(), set()
    if Path("/proc/cpuinfo").exists():
        for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                name = value.strip()
            if key.strip() in ("flags", "Features"):
                flags = set(value.split())
    packages = ", ".join(
        f"{package} {version(package)}" for package in ("numpy", "pillow", "ai-edge-litert")
    )
    can = " ".join(flag for flag in FLAGS if flag in flags)
    python = sys.version.split()[0]
    return f"{name}, {os.cpu_count()} cores ({can}); Python {python}, {packages}"


if __name__ == "__main__":
    main()
