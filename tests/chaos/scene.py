"""A job, its input and its world, drawn from a seed: every value is a marker that occurs nowhere else."""

import csv
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

from tests.support.private import write_private

JOB = "chaos"
TOKEN = "token-Zxqvjwpkhm-7319"
NEW_TOKEN = "token-Hmkpwjvqxz-9137"
COLUMNS: Mapping[str, str] = {
    "customer_id": "",
    "first": "first_name",
    "middle": "middle_name",
    "last": "last_name",
    "ssn": "ssn",
    "note": "note",
    "street": "legal_address.address_line_1",
    "town": "legal_address.city",
    "zip": "legal_address.postal_code",
    "country": "legal_address.country_code",
}
_LETTERS = "bcdfghjklmnpqrstvwxz"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a trial sets in its job and world; delays are short, so that a trial is."""

    baseline: str = "live"
    drift: str = "auto"
    rate_per_s: float = 400.0
    concurrency: int = 8
    canary: int = 0
    attempts: int = 8
    timeout_s: float = 1.0
    longest_delay_s: float = 0.02
    give_up_after_s: float = 20.0
    latency_ms: float = 0.0
    clears: bool = True


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What a trial starts from."""

    settings: Settings
    customers: Sequence[dict[str, Any]]
    rows: Sequence[Mapping[str, str]]  # by column of the input
    planned: Mapping[int, str]
    markers: Sequence[str]
    job: str = field(default=JOB)

    @property
    def ids(self) -> list[str]:
        """Return the customers of the rows, in order."""
        return [row["customer_id"] for row in self.rows]

    def write(self, folder: Path, base_url: str) -> Path:
        """Write input, baseline file, token and job file; return the job file."""
        _write_csv(folder / "input.csv", list(COLUMNS), self.rows)
        names = [name for name in COLUMNS.values() if name not in ("", "ssn", "note")]
        seeds = [{"id": one["id"], **{name: _text(one, name) for name in names}} for one in self.customers]
        _write_csv(folder / "customers.csv", ["id", *names], seeds)
        write_private(folder / "token", TOKEN)
        file = folder / "job.toml"
        file.write_text(_job(self.settings, base_url))
        return file

    def story(self) -> dict[str, Any]:
        """Return what the evidence has to say of the scene."""
        return {
            "job": self.job,
            "markers": self.markers,
            "fields": COLUMNS,
            "baseline": self.settings.baseline,
            "planned": self.planned,
            "rate_per_s": self.settings.rate_per_s,
            "concurrency": self.settings.concurrency,
            "hold_s": self.settings.latency_ms / 1000,
            "clears": self.settings.clears,
            "timeout_s": self.settings.timeout_s,
        }


def draw(dice: random.Random, *, rows: int, settings: Settings, kinds: Sequence[str]) -> Scene:
    """Draw a scene.

    Args:
        dice: Where everything comes from.
        rows: Data rows of the input.
        settings: Of job and world.
        kinds: What rows are drawn from: name, address, both, note, ssn, clear, same, invalid, duplicate.
    """
    markers: list[str] = []

    def mark() -> str:
        markers.append("".join(dice.choices(_LETTERS, k=11)).capitalize())
        return markers[-1]

    customers: list[dict[str, Any]] = []
    lines: list[dict[str, str]] = []
    planned: dict[int, str] = {}
    for number in range(1, rows + 1):
        customer = _customer(dice, mark)
        kind = dice.choice(kinds)
        if kind == "duplicate" and lines and planned[number - 1] == "pending":
            lines.append(dict(lines[-1]))
            planned[number] = "duplicate"
            continue
        known = settings.baseline != "none"
        kind = "name" if kind == "duplicate" or (kind == "same" and not known) else kind
        customers.append(customer)
        lines.append({"customer_id": customer["id"], **_wanted(dice, mark, kind, customer, known=known)})
        planned[number] = {"same": "unchanged", "invalid": "invalid"}.get(kind, "pending")
    return Scene(settings=settings, customers=customers, rows=lines, planned=planned, markers=markers)


def _customer(dice: random.Random, mark: Any) -> dict[str, Any]:
    return {
        "id": str(UUID(int=dice.getrandbits(128), version=4)),
        "first_name": mark(),
        "middle_name": mark(),
        "last_name": mark(),
        "status": "ACTIVE",
        "dob": "1980-02-29",
        "legal_address": _address(dice, mark),
    }


def _address(dice: random.Random, mark: Any) -> dict[str, str]:
    return {
        "address_line_1": f"{dice.randint(1, 99)} {mark()}",
        "city": mark(),
        "postal_code": f"{dice.randint(10000, 99999)}",
        "country_code": "US",
    }


def _wanted(dice: random.Random, mark: Any, kind: str, customer: Mapping[str, Any], *, known: bool) -> dict[str, str]:
    """Return the cells of a row of this kind."""
    address = _address(dice, mark)
    whole = {column: address[name.partition(".")[2]] for column, name in COLUMNS.items() if "." in name}
    # Without a baseline an address has to be whole; with one its other parts come from there.
    moved = {"town": address["city"]} if known and dice.random() < 0.5 else whole
    if known and "town" in moved and len(moved) > 1:
        moved.pop("country")
    wanted: dict[str, dict[str, str]] = {
        "name": {"first": mark()},
        "address": moved,
        "both": {"last": mark(), **moved},
        "note": {"first": mark(), "note": mark()},
        "ssn": {"last": mark(), "ssn": f"{dice.randint(700, 799)}-{dice.randint(10, 99)}-{dice.randint(1000, 9999)}"},
        "clear": {"first": mark(), "middle": "<CLEAR>"},
        "same": {"first": str(customer["first_name"])},
        "invalid": {"first": mark(), "country": "ZZZ", "street": mark()},
    }
    return wanted[kind]


def _text(customer: Mapping[str, Any], name: str) -> str:
    top, _, part = name.partition(".")
    value = customer.get(top, "")
    return str(value.get(part, "")) if part else str(value)


def _write_csv(file: Path, columns: Sequence[str], rows: Sequence[Mapping[str, str]]) -> None:
    with file.open("w", newline="", encoding="utf-8") as out:
        writer = csv.DictWriter(out, columns, restval="")
        writer.writeheader()
        writer.writerows(rows)


def _job(settings: Settings, base_url: str) -> str:
    renamed = "\n".join(f'{column} = "{name}"' for column, name in COLUMNS.items() if name and column != "ssn")
    path = '\npath = "customers.csv"' if settings.baseline == "file" else ""
    return f"""
name = "{JOB}"
[input]
path = "input.csv"
id = "customer_id"
may_clear = ["middle_name"]
[input.rename]
{renamed}
[baseline]
kind = "{settings.baseline}"{path}
[target]
kind = "synctera"
base_url = "{base_url}"
token = "file:token"
[limits]
rate_per_s = {settings.rate_per_s}
concurrency = {settings.concurrency}
timeout_s = {settings.timeout_s}
[retry]
attempts = {settings.attempts}
longest_delay_s = {settings.longest_delay_s}
give_up_after_s = {settings.give_up_after_s}
[guards]
canary = {settings.canary}
max_failures = "100%"
max_invalid = "100%"
drift = "{settings.drift}"
[sandbox]
customers = "customers.csv"
"""
