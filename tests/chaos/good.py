"""Play one trial that shows much and in which nothing is wrong: ``python -m tests.chaos.good FOLDER``.

A refused row that is retried, a refusal in doubt, a cached 401, a 500 after the effect, a kill in the midst of it all:
the tests of the checker tamper with what this leaves behind.
"""

import random
import sys
from pathlib import Path

from tests.chaos.kills import finish, next_command
from tests.chaos.mishaps import MISHAPS, Several, Targeted
from tests.chaos.scene import Settings, draw
from tests.chaos.stage import Stage, preload

KINDS = ("name", "address", "both", "clear", "same", "duplicate", "invalid")
MET = ("refused: 422 own kept", "unauthenticated: 401 own kept", "failing: 500 own after", "unconfirmed: 202 after")
ROWS = 16


def play(folder: Path, seed: str = "good") -> None:
    """Play it in a folder: a process that is killed, one that goes on, and a retry."""
    dice = random.Random(seed)
    scene = draw(dice, rows=ROWS, settings=Settings(rate_per_s=200.0, concurrency=4), kinds=KINDS)
    customers = [scene.ids[row - 1] for row, state in scene.planned.items() if state == "pending"]
    mischief = Several(
        [Targeted(MISHAPS[name], one, times=1, method="PATCH") for name, one in zip(MET, customers[3:], strict=False)]
    )
    stage = Stage.set_up(folder, scene, mischief, dice)
    stage.play(kill_after_requests=4, kill_after_s=0.002, library=True)
    code = stage.play()
    finish(stage, next_command(code), code)
    finish(stage, "retry", None)
    stage.close(settled=True)


if __name__ == "__main__":
    preload()
    play(Path(sys.argv[1]))
