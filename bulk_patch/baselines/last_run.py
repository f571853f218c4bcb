"""`last-run`: what the runs of this job have confirmed at this target, for a nightly job that owns its fields.

A Parquet file per target in the job's folder, a row per customer. It holds nothing that the ledger does not know, so it
is brought up to date from the ledger: after a run, and before a plan, should a kill have come between. Whatever is in
doubt is left out, and what is not in it is sent: a mistake here may cost a request, never a change.
"""

import asyncio
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from bulk_patch.baselines import Baseline
from bulk_patch.baselines.index import SPILL, BaselineIndex, related
from bulk_patch.baselines.partitions import Partitions
from bulk_patch.baselines.settings import LastRunSettings
from bulk_patch.baselines.snapshot import Snapshot
from bulk_patch.client.session import ApiSession
from bulk_patch.errors import InputError
from bulk_patch.files.atomic import emptied, private_file, replacing
from bulk_patch.inputs import source
from bulk_patch.inputs.columns import arrow_of
from bulk_patch.inputs.source import Source
from bulk_patch.job.settings import InputSettings, Job
from bulk_patch.ledgers import RunReader
from bulk_patch.ledgers.records import LedgerRow, Run
from bulk_patch.model import State
from bulk_patch.targets import Target
from bulk_patch.targets.fields import Visibility
from bulk_patch.words import amount

PORTION_ROWS = 50_000
_ID, _AT = "id", "at"  # columns beside the fields; `at`: when the customer was last confirmed or in doubt, Unix seconds
_RUNS = b"bulk_patch.runs"  # of its metadata: what of each run is in it
_DOUBTFUL = (State.MISMATCH, State.UNKNOWN, State.SENDING)


class LastRunBaseline(Baseline):
    """`last-run`: what runs have confirmed; a value that is not known to be there is sent."""

    Settings = LastRunSettings

    def __init__(self, job: Job, target: Target, session: ApiSession) -> None:
        self._job = job
        self._target = target
        self._lookup: BaselineIndex | None = None
        self._unknown = 0  # customers that no run has confirmed anything of
        self._notes: list[str] = []
        self.sha256 = ""
        self.taken_at = 0.0

    def reads(self, customers: int) -> int:
        """Return 0."""
        return 0

    async def expect(self, asking: Source, *, rows: int, folder: Path, ledger: RunReader) -> None:
        """Bring the file up to date, and cut it up when it is large."""
        name = self._job.target_name
        path = store_path(folder, name)
        was_there = _scan(path, self._target) is not None
        await asyncio.to_thread(self.remember, name, self._target, folder=folder, ledger=ledger)
        found = _scan(path, self._target)
        if found is None:
            self._notes.append(
                "baseline last-run: no run has confirmed anything here yet, so all that is given is sent"
            )
            return
        if not was_there:
            self._notes.append("baseline last-run: its file was missing and has been rebuilt from the ledger")
        self.sha256 = found.sha256
        self.taken_at = found.mtime_ns / 1e9
        self._lookup = BaselineIndex(found)
        columns = related(found.columns, {*asking.fields.values(), *self._job.guards.watch})
        await self._lookup.cut(asking, rows=rows, columns=columns, folder=folder / SPILL)

    async def snapshot(self, ids: pd.Series) -> Snapshot | None:
        """Look up what was confirmed; a cell that is missing is not known, an empty one is known to be empty."""
        if self._lookup is None:
            return None
        frame = self._lookup.look()
        valid = ids[ids.str.fullmatch(self._target.ids.pattern.pattern)]
        self._unknown += pc.index_in(arrow_of(valid), value_set=arrow_of(frame.index)).null_count
        return Snapshot(frame, complete=False, authoritative=False, sparse=True)

    def warnings(self) -> list[str]:
        """Say when there is nothing to compare with, and how many customers that is true of."""
        if self._lookup is not None and self._unknown:
            what = f"{amount(self._unknown, self._target.noun)} {'is' if self._unknown == 1 else 'are'}"
            return [*self._notes, f"baseline last-run: {what} new to it, so all that is given is sent"]
        return self._notes

    @staticmethod
    def remember(target_name: str, target: Target, *, folder: Path, ledger: RunReader) -> None:
        """Bring the file of a target up to date with the ledger.

        Raises:
            LedgerError: The disk fails; what was there before is still there then.
        """
        path = store_path(folder, target_name)
        standing = _standing(path) if _scan(path, target) is not None else {}
        for run in reversed(ledger.runs(target_name)):
            counts = ledger.counts(run.id)
            stands = _fingerprint(run, counts)
            if standing.get(run.id) == stands or not any(counts[state] for state in (State.APPLIED, *_DOUBTFUL)):
                continue
            standing[run.id] = stands
            spill = folder / f"{SPILL}-{path.stem}"
            with emptied(spill):
                _merge(path, target, _changes(ledger, run, target), spill=spill, standing=standing)


def store_path(folder: Path, target_name: str) -> Path:
    """Return where the confirmed values of a target are kept."""
    return folder / f"last-run-{hashlib.sha256(target_name.encode()).hexdigest()[:8]}.parquet"


def _scan(path: Path, target: Target) -> Source | None:
    """Check the file; None when there is none that can be used."""
    try:
        found = source.scan(InputSettings(path=path, id=_ID), knows=lambda name: True, ids=target.ids)
    except InputError:
        return None
    return None if found.repeated_ids else found


def _standing(path: Path) -> dict[str, str]:
    facts = pq.read_schema(path).metadata or {}
    standing: dict[str, str] = json.loads(facts.get(_RUNS, b"{}"))
    return standing


def _fingerprint(run: Run, counts: Mapping[State, int]) -> str:
    """Return what changes whenever a row of the run gets another outcome."""
    rows = {str(state): count for state, count in sorted(counts.items()) if count}
    return json.dumps([rows, run.stats.get("requests", 0)])


# --- what a run says


@dataclass(frozen=True, slots=True)
class _Change:
    """What one row of a run says of its customer."""

    customer_id: str
    at: float
    tops: list[str]  # plain fields and objects that were sent
    texts: dict[str, str]  # what they are now; nothing of them when that is in doubt

    def apply(self, old: Mapping[str, str]) -> dict[str, str]:
        """Return a customer's line of the file after it; the later of two confirmations holds."""
        if float(old.get(_AT, 0)) > self.at:
            return dict(old)
        kept = {name: text for name, text in old.items() if name.partition(".")[0] not in self.tops}
        return {**kept, **self.texts, _ID: self.customer_id, _AT: repr(self.at)}


def _changes(ledger: RunReader, run: Run, target: Target) -> Iterator[_Change]:
    """Yield what the rows of a run confirm or put in doubt; what was refused or not sent says nothing."""
    for row in ledger.rows(run.id, states=(State.APPLIED, *_DOUBTFUL)):
        body: dict[str, Any] = json.loads(row.body or b"{}")
        at = row.done_at or row.first_intent_at or run.created_at
        texts = _confirmed(row, body, target) if row.state is State.APPLIED else {}
        yield _Change(row.customer_id, at, list(body), texts)


def _confirmed(row: LedgerRow, body: Mapping[str, Any], target: Target) -> dict[str, str]:
    """Return what an applied row has put there, of what answers show whole: the rest cannot be compared anyhow."""
    texts = dict.fromkeys(row.fields, "") | target.evidence.flatten(body)
    return {name: text for name, text in texts.items() if _is_seen(name, target)}


def _is_seen(name: str, target: Target) -> bool:
    field = target.field(name)
    return target.atomic_object(name) is not None or (field is not None and field.visibility is Visibility.WHOLE)


# --- the file


def _merge(path: Path, target: Target, changes: Iterator[_Change], *, spill: Path, standing: Mapping[str, str]) -> None:
    """Rewrite the file with these changes, in bounded memory: each is put where its customer's line will be read."""
    found = _scan(path, target)
    hashes = np.empty(0, np.int64) if found is None else found.id_hashes
    parts = Partitions(spill, hashes, rows=PORTION_ROWS)
    columns = {_ID, _AT} if found is None else set(found.columns)
    try:
        with private_file(spill / "new.jsonl") as new:
            while batch := list(islice(changes, PORTION_ROWS)):
                columns.update(*(change.texts for change in batch))
                lines = [json.dumps(asdict(change)) for change in batch]
                table = pa.table({"change": pa.array(lines, pa.large_string())})
                is_known = parts.add(table, pa.array([change.customer_id for change in batch], pa.large_string()))
                new.writelines(line.encode() + b"\n" for line, known in zip(lines, is_known, strict=True) if not known)
    finally:
        parts.finish()
    schema = pa.schema([(name, pa.large_string()) for name in [_ID, *sorted(columns - {_ID})]])
    schema = schema.with_metadata({_RUNS: json.dumps(standing).encode()})
    with replacing(path) as file, pq.ParquetWriter(file, schema, write_page_checksum=True) as writer:
        for table in _changed_portions(found, parts, schema):
            writer.write_table(table)
        with (spill / "new.jsonl").open("rb") as new:
            while lines_now := list(islice(new, PORTION_ROWS)):
                writer.write_table(_lines((_Change(**json.loads(line)) for line in lines_now), schema))


def _changed_portions(found: Source | None, parts: Partitions, schema: pa.Schema) -> Iterator[pa.Table]:
    """Yield the lines of the file as they are now."""
    part = -1
    waiting: dict[str, _Change] = {}
    for portion, frame in enumerate(source.frames(found, rows=PORTION_ROWS) if found is not None else ()):
        if parts.part_of(portion) != part:
            yield _lines(waiting.values(), schema)  # whose hash alone was known
            part = parts.part_of(portion)
            taken = parts.take(part)
            texts = [] if taken is None else taken.column("change").to_pylist()
            waiting = {change.customer_id: change for change in (_Change(**json.loads(text or "")) for text in texts)}
        table = pa.Table.from_pandas(frame, preserve_index=False)
        hit = pa.array([customer_id in waiting for customer_id in table.column(_ID).to_pylist()], pa.bool_())
        before = [
            {name: text for name, text in line.items() if text is not None} for line in table.filter(hit).to_pylist()
        ]
        yield _aligned(table.filter(pc.invert(hit)), schema)
        yield pa.Table.from_pylist([waiting.pop(line[_ID]).apply(line) for line in before], schema)
    yield _lines(waiting.values(), schema)


def _lines(changes: Iterable[_Change], schema: pa.Schema) -> pa.Table:
    return pa.Table.from_pylist([change.apply({}) for change in changes], schema)


def _aligned(table: pa.Table, schema: pa.Schema) -> pa.Table:
    columns = [
        table.column(name) if name in table.column_names else pa.nulls(len(table), pa.large_string())
        for name in schema.names
    ]
    return pa.table(columns, schema=schema)
