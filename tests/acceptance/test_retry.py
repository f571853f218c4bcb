"""What is left when a run has ended: rows that were refused, rows nobody knows about, and failures.csv fed back."""

import shlex

from bulk_patch.sandbox import Fault, Sandbox
from bulk_patch.sandbox.faults import Seen
from tests.acceptance.approvals import PLANNER, REVIEWER, ask_for_approval
from tests.acceptance.commands import Workspace
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
    sent_ids,
    write_input,
    write_job,
    write_rows,
)

TWICE = ("--set", "retry.attempts=2")


class Trouble:
    """A fault for one customer's PATCHes, until it is mended."""

    def __init__(self, fault: Fault, *, customer: int) -> None:
        self._fault: Fault | None = fault
        self._customer_id = id_of(customer)

    def __call__(self, seen: Seen) -> Fault | None:
        """Spoil a request, or not."""
        return self._fault if seen.method == "PATCH" and seen.customer_id == self._customer_id else None

    def mend(self) -> None:
        """Let everything pass from now on."""
        self._fault = None

    def spoil(self, fault: Fault) -> None:
        """Spoil the customer's PATCHes from now on."""
        self._fault = fault


def keys_of(api: Sandbox, customer: int) -> list[str]:
    """Return the keys under which a customer's PATCHes came, in order."""
    return [entry["key"] for entry in patches(api) if entry["customer_id"] == id_of(customer)]


def test_a_row_that_was_refused_is_sent_again_under_a_new_key(office: Workspace) -> None:
    trouble = Trouble(Fault(status=422, body=b'{"code": "INVALID_STATUS"}', cached=True), customer=2)
    with Sandbox(people(12), token=TOKEN, fault=trouble) as api:
        write_job(office, new_emails(1, 2, 3))
        ended = office.run("run", FILE, *aimed_at(api))
        assert ended.code == 3, ended.err
        refused = office.results(NAME)[1]
        assert (refused["status"], refused["http_status"], refused["api_code"]) == ("rejected", "422", "INVALID_STATUS")
        assert f"output/small/{office.runs(NAME)[0]['id']}/failures.csv" in ended.before
        trouble.mend()
        command = shlex.split(ended.next)
        assert command[:3] == ["bulk-patch", "retry", office.runs(NAME)[0]["id"]]
        retried = office.run(*command[1:], "--yes", "--reason", "the status was mended", "--operator", "Robin")
        assert retried.code == 0, retried.err
        assert api.customer(id_of(2))["email"] == "new2@example.org"
        first, second = keys_of(api, 2)
        assert first != second
        assert len(patches(api)) == 4  # only the refused one went again
        result = office.results(NAME)[1]
        assert (result["status"], result["attempts"], result["idempotency_key"]) == ("applied", "2", second)
        (generation,) = office.query(NAME, "SELECT generation FROM generations")
        assert generation["generation"] == 1


def test_a_row_that_stays_unknown_keeps_its_key_and_is_given_up_after_two_runs(office: Workspace) -> None:
    with Sandbox(people(12), token=TOKEN, fault=Trouble(Fault(status=500), customer=2)) as api:
        write_job(office, new_emails(1, 2))
        first = office.run("run", FILE, *aimed_at(api), *TWICE)
        assert first.code == 4, first.err
        assert "1 unknown" in first.err
        assert "server error (HTTP 500)" in first.err
        second = office.run("run", FILE, *aimed_at(api), *TWICE)
        assert second.code == 3, second.err  # cron shall not loop on it
        assert f"bulk-patch retry {office.runs(NAME)[0]['id']}" in second.next
        assert len(keys_of(api, 2)) == 4
        assert len(set(keys_of(api, 2))) == 1
        result = office.results(NAME)[1]
        assert (result["status"], result["attempts"], result["http_status"]) == ("unknown", "4", "500")


def test_retry_settles_an_unknown_row_under_the_same_key(office: Workspace) -> None:
    trouble = Trouble(Fault(execute=True, wire="close"), customer=2)
    with Sandbox(people(12), token=TOKEN, fault=trouble) as api:
        write_job(office, new_emails(1, 2))
        assert office.run("run", FILE, *aimed_at(api), *TWICE).code == 4
        trouble.mend()
        retried = office.run("retry", FILE, *aimed_at(api))
        assert retried.code == 0, retried.err
        assert len(set(keys_of(api, 2))) == 1
        assert [entry["executed"] for entry in patches(api) if entry["customer_id"] == id_of(2)].count(True) == 1
        assert office.summary(NAME)["counts"]["applied"] == 2


def test_retry_with_nothing_to_retry_says_so_and_sends_nothing(office: Workspace, api: Sandbox) -> None:
    write_job(office, new_emails(1))
    assert office.run("run", FILE, *aimed_at(api)).code == 0
    ended = office.run("retry", FILE, *aimed_at(api))
    assert ended.code == 0, ended.err
    assert len(patches(api)) == 1


def test_retry_with_nothing_to_retry_leaves_a_file_alone_that_somebody_is_mending(
    office: Workspace, api: Sandbox
) -> None:
    write_job(office, [*new_emails(1), {"customer_id": id_of(2), "email": "no address"}])
    assert office.run("run", FILE, *aimed_at(api)).code == 3
    failures = office.job_folder(NAME) / office.runs(NAME)[0]["id"] / "failures.csv"
    mended = failures.read_text(encoding="utf-8").replace("no address", "new2@example.org")
    failures.write_text(mended, encoding="utf-8")
    ended = office.run("retry", FILE, *aimed_at(api))
    assert ended.code == 3, ended.err
    assert failures.read_text(encoding="utf-8") == mended


def test_a_plan_that_was_never_sent_has_nothing_to_retry_and_is_not_done(office: Workspace, api: Sandbox) -> None:
    write_job(office, new_emails(1))
    assert office.run("plan", FILE, *planned_at(api)).code == 0
    ended = office.run("retry", FILE, *aimed_at(api))
    assert (ended.code, patches(api)) == (4, []), ended.err
    assert ended.next.startswith("bulk-patch run ")


def test_retry_is_for_the_target_that_the_run_was_for(office: Workspace, api: Sandbox) -> None:
    write_job(office, new_emails(1))
    assert office.run("run", FILE, *aimed_at(api)).code == 0
    ended = office.run("retry", FILE, "--sandbox")
    assert ended.code == 9, ended.err
    assert f"was for synctera {api.base_url} customers" in ended.err
    assert "this is synctera sandbox customers" in ended.err


def test_rows_of_a_run_that_new_closed_can_be_asked_for_by_retry_when_they_were_refused(office: Workspace) -> None:
    trouble = Trouble(Fault(status=422, body=b'{"code": "INVALID_STATUS"}', cached=True), customer=1)
    with Sandbox(people(12), token=TOKEN, fault=trouble) as api:
        write_job(office, new_emails(1, 2, 3))
        begun = office.run("run", FILE, *aimed_at(api), "--set", "limits.concurrency=1", "--limit", "2")
        assert begun.code == 4, begun.err
        closed = office.runs(NAME)[0]["id"]
        assert office.run("run", FILE, *aimed_at(api), "--new").code == 3
        trouble.mend()
        retried = office.run("retry", closed, *aimed_at(api))
        assert retried.code == 3, retried.err  # one row was never sent
        assert office.states(NAME, closed) == {1: "applied", 2: "applied", 3: "pending"}


def close_with_a_refused_row(office: Workspace, api: Sandbox) -> str:
    """Let `--new` close a run of three rows of which the first was refused and the last never sent; return its id."""
    write_job(office, new_emails(1, 2, 3))
    begun = office.run("run", FILE, *aimed_at(api), "--set", "limits.concurrency=1", "--limit", "2")
    assert begun.code == 4, begun.err
    closed: str = office.runs(NAME)[0]["id"]
    write_input(office, new_emails(9))
    assert office.run("run", FILE, *aimed_at(api), "--new").code == 0
    return closed


def test_a_closed_run_whose_retry_was_stopped_goes_on_by_the_command_that_is_named(office: Workspace) -> None:
    trouble = Trouble(Fault(status=422, body=b'{"code": "INVALID_STATUS"}', cached=True), customer=1)
    moved = Trouble(Fault(status=302), customer=1)
    moves: list[bool] = []
    with Sandbox(people(12), token=TOKEN, fault=lambda seen: (moved if moves else trouble)(seen)) as api:
        closed = close_with_a_refused_row(office, api)
        moves.append(True)
        write_input(office, new_emails(11))  # of tonight, for another command
        stopped = office.run("retry", closed, *aimed_at(api))
        assert stopped.code == 5, stopped.err
        moved.mend()
        refused = office.run("retry", closed, *aimed_at(api))
        assert refused.code == 5, refused.err
        assert f"retry {closed} --continue" in refused.err
        elsewhere = office.run("run", FILE, *aimed_at(api), "--continue")
        assert elsewhere.code == 9, elsewhere.err
        before = len(patches(api))
        ended = office.run(*shlex.split(stopped.next)[1:], "--yes")
        assert ended.code == 3, ended.err  # one row was never sent
        assert office.states(NAME, closed) == {1: "applied", 2: "applied", 3: "pending"}
        assert [entry["customer_id"] for entry in patches(api)[before:]] == [id_of(1)]


def test_an_approval_of_what_retry_asked_of_a_closed_run_names_the_command_that_sends_it(office: Workspace) -> None:
    trouble = Trouble(Fault(status=422, body=b'{"code": "INVALID_STATUS"}', cached=True), customer=1)
    with Sandbox(people(12), token=TOKEN, fault=trouble) as api:
        closed = close_with_a_refused_row(office, api)
        trouble.mend()
        ask_for_approval(office)
        waiting = office.run("retry", closed, *aimed_at(api), *PLANNER)
        assert waiting.code == 9, waiting.err
        approved = office.run("approve", closed, *REVIEWER)
        assert approved.code == 0, approved.err
        again = approved.next.removesuffix(" --set target.base_url=… as before")
        assert again != approved.next  # the ledger does not say where to send
        ended = office.run(*shlex.split(again)[1:], *aimed_at(api), *PLANNER)
        assert ended.code == 3, ended.err
        assert office.states(NAME, closed) == {1: "applied", 2: "applied", 3: "pending"}


def test_failures_can_be_corrected_and_fed_back(office: Workspace, api: Sandbox) -> None:
    rows = [*new_emails(1, 2, 3), {"customer_id": id_of(4), "email": "no address"}]
    rows[1]["email"] = "ann at example.org"
    write_job(office, rows)
    ended = office.run("run", FILE, *aimed_at(api))
    assert ended.code == 3, ended.err
    run = office.runs(NAME)[0]["id"]
    assert [(line["_row"], line["_status"], line["_run"]) for line in office.failures(NAME)] == [
        ("2", "invalid", run),
        ("4", "invalid", run),
    ]
    assert ended.before == f"first: correct output/small/{run}/failures.csv"

    failures = office.job_folder(NAME) / run / "failures.csv"
    corrected = [line | {"email": f"right{line['_row']}@example.org"} for line in office.failures(NAME)]
    write_rows(failures, corrected)
    again = office.run(*shlex.split(ended.next)[1:], "--yes")
    assert again.code == 0, again.err
    assert office.summary(NAME)["counts"]["applied"] == 2
    assert api.customer(id_of(2))["email"] == "right2@example.org"
    assert api.customer(id_of(4))["email"] == "right4@example.org"


def test_a_plan_that_was_never_finished_cannot_be_retried(office: Workspace) -> None:
    with Sandbox(people(12), token=TOKEN, fault=lambda _: Fault(status=403, body=b'{"code": "FORBIDDEN"}')) as api:
        write_job(office, new_emails(1))
        assert office.run("plan", FILE, *planned_at(api)).code != 0
        run = office.runs(NAME)[-1]
        assert run["state"] == "planning"
        ended = office.run("retry", run["id"], *aimed_at(api))
        assert ended.code == 9, ended.err
        assert f"error: run {run['id']} has no finished plan" in ended.err
        assert patches(api) == []


def test_old_runs_are_read_back_finished_and_undone_as_what_they_were_whatever_the_job_says_now(
    office: Workspace,
) -> None:
    trouble = Trouble(Fault(status=422, body=b'{"code": "INVALID_STATUS"}', cached=True), customer=2)
    with Sandbox(people(12), token=TOKEN, fault=trouble) as api:
        write_job(office, new_emails(1, 2))
        assert office.run("run", FILE, *aimed_at(api)).code == 3
        run = office.runs(NAME)[0]["id"]
        trouble.mend()
        file = office.root / FILE
        file.write_text(file.read_text(encoding="utf-8").replace("[target]", '[target]\nresource = "persons"'))
        retried = office.run("retry", run, *aimed_at(api))
        assert retried.code == 0, retried.err
        verified = office.run("verify", run, *planned_at(api))
        assert verified.code == 0, verified.err
        begun = office.run("undo", run, *aimed_at(api))
        assert begun.code == 0, begun.err
        assert {entry["path"].split("/")[2] for entry in patches(api)} == {"customers"}
        assert {row["target"] for row in office.runs(NAME)} == {f"synctera {api.base_url} customers"}
        assert api.customer(id_of(2))["email"] == "ann2@example.com"
        elsewhere = office.run("verify", run, "--set", "target.base_url=http://127.0.0.1:1/v0")
        assert elsewhere.code == 9, elsewhere.err
        assert "only where it was sent" in elsewhere.err


def test_a_run_that_a_changed_job_does_not_continue_is_named(office: Workspace, api: Sandbox) -> None:
    write_job(office, new_emails(1, 2))
    assert office.run("run", FILE, *aimed_at(api), "--limit", "1").code == 4
    run = office.runs(NAME)[0]["id"]
    other = office.run("plan", FILE, *planned_at(api), "--set", "target.resource=persons")
    assert other.code == 0, other.err
    assert f"run={run}" in next(line for line in other.err.splitlines() if "other_run_open" in line)
    assert "give [target] back what it was" in other.err
    finished = office.run("run", FILE, *aimed_at(api))
    assert finished.code == 0, finished.err
    assert sent_ids(api) == [id_of(1), id_of(2)]


def test_an_undo_that_was_interrupted_is_finished_though_the_job_has_changed(office: Workspace) -> None:
    trouble = Trouble(Fault(status=500), customer=2)
    trouble.mend()
    with Sandbox(people(12), token=TOKEN, fault=trouble) as calm:
        write_job(office, new_emails(1, 2))
        assert office.run("run", FILE, *aimed_at(calm)).code == 0
        run = office.runs(NAME)[0]["id"]
        trouble.spoil(Fault(status=500))
        assert office.run("undo", run, *aimed_at(calm), *TWICE).code == 4
        file = office.root / FILE
        file.write_text(file.read_text(encoding="utf-8").replace("[target]", '[target]\nresource = "persons"'))
        trouble.mend()
        finished = office.run("undo", run, *aimed_at(calm))
        assert finished.code == 0, finished.err
        assert [calm.customer(id_of(number))["email"] for number in (1, 2)] == ["ann1@example.com", "ann2@example.com"]
        assert len(office.runs(NAME)) == 2
        assert {entry["path"].split("/")[2] for entry in patches(calm)} == {"customers"}
