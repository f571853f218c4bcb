"""Commands that only show something load no library that they do not need: most of their time would go there."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.commands import Workspace
from tests.acceptance.small_job import FILE, NAME, id_of, new_emails, write_job

_PROGRAM = """
import sys
from bulk_patch.cli import main
try:
    main(sys.argv[1:])
finally:
    print("loaded:", *sys.modules, file=sys.stderr)
"""

_HEAVY = {"aiohttp", "numpy", "pandas", "pyarrow", "structlog", "uvloop", "jinja2", "asyncio"}


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    place = Workspace(tmp_path_factory.mktemp("office"), token="a-token")
    write_job(place, new_emails(1, 2, 3))
    ended = place.run("run", FILE, "--sandbox", "--quiet")
    assert ended.code == 0, ended.err
    return place


def loaded_by(folder: Path, *words: str, code: int = 0) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, *words], cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == code, done.stderr
    line = next(line for line in done.stderr.splitlines() if line.startswith("loaded: "))
    return {name.partition(".")[0] for name in line.split()}


@pytest.mark.parametrize(
    ("words", "needed"),
    [
        (("status",), set()),
        (("status", FILE), set()),
        (("show", FILE), set()),
        (("show", FILE, "--id", id_of(2)), set()),
        (("lookup", id_of(2)), set()),
        (("settings",), set()),
        (("check", FILE, "--offline", "--set", "target.token=cmd:none"), set()),
    ],
    ids=lambda words: " ".join(words) if isinstance(words, tuple) else "",
)
def test_a_command_that_shows_something_loads_nothing_heavy(
    office: Workspace, words: tuple[str, ...], needed: set[str]
) -> None:
    assert (office.root / "output" / NAME).is_dir()
    assert loaded_by(office.root, *words) & _HEAVY - needed == set()


def test_a_look_at_the_last_night_loads_nothing_heavy(office: Workspace) -> None:
    words = ("check", FILE, "--within", "26h", "--set", "target.token=cmd:none")
    assert loaded_by(office.root, *words, code=4) & _HEAVY == set()  # a rehearsal is not a night
