"""Plans against the API: what is read, what a refusal leaves behind, and notes, which no baseline shows."""

from pathlib import Path
from typing import Any

import pytest

from bulk_patch.errors import BulkPatchError, CredentialError, Exit, InputError, JobError
from bulk_patch.ledgers.sqlite.reader import SqliteReader
from bulk_patch.model import State
from bulk_patch.sandbox import Sandbox
from bulk_patch.workflows.options import RunOptions
from bulk_patch.workflows.run import plan_job, run_job
from tests.planning.test_build import HOME
from tests.support.job_files import ANN, BEN, DEE, ledger_path, make_job, plan_against, planned_in, write_csv

LIVE = "baseline.kind=live"


def people(*customers: str) -> list[dict[str, Any]]:
    return [{"id": customer, "email": f"{customer[:4]}@b.co", "legal_address": dict(HOME)} for customer in customers]


def test_a_live_plan_reads_and_sends_nothing(tmp_path: Path) -> None:
    write_csv(
        tmp_path / "input.csv",
        "customer_id,email",
        *(f"{ANN},new@b.co", f"{BEN},{BEN[:4]}@b.co", f"{DEE},x@b.co", f"{DEE},x@b.co"),
    )
    with Sandbox(people(ANN, BEN)) as sandbox:
        planned = plan_against(sandbox, make_job(tmp_path, LIVE))
        assert {line["method"] for line in sandbox.requests} == {"GET"}
    assert planned.states == {1: State.PENDING, 3: State.INVALID, 4: State.INVALID}
    assert planned.rows[3].reason == planned.rows[4].reason == "id does not exist in the API"
    assert planned.befores == {1: {"email": f"{ANN[:4]}@b.co"}}
    assert planned.run.unchanged == 1


def test_a_refused_input_causes_no_request_at_all(tmp_path: Path) -> None:
    write_csv(tmp_path / "input.csv", "customer_id,email", f"{ANN},a@b.co,more")
    with Sandbox(people(ANN)) as sandbox:
        with pytest.raises(InputError):
            plan_against(sandbox, make_job(tmp_path, LIVE))
        assert sandbox.requests == []


@pytest.mark.parametrize("kind", ["none", "live"])
def test_a_guarded_field_is_refused_before_any_request(tmp_path: Path, kind: str) -> None:
    write_csv(tmp_path / "input.csv", "customer_id,email", f"{ANN},a@b.co")
    with Sandbox(people(ANN)) as sandbox:
        with pytest.raises(JobError, match=r"guards\.fields"):
            plan_against(sandbox, make_job(tmp_path, f"baseline.kind={kind}", "guards.fields=[]"))
        assert sandbox.requests == []


def test_a_plan_that_could_not_be_made_leaves_no_run_that_could_be_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN_OF_THIS_TEST", "wrong")
    write_csv(tmp_path / "input.csv", "customer_id,email", f"{ANN},new@b.co")
    with Sandbox(people(ANN)) as sandbox:
        job = make_job(tmp_path, LIVE, f'target.base_url="{sandbox.base_url}"', "target.token=env:TOKEN_OF_THIS_TEST")
        with pytest.raises(CredentialError):
            plan_job(job)
        assert {line["method"] for line in sandbox.requests} == {"GET"}
    with SqliteReader.read(ledger_path(job), job=job.name) as ledger:
        assert ledger.open_run(job.target_name) is None
        assert not any(run.plan_sha256 for run in ledger.runs())


@pytest.mark.parametrize(("base_url", "code"), [("http://127.0.0.1:1/v0", Exit.INCOMPLETE)])
def test_an_api_that_is_not_there_is_told_by_its_exit_code(tmp_path: Path, base_url: str, code: Exit) -> None:
    write_csv(tmp_path / "input.csv", "customer_id,email", f"{ANN},new@b.co")
    job = make_job(tmp_path, LIVE, "retry.attempts=1").at_sandbox(base_url, "token")
    with pytest.raises(BulkPatchError) as caught:
        plan_job(job)
    assert caught.value.exit_code is code


def test_a_base_url_without_its_version_is_a_fault_of_the_job(tmp_path: Path) -> None:
    write_csv(tmp_path / "input.csv", "customer_id,email", f"{ANN},new@b.co")
    with Sandbox(people(ANN)) as sandbox:
        job = make_job(tmp_path, LIVE).at_sandbox(sandbox.base_url.removesuffix("/v0"), sandbox.token)
        with pytest.raises(InputError, match="answers 404"):
            plan_job(job)


# --- notes, which no baseline shows


def test_a_note_is_sent_once_whatever_else_was_sent_with_it(tmp_path: Path) -> None:
    lines = [f"{ANN},moved,new@b.co", f"{BEN},called,"]
    write_csv(tmp_path / "input.csv", "customer_id,note,email", *lines)
    with Sandbox(people(ANN, BEN)) as sandbox:
        job = make_job(tmp_path, LIVE, "limits.rate_per_s=unlimited").at_sandbox(sandbox.base_url, sandbox.token)
        first = run_job(job)
        assert first.counts["applied"] == 2
        again = run_job(job)
        assert (again.counts["unchanged"], again.exit_code) == (2, Exit.OK)
        assert [sandbox.customer(customer)["notes"] for customer in (ANN, BEN)] == [["moved"], ["called"]]
        write_csv(tmp_path / "input.csv", "customer_id,note,email", f"{ANN},moved again,new@b.co", lines[1])
        assert run_job(job).counts["applied"] == 1
        assert sandbox.customer(ANN)["notes"] == ["moved", "moved again"]
    assert planned_in(job, first.run).bodies[1] == {"note": "moved", "email": "new@b.co"}


def test_a_plan_alone_does_not_count_a_note_as_sent(tmp_path: Path) -> None:
    write_csv(tmp_path / "input.csv", "customer_id,note", f"{ANN},moved")
    with Sandbox(people(ANN)) as sandbox:
        job = make_job(tmp_path, LIVE)
        for _ in range(2):
            assert plan_against(sandbox, job, output=None).states == {1: State.PENDING}


def test_a_ban_and_its_note_are_sent_and_then_both_hold(tmp_path: Path) -> None:
    write_csv(
        tmp_path / "input.csv", "customer_id,ban_status,note", f"{ANN},SUSPENDED,chargebacks", f"{BEN},SUSPENDED,"
    )
    with Sandbox(people(ANN, BEN)) as sandbox:
        job = make_job(tmp_path, LIVE, "guards.max_invalid=9").at_sandbox(sandbox.base_url, sandbox.token)
        counts = run_job(job, RunOptions()).counts
        assert (counts["applied"], counts["invalid"]) == (1, 1)
        assert sandbox.customer(ANN)["ban_status"] == "SUSPENDED"
        assert run_job(job).counts["unchanged"] == 1
        assert sandbox.customer(ANN)["notes"] == ["chargebacks"]


def test_persons_are_planned_by_their_own_fields(tmp_path: Path) -> None:
    write_csv(tmp_path / "input.csv", "customer_id,chosen_name,is_customer", f"{ANN},Annie,true")
    with Sandbox([{"id": ANN, "is_customer": True}]) as sandbox:
        planned = plan_against(sandbox, make_job(tmp_path, LIVE, "target.resource=persons"))
    assert planned.bodies == {1: {"chosen_name": "Annie"}}
