import fcntl
import math
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from bulk_patch.observe import ProgressBar, SendProgress, get_logger, start_logging
from tests.support.observing import ROOT, read_lines, run_child


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def run_log(tmp_path: Path) -> Iterator[Path]:
    with start_logging(log_file=tmp_path / "run.log", quiet=True, verbose=False):
        yield tmp_path / "run.log"


# --- lines, where there is no terminal


def test_without_a_terminal_progress_is_a_line_every_ten_seconds(clock: Clock, run_log: Path) -> None:
    with ProgressBar(1000, clock=clock) as progress:
        for second in range(1, 36):
            clock.now_s = 100.0 + second
            progress.update(SendProgress(done=second * 20, ok=second * 20 - 1, refused=1, throttled=2, limit_per_s=20))
    lines = read_lines(run_log)
    assert [line["done"] for line in lines] == [200, 400, 600]
    del lines[1]["timestamp"]
    assert lines[1] == {
        "level": "info",
        "event": "progress",
        "phase": "sending",
        "done": 400,
        "total": 1000,
        "rate_per_s": 20.0,
        "eta_s": 30,
        "ok": 399,
        "refused": 1,
        "throttled": 2,
        "limit_per_s": 20,
    }


def test_lines_do_not_catch_up_after_a_silence(clock: Clock, run_log: Path) -> None:
    progress = ProgressBar(10, clock=clock)
    for now_s in (165.0, 166.0, 174.9, 175.0):
        clock.now_s = now_s
        progress.update(SendProgress(done=5))
    assert len(read_lines(run_log)) == 2


def test_a_pause_is_told_with_its_reason(clock: Clock, run_log: Path) -> None:
    progress = ProgressBar(10, clock=clock)
    clock.now_s += 10
    progress.update(SendProgress(done=5, paused_s=11.2, pause_reason="rate limited"))
    clock.now_s += 10
    progress.update(SendProgress(done=5, paused_s=1.0))
    clock.now_s += 10
    progress.update(SendProgress(done=5, pause_reason="reading back"))
    assert [line["note"] for line in read_lines(run_log)] == ["paused 12 s: rate limited", "paused 1 s", "reading back"]


def test_the_rate_is_that_of_the_last_half_minute_and_leaves_out_what_was_done_before(
    clock: Clock, run_log: Path
) -> None:
    progress = ProgressBar(100_000, initial=50_000, clock=clock)
    for second in range(1, 61):
        clock.now_s += 1
        progress.update(SendProgress(done=50_000 + min(second, 40) * 100))
    rates = [line["rate_per_s"] for line in read_lines(run_log)]
    assert rates == pytest.approx([100, 100, 100, 100, 66.7, 33.3], abs=4)


def test_without_any_speed_there_is_no_end_in_sight(clock: Clock, run_log: Path) -> None:
    progress = ProgressBar(10, clock=clock)
    clock.now_s += 10
    progress.update(SendProgress(done=0, limit_per_s=math.inf))
    (line,) = read_lines(run_log)
    assert line["rate_per_s"] == 0
    assert {"eta_s", "limit_per_s", "ok", "note"}.isdisjoint(line)


def test_reading_is_told_without_a_total(clock: Clock, run_log: Path) -> None:
    progress = ProgressBar(None, desc="reading", clock=clock)
    clock.now_s += 10
    progress.update(SendProgress(done=700))
    (line,) = read_lines(run_log)
    assert line.items() >= {"phase": "reading", "done": 700}.items()
    assert "total" not in line


def test_switched_off_it_says_nothing(clock: Clock, run_log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressBar(10, enabled=False, clock=clock) as progress:
        clock.now_s += 60
        progress.update(SendProgress(done=5))
    assert read_lines(run_log) == []
    assert capsys.readouterr().err == ""


# --- the bar


def last_bar(printed: str) -> str:
    return printed.rstrip().rpartition("\r")[2].rstrip()


def test_the_bar_shows_all_figures_and_its_last_bar_stays(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    progress = ProgressBar(1000, enabled=True, clock=clock)
    clock.now_s += 10
    progress.update(SendProgress(done=250, ok=240, refused=10, throttled=3, limit_per_s=24.96))
    progress.close()
    progress.close()
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1
    assert re.fullmatch(
        r"sending:  25%\|.+\| 250/1000 \[00:\d\d, 25\.0/s, ETA 00:30, refused 10, 429s 3, ok 240, limit 25/s\]",
        last_bar(printed),
    )


def test_the_bar_says_why_all_wait_before_anything_else(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressBar(1000, enabled=True, clock=clock) as progress:
        progress.update(
            SendProgress(done=250, ok=250, refused=0, throttled=0, paused_s=11.5, pause_reason="rate limited")
        )
    assert last_bar(capsys.readouterr().err).endswith(", paused 12 s: rate limited, ok 250]")


def test_the_bar_is_drawn_again_while_nothing_moves(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("bulk_patch.observe.progress.REDRAW_EVERY_S", 0)
    with ProgressBar(1000, enabled=True, clock=clock) as progress:
        for left_s in (3, 2, 1):
            progress.update(SendProgress(done=250, paused_s=left_s))
        assert re.findall(r"paused \d s", capsys.readouterr().err) == ["paused 3 s", "paused 2 s", "paused 1 s"]


def test_a_bar_without_a_total_counts(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressBar(None, enabled=True, desc="reading", clock=clock) as progress:
        progress.update(SendProgress(done=300))
    assert re.fullmatch(r"reading: 300 \[00:\d\d\]", last_bar(capsys.readouterr().err))


def test_a_resumed_bar_begins_where_it_was(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressBar(1000, enabled=True, initial=400, clock=clock):
        pass
    assert "| 400/1000 " in last_bar(capsys.readouterr().err)


# --- real terminals, and those that are gone


def open_terminal(columns: int) -> tuple[int, int]:
    """Return our side and the program's side of a terminal."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24 if columns else 0, columns, 0, 0))
    return ours, theirs


def run_on_terminal(program: str, *, columns: int = 100) -> tuple[int, str]:
    """Run a program whose standard error is a terminal; return its exit code and all that it wrote there."""
    ours, theirs = open_terminal(columns)
    with subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdin=subprocess.DEVNULL, stderr=theirs) as child:
        os.close(theirs)
        written = bytearray()
        while part := read_terminal(ours):
            written += part
    os.close(ours)
    return child.returncode, written.decode()


def read_terminal(ours: int) -> bytes:
    try:
        return os.read(ours, 65536)
    except OSError:  # how Linux says that the other side is closed
        return b""


def look_at(written: str) -> list[str]:
    """Return the lines that a person sees once all of this was written to a terminal."""
    screen: list[list[str]] = [[]]
    column = 0
    for char in written:
        line = screen[-1]
        if char == "\r":
            column = 0
        elif char == "\n":
            screen.append([])
        else:
            assert char.isprintable(), f"the terminal is steered by {char!r}"
            line.extend(" " * (column + 1 - len(line)))
            line[column] = char
            column += 1
    return ["".join(line).rstrip() for line in screen]


BAR_AND_LINES = """
import logging, sys, threading
from bulk_patch.observe import ProgressBar, SendProgress, get_logger, start_logging
with start_logging(quiet=False, verbose=False):
    for phase in ("reading", "sending"):
        with ProgressBar(40, desc=phase) as progress:
            for done in range(1, 41):
                progress.update(SendProgress(done=done, ok=done, refused=0, throttled=0, limit_per_s=20.0))
                get_logger().info("told", row=done)
            logging.getLogger("asyncio").error("slow callback")
            assert threading.active_count() == 1
            assert "multiprocessing.synchronize" not in sys.modules
"""


def test_bar_and_lines_do_not_mix_on_a_terminal() -> None:
    code, written = run_on_terminal(BAR_AND_LINES)
    assert code == 0
    assert "told row=1\r\n" in written
    seen = look_at(written)
    lines = [line for line in seen if re.fullmatch(r"\d\d:\d\d:\d\d info    told row=\d+", line)]
    assert [int(line.rpartition("=")[2]) for line in lines] == [*range(1, 41), *range(1, 41)]
    bars = [line for line in seen if re.fullmatch(r"(reading|sending): 100%\|.*\| 40/40 \[00:\d\d, ok 40, .*\]", line)]
    assert len(bars) == 2
    rest = [line for line in seen if line not in lines and line not in bars]
    assert [line.partition(" ")[2] for line in rest if line] == [
        "error   a library reported a problem logger=asyncio origin=<string>:10"
    ] * 2


def test_a_narrow_terminal_cuts_the_bar_rather_than_wrapping_it() -> None:
    code, written = run_on_terminal(BAR_AND_LINES, columns=40)
    assert code == 0
    bars = [line for line in look_at(written) if line.startswith(("reading", "sending"))]
    assert len(bars) == 2
    assert max(map(len, bars)) <= 40


def test_a_terminal_that_does_not_know_its_size_shows_the_bar() -> None:
    code, written = run_on_terminal(BAR_AND_LINES, columns=0)
    assert code == 0
    assert "sending: 100%|" in written


BUSY = """
import sys, time
from pathlib import Path
from bulk_patch.observe import ProgressBar, SendProgress, get_logger, start_logging
with start_logging(log_file=Path(sys.argv[1]), quiet=False, verbose=False):
    with ProgressBar(300, enabled=True) as progress:
        get_logger().info("begun")
        sys.stdin.readline()
        for done in range(300):
            get_logger().info("told", row=done)
            progress.update(SendProgress(done=done))
sys.exit(4)
"""


# Only what Python buffers can fail when it is flushed at the end.
BUFFERED = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}


def start_busy(run_log: Path, stderr: int) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", BUSY, str(run_log)]
    return subprocess.Popen(command, cwd=ROOT, env=BUFFERED, text=True, stdin=subprocess.PIPE, stderr=stderr)


def end_busy(child: "subprocess.Popen[str]") -> int:
    with child:
        child.communicate("go on\n", timeout=60)
    return child.returncode


def test_a_reader_that_leaves_changes_neither_the_work_nor_the_exit_code(tmp_path: Path) -> None:
    ours, theirs = os.pipe()
    child = start_busy(tmp_path / "run.log", theirs)
    os.close(theirs)
    assert os.read(ours, 1)
    os.close(ours)
    assert end_busy(child) == 4
    assert len(read_lines(tmp_path / "run.log")) == 301


def test_a_terminal_that_is_gone_changes_neither_the_work_nor_the_exit_code(tmp_path: Path) -> None:
    ours, theirs = open_terminal(80)
    child = start_busy(tmp_path / "run.log", theirs)
    os.close(theirs)
    assert os.read(ours, 1)
    os.close(ours)
    assert end_busy(child) == 4
    assert len(read_lines(tmp_path / "run.log")) == 301


def test_a_standard_error_closed_before_the_start_changes_nothing(tmp_path: Path) -> None:
    run_log = tmp_path / "run.log"
    command = ["sh", "-c", 'exec "$@" 2>&-', "sh", sys.executable, "-c", BUSY, str(run_log)]
    done = subprocess.run(command, cwd=ROOT, input=b"\n", capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (4, b"")
    assert len(read_lines(run_log)) == 301


@pytest.mark.parametrize("stream", [None, "closed"])
def test_a_standard_error_that_the_program_itself_closed_is_no_terminal(
    monkeypatch: pytest.MonkeyPatch, run_log: Path, clock: Clock, stream: str | None
) -> None:
    gone: Any = None
    if stream:
        gone = StringIO()
        gone.close()
    monkeypatch.setattr(sys, "stderr", gone)
    with ProgressBar(10, clock=clock) as progress, ProgressBar(10, enabled=True, clock=clock) as bar:
        clock.now_s += 10
        progress.update(SendProgress(done=5))
        bar.update(SendProgress(done=5))
    assert len(read_lines(run_log)) == 1


def test_a_line_in_the_middle_of_another_write_is_lost_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Busy(StringIO):
        def write(self, text: str) -> int:
            if "nested" in text:
                raise RuntimeError("reentrant call")
            return super().write(text)

    stream = Busy()
    monkeypatch.setattr(sys, "stderr", stream)
    with start_logging(log_file=tmp_path / "run.log", quiet=False, verbose=False):
        get_logger().info("nested")
        get_logger().info("next")
    assert "next" in stream.getvalue()
    assert [line["event"] for line in read_lines(tmp_path / "run.log")] == ["nested", "next"]


def test_threads_can_still_log_after_the_reader_of_the_bar_left() -> None:
    program = """
import os, threading
from bulk_patch.observe import ProgressBar, SendProgress, get_logger, start_logging
ours, theirs = os.pipe()
os.dup2(theirs, 2)
os.close(theirs)
os.close(ours)
with start_logging(quiet=False, verbose=False), ProgressBar(10, enabled=True) as progress:
    progress.update(SendProgress(done=1))
    thread = threading.Thread(target=get_logger().info, args=("told",), daemon=True)
    thread.start()
    thread.join(20)
    os._exit(3 if thread.is_alive() else 0)
"""
    assert run_child(program).returncode == 0
