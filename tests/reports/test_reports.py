import json
import tracemalloc
import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from bulk_patch.errors import Exit, LedgerError
from bulk_patch.inputs import source
from bulk_patch.job.settings import InputSettings
from bulk_patch.ledgers.records import LedgerRow, Run
from bulk_patch.ledgers.sqlite.ledger import SqliteLedger
from bulk_patch.model import REPORTED, Counts, Outcome, State
from bulk_patch.observe.totals import Totals
from bulk_patch.reports.files import write_reports
from bulk_patch.reports.next_command import NOTHING_NEXT, NextCommand
from bulk_patch.reports.rows import COLUMNS, find_causes, reason_on
from bulk_patch.reports.summary import exit_code_of, summarise
from bulk_patch.targets.synctera.target import Synctera
from bulk_patch.testing import ledger_calls as calls
from bulk_patch.words import utc_text
from tests.support.report_runs import (
    NOON,
    applied,
    change,
    customer,
    moved,
    plan,
    read_csv,
    read_dicts,
    rejected,
    send,
    set_aside,
)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[SqliteLedger]:
    with SqliteLedger.open(tmp_path / "ledger.db", job="moves") as ledger:
        yield ledger


# --- the summary


@pytest.mark.parametrize(
    ("counts", "to_do", "code"),
    [
        ({}, 0, Exit.OK),
        ({State.APPLIED: 3, State.UNCHANGED: 2, State.DUPLICATE: 1, State.INVALID: 0}, 0, Exit.OK),
        ({State.APPLIED: 3, State.PENDING: 1}, 1, Exit.INCOMPLETE),
        ({State.INVALID: 9, State.UNKNOWN: 1}, 1, Exit.INCOMPLETE),
        *(
            ({State.APPLIED: 3, state: 1}, 0, Exit.NEEDS_PERSON)
            for state in (
                *(State.INVALID, State.DRIFTED, State.MISMATCH, State.REJECTED),
                *(State.KEPT, State.UNKNOWN, State.PENDING),
            )
        ),
    ],
)
def test_rows_alone_give_exit_code_0_3_or_4(counts: Counts, to_do: int, code: Exit) -> None:
    assert exit_code_of(counts, to_do=to_do) is code


def test_a_sealed_run_of_which_nothing_was_sent_is_planned(ledger: SqliteLedger) -> None:
    run = plan(ledger, [moved(1), set_aside(2, State.INVALID)], unchanged=3)
    summary = summarise(ledger, run, next_command=NextCommand("bulk-patch run x.toml"))
    assert (summary.state, summary.exit_code) == ("planned", Exit.OK)
    assert (summary.started_at, summary.finished_at) == (None, None)
    assert summary.next == "bulk-patch run x.toml"


def test_a_run_with_nothing_left_to_try_is_complete_even_if_rows_need_a_person(ledger: SqliteLedger) -> None:
    run = send(ledger, plan(ledger, [moved(1), moved(2)]), applied(1), rejected(2))
    summary = summarise(ledger, run)
    assert (summary.state, summary.exit_code) == ("complete", Exit.NEEDS_PERSON)


def test_a_run_with_pending_rows_is_incomplete_and_a_claim_in_flight_is_unknown(ledger: SqliteLedger) -> None:
    run = send(ledger, plan(ledger, [moved(1), moved(2), moved(3)]), applied(1), also_claim=1, ends=False)
    summary = summarise(ledger, run)
    assert (summary.state, summary.exit_code) == ("incomplete", Exit.INCOMPLETE)
    assert (summary.counts["unknown"], summary.counts["pending"], summary.counts["applied"]) == (1, 1, 1)


def test_a_run_that_is_being_sent_has_no_exit_code_and_no_end_yet(ledger: SqliteLedger) -> None:
    run = send(ledger, plan(ledger, [moved(1), moved(2)]), applied(1))
    ledger.finish(run.id, Exit.INCOMPLETE, now=NOON + 3, reason=None)
    summary = summarise(ledger, run, running=True)
    assert (summary.state, summary.exit_code, summary.finished_at) == ("running", None, None)


def test_a_run_that_a_guard_stopped_is_stopped_until_the_stop_is_waived(ledger: SqliteLedger) -> None:
    run = send(ledger, plan(ledger, [moved(1), moved(2)]), rejected(1))
    ledger.set_stop(run.id, "canary", reason="why", hint="")
    ledger.finish(run.id, Exit.STOPPED, now=NOON + 4, reason=None)
    summary = summarise(ledger, run)
    assert (summary.state, summary.exit_code) == ("stopped", Exit.STOPPED)
    ledger.waive(run.id)  # --continue, and killed before its session ended
    summary = summarise(ledger, run)
    assert (summary.state, summary.exit_code) == ("incomplete", Exit.INCOMPLETE)


@pytest.mark.parametrize("code", [Exit.CREDENTIAL, Exit.LEDGER, Exit.INTERRUPTED])
def test_what_ended_the_last_session_outweighs_the_rows(ledger: SqliteLedger, code: Exit) -> None:
    run = send(ledger, plan(ledger, [moved(1), moved(2)]), applied(1))
    ledger.finish(run.id, code, now=NOON + 3, reason=None)
    assert summarise(ledger, run).exit_code is code


def test_an_exit_code_that_followed_from_the_rows_follows_them_after_a_kill(ledger: SqliteLedger) -> None:
    run = send(ledger, plan(ledger, [moved(1)]), rejected(1))
    ledger.finish(run.id, Exit.NEEDS_PERSON, now=NOON + 3, reason=None)
    ledger.request_retry(run.id, now=NOON + 4)
    send(ledger, run, also_claim=1, ends=False)
    assert summarise(ledger, run).exit_code is Exit.INCOMPLETE


def test_a_plan_ends_with_0_and_a_question_answered_with_no_with_4(ledger: SqliteLedger) -> None:
    run = plan(ledger, [moved(1)])
    ledger.finish(run.id, Exit.OK, now=NOON + 3, reason=None)
    assert summarise(ledger, run).exit_code is Exit.OK
    ledger.finish(run.id, Exit.INCOMPLETE, now=NOON + 3, reason=None)
    assert summarise(ledger, run).exit_code is Exit.INCOMPLETE


def test_a_plan_that_was_never_sealed_is_incomplete(ledger: SqliteLedger) -> None:
    run = replace(plan(ledger, []), id="20261122-130000-0001")
    calls.begin(ledger, run)
    assert summarise(ledger, run).state == "incomplete"


def test_a_report_that_does_not_balance_is_refused(tmp_path: Path) -> None:
    class Forgetful(SqliteLedger):
        def counts(self, run_id: str) -> Counts:
            return {**super().counts(run_id), State.APPLIED: 0}

    with Forgetful.open(tmp_path / "ledger.db", job="moves") as ledger:
        run = send(ledger, plan(ledger, [moved(1), moved(2)]), applied(1), applied(2))
        with pytest.raises(LedgerError, match=r"does not balance: run .* accounts for 0 rows, its input has 2"):
            summarise(ledger, run)


def test_rows_that_are_missing_from_the_ledger_are_not_reported_as_if_all_were_well(tmp_path: Path) -> None:
    class Lossy(SqliteLedger):
        def rows(self, *args: Any, **options: Any) -> Iterator[LedgerRow]:
            return (row for row in super().rows(*args, **options) if row.row != 1)

    with Lossy.open(tmp_path / "ledger.db", job="moves") as ledger:
        run = plan(ledger, [moved(1), moved(2)])
        with pytest.raises(LedgerError, match="does not balance"):
            write_reports(ledger, run, tmp_path / "run", next_command=NOTHING_NEXT)
    assert list((tmp_path / "run").iterdir()) == []


def test_summary_json_holds_exactly_what_the_interface_names(ledger: SqliteLedger, tmp_path: Path) -> None:
    run = plan(ledger, [moved(1), moved(2), set_aside(3, State.DUPLICATE)], unchanged=4)
    stats = Totals(requests=41, send_s=2.0, throttled=3, limit_per_s=20.0)
    stats.add([0.1] * 9 + [1.0])
    ledger.save_metrics(run.id, stats.to_json())
    run = send(ledger, run, applied(1), rejected(2))
    returned = write_reports(ledger, run, tmp_path / "run", next_command=NextCommand("bulk-patch retry x"))
    summary = json.loads((tmp_path / "run" / "summary.json").read_text(encoding="utf-8"))
    assert summary == returned.as_json()
    p50_ms, p99_ms = summary["timings"].pop("p50_ms"), summary["timings"].pop("p99_ms")
    assert 100 <= p50_ms <= 105.1
    assert 1000 <= p99_ms <= 1051
    assert summary == {
        "run": "20261122-120000-4f2a",
        "job": "moves",
        "target": "synctera https://api.example.com/v0 customers",
        "state": "complete",
        "exit_code": 3,
        "input_rows": 7,
        "counts": {str(state): 0 for state in REPORTED} | {"applied": 1, "rejected": 1, "unchanged": 4, "duplicate": 1},
        "timings": {"plan_s": 1.5, "send_s": 2.0, "requests": 41, "requests_per_s": 20.0},
        "rate": {"limit_per_s": 20.0, "achieved_per_s": 20.0, "throttled": 3},
        "plan_sha256": run.plan_sha256,
        "input_sha256": "ab" * 32,
        "started_at": "2026-11-22T12:00:01.000Z",
        "finished_at": "2026-11-22T12:00:03.000Z",
        "next": "bulk-patch retry x",
        "chain_head": ledger.head(),
    }


# --- results.csv and failures.csv


def test_results_list_every_row_that_is_not_unchanged_in_input_order(ledger: SqliteLedger, tmp_path: Path) -> None:
    rows = [moved(2), moved(3), set_aside(5, State.INVALID, reason="dob breaks its rule"), moved(9)]
    run = send(ledger, plan(ledger, rows, unchanged=5), applied(2), rejected(3, "last_name"))
    write_reports(ledger, run, tmp_path, next_command=NOTHING_NEXT)
    header, *lines = read_csv(tmp_path / "results.csv")
    assert tuple(header) == COLUMNS
    sent, done = "2026-11-22T12:00:01.000Z", "2026-11-22T12:00:02.500Z"
    keys = {row.row: row.key for row in ledger.rows(run.id)}
    code = "BAD_REQUEST_BODY"
    assert lines == [
        ["2", customer(2), "applied", "", "last_name", "1", "200", "", keys[2], sent, done],
        ["3", customer(3), "rejected", code, "last_name", "1", "422", code, keys[3], sent, done],
        ["5", customer(5), "invalid", "dob breaks its rule", "", "0", "", "", "", "", ""],
        ["9", customer(9), "pending", "", "last_name", "0", "", "", "", "", ""],
    ]
    assert all(uuid.UUID(keys[row]) for row in (2, 3))


def test_several_fields_are_joined_by_semicolons(ledger: SqliteLedger, tmp_path: Path) -> None:
    run = plan(ledger, [change(1, {"first_name": "A", "last_name": "B"}, "first_name", "last_name")])
    write_reports(ledger, run, tmp_path, next_command=NOTHING_NEXT)
    assert read_dicts(tmp_path / "results.csv")[0]["fields"] == "first_name;last_name"


def test_a_row_left_in_flight_is_reported_unknown_and_can_be_fed_back(ledger: SqliteLedger, tmp_path: Path) -> None:
    run = send(ledger, plan(ledger, [moved(1)]), also_claim=1, ends=False)
    write_reports(ledger, run, tmp_path, next_command=NOTHING_NEXT)
    assert read_dicts(tmp_path / "results.csv")[0]["status"] == "unknown"
    assert read_dicts(tmp_path / "failures.csv")[0]["_status"] == "unknown"


def test_results_hold_no_values(ledger: SqliteLedger, tmp_path: Path) -> None:
    run = send(ledger, plan(ledger, [moved(1, last_name="Whitaker"), moved(2)]), applied(1))
    write_reports(ledger, run, tmp_path, next_command=NOTHING_NEXT)
    written = (tmp_path / "results.csv").read_text() + (tmp_path / "summary.json").read_text()
    assert "Whitaker" not in written
    assert "Smith" not in written


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_results_are_escaped_for_spreadsheets_and_failures_are_not(
    ledger: SqliteLedger, tmp_path: Path, start: str
) -> None:
    trap = f"{start}HYPERLINK(A1)"
    run = plan(ledger, [set_aside(1, State.INVALID, trap, "x", reason=trap, hint=trap)])
    write_reports(ledger, run, tmp_path, next_command=NOTHING_NEXT)
    result, failure = read_dicts(tmp_path / "results.csv")[0], read_dicts(tmp_path / "failures.csv")[0]
    assert (result["customer_id"], result["reason"]) == (f"'{trap}", f"'{trap}")
    assert (failure["id"], failure["_reason"], failure["_hint"]) == (trap, trap, trap)


def test_failures_hold_every_row_that_did_not_reach_its_goal(ledger: SqliteLedger, tmp_path: Path) -> None:
    rows = [
        *(moved(1), moved(2), moved(3), moved(4)),
        *(set_aside(5, State.DUPLICATE), set_aside(6, State.KEPT), set_aside(7, State.INVALID, hint="mend it")),
    ]
    unknown = Outcome(row=3, state=State.UNKNOWN, reason="no answer", attempts=8, ambiguous=True, spent=True)
    run = send(ledger, plan(ledger, rows, unchanged=2), applied(1), rejected(2, "last_name"), unknown)
    write_reports(ledger, run, tmp_path, next_command=NOTHING_NEXT)
    failures = {line["_row"]: line for line in read_dicts(tmp_path / "failures.csv")}
    statuses = {row: line["_status"] for row, line in failures.items()}
    assert statuses == {"2": "rejected", "3": "unknown", "4": "pending", "6": "kept", "7": "invalid"}
    assert {line["_run"] for line in failures.values()} == {run.id}
    assert failures["2"]["_reason"] == "BAD_REQUEST_BODY"
    assert failures["2"]["_hint"].startswith("fields: last_name; correct the row")
    assert failures["7"]["_hint"] == "mend it"
    assert all(line["_hint"] for line in failures.values())


def test_pending_rows_of_a_closed_run_are_said_to_be_never_sent(ledger: SqliteLedger, tmp_path: Path) -> None:
    run = send(ledger, plan(ledger, [moved(1), moved(2)]), applied(1))
    ledger.close_run(run.id)
    summary = write_reports(ledger, run, tmp_path, next_command=NOTHING_NEXT)
    assert "never sent" in read_dicts(tmp_path / "failures.csv")[0]["_hint"]
    assert (summary.state, summary.exit_code) == ("complete", Exit.NEEDS_PERSON)


def test_failures_have_their_header_when_there_are_none(ledger: SqliteLedger, tmp_path: Path) -> None:
    run = send(ledger, plan(ledger, [moved(1)]), applied(1))
    write_reports(ledger, run, tmp_path, next_command=NOTHING_NEXT)
    assert read_csv(tmp_path / "failures.csv") == [["id", "last_name", "_status", "_reason", "_hint", "_row", "_run"]]


HOSTILE = [
    *('"', '""', 'say "no"', ",", "a,b", "\n", "two\nlines", "three\r\nlines", "=1+1", "@x", "'quoted'", ";", "\t"),
    *(" before", "after ", "  ", "NULL", "NA", "007", "1E5", "é", "e\u0301", "李", "\ufeffx", "\u202ex", "", "🙂"),
]


def test_cells_come_back_from_failures_exactly_as_the_input_had_them(ledger: SqliteLedger, tmp_path: Path) -> None:
    columns = ["id", *(f'column {number}, "odd"' for number in range(len(HOSTILE)))]
    rows = [
        set_aside(1, State.INVALID, customer(1), *HOSTILE),
        set_aside(2, State.INVALID, customer(2), *HOSTILE[::-1]),
    ]
    run = plan(ledger, rows, columns=columns)
    write_reports(ledger, run, tmp_path, next_command=NOTHING_NEXT)
    found = source.scan(
        InputSettings(path=tmp_path / "failures.csv", id="id", rename=dict.fromkeys(columns[1:], "")),
        knows=lambda name: True,
        ids=Synctera.ids,
    )
    assert found.columns == tuple(columns)
    (frame,) = source.frames(found)
    assert frame.to_numpy().tolist() == [[customer(1), *HOSTILE], [customer(2), *HOSTILE[::-1]]]


def test_lines_end_with_a_line_feed_alone(ledger: SqliteLedger, tmp_path: Path) -> None:
    write_reports(ledger, plan(ledger, [moved(1), moved(2)]), tmp_path, next_command=NOTHING_NEXT)
    for name in ("results.csv", "failures.csv"):
        data = (tmp_path / name).read_bytes()
        assert b"\r" not in data
        assert data.count(b"\n") == 3
        assert data.endswith(b"\n")


def test_a_missing_cell_is_written_as_an_empty_one(ledger: SqliteLedger, tmp_path: Path) -> None:
    run = plan(ledger, [set_aside(1, State.INVALID, customer(1), None)])
    write_reports(ledger, run, tmp_path, next_command=NOTHING_NEXT)
    assert (tmp_path / "failures.csv").read_text().splitlines()[1].startswith(f"{customer(1)},,invalid,")


def test_failures_of_failures_repeat_no_column(ledger: SqliteLedger, tmp_path: Path) -> None:
    # The job maps `_status` of an earlier failures.csv to a field, so it is a column of the input.
    run = plan(ledger, [set_aside(1, State.INVALID, customer(1), "ACTIVE")], columns=["id", "_status"])
    write_reports(ledger, run, tmp_path, next_command=NOTHING_NEXT)
    assert read_csv(tmp_path / "failures.csv")[0] == ["id", "_status", "_reason", "_hint", "_row", "_run"]
    assert read_dicts(tmp_path / "failures.csv")[0]["_status"] == "ACTIVE"


# --- what needs a person


def test_causes_group_rows_by_status_reason_and_fields(ledger: SqliteLedger) -> None:
    rows = [
        *(moved(1), moved(2), moved(3), moved(4), moved(5)),
        set_aside(6, State.INVALID, reason="row disagrees with row 7, 8 and 12 more of the same id"),
        set_aside(7, State.INVALID, reason="row disagrees with row 6 of the same id"),
        set_aside(8, State.DUPLICATE),
    ]
    outcomes = (applied(1), rejected(2, "email"), rejected(3, "email"), rejected(4, "email"))
    run = send(ledger, plan(ledger, rows), *outcomes)
    assert find_causes(ledger, run) == [
        ("rejected: BAD_REQUEST_BODY (fields: email)", 3),
        ("invalid: row disagrees with another row of the same id", 2),
    ]
    assert find_causes(ledger, run, most=1) == find_causes(ledger, run)[:1]


def test_causes_that_are_too_many_to_count_leave_room_for_the_frequent_ones(ledger: SqliteLedger) -> None:
    often = [set_aside(row, State.INVALID, reason="the usual") for row in range(1, 4)]
    once = [set_aside(row, State.INVALID, reason=f"reason {row}") for row in range(4, 20_010)]
    run = plan(ledger, [*often, *once])
    assert find_causes(ledger, run, most=1) == [("invalid: the usual", 3)]


def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    class Long(SqliteLedger):
        repeats = 1

        def rows(self, *args: Any, **options: Any) -> Iterator[LedgerRow]:
            (row,) = super().rows(*args, **options)
            return (replace(row, row=number) for number in range(1, self.repeats + 1))

        def run(self, run_id: str) -> Run:
            return replace(super().run(run_id), input_rows=self.repeats)

        def counts(self, run_id: str) -> Counts:
            return {State.PENDING: self.repeats}

    with Long.open(tmp_path / "ledger.db", job="moves") as ledger:
        run = plan(ledger, [moved(1)])
        peaks = []
        for Long.repeats in (1_000, 20_000):
            tracemalloc.start()
            write_reports(ledger, run, tmp_path / "run", next_command=NOTHING_NEXT)
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
    assert len((tmp_path / "run" / "results.csv").read_bytes().splitlines()) == 20_001
    assert peaks[1] < 2 * peaks[0]


def test_a_killed_session_counts_no_fewer_requests_than_answered_rows_and_says_that_it_may_be_more(
    ledger: SqliteLedger,
) -> None:
    run = send(ledger, plan(ledger, [moved(1), moved(2)]), applied(1), applied(2), ends=False)
    told = summarise(ledger, run)
    assert (told.timings["requests"], told.killed) == (2, 1)
    assert summarise(ledger, run, running=True).killed == 0


@pytest.mark.parametrize(
    ("state", "stop", "reason"),
    [
        (State.PENDING, "", "not sent"),
        (State.PENDING, "guard max_changes: 3 changes, 2 are allowed", "not sent: guard max_changes: 3 changes"),
        (State.SENDING, "", "its outcome is not recorded"),
        (State.UNKNOWN, "", "it ended unknown"),
    ],
)
def test_every_row_that_did_not_reach_its_goal_has_a_reason(
    ledger: SqliteLedger, state: State, stop: str, reason: str
) -> None:
    run = plan(ledger, [moved(1)])
    (row,) = list(ledger.rows(run.id))
    assert reason in reason_on(replace(row, state=state, reason=""), replace(run, stop_reason=stop))
    assert reason_on(replace(row, reason="said"), run) == "said"


@pytest.mark.parametrize("time_s", [1799533893.4609995, 1799096373.6819994, 1795360000.0, 1795360000.9999999])
def test_a_time_is_written_as_the_standard_library_writes_it(time_s: float) -> None:
    expected = datetime.fromtimestamp(time_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    assert utc_text(time_s) == expected
