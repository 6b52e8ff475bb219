"""Audit: known vulnerabilities of the packages that ship, asked of PyPI's or OSV's advisories.

    python -m deploy.audit requirements.txt [--require]

pip-audit (https://github.com/pypa/pip-audit) asks; this reads its answer. A finding fails. What
could not be looked up is named as SKIPPED: on a machine without the advisories that is no failure,
with --require (in CI) it is one, as silence is not health. Runs in .venv-supply.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class AuditError(Exception):
    """pip-audit could not read the lock, or said nothing that can be read."""


@dataclass(frozen=True)
class Audit:
    """What is known of one lock file: a line for each finding, and for each reason not to know."""

    looked_up: int = 0
    findings: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()


def audit(lock: Path, osv_url: str | None = None) -> Audit:
    """Ask about every package of a lock file.

    Args:
        lock: a requirements file with == and hashes, as `make lock` writes it.
        osv_url: an OSV query API (https://google.github.io/osv.dev/post-v1-query/) to ask in place
            of PyPI.

    Raises:
        AuditError: the lock cannot be read, or pip-audit failed otherwise than by the network.
    """
    command = [sys.executable, "-P", "-m", "pip_audit", "--requirement", str(lock)]
    command += ["--require-hashes", "--disable-pip", "--format=json", "--progress-spinner=off"]
    if osv_url:
        command += ["--vulnerability-service=osv", f"--osv-url={osv_url}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    try:
        return _read(json.loads(done.stdout)["dependencies"])
    except (ValueError, KeyError):
        last = (done.stderr.strip().splitlines() or ["it printed nothing"])[-1]
        # Refused, silent, or with a certificate that this machine does not know.
        if why := re.search(r"requests\.exceptions\.(\w+)", done.stderr):
            return Audit(skipped=(f"every package: the advisories cannot be reached ({why[1]})",))
        raise AuditError(f"pip-audit: {last}") from None


def _read(dependencies: list[dict[str, Any]]) -> Audit:
    unknown: dict[str, list[str]] = {}
    for one in dependencies:
        if "skip_reason" in one:
            unknown.setdefault(one["skip_reason"].partition(":")[0], []).append(one["name"])
    return Audit(
        looked_up=sum("skip_reason" not in one for one in dependencies),
        findings=tuple(_findings(dependencies)),
        skipped=tuple(f"{', '.join(names)}: {reason}" for reason, names in unknown.items()),
    )


def _findings(dependencies: list[dict[str, Any]]) -> Iterator[str]:
    for one in dependencies:
        for known in one.get("vulns", ()):
            names = ", ".join([known["id"], *known.get("aliases", [])])
            mended = ", ".join(known.get("fix_versions", [])) or "no version yet"
            yield f"{one['name']} {one['version']}: {names}; mended in {mended}"


def main(argv: list[str] | None = None) -> int:
    """The command line; 1 for findings, or for what was not looked up where that is required."""
    parser = argparse.ArgumentParser(
        prog="python -m deploy.audit",
        description="Known vulnerabilities of the packages in a lock file.",
    )
    parser.add_argument("locks", nargs="+", type=Path, metavar="LOCK", help="requirements.txt")
    parser.add_argument(
        "--require", action="store_true", help="fail also if a package could not be looked up"
    )
    parser.add_argument("--osv-url", help="an OSV query API to ask, in place of PyPI")
    arguments = parser.parse_args(argv)
    status = 0
    for lock in arguments.locks:
        if not lock.is_file():
            print(
                f"audit: there is no {lock}; `make lock` writes requirements.txt", file=sys.stderr
            )
            return 2
        print(f"asking about the packages of {lock}", file=sys.stderr)
        try:
            found = audit(lock, arguments.osv_url)
        except AuditError as error:
            print(f"audit: {error}", file=sys.stderr)
            return 1
        for line in found.findings:
            print(f"VULNERABLE  {line}")
        for line in found.skipped:
            print(f"SKIPPED     {line}")
        print(f"{lock}: {found.looked_up} packages looked up, {len(found.findings)} findings")
        if found.findings:
            print(
                "audit: `make lock` takes the newest versions; then test and build", file=sys.stderr
            )
        if found.findings or (found.skipped and arguments.require):
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
