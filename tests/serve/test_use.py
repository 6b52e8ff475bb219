"""docs/use.md: every block of code in it runs, against the real server. HTML is tests/web's."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import urllib.parse
from pathlib import Path

import pytest
import requests
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.http_host import HttpHost, Quiet, QuietFiles
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


class Gateway(Quiet):
    """As API Gateway with IAM: checks a request's signature, and passes a good one on to `behind`.

    By botocore's signer, as the documentation of the signature has it:
    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html
    """

    behind = ""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if not self.headers.get("x-api-key") and not self.signed(body):
            self.send_error(403)
            return
        answer = requests.post(self.behind + self.path, data=body, timeout=30)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(answer.content)

    def signed(self, body):
        given = self.headers["Authorization"]
        names = re.search("SignedHeaders=([^,]+)", given)[1].split(";")
        assert {"host", "x-amz-date", "x-amz-security-token"} <= set(names)
        path, _, query = self.path.partition("?")
        request = AWSRequest(
            "POST",
            f"http://{self.headers['Host']}{path}",
            headers={name: self.headers[name] for name in names if name != "host"},
            params=dict(urllib.parse.parse_qsl(query)),
            data=body,
        )
        request.context["timestamp"] = self.headers["x-amz-date"]
        signer = SigV4Auth(
            Credentials("AKIDEXAMPLE", "secret", "token"), "execute-api", "us-east-1"
        )
        text = signer.string_to_sign(request, signer.canonical_request(request))
        return given.endswith("Signature=" + signer.signature(text, request))


@pytest.fixture
def signed_addresses(addresses, monkeypatch):
    """The same addresses, but for a gateway that wants a key or a signature in front."""
    for name, value in (
        ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("AWS_SESSION_TOKEN", "token"),
        ("API_KEY", "a key"),
    ):
        monkeypatch.setenv(name, value)
    gateway = type("Behind", (Gateway,), {"behind": addresses["http://127.0.0.1:9000"]})
    with HttpHost(gateway) as server:
        yield {"http://127.0.0.1:9000": f"http://{server.address}"}


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
