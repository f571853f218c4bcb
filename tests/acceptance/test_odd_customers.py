"""A customer whose record makes no sense: its own row says so, and nobody else is stopped by it."""

import json

import pytest

from bulk_patch.sandbox import Fault, Sandbox
from bulk_patch.sandbox.faults import Seen
from tests.acceptance.commands import Workspace
from tests.acceptance.small_job import FILE, NAME, TOKEN, aimed_at, id_of, new_emails, people, planned_at, write_job

ODD: dict[str, dict[str, object]] = {
    "half a surrogate pair": {"first_name": "\ud800"},
    "text for an object": {"legal_address": "1 Main St"},
    "a number for an object": {"shipping_address": 5},
}


class OddCustomer:
    """Spoils one customer in every list, from one moment of a test on."""

    def __init__(self, odd: dict[str, object]) -> None:
        self.odd = odd
        self.is_odd = False

    def __call__(self, seen: Seen) -> Fault | None:
        if not self.is_odd or seen.method != "GET" or seen.customer_id is not None:
            return None
        customers = [{**each, **(self.odd if each["id"] == id_of(2) else {})} for each in people(4)]
        return Fault(status=200, body=json.dumps({"customers": customers}).encode())


@pytest.mark.parametrize("odd", list(ODD))
def test_an_odd_customer_makes_its_row_invalid_and_stops_nobody_else(office: Workspace, odd: str) -> None:
    spoil = OddCustomer(ODD[odd])
    write_job(office, new_emails(1, 2, 3, 4))
    with Sandbox(people(4), fault=spoil, token=TOKEN) as api:
        spoil.is_odd = True
        planned = office.run("plan", FILE, *planned_at(api))
        assert planned.code == 0, planned.err
        assert office.states(NAME) == {1: "pending", 2: "invalid", 3: "pending", 4: "pending"}
        assert "whose record in the API cannot be used" in planned.out
        assert office.run("run", FILE, *aimed_at(api)).code == 3
        assert office.states(NAME) == {1: "applied", 2: "invalid", 3: "applied", 4: "applied"}


@pytest.mark.parametrize("odd", list(ODD))
def test_an_odd_customer_is_not_verified_and_not_undone_and_the_others_are(office: Workspace, odd: str) -> None:
    spoil = OddCustomer(ODD[odd])
    write_job(office, new_emails(1, 2, 3, 4))
    with Sandbox(people(4), fault=spoil, token=TOKEN) as api:
        assert office.run("run", FILE, *aimed_at(api)).code == 0
        spoil.is_odd = True
        verified = office.run("verify", FILE, *planned_at(api))
        assert verified.code in (3, 4), verified.err  # the list shows the old values of the others
        assert "3 read back" in verified.err
        assert "1 not read" in verified.err
        undone = office.run("undo", FILE, *aimed_at(api))
        assert undone.code == 3, undone.err
        assert office.states(NAME)[2] == "invalid"
