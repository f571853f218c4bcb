"""approve, verify, undo and report when the disk, the job file or the network fails: said once, and nothing is lost."""

import resource
import shlex
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bulk_patch.ledgers.sqlite.ledger import SqliteLedger
from bulk_patch.sandbox import Sandbox
from tests.acceptance.approvals import REVIEWER, plan_and_wait
from tests.acceptance.commands import WITHOUT_RIGHTS, Workspace, assert_told, needs_permissions
from tests.acceptance.small_job import FILE, NAME, TOKEN, aimed_at, id_of, new_emails, patches, people, write_job

_BLOCK_BYTES = 4096
COMMANDS = ["approve", "verify", "undo", "report"]
#: What each command is typed with, besides what it is about.
FLAGS = {"approve": REVIEWER, "verify": (), "undo": ("--yes",), "report": ()}


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Workspace]:
    """Make a place where rows were applied, and one where a plan waits, at an API that is gone by now."""
    places = {name: Workspace(tmp_path_factory.mktemp(name), token=TOKEN) for name in ("sent", "waiting")}
    with Sandbox(people(12), token=TOKEN) as api:
        plan_and_wait(places["waiting"], api)
        write_job(places["sent"], new_emails(1, 2, 3))
        assert places["sent"].run("run", FILE, *aimed_at(api)).code == 0
    for place in places.values():
        shutil.copytree(place.root, _copy_of(place))
    return places


def _copy_of(place: Workspace) -> Path:
    return place.root.with_suffix(".copy")


Prepare = Callable[[str], tuple[Workspace, list[str]]]


@pytest.fixture
def prepare(places: dict[str, Workspace]) -> Prepare:
    """Return what makes the place for a command anew, and tells the words to type there."""

    def make_anew(command: str) -> tuple[Workspace, list[str]]:
        place = places["waiting" if command == "approve" else "sent"]
        shutil.rmtree(place.root)
        shutil.copytree(_copy_of(place), place.root)  # where it was: a run remembers where its job file is
        plan = ["--plan", place.runs(NAME)[-1]["plan_sha256"]] if command == "approve" else []
        return place, [command, FILE, *plan, *FLAGS[command]]

    return make_anew


def books(place: Workspace) -> tuple[object, ...]:
    """Return what the ledger says of runs, rows and facts for the auditor."""
    return place.runs(NAME), place.states(NAME), place.notes(NAME)


def same_words(words: list[str]) -> str:
    return shlex.join(["bulk-patch", *words])


# --- the disk


@pytest.mark.parametrize("command", COMMANDS)
def test_a_full_disk_ends_with_7_and_the_same_words_go_on(prepare: Prepare, command: str) -> None:
    place, words = prepare(command)
    before = books(place)

    def fill_disk() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (_BLOCK_BYTES, _BLOCK_BYTES))

    # Coverage, where it is measured, has its own file on that disk, and its own traceback.
    ended = place.run(*words, preexec_fn=fill_disk, env={"COVERAGE_PROCESS_CONFIG": "", "COVERAGE_PROCESS_START": ""})
    assert_told(ended, 7, str(place.job_folder(NAME)))
    assert (ended.before, ended.next) == ("first: free disk space or fix the disk", same_words(words))
    assert books(place) == before


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Let nobody write to a folder and what is in it."""
    paths = [folder, *folder.rglob("*")]
    modes = {path: path.stat().st_mode for path in paths}
    for path in paths:
        path.chmod(modes[path] & ~0o222)
    try:
        yield
    finally:
        for path in paths:
            path.chmod(modes[path])


@needs_permissions
@pytest.mark.parametrize("command", ["approve", "verify", "undo"])
def test_a_ledger_that_is_read_only_ends_with_7_and_the_same_words_go_on(prepare: Prepare, command: str) -> None:
    place, words = prepare(command)
    before = books(place)
    with read_only(place.job_folder(NAME)):
        ended = place.run(*words, under=WITHOUT_RIGHTS)
    assert_told(ended, 7, "ledger.db")
    assert (ended.before, ended.next) == ("first: free disk space or fix the disk", same_words(words))
    assert books(place) == before


@needs_permissions
def test_a_report_of_a_ledger_that_is_read_only_is_written_where_its_folder_is_not(prepare: Prepare) -> None:
    place, words = prepare("report")
    ledger = place.job_folder(NAME) / "ledger.db"
    ledger.chmod(0o444)
    page = place.job_folder(NAME) / str(place.runs(NAME)[-1]["id"]) / "report.html"
    page.unlink()
    assert place.run(*words, under=WITHOUT_RIGHTS).code == 0
    assert page.exists()
    told = place.run(*words, "--reveal", under=WITHOUT_RIGHTS)  # that has to go on the record
    assert_told(told, 7, "ledger.db")


# --- the job file


@pytest.mark.parametrize("command", ["approve", "verify", "undo"])
@pytest.mark.parametrize("by", ["run", "job"])
def test_a_job_file_that_is_gone_ends_with_2(prepare: Prepare, command: str, by: str) -> None:
    place, words = prepare(command)
    before = books(place)
    (place.root / FILE).unlink()
    run = str(place.runs(NAME)[-1]["id"])
    ended = place.run(*(run if word == FILE and by == "run" else word for word in words))
    assert_told(ended, 2, "job file")
    assert books(place) == before


@pytest.mark.parametrize("command", ["approve", "verify", "undo"])
@pytest.mark.parametrize("by", ["run", "job"])
def test_a_job_file_that_is_wrong_ends_with_2(prepare: Prepare, command: str, by: str) -> None:
    place, words = prepare(command)
    before = books(place)
    file = place.root / FILE
    file.write_text(file.read_text(encoding="utf-8").replace("concurrency", "concurency"), encoding="utf-8")
    run = str(place.runs(NAME)[-1]["id"])
    ended = place.run(*(run if word == FILE and by == "run" else word for word in words))
    assert_told(ended, 2, "did you mean concurrency?")
    assert books(place) == before


def test_a_report_needs_no_job_file_when_the_run_is_named(prepare: Prepare) -> None:
    place, _ = prepare("report")
    (place.root / FILE).unlink()
    run = str(place.runs(NAME)[-1]["id"])
    assert place.run("report", run).code == 0
    assert_told(place.run("report", FILE), 2, "no job file at jobs/small.toml")


# --- the network


def quickly(words: list[str], port: int) -> list[str]:
    """Aim a command at a port, without much patience."""
    settings = (f"target.base_url=http://127.0.0.1:{port}/v0", "retry.attempts=2", "limits.timeout_s=2")
    return [*words, *(word for setting in settings for word in ("--set", setting))]


@pytest.mark.parametrize("command", ["verify", "undo"])
def test_an_api_that_does_not_answer_ends_with_4_and_the_same_words_go_on(prepare: Prepare, command: str) -> None:
    place, words = prepare(command)
    port = int(str(place.runs(NAME)[-1]["target"]).split("/v0")[0].rpartition(":")[2])
    words = quickly(words, port)
    ended = place.run(*words)
    assert ended.code == 4, ended.err
    assert "unreachable (refused)" in ended.err
    assert "Traceback" not in ended.err
    assert ended.next == same_words(words)
    world = [person | {"email": f"new{number}@example.org"} for number, person in enumerate(people(3), start=1)]
    with Sandbox(world, token=TOKEN, port=port) as api:
        again = place.run(*shlex.split(ended.next)[1:])
        assert again.code == 0, again.err
        assert api.customer(id_of(1))["email"] == ("ann1@example.com" if command == "undo" else "new1@example.org")


@pytest.mark.parametrize("command", ["verify", "undo"])
def test_a_token_that_is_refused_ends_with_6_and_the_same_words_go_on(prepare: Prepare, command: str) -> None:
    place, words = prepare(command)
    port = int(str(place.runs(NAME)[-1]["target"]).split("/v0")[0].rpartition(":")[2])
    words = quickly(words, port)
    with Sandbox(people(3), token="another", port=port) as api:
        ended = place.run(*words)
        assert patches(api) == []
    assert ended.code == 6, ended.err
    assert "401" in ended.err
    assert "Traceback" not in ended.err
    assert (ended.before, ended.next) == ("first: fix the credential or permission", same_words(words))


@pytest.mark.parametrize("command", ["approve", "report"])
def test_what_needs_no_network_works_without_one(prepare: Prepare, command: str) -> None:
    place, words = prepare(command)
    assert place.run(*words).code == 0


# --- a neighbour


@pytest.mark.parametrize("command", ["verify", "undo"])
def test_while_another_process_holds_the_ledger_the_same_words_are_for_later(prepare: Prepare, command: str) -> None:
    place, words = prepare(command)
    with SqliteLedger.open(place.job_folder(NAME) / "ledger.db", job=NAME):
        ended = place.run(*words)
    assert_told(ended, 8)
    assert ended.next == same_words(words)
    assert "wait" in ended.before
