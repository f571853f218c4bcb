"""verify: every applied row is read back, and what is not there any more is listed field by field."""

import re
import shlex
import signal
import time

import pytest

from bulk_patch.sandbox import Fault, Sandbox
from bulk_patch.sandbox.faults import Seen
from tests.acceptance.commands import Workspace, wait_until
from tests.acceptance.small_job import (
    FILE,
    HOME,
    NAME,
    TOKEN,
    aimed_at,
    id_of,
    new_emails,
    people,
    planned_at,
    write_input,
    write_job,
)


def reads(api: Sandbox) -> int:
    """Return how many reads of several customers an API has answered."""
    return sum(entry["method"] == "GET" for entry in api.requests)


class Reads:
    """Decides what goes wrong with reads, from one moment of a test to another."""

    def __init__(self) -> None:
        self.fault: Fault | None = None

    def __call__(self, seen: Seen) -> Fault | None:
        return self.fault if seen.method == "GET" else None


@pytest.fixture
def sent(office: Workspace, api: Sandbox) -> Workspace:
    """Return a place where twelve rows were applied, one of them with an address that was completed."""
    rows = [{**row, "ssn": "123-45-6789"} for row in new_emails(*range(1, 12))]
    write_job(office, [*rows, {"customer_id": id_of(12), "legal_address.city": "Dallas"}])
    assert office.run("run", FILE, *aimed_at(api)).code == 0
    return office


def test_a_run_that_is_as_it_was_left_verifies_and_the_ledger_tells_who_looked(sent: Workspace, api: Sandbox) -> None:
    before = reads(api)
    ended = sent.run("verify", FILE, *planned_at(api), "--operator", "Alex")
    assert ended.code == 0, ended.err
    assert "12 read back: 0 drifted" in ended.err
    assert reads(api) == before + 1  # twelve customers in one batch
    note = sent.notes(NAME)[-1]
    assert (note["action"], note["actor"]["operator"]) == ("verified", "Alex")
    found = {"rows": 12, "drifted": 0, "fields": {}, "in_part": {"ssn": 11}}
    assert note["detail"] == found
    assert re.search(r"seen only in part, .*\n +11  ssn\n", ended.out)
    verified = sent.summary(NAME)["verified"]
    assert verified == found | {"operator": "Alex", "at": verified["at"]}


def test_what_changed_outside_is_named_field_by_field_and_masked(sent: Workspace, api: Sandbox) -> None:
    api.edit(id_of(2), email="someone@example.net", first_name="Not Ours")
    api.edit(id_of(12), legal_address={**HOME, "city": "Houston"})
    ended = sent.run("verify", sent.runs(NAME)[0]["id"], *planned_at(api))
    assert ended.code == 3, ended.err
    assert re.search(rf"row 2  {id_of(2)}\n +email  sent n•••@example.org, found s•••@example.net\n", ended.out)
    assert re.search(rf"row 12  {id_of(12)}\n +legal_address.city  sent D•••, found H•••\n", ended.out)
    assert "first_name" not in ended.out
    assert "someone@" not in ended.out + ended.err
    drifted = {"drifted": 2, "fields": {"email": 1, "legal_address.city": 1}}
    assert sent.notes(NAME)[-1]["detail"] == {"rows": 12, **drifted, "in_part": {"ssn": 11}}
    page = (sent.job_folder(NAME) / sent.runs(NAME)[0]["id"] / "report.html").read_text(encoding="utf-8")
    assert "<bdi>n•••@example.org</bdi> → <bdi>s•••@example.net</bdi>" in page
    assert "2 rows drifted (email 1, legal_address.city 1); seen only in part, in how many rows: ssn 11" in page
    assert "someone@" not in page
    assert sent.run("verify", FILE, *planned_at(api)).code == 3  # it ended, so it begins anew


def test_masked_fields_are_compared_as_far_as_they_are_visible(sent: Workspace, api: Sandbox) -> None:
    api.edit(id_of(1), ssn="999-99-1111")
    ended = sent.run("verify", FILE, *planned_at(api))
    assert ended.code == 3
    assert re.search(r"ssn +sent •••6789, found •••1111", ended.out)


def test_what_a_later_run_of_the_job_changed_is_no_drift(sent: Workspace, api: Sandbox) -> None:
    first = sent.runs(NAME)[0]["id"]
    write_input(sent, new_emails(3, 4, domain="example.edu"))
    assert sent.run("run", FILE, *aimed_at(api)).code == 0
    second = sent.runs(NAME)[-1]["id"]
    ended = sent.run("verify", first, *planned_at(api))
    assert ended.code == 0, ended.out
    assert ended.out.count(f"sent by the later run {second}") == 2
    assert "2  changed by later runs of this job" in ended.out
    api.edit(id_of(4), email="someone@example.net")
    assert sent.run("verify", first, *planned_at(api)).code == 3


def test_reads_that_fail_end_with_4_and_the_same_command_goes_on(office: Workspace) -> None:
    write_job(office, new_emails(*range(1, 13)))
    weather = Reads()
    with Sandbox(people(12), token=TOKEN, fault=weather) as api:
        assert office.run("run", FILE, *aimed_at(api)).code == 0
        weather.fault = Fault(status=500)
        ended = office.run("verify", FILE, *planned_at(api), "--set", "retry.attempts=2")
        assert ended.code == 4, ended.err
        assert "0 read back: 0 drifted, 12 not read" in ended.err
        weather.fault = None
        assert office.run("verify", FILE, *planned_at(api)).code == 0


@pytest.mark.parametrize(
    "how", [signal.SIGTERM, *(pytest.param(how, marks=pytest.mark.chaos) for how in (signal.SIGKILL, signal.SIGINT))]
)
def test_a_verify_that_was_stopped_goes_on_without_reading_again(office: Workspace, how: signal.Signals) -> None:
    count = 1000
    write_job(office, [{**row, "note": "called"} for row in new_emails(*range(1, count + 1))])
    weather = Reads()
    with Sandbox(people(count), token=TOKEN, fault=weather) as api:
        assert office.run("run", FILE, *aimed_at(api), "--set", "limits.concurrency=64").code == 0
        flags = (*planned_at(api), "--set", "limits.concurrency=1")
        begun = reads(api)
        weather.fault = Fault(delay_s=0.2, execute=True)
        with office.start("verify", FILE, *flags) as process:
            wait_until(lambda: reads(api) >= begun + 4)
            process.send_signal(how)
            _, err = process.communicate(timeout=20)
        weather.fault = None
        time.sleep(0.5)  # a read that nobody waits for any more is still being answered
        assert process.returncode == {signal.SIGKILL: -9, signal.SIGTERM: 143, signal.SIGINT: 130}[how]
        if how is not signal.SIGKILL:
            assert "this command has sent nothing" in err
            assert f"next: {shlex.join(['bulk-patch', 'verify', FILE, *flags])}" in err.splitlines()
        (kept,) = office.query(NAME, "SELECT rows FROM checks")
        assert 200 <= kept["rows"] < count
        before = reads(api)
        ended = office.run("verify", FILE, *flags)
        assert ended.code == 0, ended.err
        assert f"{count} read back: 0 drifted" in ended.err
        assert office.notes(NAME)[-1]["detail"]["in_part"] == {"note": count}  # what was read before the stop included
        assert reads(api) - before == (count - kept["rows"]) // 100


def test_a_rehearsal_is_verified_where_it_was_sent(office: Workspace) -> None:
    write_job(office, new_emails(1, 2))
    assert office.run("run", FILE, "--sandbox").code == 0
    assert office.run("verify", FILE, "--sandbox").code == 0
    elsewhere = office.run("verify", FILE)
    assert elsewhere.code == 9
    assert "sandbox" in elsewhere.err
