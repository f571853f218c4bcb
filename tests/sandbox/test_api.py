import asyncio
import json
import re
from typing import Any

import pytest

from bulk_patch.sandbox import Sandbox
from tests.support.sandbox_calls import ANN, BEN, HOME, NOBODY, WORK, Caller, calling, people, rehearse

NOW = 1_790_000_000.0  # 2026-09-21


def test_without_the_right_token_every_request_is_refused_with_401() -> None:
    async def scenario(sandbox: Sandbox, caller: Caller) -> None:
        for credential in (None, "Bearer wrong", "Basic sandbox-token", sandbox.token):
            heard = await caller.call("PATCH", f"/customers/{ANN}", body={}, Authorization=credential)
            assert (heard.status, heard.json["code"]) == (401, "UNAUTHENTICATED")
            assert heard.content_type == "application/problem+json"
        sandbox.token = "rotated"
        assert (await caller.get()).status == 401
        assert (await caller.call("GET", f"/customers/{ANN}", Authorization="Bearer rotated")).status == 200

    rehearse(scenario)


def test_a_customer_is_shown_with_a_masked_ssn_and_without_unset_fields() -> None:
    async def scenario(sandbox: Sandbox, caller: Caller) -> None:
        ann = (await caller.get()).json
        assert ann["ssn"] == "1234"
        assert sandbox.customer(ANN)["ssn"] == "773-11-1234"
        assert ann["legal_address"]["address_type"] == "LEGAL"
        assert ann["addresses"] == [ann["legal_address"]]
        assert {"chosen_name", "notes", "note", "is_customer", "shipping_address"}.isdisjoint(ann)
        ben = (await caller.get(f"/customers/{BEN.upper()}")).json
        assert {"ssn", "email", "legal_address", "addresses", "metadata"}.isdisjoint(ben)

    rehearse(scenario)


def test_a_patch_changes_what_it_names_and_the_time_of_update_and_nothing_else() -> None:
    async def scenario(sandbox: Sandbox, caller: Caller) -> None:
        before = sandbox.customer(ANN)
        heard = await caller.patch({"email": "lee@example.org", "no_such_field": 1, "note": "by phone"})
        assert (heard.status, heard.content_type) == (200, "application/json")
        after = sandbox.customer(ANN)
        changed = {name for name in before | after if before.get(name) != after.get(name)}
        assert changed == {"email", "notes", "last_updated_time"}
        assert after["notes"] == ["by phone"]
        assert heard.json == (await caller.get()).json
        assert "note" not in heard.json

    rehearse(scenario)


def test_updates_are_dated_in_microseconds_and_never_twice_the_same() -> None:
    async def scenario(sandbox: Sandbox, caller: Caller) -> None:
        times = [(await caller.patch({})).json["last_updated_time"] for _ in range(3)]
        assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", time) for time in times)
        assert times == sorted(set(times))
        assert (await caller.get(f"/customers/{BEN}")).json["last_updated_time"] < times[0]

    rehearse(scenario, clock=lambda: NOW)


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"first_name": 7}, {"invalid": ["first_name"]}),
        ({"first_name": None, "dob": None}, {"invalid": ["first_name", "dob"]}),
        ({"phone_number": "12065550100"}, {"invalid": ["phone_number"]}),
        ({"phone_number": "+1206555010\u0660"}, {"invalid": ["phone_number"]}),
        ({"ssn": "773111234"}, {"invalid": ["ssn"]}),
        ({"dob": "1980-02-30"}, {"invalid": ["dob"]}),
        ({"dob": "19800229"}, {"invalid": ["dob"]}),
        ({"dob": "1899-12-31"}, {"invalid": ["dob"]}),
        ({"dob": "2026-09-21"}, {"invalid": ["dob"]}),
        ({"status": "GONE"}, {"invalid": ["status"]}),
        ({"status": ""}, {"invalid": ["status"]}),
        ({"metadata": []}, {"invalid": ["metadata"]}),
        ({"vendor_info": {"vendor_type": "LOANPRO"}}, {"invalid": ["vendor_info"]}),
        ({"id": NOBODY, "kyc_status": "ACCEPTED"}, {"immutable": ["id", "kyc_status"]}),
        ({"legal_address": "1 Main St"}, {"invalid": ["legal_address"]}),
        (
            {"legal_address": {"city": "X"}},
            {"missing": ["legal_address.address_line_1", "legal_address.country_code"]},
        ),
        ({"legal_address": {**HOME, "address_line_1": ""}}, {"missing": ["legal_address.address_line_1"]}),
        ({"legal_address": {**HOME, "id": ANN}}, {"immutable": ["legal_address.id"]}),
        ({"legal_address": {**HOME, "country_code": "us"}}, {"invalid": ["legal_address.country_code"]}),
        ({"legal_address": {**HOME, "country_code": ["US"]}}, {"invalid": ["legal_address.country_code"]}),
        ({"legal_address": {**HOME, "state": "Texas"}}, {"invalid": ["legal_address.state"]}),
        (
            {"shipping_address": {**HOME, "postal_code": "2139"}},
            {"invalid": ["shipping_address.postal_code"]},
        ),
        ({"legal_address": {**HOME, "city": None}}, {"invalid": ["legal_address.city"]}),
        (
            {"legal_address": {**HOME, "is_registered_agent": "no"}},
            {"invalid": ["legal_address.is_registered_agent"]},
        ),
        ({"ban_status": "BANNED", "note": "why"}, {"invalid": ["ban_status"]}),
        ({"ban_status": "SUSPENDED"}, {"missing": ["note"]}),
        ({"last_name": ""}, {"missing": ["last_name"]}),
        (
            {"ssn": "1", "tenant": "x", "legal_address": {"country_code": "US"}},
            {"missing": ["legal_address.address_line_1"], "invalid": ["ssn"], "immutable": ["tenant"]},
        ),
    ],
)
def test_a_body_that_breaks_a_rule_is_refused_by_field_name(body: dict[str, Any], named: dict[str, list[str]]) -> None:
    async def scenario(sandbox: Sandbox, caller: Caller) -> None:
        before = sandbox.customer(ANN)
        heard = await caller.patch(body)
        assert (heard.status, heard.json["code"]) == (400, "BAD_REQUEST_BODY")
        assert heard.json["type"] == "https://dev.synctera.com/errors/bad-request-body"
        assert heard.content_type == "application/problem+json"
        found = {name: list(heard.json[name]) for name in ("missing", "invalid", "immutable") if name in heard.json}
        assert found == named
        assert sandbox.customer(ANN) == before
        assert sandbox.requests[-1]["executed"] is False

    rehearse(scenario, clock=lambda: NOW)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"null",
        b'"x"',
        b'{"email": NaN}',
        b'{"metadata": {"a": 1e999}}',
        b'{"email": "\xff"}',
        b"{",
        b"[" * 100_000,
    ],
)
def test_a_body_that_is_no_json_object_is_refused(body: bytes) -> None:
    async def scenario(sandbox: Sandbox, caller: Caller) -> None:
        heard = await caller.patch(body)
        assert (heard.status, heard.json["code"]) == (400, "BAD_REQUEST_BODY")

    rehearse(scenario)


def test_a_body_of_another_media_type_is_refused() -> None:
    async def scenario(sandbox: Sandbox, caller: Caller) -> None:
        heard = await caller.patch({}, **{"Content-Type": "application/merge-patch+json"})
        assert (heard.status, heard.json["code"]) == (400, "BAD_REQUEST")
        heard = await caller.patch({}, **{"Content-Type": "application/json; charset=utf-8"})
        assert heard.status == 200

    rehearse(scenario)


def test_a_status_that_cannot_follow_is_refused_with_those_that_can() -> None:
    async def scenario(sandbox: Sandbox, caller: Caller) -> None:
        heard = await caller.patch({"status": "PROSPECT"})
        assert (heard.status, heard.json["code"]) == (422, "INVALID_STATUS")
        assert "FROZEN" in heard.json["valid_status"]
        assert "PROSPECT" not in heard.json["valid_status"]
        assert (await caller.patch({"status": "DECEASED"})).status == 200
        heard = await caller.patch({"status": "ACTIVE"})
        assert (heard.status, heard.json["valid_status"]) == (422, ["DECEASED"])
        assert (await caller.patch({"status": "DECEASED", "email": "estate@example.com"})).status == 200

    rehearse(scenario)


def test_a_customer_becomes_active_only_with_name_and_birth_date() -> None:
    async def scenario(sandbox: Sandbox, caller: Caller) -> None:
        heard = await caller.patch({"status": "ACTIVE"}, of=BEN)
        assert heard.json["missing"] == ["last_name", "dob"]
        heard = await caller.patch({"status": "ACTIVE", "last_name": "Roe", "dob": "1990-01-01"}, of=BEN)
        assert heard.status == 200

    rehearse(scenario)


def test_a_suspension_needs_a_note_and_a_ban_is_not_lifted() -> None:
    async def scenario(sandbox: Sandbox, caller: Caller) -> None:
        assert (await caller.patch({"ban_status": "ALLOWED"})).status == 200
        heard = await caller.patch({"ban_status": "SUSPENDED", "note": "chargebacks"})
        assert heard.json["ban_status"] == "SUSPENDED"
        sandbox.edit(ANN, ban_status="BANNED")
        heard = await caller.patch({"ban_status": "ALLOWED", "note": "please"})
        assert list(heard.json["invalid"]) == ["ban_status"]

    rehearse(scenario)


def test_a_legal_address_becomes_the_shipping_address_of_who_has_none() -> None:
    async def scenario(sandbox: Sandbox, caller: Caller) -> None:
        heard = await caller.patch({"legal_address": WORK})
        assert heard.json["shipping_address"]["address_line_1"] == "9 Side St"
        assert heard.json["shipping_address"]["address_type"] == "SHIPPING"
        assert heard.json["shipping_address"]["id"] != heard.json["legal_address"]["id"]
        heard = await caller.patch({"legal_address": HOME})
        assert heard.json["shipping_address"]["address_line_1"] == "9 Side St"
        heard = await caller.patch({"legal_address": HOME, "shipping_address": WORK}, of=BEN)
        assert heard.json["shipping_address"]["address_line_1"] == "9 Side St"

    rehearse(scenario)


def test_canadian_postal_codes_are_normalised_and_others_left_alone() -> None:
    async def scenario(sandbox: Sandbox, caller: Caller) -> None:
        canada = {"address_line_1": "1 King St", "country_code": "CA", "state": "ON"}
        heard = await caller.patch({"legal_address": {**canada, "postal_code": "k1a0b1"}})
        assert heard.json["legal_address"]["postal_code"] == "K1A 0B1"
        britain = {"address_line_1": "1 King St", "country_code": "GB", "postal_code": "k1a0b1"}
        heard = await caller.patch({"legal_address": britain})
        assert heard.json["legal_address"]["postal_code"] == "k1a0b1"

    rehearse(scenario)


@pytest.mark.parametrize("clears", [True, False])
def test_an_empty_text_clears_a_field_or_is_ignored(clears: bool) -> None:
    async def scenario(sandbox: Sandbox, caller: Caller) -> None:
        heard = await caller.patch({"middle_name": "", "phone_number": "", "note": ""})
        assert heard.status == 200
        assert (await caller.patch({"last_name": ""})).status == (400 if clears else 200)
        assert sandbox.customer(ANN)["last_name"] == "Lee"
        assert ("middle_name" in heard.json, "phone_number" in heard.json) == (not clears, not clears)
        assert "notes" not in sandbox.customer(ANN)

    rehearse(scenario, clears=clears)


@pytest.mark.parametrize("merges", [False, True])
def test_objects_are_replaced_whole_or_merged(merges: bool) -> None:
    async def scenario(sandbox: Sandbox, caller: Caller) -> None:
        moved = {"address_line_1": "2 Elm St", "country_code": "US", "is_registered_agent": False}
        heard = await caller.patch({"legal_address": moved, "metadata": {"branch": "9"}})
        assert ("city" in heard.json["legal_address"]) is merges
        assert "is_registered_agent" not in heard.json["legal_address"]
        assert heard.json["metadata"] == ({"tier": "gold"} if merges else {}) | {"branch": "9"}

    rehearse(scenario, merges=merges)


def test_persons_are_the_same_people_in_the_persons_shape() -> None:
    async def scenario(sandbox: Sandbox, caller: Caller) -> None:
        heard = await caller.call("PATCH", f"/persons/{ANN}", body={"chosen_name": "Annie", "is_customer": False})
        assert heard.json["chosen_name"] == "Annie"
        assert heard.json["verification_status"] == "ACCEPTED"
        assert heard.json["is_customer"] is False
        assert {"kyc_status", "addresses"}.isdisjoint(heard.json)
        assert "chosen_name" not in (await caller.get()).json
        heard = await caller.call("PATCH", f"/persons/{ANN}", body={"tenant": "elsewhere"})
        assert (heard.status, heard.json["code"]) == (422, "INVALID_TENANCY")
        listing = (await caller.get("/persons?first_name=Annie")).json
        assert [person["id"] for person in listing["persons"]] == [ANN]

    rehearse(scenario)


def test_a_list_by_ids_leaves_out_unknown_ones() -> None:
    async def scenario(sandbox: Sandbox, caller: Caller) -> None:
        listing = (await caller.get(f"/customers?id={BEN},{NOBODY},{ANN.upper()}")).json
        assert [customer["id"] for customer in listing["customers"]] == [ANN, BEN]
        assert "next_page_token" not in listing
        assert sandbox.requests[-1]["ids"] == 3
        assert sandbox.requests[-1]["path"] == "/v0/customers"

    rehearse(scenario)


def test_a_list_comes_in_pages_of_at_most_100() -> None:
    crowd = [{"id": f"00000000-0000-4000-8000-{number:012}"} for number in range(205)]

    async def scenario() -> None:
        async with Sandbox(crowd) as sandbox, calling(sandbox.base_url) as caller:
            sizes, ids, token = [], [], ""
            while True:
                listing = (await caller.get(f"/customers?limit=1000{token}")).json
                sizes.append(len(listing["customers"]))
                ids += [customer["id"] for customer in listing["customers"]]
                if "next_page_token" not in listing:
                    break
                token = f"&page_token={listing['next_page_token']}"
            assert sizes == [100, 100, 5]
            assert ids == [customer["id"] for customer in crowd]
            full_page = (await caller.get("/customers?limit=100&page_token=00000069")).json
            assert len(full_page["customers"]) == 100
            assert "next_page_token" not in full_page

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("status=PROSPECT", [BEN]),
        ("email=ann@example.com", [ANN]),
        ("email=*@example.com", [ANN]),
        ("phone_number=%2B1206*", [ANN]),
        ("last_name=L?e", []),
        ("last_name=[L]ee", []),
        ("first_name=*n*&status=ACTIVE", [ANN]),
        ("first_name=Zoe", []),
    ],
)
def test_lists_are_filtered_by_fields_with_stars_as_wildcards(query: str, found: list[str]) -> None:
    async def scenario(sandbox: Sandbox, caller: Caller) -> None:
        listing = (await caller.get(f"/customers?{query}")).json
        assert [customer["id"] for customer in listing["customers"]] == found
        assert query not in json.dumps(sandbox.requests)

    rehearse(scenario)


@pytest.mark.parametrize("query", ["limit=0", "limit=x", "page_token=*", "id=1,2", "sort_by=last_name:asc"])
def test_a_query_that_cannot_be_served_is_refused(query: str) -> None:
    async def scenario(sandbox: Sandbox, caller: Caller) -> None:
        heard = await caller.get(f"/customers?{query}")
        assert (heard.status, heard.json["code"]) == (400, "BAD_QUERY_PARAMETER")
        assert list(heard.json["invalid"]) == [query.partition("=")[0]]

    rehearse(scenario)


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("PATCH", f"/customers/{NOBODY}", 404, "RESOURCE_NOT_FOUND"),
        ("GET", "/customers/12", 404, "RESOURCE_NOT_FOUND"),
        ("GET", "/accounts", 404, "RESOURCE_NOT_FOUND"),
        ("GET", f"/customers/{ANN}/", 404, "RESOURCE_NOT_FOUND"),
        ("POST", "/customers", 501, "NOT_IMPLEMENTED"),
        ("PUT", f"/customers/{ANN}", 501, "NOT_IMPLEMENTED"),
    ],
)
def test_what_is_not_there_is_said_in_the_apis_own_json(method: str, path: str, status: int, code: str) -> None:
    async def scenario(sandbox: Sandbox, caller: Caller) -> None:
        heard = await caller.call(method, path, body={})
        assert (heard.status, heard.json["code"], heard.json["status"]) == (status, code, status)
        assert heard.content_type == "application/problem+json"

    rehearse(scenario)


def test_an_automatic_kyc_run_follows_a_change_of_personal_data_only() -> None:
    async def scenario(sandbox: Sandbox, caller: Caller) -> None:
        assert (await caller.patch({"metadata": {}})).json["kyc_status"] == "ACCEPTED"
        assert (await caller.patch({"email": "a@example.com"})).json["kyc_status"] == "REVIEW"

    rehearse(scenario, kyc_rerun=lambda customer_id: "REVIEW")


def test_an_edit_from_outside_is_dated_and_not_logged() -> None:
    with Sandbox(people()) as sandbox:
        before = sandbox.customer(ANN)["last_updated_time"]
        sandbox.edit(ANN, email="desk@example.com", middle_name=None)
        after = sandbox.customer(ANN)
        assert (after["email"], "middle_name" in after, after["last_updated_time"] > before) == (
            "desk@example.com",
            False,
            True,
        )
        with pytest.raises(KeyError):
            sandbox.edit(NOBODY, email="x")
    assert sandbox.requests == []


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "", "[::1].evil", "10.0.0.1"]
)
def test_a_page_that_reaches_the_sandbox_by_another_name_gets_no_customer(host: str) -> None:
    async def scenario(sandbox: Sandbox, caller: Caller) -> None:
        heard = await caller.call("GET", "/customers", Host=host)
        assert (heard.status, heard.json["code"]) == (421, "MISDIRECTED_REQUEST")
        assert (await caller.call("GET", "/customers", Host="localhost:1234")).status == 200

    rehearse(scenario)


@pytest.mark.parametrize("name", ["ssn_last_4", "has_accounts", "classifications", "no_such_filter"])
def test_a_filter_that_the_sandbox_does_not_know_is_refused_and_not_ignored(name: str) -> None:
    async def scenario(sandbox: Sandbox, caller: Caller) -> None:
        heard = await caller.get(f"/customers?{name}=1")
        assert (heard.status, heard.json["code"]) == (400, "BAD_QUERY_PARAMETER")
        assert name in heard.json["invalid"]

    rehearse(scenario)
