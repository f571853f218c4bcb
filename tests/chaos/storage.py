"""Tier `storage`: a disk that is full, a folder that may only be read, a ledger that is damaged; real processes.

The disk is full at every 4 KiB (RLIMIT_FSIZE: a write beyond it fails as on a full disk) until the run fits. A process
that cannot write its ledger ends with 7 and has sent nothing whose intent is not on record; once the disk is fixed the
next one brings the job to its end. A damaged ledger is refused, or what is sent from it is still the plan, once.
"""

import ctypes
import json
import os
import random
import resource
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from tests.chaos.crew import Findings, Form, judge, keep, make_folder, play_all
from tests.chaos.evidence import Copy, Line, load, read_ledger
from tests.chaos.kills import ENDS, finish
from tests.chaos.scene import Scene, Settings, draw
from tests.chaos.sightings import sight
from tests.chaos.stage import Mischief, Stage

STEP_BYTES = 4096
MOST_STEPS = 150  # 600 KiB: a run of this size fits
ROWS = 12
LEDGER = 7
KINDS = ("name", "address", "both", "clear", "invalid")
_NO_LIMIT = resource.RLIM_INFINITY
_CAPABILITIES = 0x20080522  # the version of the structures below
_OVERRIDES = 0b110  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH: root may write and read everything


def run(form: Form) -> Findings:
    """Play all sizes and places; the short form a sample of them."""
    return play_all(form, "storage", list(_trials(form)), play)


def _trials(form: Form) -> Iterator[str]:
    stride = 1 if form.long else 15
    yield from (f"storage/full/{n}" for n in range(form.seed % stride, MOST_STEPS, stride))
    yield from (f"storage/read-only/{n}" for n in range(4))
    yield from (f"storage/truncated/{n}" for n in range(form.amount(short=6, long=80)))
    yield from (f"storage/flipped/{n}" for n in range(form.amount(short=6, long=80)))


def play(form: Form, trial: str) -> Findings:
    """Play one trial: something is wrong with the disk, then it is fixed."""
    dice = random.Random(f"{form.seed}/{trial}")
    _, kind, number = trial.split("/")
    stage = Stage.set_up(make_folder(), _scene(dice), Mischief(), dice)
    return {"full": _fill, "read-only": _lock, "truncated": _damage, "flipped": _damage}[kind](
        form, trial, stage, int(number)
    )


def _scene(dice: random.Random) -> Scene:
    baseline = dice.choice(["none", "file", "live"])
    return draw(dice, rows=ROWS, settings=Settings(baseline=baseline, rate_per_s=200.0, concurrency=4), kinds=KINDS)


# --- what the next process forked has to live with


_burdens: list[Callable[[], None]] = []


@contextmanager
def _burdened(burden: Callable[[], None]) -> Iterator[None]:
    """Let processes that are forked meanwhile begin with this."""
    _burdens.append(burden)
    try:
        yield
    finally:
        _burdens.remove(burden)


def _take_up() -> None:
    for burden in _burdens:
        burden()


os.register_at_fork(after_in_child=_take_up)


def _limit_files(size: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, _NO_LIMIT))


def _obey_permissions() -> None:
    """Make root obey permissions like anybody else."""
    if os.geteuid():
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(_CAPABILITIES, 0)
    sets = (ctypes.c_uint32 * 6)()
    if libc.capget(header, sets):
        raise OSError(ctypes.get_errno(), "capget")
    sets[0] &= ~_OVERRIDES  # of the effective ones
    if libc.capset(header, sets):
        raise OSError(ctypes.get_errno(), "capset")


# --- full, read-only


def _fill(form: Form, trial: str, stage: Stage, step: int) -> Findings:
    """Let no file grow beyond so many steps of 4 KiB."""
    with _burdened(_limit_files(step * STEP_BYTES)):
        code = stage.play()
    return _fix(form, trial, stage, code, must_fail=False)


def _lock(form: Form, trial: str, stage: Stage, number: int) -> Findings:
    """Take away the right to write, before the first process or after one that was killed."""
    stage.output.mkdir(parents=True)
    if number % 2:
        stage.play(kill_after_requests=number, kill_after_s=0.01)
    modes = {path: path.stat().st_mode for path in (stage.output, *stage.output.glob("ledger.db*"))}
    for path in modes:
        path.chmod(0o555 if path.is_dir() else 0o444)
    with _burdened(_obey_permissions):
        code = stage.play()
    for path, mode in modes.items():
        path.chmod(mode)
    return _fix(form, trial, stage, code, must_fail=True)


def _fix(form: Form, trial: str, stage: Stage, code: int | None, *, must_fail: bool) -> Findings:
    """Fix the disk, bring the job to its end, and check everything."""
    found = []
    if code != LEDGER and (must_fail or code not in ENDS):
        found.append(f"[exit] the disk failed, and the process ended with {code}")
    for span in stage.notebook.spans:  # what a failed disk leaves is what a kill leaves
        span["exit_code"] = None if span["exit_code"] == LEDGER else span["exit_code"]
    code = finish(stage, "run", None if code == LEDGER else code)
    if code not in ENDS:
        found.append(f"[settled] the disk was fixed, and the job ended with {code}")
    stage.close(settled=True)
    sightings = sight(load(stage.folder))
    return Findings(1, judge(form, trial, stage, found), sightings)


# --- damaged


def _damage(form: Form, trial: str, stage: Stage, number: int) -> Findings:
    """Damage the ledger of a killed process; let another one meet it; then restore it."""
    stage.play(kill_after_requests=stage.dice.randint(1, ROWS), kill_after_s=0.005)
    whole = {path: path.read_bytes() for path in sorted(stage.output.glob("ledger.*")) if path.suffix != ".lock"}
    damaged = [path for path, content in whole.items() if content and not path.name.endswith(("-shm", ".head"))]
    path = stage.dice.choice(damaged)
    content = bytearray(whole[path])
    if "flipped" in trial:
        place = stage.dice.randrange(len(content))
        content[place] ^= 1 << stage.dice.randrange(8)
    else:
        place = stage.dice.randrange(len(content))
        del content[place:]
    path.write_bytes(content)
    before = read_ledger(stage.folder / "spans" / "00" / "ledger.db")
    code = stage.play()
    found = [] if code in (*ENDS, LEDGER, 4, 5) else [f"[exit] a damaged ledger, and the process ended with {code}"]
    if code not in ENDS:  # else nothing relied on what was damaged, and what was restored would be older than the runs
        for one in stage.output.glob("ledger.*"):  # with its head: a ledger alone that is older is refused
            if one.suffix != ".lock":
                one.unlink()
        for one, saved in whole.items():
            one.write_bytes(saved)
        code = finish(stage, "run", None)
    if code not in ENDS:
        found.append(f"[settled] the ledger was restored, and the job ended with {code}")
    stage.close(settled=False)
    log = (stage.folder / "world" / "requests.jsonl").read_text().splitlines()
    found += _check_sent([Line(**json.loads(line)) for line in log], before)
    where = f"{path.name} at {place} of {len(whole[path])}"
    return Findings(1, keep(form, trial, stage.folder, [f"{each} ({where})" for each in found]))


def _check_sent(log: Sequence[Line], before: Copy | None) -> Iterator[str]:
    """Whatever a damaged ledger said: only planned bytes were sent, and no row had an effect under two keys."""
    if before is None or not before.runs:
        return
    (run,) = before.runs.values()
    effects: dict[int, set[str]] = {}
    for line in log:
        owner = run.keys.get(line.key or "")
        if line.method != "PATCH" or owner is None:
            continue
        if line.customer_id != run.rows[owner[0]]["customer_id"]:
            yield f"[plan] request {line.n} was sent to another customer"
        if line.executed and line.key:
            effects.setdefault(owner[0], set()).add(line.key)
    for row, keys in effects.items():
        if len(keys) > 1:
            yield f"[once] row {row}: {len(keys)} keys had an effect"
