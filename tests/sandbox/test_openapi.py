"""The sandbox's answers, held against the API's own OpenAPI document where that is at hand."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from openapi_schema_validator import OAS30Validator, oas30_format_checker

from bulk_patch.sandbox import Fault, Sandbox
from tests.support.sandbox_calls import ANN, BEN, HOME, NOBODY, WORK, Caller, Heard, rehearse

DOCUMENT = Path(
    os.environ.get("BULK_PATCH_OPENAPI")
    or Path(__file__).resolve().parents[3] / "shared" / "data" / "synctera-customers.json"
)

pytestmark = pytest.mark.skipif(not DOCUMENT.is_file(), reason="the API's OpenAPI document is not at hand")

FULL_PATCH = {
    "first_name": "Anne",
    "middle_name": "R",
    "last_name": "Li",
    "email": "li@example.org",
    "phone_number": "+12065550101",
    "dob": "1981-01-01",
    "ssn": "774-11-4321",
    "status": "FROZEN",
    "ban_status": "SUSPENDED",
    "note": "by phone",
    "legal_address": HOME,
    "shipping_address": WORK,
    "metadata": {"tier": "gold", "nested": {"a": [1]}},
    "vendor_info": {"vendor_type": "LOANPRO", "vendor_data": {"loanpro": {"customer_id": 12345}}},
}


def complaints(value: Any, schema: str) -> list[str]:
    """Return what the document has against a value."""
    document = json.loads(DOCUMENT.read_text())
    rule = {"$ref": f"#/components/schemas/{schema}", "components": document["components"]}
    validator = OAS30Validator(rule, format_checker=oas30_format_checker)
    return [f"{'.'.join(map(str, error.path))}: {error.message}" for error in validator.iter_errors(value)]


def declared(path: str, method: str, status: int) -> str:
    """Return the media type that the document declares for an answer."""
    document = json.loads(DOCUMENT.read_text())
    response = document["paths"][path][method]["responses"][str(status)]
    if "$ref" in response:
        response = document["components"]["responses"][response["$ref"].rpartition("/")[2]]
    (media_type,) = response["content"]
    return str(media_type)


def check(heard: Heard, status: int, schema: str, *, path: str, method: str = "patch") -> None:
    assert heard.status == status
    assert heard.content_type == declared(path, method, status)
    assert complaints(heard.json, schema) == []


def test_the_validator_does_complain_about_wrong_answers() -> None:
    assert complaints({"id": "12", "status": "ACTIVE"}, "customer_response") != []
    assert complaints({"status": "GONE"}, "customer_response_body") != []
    assert complaints({"status": "ACTIVE", "email": None}, "customer_response_body") != []
    assert complaints({"id": ANN, "status": "ACTIVE"}, "response_person") != []
    assert complaints({"code": 7}, "error") != []


def test_the_patches_of_these_tests_are_what_the_document_allows() -> None:
    assert complaints(FULL_PATCH, "patch_customer") == []
    assert complaints({**FULL_PATCH, "chosen_name": "Annie", "is_customer": True}, "patch_person") == []


@pytest.mark.parametrize("status", ["ACTIVE", "PROSPECT", "DECEASED", "SANCTION"])
def test_customers_answer_in_the_documented_shape(status: str) -> None:
    async def scenario(sandbox: Sandbox, caller: Caller) -> None:
        sandbox.edit(ANN, status=status)
        body = {name: value for name, value in FULL_PATCH.items() if name != "status"}
        check(await caller.patch(body), 200, "customer_response_body", path="/customers/{customer_id}")
        for customer_id in (ANN, BEN):
            heard = await caller.get(f"/customers/{customer_id}")
            check(heard, 200, "customer_response_body", path="/customers/{customer_id}", method="get")

    rehearse(scenario)


def test_lists_answer_in_the_documented_shape() -> None:
    async def scenario(sandbox: Sandbox, caller: Caller) -> None:
        for query in (f"id={ANN},{BEN},{NOBODY}", "limit=1", "email=none"):
            heard = await caller.get(f"/customers?{query}")
            check(heard, 200, "customer_list", path="/customers", method="get")
        for person in (await caller.get("/persons")).json["persons"]:
            assert complaints(person, "response_person") == []

    rehearse(scenario)


@pytest.mark.parametrize("kyc_status", ["ACCEPTED", "PROVIDER_FAILURE"])
def test_persons_answer_in_the_documented_shape(kyc_status: str) -> None:
    async def scenario(sandbox: Sandbox, caller: Caller) -> None:
        sandbox.edit(ANN, kyc_status=kyc_status, kyc_last_run="2026-01-02T03:04:05.000000Z")
        heard = await caller.call("PATCH", f"/persons/{ANN}", body={**FULL_PATCH, "chosen_name": "Annie"})
        check(heard, 200, "response_person", path="/persons/{person_id}")
        check(await caller.get(f"/persons/{BEN}"), 200, "response_person", path="/persons/{person_id}", method="get")

    rehearse(scenario)


@pytest.mark.parametrize(
    ("status", "body", "of"),
    [(400, {"id": ANN, "ssn": "1", "legal_address": {}}, ANN), (400, b"", ANN), (404, {}, NOBODY)],
)
def test_refusals_answer_in_the_documented_shape(status: int, body: Any, of: str) -> None:
    async def scenario(sandbox: Sandbox, caller: Caller) -> None:
        check(await caller.patch(body, of=of), status, "error", path="/customers/{customer_id}")
        heard = await caller.call("PATCH", f"/persons/{of}", body=body)
        check(heard, status, "error", path="/persons/{person_id}")

    rehearse(scenario)


def test_a_refused_credential_answers_in_the_documented_shape() -> None:
    async def scenario(sandbox: Sandbox, caller: Caller) -> None:
        heard = await caller.patch({}, Authorization=None)
        check(heard, 401, "error", path="/customers/{customer_id}")

    rehearse(scenario)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 500])
def test_injected_statuses_answer_in_the_documented_shape(status: int) -> None:
    async def scenario(sandbox: Sandbox, caller: Caller) -> None:
        check(await caller.patch({}), status, "error", path="/customers/{customer_id}")

    rehearse(scenario, fault=lambda seen: Fault(status=status))
