"""The compliance team's evening in one piece: review, approve, send, mend, verify, undo."""

import signal

import pytest

from bulk_patch.sandbox import Fault, Sandbox
from bulk_patch.sandbox.faults import Seen
from tests.acceptance.commands import Workspace, wait_until
from tests.acceptance.small_job import (
    FILE,
    NAME,
    TOKEN,
    aimed_at,
    id_of,
    new_emails,
    patches,
    people,
    planned_at,
    write_job,
)

pytestmark = pytest.mark.chaos  # the page itself, .github/EVENING.md, is played by test_pages.py

REFUSED, EDITED = 5, 2


class Refusal:
    """An API that refuses one customer's changes in its own words, until somebody there mends it."""

    def __init__(self) -> None:
        self.lasts = True

    def __call__(self, seen: Seen) -> Fault | None:
        """Refuse, or let pass."""
        if self.lasts and seen.method == "PATCH" and seen.customer_id == id_of(REFUSED):
            return Fault(status=422, body=b'{"code": "INVALID_STATUS"}', cached=True)
        return None


def page_of(office: Workspace, run: str) -> str:
    """Return the report of a run."""
    return (office.job_folder(NAME) / run / "report.html").read_text(encoding="utf-8")


def newest(office: Workspace) -> str:
    """Return the id of the newest run."""
    return str(office.runs(NAME)[-1]["id"])


@pytest.mark.chaos
def test_an_evening_from_the_plan_to_the_report_of_the_undo(office: Workspace) -> None:
    refusal = Refusal()
    with Sandbox(people(12), token=TOKEN, fault=refusal, latency_ms=100) as api:
        write_job(office, new_emails(*range(1, 11)))
        flags = [*aimed_at(api), "--set", "guards.approval=true"]
        planned_by, approved_by = ("--operator", "Robin"), ("--operator", "Alex")

        # A plan, and the page that is reviewed. Nobody approves what they planned.
        planned = office.run("plan", FILE, *planned_at(api), *flags[-2:], *planned_by)
        assert planned.code == 0, planned.err
        first = newest(office)
        assert "Robin" in page_of(office, first)
        refused = office.run("run", FILE, *flags, *planned_by)
        assert refused.code == 9, refused.err
        assert f"bulk-patch approve {first}" in refused.err
        assert office.run("approve", first, *planned_by).code == 9
        assert office.run("run", FILE, *flags, *planned_by).code == 9
        assert patches(api) == []

        # Somebody else does. The run is killed once, and goes on.
        approved = office.run("approve", first, *approved_by)
        assert approved.code == 0, approved.err
        process = office.start("run", FILE, *flags, *planned_by, "--ticket", "OPS-1")
        wait_until(lambda: len(patches(api)) >= 4)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        ended = office.run("run", FILE, *flags, *planned_by)
        assert ended.code == 3, ended.err
        assert newest(office) == first
        assert office.summary(NAME)["counts"]["applied"] == 9
        assert [one["operator"] for one in office.summary(NAME)["approvals"]] == ["Alex"]
        assert office.states(NAME)[REFUSED] == "rejected"
        assert "OPS-1" in page_of(office, first)

        # The refused row is mended in failures.csv, approved and sent: it alone.
        refusal.lasts = False
        failures = office.job_folder(NAME) / first / "failures.csv"
        mended = failures.read_text(encoding="utf-8").replace("new5@example.org", "mended5@example.org")
        failures.write_text(mended, encoding="utf-8")
        fed_back = [*flags, "--set", f"input.path={failures}"]
        sent = len(patches(api))
        assert office.run("run", FILE, *fed_back, *planned_by).code == 9
        second = newest(office)
        assert second != first
        assert office.run("approve", second, *approved_by).code == 0
        ended = office.run("run", FILE, *fed_back, *planned_by)
        assert ended.code == 0, ended.err
        assert [entry["customer_id"] for entry in patches(api)[sent:]] == [id_of(REFUSED)]
        assert api.customer(id_of(REFUSED))["email"] == "mended5@example.org"

        # All is there. Then somebody edits a customer, and verify names the field.
        aim = flags[:2]
        assert office.run("verify", first, *aim).code == 0
        api.edit(id_of(EDITED), email="joan@example.net")
        drifted = office.run("verify", first, *aim)
        assert drifted.code == 3, drifted.err
        assert id_of(EDITED) in drifted.out
        assert drifted.next == f"bulk-patch lookup {id_of(EDITED)}"
        assert ": drifted" in office.run("lookup", id_of(EDITED)).out
        assert "email" in drifted.out

        # The first run is undone: all but what somebody else has changed.
        assert office.run("undo", first, *flags, *planned_by, "--reason", "wrong list").code == 9
        undo = newest(office)
        assert office.run("approve", undo, *approved_by).code == 0
        undone = office.run("undo", first, *flags, *planned_by)
        assert undone.code == 3, undone.err
        assert newest(office) == undo
        applied = set(range(1, 11)) - {REFUSED}
        assert office.states(NAME) == {number: "applied" if number != EDITED else "kept" for number in applied}
        assert {number: api.customer(id_of(number))["email"] for number in range(1, 11)} == {
            **{number: f"ann{number}@example.com" for number in applied},
            EDITED: "joan@example.net",
            REFUSED: "mended5@example.org",
        }

        # And its report says so.
        page = page_of(office, undo)
        assert first in page
        assert "wrong list" in page
        assert "kept" in page
        assert "joan@example.net" not in page
        told = office.run("lookup", id_of(1))
        assert told.code == 0, told.err
        assert first in told.out
        assert undo in told.out
        assert "reason: wrong list" in told.out
        assert "ticket: OPS-1" in told.out

        # So does what is told of the run that was taken back, and a plan of its input.
        words = f"undone by run {undo}: 8 of 9 rows"
        assert words in page_of(office, first)
        status = office.run("status", first)
        assert words in status.out
        assert "next: " not in status.out
        again = office.run("plan", FILE, *planned_at(api), *flags[-2:], *planned_by)
        assert again.code == 5
        assert f"again for what undo {undo} took back" in " ".join(again.out.split())
