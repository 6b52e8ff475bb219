"""An arm64 machine: Debian's Python for it and the wheels that ship, run by QEMU on this processor.

Without Debian's apt and QEMU the tests are skipped; REQUIRE_ARM64=1 makes that a failure. What
stands in for Lambda's arm64 here has its Python's version and, to programs, its processor
(Graviton2, a Neoverse N1). It is not Amazon Linux, and its milliseconds mean nothing.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.unavailable import unavailable

ROOT = Path(__file__).resolve().parents[2]
QEMU = "qemu-aarch64-static"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
# The Debian that has the image's Python.
SUITE = "trixie"

# On a Debian for another processor, in folders of its own, as any user.
APT = """
APT::Architecture "arm64";
APT::Architectures {{ "arm64"; }};
APT::Install-Recommends "false";
APT::Sandbox::User "";
Debug::NoLocking "true";
Dir::State "{folder}/apt";
Dir::State::status "{folder}/apt/status";
Dir::Cache "{folder}/apt";
Dir::Etc::sourcelist "{folder}/apt/sources.list";
Dir::Etc::sourceparts "-";
"""

# QEMU shows programs this machine's /proc/cpuinfo. XNNPACK reads there which processor it is on,
# and crashes over an x86-64's. Arm's Neoverse N1 is 0x41, 0xd0c, as Linux has it in
# arch/arm64/include/asm/cputype.h.
CPUINFO = """\
processor\t: 0
BogoMIPS\t: 243.75
Features\t: fp asimd aes pmull sha1 sha2 crc32 atomics fphp asimdhp asimdrdm lrcpc dcpop asimddp
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x3
CPU part\t: 0xd0c
CPU revision\t: 1

"""


@dataclass(frozen=True)
class Machine:
    """The emulated machine.

    site: its site-packages, what the image has.
    slimmed: what deploy/slim.py said there.
    """

    folder: Path
    slimmed: str

    def python(self, *arguments: str | Path, whole: bool = False, **environ: str) -> str:
        """Run its Python in the project's folder; its standard output.

        Args:
            whole: with LiteRT's package as it was before deploy/slim.py.

        Raises:
            AssertionError: it failed; all of its output.
        """
        return _run(
            *(QEMU, "-cpu", "neoverse-n1", "-L", self.folder / "root"),
            *(self.folder / "root/usr/bin/python3", *arguments),
            PYTHONPATH=f"{self.folder / 'whole'}:" * whole
            + f"{self.folder / 'site'}:{ROOT / 'src'}:{ROOT}",
            PYTHONDONTWRITEBYTECODE="1",
            OPENBLAS_NUM_THREADS="1",  # as in the image
            **environ,
        )


@pytest.fixture(scope="session")
def arm64() -> Machine:
    if platform.machine() != "x86_64" or sys.platform != "linux":
        unavailable("only Linux on x86-64 needs to emulate arm64", "REQUIRE_ARM64")
    for program in (QEMU, "apt-get", "dpkg"):
        if not shutil.which(program):
            unavailable(
                f"{program} is not here: apt-get install qemu-user-static, on Debian",
                "REQUIRE_ARM64",
            )
    if not KEYRING.exists():
        unavailable("only Debian's apt knows Debian's keys", "REQUIRE_ARM64")
    folder = ROOT / ".arm64"
    parts = ("requirements.txt", "deploy/slim.py", "tests/arm64/conftest.py", "Dockerfile")
    key = hashlib.sha256(b"".join((ROOT / part).read_bytes() for part in parts)).hexdigest()
    ready = folder / key
    if not ready.exists():
        shutil.rmtree(folder, ignore_errors=True)
        ready.write_text(_make(folder), encoding="utf-8")
    return Machine(folder, ready.read_text("utf-8"))


def _make(folder: Path) -> str:
    """Fill the folder with the machine; what deploy/slim.py said of its packages."""
    dockerfile = (ROOT / "Dockerfile").read_text("utf-8")
    version = re.search(r"^ARG PYTHON_VERSION=([\d.]+)", dockerfile, re.MULTILINE)[1]
    root, site, apt = folder / "root", folder / "site", folder / "apt"
    for each in (root / "proc", apt / "lists" / "partial", apt / "archives" / "partial"):
        each.mkdir(parents=True)
    debian = ("--format", "$(REPO_URI)", "Created-By: Packages", "Label: Debian")
    mirror = _run("apt-get", "indextargets", *debian)
    if not mirror:
        unavailable("apt knows no mirror of Debian: apt-get update", "REQUIRE_ARM64")
    sources = f"deb [signed-by={KEYRING}] {mirror.split()[0]} {SUITE} main\n"
    for name, text in {
        "sources.list": sources,
        "status": "",
        "apt.conf": APT.format(folder=folder),
    }.items():
        (apt / name).write_text(text, encoding="utf-8")
    theirs = {"APT_CONFIG": str(apt / "apt.conf")}
    _run("apt-get", "update", "-q", **theirs)
    wanted = (f"python{version}", "libstdc++6")
    _run("apt-get", "install", "-y", "-q", "--download-only", *wanted, **theirs)
    for package in sorted((apt / "archives").glob("*.deb")):
        _run("dpkg", "-x", package, root)
    # Debian's base-files has these two, and much that nothing here needs.
    (root / "lib").symlink_to("usr/lib")
    (root / "usr/bin/python3").unlink(missing_ok=True)
    (root / "usr/bin/python3").symlink_to(f"python{version}")
    (root / "proc/cpuinfo").write_text(CPUINFO, encoding="utf-8")
    _run(
        *(sys.executable, "-m", "pip", "install", "-q", "--target", site),
        *("--no-deps", "--require-hashes", "--only-binary=:all:", "--implementation", "cp"),
        *("--python-version", version, "-r", "requirements.txt"),
        # By glibc, up to that of Lambda's image: 2.34.
        *(
            f"--platform={tag}_aarch64"
            for tag in ("manylinux_2_28", "manylinux_2_27", "manylinux2014")
        ),
    )
    for part in site.glob("ai_edge_litert*"):
        shutil.copytree(part, folder / "whole" / part.name)
    return Machine(folder, "").python("deploy/slim.py", site)


def _run(*command: str | Path, **environ: str) -> str:
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, **environ},
        text=True,
        check=False,
        capture_output=True,
    )
    assert done.returncode == 0, (
        f"{' '.join(map(str, command))}\nended with {done.returncode}\n"
        f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    )
    return done.stdout
