"""Trials side by side, in forked processes: most of a trial is waiting."""

import multiprocessing
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from tests.chaos.checker import examine
from tests.chaos.stage import Stage

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """How much a tier is asked to do.

    Attributes:
        long: The long form; else the short one, for CI.
        seed: What every draw of the tiers comes from.
        workers: Trials under way at once.
        kept: Folder that gets the evidence of trials with violations.
        only: Play this trial alone.
    """

    long: bool
    seed: int
    workers: int
    kept: Path
    only: str = ""

    def amount(self, *, short: int, long: int) -> int:
        """Return one of two amounts, by form."""
        return long if self.long else short


@dataclass(slots=True)
class Findings:
    """What trials came to."""

    trials: int = 0
    violations: list[str] = field(default_factory=list)
    sightings: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    remark: str = ""  # on all of a tier, behind its line of the table

    def add(self, other: "Findings") -> None:
        """Add what another trial came to."""
        self.trials += other.trials
        self.violations += other.violations
        self.sightings += other.sightings


def play_all(form: Form, tier: str, trials: Sequence[T], play: Callable[[Form, T], Findings]) -> Findings:
    """Play trials in forked processes, and add up what they come to.

    Args:
        form: How.
        tier: Its name, for messages.
        trials: What tells one trial from another; `str` of it names the trial.
        play: Plays one trial; a function of a module, since it is called in another process.
    """
    begun = time.monotonic()
    total = Findings()
    asked = [trial for trial in trials if form.only in ("", str(trial))]
    context = multiprocessing.get_context("fork")
    with ProcessPoolExecutor(min(form.workers, max(1, len(asked))), mp_context=context) as pool:
        playing = {pool.submit(play, form, trial): trial for trial in asked}
        for done in as_completed(playing):
            try:
                total.add(done.result())
            except Exception as error:  # a trial that breaks has shown nothing
                name = f"{tier} {playing[done]} --seed {form.seed}"
                total.add(Findings(1, [f"{name}: the trial itself broke: {type(error).__name__}: {error}"]))
    total.seconds = time.monotonic() - begun
    return total


def judge(form: Form, name: str, stage: Stage, more: Sequence[str] = ()) -> list[str]:
    """Check what a trial left; keep its folder when something is wrong, else remove it.

    Args:
        form: Says where evidence is kept.
        name: The trial's tier and name.
        stage: The trial, closed.
        more: What the tier itself found wrong.
    """
    return keep(form, name, stage.folder, [*map(str, examine(stage.folder)), *stage.overdue, *more])


def keep(form: Form, name: str, folder: Path, found: Sequence[str]) -> list[str]:
    """Keep the folder of a trial in which something was found wrong, else remove it; return what to print."""
    if not found:
        shutil.rmtree(folder)
        return []
    form.kept.mkdir(parents=True, exist_ok=True)
    kept = form.kept / "".join(letter if letter.isalnum() else "-" for letter in name)
    shutil.rmtree(kept, ignore_errors=True)
    shutil.move(folder, kept)
    return [f"{name} --seed {form.seed}: {each} ({kept})" for each in found]


def make_folder() -> Path:
    """Return a new folder for one trial."""
    return Path(tempfile.mkdtemp(prefix="chaos-"))
