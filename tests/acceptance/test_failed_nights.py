"""A night that failed before it had a plan: `status` says the code that was recorded, and why; never another one."""

from tests.acceptance.commands import Workspace
from tests.acceptance.small_job import FILE, NAME, new_emails, write_job

NOWHERE = ("--set", "target.base_url=http://127.0.0.1:9/v0", "--set", "retry.give_up_after_s=0")


def test_status_says_with_which_code_and_why_a_night_failed(office: Workspace) -> None:
    write_job(office, new_emails(1, 2))
    ended = office.run("run", FILE, *NOWHERE, "--yes")
    assert ended.code == 4, ended.err
    (run,) = office.runs(NAME)
    assert (run["state"], run["exit_code"]) == ("planning", 4)
    assert run["stop_reason"]
    told = office.run("status", run["id"])
    assert "exit code 4: " in told.out
    assert "exit code 0" not in told.out
    assert run["stop_reason"][:20] in told.out
