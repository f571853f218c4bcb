"""Run the program of `cmd:`: in a process group that ends with it, without our stdin, in the job file's folder."""

import os
import re
import selectors
import shlex
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

_COMMAND_TIMEOUT_S = 30.0
_LONGEST_BYTES = 64 << 10
_SHOWN = 300  # characters of what it said on stderr
_LIKE_A_SECRET = re.compile(r"[\w+/.=~-]*(?=[\w+/.=~-]*\d)[\w+/.=~-]{10,}")


class CommandError(Exception):
    """The program gave no secret; the text follows "the token command".

    Args:
        reason: What happened, without anything that the program printed for us.
        hint: What to do, "" when there is nothing better than to run it by hand.
    """

    def __init__(self, reason: str, hint: str = "") -> None:
        super().__init__(reason)
        self.hint = hint


def run_command(line: str, folder: Path) -> str:
    """Return what a program prints.

    Args:
        line: Program and arguments, quoted as for a shell; no shell reads it.
        folder: Where it runs; a program named with a slash is relative to it.

    Raises:
        CommandError: It cannot be found or started, does not end in time, fails, or prints no text.
    """
    try:
        words = shlex.split(line)
    except ValueError:
        raise CommandError("has a quote that is not closed", "quote it as for a shell") from None
    if not words or "\0" in line:
        raise CommandError("names no program", "write cmd:PROGRAM ARGS")
    program = _find(words[0], folder)
    try:
        process = subprocess.Popen(
            [program, *words[1:]],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            process_group=0,
        )
    except OSError as error:
        raise CommandError(f"{program} cannot be started: {error.strerror}") from None
    with process:
        try:
            output, said = _read_both(process, until=time.monotonic() + _COMMAND_TIMEOUT_S)
        finally:  # what it left running would go on without anybody knowing
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
        code = process.wait()
    if code:
        how = f"failed with exit code {code}" if code > 0 else f"was ended by signal {-code}"
        words_of_it = _masked(said, output)
        raise CommandError(f"{program} {how}{f': {words_of_it}' if words_of_it else ' and said nothing on stderr'}")
    try:
        return output.decode()
    except UnicodeDecodeError:
        raise CommandError(f"{program} printed something that is not text") from None


def _find(name: str, folder: Path) -> str:
    """Return the path of a program, as a shell in the job file's folder would find it."""
    if "/" in name:
        path = folder / Path(name).expanduser()
        if not path.exists():
            raise CommandError(f"names a program that does not exist: {path}", "a path is relative to the job file")
        if path.is_dir() or not os.access(path, os.X_OK):
            raise CommandError(f"names a file that cannot be executed: {path}", f"chmod +x {shlex.quote(str(path))}")
        return str(path)
    search = os.environ.get("PATH", os.defpath)
    found = shutil.which(name, path=os.pathsep.join(part for part in search.split(os.pathsep) if os.path.isabs(part)))
    if found is None:
        raise CommandError(
            f"names a program, {name}, that is not on the PATH ({search})",
            "write its whole path in the job file; cron's PATH is shorter than a terminal's",
        )
    return found


def _read_both(process: "subprocess.Popen[bytes]", *, until: float) -> tuple[bytes, bytes]:
    """Read what a program prints until it ends; something that it started may hold the pipes open for longer.

    Args:
        process: Started with two pipes.
        until: By the monotonic clock, seconds.

    Raises:
        CommandError: It has not ended by then.
    """
    assert process.stdout is not None
    assert process.stderr is not None
    kept = {process.stdout.fileno(): b"", process.stderr.fileno(): b""}
    out, err = kept
    with selectors.DefaultSelector() as pipes:
        for handle in kept:
            pipes.register(handle, selectors.EVENT_READ)
        while True:
            has_ended = process.poll() is not None
            ready = pipes.select(0.0 if has_ended else 0.02) if pipes.get_map() else []
            for key, _ in ready:
                block = os.read(key.fd, _LONGEST_BYTES)
                kept[key.fd] = (kept[key.fd] + block)[:_LONGEST_BYTES]
                if not block:
                    pipes.unregister(key.fd)
            if has_ended and not ready:
                return kept[out], kept[err]
            if time.monotonic() > until:
                raise CommandError(f"did not end within {_COMMAND_TIMEOUT_S:g} s")
            if not pipes.get_map() and not has_ended:
                time.sleep(0.02)


def _masked(said: bytes, output: bytes) -> str:
    """Return what a program said, on one line, without what it printed as the secret or what looks like one."""
    text = said.decode(errors="replace")
    for secret in sorted({word for word in output.decode(errors="replace").split() if len(word) > 3}, key=len):
        text = text.replace(secret, "***")
    text = _LIKE_A_SECRET.sub("***", " ".join(text.split()))
    text = "".join(letter if letter.isprintable() else "?" for letter in text)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
