"""A baseline file that is cut up gives the same plan as one that is held whole."""

import asyncio
import datetime as dt
import json
import random
import shutil
import stat
import uuid
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bulk_patch.baselines import partitions
from bulk_patch.baselines.file import FileBaseline
from bulk_patch.baselines.index import SPILL, BaselineIndex
from bulk_patch.baselines.partitions import Partitions
from bulk_patch.errors import InputError
from bulk_patch.files.atomic import emptied
from bulk_patch.inputs.columns import hash_ids
from bulk_patch.job.load import load_job
from bulk_patch.job.settings import Job
from bulk_patch.ledgers.records import Actor, Run
from bulk_patch.ledgers.sqlite.ledger import SqliteLedger
from bulk_patch.model import State
from bulk_patch.planning.build import scan_input, write_plan
from bulk_patch.targets.synctera.target import Synctera

JOB = """
name = "cut"
[input]
path = "wanted.csv"
id = "customer_id"
duplicates = "{duplicates}"
[baseline]
kind = "file"
path = "now.parquet"
[target]
kind = "synctera"
base_url = "https://api.example.com/v0"
token = "env:NOT_NEEDED"
[guards]
watch = {{ status = ["ACTIVE"] }}
"""
TARGET = Synctera("customers", today=dt.date(2026, 1, 1))
FRAME_ROWS = 7


def write_files(folder: Path, *, duplicates: str) -> Job:
    """Write an input with repeated, unknown, bad and missing ids, invalid values, clears and changes, and its job."""
    draw = random.Random(7)
    ids = [str(uuid.UUID(int=draw.getrandbits(128))) for _ in range(300)]
    now = [
        {
            "id": customer_id.upper() if number % 5 == 0 else customer_id,
            "email": f"a{number}@example.com" if number % 3 else None,
            "status": "ACTIVE",
            "first_name": "Ann",
            "legal_address.address_line_1": f"{number} Main Street",
            "legal_address.city": "Austin",
            "legal_address.state": "TX",
            "legal_address.postal_code": "78701",
            "legal_address.country_code": "US",
        }
        for number, customer_id in enumerate(ids[:260])
    ]
    draw.shuffle(now)
    now += [{"id": "17", "email": "x@example.com", "legal_address.country_code": "CA"}, {"id": ""}]
    pd.DataFrame(now).to_parquet(folder / "now.parquet", index=False)
    wanted = [
        {
            "customer_id": draw.choice([*ids[:-15], *ids[:40], "17", "", "no id"]),
            "email": draw.choice(["", "a1@example.com", f"b{draw.randrange(9)}@example.com", "no mail"]),
            "legal_address.city": draw.choice(["", "Austin", "Dallas"]),
            "legal_address.postal_code": draw.choice(["", "78701", "K1A 0B1"]),
        }
        for _ in range(370)
    ]
    twice = [{"customer_id": one, "email": "same@example.com"} for one in ids[-15:]]  # far apart
    wanted = [*twice, *wanted, *twice]
    pd.DataFrame(wanted).to_csv(folder / "wanted.csv", index=False)
    (folder / "job.toml").write_text(JOB.format(duplicates=duplicates))
    return load_job(folder / "job.toml")


def plan(job: Job, folder: Path, *, whole_rows: int) -> tuple[Run, list[dict[str, Any]]]:
    """Plan a job; return the sealed run and its rows."""
    found = scan_input(job, TARGET)
    baseline = FileBaseline(job, TARGET, None)  # type: ignore[arg-type]  # it sends nothing
    run = Run(
        id="20260101-000000-0000",
        job=job.name,
        target=job.target_name,
        secret=str(uuid.UUID(int=1)),
        created_at=1.0,
        actor=Actor("ann", "ann", "host", 1),
        identity=job.identity,
        baseline="file",
        input_sha256=found.sha256,
        baseline_sha256=baseline.sha256,
        columns=found.columns,
    )

    async def write(ledger: SqliteLedger) -> Run:
        columns = {name for name in baseline._index.columns if name != "first_name"}
        await baseline._index.cut(found, rows=FRAME_ROWS, columns=columns, folder=folder / SPILL, whole_rows=whole_rows)
        return await write_plan(
            job, run, found=found, target=TARGET, baseline=baseline, ledger=ledger, frame_rows=FRAME_ROWS
        )

    with SqliteLedger.open(folder / "ledger.db", job=job.name, draw_salts=bytes) as ledger:
        sealed = asyncio.run(write(ledger))
        return sealed, [asdict(row) for row in ledger.rows(run.id)]


@pytest.mark.parametrize("whole_rows", [0, pytest.param(1000, marks=pytest.mark.chaos)])
@pytest.mark.parametrize("column", ["email", "first_name"])
def test_a_damaged_column_is_refused_where_it_is_compared(tmp_path: Path, column: str, whole_rows: int) -> None:
    job = write_files(tmp_path, duplicates="last")
    now = pq.read_table(tmp_path / "now.parquet")
    offsets = pa.py_buffer(np.arange(len(now) + 1, dtype=np.int32).tobytes())
    no_text = pa.Array.from_buffers(pa.string(), len(now), [None, offsets, pa.py_buffer(b"\xff" * len(now))])
    place = now.column_names.index(column)
    pq.write_table(now.set_column(place, column, no_text), tmp_path / "now.parquet")
    if column == "first_name":  # not asked for
        plan(job, tmp_path / "out", whole_rows=whole_rows)
        return
    with pytest.raises(InputError, match="column 'email' holds text that is not UTF-8"):
        plan(job, tmp_path / "out", whole_rows=whole_rows)


@pytest.mark.parametrize(
    ("most_parts", "duplicates"),
    [
        (3, "last"),
        pytest.param(200, "reject", marks=pytest.mark.chaos),
        pytest.param(3, "reject", marks=pytest.mark.chaos),
        pytest.param(200, "last", marks=pytest.mark.chaos),
    ],
)
def test_a_file_that_is_cut_up_gives_the_same_plan_byte_for_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, duplicates: str, most_parts: int
) -> None:
    monkeypatch.setattr(partitions, "MOST_PARTS", most_parts)
    job = write_files(tmp_path, duplicates=duplicates)
    whole, rows = plan(job, tmp_path / "whole", whole_rows=1000)
    cut, cut_rows = plan(job, tmp_path / "cut", whole_rows=0)
    assert cut_rows == rows
    assert replace(cut, plan_s=0, sealed_at=0) == replace(whole, plan_s=0, sealed_at=0)
    assert [row["row"] for row in rows] == sorted(row["row"] for row in rows)
    assert len(rows) + cut.unchanged == cut.input_rows == 400
    states = {row["state"] for row in rows}
    assert states == {State.PENDING, State.INVALID, State.DUPLICATE}
    assert cut.unchanged > 10
    assert any(json.loads(row["before"] or b"{}").get("status") == "ACTIVE" for row in rows)


def test_parts_are_private_and_gone_afterwards(tmp_path: Path) -> None:
    job = write_files(tmp_path, duplicates="last")
    found = scan_input(job, TARGET)
    baseline = FileBaseline(job, TARGET, None)  # type: ignore[arg-type]  # it sends nothing
    spill = tmp_path / SPILL
    spill.mkdir()
    (spill / "left by a kill").touch()
    with emptied(spill):
        lookup: BaselineIndex = baseline._index
        asyncio.run(lookup.cut(found, rows=FRAME_ROWS, columns=lookup.columns, folder=spill, whole_rows=0))
        paths = list(spill.iterdir())
        assert len(paths) > 10
        assert {stat.S_IMODE(path.stat().st_mode) for path in paths} == {0o600}
        assert stat.S_IMODE(spill.stat().st_mode) == 0o700
    assert not spill.exists()


def test_a_row_goes_to_every_portion_that_asks_for_it_and_to_no_other(tmp_path: Path) -> None:
    asked = pa.array(["a", "b", "a", "c", "d", "a"], pa.large_string())
    parts = Partitions(tmp_path / "parts", hash_ids(asked), rows=2)
    ids = pa.array(["d", "x", "a"], pa.large_string())
    assert parts.add(pa.table({"id": ids}), ids).tolist() == [True, False, True]
    parts.finish()
    taken = [parts.take(parts.part_of(portion)) for portion in range(3)]
    found = [[] if table is None else table.column("id").to_pylist() for table in taken]
    assert [sorted(names, key=str) for names in found] == [["a"], ["a"], ["a", "d"]]
    assert parts.take(0) is None
    shutil.rmtree(tmp_path / "parts")
