"""The nightly job that compares with what its last runs have confirmed: several nights, one API."""

import json
import stat
from collections.abc import Mapping
from typing import Any

from bulk_patch.sandbox import Fault, Sandbox
from bulk_patch.sandbox.faults import Seen
from tests.acceptance.commands import Ended, Workspace
from tests.acceptance.small_job import (
    FILE,
    HOME,
    NAME,
    TOKEN,
    aimed_at,
    id_of,
    new_emails,
    patches,
    people,
    write_input,
    write_job,
)

LAST_RUN = ("--set", "baseline.kind=last-run")


class Night:
    """What one night's command did, and what the API saw of it."""

    def __init__(self, office: Workspace, api: Sandbox, *flags: str) -> None:
        seen = len(api.requests)
        self.ended: Ended = office.run("run", FILE, *aimed_at(api), *LAST_RUN, *flags)
        requests = api.requests[seen:]
        # requests that are out at once arrive in any order
        self.sent = sorted(entry["customer_id"] for entry in requests if entry["method"] == "PATCH")
        self.reads = sum(entry["method"] == "GET" for entry in requests)
        self.details: Mapping[str, Any] = json.loads(office.runs(NAME)[-1]["details"])
        self.counts = {state: rows for state, rows in office.summary(NAME)["counts"].items() if rows}

    @property
    def warned(self) -> str:
        return " ".join(self.details["warnings"])


def home(number: int, **parts: str) -> dict[str, str]:
    address = {f"legal_address.{name}": text for name, text in {**HOME, **parts}.items()}
    return {"customer_id": id_of(number), **address}


def test_three_nights_send_all_then_nothing_then_what_failed(office: Workspace) -> None:
    broken: set[str] = set()

    def refuse(seen: Seen) -> Fault | None:
        return Fault(status=400) if seen.customer_id in broken and seen.method == "PATCH" else None

    with Sandbox(people(12), token=TOKEN, fault=refuse) as api:
        write_job(office, new_emails(1, 2, 3, 4))
        first = Night(office, api)
        assert first.ended.code == 0, first.ended.err
        assert first.sent == [id_of(n) for n in (1, 2, 3, 4)]
        assert "no run has confirmed anything here yet" in first.warned

        second = Night(office, api)
        assert second.ended.code == 0, second.ended.err
        assert (second.sent, second.counts, second.warned) == ([], {"unchanged": 4}, "")
        assert second.reads <= second.details["reads"] == 0

        broken.add(id_of(2))
        write_input(office, [*new_emails(1, 2, domain="example.net"), *new_emails(3, 4)])
        third = Night(office, api)
        assert third.ended.code == 3, third.ended.err
        assert third.counts == {"applied": 1, "rejected": 1, "unchanged": 2}

        broken.clear()
        fourth = Night(office, api)
        assert fourth.ended.code == 0, fourth.ended.err
        assert fourth.sent == [id_of(2)]
        assert api.customer(id_of(2))["email"] == "new2@example.net"


def test_a_value_that_goes_there_and_back_is_really_sent_both_times(office: Workspace, api: Sandbox) -> None:
    there, back = new_emails(1, domain="example.net"), new_emails(1)
    write_job(office, back)
    for rows in (back, there, back, there):
        write_input(office, rows)
        night = Night(office, api)
        assert night.ended.code == 0, night.ended.err
        assert night.sent == [id_of(1)]
        assert api.customer(id_of(1))["email"] == rows[0]["email"]
    keys = [entry["key"] for entry in patches(api)]
    assert len(set(keys)) == 4


def test_what_was_sent_and_never_confirmed_counts_as_not_known_so_even_the_old_value_is_sent_again(
    office: Workspace,
) -> None:
    lost: set[str] = set()

    def lose(seen: Seen) -> Fault | None:
        return Fault(status=500) if seen.customer_id in lost else None

    with Sandbox(people(12), token=TOKEN, fault=lose) as api:
        write_job(office, new_emails(1, 2))
        assert Night(office, api).ended.code == 0
        lost.add(id_of(1))
        write_input(office, [*new_emails(1, domain="example.net"), *new_emails(2)])
        assert [Night(office, api).ended.code for _ in range(2)] == [4, 3]  # spent twice: unknown, final
        lost.clear()
        write_input(office, new_emails(1, 2))
        night = Night(office, api)
        assert (night.sent, night.counts) == ([id_of(1)], {"applied": 1, "unchanged": 1})


def test_a_lost_file_is_made_anew_from_the_ledger_and_only_what_is_missing_there_is_sent(
    office: Workspace, api: Sandbox
) -> None:
    write_job(office, new_emails(1, 2))
    assert Night(office, api).ended.code == 0
    write_input(office, new_emails(2, 3))
    assert Night(office, api).sent == [id_of(3)]
    (store,) = office.job_folder(NAME).glob("last-run-*.parquet")
    assert stat.S_IMODE(store.stat().st_mode) == 0o600
    for damage in (store.unlink, lambda: store.write_bytes(b"PAR1 and no more")):
        damage()
        write_input(office, new_emails(1, 2, 3))
        night = Night(office, api)
        assert (night.sent, night.counts) == ([], {"unchanged": 3})
        assert "rebuilt from the ledger" in night.warned
    store.unlink()
    write_input(office, new_emails(1, 5))
    night = Night(office, api)
    assert night.sent == [id_of(5)]
    assert "1 customer is new to it" in night.warned


def test_what_a_killed_process_had_recorded_is_found_in_the_ledger(office: Workspace, api: Sandbox) -> None:
    write_job(office, new_emails(1, 2, 3))
    assert Night(office, api, "--limit", "2").ended.code == 4
    (store,) = office.job_folder(NAME).glob("last-run-*.parquet")
    old = store.read_bytes()
    assert Night(office, api).sent == [id_of(3)]
    store.write_bytes(old)  # as if the last process had been killed before it wrote the file
    night = Night(office, api)
    assert (night.sent, night.warned) == ([], "")


def test_an_address_is_completed_from_what_was_confirmed_and_read_again_before_it_is_sent(
    office: Workspace, api: Sandbox
) -> None:
    write_job(office, [home(1, city="Dallas"), home(2, city="Dallas")])
    assert Night(office, api).ended.code == 0
    write_input(office, [{"customer_id": id_of(n), "legal_address.city": "Houston"} for n in (1, 2)])
    api.edit(id_of(2), legal_address={**HOME, "city": "El Paso"})
    night = Night(office, api)
    assert night.counts == {"applied": 1, "drifted": 1}
    assert night.details["recheck"] == 2
    assert api.customer(id_of(1))["legal_address"]["address_line_1"] == HOME["address_line_1"]
    assert api.customer(id_of(1))["legal_address"]["city"] == "Houston"
    assert api.customer(id_of(2))["legal_address"]["city"] == "El Paso"


def test_a_rehearsal_never_feeds_production(office: Workspace, api: Sandbox) -> None:
    write_job(office, new_emails(1))
    assert office.run("run", FILE, "--sandbox", *LAST_RUN).code == 0
    assert Night(office, api).sent == [id_of(1)]
    assert len(list(office.job_folder(NAME).glob("last-run-*.parquet"))) == 2
