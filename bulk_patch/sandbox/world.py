"""The sandbox's world: customers, answers kept under keys, and the log of requests, in one SQLite database.

What a request does is one transaction: the customer, the kept answer and the log line stand or fall together.
The line is then appended to the log file, before the reply. A process killed between the two leaves the line
in the database only; the next start appends it. So the file and the state never tell two stories.
"""

import errno
import json
import os
import sqlite3
import stat
import threading
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .fields import Document
from .problems import Answer, encode

_SCHEMA = """
CREATE TABLE IF NOT EXISTS customers (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    document TEXT NOT NULL,
    executions INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS answers (
    key TEXT PRIMARY KEY,
    request TEXT NOT NULL,
    status INTEGER NOT NULL,
    content_type TEXT NOT NULL,
    body BLOB NOT NULL,
    kept_at REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS requests (
    position INTEGER PRIMARY KEY,
    n INTEGER NOT NULL,
    line TEXT NOT NULL
);
"""
_SEEDED = 1  # PRAGMA user_version of a world that has its customers
_LONGEST_LINE = 1 << 20  # bytes; the HTTP parser's limits keep real lines far below


#: What a sandbox says when another one holds its folder; the folder comes after it.
TAKEN = "another sandbox is running on"


class SandboxError(RuntimeError):
    """The sandbox cannot start; the text says why, for people."""


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """An answer kept under an Idempotency-Key.

    Attributes:
        key: The key.
        request: Fingerprint of the request it belongs to: method, path and body.
        answer: What was answered.
        kept_at: When, in unix seconds of the world's clock.
    """

    key: str
    request: str
    answer: Answer
    kept_at: float


@dataclass(frozen=True, slots=True)
class Filter:
    """A condition on customers: any of the fields equals the pattern, in which ``*`` matches anything."""

    fields: Sequence[str]
    pattern: str


class World:
    """Hold the state of one sandbox.

    Safe to read and edit from another thread than the server's. One process at a time: SQLite's exclusive
    lock is held for life, and dies with the process however that ends.
    """

    def __init__(self, state: Path | None = None, *, log: Path | None = None, wait_s: float = 0.0) -> None:
        """Open or create a world.

        Args:
            state: Folder it is kept in; None keeps it in memory.
            log: File that gets one JSON line a request.
            wait_s: Seconds to wait for another process to let go of the folder.

        Raises:
            SandboxError: The folder cannot be used or another process holds it.
        """
        self._lock = threading.RLock()
        self._is_kept = state is not None
        self._log: int | None = None
        try:
            self._database = _open_database(state, wait_s)
            weakref.finalize(self, self._database.close)
            row = self._database.execute("SELECT coalesce(max(n), 0) FROM requests").fetchone()
            self._last_n: int = row[0]
            if log is not None:
                _make_private_folder(log.parent)
                self._log = _open_log(log)
                self._complete_log(self._log)
        except (OSError, sqlite3.Error) as error:
            raise SandboxError(f"the sandbox cannot use {state or log}: {error}") from error

    def close(self) -> None:
        """Let go of the folder and of the log file. A world in memory stays readable."""
        with self._lock:
            if self._is_kept:
                self._database.close()
            if self._log is not None:
                os.close(self._log)
                self._log = None

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other threads out, from a read to the write that rests on it."""
        with self._lock:
            yield

    @property
    def is_seeded(self) -> bool:
        """Say whether the world was given its customers."""
        with self._lock:
            (version,) = self._database.execute("PRAGMA user_version").fetchone()
        return bool(version == _SEEDED)

    def seed(self, customers: Iterable[Document]) -> None:
        """Take customers in: all of them, or none when one cannot be taken."""
        rows = ((customer["id"], encode(customer)) for customer in customers)
        try:
            with self._transaction():
                self._database.executemany("INSERT INTO customers (id, document) VALUES (?, ?)", rows)
                self._database.execute(f"PRAGMA user_version = {_SEEDED}")
        except sqlite3.IntegrityError as error:
            raise SandboxError("two of the customers have the same id") from error

    def next_number(self) -> int:
        """Number a request; the first of a world is 1."""
        self._last_n += 1
        return self._last_n

    def find(self, customer_id: str) -> Document | None:
        """Return a customer as stored, or None."""
        with self._lock:
            row = self._database.execute("SELECT document FROM customers WHERE id = ?", (customer_id,)).fetchone()
        return None if row is None else json.loads(row[0])

    def page(
        self, filters: Sequence[Filter], ids: Sequence[str] | None, *, after: int, limit: int
    ) -> list[tuple[int, Document]]:
        """Return numbered customers that meet all filters, in the order of their creation.

        Args:
            filters: Conditions on fields.
            ids: Only these customers; None: all.
            after: Number of the last customer of the page before, 0 at first.
            limit: How many at most.
        """
        conditions = ["number > ?"]
        values: list[Any] = [after]
        if ids is not None:
            conditions.append(f"id IN ({', '.join('?' * len(ids))})")
            values.extend(ids)
        for each in filters:
            tests = (f"json_extract(document, '$.{name}') GLOB ?" for name in each.fields)
            conditions.append(f"({' OR '.join(tests)})")
            # `*` is the only wildcard of the API; GLOB has two more.
            values.extend([each.pattern.replace("[", "[[]").replace("?", "[?]")] * len(each.fields))
        query = f"SELECT number, document FROM customers WHERE {' AND '.join(conditions)} ORDER BY number LIMIT ?"
        with self._lock:
            rows = self._database.execute(query, (*values, limit)).fetchall()
        return [(number, json.loads(document)) for number, document in rows]

    def kept_answer(self, key: str) -> KeptAnswer | None:
        """Return what was last kept under a key, however old, or None."""
        query = "SELECT request, status, body, content_type, kept_at FROM answers WHERE key = ?"
        with self._lock:
            row = self._database.execute(query, (key,)).fetchone()
        if row is None:
            return None
        request, status, body, content_type, kept_at = row
        return KeptAnswer(key, request, Answer(status, body, content_type), kept_at)

    def commit(
        self, entry: Mapping[str, Any], *, customer: Document | None = None, kept: KeptAnswer | None = None
    ) -> None:
        """Make what one request did lasting, all of it or nothing, and log it.

        Args:
            entry: The log line; has its number under ``n``.
            customer: The customer as the request left it, if it changed one.
            kept: The answer to keep under the request's key, if any.
        """
        line = encode(entry)
        with self._transaction():
            if customer is not None:
                self._database.execute(
                    "UPDATE customers SET document = ?, executions = executions + 1 WHERE id = ?",
                    (encode(customer), customer["id"]),
                )
            if kept is not None:
                answer = kept.answer
                self._database.execute(
                    "INSERT OR REPLACE INTO answers (key, request, status, content_type, body, kept_at) "
                    "VALUES (?, ?, ?, ?, ?, ?)",
                    (kept.key, kept.request, answer.status, answer.content_type, answer.body, kept.kept_at),
                )
            self._database.execute("INSERT INTO requests (n, line) VALUES (?, ?)", (entry["n"], line))
        if self._log is not None:
            _write_line(self._log, line)

    def replace(self, customer: Document) -> None:
        """Store a customer that someone changed by another way than a request."""
        with self._transaction():
            self._database.execute("UPDATE customers SET document = ? WHERE id = ?", (encode(customer), customer["id"]))

    def entries(self) -> list[Document]:
        """Return the log from its first line to its last."""
        with self._lock:
            rows = self._database.execute("SELECT line FROM requests ORDER BY position").fetchall()
        return [json.loads(line) for (line,) in rows]

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._lock:
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._database.execute("ROLLBACK")
                raise
            self._database.execute("COMMIT")

    def _complete_log(self, log: int) -> None:
        """Cut a torn last line off the file, and append the lines that only the database has."""
        size = os.fstat(log).st_size
        start = max(0, size - _LONGEST_LINE)
        os.lseek(log, start, os.SEEK_SET)
        tail = b"".join(iter(lambda: os.read(log, _LONGEST_LINE), b""))
        whole = tail[: tail.rfind(b"\n") + 1]
        os.ftruncate(log, start + len(whole))
        last = whole.splitlines()[-1].decode("utf-8", "replace") if whole else ""
        # A file that ends with a line this world did not write gets everything: it is another file than
        # before.
        missing = self._database.execute(
            "SELECT line FROM requests WHERE position > "
            "coalesce((SELECT position FROM requests WHERE line = ? ORDER BY position DESC LIMIT 1), 0) "
            "ORDER BY position",
            (last,),
        )
        for (line,) in missing:
            _write_line(log, line)


def _open_database(state: Path | None, wait_s: float) -> sqlite3.Connection:
    target = ":memory:"
    if state is not None:
        _make_private_folder(state)
        target = str(state / "state.db")
        # Made here and not by SQLite, for the mode; SQLite's side files take theirs from it.
        os.close(os.open(target, os.O_RDWR | os.O_CREAT, 0o600))
    # The server's thread and a test's share the connection, one at a time, under the world's lock.
    database = sqlite3.connect(target, timeout=wait_s, isolation_level=None, check_same_thread=False)
    try:
        database.execute("PRAGMA locking_mode = EXCLUSIVE")
        database.execute("PRAGMA journal_mode = WAL")
        # A killed process loses nothing with OFF; only a power cut may, and a rehearsal is not worth an fsync
        # a row.
        database.execute("PRAGMA synchronous = OFF")
        database.execute("BEGIN EXCLUSIVE")
        for statement in filter(str.strip, _SCHEMA.split(";")):
            database.execute(statement)
        database.execute("COMMIT")
    except sqlite3.Error as error:
        database.close()
        if error.sqlite_errorcode == sqlite3.SQLITE_BUSY:
            raise SandboxError(f"{TAKEN} {state}") from error
        raise
    return database


def _open_log(log: Path) -> int:
    """Open the log to append to it: a regular file of ours, and not what a link in its place points to."""
    handle = os.open(log, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    found = os.fstat(handle)
    if not stat.S_ISREG(found.st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "it is not a regular file")
    return handle


def _make_private_folder(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def _write_line(log: int, line: str) -> None:
    rest = memoryview(f"{line}\n".encode("ascii"))
    while rest:
        rest = rest[os.write(log, rest) :]
