"""What no picture may take: time past the deadline, and memory that is not there."""

from __future__ import annotations

import base64
import gc
import importlib.util
import json
import os
import struct
import subprocess
import sys
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from keras_to_lambda.runtime.common import memory
from keras_to_lambda.runtime.common.deadline import Deadline
from keras_to_lambda.runtime.common.errors import DeadlineExceeded, TooManyPixels
from keras_to_lambda.runtime.handler import Handler
from keras_to_lambda.runtime.image import budget, pixels
from keras_to_lambda.runtime.image.budget import Limits
from keras_to_lambda.runtime.image.decode import opened
from keras_to_lambda.runtime.inference.pipeline import Invocation
from keras_to_lambda.runtime.inference.telemetry import Stopwatch
from keras_to_lambda.runtime.model_file.card import Preprocessing
from keras_to_lambda.runtime.sources import images as sources
from keras_to_lambda.runtime.sources.images import Raw, Url
from tests.runtime.made import chunk, encoded, flat

STEPS = Preprocessing()


def segment(marker, content):
    return bytes((0xFF, marker)) + struct.pack(">H", len(content) + 2) + content


SMALL = Image.new("RGB", (64, 64), "teal")
JPEG, PNG, GIF = encoded(SMALL), encoded(SMALL, "PNG"), encoded(SMALL, "GIF")
MEGABYTE = zlib.compress(bytes(1_000_000), 9)
EXIF = b"Exif\0\0II*\0\x08\0\0\0\0\0"


def in_jpeg(*segments):
    return JPEG[:2] + b"".join(segments) + JPEG[2:]


def in_png(*chunks):
    return PNG[:33] + b"".join(chunks) + PNG[33:]


def in_gif(*blocks):
    at = GIF.index(b",")
    return GIF[:at] + b"".join(blocks) + GIF[at:]


def scans(image, times, **options):
    """A progressive JPEG, the last of its scans so many times more."""
    data = encoded(image, progressive=True, **options)
    begin, end = data.rindex(b"\xff\xda"), data.rindex(b"\xff\xd9")
    return data[:end] + data[begin:end] * times + data[end:]


def run_lengths(compression, width, height, data):
    palette = b"".join(bytes((i, i, 255 - i, 0)) for i in range(16))
    info = struct.pack(
        "<IiiHHIIiiII", 40, width, height, 1, 8 // compression, compression, 0, 0, 0, 16, 16
    )
    return b"BM" + struct.pack("<IHHI", 0, 0, 0, 54 + 64) + info + palette + data


def tags(count):
    entries = b"".join(struct.pack("<HHII", 300 + i, 1, 60_000, 8) for i in range(count))
    return b"II*\0\x08\0\0\0" + struct.pack("<H", count) + entries


# Each is a sound picture, and how often at the least the deadline is looked at while it is decoded:
# once for each scan, run or block of it, and for a thousand of its smallest parts.
BOMBS = {
    "progressive scans": (scans(SMALL, 500), 500),
    "runs of 8 bits": (run_lengths(1, 500, 500, b"\1\7\0\0" * 500 + b"\0\1"), 1000),
    "runs of 4 bits": (run_lengths(2, 500, 500, b"\1\7\0\0" * 500 + b"\0\1"), 1000),
    "Exif segments": (in_jpeg(segment(0xE1, EXIF) * 20_000), 19),
    "restart intervals": (in_jpeg(segment(0xDD, bytes(2)) * 20_000), 19),
    "fill bytes": (in_jpeg(b"\xff\0" * 20_000), 19),
    "quantization tables": (in_jpeg(JPEG[(at := JPEG.index(b"\xff\xdb")) : at + 69] * 5_000), 4),
    "empty chunks": (in_png(chunk(b"teSt", b"") * 20_000), 19),
    "empty chunks of pixels": (in_png(chunk(b"IDAT", b"") * 5_000), 5_000),
    "extensions": (in_gif(b"!\1\1a\0" * 5_000), 5_000),
    "a long comment": (in_gif(b"!\xfe", (b"\xff" + b"a" * 255) * 5_000, b"\0"), 5_000),
    "a large plain PNG": (encoded(Image.new("RGBA", (2_000, 2_000)), "PNG", compress_level=9), 4),
}
# Sound pictures whose metadata is none of Pillow's business.
HEAVY = {
    "Exif segments of 64 kB": in_jpeg(segment(0xE1, EXIF + bytes(65_000)) * 20),
    "Exif of tags that share their bytes": in_jpeg(segment(0xE1, b"Exif\0\0" + tags(5_400))),
    "segments of a profile": in_jpeg(
        *(segment(0xE2, b"ICC_PROFILE\0" + bytes((i, 255)) + bytes(900)) for i in range(1, 256))
    ),
    "Photoshop's resources": in_jpeg(
        segment(0xED, b"Photoshop 3.0\0" + b"8BIM\0\1\0\0\0\0\0\0" * 5_000) * 20
    ),
    "compressed texts": in_png(chunk(b"zTXt", b"a\0\0" + MEGABYTE) * 500),
    "compressed profiles": in_png(chunk(b"iCCP", b"a\0\0" + MEGABYTE * 5) * 20),
    **{
        f"frames of a {kind}": encoded(
            SMALL, kind, save_all=True, append_images=[SMALL.rotate(i) for i in range(99)]
        )
        for kind in ("PNG", "GIF", "WebP")
    },
}


class Looks:
    """A deadline that passes at the given look."""

    def __init__(self, last=None):
        self.count, self.last = 0, last

    def __call__(self, seconds):
        self.count += 1
        if self.last is not None and self.count > self.last:
            raise DeadlineExceeded("decoding took too long")


@pytest.mark.parametrize("name", BOMBS)
def test_the_deadline_is_looked_at_for_each_part_of_a_picture_and_ends_its_decoding(name):
    data, least = BOMBS[name]
    looks = Looks()
    opened(data, STEPS, 3, Limits(check=looks)).whole()
    assert looks.count >= least
    looks = Looks(last=least // 2)
    with pytest.raises(DeadlineExceeded):
        opened(data, Preprocessing(exif="apply"), 3, Limits(check=looks)).whole()
    assert looks.count == least // 2 + 1


@pytest.mark.parametrize("name", HEAVY)
def test_metadata_and_further_frames_cost_nothing(name, monkeypatch):
    """Counted in bytes: Pillow reads no more than the picture without them has, and a few."""
    read = []
    original = budget.Reader.read

    def counting(self, count=-1):
        part = original(self, count)
        read.append(len(part))
        return part

    monkeypatch.setattr(budget.Reader, "read", counting)
    picture = opened(HEAVY[name], Preprocessing(exif="apply"), 3, Limits())
    assert picture.size == (64, 64)
    assert "frames of a WebP" in name or sum(read) < 17_000


@pytest.mark.parametrize(
    ("kind", "options", "seconds"),
    [("WEBP", {}, 0.05), ("JPEG", {"progressive": True}, 0.01), ("JPEG", {}, 0), ("PNG", {}, 0)],
)
def test_what_cannot_be_stopped_is_not_begun_when_the_deadline_is_too_near(kind, options, seconds):
    asked = []
    data = encoded(Image.new("RGB", (1000, 500)), kind, **options)
    opened(data, STEPS, 3, Limits(check=asked.append))
    assert max(asked) == pytest.approx(seconds)


class Clock:
    """Seconds that pass with every look at them."""

    now = 0.0

    def __call__(self):
        self.now += 0.001
        return self.now


@pytest.fixture(scope="module")
def one_model(settings):
    return Handler(settings)


@pytest.mark.parametrize("bombs", [1, 7])
@pytest.mark.parametrize("first", [True, False])
def test_the_neighbours_of_a_bomb_are_answered(bombs, first, one_model, jpeg):
    bomb = Raw(scans(SMALL, 20_000))
    good = [Raw(jpeg), Raw(jpeg)]
    images = [*[bomb] * bombs, *good] if first else [*good, *[bomb] * bombs]
    answers = one_model.pipeline.classify(images, deadline=Deadline(5.0, Clock()))
    codes = [getattr(answer, "code", "scores") for answer in answers]
    assert codes.count("scores") == 2
    assert codes.count("deadline_exceeded") == bombs


@pytest.mark.parametrize(
    ("image", "kind", "options", "megabytes"),
    [
        # 4 bytes a pixel of colour, 1 of grey, 2 for each coefficient that libjpeg keeps, 16 for
        # what libwebp holds; and 28 for the band of a million pixels that is being converted.
        (flat("RGB", 1000, 1000), "JPEG", {}, 4 + 28),
        (flat("L", 2000, 2000), "JPEG", {}, 4 + 28),
        (flat("RGB", 1000, 1000), "JPEG", {"progressive": True, "subsampling": 0}, 4 + 6 + 28),
        (flat("RGB", 1000, 1000), "JPEG", {"progressive": True, "subsampling": 2}, 4 + 3 + 28),
        (flat("CMYK", 1000, 1000), "JPEG", {"progressive": True}, 4 + 8 + 28),
        (flat("L", 2000, 2000), "JPEG", {"progressive": True}, 4 + 8 + 28),
        (flat("RGBA", 1000, 1000), "PNG", {}, 4 + 28),
        (flat("P", 2000, 2000), "PNG", {}, 4 + 28),
        (flat("I;16", 2000, 2000), "PNG", {}, 8 + 28),
        (flat("P", 2000, 2000), "GIF", {}, 4 + 28),
        (flat("RGB", 1000, 1000), "BMP", {}, 4 + 28),
        (flat("RGB", 1000, 1000), "WEBP", {}, 4 + 16 + 28),
    ],
)
def test_a_picture_is_let_in_where_its_memory_is_there(image, kind, options, megabytes):
    data = encoded(image, kind, **options)
    enough = Limits(reserve=lambda needs: needs <= megabytes * 1_020_000)
    assert opened(data, STEPS, 3, enough).size == image.size
    with pytest.raises(TooManyPixels, match="more than is left of the function's memory"):
        opened(data, STEPS, 3, Limits(reserve=lambda needs: needs <= megabytes * 990_000))
    if kind == "BMP":  # 1 x 60,000 pixels are 600 x 60,000 after the first half of resizing
        long, limits = flat("RGB", 1, 60_000), Limits(reserve=lambda needs: needs <= 20_000_000)
        assert opened(encoded(long), STEPS, 3, limits, (32, 32))
        with pytest.raises(TooManyPixels):
            opened(encoded(long), STEPS, 3, limits, (600, 600))


# Each is run in a process of its own, whose first argument is a picture's file.
PEAK = """
def kilobytes(name):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(name))
"""
ONE = """
import json, sys
from pathlib import Path
from PIL import BmpImagePlugin, GifImagePlugin, JpegImagePlugin, PngImagePlugin, WebPImagePlugin
from PIL.Image import Resampling
from keras_to_lambda.runtime.inference.pipeline import Invocation
from keras_to_lambda.runtime.inference.telemetry import Stopwatch
from keras_to_lambda.runtime.model_file.card import Preprocessing
from keras_to_lambda.runtime.image.budget import Limits
from keras_to_lambda.runtime.image.decode import opened

data = Path(sys.argv[1]).read_bytes()
asked = []
limits = Limits(reserve=lambda needs: asked.append(needs) or True)
before = kilobytes("VmRSS")
opened(data, Preprocessing(alpha="white"), 3, limits, (224, 224)).resize(
    (224, 224), Resampling.BICUBIC
)
print(json.dumps([asked, (kilobytes("VmHWM") - before) * 1024]))
"""
TWO = """
import json, sys, threading
from pathlib import Path
from keras_to_lambda.runtime.handler import Handler
from keras_to_lambda.runtime.common.settings import Settings
from keras_to_lambda.runtime.sources.images import Raw

handler = Handler(Settings(num_threads=1))
picture = Raw(Path(sys.argv[1]).read_bytes())
answers = []
classify = handler.pipeline.classify
threads = [
    threading.Thread(target=lambda: answers.extend(classify([picture]))) for _ in range(2)
]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(json.dumps([sorted(type(answer).__name__ for answer in answers), kilobytes("VmHWM")]))
"""
TWELVE = """
import sys, lambda_function

with open(sys.argv[1], encoding="ascii") as file:
    event = {"image": file.read(), "top_k": 1}
for _ in range(3):
    answer = lambda_function.lambda_handler(event)
print(f"[{len(answer)}, {kilobytes('VmHWM')}]")
"""
in_linux = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")


def child(program, data, tmp_path, **environ):
    (tmp_path / "picture").write_bytes(data)
    done = subprocess.run(
        [sys.executable, "-c", PEAK + program, tmp_path / "picture"],
        env={**os.environ, **environ}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return json.loads(done.stdout)


@in_linux
@pytest.mark.parametrize(
    ("image", "kind", "options"),
    [
        (flat("RGB", 3600, 3000), "JPEG", {"progressive": True, "subsampling": 0}),
        (flat("RGBA", 3600, 3000), "PNG", {}),
        (flat("RGBA", 3600, 3000), "WEBP", {"lossless": True, "method": 0, "quality": 0}),
    ],
    ids=["progressive", "PNG with alpha", "WebP"],
)
def test_a_picture_takes_no_more_memory_than_it_was_weighed(image, kind, options, tmp_path):
    """By the kernel's count of a process's pages."""
    [weighed], taken = child(ONE, encoded(image, kind, **options), tmp_path)
    assert 0.3 * weighed < taken < weighed


@in_linux
def test_two_large_pictures_at_once_stay_within_the_memory_of_the_function(tmp_path):
    """Each fits alone: 363 MB of 512."""
    data = encoded(flat("RGB", 6600, 5200), progressive=True, subsampling=0)
    answers, peak = child(TWO, data, tmp_path, AWS_LAMBDA_FUNCTION_MEMORY_SIZE="512")
    assert answers == ["dict", "dict"]
    assert peak < 512 << 10


@in_linux
def test_a_photo_of_12_megapixels_needs_less_than_128_mb(tmp_path):
    """The default model, the event as base64 in memory included."""
    noise = np.random.default_rng(2).integers(0, 255, (750, 1000, 3), dtype=np.uint8)
    photo = encoded(Image.fromarray(noise).resize((4000, 3000), Image.Resampling.BICUBIC))
    assert len(photo) > 2_000_000
    environ = {"NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "LOG_LEVEL": "FATAL"}
    answers, peak = child(TWELVE, base64.b64encode(photo), tmp_path, **environ)
    assert answers == 1
    # The drop-in's library is larger: 125 MB on a quiet machine, 128 on a busy one.
    drop_in = importlib.util.find_spec("ai_edge_litert") is None
    assert peak * 1024 < (140e6 if drop_in else 128e6)


def test_what_was_reserved_is_not_reserved_twice():
    room = memory.Room()
    left = lambda: 100_000_000  # noqa: E731
    with memory.Share(room) as first, memory.Share(room) as second:
        assert first.reserve(60_000_000, left, 0)
        assert second.reserve(40_000_000, left, 0)
        with memory.Share(room) as third, pytest.raises(TimeoutError):
            third.reserve(20_000_000, left, 0)
        with memory.Share(room) as small:
            assert small.reserve(memory.SMALL, left, 0)
    assert room.reserved == 0
    with memory.Share(room) as share:
        assert not share.reserve(60_000_000, lambda: 50_000_000, 30)


def test_a_thread_waits_for_what_another_has_reserved():
    room, left = memory.Room(), lambda: 100_000_000
    waiting = threading.Event()

    def looked():
        waiting.set()
        return left()

    def second():
        with memory.Share(room) as share:
            return share.reserve(60_000_000, looked, 30)

    with ThreadPoolExecutor(1) as pool:
        with memory.Share(room) as first:
            assert first.reserve(60_000_000, left, 0)
            answer = pool.submit(second)
            assert waiting.wait(30)
            assert not answer.done()
        assert answer.result() is True


def test_a_picture_waits_for_memory_no_longer_than_its_deadline(settings):
    handler = Handler(settings)
    data = encoded(flat("L", 5000, 4000))
    with memory.Share(handler.pipeline.room) as other:
        assert other.reserve(memory.UNLIMITED // 2, lambda: memory.UNLIMITED, 0)
        [error] = handler.pipeline.classify([Raw(data)], deadline=Deadline(0.05))
        assert (error.code, error.transient) == ("deadline_exceeded", True)
    [scores] = handler.pipeline.classify([Raw(data)])
    assert isinstance(scores, dict)


def tree(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return str(root)


LAMBDA = {"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512"}
CGROUP, FS = "proc/self/cgroup", "sys/fs/cgroup"
OLD = {
    CGROUP: "5:cpu:/x\n4:memory:/a\n0::/\n",
    f"{FS}/memory/a/memory.limit_in_bytes": "3000",
    f"{FS}/memory/memory.limit_in_bytes": "9223372036854771712",
}


@pytest.mark.parametrize(
    ("environ", "files", "limit"),
    [
        ({}, {}, None),
        (LAMBDA, {}, 512 << 20),
        ({}, {CGROUP: "0::/a/b\n", f"{FS}/a/memory.max": "1000\n"}, 1000),
        ({}, {CGROUP: "0::/\n", f"{FS}/memory.max": "max\n"}, None),
        # In a container the path is the host's.
        ({}, {CGROUP: "0::/far\n", f"{FS}/memory.max": "2000\n"}, 2000),
        ({}, OLD, 3000),
        (LAMBDA, {CGROUP: "0::/\n", f"{FS}/memory.max": "4000"}, 4000),
    ],
)
def test_the_memory_limit_is_the_least_of_lambdas_and_the_cgroups(environ, files, limit, tmp_path):
    assert memory.limit(environ, tree(tmp_path, files)) == limit


HALF_GB, STATM, MEMINFO = 500_000_000, "proc/self/statm", "proc/meminfo"


@pytest.mark.parametrize(
    ("limit", "files", "left"),
    [
        (None, {}, memory.UNLIMITED),
        (HALF_GB, {STATM: "900 10000 1"}, HALF_GB - 10_000 * memory.PAGE),
        (None, {MEMINFO: "MemFree: 1 kB\nMemAvailable:   300000 kB\n"}, 300_000 << 10),
        (HALF_GB, {STATM: "9 10 1", MEMINFO: "MemAvailable: 100000 kB\n"}, 100_000 << 10),
    ],
)
def test_the_memory_that_is_left_is_what_the_process_does_not_hold(limit, files, left, tmp_path):
    assert memory.left(limit, tree(tmp_path, files)) == left - memory.RESERVE


ODD = Image.new("RGB", (301, 203), "teal")


@pytest.mark.parametrize(
    "data", [encoded(ODD, "PNG")[:150], scans(ODD, 20_000)], ids=["damaged", "too slow"]
)
def test_a_picture_that_failed_is_not_kept_in_memory(data, one_model):
    gc.collect()
    gc.disable()
    try:
        [error] = one_model.pipeline.classify([Raw(data)], deadline=Deadline(1.0, Clock()))
        kept = [x for x in gc.get_objects() if isinstance(x, Image.Image) and x.width == 301]
    finally:
        gc.enable()
    assert error.code in ("undecodable_image", "deadline_exceeded")
    assert [x for x in kept if x is not ODD] == []


def test_of_several_packed_profiles_one_is_unpacked(monkeypatch):
    text = b"Raw profile type exif\0\0" + zlib.compress(bytes(1_000_000))
    data = in_png(*[chunk(b"zTXt", text)] * 50)
    unpackers = []
    unpacker = zlib.decompressobj
    monkeypatch.setattr(zlib, "decompressobj", lambda: unpackers.append(1) or unpacker())
    opened(data, Preprocessing(exif="apply"), 3, Limits())
    assert len(unpackers) == 1


def test_pictures_are_decoded_a_few_at_a_time_whatever_the_number_of_threads(
    settings, jpeg, monkeypatch
):
    monkeypatch.setattr("keras_to_lambda.runtime.inference.pipeline.vcpus", lambda _: 3)
    handler = Handler(settings)
    lock, changed = threading.Lock(), threading.Event()
    under_way, most = [], []
    original = pixels.opened

    def opened(*args):
        with lock:
            under_way.append(1)
            most.append(len(under_way))
            if len(under_way) == 3:
                changed.set()
        changed.wait(30)  # until as many are here as may be
        try:
            return original(*args)
        finally:
            with lock:
                under_way.pop()

    monkeypatch.setattr(pixels, "opened", opened)
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda _: handler.pipeline.classify([Raw(jpeg)]), range(12)))
    assert all(isinstance(answer, dict) for [answer] in answers)
    assert max(most) == 3
    turns = handler.pipeline.turns
    with turns, turns, turns:
        [error] = handler.pipeline.classify([Raw(jpeg)], deadline=Deadline(0.05))
        assert (error.code, error.transient) == ("deadline_exceeded", True)
    assert isinstance(handler.pipeline.classify([Raw(jpeg)])[0], dict)


@pytest.mark.parametrize(
    ("left", "most"), [(1 << 40, 8), (640_000_000, 8), (250_000_000, 3), (80_000_000, 1), (0, 1)]
)
def test_as_many_downloads_run_side_by_side_as_there_is_memory_for(
    left, most, settings, jpeg, monkeypatch
):
    settings = replace(settings, max_image_bytes=20_000_000)
    call = Invocation(Handler(settings).pipeline, Deadline(60), Stopwatch())
    monkeypatch.setattr(memory, "left", lambda _: left)
    assert call._side_by_side([Url("https://example.com/")] * 16) == most
    lock, ahead, peak = threading.Lock(), [], []

    def read(*_):
        with lock:
            ahead.append(1)
            peak.append(len(ahead))
        return jpeg

    monkeypatch.setattr(sources, "read", read)
    urls = [Url("https://example.com/")] * 16
    for content in sources.read_all(urls, settings, Deadline(60), most):
        with lock:
            ahead.pop()
        assert content == jpeg
    assert max(peak) <= most
