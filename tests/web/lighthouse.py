"""Lighthouse on the playground and the API's page: `make lighthouse`.

Its speed scores need a quiet machine; what it checks here does not.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

from tests.serve.conftest import running
from tests.web import chromium

PACKAGE = "lighthouse@12.8.2"  # the last for Node 20
CATEGORIES = ("accessibility", "best-practices", "seo")


def faults(url: str) -> list[str]:
    """The audits that fail on a page."""
    report = json.loads(
        subprocess.run(
            ["npm", "exec", "--yes", f"--package={PACKAGE}", "--", "lighthouse", url,
             "--output=json", "--quiet", f"--only-categories={','.join(CATEGORIES)}",
             "--chrome-flags=--headless=new --no-sandbox --disable-gpu"],
            check=True, stdout=subprocess.PIPE, timeout=900,
            env={**os.environ, "CHROME_PATH": str(chromium.find())},
        ).stdout
    )  # fmt: skip
    audits = [
        report["audits"][audit["id"]]
        for category in CATEGORIES
        for audit in report["categories"][category]["auditRefs"]
        if audit["weight"]
    ]
    return [audit["title"] for audit in audits if audit["score"] not in (1, None)]


def main() -> int:
    """Exit status 1: an audit failed."""
    if not shutil.which("npm") or not chromium.find():
        print("SKIPPED Lighthouse: needs npm and Chromium (Debian: apt install npm chromium)")
        return 0
    failed = 0
    with running() as (url, _):
        for path in ("/", "/docs"):
            found = faults(url + path)
            failed += len(found)
            print(f"Lighthouse on {path}: {'; '.join(found) or 'every audit passes'}")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
