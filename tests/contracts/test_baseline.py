"""Every kind of baseline in the tree goes through the suite that other packages run over theirs."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from bulk_patch import plugins
from bulk_patch.ledgers import Ledger
from bulk_patch.ledgers.sqlite.ledger import SqliteLedger
from bulk_patch.model import State, encode_json
from bulk_patch.testing import ledger_calls as calls
from bulk_patch.testing.baselines import *  # noqa: F403
from bulk_patch.testing.baselines import Known, OpenBaseline, Opened
from bulk_patch.testing.ledger_plans import ACTOR, START, claim_rows, make_row, make_run, record, seal_plan
from tests.support.job_files import make_job, make_target, write_csv
from tests.support.sending import make_id, old, open_bench

RECORDS = {make_id(row): {"email": old(row)["email"]} for row in (1, 2, 3)}


def _file(folder: Path) -> list[str]:
    lines = [f"{record_id},{texts['email']}" for record_id, texts in RECORDS.items()]
    return [f"baseline.path={write_csv(folder / 'all.csv', 'id,email', *lines)}"]


def _sent(ledger: Ledger, target: str) -> None:
    """Let a run confirm all records."""
    rows = [
        make_row(number, customer_id=record_id, fields=("email",), body=encode_json(dict(texts)))
        for number, (record_id, texts) in enumerate(RECORDS.items(), 1)
    ]
    run = seal_plan(ledger, rows, make_run(target=target))
    calls.start_session(ledger, run, ACTOR, START + 2)
    for row in claim_rows(ledger, run):
        record(ledger, run, row, State.APPLIED)
    calls.end_session(ledger, run, now=START + 5, by_itself=True)


#: Kind -> the settings of its job, made in a folder; a new kind of baseline adds a line here and nothing else.
BASELINES: dict[str, Callable[[Path], list[str]]] = {
    "none": lambda folder: [],
    "file": _file,
    "last-run": lambda folder: [],
    "live": lambda folder: [],
}


@pytest.fixture
def known() -> Known:
    """Return what the baselines can know."""
    return Known(target=make_target(), records=RECORDS, stranger=make_id(99))


@pytest.fixture(params=BASELINES)
def open_baseline(request: pytest.FixtureRequest, tmp_path: Path) -> OpenBaseline:
    """Return what opens the baseline that is tested."""
    kind: str = request.param
    return lambda: _open(kind, tmp_path)


@asynccontextmanager
async def _open(kind: str, folder: Path) -> AsyncIterator[Opened]:
    job = make_job(folder, f"baseline.kind={kind}", *BASELINES[kind](folder))
    async with AsyncExitStack() as opened:
        ledger = opened.enter_context(SqliteLedger.open(folder / "ledger.db", job=job.name))
        if kind == "last-run" and not ledger.runs():
            _sent(ledger, job.target_name)
        session: Any = None
        if plugins.settings_class("baseline", kind).capabilities.needs_session:
            session = (await opened.enter_async_context(open_bench(rows=len(RECORDS)))).session
        yield Opened(plugins.find("baseline", kind)(job, make_target(), session), ledger, folder)


def test_every_baseline_that_a_job_can_name_is_tested_here() -> None:
    assert {kind for group, kind in plugins.BUILT_IN if group == "baseline"} == set(BASELINES)
