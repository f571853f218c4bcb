"""Guards: each stop says which guard, which rows, what to look at and how to go on; `--continue` waives that one."""

import json
import shlex
from collections.abc import Callable

from bulk_patch import load_job, run_job
from bulk_patch.sandbox import Fault, Sandbox
from bulk_patch.sandbox.faults import Seen
from tests.acceptance.commands import Ended, Workspace
from tests.acceptance.small_job import (
    FILE,
    NAME,
    TOKEN,
    aimed_at,
    id_of,
    input_path,
    new_emails,
    patches,
    people,
    planned_at,
    sent_ids,
    write_input,
    write_job,
    write_rows,
)
from tests.support.private import write_private

WATCH = ("--set", 'guards.watch={kyc_status=["ACCEPTED"]}')
ONE_BY_ONE = ("--set", "limits.concurrency=1", "--set", "limits.rate_per_s=100")
STOPPED = "exit code 5: stopped by a guard or an integrity fault; a person must look"


def setting(**guards: object) -> list[str]:
    """Return the flags that set these guards."""
    return [word for name, value in guards.items() for word in ("--set", f"guards.{name}={json.dumps(value)}")]


def refusing(*numbers: int) -> Callable[[Seen], Fault | None]:
    """Refuse every change of these customers in the API's own words."""
    ids = {id_of(number) for number in numbers}
    body = json.dumps({"code": "INVALID_STATUS", "title": "no"}).encode()
    fault = Fault(status=422, body=body, content_type="application/problem+json", cached=True)
    return lambda seen: fault if seen.method == "PATCH" and seen.customer_id in ids else None


def api_of(count: int, fault: Callable[[Seen], Fault | None] | None = None) -> Sandbox:
    return Sandbox(people(count), token=TOKEN, fault=fault)


def reviewing(*numbers: int, count: int) -> Sandbox:
    """Serve customers of whom these are frozen for a review when somebody changes them."""
    ids = {id_of(number) for number in numbers}
    return Sandbox(
        people(count), token=TOKEN, kyc_rerun=lambda customer_id: "REVIEW" if customer_id in ids else "ACCEPTED"
    )


def assert_stopped(office: Workspace, ended: Ended, guard: str, reason: str, hint: str) -> None:
    """Check that a stop is told on the screen, in the last lines, by `status`, in the summary and in the ledger."""
    assert ended.code == 5, ended.err
    assert f"stopped: {reason}\n  {hint}\n" in ended.out
    assert f"guard={guard} " in ended.err
    assert STOPPED in ended.err.splitlines()
    folder = office.root / "output" / NAME / office.runs(NAME)[-1]["id"]
    words = shlex.split(ended.next)
    look_at = "report.html" if guard == "max_changes" else "failures.csv"
    assert ended.before == f"first: look at {folder.relative_to(office.root)}/{look_at}"
    assert words[:3] == ["bulk-patch", "run", FILE]
    assert "--continue" in words
    run = office.runs(NAME)[-1]
    assert (run["stopped_by"], run["stop_reason"], run["stop_hint"]) == (guard, reason, hint)
    summary = office.summary(NAME)
    assert (summary["state"], summary["exit_code"], summary["next"]) == ("stopped", 5, ended.next)
    last = office.notes(NAME)[-1]
    assert (last["action"], last["detail"]) == ("stopped", {"guard": guard, "reason": reason})


def typed_next(ended: Ended) -> list[str]:
    """Return the words of the command that a stop says to type next, after `bulk-patch`."""
    return shlex.split(ended.next)[1:]


def go_on(office: Workspace, stopped: Ended) -> Ended:
    """Type what a stop says to type next."""
    return office.run(*typed_next(stopped), "--yes")


# --- before anything is sent


def test_columns_beyond_guards_fields_are_refused_by_name_before_any_request(office: Workspace, api: Sandbox) -> None:
    row = {"customer_id": id_of(1), "email": "a@b.example", "first_name": "Bea", "legal_address.city": "Waco"}
    write_job(office, [row])
    ended = office.run("run", FILE, *aimed_at(api), *setting(fields=["legal_address"]))
    assert ended.code == 2
    assert "error: small.csv would change email, first_name, which guards.fields does not allow" in ended.err
    assert 'hint: name them in guards.fields, or map the columns to "" in [input.rename]' in ended.err
    assert api.requests == []
    ended = office.run("run", FILE, *aimed_at(api), *setting(fields=["legal_address.city", "email", "first_name"]))
    assert ended.code == 0, ended.err  # an object's part may be allowed by itself


def test_too_many_changes_stop_before_the_first_and_yes_is_no_waiver(office: Workspace, api: Sandbox) -> None:
    write_job(office, new_emails(1, 2, 3))
    flags = [*aimed_at(api), *setting(max_changes=2)]
    planned = office.run("plan", FILE, *planned_at(api), *setting(max_changes=2))
    assert planned.code == 5  # with which `run` would stop
    assert "run would stop with exit code 5: guard max_changes" in planned.out
    assert "exit_code=5" in planned.err
    stopped = office.run("run", FILE, *flags, "--new")
    reason = "guard max_changes: the plan would change 3 customers, 2 are allowed"
    hint = "report.html shows the plan: is it the right file, the right baseline?"
    assert_stopped(office, stopped, "max_changes", reason, hint)
    assert [line["_row"] for line in office.failures(NAME)] == ["1", "2", "3"]

    again = office.run("run", FILE, *flags)  # as cron does
    assert again.code == 5
    assert f"error: run {office.runs(NAME)[-1]['id']} is stopped: {reason}" in again.err
    assert f"hint: {hint}; to resume: {stopped.next}" in again.err
    assert STOPPED in again.err
    shown = office.run("status", FILE)
    assert f"stopped: {reason}\n  {hint}\n" in shown.out
    assert "--continue" in shown.out
    assert patches(api) == []

    ended = go_on(office, stopped)
    assert ended.code == 0, ended.err
    assert sorted(sent_ids(api)) == [id_of(number) for number in (1, 2, 3)]
    assert [note["action"] for note in office.notes(NAME)] == ["stopped", "replaced", "stopped", "continued"]


def test_too_many_invalid_rows_stop_before_the_first_change(office: Workspace, api: Sandbox) -> None:
    write_job(office, [*new_emails(1), {"customer_id": id_of(2), "email": "nowhere"}])
    stopped = office.run("run", FILE, *aimed_at(api), *setting(max_invalid="5%"))
    reason = "guard max_invalid: 1 of 2 rows are invalid, 5% are allowed"
    hint = "failures.csv names each row, its rule and how to fix it"
    assert_stopped(office, stopped, "max_invalid", reason, hint)
    line = next(line for line in office.failures(NAME) if line["_status"] == "invalid")
    assert (line["_row"], line["_reason"]) == ("2", "email breaks its rule")
    assert line["_hint"]
    assert patches(api) == []
    ended = go_on(office, stopped)
    assert ended.code == 3, ended.err
    assert sent_ids(api) == [id_of(1)]


# --- while it is sent


def test_too_many_refusals_stop_the_rest_and_name_the_rows(office: Workspace) -> None:
    write_job(office, new_emails(*range(1, 41)))
    with api_of(40, refusing(*range(1, 11))) as api:
        stopped = office.run("run", FILE, *aimed_at(api), *setting(max_failures="2%"), *ONE_BY_ONE)
        run = office.runs(NAME)[-1]
        answers = run["stop_reason"].partition("10 of the last ")[2].partition(" ")[0]
        rows = ", ".join(str(number) for number in range(1, 11))
        reason = f"guard max_failures: 10 of the last {answers} answers were refusals, 2% are allowed (rows {rows})"
        assert_stopped_loosely(office, stopped, "max_failures", reason)
        states = office.states(NAME)
        assert [row for row, state in states.items() if state == "rejected"] == list(range(1, 11))
        assert [state for row, state in states.items() if row > 10].count("pending") >= 20
        ended = go_on(office, stopped)
        assert ended.code == 3, ended.err
        assert len({entry["customer_id"] for entry in patches(api) if entry["executed"]}) == 30


def assert_stopped_loosely(office: Workspace, ended: Ended, guard: str, reason: str) -> None:
    """Check a stop whose reason is too long for one line of the screen."""
    run = office.runs(NAME)[-1]
    assert ended.code == 5, ended.err
    assert (run["stopped_by"], run["stop_reason"]) == (guard, reason)
    assert reason in " ".join(ended.out.split())
    assert " ".join(run["stop_hint"].split()) in " ".join(ended.out.split())
    assert STOPPED in ended.err.splitlines()
    assert "--continue" in ended.next


def test_the_canary_stops_at_its_first_refusal_and_names_the_row(office: Workspace) -> None:
    write_job(office, new_emails(*range(1, 7)))
    with api_of(12, refusing(2)) as api:
        stopped = office.run("run", FILE, *aimed_at(api), *setting(canary=5))
        reason = "guard canary: row 2, number 2 of the first 5, ended rejected: INVALID_STATUS"
        hint = "look at that row first: show it, and read its record in the API"
        assert_stopped(office, stopped, "canary", reason, hint)
        assert sent_ids(api) == [id_of(1), id_of(2), id_of(2)]  # the refusal is confirmed
        assert office.run("run", FILE, *aimed_at(api), *setting(canary=5)).code == 5
        assert len(patches(api)) == 3
        ended = go_on(office, stopped)
        assert ended.code == 3, ended.err
        assert len(patches(api)) == 7


def test_the_canary_reads_back_and_does_not_take_the_answers_word(office: Workspace) -> None:
    def praise(seen: Seen) -> Fault | None:
        """Answer with the very values that were sent, and keep none of them."""
        if seen.method != "PATCH":
            return None
        answer = {**people(12)[0], **json.loads(seen.body), "id": seen.customer_id}
        return Fault(status=200, body=json.dumps(answer).encode(), content_type="application/json")

    write_job(office, new_emails(1, 2, 3))
    with api_of(12, praise) as api:
        stopped = office.run("run", FILE, *aimed_at(api), *setting(canary=2))
        reason = (
            "guard canary: row 1, number 1 of the first 2, ended mismatch: "
            "accepted, and a read shows another value (email)"
        )
        assert_stopped_loosely(office, stopped, "canary", reason)
        assert sent_ids(api) == [id_of(1)]


def test_a_canary_that_ends_well_lets_the_rest_go_and_reads_only_itself_back(office: Workspace, api: Sandbox) -> None:
    write_job(office, new_emails(*range(1, 8)))
    ended = office.run("run", FILE, *aimed_at(api), *setting(canary=3))
    assert ended.code == 0, ended.err
    canary = {id_of(number) for number in (1, 2, 3)}
    read = [entry["customer_id"] for entry in api.requests if entry["method"] == "GET" and entry["customer_id"]]
    assert len(read) == 3
    assert set(read) == canary
    assert {entry["customer_id"] for entry in patches(api)[:3]} == canary


def moved(*numbers: int) -> list[dict[str, str]]:
    """Return one row for each of these customers, with another city than it has."""
    return [{"customer_id": id_of(number), "legal_address.city": "Waco"} for number in numbers]


def test_one_customer_that_leaves_its_state_in_the_canary_stops_the_run(office: Workspace) -> None:
    write_job(office, moved(*range(1, 7)))
    with reviewing(2, count=12) as api:
        stopped = office.run("run", FILE, *aimed_at(api), *setting(canary=5), *WATCH)
        reason = "guard watch: kyc_status left the values to be kept, rows 2"
        hint = "look at these rows in the API before any more are sent"
        assert_stopped(office, stopped, "watch", reason, hint)
        assert set(office.states(NAME).values()) == {"applied", "pending"}
        assert len(patches(api)) == 2
        ended = go_on(office, stopped)
        assert ended.code == 0, ended.err
        assert len(patches(api)) == 6


def test_after_the_canary_ten_customers_that_leave_their_state_stop_the_run(office: Workspace) -> None:
    write_job(office, moved(*range(1, 41)))
    with reviewing(*range(1, 11), count=40) as api:
        stopped = office.run("run", FILE, *aimed_at(api), *WATCH, *ONE_BY_ONE)
        rows = ", ".join(str(number) for number in range(1, 11))
        reason = f"guard watch: kyc_status left the values to be kept, rows {rows}"
        assert_stopped_loosely(office, stopped, "watch", reason)
        assert len(patches(api)) < 40


# --- how a person goes on


def test_continue_waives_one_stop_and_the_next_guard_still_holds(office: Workspace) -> None:
    write_job(office, new_emails(1, 2, 3))
    with api_of(12, refusing(1)) as api:
        first = office.run("run", FILE, *aimed_at(api), *setting(max_changes=2, canary=2))
        assert office.runs(NAME)[-1]["stopped_by"] == "max_changes"
        second = go_on(office, first)
        assert second.code == 5, second.err
        assert office.runs(NAME)[-1]["stopped_by"] == "canary"
        assert len(patches(api)) == 1
        third = go_on(office, second)
        assert third.code == 3, third.err
        assert json.loads(office.runs(NAME)[-1]["waived"]) == ["max_changes", "canary"]
        assert len(office.runs(NAME)) == 1


def test_a_stop_at_the_last_row_holds_too_and_a_retry_lifts_it(office: Workspace) -> None:
    write_job(office, new_emails(1))
    with api_of(12, refusing(1)) as api:
        stopped = office.run("run", FILE, *aimed_at(api), *setting(canary=1))
        assert stopped.code == 5, stopped.err
        write_input(office, new_emails(2))
        again = office.run("run", FILE, *aimed_at(api), *setting(canary=1))
        assert again.code == 5, again.err  # nothing is left of that run, and still nobody has looked
        assert "guard canary: row 1" in again.err
        assert len({line["key"] for line in patches(api)}) == 1
        run = office.runs(NAME)[-1]["id"]
        retried = office.run("retry", run, *aimed_at(api))
        assert retried.code == 3, retried.err
        assert len({line["key"] for line in patches(api)}) == 2
        ended = office.run("run", FILE, *aimed_at(api), *setting(canary=1))
        assert ended.code == 0, ended.err


def test_an_integrity_stop_names_the_fault_and_the_row(office: Workspace) -> None:
    def redirect(seen: Seen) -> Fault | None:
        is_second = seen.method == "PATCH" and seen.customer_id == id_of(2)
        return Fault(status=307, body=b"", headers={"Location": "/v0/elsewhere"}) if is_second else None

    write_job(office, new_emails(1, 2))
    with api_of(12, redirect) as api:
        stopped = office.run("run", FILE, *aimed_at(api))
        reason = "redirected (HTTP 307); seen at row 2"
        assert_stopped_loosely(office, stopped, "integrity", reason)
        assert office.states(NAME) == {1: "applied", 2: "unknown"}


# --- unusual row counts warn, and never stop


def test_ten_times_the_usual_rows_is_a_warning_and_all_of_them_are_sent(office: Workspace) -> None:
    token = office.root / "token"
    write_private(token, TOKEN)
    with api_of(60) as api:
        for number in (1, 2, 3):
            write_job(office, new_emails(number * 2, number * 2 + 1))
            job = load_job(office.root / FILE, [f"target.base_url={api.base_url}", f"target.token=file:{token}"])
            assert run_job(job).exit_code == 0
        write_rows(input_path(office), new_emails(*range(20, 40), domain="large.example"))
        ended = office.run("run", FILE, *aimed_at(api), "--quiet")
        assert ended.code == 0, ended.err
        assert "the input has 20 rows; the last runs had about 2" in ended.err
        assert len(patches(api)) == 26
