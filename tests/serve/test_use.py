"""docs/use.md: every block of code in it runs, against the real server. HTML is tests/web's."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.http_host import HttpHost, QuietFiles
from tests.serve.conftest import running

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "use.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def addresses():
    """Those of the document, and where they are in this test."""
    with HttpHost(QuietFiles.of(ROOT / "samples")) as host:
        photos = host.address
        with running(FETCH_PRIVATE_HOSTS=photos) as (url, _):
            yield {"http://127.0.0.1:9000": url, "127.0.0.1:8000": photos}


@pytest.fixture
def place(tmp_path):
    """A folder with the files that the document speaks of, and the environment."""
    for name, source in (
        ("photo.jpg", "samples/t-shirt.jpg"),
        ("other.jpg", "samples/pants.jpg"),
        ("three.png", "models/digits/samples/3.png"),
        ("photos/dress.jpg", "samples/dress.jpg"),
        ("photos/skirt.jpg", "samples/skirt.jpg"),
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / source, tmp_path / name)
    (tmp_path / ".venv").symlink_to(Path(sys.executable).parent.parent)
    return tmp_path


def block(language, having=""):
    found = [code for kind, code in BLOCKS if kind == language and having in code]
    assert len(found) == 1, (language, having)
    return found[0]


def run(command, place, addresses, code, name=None):
    for shown, real in addresses.items():
        code = code.replace(shown, real)
    if name:
        (place / name).write_text(code, encoding="utf-8")
    else:
        command = [*command, code]
    done = subprocess.run(
        command, cwd=place, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_curl(place, addresses):
    code = "\n".join(f"{line}; echo" for line in block("sh", "-F file=").splitlines())
    lines = run(["bash", "-ec"], place, addresses, code).splitlines()
    first, two, by_url, tensor = map(json.loads, lines)
    assert list(first) == ["t-shirt", "dress", "longsleeve"]
    assert [max(each, key=each.get) for each in two] == ["t-shirt", "pants"]
    assert sum(two[0].values()) == pytest.approx(1)
    assert list(by_url) == ["t-shirt"]
    assert tensor["shape"] == [160, 160, 3]


def test_requests_with_a_key_or_a_signature(place, guarded, monkeypatch):
    for name, value in (
        ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("AWS_SESSION_TOKEN", "token"),
        ("API_KEY", "a key"),
    ):
        monkeypatch.setenv(name, value)
    signed_addresses = {"http://127.0.0.1:9000": guarded}
    by_key, signed = block("sh", "x-api-key").split("\n", 1)
    for code in (by_key, signed):
        answer = run(["bash", "-ec"], place, signed_addresses, code)
        assert max(json.loads(answer).items(), key=lambda item: item[1])[0] == "t-shirt"
    out = run([sys.executable, "it.py"], place, signed_addresses, block("python", "SigV4"), "it.py")
    assert out.startswith("{'t-shirt': 3.")


# A desktop's Java, whose HttpURLConnection is Android's; no phone has been at hand.
@pytest.mark.parametrize(
    ("program", "language", "having", "name", "printed"),
    [
        (sys.executable, "python", "probabilities", "it.py",
         r"t-shirt .*%\ndress .*%\nlongsleeve .*%$"),
        (sys.executable, "python", "lambda", "it.py", r"\{'t-shirt': 3\."),
        ("node", "js", "", "it.mjs", r"\{\s*'t-shirt': 3\."),
        ("java", "java", "", "Predict.java", r'\{"t-shirt".*"dress".*"longsleeve"[^,]*\}$'),
    ],
)  # fmt: skip
def test_programs(program, language, having, name, printed, place, addresses):
    if not shutil.which(program):
        pytest.skip(f"no {program} on this machine")
    out = run([program, name], place, addresses, block(language, having), name)
    assert re.match(printed, out.strip()), out


def test_the_terminal(place, addresses):
    out = run(["bash", "-ec"], place, addresses, block("sh", "k2l predict"))
    one, _, rest = out.partition("image,truth,rank,label,score,error")
    assert "t-shirt" in one
    assert "photos/dress.jpg,,1,dress," in rest
    assert "three.png" in rest
    assert '"image": "-"' in rest


def test_every_block_is_one_of_these():
    """Those marked as console start what does not end by itself: make and sam, tested elsewhere."""
    kinds = "console console console sh python python sh python js html java console html sh"
    assert [kind for kind, _ in BLOCKS] == kinds.split()
