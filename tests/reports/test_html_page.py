import base64
import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bulk_patch.ledgers.records import Actor, Drift, FieldDrift, PlanRow, Run
from bulk_patch.ledgers.sqlite.ledger import SqliteLedger
from bulk_patch.model import State
from bulk_patch.observe.timeline import Pause
from bulk_patch.reports.html import rows as page_rows
from bulk_patch.reports.html.events import list_events
from bulk_patch.reports.html.page import write_files, write_page
from bulk_patch.reports.html.rows import PageContext, data, gather, gather_drifted, visible
from bulk_patch.reports.next_command import NextCommand
from bulk_patch.reports.summary import summarise
from bulk_patch.review.approvals import rows_of, state_terms
from bulk_patch.testing import ledger_calls as calls
from tests.support.report_runs import (
    ACTOR,
    NOON,
    SYNCTERA,
    applied,
    change,
    customer,
    moved,
    plan,
    rejected,
    send,
    set_aside,
)

OTHER = Actor("Alex", "alex", "host", 43)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[SqliteLedger]:
    with SqliteLedger.open(tmp_path / "ledger.db", job="moves") as ledger:
        yield ledger


def page_of(ledger: SqliteLedger, run: Run, folder: Path, **options: Any) -> str:
    """Write the page of a run, and return it."""
    written = write_page(ledger, run, folder, summarise(ledger, run), target=SYNCTERA, **options)
    return written.read_text(encoding="utf-8")


def data_of(page: str) -> dict[str, Any]:
    """Return what the page's script reads."""
    found = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert len(found) == 1
    decoded: dict[str, Any] = json.loads(found[0])
    return decoded


def without_data(page: str) -> str:
    """Return the part of a page that needs no script."""
    return page.partition('<script type="application/json"')[0].partition("</style>")[2]


def statuses_in(decoded: dict[str, Any]) -> list[tuple[int, str]]:
    """Return row and status of the rows in the data, in their order."""
    return [(row[0], decoded["texts"][row[2]]) for row in decoded["rows"]]


# --- safety


def test_the_policy_allows_this_style_and_this_script_by_their_hashes_and_nothing_else(
    ledger: SqliteLedger, tmp_path: Path
) -> None:
    page = page_of(ledger, plan(ledger, [moved(1)]), tmp_path)
    policy = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)[0].replace("&#39;", "'")
    style = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)[0]
    script = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)[0]
    hashes = {base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (style, script)}
    assert set(re.findall(r"'sha256-([^']+)'", policy)) == hashes
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    assert len(re.findall(r"<script|<style|<link|<iframe|<img|<object|<base", page)) == 3
    assert set(re.findall(r"""\s(src|href|action)=["']?(.)""", without_data(page))) == {("href", "#")}
    assert not re.findall(r"\sstyle=|\son\w+=", without_data(page))


def test_text_that_looks_like_markup_stays_text_in_the_page_and_in_its_data(
    ledger: SqliteLedger, tmp_path: Path
) -> None:
    hostile = "</script><script>alert(1)</script><!--<script>"
    rows = [
        change(1, {"last_name": hostile}, "last_name", before={"last_name": "<b>&"}),
        set_aside(2, State.INVALID, customer(2), hostile, reason=hostile, hint="]]>"),
    ]
    page = page_of(ledger, plan(ledger, rows), tmp_path, revealed_by="Robin <i>")
    assert "<script>alert" not in page
    assert "<!--" not in page
    assert page.count("</script>") == 2
    assert "Robin &lt;i&gt;" in page
    (mine,) = [row for row in data_of(page)["rows"] if row[0] == 1]
    assert mine[8][1:] == ["<b>&", hostile]


def test_characters_that_hide_or_reorder_text_are_named() -> None:
    assert visible("plain é ✓ שלום") == "plain é ✓ שלום"
    assert visible("a\u202eb\x00c\u200bd\ne") == "a[U+202E]b[U+0000]c[U+200B]d[U+000A]e"


def test_values_are_masked_unless_revealed_and_a_revealed_page_says_who_asked(
    ledger: SqliteLedger, tmp_path: Path
) -> None:
    run = plan(ledger, [moved(1, last_name="Verylongname"), set_aside(2, State.INVALID, customer(2), "Secretcell")])
    masked = page_of(ledger, run, tmp_path)
    assert "Verylongname" not in masked
    assert "Secretcell" not in masked
    assert "V•••" in without_data(masked)
    revealed = page_of(ledger, run, tmp_path, revealed_by="Robin")
    for part in (without_data(revealed), json.dumps(data_of(revealed))):
        assert "Verylongname" in part
        assert "Secretcell" in part
    assert "at the request of Robin" in revealed
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == masked


def test_a_revealed_page_is_for_its_owner_alone_also_in_a_folder_that_a_team_shares(
    ledger: SqliteLedger, tmp_path: Path
) -> None:
    run, folder = plan(ledger, [moved(1)]), tmp_path / "run"
    folder.mkdir()
    folder.chmod(0o2770)
    page_of(ledger, run, folder)
    page_of(ledger, run, folder, revealed_by="Robin")
    assert {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()} == {
        "report.html": 0o660,
        "report-revealed.html": 0o600,
    }


def test_the_page_is_for_its_owner_alone_and_written_before_the_summary(ledger: SqliteLedger, tmp_path: Path) -> None:
    run = plan(ledger, [moved(1)])
    write_files(ledger, run, tmp_path / "run", target=SYNCTERA, next_command=NextCommand("bulk-patch run x.toml"))
    files = {path.name: path.stat() for path in (tmp_path / "run").iterdir()}
    assert set(files) == {"results.csv", "failures.csv", "report.html", "summary.json"}
    assert files["report.html"].st_mode & 0o777 == 0o600
    assert files["report.html"].st_mtime_ns <= files["summary.json"].st_mtime_ns


# --- content


def test_a_plan_that_did_not_run_says_so_and_what_it_would_send(ledger: SqliteLedger, tmp_path: Path) -> None:
    page = page_of(ledger, plan(ledger, [moved(1), moved(2)], unchanged=3), tmp_path)
    assert "Plan 20261122-120000-4f2a" in page
    assert "Nothing has been sent yet. 2 changes would go to synctera https://api.example.com/v0 customers." in page
    assert "The job does not ask for approval, and none was given." in page
    assert "<svg viewBox" not in page  # no plots of nothing
    assert "3 rows unchanged: only counted" in page


def test_a_plan_that_waits_for_an_approval_says_so(ledger: SqliteLedger, tmp_path: Path) -> None:
    page = page_of(ledger, plan(ledger, [moved(1)], details={"approval": True}), tmp_path)
    assert "The job asks for approval, and no one other than operator has approved this plan." in page
    assert "does not ask for approval" not in page


@pytest.mark.parametrize(
    ("kind", "meaning"),
    [
        ("run", "the row breaks a rule; not sent"),
        ("undo", "cannot be undone: the old value is masked or not known, or the field was absent and input.may_clear"),
    ],
)
def test_what_invalid_means_depends_on_the_kind_of_run(
    ledger: SqliteLedger, tmp_path: Path, kind: str, meaning: str
) -> None:
    run = plan(ledger, [moved(1), set_aside(2, State.INVALID)], kind=kind, details={"undoes": "20261121-120000-0001"})
    balance = without_data(page_of(ledger, run, tmp_path)).partition("<h2>Balance of rows</h2>")[2]
    assert meaning in balance
    assert ("breaks a rule" in balance) == (kind == "run")


def test_the_balance_sums_up_to_the_input(ledger: SqliteLedger, tmp_path: Path) -> None:
    rows = [moved(1), moved(2), moved(3), set_aside(4, State.INVALID), set_aside(5, State.DUPLICATE)]
    run = send(ledger, plan(ledger, rows, unchanged=7), applied(1), rejected(2))
    page = page_of(ledger, run, tmp_path)
    lines = re.findall(r'<span class="chip (\w+)">\w+</span></th><td class="numbers">([\d,]+)</td>', page)
    told = {status: int(number) for status, number in lines}
    assert told == {"applied": 1, "unchanged": 7, "duplicate": 1, "pending": 1, "rejected": 1, "invalid": 1}
    assert '<td class="numbers">12</td><td>the sum of all above' in page


def test_failures_are_grouped_by_cause_each_with_how_to_mend_it(ledger: SqliteLedger) -> None:
    rows: list[PlanRow] = [moved(n) for n in range(1, 8)]
    rows += [set_aside(n, State.INVALID, reason=f"same id as row {n - 1}", hint="keep one") for n in (8, 9)]
    run = send(ledger, plan(ledger, rows), *map(rejected, range(1, 8)))
    causes = gather(PageContext(ledger, run, SYNCTERA, reveal=False)).causes
    assert [(its.status, its.reason, its.rows, its.examples) for its in causes] == [
        ("rejected", "BAD_REQUEST_BODY", 7, (1, 2, 3, 4, 5)),
        ("invalid", "same id as another row", 2, (8, 9)),
    ]
    assert causes[0].hint.startswith("correct the row and run this file")
    assert causes[1].hint == "keep one"


def test_rows_that_need_a_person_come_first_and_beyond_the_limit_the_page_says_what_it_leaves_out(
    ledger: SqliteLedger, tmp_path: Path
) -> None:
    rows = [*(moved(n) for n in range(1, 8)), set_aside(8, State.INVALID)]
    run = send(ledger, plan(ledger, rows), *map(applied, range(1, 7)), rejected(7))
    whole = statuses_in(data_of(page_of(ledger, run, tmp_path)))
    assert whole[:3] == [(7, "rejected"), (8, "invalid"), (1, "applied")]
    assert len(whole) == 8
    page = page_of(ledger, run, tmp_path, most_rows=3)
    assert statuses_in(data_of(page)) == whole[:3]
    assert "The table holds 3 of 8 rows, those that need a person first; 5 are left out." in page


def test_what_is_printed_is_bounded_too(ledger: SqliteLedger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = plan(ledger, [*(set_aside(n, State.INVALID) for n in range(1, 6)), moved(6), moved(7), moved(8)])
    view = PageContext(ledger, run, SYNCTERA, reveal=False)
    monkeypatch.setattr(page_rows, "FEWEST_PRINTED", 7)
    assert [row.row for row in gather(view).printed] == [1, 2, 3, 4, 5, 6, 7]
    monkeypatch.setattr(page_rows, "MOST_PRINTED", 4)
    monkeypatch.setattr(page_rows, "FEWEST_PRINTED", 2)
    gathered = gather(view)
    assert [row.row for row in gathered.printed] == [1, 2, 3, 4]
    assert gathered.causes[0].rows == 5  # counted all the same


def test_data_without_any_row_is_data_all_the_same(ledger: SqliteLedger) -> None:
    text = "".join(data(PageContext(ledger, plan(ledger, [], unchanged=2), SYNCTERA, reveal=False)))
    assert json.loads(text) == {"rows": [], "texts": []}


def test_an_unsigned_approval_is_called_a_record_and_one_of_another_plan_does_not_count(
    ledger: SqliteLedger, tmp_path: Path
) -> None:
    run = plan(ledger, [moved(1)])
    expires_at = int(NOON) + 10**9
    detail = {
        "plan_sha256": run.plan_sha256,
        "target": run.target,
        "rows": rows_of(run),
        "expires_at": expires_at,
        "signed_by": "",
        "signature": "",
        "statement_sha256": hashlib.sha256(state_terms(run, OTHER.operator, expires_at)).hexdigest(),
    }
    calls.note(ledger, run.id, OTHER, "approved", detail, now=NOON + 1)
    page = page_of(ledger, run, tmp_path)
    assert "Alex (login alex on host)" in page
    assert "none: this approval is recorded, not cryptographically proven" in page
    assert "is not the one that" not in page
    calls.note(ledger, run.id, OTHER, "approved", detail | {"plan_sha256": "00"}, now=NOON + 2)
    assert "the plan is not the one that Alex approved" in page_of(ledger, run, tmp_path)
    calls.note(ledger, run.id, OTHER, "approved", detail | {"signed_by": "alex@example.com"}, now=NOON + 3)
    assert "signed by alex@example.com" in page_of(ledger, run, tmp_path)


def test_an_undo_says_which_run_it_reverses_and_what_it_kept(ledger: SqliteLedger, tmp_path: Path) -> None:
    rows = [moved(1), set_aside(2, State.KEPT, reason="changed since: email")]
    undo = plan(ledger, rows, kind="undo", details={"undoes": "20261121-101500-aaaa"})
    page = page_of(ledger, undo, tmp_path)
    assert "Undo 20261122-120000-4f2a of run 20261121-101500-aaaa" in page
    assert "someone has changed the customer since; not undone" in page
    assert "changed since: email" in without_data(page)


# --- what happened when


def test_the_timeline_tells_guards_pauses_restarts_reveals_retries_and_verifies_in_order(
    ledger: SqliteLedger,
) -> None:
    run = send(ledger, plan(ledger, [moved(1), moved(2)]), applied(1), ends=False)
    calls.note(ledger, run.id, ACTOR, "stopped", {"guard": "failures", "reason": "too many"}, now=NOON + 10)
    calls.note(ledger, run.id, OTHER, "continued", {"guard": "failures", "why": "mended"}, now=NOON + 20)
    calls.start_session(ledger, run.id, OTHER, NOON + 30)
    calls.end_session(ledger, run.id, now=NOON + 40, by_itself=True)
    calls.note(ledger, run.id, ACTOR, "retry", {"rows": 3}, now=NOON + 50)
    calls.note(ledger, run.id, ACTOR, "revealed", {"command": "report"}, now=NOON + 60)
    calls.note(ledger, run.id, OTHER, "verified", {"rows": 9, "drifted": 1, "fields": {"email": 1}}, now=NOON + 70)
    calls.note(ledger, run.id, OTHER, "blessed", {"with_water": 2}, now=NOON + 80)
    pauses = [Pause(5.0, NOON + 5, 2.5, "rate limited", 4)]
    events = list_events(ledger, run, ledger.notes(run.id), pauses, running=False)
    assert [(event.what, event.detail) for event in events] == [
        ("planned", "in about 2 s"),
        ("sending started", ""),
        ("this session was killed; its end was not recorded", ""),
        ("paused: rate limited", "2.5 s, 4 times"),
        ("stopped by guard failures", "too many"),
        ("the stop by guard failures was waived", "reason: mended"),
        ("sending resumed", ""),
        ("sending ended", ""),
        ("retry requested", "3 rows"),
        ("whole values shown by `report`", ""),
        ("verified", "9 rows read back, 1 row drifted (email 1)"),
        ("blessed", "with water 2"),
    ]
    assert events[5].who == "Alex (login alex on host)"


def drift(row: int, *, by: str = "") -> Drift:
    """Return a row that was found changed, by a later run or by somebody."""
    return Drift(row, customer(row), "", (FieldDrift("last_name", "N•••", "X<b>•••", by),), counts=not by)


def test_what_drifted_is_listed_row_by_row_and_what_later_runs_explain_is_not(
    ledger: SqliteLedger, tmp_path: Path
) -> None:
    run = send(ledger, plan(ledger, [moved(row) for row in range(1, 5)]), *(applied(row) for row in range(1, 5)))
    assert "What drifted" not in page_of(ledger, run, tmp_path)
    check = calls.start_check(ledger, run.id, OTHER, now=NOON + 10)
    found = [drift(1), drift(2, by="20261122-130000-0001"), Drift(3, customer(3), "gone", ())]
    calls.record_check(ledger, run.id, check.number, found, upto=3, rows=3)
    page = without_data(page_of(ledger, run, tmp_path))
    section = page.partition("<h2>What drifted</h2>")[2].partition("</section>")[0]
    assert "2 rows of 3 had changed, and the verify was not completed" in section
    assert re.findall(r'data-label="Row">(\d+)', section) == ["1", "3"]
    assert "last_name</span> <bdi>N•••</bdi> → <bdi>X&lt;b&gt;•••</bdi>" in section
    assert customer(3) in section
    assert "gone" in section
    calls.end_check(ledger, run.id, check.number, now=NOON + 20)
    assert "was not completed" not in page_of(ledger, run, tmp_path)


def test_of_many_drifted_rows_the_first_are_listed_and_the_page_says_so(ledger: SqliteLedger, tmp_path: Path) -> None:
    rows = range(1, page_rows.MOST_PRINTED + 3)
    run = send(ledger, plan(ledger, [moved(row) for row in rows]), *(applied(row) for row in rows))
    check = calls.start_check(ledger, run.id, OTHER, now=NOON + 10)
    calls.record_check(ledger, run.id, check.number, [drift(row) for row in rows], upto=rows[-1], rows=len(rows))
    drifted = gather_drifted(PageContext(ledger, run, SYNCTERA, reveal=False))
    assert drifted is not None
    assert ([its.row for its in drifted.listed], drifted.more) == (list(rows)[: page_rows.MOST_PRINTED], 2)
    assert "The first 1,000 of them are listed; verify lists all." in page_of(ledger, run, tmp_path)
