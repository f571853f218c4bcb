"""What a trial left behind, read from its folder as plain data. Imports nothing of the product, to judge it.

A trial's folder holds ``story.json`` (what was done to the job), ``input.csv``, ``world/`` (the API's log and state)
and one folder under ``spans/`` for each process of the product, with what it left when it ended or was killed.
"""

import csv
import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

Document = dict[str, Any]
Record = dict[str, Any]  # one line of a table, by column

_STARTUP_S = 0.02  # no process sends earlier than this after its start
_ROW_BITS = 32  # a row's place in the ledger is run number << 32 | row


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One request in the API's log, in the order in which they were carried out."""

    n: int
    t: float  # Unix seconds of the API's clock, when it had arrived
    method: str
    path: str
    customer_id: str | None
    ids: int | None
    key: str | None
    body_sha256: str
    status: int | None  # as the client saw it; None: no answer
    executed: bool
    replayed: bool
    fault: str | None


@dataclass(frozen=True, kw_only=True)
class Run:
    """One sealed run as a ledger copy has it, with its rows: those of `rows` and `progress` in one."""

    facts: Record
    rows: Mapping[int, Record]
    generations: Mapping[int, Sequence[Record]]  # by row, oldest first
    chunks: Sequence[Record]
    counts: Mapping[str, Record]  # by state
    sessions: Sequence[Record]
    notes: Sequence[Record]
    customers: Sequence[tuple[str, int]]  # customer id, row

    @property
    def id(self) -> str:
        """Return the run's id."""
        return str(self.facts["id"])

    def key(self, row: int, generation: int) -> str:
        """Derive the Idempotency-Key, as behaviour.md defines it."""
        return str(uuid5(UUID(self.facts["secret"]), f"{row}.{generation}"))

    @cached_property
    def keys(self) -> Mapping[str, tuple[int, int]]:
        """Return row and generation of every key that may have been used or may be used next."""
        return {
            self.key(row, generation): (row, generation)
            for row, record in self.rows.items()
            if record["body"] is not None
            for generation in range(len(self.generations.get(row, ())) + 1)
        }


@dataclass(frozen=True, kw_only=True)
class Copy:
    """A ledger as one process left it: copied after the death, opened with plain sqlite3."""

    meta: Mapping[str, Any]
    runs: Mapping[str, Run]  # sealed ones, by id
    unsealed: Sequence[Record]


@dataclass(frozen=True, kw_only=True)
class Span:
    """The life of one process of the product."""

    number: int
    command: str  # run | continue | retry
    pid: int
    started_at: float  # Unix seconds, the real clock
    ended_at: float
    exit_code: int | None  # None: killed
    clock_s: float  # its clock minus the real one
    api_clock_s: float  # the API's clock minus the real one, meanwhile
    copy: Copy | None  # None: it left no ledger that could be opened
    shown: Sequence[Mapping[str, int]]  # what it announced, in order: ok, refused
    summary: Mapping[str, Any] | None
    results: Sequence[Mapping[str, str]]
    said: str  # stdout and stderr
    texts: Mapping[str, bytes]  # every other file that it left, by name, the ledger included

    @property
    def was_killed(self) -> bool:
        """Tell whether it did not end by itself."""
        return self.exit_code is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """A change of a customer by someone else, after so many lines of the log."""

    after: int
    t: float
    customer_id: str
    fields: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Story:
    """What was done, as the trial tells it."""

    job: str
    token: str
    markers: Sequence[str]  # texts that stand for customers' values; each is found nowhere else
    fields: Mapping[str, str]  # column of the input -> field, "" where it is ignored
    baseline: str  # none | file | live
    planned: Mapping[int, str]  # row -> pending | invalid | duplicate | unchanged
    rate_per_s: float | None
    concurrency: int
    slack_s: float  # how late the API may have seen a request, at most
    hold_s: float  # how long the API works on a request at least
    seeded: Mapping[str, Document]  # customers as they were before the first request
    clears: bool  # the API clears a field that is sent empty
    settled: bool  # the last processes ran without faults: everything must have come to its end
    steady_clock: bool  # no one moved a clock
    edits: Sequence[Edit]
    steady_token: bool = False  # no one changed the token that the API asks for, nor the one that is sent
    timeout_s: float = 0.0  # a request that takes longer may have been given up before the API heard it all


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """All that a trial left behind."""

    folder: Path
    story: Story
    spans: Sequence[Span]
    log: Sequence[Line]
    raw_log: Sequence[str]  # the log file's lines
    stored_log: Sequence[str]  # the same lines in the API's own state
    customers: Mapping[str, Document]  # as the API holds them at the end
    executions: Mapping[str, int]  # PATCHes carried out, by customer
    header: Sequence[str]
    cells: Sequence[Sequence[str]]  # the input's data rows

    @cached_property
    def last(self) -> Copy | None:
        """Return the last ledger copy."""
        return next((span.copy for span in reversed(self.spans) if span.copy is not None), None)

    @cached_property
    def patches(self) -> Mapping[tuple[str, int], Sequence[tuple[int, Line]]]:
        """Return the PATCHes of each run id and row: position in the log and line, in order."""
        found: dict[tuple[str, int], list[tuple[int, Line]]] = {}
        for position, line in enumerate(self.log):
            if (owner := self.owner(line)) is not None:
                found.setdefault(owner[:2], []).append((position, line))
        return found

    def owner(self, line: Line) -> tuple[str, int, int] | None:
        """Return run id, row and generation that a PATCH's key belongs to."""
        return self._owners.get(line.key) if line.method == "PATCH" and line.key is not None else None

    @cached_property
    def _owners(self) -> Mapping[str, tuple[str, int, int]]:
        copies = (span.copy for span in self.spans if span.copy is not None)
        return {
            key: (run.id, *place) for copy in copies for run in copy.runs.values() for key, place in run.keys.items()
        }

    def begin_of(self, span: Span) -> float:
        """Return the API's time from which a request may be of this process; those of the one before come in late."""
        return span.started_at + span.api_clock_s + _STARTUP_S if span.number else float("-inf")

    def before_end_of(self, span: Span) -> float:
        """Return the API's time before which a request cannot be of a later process."""
        following = self.spans[span.number + 1 :]
        return self.begin_of(following[0]) if following else float("inf")


def load(folder: Path) -> Evidence:
    """Read what a trial left in its folder.

    Raises:
        ValueError, KeyError, TypeError, OSError, sqlite3.Error: When it cannot be read as what it should be.
    """
    told = json.loads((folder / "story.json").read_text())
    spans = [load_span(folder, number, told["story"]["job"], **span) for number, span in enumerate(told["spans"])]
    story = told["story"]
    story["planned"] = {int(row): state for row, state in story["planned"].items()}
    story["edits"] = [Edit(**edit) for edit in story["edits"]]
    raw_log = (folder / "world" / "requests.jsonl").read_text().splitlines()
    with closing(sqlite3.connect(f"file:{folder / 'world' / 'state.db'}?immutable=1", uri=True)) as world:
        stored_log = [line for (line,) in world.execute("SELECT line FROM requests ORDER BY position")]
        people = world.execute("SELECT id, document, executions FROM customers").fetchall()
    with (folder / "input.csv").open(newline="", encoding="utf-8") as file:
        header, *cells = [line for line in csv.reader(file) if line]
    return Evidence(
        folder=folder,
        story=Story(**story),
        spans=spans,
        log=[Line(**json.loads(line)) for line in raw_log],
        raw_log=raw_log,
        stored_log=stored_log,
        customers={customer_id: json.loads(document) for customer_id, document, _ in people},
        executions={customer_id: executions for customer_id, _, executions in people},
        header=header,
        cells=cells,
    )


def load_span(folder: Path, number: int, job: str, **told: Any) -> Span:
    """Read what one process left."""
    left = folder / "spans" / f"{number:02}"
    files = {path.name: path.read_bytes() for path in sorted(left.iterdir()) if path.is_file()}
    ledger = left / "ledger.db"
    summary = files.get("summary.json")
    results = files.get("results.csv", b"").decode().splitlines()
    return Span(
        number=number,
        copy=read_ledger(ledger) if ledger.exists() else None,
        shown=[json.loads(line) for line in files.pop("shown.jsonl", b"").splitlines()],
        summary=None if summary is None else json.loads(summary),
        results=list(csv.DictReader(results)),
        said=(files.pop("stdout", b"") + files.pop("stderr", b"")).decode(errors="replace"),
        texts=files,
        **told,
    )


def read_ledger(path: Path) -> Copy | None:
    """Read a ledger copy; None when its process died before the first table was there."""
    with closing(sqlite3.connect(path)) as database:
        database.row_factory = sqlite3.Row
        names = {row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if "runs" not in names:
            return None
        tables = {name: [dict(row) for row in database.execute(f"SELECT * FROM {name}")] for name in sorted(names)}
    runs = [_run(tables, facts) for facts in tables["runs"] if facts["state"] != "planning"]
    return Copy(
        meta={line["name"]: line["value"] for line in tables["meta"]} | {"last_time": tables["events"][-1]["at"]},
        runs={run.id: run for run in runs},
        unsealed=[facts for facts in tables["runs"] if facts["state"] == "planning"],
    )


def _run(tables: Mapping[str, list[Record]], facts: Record) -> Run:
    number = facts["number"]
    progress = {line["id"]: line for line in _of_run(tables["progress"], number)}
    planned = {line["id"]: line for line in _of_run(tables["rows"], number)}
    if progress.keys() != planned.keys():
        raise ValueError("the rows of the plan and those of its progress are not the same")
    generations: dict[int, list[Record]] = {}
    for line in sorted(_of_run(tables["generations"], number), key=lambda line: int(line["generation"])):
        generations.setdefault(_row(line["id"]), []).append(line)
    mine = {name: [line for line in tables[name] if line["run"] == number] for name in _BY_RUN}
    return Run(
        facts=facts,
        rows={_row(place): _merge(planned[place], progress[place]) for place in sorted(planned)},
        generations=generations,
        chunks=sorted(mine["chunks"], key=lambda line: int(line["first_row"])),
        counts={line["state"]: line for line in mine["counts"]},
        sessions=mine["sessions"],
        notes=mine["notes"],
        customers=[(_customer(line["customer_id"]), _row(line["id"])) for line in _of_run(tables["customers"], number)],
    )


_BY_RUN = ("chunks", "counts", "sessions", "notes")


def _of_run(lines: Sequence[Record], number: int) -> Iterator[Record]:
    return (line for line in lines if line["id"] >> _ROW_BITS == number)


def _row(place: int) -> int:
    return place & ((1 << _ROW_BITS) - 1)


def _merge(planned: Record, progress: Record) -> Record:
    """Put plan and progress of a row together; what both name is the plan's under `planned_…`."""
    both = {f"planned_{name}": planned[name] for name in ("state", "reason", "hint")}
    return planned | progress | both | {"customer_id": _customer(planned["customer_id"])}


def _customer(stored: bytes | str) -> str:
    return stored if isinstance(stored, str) else str(UUID(bytes=stored))


# --- what a process left, for the tiers that write it


@dataclass(slots=True)
class Notebook:
    """Gathers what a trial does, and writes its story."""

    folder: Path
    spans: list[dict[str, Any]] = field(default_factory=list)
    edits: list[dict[str, Any]] = field(default_factory=list)

    def write(self, story: Mapping[str, Any]) -> None:
        """Write the story beside the rest."""
        told = {"story": {**story, "edits": self.edits}, "spans": self.spans}
        (self.folder / "story.json").write_text(json.dumps(told))
