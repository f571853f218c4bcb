"""What is printed for a person: colour on a terminal only, and only where it helps."""

import io
import os
import re
import sys

import pytest

from bulk_patch.cli import text
from bulk_patch.cli.printing import say

LINES = "error: no job file\nexit code 0: done\nexit code 3: a person\nsend 3 changes to PRODUCTION\nnext: run it"


class Screen(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def a_plain_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")


def printed(stream: io.StringIO) -> str:
    say(LINES, stream=stream)
    return stream.getvalue()


def test_a_terminal_gets_colour_and_the_same_words() -> None:
    shown = printed(Screen())
    assert "\x1b[31merror: no job file\x1b[0m" in shown
    assert "\x1b[32mexit code 0\x1b[0m: done" in shown
    assert "\x1b[33mexit code 3\x1b[0m" in shown
    assert "\x1b[1;31mPRODUCTION\x1b[0m" in shown
    assert re.sub("\x1b\\[[0-9;]*m", "", shown) == f"{LINES}\n"


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_a_terminal_that_wants_no_colour_gets_none(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    assert printed(Screen()) == f"{LINES}\n"


def test_a_file_gets_no_colour() -> None:
    assert printed(io.StringIO()) == f"{LINES}\n"


@pytest.mark.parametrize(("columns", "width"), [(80, 80), (119, 119), (240, 120), (10, 40)])
def test_text_is_wrapped_to_the_terminal(monkeypatch: pytest.MonkeyPatch, columns: int, width: int) -> None:
    monkeypatch.setattr(sys, "stdout", Screen())
    monkeypatch.setattr("shutil.get_terminal_size", lambda fallback: os.terminal_size((columns, 24)))
    try:
        text.fit_terminal()
        assert text.line_width() == width
        assert max(map(len, text.wrap("word " * 100))) <= width
    finally:
        monkeypatch.undo()
        text.fit_terminal()
    assert text.line_width() == text.WIDTH
