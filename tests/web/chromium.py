"""Debian's Chromium, or another one of this machine's; Playwright's own is never downloaded."""

from __future__ import annotations

import contextlib
import shutil

from playwright.sync_api import sync_playwright

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = [
    "--no-sandbox",  # as root, in a container
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    # Connections to the test's server alone.
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # A camera that shows a moving test picture, and needs no permission.
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
]


def find():
    """Its path, or None."""
    return next(filter(None, map(shutil.which, PROGRAMS)), None)


@contextlib.contextmanager
def launched():
    """A browser without a window."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find(), args=FLAGS)
        yield browser
        browser.close()
