"""Whatever is shown of a customer is masked, by every command; --reveal lifts the mask, on the record."""

import re
from pathlib import Path

import pytest

from bulk_patch.cli import main
from bulk_patch.sandbox import Fault, Sandbox
from bulk_patch.sandbox.faults import Seen
from tests.acceptance.commands import Ended, Workspace
from tests.acceptance.small_job import FILE, NAME, TOKEN, aimed_at, id_of, planned_at, write_job
from tests.acceptance.test_secrets import cells_of, customer, find_markers, inputs

ROWS = 12
#: Kept whole on purpose: the ledger itself, and the input's own cells, which are fed back.
WHOLE = ("ledger.db*", "failures.csv")
REVEALING = sorted(
    name for name, command in main.commands.items() if any("--reveal" in its.opts for its in command.params)
)


def refuse_some(seen: Seen) -> Fault | None:
    """Refuse every fifth customer, quoting what it was sent."""
    row = int(seen.customer_id[-4:], 16) if seen.customer_id and seen.method == "PATCH" else -1
    quoted = '{"code": "BAD_REQUEST_BODY", "detail": "zqapi", "invalid": {"email": "zqapi"}}'
    if row % 5 == 0:
        return Fault(status=400, body=quoted.encode(), content_type="application/problem+json")
    return None


@pytest.fixture(scope="module")
def evening(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, dict[str, Ended]]:
    """Go through everything that a team does in an evening, as loudly as possible."""
    place = Workspace(tmp_path_factory.mktemp("masks"), token=TOKEN)
    with Sandbox([customer(row) for row in range(1, ROWS + 1)], token=TOKEN, fault=refuse_some) as api:
        write_job(place, [*inputs()[:ROWS], *inputs()[-4:]])
        flags, loud = planned_at(api), ("-v", "--log-format", "json")
        ended = {"plan": place.run("plan", FILE, *flags, *loud, "--operator", "Robin")}
        run = place.runs(NAME)[-1]["id"]
        ended["approve"] = place.run("approve", run, *loud, "--operator", "Alex")
        ended["run"] = place.run("run", FILE, *aimed_at(api), *loud)
        ended["retry"] = place.run("retry", run, *aimed_at(api), *loud)
        api.edit(id_of(1), email="zqoldmail2@zqhostold2.example", first_name="zqoldfirst2")
        ended["verify"] = place.run("verify", run, *flags, *loud)
        ended["undo"] = place.run("undo", run, *aimed_at(api), *loud)
        for name, words in looks(place, run).items():
            ended[name] = place.run(*words, *loud)
    return place, ended


def looks(place: Workspace, run: str) -> dict[str, tuple[str, ...]]:
    """Return a call of each command that looks at a run."""
    return {
        "status": ("status", run),
        "show": ("show", run),
        "lookup": ("lookup", id_of(1)),
        "export": ("export", run, "--to", str(place.root / "evidence.csv")),
        "report": ("report", run),
    }


def test_every_command_did_what_it_is_for(evening: tuple[Workspace, dict[str, Ended]]) -> None:
    _, ended = evening
    codes = {name: its.code for name, its in ended.items()}
    three = {"run": 3, "retry": 3, "verify": 3, "undo": 3}
    assert codes == {name: three.get(name, 0) for name in codes}, [its.err for its in ended.values()]
    beside = {"backup", "check", "cron", "prune", "init", "settings", "sandbox", "completion"}  # they show no customer
    assert set(main.commands) - beside == set(ended)


def test_no_command_shows_a_whole_value(evening: tuple[Workspace, dict[str, Ended]]) -> None:
    _, ended = evening
    assert {name: find_markers(its.out + its.err) for name, its in ended.items()} == {name: set() for name in ended}
    assert all("•••" in ended[name].out for name in ("plan", "show", "lookup", "verify"))
    assert not any("zqapi" in its.out + its.err for its in ended.values())


def test_no_file_but_the_ledger_and_what_is_fed_back_holds_a_whole_value(
    evening: tuple[Workspace, dict[str, Ended]],
) -> None:
    place, _ = evening
    files = [path for path in [*place.job_folder(NAME).rglob("*"), place.root / "evidence.csv"] if path.is_file()]
    shown = [path for path in files if not any(path.match(pattern) for pattern in WHOLE)]
    names = {path.name for path in shown}
    assert {"summary.json", "results.csv", "run.log", "report.html", "evidence.csv"} <= names
    assert {path.name: find_markers(path.read_text(encoding="utf-8", errors="replace")) for path in shown} == {
        name: set() for name in names
    }


@pytest.mark.parametrize("name", REVEALING)
def test_reveal_shows_values_and_the_ledger_tells_who_lifted_the_mask(
    evening: tuple[Workspace, dict[str, Ended]], name: str, tmp_path: Path
) -> None:
    place, _ = evening
    run = next(its["id"] for its in place.runs(NAME) if its["kind"] == "run")
    before = len(place.notes(NAME))
    words = [word.replace("evidence.csv", "whole.csv") for word in looks(place, run)[name]]
    ended = place.run(*words, "--reveal", "--operator", "Kim")
    assert ended.code == 0, ended.err
    folder = place.job_folder(NAME) / run
    written = [path for path in (place.root / "whole.csv", folder / "report-revealed.html") if path.exists()]
    assert [path.stat().st_mode & 0o777 for path in written] == [0o600] * len(written)
    revealed = ended.out + "".join(path.read_text(encoding="utf-8") for path in written)
    for path in written:
        path.unlink()
    assert cells_of(1, mark="new")["email"] in revealed
    assert find_markers((folder / "report.html").read_text(encoding="utf-8")) == set()
    notes = place.notes(NAME)[before:]
    assert {(note["action"], note["detail"]["command"]) for note in notes if "command" in note["detail"]} == {
        ("revealed", name)
    }
    assert {note["actor"]["operator"] for note in notes} == {"Kim"}
    if name == "report":
        assert re.search(r"written: \S+report\.html\nwritten: \S+report-revealed\.html, with whole values", ended.out)


def test_every_command_that_could_show_values_is_asked() -> None:
    assert {"show", "export", "lookup"} <= set(REVEALING)
