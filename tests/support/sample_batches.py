"""The well-behaved sample inputs: batches in which every row is valid and some rows change nothing.

Rows are keyed by field (`id`, `email`, `legal_address.city`); `tests.support.samples` gives the columns their names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date, timedelta
from typing import Final

from tests.support.sample_customers import (
    LAST_NAMES,
    LEGAL_ADDRESS,
    PLACES,
    Dice,
    Place,
    Record,
    draw_address,
    draw_date_of_birth,
    draw_phone_number,
    draw_place,
    draw_postal_code,
    draw_second_line,
    draw_street,
    email_name,
)

CORRECTION_COUNT: Final = 240
CONFIRMED_COUNT: Final = 31  # the bank had the right address all along
REMOVALS: Final = (  # in the order of LEGAL_ADDRESS
    ("214 Broadway", "Apt 3", "Cambridge", "MA", "02139", "US"),
    ("The Old Mill, 31 River Street", "Unit 12", "Lowell", "MA", "01852", "US"),
    ("58 St. John's Place", "Apt 4F", "Brooklyn", "NY", "11217", "US"),
    ("1120 O'Farrell Street", "# 7", "San Francisco", "CA", "94109", "US"),
    ("4120 Rue Saint-André", "Apt 2", "Montréal", "QC", "H2J 2Z2", "CA"),
    ("Calle José María Morelos 1207", "Piso 2", "Guadalajara", "JAL", "44100", "MX"),
    ("PO Box 318", "c/o Harbor House, Rear", "Nantucket", "MA", "02554-0318", "US"),
    ("77 Congress Street", "Suite 900", "Portland", "ME", "04101", "US"),
)

MIGRATION_COUNT: Final = 1_200
MIGRATED_BEFORE_COUNT: Final = 60  # the record has the new e-mail and number already

EXTRACT_COUNT: Final = 600
EXTRACT_FIELDS: Final = ("first_name", "last_name", "email", "phone_number", "dob", *LEGAL_ADDRESS)


def differs(row: Mapping[str, str | None], customer: Record) -> bool:
    """Tell whether a filled cell of the row (keyed by field) says something else than the record."""
    return any(text and text != customer[name] for name, text in row.items() if name in customer)


def lives_somewhere(customer: Record) -> bool:
    """Tell whether the record holds an address."""
    return customer["legal_address.address_line_1"] is not None


def home_of(customer: Record) -> Place:
    """Return the town the customer lives in."""
    return PLACES[customer["legal_address.city"] or "", customer["legal_address.state"] or ""]


def draw_corrections(customers: Sequence[Record]) -> list[Record]:
    """Draw a batch of returned mail: one row a customer; `returned_on` is the day the letter came back."""
    dice = Dice("address corrections")
    reachable = [customer for customer in customers if lives_somewhere(customer)]
    addressees = dice.sample(reachable, CORRECTION_COUNT)
    confirmed = set(dice.sample(range(len(REMOVALS), CORRECTION_COUNT), CONFIRMED_COUNT))
    rows = []
    for number, customer in enumerate(addressees):
        if number < len(REMOVALS):
            cells: Record = dict(zip(LEGAL_ADDRESS, REMOVALS[number], strict=True))
        elif number in confirmed:
            cells = {name: customer[name] for name in LEGAL_ADDRESS}
        else:
            cells = _draw_change(_correct_address, dice, customer)
        returned_on = date(2026, 10, 12) + timedelta(days=dice.below(30))
        rows.append({"id": customer["id"], **cells, "returned_on": f"{returned_on:%m/%d/%Y}"})
    return dice.sample(rows, len(rows))


def draw_migration(customers: Sequence[Record]) -> list[Record]:
    """Draw the contacts of a bought-up bank's customers, as its system had them; None: it had none."""
    dice = Dice("contact migration")
    migrants = dice.sample(customers, MIGRATION_COUNT)
    before = set(dice.sample(range(MIGRATION_COUNT), MIGRATED_BEFORE_COUNT))
    rows = []
    for number, customer in enumerate(migrants):
        cells: Record = {"email": customer["email"], "phone_number": customer["phone_number"]}
        if number not in before:
            cells = _draw_change(_migrate_contact, dice, customer)
        rows.append({"id": customer["id"], **cells})
    return rows


def draw_extract(customers: Sequence[Record]) -> list[Record]:
    """Draw a night's extract of a core-banking system: whole records, few of which changed since the last."""
    dice = Dice("nightly extract")
    active = [customer for customer in customers if customer["status"] == "ACTIVE"]
    chosen = sorted(dice.sample(range(len(active)), EXTRACT_COUNT))
    changes = (_call,) * 8 + (_write,) * 6 + (_move,) * 6 + (_marry,) * 4 + (_correct_date_of_birth,)
    changed = dict(zip(dice.sample(chosen, len(changes)), changes, strict=True))
    rows = []
    for number in chosen:
        customer = active[number]
        row = {name: customer[name] for name in ("id", *EXTRACT_FIELDS)}
        if number in changed:
            row |= _draw_change(changed[number], dice, customer)
        rows.append(row)
    return rows


def _draw_change(draw: Callable[[Dice, Record], Record], dice: Dice, customer: Record) -> Record:
    """Draw until the cells differ from the record: a random house number may hit the old one."""
    cells = draw(dice, customer)
    while not differs(cells, customer):
        cells = draw(dice, customer)
    return cells


def _correct_address(dice: Dice, customer: Record) -> Record:
    """Correct what the post office objected to; the cells it did not are blank."""
    country = customer["legal_address.country_code"]
    cells: Record = {"legal_address.country_code": None if country == "US" and dice.chance(0.5) else country}
    fault = dice.pick(["moved"] * 4 + ["house number"] * 3 + ["postal code"] * 2 + ["second line"])
    if fault == "moved":
        return _move(dice, customer)
    if fault == "house number":
        cells["legal_address.address_line_1"] = draw_street(dice, home_of(customer))
    if fault in ("house number", "postal code"):
        cells["legal_address.postal_code"] = draw_postal_code(dice, home_of(customer))
    if fault == "second line":
        cells["legal_address.address_line_2"] = draw_second_line(dice)
    return cells


def _migrate_contact(dice: Dice, customer: Record) -> Record:
    new = {"email": _write(dice, customer)["email"], "phone_number": _call(dice, customer)["phone_number"]}
    return {name: dice.pick([text, text, text, customer[name], None]) for name, text in new.items()}


def _move(dice: Dice, customer: Record) -> Record:
    # Blank means "no change", so who moves out of an apartment needs a second line: the old one would stay.
    second_line = customer["legal_address.address_line_2"] is not None or dice.chance(0.3)
    address = draw_address(dice, draw_place(dice), second_line=second_line)
    return {f"legal_address.{part}": text for part, text in address.items()}


def _call(dice: Dice, customer: Record) -> Record:
    place = home_of(customer) if lives_somewhere(customer) else draw_place(dice)
    return {"phone_number": draw_phone_number(dice, place)}


def _write(dice: Dice, customer: Record) -> Record:
    # The id's first characters keep namesakes apart.
    name = email_name(customer["first_name"] or "", customer["last_name"] or "")
    return {"email": f"{name}.{(customer['id'] or '')[:4]}@example.{dice.pick(['net', 'org'])}"}


def _marry(dice: Dice, customer: Record) -> Record:
    return {"last_name": dice.pick(LAST_NAMES)}


def _correct_date_of_birth(dice: Dice, customer: Record) -> Record:
    return {"dob": draw_date_of_birth(dice)}
