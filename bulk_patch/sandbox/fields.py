"""What the API documents of each field: its rule, who may write it, and which resource shows it.

Customers and persons are two views of the same people, who are kept as one flat document each.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Document = dict[str, Any]
Rule = Callable[[Any], str | None]  # a value -> what is wrong with it, if anything; never repeats the value

STATUSES = (
    *("ACTIVE", "DECEASED", "DENIED", "DORMANT", "ESCHEAT"),
    *("FROZEN", "INACTIVE", "PROSPECT", "SANCTION"),
)
ADDRESSES = ("legal_address", "shipping_address")
ADDRESS_REQUIRED = ("address_line_1", "country_code")
ADDRESS_READ_ONLY = ("id", "address_type")
CANADIAN_CODE = re.compile(r"([A-Za-z][0-9][A-Za-z]) ?([0-9][A-Za-z][0-9])")
CLEARABLE = frozenset(("first_name", "middle_name", "last_name", "chosen_name", "email", "phone_number", "dob", "ssn"))
# What KYC looks at.
PERSONAL = frozenset(("first_name", "middle_name", "last_name", "dob", "ssn", "email", "phone_number", "legal_address"))


def _text(value: Any) -> str | None:
    return None if isinstance(value, str) else "must be a string"


def _object(value: Any) -> str | None:
    return None if isinstance(value, dict) else "must be an object"


def _boolean(value: Any) -> str | None:
    return None if isinstance(value, bool) else "must be true or false"


def _shape(pattern: str, hint: str) -> Rule:
    compiled = re.compile(pattern)

    def rule(value: Any) -> str | None:
        return None if isinstance(value, str) and compiled.fullmatch(value) else hint

    return rule


def _one_of(*names: str) -> Rule:
    return lambda value: None if value in names else f"must be one of {', '.join(names)}"


def _vendor_info(value: Any) -> str | None:
    match value:
        case {"vendor_type": "LOANPRO", "vendor_data": {"loanpro": {"customer_id": int(number)}}}:
            is_valid = number >= 1 and not isinstance(number, bool)
            return None if is_valid else "loanpro.customer_id must be 1 or more"
        case {"vendor_type": "LOANPRO", "vendor_data": dict(data)} if "loanpro" not in data:
            return None
    return "must have vendor_type LOANPRO and vendor_data with an integer loanpro.customer_id"


_TWO_CAPITALS = _shape("[A-Z]{2}", "must be two capital letters")
_ADDRESS_RULES: Mapping[str, Rule] = {
    "address_line_1": _text,
    "address_line_2": _text,
    "city": _text,
    "state": _shape(r"[A-Z0-9]{1,3}", "must be an ISO 3166-2 code without the country"),
    "postal_code": _text,
    "country_code": _TWO_CAPITALS,
    "nickname": _text,
    "is_registered_agent": _boolean,
}
_ADDRESS_RULES_BY_COUNTRY: Mapping[str, Mapping[str, Rule]] = {
    "US": {
        **_ADDRESS_RULES,
        "state": _TWO_CAPITALS,
        "postal_code": _shape(r"[0-9]{5}(-[0-9]{4})?", "must be NNNNN or NNNNN-NNNN"),
    },
    "CA": {
        **_ADDRESS_RULES,
        "state": _TWO_CAPITALS,
        "postal_code": _shape(CANADIAN_CODE.pattern, "must be A1A 1A1 or A1A1A1"),
    },
    "MX": {**_ADDRESS_RULES, "state": _shape("[A-Z]{3}", "must be three capital letters")},
}
ADDRESS_PARTS = frozenset(_ADDRESS_RULES)


def address_rules(country: Any) -> Mapping[str, Rule]:
    """Return the rules for the parts of an address in a country."""
    by_country = _ADDRESS_RULES_BY_COUNTRY.get(country) if isinstance(country, str) else None
    return by_country or _ADDRESS_RULES


_SHARED_RULES: Mapping[str, Rule] = {
    "first_name": _text,
    "middle_name": _text,
    "last_name": _text,
    "email": _text,
    "phone_number": _shape(r"\+[1-9][0-9]{1,14}", "must be E.164: + and 2 to 15 digits"),
    "dob": _shape("[0-9]{4}-[0-9]{2}-[0-9]{2}", "must be a day YYYY-MM-DD"),
    "ssn": _shape("[0-9]{3}-[0-9]{2}-[0-9]{4}", "must look like NNN-NN-NNNN"),
    "status": _one_of(*STATUSES),
    "ban_status": _one_of("ALLOWED", "BANNED", "SUSPENDED"),
    "note": _text,
    "metadata": _object,
    "vendor_info": _vendor_info,
    "legal_address": _object,
    "shipping_address": _object,
}


@dataclass(frozen=True, slots=True)
class Resource:
    """One of the two views.

    Attributes:
        name: Its path segment, and the member that its lists are in.
        rules: Rules of the fields that a PATCH may hold.
        read_only: Fields that a PATCH must not hold.
        hidden: Stored fields that its answers leave out.
    """

    name: str
    rules: Mapping[str, Rule]
    read_only: frozenset[str]
    hidden: frozenset[str]


_READ_ONLY = frozenset(("id", "creation_time", "last_updated_time", "has_accounts", "classifications", "ssn_source"))
CUSTOMERS = Resource(
    name="customers",
    rules=_SHARED_RULES,
    read_only=_READ_ONLY | {"kyc_status", "kyc_last_run", "kyc_exempt", "addresses", "tenant", "related_customers"},
    hidden=frozenset(("notes", "chosen_name", "is_customer", "is_user", "customer_active")),
)
PERSONS = Resource(
    name="persons",
    rules={**_SHARED_RULES, "chosen_name": _text, "is_customer": _boolean, "tenant": _text},
    read_only=_READ_ONLY
    | {"verification_status", "verification_last_run", "customer_active", "is_user", "personal_ids"},
    hidden=frozenset(("notes", "kyc_status", "kyc_last_run", "kyc_exempt")),
)
RESOURCES: Mapping[str, Resource] = {resource.name: resource for resource in (CUSTOMERS, PERSONS)}
