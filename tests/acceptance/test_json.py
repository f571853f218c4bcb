"""`--json`: one document on stdout and nothing else, in the words of summary.json and results.csv, masked."""

import json
from typing import Any

import pytest

from bulk_patch.sandbox import Sandbox
from tests.acceptance.commands import Ended, Workspace, read_csv
from tests.acceptance.small_job import FILE, NAME, TOKEN, aimed_at, id_of, new_emails, people, planned_at, write_job

LATER = {"next", "before_next", "chain_head"}  # what is named next depends on the command


def document(ended: Ended) -> Any:
    return json.loads(ended.out)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, dict[str, Ended]]:
    """Plan, run and verify the small job with --json."""
    place = Workspace(tmp_path_factory.mktemp("done"), token=TOKEN)
    with Sandbox(people(12), token=TOKEN) as api:
        rows = [*new_emails(1, 2, 3), {"customer_id": id_of(4), "email": "no address"}]
        write_job(place, rows)
        ended = {"plan": place.run("plan", FILE, *planned_at(api), "--json", "--detailed-exitcode")}
        ended["run"] = place.run("run", FILE, *aimed_at(api), "--json", "--operator", "Robin", "--ticket", "OPS-1")
        ended["verify"] = place.run("verify", place.runs(NAME)[0]["id"], *planned_at(api), "--json")
    return place, ended


def test_plan_and_run_print_their_summary(done: tuple[Workspace, dict[str, Ended]]) -> None:
    place, ended = done
    assert (ended["plan"].code, ended["run"].code) == (10, 3), ended["run"].err
    planned, ran = document(ended["plan"]), document(ended["run"])
    assert (planned["state"], planned["exit_code"], planned["counts"]["pending"]) == ("planned", 10, 3)
    recorded = json.loads((place.job_folder(NAME) / ran["run"] / "summary.json").read_text(encoding="utf-8"))
    for later in ("verified", "chain_head"):
        del recorded[later]
    del ran["chain_head"]
    assert ran == recorded
    assert "exit code 3" in ended["run"].err


def test_verify_prints_what_it_found(done: tuple[Workspace, dict[str, Ended]]) -> None:
    place, ended = done
    found = document(ended["verify"])
    assert found["run"] == place.runs(NAME)[0]["id"]
    assert found["rows"] + found["left"] == 3
    assert found["exit_code"] == ended["verify"].code
    assert found["stop"] is None
    assert isinstance(found["drifts"], list)


def test_status_is_the_summary_as_of_now(done: tuple[Workspace, dict[str, Ended]]) -> None:
    place, ended = done
    status = document(place.run("status", FILE, "--json"))
    ran = document(ended["run"])
    assert {key: status[key] for key in ran.keys() - LATER} == {key: ran[key] for key in ran.keys() - LATER}
    assert (status["to_do"], status["holder"], status["kind"]) == (0, None, "run")
    listed = document(place.run("status", "--json"))
    assert [run["run"] for run in listed["runs"]] == [status["run"]]
    assert listed["runs"][0]["counts"] == status["counts"]


def test_show_has_the_words_of_results_csv_and_masked_changes(done: tuple[Workspace, dict[str, Ended]]) -> None:
    place, _ = done
    shown = document(place.run("show", FILE, "--json"))
    results = read_csv(place.job_folder(NAME) / shown["run"] / "results.csv")
    assert [(str(row["row"]), row["status"], row["idempotency_key"] or "") for row in shown["rows"]] == [
        (row["row"], row["status"], row["idempotency_key"]) for row in results
    ]
    changed = shown["rows"][0]["changes"][0]
    assert (changed["field"], changed["after"]) == ("email", "n•••@example.org")
    assert "new1@example.org" not in json.dumps(shown)
    two = document(place.run("show", FILE, "--json", "--limit", "2"))
    assert two["rows"] == shown["rows"][:2]
    assert document(place.run("show", FILE, "--json", "--status", "rejected"))["rows"] == []


def test_show_with_a_limit_says_that_there_are_more(done: tuple[Workspace, dict[str, Ended]]) -> None:
    place, _ = done
    some, everything = place.run("show", FILE, "--limit", "2"), place.run("show", FILE, "--limit", "4")
    assert "2 rows shown, and there are more" in some.out
    assert "there are more" not in everything.out


def test_lookup_lists_each_run_of_the_customer(done: tuple[Workspace, dict[str, Ended]]) -> None:
    place, ended = done
    found = document(place.run("lookup", id_of(1), "--json"))
    (row,) = found["rows"]
    assert (row["run"], row["status"], row["sent_by"], row["ticket"]) == (
        document(ended["run"])["run"],
        "applied",
        ["Robin"],
        "OPS-1",
    )
    assert document(place.run("lookup", id_of(9), "--json"))["rows"] == []


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("plan", "jobs/nowhere.toml"), 2, "no job file"),
        (("status", "19990101"), 2, "19990101"),
        (("run", FILE), 2, "--yes"),
        (("show", FILE, "--status", "sent"), 2, "sent"),
    ],
)
def test_an_error_is_a_document_too(
    done: tuple[Workspace, dict[str, Ended]], words: tuple[str, ...], code: int, said: str
) -> None:
    place, _ = done
    ended = place.run(*words, "--json")
    told = document(ended)
    assert (ended.code, told["exit_code"]) == (code, code)
    assert said in told["error"] + told["hint"]
    assert set(told) == {"exit_code", "error", "hint", "next"}


def test_a_locale_without_dots_gets_json_too(done: tuple[Workspace, dict[str, Ended]]) -> None:
    place, _ = done
    plain = document(place.run("show", FILE, "--json", env={"PYTHONIOENCODING": "ascii"}))
    assert plain == document(place.run("show", FILE, "--json"))
