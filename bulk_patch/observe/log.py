"""The log: structlog with two outputs of its own, the console and run.log.

It does not use structlog's global configuration, so a program that imports this package keeps its own.
"""

import json
import logging
import os
import stat
import sys
import threading
import warnings
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, Literal, TextIO, cast

from bulk_patch.observe.redact import keep_allowed, outline_exception
from bulk_patch.observe.stderr import LOCK, occupy_standard_streams, write_line

if TYPE_CHECKING:
    from structlog.processors import LogfmtRenderer
    from structlog.typing import EventDict, FilteringBoundLogger

#: Lines said before the run's folder is known, kept until `attach_log_file`.
EARLY_LINES = 300

#: Methods of a logger. structlog itself is loaded when something is said: most commands that only show say nothing.
_LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "exception": logging.ERROR,
    "critical": logging.CRITICAL,
}
_OFF = logging.CRITICAL + 1
_SAID_ONCE = ("run", "job", "target")


class _LogFile:
    """A file of JSON lines, each written by one call, so that a kill tears at most the last."""

    def __init__(self, path: Path, mode: int) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
        self._torn = False
        found = os.fstat(self._file)
        if stat.S_ISREG(found.st_mode):
            with suppress(PermissionError):  # a teammate's file has its mode already
                os.fchmod(self._file, mode)
            self._torn = found.st_size > 0 and os.pread(self._file, 1, found.st_size - 1) != b"\n"

    def write(self, line: str) -> None:
        data = f"\n{line}\n" if self._torn else f"{line}\n"
        self._torn = os.write(self._file, data.encode()) < len(data.encode())

    def close(self) -> None:
        os.close(self._file)


@dataclass(slots=True)
class _Outputs:
    """The console and run.log; also the logger that gets the finished events of structlog."""

    console_level: int = _OFF
    console_json: bool = False
    file_level: int = logging.INFO
    file: _LogFile | None = None
    file_failed: bool = False
    early: deque[str] = field(default_factory=lambda: deque(maxlen=EARLY_LINES))

    def take(self, /, **event: Any) -> None:
        """Write one event wherever its level is wanted."""
        level = _LEVELS[event["level"]]
        line = json.dumps(event, allow_nan=False)
        with LOCK:
            if level >= self.console_level:
                write_line(line if self.console_json else _as_text(event))
            if level >= self.file_level:
                self.keep(line)

    debug = info = warning = error = critical = take

    def keep(self, line: str) -> None:
        """Append a line to run.log, or hold it until there is one."""
        if self.file is None:
            self.early.append(line)
            return
        try:
            self.file.write(line)
        except OSError as failure:
            self.tell_failure(failure)

    def tell_failure(self, failure: OSError) -> None:
        """Say once that run.log is not being written. Later lines are still tried: a disk may get space again."""
        if not self.file_failed:
            self.file_failed = True
            _LOG.warning("run.log cannot be written; the run goes on without it", reason=failure.strerror)

    def close_file(self) -> None:
        """Close run.log, if there is one."""
        if self.file is not None:
            with suppress(OSError):
                self.file.close()
        self.file, self.file_failed = None, False


@cache
def _logfmt() -> "LogfmtRenderer":
    from structlog.processors import LogfmtRenderer

    return LogfmtRenderer(bool_as_flag=False)


def _as_text(event: Mapping[str, Any]) -> str:
    """Render an event for the console: `HH:MM:SS level event key=value`, in local time; an exception's places below.

    What is bound for the whole run would be on every line, so it is left out.
    """
    from structlog.contextvars import get_contextvars

    hidden = {"timestamp", "level", "event", "exception", *(key for key in _SAID_ONCE if key in get_contextvars())}
    shown = {key: _flatten(value) for key, value in event.items() if key not in hidden and value is not None}
    moment = datetime.fromisoformat(event["timestamp"]).astimezone()
    first = f"{moment:%H:%M:%S} {event['level']:<7} {event['event']} {_logfmt()(None, '', shown)}"
    return "\n".join([first.rstrip(), *(f"    {line}" for line in event.get("exception", ()))])


def _flatten(value: Any) -> Any:
    if isinstance(value, dict):
        return ",".join(f"{key}:{_flatten(each)}" for key, each in value.items())
    if isinstance(value, list):
        return ",".join(str(_flatten(each)) for each in value)
    return value


def _drop_unwanted(outputs: _Outputs, method: str, event: "EventDict") -> "EventDict":
    """Spend nothing on an event that no output takes. A structlog processor."""
    from structlog import DropEvent

    if _LEVELS[method] < min(outputs.console_level, outputs.file_level):
        raise DropEvent
    return event


_OUTPUTS = _Outputs()


@cache
def _structlog() -> "FilteringBoundLogger":
    import structlog
    from structlog.processors import TimeStamper, add_log_level

    return cast(
        "FilteringBoundLogger",
        structlog.wrap_logger(
            _OUTPUTS,
            processors=[
                _drop_unwanted,
                structlog.contextvars.merge_contextvars,
                add_log_level,
                TimeStamper(fmt="iso", utc=True),
                outline_exception,
                keep_allowed,
            ],
            wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
            context_class=dict,
            cache_logger_on_first_use=True,
        ),
    )


class _Log:
    """The log, with structlog loaded once something is said."""

    def __getattr__(self, name: str) -> Any:
        return getattr(_structlog(), name)


_LOG = cast("FilteringBoundLogger", _Log())


def get_logger() -> "FilteringBoundLogger":
    """Return the program's log. Outside `start_logging` it says nothing on the console."""
    return _LOG


@contextmanager
def start_logging(
    *, log_file: Path | None = None, console: Literal["console", "json"] = "console", quiet: bool, verbose: bool
) -> Iterator[None]:
    """Show the log on stderr inside the block, and let libraries, warnings and stray exceptions speak through it.

    Args:
        log_file: Where run.log is, if that is known already; else `attach_log_file` tells later.
        console: Readable lines, or JSON lines.
        quiet: Show warnings and worse only.
        verbose: Show debug lines too, and write them to run.log.
    """
    occupy_standard_streams()
    _OUTPUTS.early.clear()
    _OUTPUTS.console_level = logging.WARNING if quiet else logging.DEBUG if verbose else logging.INFO
    _OUTPUTS.console_json = console == "json"
    _OUTPUTS.file_level = logging.DEBUG if verbose else logging.INFO
    try:
        if log_file is not None:
            attach_log_file(log_file)
        with _foreign_voices():
            yield
    finally:
        detach_log_file()
        _OUTPUTS.early.clear()
        _OUTPUTS.console_level, _OUTPUTS.file_level = _OFF, logging.INFO


def attach_log_file(path: Path, *, mode: int = 0o600) -> None:
    """Append to this run.log from now on, starting with what was said since the last one was detached.

    Args:
        path: The file. Its folder is made if it is missing, for the owner alone or for the group as `mode` says.
        mode: The file's permissions, whatever the umask.
    """
    with LOCK:
        _OUTPUTS.close_file()
        try:
            if not path.parent.is_dir():
                path.parent.mkdir(0o700)
                path.parent.chmod(0o2770 if mode & 0o070 else 0o700)
            _OUTPUTS.file = _LogFile(path, mode)
        except OSError as failure:
            _OUTPUTS.tell_failure(failure)
            return
        while _OUTPUTS.early:
            _OUTPUTS.keep(_OUTPUTS.early.popleft())


def detach_log_file() -> None:
    """Close run.log: what is said from now on belongs to the next one."""
    with LOCK:
        _OUTPUTS.close_file()


class _ForeignHandler(logging.Handler):
    """Takes what libraries log. Their messages are dropped: they quote URLs, headers and values.

    structlog's `ProcessorFormatter` would render each record for one output; we have two, and need only its origin.
    """

    def emit(self, record: logging.LogRecord) -> None:
        tell = _LOG.error if record.levelno >= logging.ERROR else _LOG.warning
        origin = f"{record.filename}:{record.lineno}"
        tell("a library reported a problem", logger=record.name, origin=origin, exc_info=record.exc_info)


def _tell_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Tell the kind of a warning; its message may quote values."""
    _LOG.warning("a library warned", category=category.__name__, origin=f"{PurePath(filename).name}:{lineno}")


def _tell_stray(stray: "threading.ExceptHookArgs | sys.UnraisableHookArgs") -> None:
    if stray.exc_type is not SystemExit:
        _LOG.error("an exception nobody waited for", exc_info=stray.exc_value)


@contextmanager
def _foreign_voices() -> Iterator[None]:
    """Send what others would print on stderr, through the bar and unredacted, to our log."""
    handler = _ForeignHandler(logging.WARNING)
    hooks = threading.excepthook, sys.unraisablehook, warnings.showwarning
    logging.getLogger().addHandler(handler)
    threading.excepthook = sys.unraisablehook = _tell_stray
    warnings.showwarning = _tell_warning
    try:
        yield
    finally:
        threading.excepthook, sys.unraisablehook, warnings.showwarning = hooks
        logging.getLogger().removeHandler(handler)
