"""The table of fields against the API's own OpenAPI document, where that is at hand."""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bulk_patch.targets.fields import Kind
from bulk_patch.targets.synctera.fields import ATOMIC_OBJECTS
from bulk_patch.targets.synctera.target import Synctera
from tests.targets.test_fields import CUSTOMERS, PERSONS, is_fine

DOCUMENT = Path(
    os.environ.get("BULK_PATCH_OPENAPI")
    or Path(__file__).resolve().parents[3] / "shared" / "data" / "synctera-customers.json"
)

pytestmark = pytest.mark.skipif(not DOCUMENT.is_file(), reason="the API's OpenAPI document is not at hand")


def schema(name: str) -> Any:
    return json.loads(DOCUMENT.read_text(encoding="utf-8"))["components"]["schemas"][name]


def resolved(rule: Any) -> Any:
    while "$ref" in rule or "allOf" in rule:
        rule = schema(rule["$ref"].rpartition("/")[2]) if "$ref" in rule else merged(rule)
    return rule


def merged(rule: Any) -> Any:
    properties: dict[str, Any] = {}
    required: list[str] = []
    for part in rule["allOf"]:
        properties |= resolved(part).get("properties", {})
        required += resolved(part).get("required", [])
    return {
        **{key: inner for key, inner in rule.items() if key != "allOf"},
        "properties": properties,
        "required": required,
    }


def leaves(rule: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every writable scalar of a schema by its dotted name; of a free-form object the object itself."""
    for name, inner in resolved(rule)["properties"].items():
        part = resolved(inner)
        if part.get("readOnly"):
            continue
        if "properties" in part:
            yield from leaves(part, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", part


@pytest.mark.parametrize(
    ("target", "name", "left_out"),
    [
        pytest.param(CUSTOMERS, "patch_customer", set(), id="customers"),
        # Moving a person to another tenant is no bulk correction; the rest is read-only in the prose.
        pytest.param(PERSONS, "patch_person", {"tenant", "has_accounts", "is_user", "ssn_source"}, id="persons"),
    ],
)
def test_every_writable_field_of_the_document_is_in_the_table_and_no_other(
    target: Synctera, name: str, left_out: set[str]
) -> None:
    documented = {leaf for leaf, _ in leaves(schema(name))} - left_out
    assert ATOMIC_OBJECTS["metadata"].open
    assert documented - {"metadata"} == set(target.field_names())


def test_enums_of_the_document_are_the_choices_of_the_table() -> None:
    seen = set()
    for name, rule in leaves(schema("patch_person")):
        if "enum" not in rule or PERSONS.field(name) is None:
            continue
        seen.add(name)
        taken = {choice for choice in rule["enum"] if is_fine(name, choice)}
        # To and from BANNED is the platform's alone.
        assert taken == set(rule["enum"]) - {"BANNED"}, name
    assert seen == {"status", "ban_status", "vendor_info.vendor_type"}


def test_values_that_the_table_takes_match_the_patterns_of_the_document() -> None:
    seen = set()
    tried = ["+12065550143", "+12", "+1", "12", "US", "us", "USA", "+123456789012345", "+1234567890123456"]
    for name, rule in leaves(schema("patch_person")):
        if "pattern" in rule and PERSONS.field(name) is not None:
            seen.add(name)
            assert [text for text in tried if is_fine(name, text) and not re.search(rule["pattern"], text)] == [], name
            refused = [text for text in tried if re.search(rule["pattern"], text) and not is_fine(name, text)]
            assert refused == [], name
    assert seen == {"phone_number", "legal_address.country_code", "shipping_address.country_code"}


def test_kinds_are_those_of_the_document() -> None:
    kinds = {"string": Kind.TEXT, "boolean": Kind.BOOLEAN, "integer": Kind.INTEGER}
    for name, rule in leaves(schema("patch_person")):
        field = PERSONS.field(name)
        if field is not None:
            assert field.kind is kinds[rule["type"]], name


def test_objects_require_and_hide_what_the_document_says() -> None:
    for name in ("legal_address", "shipping_address"):
        rule = resolved(schema("patch_customer")["properties"][name])
        assert set(ATOMIC_OBJECTS[name].required) == set(rule["required"])
        read_only = {part for part, inner in rule["properties"].items() if resolved(inner).get("readOnly")}
        assert ATOMIC_OBJECTS[name].read_only == read_only
    vendor = resolved(schema("patch_customer")["properties"]["vendor_info"])
    assert set(ATOMIC_OBJECTS["vendor_info"].required) == set(vendor["required"])
    assert set(ATOMIC_OBJECTS) == {
        name
        for name, inner in schema("patch_customer")["properties"].items()
        if resolved(inner).get("type") == "object" or "properties" in resolved(inner)
    }
