"""Tier `restarts`: a process that is killed 200 ms after its first send, over and over, never sends above the rate.

The times are those of the client: each process writes down when the head of a request leaves it, on the one monotonic
clock of the machine, so that a window may hold sends of many processes. What else must hold is the business of `kills`:
to compare a hundred ledgers of so many rows would take minutes.
"""

import os
import random
import sqlite3
import struct
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from bulk_patch.client.connections import Connections
from tests.chaos.crew import Findings, Form, keep, make_folder, play_all
from tests.chaos.kills import finish
from tests.chaos.scene import Settings, draw
from tests.chaos.stage import Mischief, Stage
from tests.support.limiters import count_beyond_rate

RATE_PER_S = 100.0
LIFE_S = 0.2  # from the first send on
ROWS_A_LIFE = 22
_TIME = struct.Struct("d")


def run(form: Form) -> Findings:
    """Play rows of kills, 105 in each of the long form."""
    trials = [f"restarts/{number}" for number in range(form.amount(short=1, long=2))]
    return play_all(form, "restarts", trials, play)


def play(form: Form, trial: str) -> Findings:
    """Kill process after process of one run, let the last one end, and check what was sent when."""
    dice = random.Random(f"{form.seed}/{trial}")
    kills = form.amount(short=8, long=105)
    settings = Settings(baseline="none", rate_per_s=RATE_PER_S, concurrency=8, latency_ms=1.0)
    scene = draw(dice, rows=kills * ROWS_A_LIFE + 30, settings=settings, kinds=["name"])
    stage = Stage.set_up(make_folder(), scene, Mischief(), dice)
    found: list[str] = []
    with _noting_sends(stage.folder / "sent") as sent:
        for number in range(kills):
            if stage.play("run", kill_after_requests=1, kill_after_s=LIFE_S) is not None:
                found.append(f"process {number} ended before it was killed")
        code = finish(stage, "run", None)
        times = [at for (at,) in _TIME.iter_unpack(sent.read_bytes())]
    if (beyond := count_beyond_rate(times, RATE_PER_S)) > 0:
        found.append(f"[rate] a window holds {beyond:.2f} sends more than {RATE_PER_S:g}/s allows")
    if len(times) < kills:
        found.append(f"{len(times)} sends were noted in {kills} lives")
    stage.close(settled=True)
    with closing(sqlite3.connect(stage.folder / "world" / "state.db")) as world:
        executions = Counter(count for (count,) in world.execute("SELECT executions FROM customers"))
    if code != 0 or set(executions) != {1}:
        found.append(f"it ended with {code}, and customers were changed so often: {dict(executions)}")
    return Findings(kills, keep(form, trial, stage.folder, [*stage.overdue, *found]))


@contextmanager
def _noting_sends(file: Path) -> Iterator[Path]:
    """Let the processes that are forked meanwhile write down when each head leaves."""
    handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    head = Connections._head

    def noting(self: Connections, *request: Any) -> bytes:
        os.write(handle, _TIME.pack(time.monotonic()))  # it is written to its socket in the same breath
        return head(self, *request)

    Connections._head = noting  # type: ignore[method-assign,assignment]  # for the children of this process
    try:
        yield file
    finally:
        Connections._head = head  # type: ignore[method-assign]
        os.close(handle)
