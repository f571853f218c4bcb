import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from bulk_patch.cli import text
from bulk_patch.cli.screens import end_screen, last_lines, plan_screen, runs_screen, show_screen, status_screen
from bulk_patch.cli.text import WIDTH
from bulk_patch.errors import Exit
from bulk_patch.ledgers.records import Holder, LedgerRow, PlanSummary, Run
from bulk_patch.model import Counts, State
from bulk_patch.planning.changes import Change
from bulk_patch.planning.summary import SummaryBuilder
from bulk_patch.reports.summary import RunSummary
from bulk_patch.workflows.status import RunStatus
from tests.support.screen_samples import (
    COUNTS,
    CUSTOMER,
    DETAILS,
    FOLDER,
    NOON,
    PLANNED,
    RUN,
    SENT,
    TARGET,
    squeeze,
    summary,
)

# --- the plan


def test_a_plan_shows_everything_that_a_person_decides_by() -> None:
    screen = squeeze(
        plan_screen(replace(RUN, summary=PlanSummary.from_json(DETAILS)), PLANNED, rate_per_s=20.0, canary=10)
    )
    for line in (
        f"plan {RUN.id}",
        "job moves",
        f"target {TARGET}",
        "input moves.csv, 1,234 rows",
        "plan 0123456789ab",
        *("to send 1,000", "unchanged 200", "duplicate 4", "invalid 30", "input rows 1,234"),
        "20 legal_address.postal_code breaks the rule: US: 5 or 5+4 digits",
        "2 row disagrees with another row of the same id",
        *("900 legal_address.city", "300 × B••• → C•••", "20 × ? → D•••", "5 × (none) → E•••", "150 middle_name"),
        *("4 × L••• → (cleared)", "4 middle_name"),
        f"row 3 {CUSTOMER}",
        *("legal_address.city B••• → C•••", "middle_name ? → (cleared)", "email (none) → a•••@b.com"),
        "4 values would be cleared: clearing is not documented by the API, each is read back",
    ):
        assert line in screen
    assert "1 × F••• → G•••" not in screen  # only the most frequent


def test_a_plan_says_what_it_costs_and_how_long_it_takes() -> None:
    # 250 rows are read again, the 10 of the canary one by one, 240 in 3 reads; the canary and 4 cleared values are
    # read back.
    screen = plan_screen(replace(RUN, summary=PlanSummary.from_json(DETAILS)), PLANNED, rate_per_s=20.0, canary=10)
    cost = (
        "cost: 1,000 changes to send and up to 27 reads, about 51 s at the limit of 20 requests a second; "
        "planning made 13 reads"
    )
    assert cost in " ".join(squeeze(screen))


@pytest.mark.parametrize(
    ("rate_per_s", "counts", "cost"),
    [
        (None, {State.PENDING: 1}, "cost: 1 change to send, as fast as the API answers"),
        (2.5, {State.PENDING: 100}, "cost: 100 changes to send, about 40 s at the limit of 2.5 requests a second"),
        (20.0, {State.UNCHANGED: 7}, "cost: nothing to send"),
    ],
)
def test_a_plan_without_reads_costs_its_changes(rate_per_s: float | None, counts: Counts, cost: str) -> None:
    assert squeeze(plan_screen(RUN, counts, rate_per_s=rate_per_s))[-1] == cost


def test_a_plan_that_trips_a_guard_says_which_and_what_to_do() -> None:
    stopped = replace(RUN, stopped_by="max_changes", stop_reason="guard max_changes: too many", stop_hint="look at it")
    assert squeeze(plan_screen(stopped, PLANNED, rate_per_s=1.0))[-2:] == [
        "run would stop with exit code 5: guard max_changes: too many",
        "look at it",
    ]


def test_a_plan_screen_reads_what_a_plan_counted() -> None:
    tally = SummaryBuilder(
        unchanged=2, invalid_rows=1, invalid=Counter({"dob breaks its rule": 1}), warnings=["look out"]
    )
    moves = (("last_name", "S•••", "W•••"), ("note", None, "•••"))
    tally.add(Change(9, CUSTOMER, ("last_name", "note"), b"{}", None, ("note",), False, moves))
    kept = json.loads(json.dumps(tally.build(PlanSummary(), reads=1, recheck=0).to_json()))
    run = replace(RUN, summary=PlanSummary.from_json(kept))
    screen = squeeze(plan_screen(run, {State.PENDING: 1}, rate_per_s=1.0))
    for line in (
        "1 dob breaks its rule",
        "1 last_name",
        "1 × S•••",
        "row 9",
        "note ? → •••",
        "look out",
    ):
        assert any(line in shown for shown in screen)
    assert "planning made 1 read" in " ".join(screen)


# --- the end


def test_the_last_lines_are_counts_exit_code_in_words_and_the_next_command() -> None:
    ended = summary(state="incomplete", next="bulk-patch run jobs/moves.toml")
    assert last_lines(ended).splitlines() == [
        "900 applied, 200 unchanged, 4 duplicate, 80 pending, 15 unknown, 5 rejected, 30 invalid: 1,234 input rows",
        "exit code 4: incomplete; running it again is safe and continues",
        "next: bulk-patch run jobs/moves.toml",
    ]


def test_when_all_is_done_there_is_no_next_command() -> None:
    ended = summary({State.APPLIED: 3}, state="complete", exit_code=Exit.OK)
    assert last_lines(ended).splitlines() == [
        "3 applied, 0 unchanged: 3 input rows",
        "exit code 0: done",
    ]


def test_the_end_shows_counts_that_balance_causes_throughput_and_files() -> None:
    causes = [("rejected: BAD_REQUEST_BODY (fields: email)", 5), ("unknown: no answer", 1)]
    screen = squeeze(end_screen(summary(), SENT, folder=FOLDER, causes=causes))
    for line in (
        f"target {TARGET}",
        *("applied 900", "unchanged 200", "duplicate 4", "pending 80", "unknown 15", "rejected 5", "invalid 30"),
        "input rows 1,234",
        "5 rejected: BAD_REQUEST_BODY (fields: email)",
        "1 unknown: no answer",
        f"files: {FOLDER}/ (report.html, results.csv, failures.csv, summary.json)",
    ):
        assert line in screen
    assert "mismatch 0" not in screen
    assert (
        "1,030 requests in about 52 s, 19.8 a second of at most 20; half of the changes within 85 ms, "
        "99 % within 241 ms; throttled 3 times"
    ) in " ".join(screen)


def test_the_end_and_status_name_what_held_the_rate_back() -> None:
    held = summary(held_back_by="throttling by the API")
    for screen in (end_screen(held, SENT, folder=FOLDER, causes=[]), status_screen(status(held))):
        assert "; throttled 3 times; held back by throttling by the API" in " ".join(squeeze(screen))


def test_the_end_of_a_run_that_stopped_says_why() -> None:
    stopped = replace(
        SENT, stopped_by="canary", stop_reason="canary: row 1 ended rejected", stop_hint="look at that row"
    )
    screen = squeeze(end_screen(summary(state="stopped", exit_code=Exit.STOPPED), stopped, folder=FOLDER))
    assert screen[screen.index("stopped: canary: row 1 ended rejected") + 1] == "look at that row"


def test_the_end_of_a_complete_run_does_not_tell_of_an_earlier_stop() -> None:
    run = replace(SENT, stop_reason="an outage, yesterday")
    assert "outage" not in end_screen(summary(exit_code=Exit.NEEDS_PERSON), run, folder=FOLDER)


def test_what_comes_first_stands_on_a_line_of_its_own_above_the_command() -> None:
    ended = summary(state="incomplete", next="bulk-patch run x.toml", before_next="first: fix the credential")
    assert last_lines(ended).splitlines()[-2:] == ["first: fix the credential", "next: bulk-patch run x.toml"]


def test_a_command_to_copy_is_never_broken_into_lines() -> None:
    command = "bulk-patch run " + "very/long/" * 20 + "job.toml"
    assert last_lines(summary(next=command)).endswith(f"\nnext: {command}\n")


# --- status


def status(of: RunSummary, *, holder: Holder | None = None) -> RunStatus:
    return RunStatus(of, SENT, COUNTS, 95, holder)


def test_the_status_of_a_live_run_says_who_sends_it_how_far_it_is_and_how_long_it_takes() -> None:
    live = summary(state="running", exit_code=None)
    holder = Holder(pid=4711, host="batch-1", started_at=NOON)
    screen = squeeze(status_screen(status(live, holder=holder)))
    for line in (
        f"run {RUN.id}: running",
        "sent by process 4711 on batch-1 since 2026-11-22 12:00:00 UTC",
        *("in flight 12", "unknown 3", "applied 900", "input rows 1,234"),
        "905 of 1,000 changes done, 90.5 %",
        "about 5 s left",
    ):
        assert line in screen
    assert not any(line.startswith("exit code") for line in screen)


def test_the_status_of_a_run_that_nobody_sends_folds_what_was_in_flight_into_unknown() -> None:
    screen = squeeze(status_screen(status(summary(next="bulk-patch run x.toml"))))
    assert "unknown 15" in screen
    assert not any("in flight" in line or "left" in line for line in screen)
    assert "no process is sending it; the last one ended 2026-11-22 12:01:00 UTC" in screen
    assert screen[-2:] == [
        "exit code 4: incomplete; running it again is safe and continues",
        "next: bulk-patch run x.toml",
    ]


def test_the_status_of_another_run_than_the_one_that_is_sent_says_who_holds_the_ledger() -> None:
    holder = Holder(pid=4711, host="batch-1", started_at=NOON)
    screen = squeeze(status_screen(status(summary(), holder=holder)))
    assert "ledger held by process 4711 on batch-1 since 2026-11-22 12:00:00 UTC" in screen


def test_the_status_of_a_holder_that_has_not_said_its_name_invents_none() -> None:
    screen = squeeze(status_screen(status(summary(), holder=Holder(0, "", 0.0))))
    assert "ledger held by a process" in screen


def test_a_plan_that_waits_is_called_so() -> None:
    planned = summary(PLANNED, state="planned", exit_code=Exit.OK)
    screen = squeeze(status_screen(RunStatus(planned, RUN, PLANNED, 1000, None)))
    assert {"to send 1,000", "no process is sending it", "0 of 1,000 changes done, 0.0 %"} <= set(screen)


def test_done_is_never_rounded_up_to_everything() -> None:
    counts = {State.APPLIED: 99_999, State.PENDING: 1}
    screen = status_screen(RunStatus(summary(counts), SENT, counts, 1, None))
    assert "99,999 of 100,000 changes done, 99.9 %" in screen


@pytest.mark.parametrize(
    ("run", "counts", "words"),
    [
        (replace(RUN, state="planning"), {}, "the plan is not sealed yet"),
        (SENT, {State.UNCHANGED: 4}, "nothing to send"),
        (
            replace(SENT, state="closed"),
            {State.APPLIED: 1, State.PENDING: 2},
            "closed by --new: 2 changes will never be sent",
        ),
    ],
)
def test_a_run_that_will_send_nothing_shows_no_progress(run: Run, counts: Counts, words: str) -> None:
    assert words in squeeze(status_screen(RunStatus(summary(counts), run, counts, 0, None)))


# --- runs and rows


def test_runs_are_a_table_of_what_became_of_their_rows() -> None:
    runs: list[tuple[Run, Counts]] = [
        (RUN, PLANNED),
        (replace(SENT, id="20261121-120000-0001", target="synctera sandbox customers"), COUNTS),
        (replace(SENT, id="20261120-120000-0001", stopped_by="canary"), COUNTS),
        (replace(SENT, id="20261119-120000-0001", exit_code=None), COUNTS),
        (replace(SENT, id="20261118-120000-0001", state="closed"), COUNTS),
        (
            replace(SENT, id="20261123-120000-0001", kind="undo", summary=PlanSummary.from_json({"undoes": SENT.id})),
            COUNTS,
        ),
    ]
    header, *lines = squeeze(runs_screen(runs))
    assert header == "run job rows applied no change unsettled for a person state target kind"
    assert lines == [
        f"20261122-120000-4f2a moves 1,234 0 204 1,000 30 planned {TARGET} run",
        "20261121-120000-0001 moves 1,234 900 204 95 35 exit 4 synctera sandbox customers run",
        f"20261120-120000-0001 moves 1,234 900 204 95 35 stopped {TARGET} run",
        f"20261119-120000-0001 moves 1,234 900 204 95 35 started {TARGET} run",
        f"20261118-120000-0001 moves 1,234 900 204 95 35 closed {TARGET} run",
        f"20261123-120000-0001 moves 1,234 900 204 95 35 exit 4 {TARGET} undo of {SENT.id}",
    ]


def test_numbers_of_the_table_of_runs_end_below_each_other() -> None:
    first, second, third = runs_screen([(RUN, PLANNED), (replace(RUN, input_rows=7), {})]).splitlines()
    assert first.index(" rows") + 5 == second.index("1,234") + 5 == third.index("    7 ") + 5


def test_on_a_narrow_terminal_a_run_takes_three_lines_that_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "_width", 80)
    monkeypatch.setattr(text, "_is_terminal", True)
    undo = replace(SENT, kind="undo", summary=PlanSummary.from_json({"undoes": SENT.id}))
    lines = runs_screen([(undo, COUNTS), (RUN, PLANNED)]).splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[:2] == [
        f"{SENT.id}  moves  exit 4",
        "  1,234 rows: 900 applied, 204 no change, 95 unsettled, 35 for a person",
    ]
    assert f"undo of {SENT.id}" in " ".join(lines)
    assert f"{RUN.id}  moves  planned" in lines


def test_no_runs_are_said_to_be_none() -> None:
    assert runs_screen([]) == "no runs yet\n"


ROW = LedgerRow(
    row=17,
    customer_id=CUSTOMER,
    state=State.REJECTED,
    cells=b"[]",
    reason="BAD_REQUEST_BODY",
    hint="fields: email",
    fields=("email",),
    body=b"{}",
    before=None,
    attempts=2,
    http_status=422,
    api_code="BAD_REQUEST_BODY",
    key="11111111-2222-5333-8444-555555555555",
    generation=0,
    first_intent_at=NOON,
    done_at=NOON + 2,
    final=False,
)


def test_a_row_is_shown_with_change_status_reason_key_and_times() -> None:
    (screen,) = show_screen([(ROW, [("email", "o•••@b.com", "a•••@b.com"), ("note", None, "•••")])])
    assert squeeze(screen) == [
        f"row 17 {CUSTOMER} rejected",
        "BAD_REQUEST_BODY; fields: email",
        "email o•••@b.com → a•••@b.com",
        "note ? → •••",
        "sent 2026-11-22 12:00:00 UTC, 2 attempts, HTTP 422 BAD_REQUEST_BODY",
        "key 11111111-2222-5333-8444-555555555555",
        "done 2026-11-22 12:00:02 UTC",
    ]


def test_a_row_that_was_never_sent_shows_no_key_and_no_time() -> None:
    invalid = replace(ROW, state=State.INVALID, key="", first_intent_at=None, done_at=None, http_status=None)
    (screen,) = show_screen([(invalid, [])])
    assert squeeze(screen) == [f"row 17 {CUSTOMER} invalid", "BAD_REQUEST_BODY; fields: email"]


def test_rows_that_are_unknown_say_whether_for_good_or_in_flight() -> None:
    final, out = show_screen(
        [(replace(ROW, state=State.UNKNOWN, final=True), []), (replace(ROW, state=State.SENDING), [])]
    )
    assert "unknown, final" in final
    assert "unknown, maybe in flight" in out


def test_rows_are_shown_one_by_one() -> None:
    assert next(show_screen((replace(ROW, row=number), []) for number in iter(int, 1))).startswith("row 0 ")


# --- text


def test_nothing_from_a_file_or_an_api_can_steer_the_terminal() -> None:
    evil = "\x1b[2J\x1b]0;x\x07\r\n\u202e\u2028x"
    row = replace(ROW, customer_id=evil, reason=evil, hint=evil, api_code=evil)
    details = {
        "fields": {evil: 1},
        "transitions": {evil: [[evil, evil, 1]]},
        "cleared": {evil: 1},
        "warnings": [evil],
        "samples": [{"row": 1, "customer_id": evil, "changes": [[evil, evil, evil]]}],
        "invalid": [[evil, 1]],
    }
    run = replace(
        RUN,
        job=evil,
        target=evil,
        input_path=evil,
        summary=PlanSummary.from_json(details),
        stopped_by="x",
        stop_reason=evil,
        stop_hint=evil,
    )
    ended = summary(state="stopped", exit_code=Exit.STOPPED, next=evil)
    screens = [
        *show_screen([(row, [(evil, evil, evil)])]),
        plan_screen(run, PLANNED, rate_per_s=1.0),
        end_screen(ended, run, folder=Path(evil), causes=[(evil, 1)]),
        status_screen(RunStatus(ended, run, COUNTS, 1, Holder(1, evil, NOON))),
        runs_screen([(run, COUNTS)]),
    ]
    for screen in screens:
        assert all(line.isprintable() for line in screen.split("\n"))


def test_long_reasons_are_wrapped_below_their_beginning() -> None:
    reason = "the API refused it because " * 12
    (screen,) = show_screen([(replace(ROW, reason=reason), [])])
    lines = screen.splitlines()[1:-3]
    assert len(lines) > 2
    assert all(len(line) <= WIDTH and line.startswith("  ") for line in lines)
    screen = end_screen(summary(), SENT, folder=FOLDER, causes=[(reason, 5)])
    assert max(map(len, screen.splitlines())) <= WIDTH + 4  # the line of counts is kept whole


def test_the_end_names_what_it_leaves_out_of_the_causes() -> None:
    causes = [(f"rejected: cause {number}", 2) for number in range(12)]
    screen = end_screen(summary(), SENT, folder=FOLDER, causes=causes)
    assert "cause 9" in screen
    assert "cause 10" not in screen
    assert "and 4 more rows of 2 rarer causes: see failures.csv" in screen


def test_a_killed_session_makes_the_count_of_requests_a_lower_bound() -> None:
    said = [
        end_screen(replace(summary(), killed=killed, undone_by=()), SENT, folder=FOLDER).count("at least ")
        for killed in (0, 1)
    ]
    assert said == [0, 1]
