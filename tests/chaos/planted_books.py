"""Planted bugs in what is kept and told: plan, ledger, recovery, reports, secrets."""

import fcntl
import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pandas as pd

from bulk_patch.client.http import HttpClient
from bulk_patch.client.permits import Permit
from bulk_patch.concurrency import LedgerThread
from bulk_patch.errors import Exit, LedgerError
from bulk_patch.ledgers.events import Progress
from bulk_patch.ledgers.sqlite import progress, sending
from bulk_patch.ledgers.sqlite.database import Database
from bulk_patch.model import Request, State, encode_json
from bulk_patch.observe import get_logger
from bulk_patch.planning import build, diff, duplicates
from bulk_patch.planning.changes import Change
from bulk_patch.reports import files, summary
from bulk_patch.sending.drift_check import DriftCheck
from bulk_patch.workflows import report_step
from tests.chaos.mutant import Mutants, around

planted = Mutants()

_KILLS = [f"crash-points/plain/kill/{n}" for n in range(30, 700, 7)]

# --- the plan


@planted("NaN is sent as null", "input/null and NaN")
def _() -> None:
    def make(build_changes: Any) -> Any:
        def changed(compared: Any, wanted: Any, *args: Any, **options: Any) -> Iterator[Any]:
            for change in build_changes(compared, wanted, *args, **options):
                if isinstance(change, Change):
                    missing = [name for name in wanted.values.columns if pd.isna(wanted.values.loc[change.row, name])]
                    body = encode_json({**json.loads(change.body), **dict.fromkeys(missing)})
                    yield replace(change, body=body)
                else:
                    yield change

        return changed

    around(build, "build_changes", make)


@planted("a name like NULL is taken for no value", "input/names called NULL and NA")
def _() -> None:
    def make(wanted: Any) -> Any:
        return lambda cells, *rest: wanted(cells.mask(cells.isin(["NULL", "NA", "None", "nan"]), ""), *rest)

    around(diff, "_wanted", make)


@planted("of two rows that disagree the last is sent", "input/two changes that disagree")
def _() -> None:
    around(duplicates, "settle_repeats", lambda settle: lambda wanted, *, last_wins: settle(wanted, last_wins=True))


@planted("what others changed since the plan is overwritten", "crash-points/checked/kill/999999")
def _() -> None:
    async def find_none(self: DriftCheck, rows: Any) -> list[Any]:
        return []

    around(DriftCheck, "_find_drifted", lambda _: find_none)


# --- the ledger


def _commit_late(name: str) -> None:
    """Leave what a method writes uncommitted until the next transaction."""

    @contextmanager
    def transaction(self: Any) -> Iterator[None]:
        if not vars(self).get("left_open"):
            self.run("BEGIN IMMEDIATE")
        self.left_open = False
        yield
        if vars(self).get("is_late"):
            self.left_open = True
        else:
            self.run("COMMIT")

    def make(write: Any) -> Any:
        def late(self: Any, *args: Any, **options: Any) -> Any:
            self._database.is_late = True
            try:
                return write(self, *args, **options)
            finally:
                self._database.is_late = False

        return late

    around(Database, "transaction", lambda _: transaction)
    around(sending.SendingSession, name, make)


@planted("a row is sent before its intent is durable", *_KILLS)
def _() -> None:
    _commit_late("claim")


@planted("an outcome is shown before it is durable", *_KILLS)
def _() -> None:
    _commit_late("record")


@planted("a second process may use the ledger at once", *(f"signals/two/{n}" for n in range(4)))
def _() -> None:
    fcntl.flock = lambda file, how: None


@planted("a failed write is passed over", *(f"crash-points/plain/ledger-before/{n}" for n in range(10, 40, 5)))
def _() -> None:
    def make(in_thread: Any) -> Any:
        def changed(self: LedgerThread, call: Callable[..., Any], /, *args: Any, **options: Any) -> Any:
            def quietly() -> Any:
                try:
                    return call(*args, **options)
                except LedgerError:
                    return []

            return in_thread(self, quietly)

        return changed

    around(LedgerThread, "call", make)


@planted(
    "rows that a kill left in flight are taken back as never sent",
    *(f"crash-points/plain/twice/{n}" for n in range(40, 700, 9)),
)
def _() -> None:
    def back(was: Progress, **how: Any) -> Progress:
        if was.state == State.SENDING:
            return was._replace(state="pending", lane=1, ambiguous=0)
        return progress.taken_back(was, **how)

    setattr(sending, "taken_back", back)  # noqa: B010 - it is imported there


@planted("a retry of a refused row keeps its key", "faults/refused: 422 own kept/once/middle/1")
def _() -> None:
    def again(was: Progress) -> Progress:
        return was._replace(lane=1, requested=1) if was.state == State.REJECTED else progress.asked_again(was)

    setattr(sending, "asked_again", again)  # noqa: B010


@planted("a refused row is sent again without being asked", "faults/refused: 409 own kept/once/middle/1")
def _() -> None:
    def make(recorded: Any) -> Any:
        def changed(was: Progress, *args: Any, **how: Any) -> Progress:
            became: Progress = recorded(was, *args, **how)
            return became._replace(lane=3) if became.state == State.REJECTED else became

        return changed

    setattr(sending, "recorded", make(progress.recorded))  # noqa: B010


# --- what is told


@planted("unknown rows are counted as pending", "faults/wrong customer: before/once/middle/1")
def _() -> None:
    def make(fold: Any) -> Any:
        def changed(counts: Any) -> dict[State, int]:
            folded = Counter(fold(counts))
            folded[State.PENDING] += folded[State.UNKNOWN]
            folded[State.UNKNOWN] = 0
            return dict(folded)

        return changed

    around(summary, "fold_counts", make)


@planted("unknown rows are left out of results.csv", "faults/wrong customer: before/once/last/1")
def _() -> None:
    def make(writer: Any) -> Any:
        def changed(file: Any) -> Callable[[Any], None]:
            write = writer(file)

            def write_some(cells: Any) -> None:
                line = list(cells)
                if "unknown" not in line[:3]:
                    write(line)

            return write_some

        return changed

    around(files, "csv_line_writer", make)


@planted("a run with rows left open ends with 0", "faults/failing: 500 own/for ever/middle/8")
def _() -> None:
    around(report_step, "exit_code_of", lambda _: lambda counts, *, to_do: Exit.OK)


def _say(what: Callable[[Any, Request], str]) -> None:
    def make(send: Any) -> Any:
        async def changed(self: Any, request: Request, permit: Permit) -> Any:
            get_logger().info("request", reason=what(self, request))
            return await send(self, request, permit)

        return changed

    around(HttpClient, "send", make)


@planted("the token is in the log", "faults/late: in time/once/middle/1")
def _() -> None:
    _say(lambda http, request: str(http._credential._token))


@planted("a customer's values are in the log", "faults/late: in time/once/middle/8")
def _() -> None:
    _say(lambda http, request: (request.body or b"").decode())
