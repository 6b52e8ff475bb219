"""Garbage in: an answer, or an error that is the caller's; nothing else, and nothing hangs.

    make fuzz
    python -m tests.endurance.fuzz --seconds 600 --seed 7

Images of every format, AWS's events and multipart forms are damaged in every way that comes to mind
and given to the real handler. An InternalError, any other exception or a call of ten seconds is a
finding: it is written to .fuzz/ with the seed that makes it again, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import faulthandler
import gzip
import io
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from keras_to_lambda.runtime.common.errors import ClassifierError, InternalError
from keras_to_lambda.runtime.common.settings import Settings
from keras_to_lambda.runtime.handler import Handler
from keras_to_lambda.runtime.inference.request import FORM
from keras_to_lambda.runtime.sources import s3
from tests.endurance.soak import PART, http
from tests.runtime.test_limits import BOMBS, HEAVY

ROOT = Path(__file__).resolve().parents[2]
FINDINGS = ROOT / ".fuzz"
HANG_S = 10
TOKENS: tuple[Any, ...] = (
    *(None, True, 0, -1, 1e308, "", "x", [], {}, [None], {"": None}, "s3://a/b", "data:,"),
    *("http://[::1", "https://x:99999/", "http://a@b/", "aws:sqs", "aws:s3", "%", "\ud800", "\0"),
    *("data:;base64,data:;base64,", "data:,\udfff", "s3://a/\ud800", "https://x/\udbff", [[[[]]]]),
)
# What is put into names and texts: halves of surrogate pairs, control characters, other directions.
UNFIT = ("\ud800", "\udfff", "\0", "\r\n", "\x1b[31m", "\u2028", "\u202e", "\U0001f600")


def pictures() -> list[bytes]:
    """Small images of every format and mode that is decoded."""
    noise = np.random.default_rng(1).integers(0, 255, (37, 41, 4), dtype=np.uint8)
    rgba, deep = Image.fromarray(noise), Image.fromarray(noise[..., 0].astype(np.uint16) * 257)
    exif = Image.Exif()
    exif[0x0112] = 6
    kinds = [
        *(("JPEG", mode, {}) for mode in ("RGB", "L", "CMYK")),
        ("JPEG", "RGB", {"exif": exif, "progressive": True}),
        *(("PNG", mode, {}) for mode in ("RGB", "RGBA", "L", "LA", "P", "1", "I;16")),
        *(("WEBP", mode, {}) for mode in ("RGB", "RGBA")),
        ("GIF", "P", {"save_all": True, "append_images": [rgba.convert("RGB")]}),
        *(("BMP", mode, {}) for mode in ("RGB", "L", "1")),
    ]
    found = []
    for kind, mode, options in kinds:
        made = {"I;16": deep, "RGBA": rgba}
        picture = made[mode] if mode in made else rgba.convert("RGB").convert(mode)
        data = io.BytesIO()
        picture.save(data, kind, **options)
        found.append(data.getvalue())
    return found


def damaged(data: bytes, choose: random.Random) -> bytes:
    """Bytes changed, cut, doubled or swapped."""
    broken = bytearray(data)
    for _ in range(choose.choice((1, 1, 2, 5, 30))):
        if not broken:
            break
        at = choose.randrange(len(broken))
        match choose.randrange(6):
            case 0:
                broken[at] = choose.randrange(256)
            case 1:
                broken[at] ^= 1 << choose.randrange(8)
            case 2:
                del broken[at : at + choose.choice((1, 4, 100))]
            case 3:
                broken[at:at] = broken[at : at + choose.choice((1, 16, 300))]
            case 4:
                # Sizes and counts: the largest and the smallest are where mistakes are.
                width = choose.choice((1, 2, 4))
                broken[at : at + width] = choose.choice((b"\xff", b"\0", b"\x7f")) * width
            case 5:
                del broken[choose.randrange(len(broken)) :]
    return bytes(broken)


def changed(value: Any, choose: random.Random) -> Any:
    """A JSON value with something in it replaced, removed or renamed."""
    if choose.random() < 0.12:
        return choose.choice(TOKENS)
    if isinstance(value, dict):
        new = {}
        for key, item in value.items():
            chance = choose.random()
            if chance < 0.05:
                continue
            key = "x" if chance < 0.08 else spoiled(key, choose) if chance < 0.12 else key
            new[key] = changed(item, choose) if chance < 0.5 else item
        return new
    if isinstance(value, list):
        return [changed(item, choose) for item in value for _ in range(choose.choice((1, 1, 1, 2)))]
    if isinstance(value, str) and choose.random() < 0.3:
        if value[:1] == "{" and choose.random() < 0.5:
            with contextlib.suppress(ValueError):  # a message or body in JSON
                return json.dumps(changed(json.loads(value), choose))
        if choose.random() < 0.3:
            return spoiled(value, choose)
        return damaged(value.encode("utf-8", "replace"), choose).decode("utf-8", "replace")
    return value


def spoiled(words: str, choose: random.Random) -> str:
    """Words with something in them that not every encoding, log or terminal can take."""
    at = choose.randrange(len(words) + 1)
    return words[:at] + choose.choice(UNFIT) * choose.choice((1, 1, 1, 3000)) + words[at:]


def is_sound(answer: Any) -> bool:
    """Whether an answer or message can be sent, by its bytes, and nothing in it ends a line."""
    content = json.dumps(answer, ensure_ascii=False).encode()
    return not any(mark in content for mark in (b"\xe2\x80\xae", b"\xe2\x80\xa8", b"\x1b"))


def events() -> list[Any]:
    """The golden events; their objects in S3 are asked for, and no bucket is allowed."""
    paths = sorted((ROOT / "tests" / "events").glob("*.json"))
    return [json.loads(path.read_text("utf-8"))["event"] for path in paths]


def cases(choose: random.Random) -> Callable[[], tuple[str, Any]]:
    """What makes one event after the other: its kind, and itself."""
    images, shapes = pictures(), events()
    heavy = [*(data for data, _ in BOMBS.values()), *HEAVY.values()]

    def case() -> tuple[str, Any]:
        path = choose.choice(("/predict", "/tensor"))
        match choose.randrange(6):
            case 4:
                image = base64.b64encode(choose.choice(images))
                body = choose.choice((b"image=%s&go=1", b"%s", b'"%s"', b"url=data:,%s&top_k=1"))
                body = damaged(body % image, choose)
                body = damaged(gzip.compress(body), choose) if choose.random() < 0.3 else body
                return "body", http(
                    path, body, choose.choice((FORM, "text/plain", "application/json"))
                )
            case 0 | 1 | 5 as number:
                kind, files = ("heavy", heavy) if number == 5 else ("image", images)
                data = damaged(choose.choice(files), choose)
                return kind, {"image": base64.b64encode(data).decode(), "top_k": 1}
            case 2:
                return "event", changed(choose.choice(shapes), choose)
            case _:
                form = b'%s"f"; filename="a"\r\n\r\n%s\r\n%s"top_k"\r\n\r\n1\r\n--b--'
                form %= (PART, choose.choice(images)[:400], PART)
                return "form", http(path, damaged(form, choose))

    return case


def main(argv: Sequence[str] | None = None) -> int:
    """Run until the time is over."""
    p = argparse.ArgumentParser(prog="python -m tests.endurance.fuzz", description=__doc__)
    p.add_argument("--seconds", type=float, default=60, help="how long (default: 60)")
    p.add_argument("--seed", type=int, default=int(time.time()), help="default: the time")
    args = p.parse_args(argv)
    # Small limits reach the same code in less time.
    settings = Settings(
        num_threads=1, log_level="FATAL", max_image_pixels=4_000_000,
        fetch_allowed_hosts=frozenset({"fuzz.invalid"}), results_prefix=("answers", "out/"),
    )  # fmt: skip
    handler = Handler(settings)
    # There is no S3 here: result lines are judged in its place.
    lines: list[bytes] = []
    s3.write = lambda key, content, *_: lines.append(content) or key  # type: ignore[assignment]
    choose = random.Random(args.seed)
    case = cases(choose)
    outcomes: Counter[str] = Counter()
    findings = 0
    end = time.monotonic() + args.seconds
    print(f"fuzzing for {args.seconds:g} s, seed {args.seed}", flush=True)
    while time.monotonic() < end:
        kind, event = case()
        # A hang in C has no exception: its traceback is printed, and the process ends.
        faulthandler.dump_traceback_later(HANG_S, exit=True)
        try:
            lines.clear()
            answer = handler.handle(event)
            sound = is_sound([answer, *map(bytes.decode, lines)])
            status = answer.get("statusCode", 200) if isinstance(answer, dict) else 200
            outcome = str(status)
            bad = status == 500 or not sound
        except ClassifierError as error:
            outcome, bad = error.code, isinstance(error, InternalError)
            bad = bad or not is_sound(str(error)) or len(str(error)) > 1000
        except Exception as error:  # noqa: BLE001
            outcome, bad = type(error).__name__, True
        faulthandler.cancel_dump_traceback_later()
        outcomes[f"{kind}: {outcome}"] += 1
        if bad:
            findings += 1
            FINDINGS.mkdir(exist_ok=True)
            place = FINDINGS / f"{args.seed}-{findings}.json"
            place.write_text(json.dumps(event, default=str), "utf-8")
            print(f"FOUND {kind}: {outcome}; the event is in {place.relative_to(ROOT)}")
    for name, count in sorted(outcomes.items()):
        print(f"  {count:8,}  {name}")
    print(f"{outcomes.total():,} events, {findings} findings")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
