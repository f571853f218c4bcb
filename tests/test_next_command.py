import shlex
from dataclasses import replace

import pytest

from bulk_patch.errors import Exit
from bulk_patch.ledgers import Run
from bulk_patch.model import Counts, State
from bulk_patch.screens import Invocation, next_command
from tests.screen_samples import COUNTS, FOLDER, PLANNED, RUN, SENT

FAILURES = FOLDER / "failures.csv"
JOB = Invocation("jobs/moves.toml")


def test_a_command_repeats_what_the_first_one_said_quoted_for_a_shell() -> None:
    called = Invocation("my jobs/x.toml", sandbox=True, output="/tmp/a b", sets=("limits.rate_per_s=5", "name=it's"))
    command = called.command("run", "--continue")
    assert shlex.split(command) == [
        *("bulk-patch", "run", "my jobs/x.toml", "--continue", "--sandbox"),
        *("--set", "limits.rate_per_s=5", "--set", "name=it's", "--output", "/tmp/a b"),
    ]


def test_a_command_that_only_reads_the_ledger_gets_no_flag_that_it_does_not_know() -> None:
    called = Invocation("x.toml", sandbox=True, output="out", sets=("limits.rate_per_s=5",))
    assert called.command("show", "--status", "mismatch", run="R") == "bulk-patch show R --status mismatch --output out"


def test_another_input_takes_the_place_of_the_one_that_was_set() -> None:
    called = Invocation("x.toml", sets=("input.path=old.csv", "limits.rate_per_s=5"))
    command = called.with_input("new.csv").command("run")
    assert command == "bulk-patch run x.toml --set limits.rate_per_s=5 --set input.path=new.csv"


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
            f"look at {FAILURES}, then: bulk-patch run jobs/moves.toml --continue",
            id="stopped by a guard",
        ),
        pytest.param(
            replace(SENT, exit_code=Exit.CREDENTIAL),
            COUNTS,
            95,
            "mend the credential or the permission, then: bulk-patch run jobs/moves.toml",
            id="credential",
        ),
        pytest.param(
            replace(SENT, exit_code=Exit.LEDGER),
            COUNTS,
            95,
            "make room or mend the disk, then: bulk-patch run jobs/moves.toml",
            id="ledger",
        ),
        pytest.param(
            replace(RUN, exit_code=Exit.USAGE),
            PLANNED,
            1000,
            f"correct {FAILURES}, then: bulk-patch run jobs/moves.toml --set input.path={FAILURES}",
            id="invalid rows are not to be skipped",
        ),
        pytest.param(
            SENT,
            {State.REJECTED: 1, State.INVALID: 1},
            0,
            f"mend the cause, see {FAILURES}, then: bulk-patch retry {RUN.id}",
            id="rejected",
        ),
        pytest.param(
            SENT,
            {State.UNKNOWN: 1},
            0,
            f"mend the cause, see {FAILURES}, then: bulk-patch retry {RUN.id}",
            id="unknown for good",
        ),
        *(
            pytest.param(
                SENT,
                {state: 1},
                0,
                f"correct {FAILURES}, then: bulk-patch run jobs/moves.toml --set input.path={FAILURES}",
                id=state,
            )
            for state in (State.INVALID, State.DRIFTED)
        ),
        *(
            pytest.param(SENT, {state: 1}, 0, f"bulk-patch show {RUN.id} --status {state}", id=state)
            for state in (State.MISMATCH, State.KEPT)
        ),
        pytest.param(SENT, {State.APPLIED: 3, State.UNCHANGED: 1, State.DUPLICATE: 1}, 0, "", id="all done"),
        pytest.param(replace(SENT, state="closed"), {State.PENDING: 3}, 0, "", id="closed"),
        pytest.param(
            replace(SENT, state="closed"),
            {State.REJECTED: 3},
            3,
            f"bulk-patch retry {RUN.id}",
            id="closed, retry asked",
        ),
    ],
)
def test_the_next_command_follows_from_the_run(run: Run, counts: Counts, to_do: int, expected: str) -> None:
    assert next_command(run, counts, to_do, prefix=JOB, failures=FAILURES) == expected
