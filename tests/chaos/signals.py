"""Tier `signals`: INT and TERM at random instants, twice, HUP, STOP and CONT, and two processes at once."""

import os
import random
import signal
import time

from tests.chaos.checker import examine
from tests.chaos.crew import Findings, Form, keep, make_folder, play_all
from tests.chaos.evidence import Evidence, load
from tests.chaos.kill import shepherd
from tests.chaos.kills import ENDS, KINDS, finish, next_command
from tests.chaos.mishaps import Background
from tests.chaos.scene import Settings, draw
from tests.chaos.sightings import sight
from tests.chaos.stage import Stage, perform

DRAIN_S = 30.0
SLACK_S = 3.0  # of a busy machine, and a report
BEGUN_S = 0.35  # by then a process has its handlers
LOCKED = 8
UNHANDLED = (1, -signal.SIGTERM)
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}
WAYS = ("int", "term", "int-int", "term-int", "hup", "stop", "two")


def run(form: Form) -> Findings:
    """Play each way many times."""
    trials = [f"signals/{way}/{n}" for way in WAYS for n in range(form.amount(short=3, long=30))]
    return play_all(form, "signals", trials, play)


def play(form: Form, trial: str) -> Findings:
    """Play one job: a process that gets signals, then as many as it takes to end it; check everything."""
    dice = random.Random(f"{form.seed}/{trial}")
    settings = Settings(
        baseline=dice.choice(["none", "live"]), rate_per_s=30.0, concurrency=dice.choice([1, 4]), latency_ms=5.0
    )
    scene = draw(dice, rows=30, settings=settings, kinds=KINDS)
    stage = Stage.set_up(make_folder(), scene, Background(trial, dice.choice([0.0, 0.2])), dice)
    way = trial.split("/")[1]
    code, found = _compete(stage, dice) if way == "two" else _signal(stage, way, dice)
    code = finish(stage, next_command(code), code)
    if code not in ENDS:
        found.append(f"[settled] the job ended with {code}")
    stage.close(settled=True)
    evidence = load(stage.folder)
    found += [str(each) for each in examine(stage.folder) if not _is_cut_off(evidence, str(each))]
    return Findings(1, keep(form, trial, stage.folder, [*stage.overdue, *found]), sight(evidence))


def _is_cut_off(evidence: Evidence, complaint: str) -> bool:
    """Tell whether a row is only unknown because a second signal cut it off, maybe before a byte had left."""
    copies = [span.copy for span in evidence.spans if span.copy is not None]
    rows = [row for copy in copies for run in copy.runs.values() for row in run.rows.values()]
    cut = {
        f"row {row['row']},"
        for row in rows
        if (row["reason"] or "").startswith(("cut off", "stopped before an answer that proves"))
    }
    return "no attempt ended in doubt" in complaint and any(row in complaint for row in cut)


def _signal(stage: Stage, way: str, dice: random.Random) -> tuple[int | None, list[str]]:
    """Send what the way says, and check the code and how long it took."""
    first_s = dice.uniform(BEGUN_S, 1.2)
    second_s = first_s + dice.uniform(0.0, 0.3)
    sent = {
        "int": [(first_s, signal.SIGINT)],
        "term": [(first_s, signal.SIGTERM)],
        "int-int": [(first_s, signal.SIGINT), (second_s, signal.SIGINT)],
        "term-int": [(first_s, signal.SIGTERM), (second_s, signal.SIGINT)],
        "hup": [(first_s, signal.SIGHUP), (second_s, signal.SIGHUP)],
        "stop": [(first_s, signal.SIGSTOP), (second_s + 0.3, signal.SIGCONT)],
    }[way]
    begun = time.monotonic()
    code = stage.play(signals=sent)
    lasted_s = time.monotonic() - begun
    if code in UNHANDLED and not list((stage.folder / "spans" / "00").glob("*.log")):
        stage.notebook.spans[0]["exit_code"] = None  # a busy machine: it had not begun yet, and died of the signal
        return None, []
    drained = {CODES[number] for _, number in sent if number in CODES}
    found = []
    if code not in {*ENDS, 4, 5, 6, *drained}:
        found.append(f"[exit] after {way} it ended with {code}")
    bound_s = sent[-1][0] + SLACK_S if len(drained) and len(sent) > 1 else sent[0][0] + DRAIN_S + SLACK_S
    if drained and lasted_s > bound_s:
        found.append(f"[drain] it ended {lasted_s - sent[0][0]:.1f} s after the first signal")
    return code, found


def _compete(stage: Stage, dice: random.Random) -> tuple[int | None, list[str]]:
    """Let a second process try the same job while the first is at work."""
    wait_s = dice.uniform(0.2, 0.7)
    said = stage.folder / "second.txt"
    pid = os.fork()
    if pid == 0:
        ended = 1
        try:
            time.sleep(wait_s)
            file = os.open(said, os.O_WRONLY | os.O_CREAT)
            os.dup2(file, 1)
            os.dup2(file, 2)
            ended = perform(stage.job, stage.folder / "output", "run", announcer=None)
        finally:
            os._exit(ended)
    code = stage.play()
    second = shepherd(pid, (), None, lambda: False).exit_code
    return code, [] if second == LOCKED else [f"[lock] the second process ended with {second}"]
