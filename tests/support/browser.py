"""A real Chromium for the tests of pages: the one that the system has installed, headless, without a network.

Debian: `apt-get install chromium`. Where there is none, or no playwright, tests skip; with
BULK_PATCH_REQUIRE_SERVICES=1 they fail.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:  # playwright is in the extra `browser`: what needs no browser works without
    from playwright.sync_api import Browser, Dialog, Page

NAMES = ("chromium", "chromium-browser", "google-chrome")
HEIGHT = 900


def find_chromium() -> str | None:
    """Return the path of the Chromium that is installed, or None."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


def need_chromium() -> str:
    """Return the path of Chromium; skip the test without one or without playwright, or fail where it is required."""
    required = os.environ.get("BULK_PATCH_REQUIRE_SERVICES") == "1"
    if not required:
        pytest.importorskip("playwright", reason="needs the extra `browser`")
    found = find_chromium()
    if found is None and required:
        pytest.fail("there is no Chromium, and BULK_PATCH_REQUIRE_SERVICES=1 asks for one")
    if found is None:
        pytest.skip("there is no Chromium")
    return found


@contextmanager
def chromium(path: str) -> "Iterator[Browser]":
    """Start a browser for the length of the block."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # Containers run as root and have a small /dev/shm; the pages are our own.
        browser = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
        )
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def opened(
    browser: "Browser", file: Path, *, width: int = 1280, dark: bool = False, script: bool = True
) -> "Iterator[Page]":
    """Open a file as a person would, and check on leaving that it complained of nothing and asked for nothing else.

    Args:
        browser: From `chromium`.
        file: The page.
        width: Of the window, CSS pixels.
        dark: The person prefers dark pages.
        script: Scripts may run.
    """
    context = browser.new_context(
        viewport={"width": width, "height": HEIGHT},
        color_scheme="dark" if dark else "light",
        java_script_enabled=script,
    )
    page = context.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: complaints.append(f"error: {error}"))

    def dismiss(dialog: "Dialog") -> None:
        complaints.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    page.on("dialog", dismiss)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    try:
        page.goto(file.as_uri())
        yield page
    finally:
        context.close()
    assert complaints == []
    assert asked == [file.as_uri()]
