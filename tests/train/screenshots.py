"""Renew docs/images' pictures of the reports: `make screenshots`.

The digits are drawn by the project: no picture of anyone's data set is in these.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from pathlib import Path

from PIL import Image

from keras_to_lambda.convert import convert
from keras_to_lambda.train import evaluate, explore, search
from samples.digits import data_set

ROOT = Path(__file__).resolve().parents[2]
IMAGES = ROOT / "docs" / "images"
SIZES = {
    "exploration": (1100, 1000), "evaluation": (1100, 1500), "search": (1100, 1300),
    "conversion": (1100, 1300),
}  # fmt: skip


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
        image.convert("RGB").quantize(256).save(to, optimize=True)
    print(f"wrote docs/images/{name}.png")


def main() -> None:
    """Make the reports, and take the pictures."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        digits = folder / "digits.npz"
        data_set(digits)
        pages = {kind: folder / f"{kind}.html" for kind in SIZES}
        explore.main([str(digits), "-o", str(pages["exploration"])])
        first, second = (ROOT / "models" / m / f"{m}.tflite" for m in ("digits", "digits-tree"))
        evaluate.main(
            [str(first), "--against", str(second), "--data", str(digits), "--no-calibration",
             "-o", str(pages["evaluation"])],
        )  # fmt: skip
        # Drawn digits are harder than MNIST's, whose accuracy is in the card.
        shutil.copy(first.with_suffix(".keras"), folder)
        card = json.loads(first.with_suffix(".card.json").read_text("utf-8"))
        card["provenance"] = {"trained_by": "k2l train"}
        (folder / "digits.card.json").write_text(json.dumps(card), "utf-8")
        convert.main(
            [str(folder / "digits.keras"), "--samples", str(digits), "--quantize", "auto",
             "-o", str(folder / "lite" / "digits.tflite"), "--report", str(pages["conversion"])],
        )  # fmt: skip
        search.main(
            [str(digits), "--trials", "10", "--epochs", "4", "-o", str(folder),
             "--factor", "learning_rate=0.0003..0.03", "--factor", "inner=0|30|100",
             "--factor", "augment=none|light"],
        )  # fmt: skip
        for kind, page in pages.items():
            shoot(page, kind)


if __name__ == "__main__":
    main()
