"""What a power cut would leave: what was synced to the disk before a request left, and before anything was reported.

A SIGKILL keeps the page cache, so no tier of `tests.chaos` sees a sync that is missing. Here the kernel's own record of
system calls shows it (strace). It does not show whether the disk itself keeps what it was told to.
"""

import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bulk_patch.sandbox import Sandbox
from tests.acceptance.commands import Workspace
from tests.acceptance.small_job import FILE, aimed_at, new_emails, patches, write_job

CALLS = "pwrite64,write,writev,sendto,sendmsg,fdatasync,fsync"
LEDGER = ("ledger.db", "ledger.db-wal")
_CALL = re.compile(r"(?P<thread>\d+) +(?P<name>\w+)\(\d+<(?P<file>[^>]*)>(?P<rest>.*)")
_RESUMED = re.compile(r"(?P<thread>\d+) +<\.\.\. (?P<name>\w+) resumed>.*= (?P<result>-?\d+)")


@dataclass(frozen=True, slots=True)
class Call:
    """One system call on a file, in the order in which they began; a sync counts from when it ended well."""

    name: str
    file: str
    text: str


def read_calls(trace: Path) -> Iterator[Call]:
    """Yield the calls of all threads."""
    begun: dict[str, str] = {}
    for line in trace.read_text(encoding="utf-8", errors="replace").splitlines():
        if found := _CALL.match(line):
            is_sync = found["name"].endswith("sync")
            if is_sync and found["rest"].endswith("<unfinished ...>"):
                begun[found["thread"]] = found["file"]
            elif not is_sync or found["rest"].endswith("= 0"):
                yield Call(found["name"], found["file"], found["rest"])
        elif (found := _RESUMED.match(line)) and found["name"].endswith("sync") and found["result"] == "0":
            yield Call(found["name"], begun.pop(found["thread"]), "")


def not_synced(calls: list[Call]) -> set[str]:
    """Return the ledger's files in which something is not on the disk after these calls."""
    waiting: set[str] = set()
    for call in calls:
        if Path(call.file).name in LEDGER:
            (waiting.discard if call.name.endswith("sync") else waiting.add)(call.file)
    return waiting


def test_calls_are_read_as_strace_writes_them(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    trace.write_text(
        '7 pwrite64(18</o/ledger.db-wal>, "\\0"..., 24, 32) = 24\n'
        "7 fdatasync(18</o/ledger.db-wal> <unfinished ...>\n"
        '8 write(23<socket:[1]>, "PATCH /v0/customers/"..., 458) = 458\n'
        "7 <... fdatasync resumed>)         = 0\n"
    )
    calls = list(read_calls(trace))
    assert [call.name for call in calls] == ["pwrite64", "write", "fdatasync"]
    assert not_synced(calls[:2]) == {"/o/ledger.db-wal"}
    assert not_synced(calls) == set()


def test_the_intent_is_on_the_disk_before_a_request_leaves_and_the_outcome_before_it_is_reported(
    office: Workspace, api: Sandbox
) -> None:
    strace = shutil.which("strace")
    if strace is None:
        if os.environ.get("BULK_PATCH_REQUIRE_SERVICES") == "1":
            pytest.fail("there is no strace, and BULK_PATCH_REQUIRE_SERVICES=1 asks for it")
        pytest.skip("there is no strace: on Debian, apt-get install strace")
    write_job(office, new_emails(1))
    trace = office.root / "trace"
    options = [strace, "-f", "-y", "-s", "24", "-e", f"trace={CALLS}", "-o", str(trace)]
    ended = office.run("run", FILE, *aimed_at(api), under=options)
    assert (ended.code, len(patches(api))) == (0, 1), ended.err
    calls = list(read_calls(trace))
    sent = next(at for at, call in enumerate(calls) if '"PATCH /' in call.text)
    reported = next(at for at, call in enumerate(calls) if at > sent and "results.csv" in call.file)
    in_the_log = [call for call in calls[sent:reported] if call.file.endswith("ledger.db-wal")]
    assert in_the_log, "the outcome was written nowhere"
    assert not_synced(calls[:sent]) == set()
    assert not_synced(calls[:reported]) == set()
