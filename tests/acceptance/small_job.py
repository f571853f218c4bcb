"""A job of a few rows, written for one test, and the customers that it is about."""

import csv
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bulk_patch.sandbox import Sandbox
from tests.acceptance.commands import Workspace

NAME = "small"
FILE = "jobs/small.toml"
TOKEN = "a-token-of-the-production-system"
NOTHING_TO_COMPARE = ("--set", "baseline.kind=none")
HOME = {
    "address_line_1": "1 Main Street",
    "city": "Austin",
    "state": "TX",
    "postal_code": "78701",
    "country_code": "US",
}

_JOB = """
name = "small"
[input]
path = "../sample_inputs/small.csv"
id = "customer_id"
[baseline]
kind = "live"
[target]
kind = "synctera"
base_url = "https://api.example.com/v0"
token = "env:SYNCTERA_API_KEY"
[limits]
rate_per_s = "unlimited"
concurrency = 4
timeout_s = 10
[retry]
attempts = 3
longest_delay_s = 0.1
[guards]
canary = 0
max_invalid = "100%"
max_failures = "100%"
[sandbox]
customers = "../sample_inputs/small_world.csv"
"""


def id_of(number: int) -> str:
    """Return the id of a customer; the first is number 1."""
    return str(uuid.UUID(int=0x4000_8000_0000_0000_0000 + number))


def people(count: int) -> list[dict[str, Any]]:
    """Return so many customers."""
    return [
        {
            "id": id_of(number),
            "first_name": "Ann",
            "last_name": "Example",
            "email": f"ann{number}@example.com",
            "status": "ACTIVE",
            "legal_address": dict(HOME),
        }
        for number in range(1, count + 1)
    ]


def new_emails(*numbers: int, domain: str = "example.org") -> list[dict[str, str]]:
    """Return one row for each of these customers, with another e-mail address than it has."""
    return [{"customer_id": id_of(number), "email": f"new{number}@{domain}"} for number in numbers]


def write_job(workspace: Workspace, rows: Sequence[Mapping[str, str]], *, world: int = 12) -> None:
    """Write the job, its input, and the world of its rehearsal.

    Args:
        workspace: Where to.
        rows: The input.
        world: How many customers a rehearsal has.
    """
    for folder in ("jobs", "sample_inputs"):
        (workspace.root / folder).mkdir(exist_ok=True)
    (workspace.root / FILE).write_text(_JOB, encoding="utf-8")
    write_rows(workspace.root / "sample_inputs" / "small_world.csv", [_flat(person) for person in people(world)])
    write_input(workspace, rows)


def write_input(workspace: Workspace, rows: Sequence[Mapping[str, str]]) -> None:
    """Write the job's input."""
    write_rows(input_path(workspace), rows)


def input_path(workspace: Workspace) -> Path:
    """Return where the job's input is."""
    return workspace.root / "sample_inputs" / "small.csv"


def write_rows(path: Path, rows: Sequence[Mapping[str, str]]) -> None:
    """Write a CSV file; rows may leave columns out."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def aimed_at(api: Sandbox) -> list[str]:
    """Return the flags that aim the job at an API and send without a question."""
    return ["--set", f"target.base_url={api.base_url}", "--yes"]


def planned_at(api: Sandbox) -> list[str]:
    """Return the flags that aim a command at an API that does not ask anyhow."""
    return aimed_at(api)[:-1]


def with_export(workspace: Workspace, *, domain: str = "example.com") -> list[str]:
    """Write an export of the customers, and return the flags that make it the baseline."""
    path = workspace.root / "sample_inputs" / "export.csv"
    write_rows(path, [{"id": id_of(number), "email": f"ann{number}@{domain}"} for number in range(1, 13)])
    return ["--set", "baseline.kind=file", "--set", f"baseline.path={path}"]


def baseline_flags(workspace: Workspace, kind: str) -> list[str]:
    """Return the flags that let the job compare with nothing, with an export, or with what the API has."""
    return {"live": [], "none": list(NOTHING_TO_COMPARE), "file": with_export(workspace)}[kind]


def sent_ids(api: Sandbox) -> list[str]:
    """Return whom the PATCHes that an API has seen were about, sorted: concurrent requests arrive in any order."""
    return sorted(entry["customer_id"] for entry in patches(api))


def patches(api: Sandbox) -> list[dict[str, Any]]:
    """Return the PATCHes that an API has seen, in order."""
    return [entry for entry in api.requests if entry["method"] == "PATCH"]


def _flat(person: Mapping[str, Any]) -> dict[str, str]:
    home = {f"legal_address.{part}": text for part, text in person["legal_address"].items()}
    return {name: text for name, text in person.items() if name != "legal_address"} | home
