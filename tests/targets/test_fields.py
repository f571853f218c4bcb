"""Every field's rule and mask, with good and bad values."""

import re

import pandas as pd
import pytest

from bulk_patch.errors import JobError
from bulk_patch.targets import fields as f
from bulk_patch.targets.fields import Field, Visibility
from bulk_patch.targets.synctera.target import Synctera
from tests.support.job_files import make_target

CUSTOMERS, PERSONS = make_target(), make_target("persons")
#: One value of every field, none of which may be read off a screen but for the codes.
SAMPLES = {
    "first_name": "Johanna",
    "middle_name": "Quentin",
    "last_name": "Nguyễn",
    "email": "johanna.q@example.com",
    "phone_number": "+12065550143",
    "dob": "1980-02-29",
    "ssn": "773-11-1234",
    "status": "ACTIVE",
    "ban_status": "SUSPENDED",
    "note": "called about the move",
    "address_line_1": "1 Main Street",
    "address_line_2": "Apt 4",
    "city": "Springfield",
    "state": "TX",
    "postal_code": "78701",
    "country_code": "US",
    "nickname": "Home",
    "is_registered_agent": "true",
    "vendor_info.vendor_type": "LOANPRO",
    "vendor_info.vendor_data.loanpro.customer_id": "12345",
    "chosen_name": "Annie",
    "is_customer": "false",
}
SHOWN = {
    "status",
    "ban_status",
    "state",
    "country_code",
    "is_registered_agent",
    "is_customer",
    "vendor_info.vendor_type",
}


def field_of(name: str, target: Synctera = CUSTOMERS) -> Field:
    field = target.field(name)
    assert field is not None, name
    return field


def short(name: str) -> str:
    """Return the name of a part without that of its address: both addresses have the same."""
    return name.partition("_address.")[2] or name


each_field = pytest.mark.parametrize(
    ("field", "sample"),
    [pytest.param(field_of(name, PERSONS), short(name), id=name) for name in PERSONS.field_names()],
)


def is_fine(name: str, value: str, *, country: str | None = None) -> bool:
    field = field_of(name, PERSONS)
    values = pd.Series([value], index=[7], dtype="str")
    column = f"{name.partition('.')[0]}.country_code"
    context = pd.DataFrame({} if country is None else {column: [country]}, index=[7], dtype="str")
    (verdict,) = field.check(values, context).astype(bool)
    return bool(verdict)


# --- rules


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("first_name", ["Ann", "Null", "NA", "D'Angelo", "Nguyễn", "李", "X Æ A-12", "de la Cruz"]),
        ("email", ["a@b.co", "o'neil+tag@mail.example.co.uk", "zoë@example.org", "a@xn--bcher-kva.example"]),
        ("phone_number", ["+12065550100", "+4930123456", "+123456789012345", "+12"]),
        ("dob", ["1900-01-01", "2000-02-29", "2026-11-21", "1999-12-31"]),
        ("ssn", ["123-45-6789", "001-01-0001", "665-99-9999", "667-01-0001", "899-99-9999", "772-11-1000"]),
        (
            "status",
            ["ACTIVE", "DECEASED", "DENIED", "DORMANT", "ESCHEAT", "FROZEN", "INACTIVE", "PROSPECT", "SANCTION"],
        ),
        ("ban_status", ["ALLOWED", "SUSPENDED"]),
        ("note", ["called about the move"]),
        ("legal_address.country_code", ["US", "CA", "MX", "AX", "ZW", "GB"]),
        ("shipping_address.is_registered_agent", ["true", "false"]),
        ("vendor_info.vendor_type", ["LOANPRO"]),
        ("vendor_info.vendor_data.loanpro.customer_id", ["1", "12345", "999999999999999999"]),
        ("is_customer", ["true", "false"]),
        ("metadata.anything", ["x", "7", "{}"]),
    ],
)
def test_good_values_are_taken(name: str, values: list[str]) -> None:
    assert [value for value in values if not is_fine(name, value)] == []


@pytest.mark.parametrize(
    ("name", "values"),
    [
        (
            "email",
            [
                "a",
                "a@b",
                "@b.co",
                "a@",
                "a@b.",
                "a@.co",
                "a b@c.de",
                "a@b@c.de",
                "a@b.co ",
                "a@b\u00a0c.de",
                "a\u2003@b.co",
            ],
        ),
        (
            "phone_number",
            [
                *("12065550100", "+02065550100", "+1 206 555 0100", "+1-206-555-0100", "+1", "+1234567890123456"),
                *("(206) 555-0100", "00491234", "+1206555010x", "+1２０６５５５０１００", "++12065550100"),
            ],
        ),
        (
            "dob",
            [
                *("1899-12-31", "2026-11-22", "2026-11-23", "2030-01-01", "2001-02-29", "1900-02-29", "2000-04-31"),
                *(
                    "2000-13-01",
                    "2000-00-01",
                    "2000-1-1",
                    "20000101",
                    "01/02/2000",
                    "2000-01-01T00:00:00",
                    "0000-00-00",
                ),
                *("２０００-01-01", "2000-01-01 ", "12000-01-01"),
            ],
        ),
        (
            "ssn",
            [
                *("000-45-6789", "666-45-6789", "900-45-6789", "999-45-6789", "123-00-6789", "123-45-0000"),
                *("123456789", "123 45 6789", "6789", "123-45-678", "1123-45-6789", "123-45-67890", "12３-45-6789"),
            ],
        ),
        ("status", ["active", "GONE", "ACTIVE ", "ACTIVE|DENIED"]),
        ("ban_status", ["BANNED", "allowed"]),
        ("legal_address.country_code", ["us", "USA", "UK", "EU", "XX", "U", "840"]),
        ("legal_address.is_registered_agent", ["True", "1", "yes", "TRUE"]),
        ("vendor_info.vendor_type", ["OTHER", "loanpro"]),
        ("vendor_info.vendor_data.loanpro.customer_id", ["0", "-1", "1.0", "1e3", "012", "１", "x"]),
        ("is_customer", ["True", "0", "no"]),
    ],
)
def test_bad_values_are_refused(name: str, values: list[str]) -> None:
    assert [value for value in values if is_fine(name, value)] == []


@pytest.mark.parametrize(
    ("country", "good", "bad"),
    [
        ("US", "TX DC PR AP AK", "tx Texas TAM XX TXX XTX T"),
        ("CA", "ON QC BC NU YT", "on ONT TX QCX"),
        ("MX", "TAM CMX JAL", "TX tam TAMP MX"),
        ("FR", "75 IDF 2A", "Île idf 75000 I-F"),
        (None, "TX TAM 75", "tx Texas"),
    ],
)
def test_a_state_is_the_subdivision_code_of_its_country(country: str | None, good: str, bad: str) -> None:
    for address in ("legal_address", "shipping_address"):
        assert [code for code in good.split() if not is_fine(f"{address}.state", code, country=country)] == []
        assert [code for code in bad.split() if is_fine(f"{address}.state", code, country=country)] == []


@pytest.mark.parametrize(
    ("country", "good", "bad"),
    [
        ("US", ["02139", "78701-0001"], ["2139", "021390", "02139-1", "02139 0001", "K1A 0B1", "０２１３９", "02139-"]),
        (
            "CA",
            ["K1A 0B1", "K1A0B1", "k1a 0b1", "h2x1y4"],
            ["K1A-0B1", "K1A  0B1", "12345", "K1A", " K1A 0B1", "KIA 0B1"],
        ),
        ("MX", ["06700"], ["6700", "06700-1234", "ABCDE"]),
        ("GB", ["SW1A 1AA", "M1 1AE"], ["X", "SW1A_1AA", "SW1A 1AA SW1A 1AA", "ＳＷ１Ａ"]),
        ("DE", ["10115"], ["10115!"]),
        (None, ["10115", "K1A 0B1"], ["?"]),
    ],
)
def test_a_postal_code_is_that_of_its_country(country: str | None, good: list[str], bad: list[str]) -> None:
    name = "legal_address.postal_code"
    assert [value for value in good if not is_fine(name, value, country=country)] == []
    assert [value for value in bad if is_fine(name, value, country=country)] == []


def test_of_all_ssn_areas_groups_and_serials_only_those_never_given_out_are_refused() -> None:
    field = field_of("ssn")

    def refused(texts: list[str]) -> list[str]:
        values = pd.Series(texts, dtype="str")
        return values[~field.check(values, pd.DataFrame(index=values.index)).astype(bool)].tolist()

    areas = refused([f"{area:03}-45-6789" for area in range(1000)])
    assert {int(text[:3]) for text in areas} == {0, 666, *range(900, 1000)}
    assert refused([f"123-{group:02}-6789" for group in range(100)]) == ["123-00-6789"]
    assert refused([f"123-45-{serial:04}" for serial in range(10_000)]) == ["123-45-0000"]


def test_one_address_is_not_judged_by_the_country_of_the_other() -> None:
    field = field_of("legal_address.postal_code")
    values = pd.Series(["K1A 0B1", "78701"], index=[1, 2], dtype="str")
    context = pd.DataFrame(
        {"legal_address.country_code": ["CA", "US"], "shipping_address.country_code": ["US", "CA"]}, index=[1, 2]
    )
    assert field.check(values, context).tolist() == [True, True]


def test_each_row_is_judged_by_its_own_country_and_keeps_its_number() -> None:
    field = field_of("legal_address.state")
    values = pd.Series(["TX", "TX", "TX", "TX"], index=[9, 4, 7, 2], dtype="str")
    context = pd.DataFrame({"legal_address.country_code": ["US", "MX", None, "CA"]}, index=[9, 4, 7, 2], dtype="str")
    verdicts = field.check(values, context).astype(bool)
    assert verdicts.to_dict() == {9: True, 4: False, 7: True, 2: False}


def test_values_are_judged_with_more_rows_in_the_context_than_are_given() -> None:
    field = field_of("legal_address.postal_code")
    context = pd.DataFrame({"legal_address.country_code": ["US", "CA", "US"]}, index=[1, 2, 3], dtype="str")
    assert field.check(pd.Series(["K1A 0B1"], index=[2], dtype="str"), context).tolist() == [True]


@pytest.mark.parametrize(
    ("country", "text", "kept"),
    [("CA", "k1a0b1", "K1A 0B1"), ("CA", "K1A 0B1", "K1A 0B1"), ("US", "78701", "78701"), (None, "k1a0b1", "k1a0b1")],
)
def test_a_canadian_postal_code_is_compared_as_the_api_rewrites_it(country: str | None, text: str, kept: str) -> None:
    rewrite = field_of("shipping_address.postal_code").rewrite
    assert rewrite is not None
    context = pd.DataFrame({"shipping_address.country_code": [country]}, index=[1], dtype="str")
    assert rewrite(pd.Series([text], index=[1], dtype="str"), context).tolist() == [kept]


def test_no_country_is_named_twice_and_all_249_are_there() -> None:
    assert len(f.COUNTRIES) == len(set(f.COUNTRIES)) == 249
    assert len(f.US_STATES) == len(set(f.US_STATES)) == 60
    assert len(f.CA_PROVINCES) == len(set(f.CA_PROVINCES)) == 13


# --- masks


@each_field
def test_a_mask_shows_codes_and_nothing_that_points_at_a_person(field: Field, sample: str) -> None:
    value = SAMPLES[sample]
    shown = field.mask(value)
    if sample in SHOWN:
        assert shown == value
    else:
        assert value not in shown
        assert max(map(len, re.split("•+", shown))) <= (len("@example.com") if sample == "email" else 5)


@each_field
def test_a_mask_of_nothing_shows_that_there_is_nothing(field: Field, sample: str) -> None:
    assert field.mask("") == ""


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("first_name", "Johanna", "J•••"),
        ("email", "ann@example.com", "a•••@example.com"),
        ("email", "not an address", "n•••"),
        ("phone_number", "+14155550123", "•••23"),
        ("phone_number", "123", "•••"),
        ("dob", "1980-02-29", "1980-••-••"),
        ("dob", "1980", "•••"),
        ("ssn", "123-45-6789", "•••6789"),
        ("ssn", "6789", "•••6789"),
        ("ssn", "678", "•••"),
        ("note", "called", "•••"),
        ("metadata.tier", "gold", "•••"),
        ("legal_address.postal_code", "78701", "7•••"),
        ("legal_address.state", "TX", "TX"),
    ],
)
def test_masks_show_what_the_table_says(name: str, value: str, shown: str) -> None:
    assert field_of(name).mask(value) == shown


# --- the table


@each_field
def test_every_field_says_its_rule_and_takes_its_own_sample(field: Field, sample: str) -> None:
    assert field.rule
    assert is_fine(field.name, SAMPLES[sample], country="US")


@pytest.mark.parametrize(
    "name",
    [
        *("id", "kyc_status", "creation_time", "last_updated_time", "tenant", "addresses", "related_customers"),
        *(
            "legal_address",
            "legal_address.id",
            "legal_address.address_type",
            "legal_address.zip",
            "billing_address.city",
        ),
        *("metadata", "metadata.", "", ".", "first_name.x", "First_Name", "vendor_info", "vendor_info.vendor_data"),
    ],
)
def test_what_is_read_only_an_object_or_unknown_is_no_field(name: str) -> None:
    assert CUSTOMERS.field(name) is None
    assert PERSONS.field(name) is None


def test_persons_know_two_fields_more() -> None:
    assert set(PERSONS.field_names()) - set(CUSTOMERS.field_names()) == {"chosen_name", "is_customer"}
    assert set(CUSTOMERS.field_names()) < set(PERSONS.field_names())


def test_a_resource_that_is_neither_is_a_fault_of_the_job() -> None:
    with pytest.raises(JobError, match="'businesses' is not known"):
        make_target("businesses")


def test_any_key_of_metadata_is_a_field_dots_included() -> None:
    for name in ("metadata.tier", "metadata.a.b", "metadata.with space"):
        assert field_of(name).name == name
    assert not any(name.startswith("metadata") for name in CUSTOMERS.field_names())


def test_what_the_api_does_not_show_is_marked_so() -> None:
    marked = {
        name: field_of(name).visibility
        for name in CUSTOMERS.field_names()
        if field_of(name).visibility is not Visibility.WHOLE
    }
    assert marked == {"ssn": Visibility.MASKED, "note": Visibility.NEVER}


def test_what_the_api_requires_or_cannot_clear_is_marked_so() -> None:
    names = CUSTOMERS.field_names()
    assert {name for name in names if field_of(name).required} == {
        *("legal_address.address_line_1", "legal_address.country_code"),
        *("shipping_address.address_line_1", "shipping_address.country_code"),
        *("vendor_info.vendor_type", "vendor_info.vendor_data.loanpro.customer_id"),
    }
    assert {name for name in names if not field_of(name).clearable} == {"ssn", "status", "ban_status", "note"}


def test_a_ban_needs_its_note_and_nothing_else_does() -> None:
    assert "note" in CUSTOMERS.needs({"ban_status": "SUSPENDED", "email": "a@b.co"})
    assert CUSTOMERS.needs({"ban_status": "SUSPENDED", "note": "why"}) == ""
    assert CUSTOMERS.needs({"email": "a@b.co"}) == ""


def test_an_email_holds_no_blank_of_any_script() -> None:
    check = field_of("email").check
    blanks = [letter for letter in map(chr, range(0x3100)) if re.fullmatch(r"\s", letter)]
    assert len(blanks) == 29
    spoiled = [text.format(letter) for letter in blanks for text in ("a{}b@x.org", "a@x{}y.org", "a@x.o{}g")]
    values = pd.Series([*spoiled, "a@x.org"], dtype="str")
    assert check(values, pd.DataFrame(index=values.index)).tolist() == [False] * len(spoiled) + [True]
