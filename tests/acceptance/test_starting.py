"""Beginning: help, shell completion, `init`, and the flags that bend a job for one command."""

import json
import platform
import re
import shlex
from importlib.metadata import version
from pathlib import Path

import pytest

from bulk_patch.sandbox import Sandbox
from tests.acceptance.commands import Ended, Workspace
from tests.acceptance.small_job import (
    FILE,
    NAME,
    aimed_at,
    id_of,
    new_emails,
    patches,
    planned_at,
    sent_ids,
    write_job,
    write_rows,
)

COMMANDS = ("check", "completion", "export", "init", "plan", "retry", "run", "sandbox", "settings", "show", "status")


def complete(office: Workspace, typed: str) -> Ended:
    """Ask for what bash would offer at the end of a line."""
    words = shlex.split(typed) + ([""] if typed.endswith(" ") else [])
    line = {"COMP_WORDS": typed, "COMP_CWORD": str(len(words) - 1), "_BULK_PATCH_COMPLETE": "bash_complete"}
    return office.run(env=line)


# --- help


def test_help_lists_the_commands_and_a_first_thing_to_try(office: Workspace) -> None:
    ended = office.run("--help")
    assert ended.code == 0, ended.err
    listed = re.findall(r"^  ([a-z]+)  ", ended.out, re.MULTILINE)
    assert set(COMMANDS) <= set(listed)
    assert "bulk-patch init tryout" in ended.out
    assert "..." not in ended.out.partition("[ARGS]...")[2]  # no summary is cut
    assert listed.index("init") < listed.index("plan") < listed.index("approve") < listed.index("status")


def test_the_version_names_python_and_the_libraries(office: Workspace) -> None:
    ended = office.run("--version")
    assert ended.code == 0, ended.err
    assert ended.out.startswith("bulk-patch ")
    assert f"Python {platform.python_version()}" in ended.out
    assert all(f"{name} {version(name)}" in ended.out for name in ("aiohttp", "pandas", "pyarrow", "pydantic"))


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_each_command_has_an_example_that_names_it(office: Workspace, command: str) -> None:
    ended = office.run(command, "--help")
    assert ended.code == 0, ended.err
    assert re.search(rf"Example:\n +(eval \"\$\()?bulk-patch {command}\b", ended.out)


def test_an_unknown_flag_is_named_with_the_nearest_known_one(office: Workspace) -> None:
    ended = office.run("run", FILE, "--sandboxx")
    assert ended.code == 2
    assert "--sandbox" in ended.err
    assert "Traceback" not in ended.err


# --- completion


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_a_script_that_asks_the_program(office: Workspace, shell: str) -> None:
    ended = office.run("completion", shell)
    assert ended.code == 0, ended.err
    assert f"_BULK_PATCH_COMPLETE={shell}_complete" in ended.out
    assert "bulk-patch" in ended.out


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("bulk-patch re", {"retry"}),
        ("bulk-patch run --sa", {"--sandbox"}),
        ("bulk-patch completion ", {"bash", "zsh", "fish"}),
        ("bulk-patch show RUN --status app", {"applied"}),
        ("bulk-patch settings limits.", {"limits.rate_per_s", "limits.concurrency"}),
        ("bulk-patch run x.toml --set guards.app", {"guards.approval="}),
    ],
)
def test_what_was_begun_is_completed(office: Workspace, typed: str, offered: set[str]) -> None:
    ended = complete(office, typed)
    assert ended.code == 0, ended.err
    assert offered <= {line.partition(",")[2] for line in ended.out.splitlines()}


def test_runs_and_job_files_are_completed(office: Workspace) -> None:
    for run in ("20261122-151203-4f2a", "20261123-151203-4f2b"):
        (office.root / "output" / "small" / run).mkdir(parents=True)
    (office.root / "jobs").mkdir()
    (office.root / "jobs" / "small.toml").touch()
    offered = {
        typed: [line.partition(",")[2] for line in complete(office, typed).out.splitlines()]
        for typed in ("bulk-patch status ", "bulk-patch show 20261122", "bulk-patch plan jobs/s")
    }
    assert offered["bulk-patch status "] == ["20261123-151203-4f2b", "20261122-151203-4f2a", "jobs/small.toml"]
    assert offered["bulk-patch show 20261122"] == ["20261122-151203-4f2a"]
    assert offered["bulk-patch plan jobs/s"] == ["jobs/small.toml"]


# --- init


def test_init_writes_a_job_that_runs_as_it_says(office: Workspace) -> None:
    ended = office.run("init", "tryout")
    assert ended.code == 0, ended.err
    names = {path.relative_to(office.root).as_posix() for path in office.root.rglob("*") if path.is_file()}
    assert "tryout/jobs/first_job.toml" in names
    assert {Path(name).parent.as_posix() for name in names} == {"tryout/jobs", "tryout/sample_inputs"}
    command = shlex.split(ended.out.rpartition("next: ")[2])
    assert command[0] == "bulk-patch"
    run = office.run(*command[1:])
    assert run.code == 0, run.err
    assert (office.root / "tryout" / "output" / "first-job" / "ledger.db").is_file()
    assert re.search(r"[1-9] applied, [1-9] unchanged", run.err)


def test_init_writes_a_job_that_an_editor_can_check(office: Workspace) -> None:
    assert office.run("init").code == 0
    first, _, _ = (office.root / "jobs" / "first_job.toml").read_text(encoding="utf-8").partition("\n")
    key, _, name = first.partition(" ")
    assert key == "#:schema"
    written = (office.root / "jobs" / name).read_text(encoding="utf-8")
    printed = office.run("settings", "--schema")
    assert printed.code == 0, printed.err
    assert json.loads(written) == json.loads(printed.out)


def test_init_overwrites_nothing(office: Workspace) -> None:
    job = office.root / "jobs" / "first_job.toml"
    job.parent.mkdir()
    job.write_text("mine", encoding="utf-8")
    ended = office.run("init")
    assert ended.code == 2
    assert "jobs/first_job.toml already exists" in ended.err
    assert job.read_text(encoding="utf-8") == "mine"
    assert not (office.root / "sample_inputs").exists()


# --- the reference of settings


def test_settings_explains_all_of_them_a_table_or_one(office: Workspace) -> None:
    everything, table, one = (office.run("settings", *key) for key in ((), ("guards",), ("rate_per_s",)))
    assert (everything.code, table.code, one.code) == (0, 0, 0)
    assert {"  input.path", "  guards.canary", "  sandbox.customers"} <= set(everything.out.splitlines())
    assert re.findall(r"^\[(.+?)\]", table.out, re.MULTILINE) == ["guards"]
    for part in ("limits.rate_per_s", 'number, or "unlimited"; default 20', "rate_per_s = 50"):
        assert part in one.out
        assert part in everything.out
    assert "canary" not in one.out


@pytest.mark.parametrize(
    ("words", "said"), [(("rat_per_s",), "did you mean limits.rate_per_s?"), (("name", "--schema"), "--schema")]
)
def test_settings_refuses_what_it_does_not_know(office: Workspace, words: tuple[str, ...], said: str) -> None:
    ended = office.run("settings", *words)
    assert ended.code == 2
    assert said in ended.err
    assert not ended.out


# --- one screen for a plan


def test_a_plan_is_said_once(office: Workspace, api: Sandbox) -> None:
    write_job(office, new_emails(1, 2))
    ended = office.run("plan", FILE, *planned_at(api))
    assert ended.code == 0, ended.err
    assert ended.out.count("input rows") == 1
    assert ended.out.count("plan ") >= 1
    assert "report.html" in ended.out


# --- flags for one command


def test_limit_sends_so_many_now_and_leaves_the_rest(office: Workspace, api: Sandbox) -> None:
    write_job(office, new_emails(1, 2, 3, 4, 5))
    for sent in (2, 4):
        ended = office.run("run", FILE, *aimed_at(api), "--limit", "2")
        assert ended.code == 4, ended.err
        assert len(patches(api)) == sent
    assert office.run("run", FILE, *aimed_at(api), "--limit", "2").code == 0
    assert len(patches(api)) == 5


def test_no_skip_invalid_refuses_the_whole_input_before_any_change(office: Workspace, api: Sandbox) -> None:
    write_job(office, [*new_emails(1, 2), {"customer_id": id_of(3), "email": "no address"}])
    for command in (["run", FILE, *aimed_at(api)], ["plan", FILE, *planned_at(api)]):
        ended = office.run(*command, "--no-skip-invalid")
        assert ended.code == 2, ended.err
        assert "1 row" in ended.err
        assert "failures.csv" in ended.err
    assert patches(api) == []
    (failure,) = [line for line in office.failures(NAME) if line["_status"] == "invalid"]
    assert failure["_row"] == "3"
    assert office.run("run", FILE, *aimed_at(api), "--skip-invalid").code == 3
    assert sent_ids(api) == [id_of(1), id_of(2)]


def test_set_takes_toml_and_bare_text_and_paths_from_the_current_folder(office: Workspace, api: Sandbox) -> None:
    write_job(office, new_emails(1))
    write_rows(office.root / "other.csv", new_emails(7, 8))
    flags = (
        *("--set", "input.path=other.csv"),  # from here, not from the job file's folder
        *("--set", 'guards.fields=["email"]', "--set", "limits.rate_per_s=100", "--set", "description=bare text"),
    )
    ended = office.run("run", FILE, *aimed_at(api), *flags)
    assert ended.code == 0, ended.err
    assert sent_ids(api) == [id_of(7), id_of(8)]
    assert office.summary(NAME)["rate"]["limit_per_s"] == 100


def test_the_next_command_repeats_what_was_set(office: Workspace, api: Sandbox) -> None:
    write_job(office, new_emails(1, 2))
    ended = office.run("run", FILE, *aimed_at(api), "--limit", "1", "--set", "limits.rate_per_s=100")
    command = shlex.split(ended.next)
    assert command == ["bulk-patch", "run", FILE, *planned_at(api), "--set", "limits.rate_per_s=100"]


def test_a_row_of_a_whole_object_is_completed_from_the_baseline(office: Workspace, api: Sandbox) -> None:
    write_job(office, [{"customer_id": id_of(1), "legal_address.city": "Dallas", "metadata.tier": "gold"}])
    assert office.run("run", FILE, *aimed_at(api)).code == 0
    customer = api.customer(id_of(1))
    assert customer["legal_address"] == {
        "address_line_1": "1 Main Street",
        "city": "Dallas",
        "state": "TX",
        "postal_code": "78701",
        "country_code": "US",
    }
    assert customer["metadata"] == {"tier": "gold"}
