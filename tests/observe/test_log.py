import json
import logging
import os
import re
import resource
import stat
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog

from bulk_patch.observe import attach_log_file, detach_log_file, get_logger, start_logging
from bulk_patch.observe.log import EARLY_LINES
from tests.support.observing import read_lines, run_child

log = get_logger()


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@contextmanager
def umask(value: int) -> Iterator[None]:
    before = os.umask(value)
    try:
        yield
    finally:
        os.umask(before)


# --- the console


def test_a_line_for_people_has_time_level_event_and_keys(capsys: pytest.CaptureFixture[str]) -> None:
    with start_logging(quiet=False, verbose=False):
        log.info(
            "plan sealed", rows=1200, counts={"applied": 3, "invalid": 1}, fields=("email", "dob"), reason="as asked"
        )
    printed = capsys.readouterr()
    assert printed.out == ""
    assert re.fullmatch(
        r'\d\d:\d\d:\d\d info    plan sealed rows=1200 counts=applied:3,invalid:1 fields=email,dob reason="as asked"\n',
        printed.err,
    )


def test_what_is_bound_for_the_whole_run_is_left_out_for_people_but_not_for_machines(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "run.log"
    with start_logging(log_file=path, quiet=False, verbose=False):
        log.info("began", run="r1")
        with structlog.contextvars.bound_contextvars(run="r1", job="nightly"):
            log.info("went on", rows=2)
    began, went_on = capsys.readouterr().err.splitlines()
    assert began.endswith("began run=r1")
    assert went_on.endswith("went on rows=2")
    assert read_lines(path)[1].items() >= {"run": "r1", "job": "nightly", "rows": 2}.items()


def test_the_console_can_show_json(capsys: pytest.CaptureFixture[str]) -> None:
    with start_logging(console="json", quiet=False, verbose=False):
        log.warning("unusual", rows=0)
    shown = json.loads(capsys.readouterr().err)
    assert list(shown) == ["timestamp", "level", "event", "rows"]
    assert shown.items() >= {"level": "warning", "event": "unusual", "rows": 0}.items()


@pytest.mark.parametrize(
    ("quiet", "verbose", "shown", "kept"),
    [
        (False, False, "info warning error", "info warning error"),
        (True, False, "warning error", "info warning error"),
        (False, True, "debug info warning error", "debug info warning error"),
        (True, True, "warning error", "debug info warning error"),
    ],
)
def test_quiet_and_verbose_choose_levels_and_quiet_leaves_run_log_alone(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, quiet: bool, verbose: bool, shown: str, kept: str
) -> None:
    path = tmp_path / "run.log"
    with start_logging(log_file=path, quiet=quiet, verbose=verbose):
        for tell in (log.debug, log.info, log.warning, log.error):
            tell("something")
    assert [line.split()[1] for line in capsys.readouterr().err.splitlines()] == shown.split()
    assert [line["level"] for line in read_lines(path)] == kept.split()


def test_an_importing_program_hears_nothing_and_keeps_its_own_configuration() -> None:
    done = run_child(
        "import structlog; from bulk_patch.observe import get_logger\n"
        "get_logger().error('not for you', rows=1)\n"
        "assert not structlog.is_configured()",
        capture_output=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_importing_it_loads_nothing_heavy() -> None:
    done = run_child("import sys, bulk_patch.observe; print(*sys.modules)", stdout=subprocess.PIPE)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert "bulk_patch" in loaded
    assert loaded & {"structlog", "tqdm", "pandas", "numpy", "pyarrow", "aiohttp", "pydantic"} == set()


# --- run.log


def test_run_log_has_one_json_object_a_line_with_utc_time_first(tmp_path: Path) -> None:
    path = tmp_path / "run.log"
    with start_logging(log_file=path, quiet=True, verbose=False):
        log.info("stopped", guard="canary", exit_code=5)
    (line,) = read_lines(path)
    assert list(line) == ["timestamp", "level", "event", "guard", "exit_code"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", line["timestamp"])


def test_a_line_is_in_the_file_before_the_next_statement(tmp_path: Path) -> None:
    path = tmp_path / "run.log"
    with start_logging(log_file=path, quiet=True, verbose=False):
        log.info("first")
        assert [line["event"] for line in read_lines(path)] == ["first"]


@pytest.mark.parametrize("mode", [0o600, 0o660])
@pytest.mark.parametrize("mask_", [0o000, 0o077])
def test_run_log_has_its_mode_whatever_the_umask(tmp_path: Path, mode: int, mask_: int) -> None:
    path = tmp_path / "run" / "run.log"
    with umask(mask_), start_logging(quiet=True, verbose=False):
        attach_log_file(path, mode=mode)
    assert mode_of(path) == mode
    assert mode_of(path.parent) == {0o600: 0o700, 0o660: 0o2770}[mode]


def test_a_run_log_that_others_could_read_is_closed_to_them(tmp_path: Path) -> None:
    path = tmp_path / "run.log"
    path.touch()
    path.chmod(0o644)
    with start_logging(log_file=path, quiet=True, verbose=False):
        pass
    assert mode_of(path) == 0o600


def test_a_link_in_place_of_run_log_is_not_followed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    precious = tmp_path / "precious"
    precious.write_text("mine")
    (tmp_path / "run.log").symlink_to(precious)
    with start_logging(log_file=tmp_path / "run.log", quiet=True, verbose=False):
        log.info("something")
    assert precious.read_text() == "mine"
    assert "run.log cannot be written" in capsys.readouterr().err


def test_what_was_said_before_the_folder_was_known_comes_first(tmp_path: Path) -> None:
    path = tmp_path / "run.log"
    with start_logging(quiet=True, verbose=False):
        for row in range(EARLY_LINES + 5):
            log.info("early", row=row)
        attach_log_file(path)
        log.info("late")
    lines = read_lines(path)
    assert [line.get("row") for line in lines] == [*range(5, EARLY_LINES + 5), None]
    assert lines[-1]["event"] == "late"


def test_a_second_run_of_the_same_process_gets_its_own_log(tmp_path: Path) -> None:
    first, second = tmp_path / "first.log", tmp_path / "second.log"
    with start_logging(quiet=True, verbose=False):
        attach_log_file(first)
        log.info("of the first")
        detach_log_file()
        log.info("planning the second")
        attach_log_file(second)
        log.info("of the second")
        attach_log_file(first)
        log.info("again")
    assert [line["event"] for line in read_lines(first)] == ["of the first", "again"]
    assert [line["event"] for line in read_lines(second)] == ["planning the second", "of the second"]


def test_what_one_command_said_is_not_told_to_the_next(tmp_path: Path) -> None:
    with start_logging(quiet=True, verbose=False):
        log.info("of the first command")
    with start_logging(log_file=tmp_path / "run.log", quiet=True, verbose=False):
        log.info("of the second")
    assert [line["event"] for line in read_lines(tmp_path / "run.log")] == ["of the second"]


def test_a_line_torn_by_a_kill_does_not_swallow_the_next(tmp_path: Path) -> None:
    path = tmp_path / "run.log"
    path.write_text('{"event": "whole"}\n{"event": "to')
    with start_logging(log_file=path, quiet=True, verbose=False):
        log.info("next")
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[:2] == ['{"event": "whole"}', '{"event": "to']
    assert json.loads(lines[2])["event"] == "next"


def test_lines_of_many_threads_stay_whole(tmp_path: Path) -> None:
    path = tmp_path / "run.log"
    with start_logging(log_file=path, quiet=True, verbose=False):
        threads = [threading.Thread(target=lambda: [log.info("x" * 400) for _ in range(50)]) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(read_lines(path)) == 200


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from bulk_patch.observe import get_logger, start_logging
path, log = Path(sys.argv[1]), get_logger()
with start_logging(log_file=path, quiet=True, verbose=False):
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
    for row in range(100):
        log.info("before", row=row)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    log.info("after")
"""


@pytest.mark.skipif(
    resource.getrlimit(resource.RLIMIT_FSIZE)[1] != resource.RLIM_INFINITY, reason="needs the right to lift a limit"
)
def test_a_full_disk_is_told_once_and_run_log_goes_on_when_there_is_space(tmp_path: Path) -> None:
    path = tmp_path / "run.log"
    done = run_child(FULL_DISK, str(path), capture_output=True)
    assert done.returncode == 0
    assert done.stderr.count("\n") == 1
    assert "run.log cannot be written; the run goes on without it" in done.stderr
    lines = path.read_text(encoding="utf-8").splitlines()
    assert json.loads(lines[0])["row"] == 0
    assert json.loads(lines[-1])["event"] == "after"


# --- afterwards


def test_after_the_block_everything_is_as_before(capsys: pytest.CaptureFixture[str]) -> None:
    def hooks() -> tuple[Any, ...]:
        return logging.getLogger().handlers[:], threading.excepthook, sys.unraisablehook, warnings.showwarning

    before = hooks()
    with start_logging(quiet=False, verbose=False):
        assert hooks() != before
    assert hooks() == before
    log.error("to no one")
    assert capsys.readouterr().err == ""
