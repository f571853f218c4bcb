"""Synctera's fields: one line for each, with rule, mask and visibility.

Source: the published OpenAPI document 0.179.0, `patch_customer`, `patch_person` and `address`; where the schema is
silent (e-mail, SSN, dates), the prose. To add a field, add a line to `synctera_fields`.
"""

from __future__ import annotations  # pandas is loaded when values are checked

import datetime as dt
from collections.abc import Iterator
from typing import TYPE_CHECKING

from bulk_patch.targets import fields as f
from bulk_patch.targets.email_address import is_email_address
from bulk_patch.targets.fields import AtomicObject, Field, Kind, Visibility

if TYPE_CHECKING:
    import pandas as pd

STATUSES = "ACTIVE DECEASED DENIED DORMANT ESCHEAT FROZEN INACTIVE PROSPECT SANCTION".split()
# Areas 000, 666 and 9xx, group 00 and serial 0000 are never issued as an SSN. Area 9xx with the groups of the
# second line is an ITIN, which the same field takes: "full tax ID eg SSN".
SSN = (
    "9[0-9]{2}-(5[0-9]|6[0-5]|7[0-9]|8[0-8]|9[0-24-9])-[0-9]{4}|"
    "(00[1-9]|0[1-9][0-9]|[1-578][0-9]{2}|6[0-57-9][0-9]|66[0-57-9])"
    "-(0[1-9]|[1-9][0-9])-(000[1-9]|00[1-9][0-9]|0[1-9][0-9]{2}|[1-9][0-9]{3})"
)
_COUNTRIES_INSTEAD = {
    **dict.fromkeys(("UK", "GBR", "ENGLAND", "UNITED KINGDOM"), "write GB for the United Kingdom"),
    **dict.fromkeys(("EL", "GRC", "GREECE"), "write GR for Greece"),
    **dict.fromkeys(("XK", "XKX", "KOS", "KOSOVO"), "Kosovo has no code of ISO 3166; ask the bank which one to write"),
    **dict.fromkeys(("USA", "U.S.", "U.S.A.", "UNITED STATES"), "write US for the United States"),
    **dict.fromkeys(("CAN", "CANADA"), "write CA for Canada"),
    **dict.fromkeys(("MEX", "MEXICO"), "write MX for Mexico"),
}
READ_ONLY_PARTS = frozenset({"id", "address_type"})


def _address(name: str) -> Iterator[Field]:
    part = f"{name}.{{}}".format
    country = (part("country_code"),)
    postal = {"US": "[0-9]{5}(-[0-9]{4})?", "CA": "[A-Za-z][0-9][A-Za-z] ?[0-9][A-Za-z][0-9]", "MX": "[0-9]{5}"}
    states = {"US": "|".join(f.US_STATES), "CA": "|".join(f.CA_PROVINCES), "MX": "[A-Z]{3}"}
    yield Field(part("address_line_1"), "a line of text", f.anything, f.first_letter, required=True)
    yield Field(part("address_line_2"), "a line of text", f.anything, f.first_letter)
    yield Field(part("city"), "a name", f.anything, f.first_letter)
    yield Field(
        part("state"),
        "the code of the subdivision: TX in the US, TAM in Mexico",
        f.by_country(name, states, "[A-Z0-9]{1,3}"),
        f.plain,
        depends_on=country,
    )
    yield Field(
        part("postal_code"),
        "5 or 5+4 digits with leading zeros in the US, A1A 1A1 in Canada",
        f.by_country(name, postal, "[A-Za-z0-9 -]{2,12}"),
        f.first_letter,
        rewrite=canadian_postal_code(name),
        depends_on=country,
    )
    yield Field(
        part("country_code"),
        "a country code of ISO 3166: two capital letters",
        f.one_of(f.COUNTRIES),
        f.plain,
        required=True,
        instead=_COUNTRIES_INSTEAD,
    )
    yield Field(part("nickname"), "a line of text", f.anything, f.first_letter)
    yield Field(part("is_registered_agent"), "true or false", f.one_of(("true", "false")), f.plain, Kind.BOOLEAN)


def synctera_fields(resource: str, today: dt.date) -> Iterator[Field]:
    """Yield the fields that a PATCH may carry.

    Args:
        resource: `customers` or `persons`, which knows a few more.
        today: Dates of birth must be before it.
    """
    yield Field("first_name", "a name", f.anything, f.first_letter)
    yield Field("middle_name", "a name", f.anything, f.first_letter)
    yield Field("last_name", "a name", f.anything, f.first_letter)
    yield Field("email", "an address such as name@example.com", is_email_address, f.mailbox)
    yield Field(
        "phone_number",
        "an E.164 number: + and the country code first, such as +14155550123",
        f.matches(r"\+[1-9][0-9]{1,14}"),
        f.last_two,
    )
    yield Field(
        "dob",
        "a real date YYYY-MM-DD, not before 1900 and before today",
        f.date_between(dt.date(1900, 1, 1), today),
        f.year,
        holds_date=True,
    )
    yield Field(
        "ssn",
        "an SSN or ITIN such as 123-45-6789 with leading zeros, in a range that is issued",
        f.matches(SSN),
        f.last_four,
        visibility=Visibility.MASKED,
        clearable=False,
    )
    yield Field("status", "one of " + ", ".join(STATUSES), f.one_of(STATUSES), f.plain, clearable=False)
    yield Field("ban_status", "ALLOWED or SUSPENDED", f.one_of(("ALLOWED", "SUSPENDED")), f.plain, clearable=False)
    yield Field("note", "a line of text", f.anything, f.hidden, visibility=Visibility.NEVER, clearable=False)
    yield from _address("legal_address")
    yield from _address("shipping_address")
    yield Field("vendor_info.vendor_type", "LOANPRO", f.one_of(("LOANPRO",)), f.plain, required=True)
    yield Field(
        "vendor_info.vendor_data.loanpro.customer_id",
        "a whole number, 1 or more",
        f.matches("[1-9][0-9]{0,17}"),
        f.last_two,
        Kind.INTEGER,
        required=True,
    )
    if resource == "persons":
        yield Field("chosen_name", "a name", f.anything, f.first_letter)
        yield Field(
            "is_customer",
            "true or false",
            f.one_of(("true", "false")),
            f.plain,
            Kind.BOOLEAN,
            clearable=False,
        )


ATOMIC_OBJECTS = {
    "legal_address": AtomicObject("legal_address", ("address_line_1", "country_code"), READ_ONLY_PARTS),
    "shipping_address": AtomicObject("shipping_address", ("address_line_1", "country_code"), READ_ONLY_PARTS),
    "vendor_info": AtomicObject("vendor_info", ("vendor_type", "vendor_data")),
    "metadata": AtomicObject("metadata", open=True),
}


# --- Canada


def canadian_postal_code(object_name: str) -> f.Rewrite:
    """Make the rewrite that the API documents: any case and spacing become `A1A 1A1`."""

    def rewrite(values: pd.Series, context: pd.DataFrame) -> pd.Series:
        here = f.country_of(object_name, values, context) == "CA"
        if not here.any():
            return values
        tight = values.str.replace(" ", "", regex=False).str.upper()
        return values.where(~here, tight.str.slice(0, 3) + " " + tight.str.slice(3))

    return rewrite


def canadian(postal_code: str) -> str:
    """Rewrite a Canadian postal code as the API documents it: any case and spacing become `A1A 1A1`."""
    tight = postal_code.replace(" ", "").upper()
    return f"{tight[:3]} {tight[3:]}"
