"""Judge a PATCH, apply it, and show a customer, as the API documents it. Pure: no clock, no I/O.

A customer is kept with everything the API knows, the whole SSN and the list of notes included.
"""

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID, uuid5

from .fields import (
    ADDRESS_PARTS,
    ADDRESS_READ_ONLY,
    ADDRESS_REQUIRED,
    ADDRESSES,
    CANADIAN_CODE,
    CLEARABLE,
    PERSONS,
    STATUSES,
    Document,
    Resource,
    address_rules,
)
from .problems import Answer, problem

_EARLIEST_BIRTH = date(1900, 1, 1)
_FINAL_STATUSES = frozenset(("DECEASED", "ESCHEAT"))
_REQUIRED_WHEN_ACTIVE = ("first_name", "last_name", "dob")


@dataclass(slots=True)
class _Findings:
    """Everything wrong with a body, gathered so that one answer names it all."""

    missing: list[str] = field(default_factory=list)
    invalid: dict[str, str] = field(default_factory=dict)
    immutable: list[str] = field(default_factory=list)

    def refusal(self) -> Answer | None:
        """Word the findings as the API's own error, or None when there are none."""
        found = {"missing": self.missing, "invalid": self.invalid, "immutable": self.immutable}
        members: dict[str, Any] = {name: fields for name, fields in found.items() if fields}
        if not members:
            return None
        detail = "; ".join(f"{name} fields: {', '.join(fields)}" for name, fields in members.items())
        return problem("BAD_REQUEST_BODY", detail, **members)


def refuse(payload: Document, before: Document, *, resource: Resource, today: date) -> Answer | None:
    """Say what is wrong with a PATCH body for this customer, or None when the API would take it.

    Args:
        payload: The body. Members the resource does not know pass: the schema allows them.
        before: The customer as stored.
        resource: The view the PATCH was sent to.
        today: The day that a date of birth must precede.
    """
    findings = _Findings()
    findings.immutable.extend(sorted(resource.read_only & payload.keys()))
    for name, rule in resource.rules.items():
        if name not in payload or _is_clear(name, payload[name]):
            continue
        value = payload[name]
        complaint = "must not be null" if value is None else rule(value)
        if complaint:
            findings.invalid[name] = complaint
        elif name in ADDRESSES:
            _check_address(value, name, findings)
        elif name == "dob":
            _check_birth(value, today, findings)
    if not findings.invalid:
        _check_ban(payload, before, findings)
        _check_active(payload, before, findings)
    return findings.refusal() or _refuse_by_state(payload, before)


def without_clears(payload: Document) -> Document:
    """Return a PATCH body without the members that would clear a field."""
    return {name: value for name, value in payload.items() if not _is_clear(name, value)}


def _is_clear(name: str, value: Any) -> bool:
    return value == "" and name in CLEARABLE


def _check_birth(value: str, today: date, findings: _Findings) -> None:
    try:
        is_valid = _EARLIEST_BIRTH <= date.fromisoformat(value) < today
    except ValueError:
        is_valid = False
    if not is_valid:
        findings.invalid["dob"] = "must be a real day from 1900-01-01 and before today"


def _check_address(address: Document, where: str, findings: _Findings) -> None:
    findings.immutable.extend(f"{where}.{part}" for part in ADDRESS_READ_ONLY if part in address)
    given = {part: value for part, value in address.items() if value != ""}
    findings.missing.extend(f"{where}.{part}" for part in ADDRESS_REQUIRED if part not in given)
    for part, rule in address_rules(given.get("country_code")).items():
        complaint = rule(given[part]) if part in given else None
        if complaint:
            findings.invalid[f"{where}.{part}"] = complaint


def _check_ban(payload: Document, before: Document, findings: _Findings) -> None:
    was = before.get("ban_status", "ALLOWED")
    wanted = payload.get("ban_status", was)
    if wanted == was:
        return
    if "BANNED" in (was, wanted):
        findings.invalid["ban_status"] = "only the platform bans and lifts a ban"
    elif not payload.get("note"):
        findings.missing.append("note")


def _check_active(payload: Document, before: Document, findings: _Findings) -> None:
    """Require what an active customer must have, of a PATCH that activates one or clears it."""
    status = payload.get("status", before.get("status"))
    if status != "ACTIVE":
        return
    activates = before.get("status") != "ACTIVE"
    for name in _REQUIRED_WHEN_ACTIVE:
        cleared = payload.get(name) == ""
        if cleared or (activates and name not in payload and name not in before):
            findings.missing.append(name)


def _refuse_by_state(payload: Document, before: Document) -> Answer | None:
    """Refuse what the customer's present state forbids.

    The transition table is not published. This one is plausible: nobody comes back from the dead or the
    state's treasury, and a customer does not become a prospect again.
    """
    if payload.get("tenant", before.get("tenant")) != before.get("tenant"):
        return problem("INVALID_TENANCY", "a person stays with their tenant")
    was = before["status"]
    wanted = payload.get("status", was)
    others = [] if was in _FINAL_STATUSES else [status for status in STATUSES if status != "PROSPECT"]
    if wanted == was or wanted in others:
        return None
    valid = sorted({was, *others})
    return problem("INVALID_STATUS", "this status cannot follow the present one", valid_status=valid)


def apply(payload: Document, before: Document, *, resource: Resource, merges: bool) -> Document:
    """Return the customer after an accepted PATCH; ``before`` is left alone.

    Args:
        payload: A body that `refuse` found nothing wrong with.
        before: The customer as stored.
        resource: The view the PATCH was sent to.
        merges: Whether objects are merged into the stored ones; else they replace them whole.
    """
    after = dict(before)
    for name in filter(payload.__contains__, resource.rules):
        value = payload[name]
        if name == "note":
            if value:
                after["notes"] = [*before.get("notes", ()), value]
        elif _is_clear(name, value):
            after.pop(name, None)
        elif isinstance(value, dict):
            new = _tidy_address(value) if name in ADDRESSES else value
            after[name] = {**before.get(name, {}), **new} if merges else new
        else:
            after[name] = value
    if "legal_address" in payload and "shipping_address" not in payload and "shipping_address" not in before:
        after["shipping_address"] = dict(after["legal_address"])
    return after


def _tidy_address(address: Document) -> Document:
    """Store an address as the server does: blank parts left out, Canadian codes as ``A1A 1A1``."""
    # `is_registered_agent` is documented to be left out when it is false.
    tidy = {part: value for part, value in address.items() if part in ADDRESS_PARTS and value not in ("", False)}
    if tidy["country_code"] == "CA" and (halves := CANADIAN_CODE.fullmatch(tidy.get("postal_code", ""))):
        tidy["postal_code"] = " ".join(halves.groups()).upper()
    return tidy


def show(customer: Document, resource: Resource) -> Document:
    """Return a customer as a resource answers it: SSN masked, addresses with ids, unset fields absent."""
    answer = {name: value for name, value in customer.items() if name not in resource.hidden}
    if "ssn" in answer:
        answer["ssn"] = answer["ssn"][-4:]
    addresses = []
    for name in ADDRESSES:
        if name in answer:
            identity = {
                "id": str(uuid5(UUID(customer["id"]), name)),
                "address_type": name.removesuffix("_address").upper(),
            }
            answer[name] = {**answer[name], **identity}
            addresses.append(answer[name])
    if resource is PERSONS:
        kyc_status = customer["kyc_status"]
        answer["verification_status"] = "PENDING" if kyc_status == "PROVIDER_FAILURE" else kyc_status
        if "kyc_last_run" in customer:
            answer["verification_last_run"] = customer["kyc_last_run"]
    elif addresses:
        answer["addresses"] = addresses
    return answer


def time_text(unix_s: float) -> str:
    """Write a time as the API does: RFC 3339, microseconds, ``Z``."""
    return datetime.fromtimestamp(unix_s, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def next_update(before: str, unix_s: float) -> str:
    """Return the time of an update: now, but always later than the update before it."""
    now = time_text(unix_s)
    if now > before:
        return now
    last = datetime.fromisoformat(before) + timedelta(microseconds=1)
    return last.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
