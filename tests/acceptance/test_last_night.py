"""`check JOB --within`: was the last night good? From the ledger alone, for those who have no service that watches."""

from pathlib import Path

import pytest

from bulk_patch.cli.durations import seconds_of
from bulk_patch.errors import UsageError
from bulk_patch.ledgers.records import Actor, Run
from bulk_patch.sandbox import Sandbox
from bulk_patch.workflows.last_night import Night, judge
from tests.acceptance.commands import Workspace
from tests.acceptance.small_job import FILE, aimed_at, new_emails, planned_at, write_input, write_job

HOUR = 3600.0
NOW = 1_790_000_000.0


def a_run(hours_ago: float, code: int | None, kind: str = "run") -> Run:
    return Run(
        id=f"night-{hours_ago:g}",
        job="small",
        target="synctera",
        kind=kind,
        state="sealed",
        secret="",
        created_at=NOW - hours_ago * HOUR,
        actor=Actor("Robin", "robin", "host", 1),
        identity="",
        baseline="live",
        finished_at=None if code is None else NOW - hours_ago * HOUR,
        exit_code=code,
    )


def night(*runs: Run, to_do: int = 0) -> Night:
    return judge("small", list(runs), within_s=26 * HOUR, now=NOW, to_do=to_do)


def test_a_good_night_has_no_problem_and_its_age() -> None:
    told = night(a_run(5, 0), a_run(29, 4))
    assert told.problems == ()
    assert told.age_s == 5 * HOUR


@pytest.mark.parametrize(
    ("runs", "words"),
    [
        ((), "never ran"),
        ((a_run(1, None),), "never ran"),
        ((a_run(1, 0, kind="undo"),), "never ran"),
        ((a_run(27, 0),), "27 h 0 min ago"),
        ((a_run(2, 4),), "ended with 4"),
        ((a_run(2, 6), a_run(26, 5), a_run(50, 0)), "2 runs in a row without success"),
    ],
)
def test_what_is_not_good_is_named(runs: tuple[Run, ...], words: str) -> None:
    assert words in "; ".join(night(*runs).problems)


def test_rows_for_a_person_are_told_apart_from_a_failed_night() -> None:
    assert night(a_run(2, 3), a_run(26, 0)).only_rows
    assert not night(a_run(30, 3)).only_rows
    assert not night(a_run(2, 3), to_do=1).only_rows
    assert not night(a_run(2, 4)).only_rows


def test_times_are_read_or_refused() -> None:
    assert [seconds_of(text, "--within", "26h") for text in ("90m", "26h", "2d")] == [5400, 26 * HOUR, 48 * HOUR]
    for text in ("", "26", "h", "0h", "-1h", "1.5h", "1w"):
        with pytest.raises(UsageError):
            seconds_of(text, "--within", "26h")


def test_the_morning_after(office: Workspace, api: Sandbox) -> None:
    write_job(office, new_emails(1, 2))
    at = planned_at(api)
    before = set(Path(office.root).rglob("*"))
    never = office.run("check", FILE, *at, "--within", "26h")
    assert never.code == 4
    assert "never ran" in never.out
    assert set(Path(office.root).rglob("*")) == before

    assert office.run("run", FILE, *aimed_at(api)).code == 0
    sent = len(api.requests)
    good = office.run("check", FILE, *at, "--within", "26h")
    assert good.code == 0, good.out + good.err
    assert office.run("run", FILE, *aimed_at(api)).code == 0  # nothing to change: a good night as well
    nagios = office.run("check", FILE, *at, "--within", "26h", "--nagios")
    assert (nagios.code, nagios.out.partition(" - ")[0]) == (0, "BULK_PATCH OK")
    assert office.run("check", FILE, "--within", "26h").code == 4, "another target never ran"

    write_input(office, new_emails(3, 4))
    assert office.run("run", FILE, *aimed_at(api), "--limit", "1").code == 4
    asked = len(api.requests)
    failed = office.run("check", FILE, *at, "--within", "26h", "--quiet")
    assert failed.code == 4
    assert "ended with 4" in failed.out
    assert "1 row of the open run" in failed.out
    assert "status" in failed.next
    assert office.run("check", FILE, *at, "--within", "26h", "--nagios").code == 2
    assert office.run("check", "jobs/none.toml", "--within", "26h", "--nagios").code == 3
    assert office.run("check", FILE, "--nagios").code == 2
    assert len(api.requests) == asked > sent, "only the ledger is looked at"
