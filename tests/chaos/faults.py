"""Tier `faults`: every mishap at the first, a middle and the last row, once, three times and for ever, alone and not.

What the row, the other rows, the exit code and the requests have to be stands in `predictions`; then the faults end,
the job is run to its end, and all of it goes through the checker.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from tests.chaos.crew import Findings, Form, judge, make_folder, play_all
from tests.chaos.evidence import Evidence, Run, load
from tests.chaos.kills import finish, next_command
from tests.chaos.mishaps import MISHAPS, Targeted
from tests.chaos.predictions import COUNTS, FOR_EVER, ONCE, PREDICTIONS, THRICE, Predicted
from tests.chaos.scene import Settings, draw
from tests.chaos.sightings import sight
from tests.chaos.stage import Stage

ROWS = 8
POSITIONS = {"first": 0, "middle": ROWS // 2, "last": ROWS - 1}
CONCURRENCIES = (1, 8)
KINDS = ("name", "address", "both")
_SLOW = ("foreign", "throttled", "no answer: never", "no answer: dripping")  # they wait in seconds, whatever is set


@dataclass(frozen=True, slots=True)
class Trial:
    """One cell of the table, at one place."""

    mishap: str
    count: str
    position: str
    concurrency: int

    @classmethod
    def named(cls, name: str) -> "Trial":
        """Return the trial of a name."""
        _, mishap, count, position, concurrency = name.split("/")
        return cls(mishap, count, position, int(concurrency))

    def __str__(self) -> str:
        return f"faults/{self.mishap}/{self.count}/{self.position}/{self.concurrency}"


def run(form: Form) -> Findings:
    """Play all combinations, or a sample in which each mishap occurs twice."""
    return play_all(form, "faults", list(trials(form)), play)


#: Mishap -> how long its answer asks to wait, seconds, where that is more than a process waits.
ASKS_FOR_LONG = {"throttled: 429 for an hour": 3600.0}


def trials(form: Form) -> Sequence[Trial]:
    """Return all trials of the long form, or those of the short one."""
    everything = [
        Trial(mishap, count, position, concurrency)
        for mishap in MISHAPS
        for count in COUNTS
        for position in POSITIONS
        for concurrency in CONCURRENCIES
    ]
    if form.long or form.only:
        return everything
    dice = random.Random(f"{form.seed}/faults")
    sample = []
    for mishap in MISHAPS:
        counts = [ONCE] if mishap.startswith(_SLOW) else [ONCE, dice.choice([THRICE, FOR_EVER])]
        sample += [Trial(mishap, count, dice.choice(list(POSITIONS)), dice.choice(CONCURRENCIES)) for count in counts]
    return sample


def play(form: Form, trial: Trial) -> Findings:
    """Play one trial."""
    dice = random.Random(f"{form.seed}/{trial}")
    settings = Settings(
        rate_per_s=500.0,
        concurrency=trial.concurrency,
        timeout_s=0.3,
        give_up_after_s=1.0 if trial.mishap.startswith("throttled") and trial.count == FOR_EVER else 20.0,
    )
    scene = draw(dice, rows=ROWS, settings=settings, kinds=KINDS)
    customer_id = scene.ids[POSITIONS[trial.position]]
    mischief = Targeted(MISHAPS[trial.mishap], customer_id, times=COUNTS[trial.count], method="PATCH")
    stage = Stage.set_up(make_folder(), scene, mischief, dice)
    predicted = PREDICTIONS[trial.mishap][trial.count]
    first = stage.play(library=dice.random() < 0.3)
    if trial.mishap in ASKS_FOR_LONG:  # a wait that was asked for holds for the next process too
        stage.move_clocks(ASKS_FOR_LONG[trial.mishap])
    ends = [finish(stage, next_command(first), first)]
    if predicted.state == "rejected":
        ends.append(finish(stage, "retry", None))
    stage.close(settled=True)
    evidence = load(stage.folder)
    wrong = [*compare(evidence, POSITIONS[trial.position] + 1, predicted), *compare_ends(predicted, ends)]
    return Findings(1, judge(form, str(trial), stage, wrong), sight(evidence))


def compare(evidence: Evidence, row: int, predicted: Predicted) -> list[str]:
    """Say where the first process, the one with the fault, did not do what was predicted."""
    span, last = evidence.spans[0], evidence.spans[1].started_at if len(evidence.spans) > 1 else float("inf")
    if span.copy is None or not span.copy.runs:
        return [f"the plan was not made, exit code {span.exit_code}"]
    planned: Run = next(iter(span.copy.runs.values()))
    lines = [line for _, line in evidence.patches.get((planned.id, row), ()) if line.t < last]
    record = planned.rows[row]
    reads = [line for line in evidence.log if line.method == "GET" and line.customer_id == record["customer_id"]]
    found = Predicted(
        record["state"],
        -1 if span.exit_code is None else span.exit_code,
        None if predicted.patches is None else len(lines),
        len({line.key for line in lines}),
        any(line.t < last for line in reads),
    )
    wrong = [f"predicted {predicted}, found {found}"] if found != predicted else []
    others = {other["state"] for number, other in planned.rows.items() if number != row}
    allowed = {"applied", "pending"} if predicted.stops else {"applied"}
    return wrong if others <= allowed else [*wrong, f"the other rows are {others}"]


def compare_ends(predicted: Predicted, ends: Sequence[int | None]) -> list[str]:
    """Say where the job, without faults, did not come to the end it should: all applied, after a retry at last."""
    expected = {"rejected": [3, 0], "mismatch": [3]}.get(predicted.state, [0])
    return [] if list(ends) == expected else [f"the job ended with {ends}, not {expected}"]
