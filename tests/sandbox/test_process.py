import asyncio
import itertools
import json
import os
import random
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from bulk_patch.sandbox import Sandbox, SandboxError, SandboxSettings, child, serve
from tests.support.sandbox_calls import ANN, BEN, calling, people

ROOT = Path(__file__).resolve().parents[2]
SEED_FILE = f"id,first_name,status\n{ANN},Ann,ACTIVE\n{BEN},Ben,PROSPECT\n"


@pytest.fixture
def settings(tmp_path: Path) -> SandboxSettings:
    customers = tmp_path / "customers.csv"
    customers.write_text(SEED_FILE)
    log = tmp_path / "requests.jsonl"
    return SandboxSettings(customers=customers, state=tmp_path / "state", log=log, token="sandbox-token")


@contextmanager
def started(settings: SandboxSettings) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """Start the process that `child` starts, but with its process in hand."""
    command = [sys.executable, "-m", "bulk_patch.sandbox"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(settings.to_json() + "\n")
        process.stdin.flush()
        try:
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


def patch_once(base_url: str, key: str | None = None) -> int:
    async def once() -> int:
        async with calling(base_url) as caller:
            return (await caller.patch({"note": "x"}, key=key)).status

    return asyncio.run(once())


def is_serving(base_url: str) -> bool:
    try:
        return patch_once(base_url) == 200
    except aiohttp.ClientConnectionError:
        return False


def read_log(settings: SandboxSettings) -> list[dict[str, object]]:
    assert settings.log is not None
    text = settings.log.read_text()
    assert text == "" or text.endswith("\n")
    return [json.loads(line) for line in text.splitlines()]


def executions(settings: SandboxSettings) -> int:
    assert settings.state is not None
    database = sqlite3.connect(f"file:{settings.state / 'state.db'}?mode=ro", uri=True)
    try:
        (number,) = database.execute("SELECT sum(executions) FROM customers").fetchone()
        return int(number)
    finally:
        database.close()


def test_a_kept_world_goes_on_with_its_customers_keys_and_numbers(tmp_path: Path) -> None:
    state = tmp_path / "deep" / "state"

    async def scenario() -> None:
        async with Sandbox(people(), state=state) as first, calling(first.base_url) as caller:
            heard = await caller.patch({"email": "new@example.com"}, key="k")
        async with Sandbox(iter_no_one(), state=state) as second, calling(second.base_url) as caller:
            assert second.customer(ANN)["email"] == "new@example.com"
            assert (await caller.patch({"email": "new@example.com"}, key="k")).body == heard.body
            assert [(line["n"], line["replayed"]) for line in second.requests] == [(1, False), (2, True)]

    def iter_no_one() -> Iterator[dict[str, object]]:
        raise AssertionError("a kept world is not seeded again")
        yield {}

    asyncio.run(scenario())
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in state.iterdir()} == {0o600}


def test_customers_that_cannot_be_taken_in_leave_a_world_that_can_be_seeded(tmp_path: Path) -> None:
    with pytest.raises(SandboxError, match="same id"):
        Sandbox([*people(), *people()], state=tmp_path)
    with Sandbox(people(), state=tmp_path) as sandbox:
        assert sandbox.customer(BEN)["first_name"] == "Ben"


def test_a_second_sandbox_on_the_same_state_is_refused(tmp_path: Path) -> None:
    with Sandbox(people(), state=tmp_path):
        with pytest.raises(SandboxError, match="another sandbox"):
            Sandbox(people(), state=tmp_path)
        with pytest.raises(SandboxError, match="another sandbox"):
            serve(SandboxSettings(state=tmp_path))
    with Sandbox(people(), state=tmp_path) as sandbox:
        assert is_serving(sandbox.base_url)


def test_a_port_in_use_is_said_so() -> None:
    with Sandbox(people()) as sandbox:
        port = int(sandbox.base_url.removesuffix("/v0").rpartition(":")[2])
        with pytest.raises(SandboxError, match=f"port {port}"), Sandbox(port=port):
            pass
        with pytest.raises(RuntimeError, match=f"port {port}"), child(SandboxSettings(port=port)):
            pass


def test_a_child_serves_by_its_settings_and_ends_with_the_block(settings: SandboxSettings) -> None:
    with child(settings) as base_url:
        assert patch_once(base_url, key="k") == 200
    assert not is_serving(base_url)
    assert executions(settings) == 1
    assert [(line["key"], line["executed"]) for line in read_log(settings)] == [("k", True)]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"faults": "500=often"}, "500=often"),
        ({"customers": Path("nowhere.csv"), "state": None}, "nowhere.csv"),
    ],
)
def test_a_child_that_cannot_start_says_why(settings: SandboxSettings, change: dict[str, Any], words: str) -> None:
    with pytest.raises(RuntimeError, match=words), child(replace(settings, **change)):
        pass


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_serving_with_code_0(settings: SandboxSettings, number: signal.Signals) -> None:
    program = f"from bulk_patch.sandbox import *; raise SystemExit(serve({SandboxSettings()!r}))"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        base_url = process.stdout.readline().strip()
        assert base_url.startswith("http://127.0.0.1:")
        process.send_signal(number)
        assert process.wait(timeout=10) == 0


@pytest.mark.parametrize("forks", [False, True])
def test_a_child_ignores_the_terminals_ctrl_c_and_dies_with_its_killed_parent(
    settings: SandboxSettings, forks: bool
) -> None:
    program = (
        "import os, signal, sys\n"
        "from bulk_patch.sandbox import SandboxSettings, child\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "with child(SandboxSettings.from_json(sys.argv[1])) as base_url:\n"
        "    print(base_url, flush=True)\n"
        f"    if {forks} and not os.fork(): sys.stdout.close(); os.close(1)\n"  # it still holds the child's pipe
        "    signal.pause()\n"
    )
    command = [sys.executable, "-c", program, settings.to_json()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, start_new_session=True) as parent:
        assert parent.stdout is not None
        base_url = parent.stdout.readline().strip()
        try:
            os.killpg(parent.pid, signal.SIGINT)  # what a terminal does on Ctrl-C
            time.sleep(0.5)
            assert is_serving(base_url)
            parent.kill()
            # The next child waits for the orphan to let go of the state.
            with child(settings) as next_url:
                assert is_serving(next_url)
            assert not is_serving(base_url)
        finally:
            with suppress(ProcessLookupError, PermissionError):  # macOS minds a group of the dead
                os.killpg(parent.pid, signal.SIGKILL)
    assert executions(settings) == 2


def test_a_child_waits_some_seconds_for_its_predecessor(settings: SandboxSettings) -> None:
    with ExitStack() as predecessor:
        predecessor.enter_context(Sandbox(people(), state=settings.state))
        leaving = threading.Timer(1.5, predecessor.close)
        leaving.start()
        with child(settings) as base_url:
            assert is_serving(base_url)
        leaving.join()


@pytest.mark.skipif(shutil.which("ps") is None, reason="needs ps")
def test_the_token_and_settings_are_on_no_command_line(settings: SandboxSettings) -> None:
    with child(settings):
        own = os.getpid()
        lines = subprocess.run(["ps", "-eo", "ppid=,args="], capture_output=True, text=True, check=True).stdout
        mine = [line for line in lines.splitlines() if line.split()[0] == str(own) and "sandbox" in line]
        assert len(mine) == 1
        assert "sandbox-token" not in mine[0]
        assert "customers" not in mine[0]


def test_random_faults_of_a_kept_world_go_on_where_they_were(settings: SandboxSettings) -> None:
    half = replace(settings, faults="500=0.5")
    statuses = []
    for _ in range(2):
        with child(half) as base_url:
            statuses += [patch_once(base_url) for _ in range(8)]
    with child(replace(half, state=None, log=None)) as base_url:
        assert [patch_once(base_url) for _ in range(16)] == statuses
    assert set(statuses) == {200, 500}


@pytest.mark.chaos
def test_log_and_state_agree_after_kills_at_any_instant(settings: SandboxSettings) -> None:
    dice = random.Random(11)
    acknowledged: dict[str, bytes] = {}

    async def hammer(base_url: str, process: "subprocess.Popen[str]", round_number: int) -> None:
        async with calling(base_url) as caller:

            async def worker(number: int) -> None:
                for count in range(10_000):
                    key = f"{round_number}.{number}.{count}"
                    try:
                        heard = await caller.patch({"note": key}, of=(ANN, BEN)[number % 2], key=key)
                    except (aiohttp.ClientError, ConnectionError):
                        return
                    assert heard.status == 200
                    acknowledged[key] = heard.body

            workers = [asyncio.create_task(worker(number)) for number in range(8)]
            await asyncio.sleep(dice.uniform(0.02, 0.3))
            process.kill()
            await asyncio.gather(*workers)

    for round_number in range(12):
        with started(settings) as (process, base_url):
            lines = read_log(settings)  # whole, and complete: the start has repaired it
            assert {line["key"] for line in lines} >= acknowledged.keys()
            asyncio.run(hammer(base_url, process, round_number))

    with child(settings) as base_url:
        pass
    lines = read_log(settings)
    assert len(acknowledged) > 200
    assert Counter(line["key"] for line in lines).most_common(1)[0][1] == 1
    assert all(line["executed"] for line in lines)
    assert executions(settings) == len(lines)
    with Sandbox(state=settings.state, log=settings.log) as sandbox:
        assert sandbox.requests == lines
        notes = [*sandbox.customer(ANN)["notes"], *sandbox.customer(BEN)["notes"]]
        assert sorted(notes) == sorted(str(line["key"]) for line in lines)
        key, body = dice.choice(sorted(acknowledged.items()))

        async def repeat() -> bytes:
            async with calling(sandbox.base_url) as caller:
                of = (ANN, BEN)[int(key.split(".")[1]) % 2]
                return (await caller.patch({"note": key}, of=of, key=key)).body

        assert asyncio.run(repeat()) == body


def test_a_sandbox_in_a_thread_can_be_read_and_edited_from_outside_while_it_serves() -> None:
    with Sandbox(people()) as sandbox:

        async def flood() -> None:
            async with calling(sandbox.base_url) as caller:
                await asyncio.gather(*(caller.patch({"note": "x"}) for _ in range(200)))

        edits = itertools.count()

        async def both() -> None:
            flooding = asyncio.create_task(flood())
            while not flooding.done():
                email = f"{next(edits)}@example.com"
                sandbox.edit(ANN, email=email)
                assert sandbox.customer(ANN)["email"] == email
                await asyncio.sleep(0)
            await flooding

        asyncio.run(both())
        assert len(sandbox.customer(ANN)["notes"]) == 200
        assert len(sandbox.requests) == 200


def test_importing_the_sandbox_is_cheap_and_brings_in_nothing_else_of_the_product() -> None:
    program = (
        "import sys, bulk_patch.sandbox\n"
        "print(sorted(name for name in sys.modules if name in {'aiohttp', 'numpy', 'pandas', 'pyarrow'}"
        " or name.startswith('bulk_patch.') and not name.startswith('bulk_patch.sandbox')))"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert answer.stdout.strip() == "[]"


def test_a_sandbox_without_a_token_draws_one_and_prints_it() -> None:
    program = "from bulk_patch.sandbox import *; raise SystemExit(serve(SandboxSettings()))"
    tokens = set()
    for _ in range(2):
        with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout is not None
            base_url, token = server.stdout.readline().strip(), server.stdout.readline().strip().removeprefix("token: ")
            request = urllib.request.Request(f"{base_url}/customers", headers={"Authorization": f"Bearer {token}"})
            assert urllib.request.urlopen(request).status == 200
            server.terminate()
        tokens.add(token)
    assert len(tokens) == 2
    assert "sandbox-token" not in tokens


def test_a_child_needs_no_temporary_folder(settings: SandboxSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.gettempdir", lambda: "/nowhere")
    for name in ("TMPDIR", "TEMP", "TMP"):
        monkeypatch.setenv(name, "/nowhere")
    with child(settings) as base_url:
        assert base_url.startswith("http://127.0.0.1:")


def test_a_log_that_is_a_link_is_not_written_to(settings: SandboxSettings, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    assert settings.log is not None
    settings.log.symlink_to(victim)
    with pytest.raises(SandboxError), child(settings):
        pass
    assert victim.read_text() == "untouched"
