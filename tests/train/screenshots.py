"""Renew docs/images' pictures of the reports on a data set and on two models.

    .venv-tf/bin/python -m tests.train.screenshots [--search searches/clothing-dataset-small]

The digits are drawn by the project: no picture of anyone's data set is in these.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import tempfile
from pathlib import Path

from PIL import Image

from keras_to_lambda.train import demo, evaluate, explore

ROOT = Path(__file__).resolve().parents[2]
IMAGES = ROOT / "docs" / "images"
SIZES = {"exploration": (1100, 1000), "evaluation": (1100, 1500), "search": (1100, 1300)}


def shoot(page: Path, name: str) -> None:
    """Take a picture of the top of a page in Chromium."""
    to, (width, height) = IMAGES / f"{name}.png", SIZES[name]
    chromium = shutil.which("chromium") or "chromium"
    with tempfile.TemporaryDirectory() as profile:
        subprocess.run(
            [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
             f"--user-data-dir={profile}", f"--window-size={width},{height}",
             f"--screenshot={to}", page.as_uri()],
            check=True, capture_output=True, timeout=120,
        )  # fmt: skip
    with Image.open(to) as image:
        image.convert("RGB").quantize(128).save(to, optimize=True)
    print(f"wrote docs/images/{name}.png")


def main() -> None:
    """Make the reports, and take the pictures."""
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--search", type=Path, help="the folder of a search")
    args = p.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        digits = folder / "digits.npz"
        demo.draw(digits)
        exploration, evaluation = (folder / f"{kind}.html" for kind in ("explore", "evaluate"))
        explore.main([str(digits), "-o", str(exploration)])
        first, second = (ROOT / "models" / m / f"{m}.tflite" for m in ("digits", "digits-tree"))
        evaluate.main(
            [str(first), "--against", str(second), "--data", str(digits), "--no-calibration",
             "-o", str(evaluation)],
        )  # fmt: skip
        shoot(exploration, "exploration")
        shoot(evaluation, "evaluation")
    if args.search:
        shoot(args.search.absolute() / "search.html", "search")


if __name__ == "__main__":
    main()
