"""Tier `pairs`: two faults in one small job, at any two requests; most real failures need no more than two or three."""

import random

from tests.chaos.crew import Findings, Form, judge, make_folder, play_all
from tests.chaos.evidence import load
from tests.chaos.kills import KINDS, finish, next_command, play_on
from tests.chaos.mishaps import MISHAPS, Several, Targeted
from tests.chaos.scene import Scene, Settings, draw
from tests.chaos.sightings import sight
from tests.chaos.stage import Stage

ROWS = 8
_LIES = ("differs",)  # a read that shows what is not so: no one could tell


def run(form: Form) -> Findings:
    """Play random pairs."""
    trials = [f"pairs/{number}" for number in range(form.amount(short=24, long=300))]
    return play_all(form, "pairs", trials, play)


def play(form: Form, trial: str) -> Findings:
    """Play one pair, then without faults to the end."""
    dice = random.Random(f"{form.seed}/{trial}")
    scene = draw_scene(dice)
    # Two that hit the same row tell more than two that do not.
    first = dice.choice(scene.ids)
    second = first if dice.random() < 0.6 else dice.choice(scene.ids)
    stage = Stage.set_up(make_folder(), scene, Several([draw_one(dice, first), draw_one(dice, second)]), dice)
    code = stage.play(library=dice.random() < 0.3)
    command = next_command(code)
    if code not in (0, 3) and dice.random() < 0.5:
        code = play_on(stage, command)
        command = next_command(code)
    code = finish(stage, command, code)
    if code == 3 and dice.random() < 0.3:
        finish(stage, "retry", None)
    stage.close(settled=True)
    sightings = sight(load(stage.folder))
    return Findings(1, judge(form, trial, stage), sightings)


def draw_scene(dice: random.Random) -> Scene:
    """Draw a small job."""
    settings = Settings(
        baseline=dice.choice(["none", "file", "live"]),
        rate_per_s=500.0,
        concurrency=dice.choice([1, 2, 8]),
        canary=dice.choice([0, 0, 2]),
        timeout_s=0.3,
        give_up_after_s=2.0,
    )
    return draw(dice, rows=ROWS, settings=settings, kinds=KINDS)


def draw_one(dice: random.Random, customer_id: str) -> Targeted:
    """Draw a mishap and when it happens: at a PATCH, a read of this customer, or a read of many."""
    method, customer = dice.choice([("PATCH", customer_id)] * 4 + [("GET", customer_id)] * 2 + [("GET", None)])
    names = [name for name in MISHAPS if method == "PATCH" or not name.startswith(_LIES)]
    names = [
        name for name in names if "for an hour" not in name
    ]  # that is kept for the next process: on a clock of our own
    mishap = MISHAPS[dice.choice(names)]
    return Targeted(mishap, customer, skip=dice.choice([0, 0, 1, 2]), times=dice.choice([1, 1, 2, 3]), method=method)
