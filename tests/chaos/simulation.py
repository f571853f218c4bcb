"""Tier `simulation`: whole jobs in virtual time, thousands of them, each from a seed; the same seed, the same story.

Each trial draws a job, weather, kills, ledger failures, signals, wrong clocks, days that pass, and other people's
edits; then the weather clears, and everything has to come to its end. What is left is judged by the checker, and what
only a simulation can see by the functions here: the rate by when the client sent, and how long a drain took.
"""

import random
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bulk_patch.errors import Exit
from tests.chaos.check_traffic import SAFE_KEY_AGE_S, is_doubtful
from tests.chaos.checker import CHECKS
from tests.chaos.crew import Findings, Form, play_all
from tests.chaos.evidence import Evidence
from tests.chaos.kills import COFFEE_S, KINDS, next_command
from tests.chaos.mishaps import MISHAPS
from tests.chaos.scene import NEW_TOKEN, Settings, draw
from tests.chaos.sightings import sight
from tests.chaos.simulated import Simulation
from tests.chaos.trouble import Trouble
from tests.chaos.weather import NEVER_LEFT, Climate

MOST_PROCESSES = 5  # that trouble happens to
TRIES = 10  # processes in clear weather until a job must have come to its end
TWICE_EVERY = 40  # so many seeds, one is played twice
DRAIN_S = 30.0
LATE_S = 0.010
DAY_S = 24 * 3600.0
GAPS_S = (0.001, 0.001, 0.001, 1.0, 5.0, 600.0, 5.5 * DAY_S, 6.5 * DAY_S, 8 * DAY_S)
CLOCKS_S = (-3600.0, 3600.0, -400 * DAY_S, 400 * DAY_S)
_MEMORY = Path("/dev/shm")


def run(form: Form) -> Findings:
    """Play all seeds."""
    trials = [f"simulation/{number}" for number in range(form.amount(short=250, long=10_000))]
    return play_all(form, "simulation", trials, play)


def play(form: Form, trial: str) -> Findings:
    """Play one seed, some of them twice; tell its story when something is wrong."""
    seed = f"{form.seed}/{trial}"
    found, trace, met = simulate(seed)
    if int(trial.partition("/")[2]) % TWICE_EVERY == 0 and simulate(seed)[1] != trace:
        found.append("the same seed made another trace")
    if found or form.only:
        form.kept.mkdir(parents=True, exist_ok=True)
        kept = form.kept / f"{trial.replace('/', '-')}.txt"
        kept.write_text("\n".join(simulate(seed, tells=True)[1].splitlines()))
        found = [f"{trial} --seed {form.seed}: {each} ({kept})" for each in found]
    return Findings(1, found, met)


def memory_folder() -> Path:
    """Return a new folder, in memory where there is such a file system: commits cost nothing there."""
    return Path(tempfile.mkdtemp(prefix="chaos-", dir=_MEMORY if _MEMORY.is_dir() else None))


def simulate(seed: str, *, tells: bool = False) -> tuple[list[str], str, Any]:
    """Play one seed; return what was wrong, the trace (its text, if it tells), and what was met."""
    sys.unraisablehook = lambda _: None  # what becomes of the coroutines of killed processes is of no interest
    dice = random.Random(seed)
    folder = memory_folder()
    try:
        story = _Story(seed, dice, folder / "world", tells=tells)
        found = story.play()
        universe = story.simulation.universe
        return found, "\n".join(universe.told) if tells else universe.trace, story.met
    finally:
        shutil.rmtree(folder)


@dataclass(slots=True)
class _Drain:
    """A process that got a signal while it was sending."""

    signals: tuple[tuple[float, Exit], ...]
    lasted_s: float


class _Story:
    """One job from the first process to the last."""

    def __init__(self, seed: str, dice: random.Random, folder: Path, *, tells: bool) -> None:
        self._dice = dice
        settings = draw_settings(dice)
        scene = draw(dice, rows=dice.randint(5, 16), settings=settings, kinds=KINDS)
        self._edits = dice.choice([0.0, 0.0, 0.3, 1.0])
        self._wrong_clock = dice.random() < 0.1
        self._new_token = dice.random() < 0.1
        self.met: Any = {}
        self.simulation = Simulation(
            seed,
            folder,
            scene=scene,
            climate=draw_climate(dice, scene.ids),
            shuffled=dice.random() < 0.8,
            tells=tells,
            rate_per_s=max(1, int(settings.rate_per_s * 0.6)) if dice.random() < 0.15 else None,
            concurrent_status=dice.choice([409, 422]),
        )

    def play(self) -> list[str]:
        """Play everything; return what was wrong."""
        simulation, dice = self.simulation, self._dice
        command, code, found = "run", None, []
        for _ in range(dice.randint(1, MOST_PROCESSES)):
            trouble = draw_trouble(dice)
            self._plan_events()
            begun = simulation.universe.now_s
            code = simulation.live(command, trouble)
            found += list(_check_drain(trouble, simulation.universe.now_s - begun, code))
            if code in (0, 3):
                break
            command = next_command(code)
            self._let_time_pass()
        self._clear_up()
        code = self._finish(command, code)
        if code == Exit.NEEDS_PERSON and dice.random() < 0.6:
            code = self._finish("retry", None)
        evidence = simulation.evidence(settled=True)
        self.met = sight(evidence)
        return [*found, *judge(simulation, evidence)]

    def _finish(self, command: str, code: int | None) -> int | None:
        for _ in range(TRIES):
            if code in (0, 3) and command != "retry":
                break
            self.simulation.universe.pass_time(COFFEE_S if code == Exit.INCOMPLETE else self._dice.choice([0.0, 1.0]))
            code = self.simulation.live(command)
            command = next_command(code)
        return code

    def _plan_events(self) -> None:
        """Let someone edit customers, or the token be replaced, while the next process lives."""
        simulation, dice = self.simulation, self._dice
        if dice.random() < self._edits:
            for _ in range(dice.randint(1, 3)):
                simulation.universe.after(dice.random() * 3, self._edit)
        if self._new_token and dice.random() < 0.5:
            self._new_token = False
            simulation.universe.after(dice.random() * 2, self._replace_token)

    def _edit(self) -> None:
        """Let someone change a customer: to something else, to what is planned, or back to what it was."""
        simulation, dice = self.simulation, self._dice
        row = dice.choice(simulation.scene.rows)
        was = simulation.seeded(row["customer_id"])
        back = {name: was.get(name) for name in ("first_name", "middle_name", "last_name", "legal_address")}
        changes: Mapping[str, Any] = dice.choice(
            [
                back,
                back,
                {"first_name": "Edited" if row.get("note") else row.get("first", "Edited")},  # a note is never seen
                {"first_name": "Edited"},
                {"legal_address": {"address_line_1": "Edited 1", "city": "Edited", "country_code": "US"}},
                {"email": "edited@example.com"},
            ]
        )
        simulation.edit(row["customer_id"], dict(changes))

    def _replace_token(self) -> None:
        """Let the token expire; the file may have the new one only when someone has looked."""
        self.simulation.api.token = NEW_TOKEN
        if self._dice.random() < 0.7:
            self.simulation.write_token(NEW_TOKEN)

    def _let_time_pass(self) -> None:
        """Let minutes or days pass between two processes, with edits, and maybe a clock that goes wrong."""
        simulation, dice = self.simulation, self._dice
        simulation.universe.pass_time(dice.choice(GAPS_S))
        if dice.random() < self._edits / 2:
            self._edit()
        simulation.write_token(simulation.api.token)
        if self._wrong_clock and dice.random() < 0.5:
            simulation.set_clock(dice.choice([0.0, *CLOCKS_S]))

    def _clear_up(self) -> None:
        """End the faults, and let everything arrive that is still under way."""
        simulation = self.simulation
        simulation.universe.settle()
        simulation.weather.is_clear = True
        simulation.write_token(simulation.api.token)


# --- what is drawn


def draw_settings(dice: random.Random) -> Settings:
    """Draw a job's limits, baseline and guards; delays are those of a real job."""
    baseline = dice.choice(["none", "file", "live", "live"])
    return Settings(
        baseline=baseline,
        drift="check" if baseline != "none" and dice.random() < 0.2 else "auto",
        rate_per_s=dice.choice([1.0, 5.0, 20.0, 100.0]),
        concurrency=dice.choice([1, 2, 4, 8]),
        canary=dice.choice([0, 0, 0, 2]),
        attempts=dice.choice([2, 8, 8]),
        timeout_s=75.0,
        longest_delay_s=60.0,
        give_up_after_s=1800.0,
        clears=dice.random() < 0.8,
    )


def draw_climate(dice: random.Random, customers: list[str]) -> Climate:
    """Draw the weather: fair, faults here and there, outages, customers that have bad luck each time."""
    names = [*MISHAPS, *map(str, NEVER_LEFT)]
    unlucky = dice.sample(sorted(set(customers)), dice.choice([0, 0, 0, 1, 2]))
    return Climate(
        share=dice.choice([0.0, 0.03, 0.1, 0.1, 0.3, 0.6]),
        outage_share=dice.choice([0.0, 0.0, 0.3]),
        cursed={customer_id: dice.choice(names) for customer_id in unlucky},
        latency_s=dice.choice([0.02, 0.1, 0.5, 3.0]),
    )


def draw_trouble(dice: random.Random) -> Trouble:
    """Draw what happens to a process: it is killed, its ledger fails, it gets signals, it may send so much only."""
    kind = dice.choices(["killed", "ledger", "signals", "limit", "nothing"], [9, 2, 3, 2, 4])[0]
    torn = dice.randbytes(dice.randint(1, 30_000)) if dice.random() < 0.3 else b""
    if kind == "killed":
        return Trouble(dies_at=int(2 ** (dice.random() * 10.5)), torn=torn)
    if kind == "ledger":
        return Trouble(ledger_fails_at=dice.randint(1, 40), written_though=dice.random() < 0.4)
    if kind == "signals":
        first_s, code = dice.random() * 3, dice.choice([Exit.INTERRUPTED, Exit.TERMINATED])
        second = [(first_s + dice.random() * 20, code)] if dice.random() < 0.4 else []
        return Trouble(signals=((first_s, code), *second))
    return Trouble(limit=dice.randint(1, 8)) if kind == "limit" else Trouble()


# --- what is judged


def judge(simulation: Simulation, evidence: Evidence) -> list[str]:
    """Return everything that must not be."""
    excused = list(_excuses(simulation, evidence))
    found = [str(violation) for one in CHECKS for violation in one(evidence)]
    found = [each for each in found if not any(all(word in each for word in words) for words in excused)]
    own = [*_check_retention(evidence), *_check_rate(simulation.sent_at, evidence.story.rate_per_s)]
    return [*found, *own, *simulation.problems]


def _excuses(simulation: Simulation, evidence: Evidence) -> Iterator[tuple[str, ...]]:
    """Yield words of complaints that the checker, which sees arrivals only, makes without reason here."""
    yield ("[retention]",)  # it does not ask whether anything may have been carried out under the key: see below
    for line in evidence.log:
        if line.status == 429 and line.fault is None:  # the API's own limiter came first
            yield f"[log] request {line.n}:", "no replay, and the API still had an answer"
    if simulation.api.crossed:  # a killed process's request came in the next one's time
        yield "[sessions]", "sent something outside of a session"
    for (_, row), lines in evidence.patches.items():
        if any((line.fault or "").startswith("late: after") for _, line in lines):
            yield "[settle]", f"row {row}:", "no one looked"  # the doubtful attempt is in the log after the read
        for _, line in lines:
            if (line.fault or "").startswith("late: "):  # sent, or delivered once, before the new key
                yield (f"[key law] row {row}: an old key came back in request {line.n}",)
        if lines[0][1].customer_id in simulation.api.crossed:
            yield "[answers]", f"row {row}:"
    copies = (span.copy for span in evidence.spans if span.copy is not None)
    for row, record in (row for copy in copies for run in copy.runs.values() for row in run.rows.items()):
        is_uncleared = record["read_back"] and not evidence.story.clears  # its 200 is no proof before the read-back
        # What told the client nothing may be in the log later than the process lived, or not at all.
        if is_uncleared or record["customer_id"] in simulation.unheard:
            yield "[unknown]", f"row {row},", "no attempt ended in doubt"
        if (record["reason"] or "").startswith("cut off"):  # maybe before a byte had left
            yield "[unknown]", f"row {row},", "no attempt ended in doubt"
            yield "[answers]", f"row {row}:", " attempts in process "


def _check_retention(evidence: Evidence) -> Iterator[str]:
    """No key is used more than six days after something may have been carried out under it."""
    for (_, row), lines in evidence.patches.items():
        doubt_at: dict[str | None, float] = {}
        for _, line in lines:
            if line.t - doubt_at.get(line.key, line.t) > SAFE_KEY_AGE_S:
                yield f"[retention] row {row}: request {line.n} used a key of more than six days"
            if line.executed or (is_doubtful(line) and not (line.fault or "").startswith("late")):
                doubt_at.setdefault(line.key, line.t)


def _check_rate(sent_at: list[float], rate_per_s: float | None) -> Iterator[str]:
    """No window holds more sends than rate × (length + 10 ms) + 1; every window begins and ends with a send."""
    if rate_per_s is None:
        return
    lowest = float("inf")
    for place, at_s in enumerate(sent_at):
        level = place - rate_per_s * at_s
        lowest = min(lowest, level)
        if level - lowest > rate_per_s * LATE_S + 1e-6:
            yield f"[rate] above {rate_per_s}/s in a window that ends at {at_s:.6f} s"
            return


def _check_drain(trouble: Trouble, lasted_s: float, code: int | None) -> Iterator[str]:
    """After a signal a process ends within the drain's bound; after a second one at once."""
    if not trouble.signals:
        return
    bound_s = trouble.signals[0][0] + DRAIN_S + 0.5
    if len(trouble.signals) > 1:
        bound_s = min(bound_s, trouble.signals[1][0] + 0.5)
    if lasted_s > bound_s:
        yield f"[drain] a process with signals at {trouble.signals} ended after {lasted_s:.3f} s, with {code}"
