"""The suite of baselines: what a snapshot says of records, portion by portion.

It needs two fixtures. `known` is a `Known`: records, and what is no record. `open_baseline` is a function without
arguments that returns an async context manager; it gives an `Opened`: a baseline, made as for a job, that can know the
records of `known`, each with the values that it says, and nobody else.
"""

import asyncio
import csv
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pandas as pd

from bulk_patch.baselines import Baseline
from bulk_patch.baselines.snapshot import Snapshot
from bulk_patch.inputs import source
from bulk_patch.inputs.source import Source
from bulk_patch.job.section import BaselineOptions, Capabilities
from bulk_patch.job.settings import InputSettings
from bulk_patch.ledgers import RunReader
from bulk_patch.targets import Target


@dataclass(frozen=True, kw_only=True)
class Known:
    """What there is to be known.

    Attributes:
        target: Of the records.
        records: Normalised id -> dotted field -> text, in the order of the input; three records at least, all with the
            same fields.
        stranger: The id of a record that there is not.
        not_id: A text that is none of the target's ids.
    """

    target: Target
    records: Mapping[str, Mapping[str, str]]
    stranger: str
    not_id: str = "not an id"

    @property
    def ids(self) -> list[str]:
        """Return the ids of the records."""
        return list(self.records)


@dataclass(frozen=True)
class Opened:
    """A baseline, and the ledger and the folder of its job."""

    baseline: Baseline
    ledger: RunReader
    folder: Path


OpenBaseline = Callable[[], AbstractAsyncContextManager[Opened]]


def column(ids: Sequence[str]) -> "pd.Series[Any]":
    """Return ids as a plan hands them over."""
    return pd.Series(list(ids), dtype="str")


def asking_for(known: Known, ids: Sequence[str], folder: Path) -> Source:
    """Return an input that asks for these ids, with all fields of the records."""
    fields = list(next(iter(known.records.values())))
    file = folder / "asking.csv"
    with file.open("w", encoding="utf-8", newline="") as opened:
        rows = csv.writer(opened)
        rows.writerow(["customer_id", *fields])
        rows.writerows([[name, *("x" for _ in fields)] for name in ids])
    settings = InputSettings(path=file, id="customer_id")
    return source.scan(settings, knows=lambda name: True, ids=known.target.ids)


def look(
    open_baseline: OpenBaseline, known: Known, *portions: Sequence[str], then: Callable[[Opened], None] | None = None
) -> list[Snapshot | None]:
    """Take the snapshots of an input that is read in these portions, the first of which is the longest."""

    async def plan() -> list[Snapshot | None]:
        async with open_baseline() as opened:
            asking = asking_for(known, [name for portion in portions for name in portion], opened.folder)
            await opened.baseline.expect(
                asking, rows=max(1, len(portions[0])), folder=opened.folder, ledger=opened.ledger
            )
            taken = [await opened.baseline.snapshot(column(portion)) for portion in portions]
            if then is not None:
                then(opened)
            return taken

    return asyncio.run(plan())


def options_of(baseline: Baseline) -> type[BaselineOptions]:
    """Return the settings of a baseline."""
    return cast(type[BaselineOptions], cast(Any, type(baseline)).Settings)


def cells(snapshot: Snapshot, record_id: str) -> dict[str, str]:
    """Return what is known of a record: dotted field -> text."""
    line = snapshot.frame.loc[record_id]
    return {str(name): text for name, text in line.items() if isinstance(text, str)}


def test_it_says_what_it_can_do_and_a_run_can_keep_that(open_baseline: OpenBaseline, known: Known) -> None:
    def check(opened: Opened) -> None:
        options = options_of(opened.baseline)
        assert issubclass(options, BaselineOptions)
        can = options.capabilities
        assert isinstance(can, Capabilities)
        assert Capabilities.of_run("a kind that nobody knows", {"baseline": can.to_json()}) == can

    (snapshot,) = look(open_baseline, known, known.ids, then=check)
    assert snapshot is None or isinstance(snapshot, Snapshot)


def test_only_a_baseline_that_compares_knows_anything(open_baseline: OpenBaseline, known: Known) -> None:
    compares: list[bool] = []
    (snapshot,) = look(
        open_baseline,
        known,
        known.ids,
        then=lambda opened: compares.append(options_of(opened.baseline).capabilities.compares),
    )
    assert (snapshot is not None) is compares[0]


def test_a_snapshot_shows_what_the_records_hold(open_baseline: OpenBaseline, known: Known) -> None:
    (snapshot,) = look(open_baseline, known, known.ids)
    if snapshot is None:
        return
    assert snapshot.frame.index.is_unique
    assert set(known.ids) <= set(snapshot.frame.index)
    assert not {"id", "customer_id"} & set(snapshot.frame.columns)
    for record_id, texts in known.records.items():
        held = cells(snapshot, record_id)
        assert {name: held.get(name) for name in texts} == texts
    assert snapshot.unreadable == {}


def test_nobody_is_made_up_and_what_is_no_id_harms_nothing(open_baseline: OpenBaseline, known: Known) -> None:
    asked = [known.ids[0], known.stranger, known.not_id, "", known.ids[1], known.ids[0]]
    (snapshot,) = look(open_baseline, known, asked)
    if snapshot is None:
        return
    assert set(known.ids[:2]) <= set(snapshot.frame.index) <= set(known.ids)


def test_each_portion_of_an_input_finds_its_records(open_baseline: OpenBaseline, known: Known) -> None:
    portions = [[record_id] for record_id in known.ids]
    for (record_id,), snapshot in zip(portions, look(open_baseline, known, *portions), strict=True):
        if snapshot is not None:
            assert cells(snapshot, record_id).items() >= known.records[record_id].items()


def test_a_portion_of_nothing_but_strangers_is_a_snapshot_too(open_baseline: OpenBaseline, known: Known) -> None:
    first, second = look(open_baseline, known, [known.stranger], [known.not_id])
    for snapshot in (first, second):
        assert snapshot is None or set(snapshot.frame.index) <= set(known.ids)


def test_reads_are_foretold_and_only_who_needs_a_session_makes_any(open_baseline: OpenBaseline, known: Known) -> None:
    async def foretold() -> tuple[bool, list[int]]:
        async with open_baseline() as opened:
            needs = options_of(opened.baseline).capabilities.needs_session
            return needs, [opened.baseline.reads(records) for records in (0, 1, 1_000, 1_000_000)]

    needs_session, reads = asyncio.run(foretold())
    assert reads == sorted(reads)
    assert reads[0] == 0
    assert (reads[-1] > 0) is needs_session
    made: list[int] = []
    look(open_baseline, known, known.ids, then=lambda opened: made.append(opened.baseline.reads_made))
    assert (made[0] > 0) is needs_session


def test_its_age_and_its_file_are_told(open_baseline: OpenBaseline, known: Known) -> None:
    def check(opened: Opened) -> None:
        baseline = opened.baseline
        assert len(baseline.sha256) in (0, 64)
        assert 0 <= baseline.taken_at <= time.time() + 1
        if options_of(baseline).capabilities.compares:
            assert baseline.taken_at > 0
        assert all(baseline.warnings())

    look(open_baseline, known, known.ids, then=check)


def test_a_plan_may_be_sealed_or_not_and_runs_remembered(open_baseline: OpenBaseline, known: Known) -> None:
    def end(opened: Opened) -> None:
        opened.baseline.sealed()
        opened.baseline.sealed()
        for run in opened.ledger.runs():
            opened.baseline.remember(run.target, known.target, folder=opened.folder, ledger=opened.ledger)

    look(open_baseline, known, known.ids, then=end)
    look(open_baseline, known, known.ids)
