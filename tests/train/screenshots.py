"""Renew docs/images' pictures of train/'s pages, from what `make train-demo` and a search left.

    .venv-tf/bin/python -m tests.train.screenshots [--search searches/clothing-dataset-small]

The demo's digits are drawn by the project: no picture of anybody's data set is in these.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import tempfile
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
IMAGES = ROOT / "docs" / "images"
DEMO = ROOT / ".train-demo"
PAGES = {
    "exploration": (DEMO / "digits.exploration.html", (1100, 1000)),
    "evaluation": (DEMO / "digits" / "digits.evaluation.html", (1100, 1500)),
}


def shoot(page: Path, size: tuple[int, int], to: Path) -> None:
    """Photograph the top of a page in Chromium."""
    chromium = shutil.which("chromium") or "chromium"
    with tempfile.TemporaryDirectory() as profile:
        subprocess.run(
            [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
             f"--user-data-dir={profile}", f"--window-size={size[0]},{size[1]}",
             f"--screenshot={to}", page.as_uri()],
            check=True, capture_output=True, timeout=120,
        )  # fmt: skip
    with Image.open(to) as image:
        image.convert("RGB").quantize(128).save(to, optimize=True)


def main() -> None:
    """Take all pictures of which the page is there."""
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--search", type=Path, help="the folder of a search")
    args = p.parse_args()
    pages = dict(PAGES)
    if args.search:
        pages["search"] = (args.search.absolute() / "search.html", (1100, 1300))
    for name, (page, size) in pages.items():
        if page.exists():
            shoot(page, size, IMAGES / f"{name}.png")
            print(f"wrote docs/images/{name}.png")
        else:
            print(f"no {page.name}: run make train-demo first")


if __name__ == "__main__":
    main()
