"""Tier `commands`: SIGKILL of the real command line with `--sandbox`, whose API dies with it and comes back."""

import json
import random
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bulk_patch.sandbox import Sandbox
from tests.chaos.checker import examine
from tests.chaos.crew import Findings, Form, keep, make_folder, play_all
from tests.chaos.evidence import Notebook, load
from tests.chaos.kill import count_to, shepherd, take_what_is_left
from tests.chaos.kills import ENDS, KINDS, TRIES
from tests.chaos.scene import JOB, TOKEN, Scene, Settings, draw
from tests.chaos.sightings import sight

#: As the installed script does it, so that none has to be on the path.
COMMAND = "import sys; from bulk_patch.cli import main; sys.exit(main(prog_name='bulk-patch'))"
ROOT = Path(__file__).resolve().parents[2]
KILLS_A_TRIAL = 5
ROWS = 30


def run(form: Form) -> Findings:
    """Play until there were enough kills: at least 20 in the long form."""
    trials = [f"commands/{number}" for number in range(form.amount(short=1, long=5))]
    return play_all(form, "commands", trials, play)


def play(form: Form, trial: str) -> Findings:
    """Play one job: start it, kill it, several times; then let it end."""
    dice = random.Random(f"{form.seed}/{trial}")
    settings = Settings(baseline=dice.choice(["none", "file", "live"]), rate_per_s=40.0, timeout_s=10.0)
    scene = draw(dice, rows=ROWS, settings=settings, kinds=KINDS)
    act = _Act.set_up(make_folder(), scene)
    code: int | None = None
    for _ in range(form.amount(short=3, long=KILLS_A_TRIAL)):
        code = act.play(kill_after_requests=dice.randint(0, ROWS // KILLS_A_TRIAL), kill_after_s=dice.uniform(0, 0.03))
        if code is not None:
            break
    for _ in range(TRIES):
        if code in ENDS:
            break
        code = act.play()
    act.close()
    evidence = load(act.folder)
    killed, sightings = sum(span.was_killed for span in evidence.spans), sight(evidence)
    return Findings(killed, keep(form, trial, act.folder, [*map(str, examine(act.folder))]), sightings)


@dataclass(slots=True)
class _Act:
    folder: Path
    scene: Scene
    job: Path
    seeded: dict[str, Any]
    notebook: Notebook

    @classmethod
    def set_up(cls, folder: Path, scene: Scene) -> "_Act":
        (folder / "spans").mkdir(parents=True)
        world = folder / "output" / JOB / "sandbox"
        sandbox = Sandbox(scene.customers, state=world, log=world / "requests.jsonl")
        seeded = {one["id"]: sandbox.customer(one["id"]) for one in scene.customers}
        with sandbox:  # to let go of the folder
            pass
        return cls(folder, scene, scene.write(folder, "http://127.0.0.1:9/v0"), seeded, Notebook(folder))

    def play(self, *, kill_after_requests: int | None = None, kill_after_s: float | None = None) -> int | None:
        number = len(self.notebook.spans)
        left = self.folder / "spans" / f"{number:02}"
        left.mkdir()
        log = self.folder / "output" / JOB / "sandbox" / "requests.jsonl"
        is_due = count_to(log, kill_after_requests)
        started_at = time.time()
        words = ["run", str(self.job), "--sandbox", "--output", str(self.folder / "output")]
        with (left / "stdout").open("wb") as out, (left / "stderr").open("wb") as err:
            process = subprocess.Popen(
                [sys.executable, "-c", COMMAND, *words], cwd=ROOT, stdin=subprocess.DEVNULL, stdout=out, stderr=err
            )
        end = shepherd(process.pid, (), kill_after_s, is_due)
        span = {"command": "run", "pid": process.pid, "started_at": started_at, "ended_at": time.time()}
        self.notebook.spans.append({**span, "exit_code": end.exit_code, "clock_s": 0.0, "api_clock_s": 0.0})
        process.returncode = 0  # it was waited for
        take_what_is_left(self.folder / "output" / JOB, left, since=started_at)
        return end.exit_code

    def close(self) -> None:
        world = self.folder / "output" / JOB / "sandbox"
        shutil.copytree(world, self.folder / "world")
        told = {"token": TOKEN, "settled": True, "steady_clock": True, "slack_s": 0.5, "seeded": self.seeded}
        self.notebook.write({**self.scene.story(), **told})
        (self.folder / "world" / "seeded.json").write_text(json.dumps(self.seeded))
