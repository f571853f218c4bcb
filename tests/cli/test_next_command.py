import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from bulk_patch.cli.command_lines import CommandLines
from bulk_patch.cli.entry import same_words
from bulk_patch.cli.next_command import Invocation, next_command
from bulk_patch.errors import Exit
from bulk_patch.ledgers.records import PlanSummary, Run
from bulk_patch.model import Counts, State
from bulk_patch.reports.next_command import NextCommand
from tests.support.screen_samples import COUNTS, FOLDER, PLANNED, RUN, SENT

FAILURES = FOLDER / "failures.csv"
JOB = Invocation("jobs/moves.toml")
UNDO = replace(RUN, kind="undo", summary=PlanSummary(undoes=SENT.id))


def test_a_command_repeats_what_the_first_one_said_quoted_for_a_shell() -> None:
    called = Invocation("my jobs/x.toml", sandbox=True, output="/srv/a b", sets=("limits.rate_per_s=5", "name=it's"))
    command = called.command("run", "--continue")
    assert shlex.split(command) == [
        *("bulk-patch", "run", "my jobs/x.toml", "--continue", "--sandbox"),
        *("--set", "limits.rate_per_s=5", "--set", "name=it's", "--output", "/srv/a b"),
    ]


def test_a_command_that_only_reads_the_ledger_gets_no_flag_that_it_does_not_know() -> None:
    called = Invocation("x.toml", sandbox=True, output="out", sets=("limits.rate_per_s=5",))
    assert called.command("show", "--status", "mismatch", run="R") == "bulk-patch show R --status mismatch --output out"


def test_another_input_takes_the_place_of_the_one_that_was_set() -> None:
    called = Invocation("x.toml", sets=("input.path=old.csv", "limits.rate_per_s=5"))
    command = called.with_input("new.csv").command("run")
    assert command == "bulk-patch run x.toml --set limits.rate_per_s=5 --set input.path=new.csv"


def test_of_two_settings_of_one_name_only_the_last_is_repeated() -> None:
    called = Invocation("x.toml", sets=("limits.rate_per_s=5", "name=a", "limits.rate_per_s = 7"))
    assert called.command("run") == "bulk-patch run x.toml --set name=a --set 'limits.rate_per_s = 7'"


def test_an_undo_that_may_not_clear_what_was_absent_is_undone_again_once_the_job_says_so() -> None:
    details = {"undoes": "20261121-120000-0001", "may_clear": ["middle_name", "phone_number"]}
    undo = replace(SENT, kind="undo", summary=PlanSummary.from_json(details))
    called = Invocation("x.toml", sets=('input.may_clear=["middle_name"]',))
    following = next_command(undo, {State.INVALID: 1, State.KEPT: 1}, 0, prefix=called, failures=FAILURES)
    assert "input.may_clear" in following.before
    assert shlex.split(following.command) == [
        *("bulk-patch", "undo", "20261121-120000-0001"),
        *("--set", 'input.may_clear=["middle_name", "phone_number"]'),
    ]


@pytest.mark.parametrize("typed", ["jobs/small.toml", "{here}/jobs/small.toml"], ids=["relative", "whole"])
def test_paths_are_as_seen_from_here_unless_the_job_was_named_by_a_whole_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, typed: str
) -> None:
    monkeypatch.chdir(tmp_path)
    job, folder = typed.format(here=tmp_path), tmp_path / "output" / "small"
    failures = folder / RUN.id / "failures.csv"
    invalid, rejected = (
        CommandLines(Invocation(job), folder).next_command(SENT, {state: 1}, 0)
        for state in (State.INVALID, State.REJECTED)
    )
    if Path(job).is_absolute():  # a cron line's: its mail is read anywhere
        rest = f"--set input.path={failures} --output {tmp_path / 'output'}"
        assert invalid == NextCommand(f"bulk-patch run {job} {rest}", f"first: correct {failures}")
        assert rejected.command == f"bulk-patch retry {RUN.id} --output {tmp_path / 'output'}"
    else:
        near = failures.relative_to(tmp_path)
        assert invalid == NextCommand(f"bulk-patch run {job} --set input.path={near}", f"first: correct {near}")
        assert rejected.command == f"bulk-patch retry {RUN.id}"


@pytest.mark.parametrize(
    ("run", "counts", "to_do", "expected"),
    [
        pytest.param(RUN, PLANNED, 1000, "bulk-patch run jobs/moves.toml", id="planned"),
        pytest.param(replace(RUN, state="planning"), {}, 0, "bulk-patch run jobs/moves.toml", id="not sealed"),
        pytest.param(SENT, COUNTS, 95, "bulk-patch run jobs/moves.toml", id="rows left, others rejected"),
        pytest.param(
            replace(SENT, exit_code=Exit.INTERRUPTED), COUNTS, 95, "bulk-patch run jobs/moves.toml", id="interrupted"
        ),
        pytest.param(
            replace(SENT, stopped_by="canary", exit_code=Exit.STOPPED),
            COUNTS,
            95,
            NextCommand("bulk-patch run jobs/moves.toml --continue", f"first: look at {FAILURES}"),
            id="stopped by a guard",
        ),
        pytest.param(
            replace(SENT, exit_code=Exit.CREDENTIAL),
            COUNTS,
            95,
            NextCommand("bulk-patch run jobs/moves.toml", "first: fix the credential or permission"),
            id="credential",
        ),
        pytest.param(
            replace(SENT, exit_code=Exit.LEDGER),
            COUNTS,
            95,
            NextCommand("bulk-patch run jobs/moves.toml", "first: free disk space or fix the disk"),
            id="ledger",
        ),
        pytest.param(
            replace(RUN, exit_code=Exit.USAGE),
            PLANNED,
            1000,
            NextCommand(f"bulk-patch run jobs/moves.toml --set input.path={FAILURES}", f"first: correct {FAILURES}"),
            id="invalid rows are not to be skipped",
        ),
        pytest.param(
            SENT,
            {State.REJECTED: 1, State.INVALID: 1},
            0,
            NextCommand(f"bulk-patch retry {RUN.id}", f"first: fix the cause, see {FAILURES}"),
            id="rejected",
        ),
        pytest.param(
            SENT,
            {State.UNKNOWN: 1},
            0,
            NextCommand(f"bulk-patch retry {RUN.id}", f"first: fix the cause, see {FAILURES}"),
            id="unknown, final",
        ),
        *(
            pytest.param(
                SENT,
                {state: 1},
                0,
                NextCommand(
                    f"bulk-patch run jobs/moves.toml --set input.path={FAILURES}", f"first: correct {FAILURES}"
                ),
                id=state,
            )
            for state in (State.INVALID, State.DRIFTED)
        ),
        *(
            pytest.param(SENT, {state: 1}, 0, f"bulk-patch show {RUN.id} --status {state}", id=state)
            for state in (State.MISMATCH, State.KEPT)
        ),
        pytest.param(
            replace(RUN, stop_reason="not approved: nobody yet"),
            PLANNED,
            1000,
            NextCommand(
                f"bulk-patch approve {RUN.id}", f"waiting for approval by someone other than {RUN.actor.operator}"
            ),
            id="waits for approval",
        ),
        pytest.param(UNDO, {State.PENDING: 1}, 1, f"bulk-patch undo {SENT.id}", id="undo, approved"),
        pytest.param(replace(UNDO, state="planning"), {}, 0, f"bulk-patch undo {SENT.id}", id="undo, not sealed"),
        pytest.param(SENT, {State.APPLIED: 3, State.UNCHANGED: 1, State.DUPLICATE: 1}, 0, "", id="all done"),
        pytest.param(replace(SENT, state="closed"), {State.PENDING: 3}, 0, "", id="closed"),
        pytest.param(
            replace(SENT, state="closed"),
            {State.REJECTED: 3},
            3,
            f"bulk-patch retry {RUN.id}",
            id="closed, retry asked",
        ),
        pytest.param(
            replace(SENT, state="closed", stopped_by="integrity", exit_code=Exit.STOPPED),
            {State.UNKNOWN: 3},
            3,
            NextCommand(f"bulk-patch retry {RUN.id} --continue", f"first: look at {FAILURES}"),
            id="closed, retry stopped",
        ),
        pytest.param(
            replace(SENT, state="closed", stopped_by="failures", exit_code=Exit.STOPPED),
            {State.REJECTED: 3},
            0,
            NextCommand(f"bulk-patch retry {RUN.id}", f"first: fix the cause, see {FAILURES}"),
            id="closed, retry stopped by its last row",
        ),
        pytest.param(
            replace(SENT, kind="undo", stopped_by="failures", exit_code=Exit.STOPPED),
            {State.REJECTED: 3},
            0,
            NextCommand(f"bulk-patch retry {RUN.id}", f"first: fix the cause, see {FAILURES}"),
            id="undo stopped by its last row",
        ),
        pytest.param(
            replace(SENT, stopped_by="failures", exit_code=Exit.STOPPED),
            {State.REJECTED: 3},
            0,
            NextCommand("bulk-patch run jobs/moves.toml --continue", f"first: look at {FAILURES}"),
            id="stopped by its last row",
        ),
    ],
)
def test_the_next_command_follows_from_the_run(
    run: Run, counts: Counts, to_do: int, expected: NextCommand | str
) -> None:
    wanted = NextCommand(expected) if isinstance(expected, str) else expected
    assert next_command(run, counts, to_do, prefix=JOB, failures=FAILURES) == wanted


@pytest.mark.parametrize(
    ("code", "words", "expected"),
    [
        (Exit.INTERRUPTED, ["verify", "my job.toml"], "bulk-patch verify 'my job.toml'"),
        (
            Exit.LEDGER,
            ["run", "x.toml"],
            NextCommand("bulk-patch run x.toml", "first: free disk space or fix the disk"),
        ),
        (Exit.LEDGER, ["run", "x.toml", "--new"], ""),
        (Exit.CREDENTIAL, ["run", "x.toml", "--continue"], ""),
        (Exit.USAGE, ["run", "x.toml"], ""),
        (Exit.REFUSED, ["undo", "x.toml"], ""),
    ],
)
def test_after_a_failure_that_passes_the_same_words_go_on_unless_they_are_said_once(
    monkeypatch: pytest.MonkeyPatch, code: Exit, words: list[str], expected: NextCommand | str
) -> None:
    monkeypatch.setattr("sys.argv", ["bulk-patch", *words])
    assert same_words(code) == (NextCommand(expected) if isinstance(expected, str) else expected)


def test_a_command_says_which_secrets_and_settings_of_the_ledger_have_to_be_typed_again() -> None:
    called = Invocation(
        "x.toml",
        sets=("target.token=cmd:show it", "limits.rate_per_s=5", "target.ca_file=/here/ca.pem"),
        unshown=("target.proxy=http://evil.example:1", "target.ca_file=/elsewhere/ca.pem"),
    )
    assert called.command("run") == (
        "bulk-patch run x.toml --set limits.rate_per_s=5 --set target.ca_file=/here/ca.pem "
        "--set target.token=… --set target.proxy=… as before"
    )
    assert called.command("show", run="R") == "bulk-patch show R"
