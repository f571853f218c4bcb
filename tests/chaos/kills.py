"""Tier `kills`: SIGKILL at random instants, recovery included, over real sockets, with faults in the background."""

import random
from collections.abc import Callable
from typing import Any

from tests.chaos.crew import Findings, Form, judge, make_folder, play_all
from tests.chaos.evidence import load
from tests.chaos.mishaps import Background
from tests.chaos.scene import Scene, Settings, draw
from tests.chaos.sightings import sight
from tests.chaos.stage import Stage

MOST_KILLS = 6
TRIES = 8  # processes without faults until a job must have come to its end
ENDS = (0, 3, 9)  # 9: a kill came when all was done but the report, and nothing is sent twice
DAY_S = 24 * 3600.0
COFFEE_S = 400.0  # for old keys: what may be under way has to have ended
KINDS = ("name", "name", "address", "address", "both", "note", "ssn", "clear", "same", "invalid", "duplicate")


def run(form: Form) -> Findings:
    """Play until there were enough kills."""
    trials = [f"kills/{number}" for number in range(form.amount(short=24, long=470))]
    return play_all(form, "kills", trials, play)


def play(form: Form, trial: str) -> Findings:
    """Play one trial: kill, go on, kill again; then without faults to the end, and check everything."""
    dice = random.Random(f"{form.seed}/{trial}")
    scene = draw_scene(dice)
    mischief = Background(f"{form.seed}/{trial}", dice.choice([0.0, 0.2, 0.4, 0.8]))
    stage = Stage.set_up(make_folder(), scene, mischief, dice)
    meanwhile = dice.choice(_MEANWHILE)
    command, kills = "run", dice.randint(1, MOST_KILLS)
    code: int | None = None
    for _ in range(kills):
        code = play_and_kill(stage, command, dice)
        if code in ENDS:
            break
        command = next_command(code)
        meanwhile(stage, dice)
    code = finish(stage, command, code)
    if code == 3 and dice.random() < 0.5:
        code = finish(stage, "retry", None)
    stage.close(settled=True)
    evidence = load(stage.folder)
    sightings = sight(evidence)
    killed = sum(span.was_killed for span in evidence.spans)
    return Findings(killed, judge(form, trial, stage), sightings)


def play_and_kill(stage: Stage, command: str, dice: random.Random) -> int | None:
    """Start a process and kill it: anywhere, in the midst of its requests, or as it tells of one."""
    rows = len(stage.scene.rows)
    match dice.choices(("anywhere", "requests", "telling"), (2, 6, 2))[0]:
        case "anywhere":
            usual_s = 0.1 + rows / stage.scene.settings.rate_per_s
            return stage.play(command, kill_after_s=dice.uniform(0, 1.5 * usual_s), library=dice.random() < 0.3)
        case "requests":
            after, more_s = dice.randint(1, rows), dice.uniform(0, 0.006)
            return stage.play(command, kill_after_requests=after, kill_after_s=more_s, library=dice.random() < 0.3)
        case _:
            return stage.play(command, kill_at_announcement=dice.randint(1, 5))


def draw_scene(dice: random.Random) -> Scene:
    """Draw a small job with every kind of row, a baseline, a rate, and sometimes a canary or a drift check."""
    baseline = dice.choice(["none", "file", "live", "live"])
    settings = Settings(
        baseline=baseline,
        drift="check" if baseline != "none" and dice.random() < 0.3 else "auto",
        rate_per_s=dice.choice([60.0, 200.0, 400.0, 1000.0]),
        concurrency=dice.choice([1, 4, 8, 16]),
        canary=dice.choice([0, 0, 3]),
        latency_ms=dice.choice([0.0, 0.0, 6.0]),
        timeout_s=0.6,
        clears=dice.random() < 0.8,
    )
    rows = dice.randint(10, 20) if settings.rate_per_s < 100 else dice.randint(20, 40)
    return draw(dice, rows=rows, settings=settings, kinds=KINDS)


def next_command(code: int | None) -> str:
    """Return what a person would type after this exit code."""
    return "continue" if code == 5 else "run"


def finish(stage: Stage, command: str, code: int | None) -> int | None:
    """End the faults, and run until the job is at its end; return the last exit code."""
    stage.api.tell("over")
    for _ in range(TRIES):
        if code in ENDS and command != "retry":
            break
        if code == 4 and not stage.steady_clock:
            stage.move_clocks(COFFEE_S)
        code = play_on(stage, command)
        command = next_command(code)
    return code


def play_on(stage: Stage, command: str) -> int | None:
    """Play what is to be typed next; return the exit code."""
    code = stage.play(command)
    if command == "continue" and code == 9:  # the stop came before there was a run to go on with
        code = stage.play("run")
    return code


# --- what happens while no process is there


def _nothing(stage: Stage, dice: random.Random) -> None:
    """Let nothing happen."""


def _edit(stage: Stage, dice: random.Random) -> None:
    """Let someone change a customer: a planned field, another part of the address, or something else."""
    changes: list[dict[str, Any]] = [
        {"first_name": "Edited"},
        {"legal_address": {"address_line_1": "Edited 1", "city": "Edited", "country_code": "US"}},
        {"email": "edited@example.com"},
    ]
    for customer_id in dice.sample(stage.scene.ids, 3):
        stage.edit(customer_id, dice.choice(changes))


def _pass_days(stage: Stage, dice: random.Random) -> None:
    """Let the API forget its keys, or nearly."""
    stage.move_clocks(dice.choice([5.5, 6.5, 8.0]) * DAY_S)


def _turn_clock_back(stage: Stage, dice: random.Random) -> None:
    """Let the machine's clock be wrong by an hour."""
    stage.move_clocks(-3600.0, ours_only=True)


def _rotate_token(stage: Stage, dice: random.Random) -> None:
    """Let the token expire; the file has the new one."""
    stage.rotate_token()


_MEANWHILE: tuple[Callable[[Stage, random.Random], None], ...] = (
    *(_nothing,) * 5,
    _edit,
    _pass_days,
    _turn_clock_back,
    _rotate_token,
)
