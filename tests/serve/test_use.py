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

from keras_to_lambda.runtime.common.settings import Settings
from keras_to_lambda.runtime.handler import Handler
from keras_to_lambda.serve.gateway import Gateway
from tests import aws_signature
from tests.http_host import HttpHost, QuietFiles, wsgi
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


@pytest.fixture
def signed_addresses(monkeypatch):
    """The function's address behind a gateway that wants a key or a signature."""
    for name, value in (
        ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("AWS_SESSION_TOKEN", "token"),
        ("API_KEY", "a key"),
    ):
        monkeypatch.setenv(name, value)
    gateway = Gateway(Handler(Settings(num_threads=1, log_level="FATAL")).handle)
    with wsgi(aws_signature.guarded(gateway)) as url:
        yield {"http://127.0.0.1:9000": url}


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


def needs(program):
    return pytest.mark.skipif(not shutil.which(program), reason=f"no {program} on this machine")


def test_curl(place, addresses):
    code = "\n".join(f"{line}; echo" for line in block("sh", "-F file=").splitlines())
    lines = run(["bash", "-ec"], place, addresses, code).splitlines()
    first, two, by_url, tensor = map(json.loads, lines)
    assert list(first) == ["t-shirt", "dress", "longsleeve"]
    assert [max(each, key=each.get) for each in two] == ["t-shirt", "pants"]
    assert sum(two[0].values()) == pytest.approx(1)
    assert list(by_url) == ["t-shirt"]
    assert tensor["shape"] == [160, 160, 3]


def test_python(place, addresses):
    code = block("python", "probabilities")
    lines = run([sys.executable, "it.py"], place, addresses, code, "it.py").splitlines()
    assert [line.split()[0] for line in lines] == ["t-shirt", "dress", "longsleeve"]
    assert lines[0].endswith("%")


def test_boto3(place, addresses):
    code = block("python", "lambda")
    out = run([sys.executable, "it.py"], place, addresses, code, "it.py")
    assert out.startswith("{'t-shirt': 3.")


def test_requests_with_a_key_or_a_signature(place, signed_addresses):
    by_key, signed = block("sh", "x-api-key").split("\n", 1)
    for code in (by_key, signed):
        answer = run(["bash", "-ec"], place, signed_addresses, code)
        assert max(json.loads(answer).items(), key=lambda item: item[1])[0] == "t-shirt"
    out = run([sys.executable, "it.py"], place, signed_addresses, block("python", "SigV4"), "it.py")
    assert out.startswith("{'t-shirt': 3.")


@needs("node")
def test_javascript(place, addresses):
    out = run(["node", "it.mjs"], place, addresses, block("js"), "it.mjs")
    assert "'t-shirt': 3." in out


@needs("java")
def test_a_mobile_app(place, addresses):
    """On a desktop's Java, whose HttpURLConnection is Android's; no phone has been at hand."""
    out = run(["java", "Predict.java"], place, addresses, block("java"), "Predict.java")
    assert list(json.loads(out)) == ["t-shirt", "dress", "longsleeve"]


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
