import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bulk_patch.sandbox.problems import Answer
from bulk_patch.sandbox.world import KeptAnswer, SandboxError, World
from tests.support.sandbox_calls import ANN

ROOT = Path(__file__).resolve().parents[2]

# Commits once undisturbed, then once with a SIGKILL at the step named.
CRASH = """
import os, signal, sys
from pathlib import Path
from bulk_patch.sandbox import world
from bulk_patch.sandbox.problems import Answer

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

def write_half(log, line, write=os.write):
    write(log, line[: len(line) // 2])
    die()

folder, step, ann = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
made = world.World(folder / "state", log=folder / "requests.jsonl")
made.seed([{"id": ann, "notes": []}])
for n in (1, 2):
    if n == 2 and step == "write":
        world.os.write = die
    elif n == 2 and step == "half":
        world.os.write = write_half
    elif n == 2:
        made._database.set_trace_callback(lambda sql: die() if sql.startswith(step) else None)
    kept = world.KeptAnswer(str(n), "request", Answer(200, b"{}"), 0.0)
    made.commit({"n": made.next_number()}, customer={"id": ann, "notes": list(range(n))}, kept=kept)
"""


@pytest.mark.parametrize(
    ("step", "survives"),
    [
        ("BEGIN", False),
        ("UPDATE customers", False),
        ("INSERT OR REPLACE INTO answers", False),
        ("INSERT INTO requests", False),
        ("COMMIT", False),
        ("write", True),
        ("half", True),
    ],
)
def test_a_kill_at_any_step_leaves_all_of_a_request_or_nothing(tmp_path: Path, step: str, survives: bool) -> None:
    killed = subprocess.run([sys.executable, "-c", CRASH, str(tmp_path), step, ANN], cwd=ROOT, check=False)
    assert killed.returncode == -signal.SIGKILL
    log = tmp_path / "requests.jsonl"
    world = World(tmp_path / "state", log=log)
    customer = world.find(ANN)
    numbers = [1, 2] if survives else [1]
    assert customer is not None
    assert len(customer["notes"]) == len(numbers)
    assert (world.kept_answer("2") is not None) is survives
    assert [entry["n"] for entry in world.entries()] == numbers
    assert [json.loads(line)["n"] for line in log.read_text().splitlines()] == numbers
    assert world.next_number() == len(numbers) + 1
    world.close()


def test_a_commit_that_fails_leaves_nothing_behind() -> None:
    world = World()
    world.seed([{"id": ANN, "email": "a@example.com"}])
    unfit = KeptAnswer("k", "request", Answer(200, b"", content_type=None), 0.0)  # type: ignore[arg-type]  # unfit
    with pytest.raises(Exception, match="NOT NULL"):
        world.commit({"n": 1}, customer={"id": ANN, "email": "b@example.com"}, kept=unfit)
    assert world.find(ANN) == {"id": ANN, "email": "a@example.com"}
    assert world.entries() == []
    world.commit({"n": 1})
    assert world.entries() == [{"n": 1}]


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    with pytest.raises(SandboxError, match="state"):
        World(tmp_path / "state")
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "state.db").write_bytes(b"no database at all" * 100)
    with pytest.raises(SandboxError, match="kept"):
        World(tmp_path / "kept")


def test_a_world_that_is_given_another_log_file_writes_its_whole_story_there(tmp_path: Path) -> None:
    first = World(tmp_path / "state", log=tmp_path / "first.jsonl")
    for _ in range(3):
        first.commit({"n": first.next_number()})
    first.close()
    second = tmp_path / "second.jsonl"
    second.write_text('{"n":"from another world"}\n')
    World(tmp_path / "state", log=second).close()
    assert second.read_text().splitlines()[1:] == (tmp_path / "first.jsonl").read_text().splitlines()
