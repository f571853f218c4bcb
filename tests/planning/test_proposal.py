"""What a job for a file could say: the id by its cells, fields by near names, rules by how cells are written."""

import pytest

from bulk_patch.job.conversions import parse_rule
from bulk_patch.planning.proposal import Proposal, propose
from bulk_patch.targets.synctera.target import Synctera
from tests.support.job_files import make_target

IDS = [f"00000000-0000-4000-8000-{number:012d}" for number in range(1, 4)]


def proposed(**columns: list[str]) -> Proposal:
    cells = {name.replace("_", " ") if name.istitle() else name: texts for name, texts in columns.items()}
    made = propose(list(cells), cells, known=make_target().field_names(), rule=Synctera.ids)
    assert made is not None
    return made


@pytest.mark.parametrize(
    ("column", "field"),
    [
        ("email", "email"),
        ("E-Mail", "email"),
        ("Email Address", "email"),
        ("ZIP", "legal_address.postal_code"),
        ("Zip Code", "legal_address.postal_code"),
        ("Postal-Code", "legal_address.postal_code"),
        ("street", "legal_address.address_line_1"),
        ("Address 2", "legal_address.address_line_2"),
        ("City", "legal_address.city"),
        ("St", "legal_address.state"),
        ("Country", "legal_address.country_code"),
        ("DOB", "dob"),
        ("Date of Birth", "dob"),
        ("Mobile Phone", "phone_number"),
        ("First Name", "first_name"),
        ("Surname", "last_name"),
        ("Phone Numbr", "phone_number"),
        ("shipping_address.city", "shipping_address.city"),
        ("shipping address city", "shipping_address.city"),
        ("metadata.branch", "metadata.branch"),
        ("Remarks", ""),
        ("Returned on", ""),
    ],
)
def test_a_column_is_given_the_field_with_a_near_name(column: str, field: str) -> None:
    made = propose(
        ["customer_id", column],
        {"customer_id": IDS, column: ["x", "y", "z"]},
        known=make_target().field_names(),
        rule=Synctera.ids,
    )
    assert made is not None
    assert made.rename.get(column, column) == field
    assert made.fields == ([field] if field else [])
    if not field:
        assert any(repr(column) in doubt and "ignored" in doubt for doubt in made.doubts)


def test_two_columns_for_one_field_are_told_and_the_first_is_taken() -> None:
    made = proposed(id=IDS, mail=["a@x.org"], email=["b@x.org"])
    assert made.rename == {"mail": "email", "email": ""}
    assert any("'email'" in doubt for doubt in made.doubts)


def test_the_id_is_the_column_with_ids_whatever_it_is_called() -> None:
    assert proposed(id=["1", "2", "3"], Reference=IDS, email=["a@x.org"] * 3).id == "Reference"


def test_ids_in_braces_need_a_rule() -> None:
    made = proposed(id=[f"{{{one.upper()}}}" for one in IDS])
    assert (made.id, made.convert) == ("id", {"id": "uuid"})


def test_a_file_without_ids_gets_no_proposal() -> None:
    cells = {"id": ["1", "2"], "email": ["a@x.org", "b@x.org"]}
    assert propose(list(cells), cells, known=make_target().field_names(), rule=Synctera.ids) is None


@pytest.mark.parametrize(
    ("column", "cells", "rule"),
    [
        ("dob", ["1980-01-31"], ""),
        ("dob", ["1/31/1980", "12/1/1999"], "date:M/D/YYYY"),
        ("dob", ["31.1.1980", "1.12.1999"], "date:D.M.YYYY"),
        ("dob", ["1980/01/31"], "date:YYYY/M/D"),
        ("phone_number", ["+16175550000"], ""),
        ("phone_number", ["617-555-0000", "(617) 555 0001"], "phone:US"),
        ("ZIP", ["02139", "02139-1234"], ""),
        ("ZIP", ["2139", "10001"], "zip:US"),
        ("ZIP", ["021391234"], "zip:US"),
        ("country", ["US", "CA"], ""),
        ("country", ["USA", "US"], "map:{USA=US}"),
        ("country", ["United States"], "map:{United States=US}"),
        ("state", ["TX"], ""),
        ("state", ["tx", "MA"], "upper"),
        ("city", [" Boston"], "trim"),
    ],
)
def test_cells_that_the_api_does_not_take_as_they_are_get_a_rule(column: str, cells: list[str], rule: str) -> None:
    made = proposed(id=IDS, **{column: cells})
    assert made.convert.get(column, "") == rule
    assert not rule or parse_rule(rule).kind == rule.partition(":")[0]


@pytest.mark.parametrize(
    ("column", "cells"),
    [("dob", ["1/2/1980"]), ("dob", ["31 Jan 1980"]), ("country", ["Atlantis"]), ("phone_number", ["555-0000"])],
)
def test_what_can_be_read_in_two_ways_or_none_is_a_doubt(column: str, cells: list[str]) -> None:
    assert any(repr(column) in doubt for doubt in proposed(id=IDS, **{column: cells}).doubts)
