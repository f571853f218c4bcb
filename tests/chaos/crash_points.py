"""Tier `crash-points`: one small run, ended at its first step, its second, its third … until it completes.

A step is a callback of the event loop (every `await` that has to wait makes one), an event at the API, and the begin
and the end of every ledger call. Then once more with a ledger call that fails, before or after it was carried out; in
the long form also with a second kill while the first is being recovered from, and with a week before anybody goes on.
"""

import random
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from bulk_patch.errors import Exit
from tests.chaos.crew import Findings, Form, play_all
from tests.chaos.evidence import Evidence
from tests.chaos.kills import DAY_S, next_command
from tests.chaos.scene import Scene, Settings, draw
from tests.chaos.sightings import sight
from tests.chaos.simulated import Simulation
from tests.chaos.simulation import judge, memory_folder
from tests.chaos.trouble import Trouble
from tests.chaos.weather import LATE, Climate

TRIES = 8
#: One fault of each sort: executed or not, answered or not, refused, cached, throttled, late.
LUCK = (
    "failing: 500 own after",
    "no answer: reset",
    "refused: 422 own kept",
    "unauthenticated: 401 own kept",
    "throttled: 429 seconds pause=1",
    "unconfirmed: 202 after",
    LATE,
    "processing: 422 own",
)
_USUAL = Settings(rate_per_s=20.0, timeout_s=75.0, longest_delay_s=2.0, give_up_after_s=1800.0)
JOBS: Mapping[str, Settings] = {
    "plain": replace(_USUAL, baseline="none", concurrency=2),
    "checked": replace(_USUAL, baseline="live", drift="check", concurrency=2),
    "canary": replace(_USUAL, baseline="file", canary=2, concurrency=3, rate_per_s=50.0),
}
KINDS = ("name", "address", "both", "clear")  # each customer once
EDITED = "checked"  # the job in which someone changes a customer after the plan: its drift check has to notice
_RECOVERY_STEPS = 60
_TOO_OLD_S = 6.5 * DAY_S  # for a key


def run(form: Form) -> Findings:
    """Play all points of all jobs; the short form every second of one job, and a sample of the others."""
    return play_all(form, "crash-points", list(_trials(form)), play)


def _trials(form: Form) -> Iterator[str]:
    for number, job in enumerate(JOBS):
        steps, calls = _size(form.seed, job)
        stride = 1 if form.long else 2 if number == form.seed % len(JOBS) else 20
        yield from (f"crash-points/{job}/kill/{n}" for n in range(1, steps + 1, stride))
        stride = max(stride, form.amount(short=5, long=1))
        for way in ("before", "after"):
            yield from (f"crash-points/{job}/ledger-{way}/{n}" for n in range(1, calls + 1, stride))
        if form.long:
            yield from (f"crash-points/{job}/twice/{n}" for n in range(1, steps + 1))
            yield from (f"crash-points/{job}/later/{n}" for n in range(1, steps + 1, 3))


def play(form: Form, trial: str) -> Findings:
    """Break a run at one point, let it go on, and check everything."""
    sys.unraisablehook = lambda _: None  # coroutines of killed processes
    _, job, kind, number = trial.split("/")
    n, folder = int(number), memory_folder()
    try:
        simulation = _simulate(form.seed, job, folder)
        trouble = {
            "kill": Trouble(dies_at=n),
            "twice": Trouble(dies_at=n),
            "later": Trouble(dies_at=n),
            "ledger-before": Trouble(ledger_fails_at=n),
            "ledger-after": Trouble(ledger_fails_at=n, written_though=True),
        }[kind]
        found = []
        code = simulation.live("run", trouble)
        if kind.startswith("ledger") and code != Exit.LEDGER:
            found.append(f"[exit] its ledger failed, and it ended with {code}")
        if kind == "twice":
            simulation.universe.pass_time(1.0)
            code = simulation.live(next_command(code), Trouble(dies_at=1 + n * 7 % _RECOVERY_STEPS))
        if kind == "later":
            simulation.universe.pass_time(_TOO_OLD_S)
        for _ in range(TRIES):
            if code in (Exit.OK, Exit.NEEDS_PERSON):
                break
            simulation.universe.pass_time(1.0)
            code = simulation.live(next_command(code))
        simulation.universe.settle()
        evidence = simulation.evidence(settled=True)
        found += judge(simulation, evidence)
        if job == EDITED and (state := _state_of_last(evidence)) != "drifted":
            found.append(f"[drift] a customer was changed after the plan, and its row is {state}")
        return Findings(1, [f"{trial} --seed {form.seed}: {each}" for each in found], sight(evidence))
    finally:
        shutil.rmtree(folder)


@lru_cache
def _size(seed: int, job: str) -> tuple[int, int]:
    """Return how many steps and ledger calls the run takes when nothing breaks it."""
    folder = memory_folder()
    try:
        simulation = _simulate(seed, job, folder)
        simulation.live("run")
        assert simulation.fragile is not None  # it lived
        return simulation.universe.steps, simulation.fragile.calls
    finally:
        shutil.rmtree(folder)


def _simulate(seed: int, job: str, folder: Path) -> Simulation:
    scene = _scene(seed, job)
    luck = dict(zip(scene.ids, LUCK, strict=False))
    climate = Climate(share=0.0, unlucky=luck, latency_s=0.1)
    simulation = Simulation(f"{seed}/{job}", folder / "world", scene=scene, climate=climate, shuffled=False)
    if job == EDITED:
        simulation.universe.pass_time(0.001)
        simulation.edit(scene.ids[-1], {"first_name": "Edited", "last_name": "Edited", "legal_address": None})
    return simulation


def _scene(seed: int, job: str) -> Scene:
    """Draw a job with one row for each fault, and a last one without."""
    dice = random.Random(f"{seed}/{job}")
    return draw(dice, rows=len(LUCK) + 1, settings=JOBS[job], kinds=KINDS)


def _state_of_last(evidence: Evidence) -> str:
    """Return where the last row stands at the end."""
    assert evidence.last is not None  # the plan is there before any process
    (run,) = evidence.last.runs.values()
    return str(run.rows[max(run.rows)]["state"])
