"""Tier `mutants`: bugs planted in the product, each of which a named tier has to catch.

A mutant lives in a process of its own, which plants the bug and plays the tier's trials until the first violation. Then
another process plays the trial that caught it without the bug, and there must be no violation.
"""

import multiprocessing
import random
import re
import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from typing import TypeVar

from tests.chaos import connections, crash_points, faults, golden, inputs, planted, planted_books, signals, simulation
from tests.chaos.crew import Findings, Form, make_folder, play_all
from tests.chaos.mutant import Mutant

T = TypeVar("T")

MUTANTS: Mapping[str, Mutant] = {**planted.planted.mutants, **planted_books.planted.mutants}
SHORT = 5
#: How the checker names a process of the product that ended by a bug of its own.
CRASHED = re.compile(r"ended with 1\b")
#: Of the trials' draws: it is the mutant that differs, not the trial.
SEED = 20261122
#: Tier -> how one of its trials is played.
TIERS: Mapping[str, Callable[[Form, str], Findings]] = {
    "golden": golden.play,
    "crash-points": crash_points.play,
    "connections": connections.play,
    "faults": lambda form, name: faults.play(form, faults.Trial.named(name)),
    "input": inputs.play,
    "simulation": simulation.play,
    "signals": signals.play,
}


def run(form: Form) -> Findings:
    """Let all mutants loose, or a few."""
    names = list(MUTANTS)
    if not (form.long or form.only):
        names = random.Random(f"{form.seed}/mutants").sample(names, SHORT)
    found = play_all(form, "mutants", names, play)
    found.remark = f"{found.trials - len(found.violations)} of {found.trials} caught"
    return found


def play(form: Form, name: str) -> Findings:
    """Let one mutant loose; it survives when no trial of its has a violation."""
    mutant, folder = MUTANTS[name], make_folder()
    quiet = replace(form, seed=SEED, kept=folder, workers=1, only="")
    try:
        caught_by = _in_a_process(_hunt, quiet, name)
        if caught_by is None:
            tiers = sorted({trial.partition("/")[0] for trial in mutant.trials})
            return Findings(1, [f"mutant survived: {name}; {', '.join(tiers)} did not catch it"])
        innocent = _in_a_process(_control, quiet, caught_by)
        return Findings(1, [f"mutant {name}: {caught_by} accuses the product too: {each}" for each in innocent[:1]])
    finally:
        shutil.rmtree(folder)


def _hunt(form: Form, name: str) -> str | None:
    """Plant a bug, for the rest of this process, and return the trial that has a violation, if one has.

    A trial in which a process crashed caught nothing: whatever is planted so that it cannot run is noticed.
    """
    mutant = MUTANTS[name]
    mutant.plant()
    for trial in mutant.trials:
        violations = _play_trial(form, trial).violations
        if violations and not any(map(CRASHED.search, violations)):
            return trial
    return None


def _control(form: Form, trial: str) -> list[str]:
    """Return the violations of a trial without a bug."""
    return _play_trial(form, trial).violations


def _play_trial(form: Form, trial: str) -> Findings:
    return TIERS[trial.partition("/")[0]](form, trial)


def _in_a_process(work: Callable[[Form, str], T], form: Form, what: str) -> T:
    """Do something in a process that is forked for it and ends with it."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")) as alone:
        return alone.submit(work, form, what).result()
