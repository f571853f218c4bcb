"""What the comparison of peers is played on: customers, an input, an API with faults, and what is true afterwards."""

import csv
import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from bulk_patch.sandbox.world import World
from tests.bench.processes import BULK_PATCH, read_line, started

RATE_PER_S = 100
LATENCY_MS = 10
FAULTS = "500-after=0.02,drop=0.005,reset=0.005"
THROTTLING = "429=0.02"
#: Of 5,000 rows: how many of each kind.
SHARES = {"changed": 2710, "unchanged": 2000, "invalid": 150, "alike": 100, "contradicting": 40}
WHOLE = sum(SHARES.values())


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the input."""

    number: int  # the first is 1
    kind: str
    customer_id: str
    email: str
    first_name: str

    @property
    def body(self) -> dict[str, str]:
        """Return what it asks for."""
        return {"email": self.email, "first_name": self.first_name}


@dataclass(frozen=True, slots=True)
class Truth:
    """What came of a program's run, by the API's log and its customers, beside what the program said.

    Attributes:
        lost: Changes that were not made, of which the program did not say so.
        false: Rows that it called done and are not, or called failed and are done.
        doubled: Customers whose change was executed more than once.
        needless: Requests that changed nothing or that nobody wanted: for rows that are unchanged, invalid or
            contradict each other, and again after a 200.
        worst_second: Requests in the fullest second, by the API's clock.
        requests: All of them, reads too.
        wall_s: From the first start to the last end, the kill included.
        starts: Of the program.
    """

    lost: int
    false: int
    doubled: int
    needless: int
    worst_second: int
    requests: int
    wall_s: float
    starts: int


def make_rows(count: int) -> list[Row]:
    """Return rows of every kind, mixed; some names hold what has to be quoted.

    Args:
        count: How many; the shares are those of 5,000.
    """
    kinds: list[str] = []
    for kind, share in SHARES.items():
        many = max(2, round(share * count / WHOLE))
        kinds += [kind] * (many + many % 2 if kind in ("alike", "contradicting") else many)
    rows: list[Row] = []
    pairs: Counter[str] = Counter()
    for number, kind in enumerate(sorted(kinds, key=lambda kind: kind in ("alike", "contradicting")), 1):
        customer, email = number, f"new{number}@example.org"
        if kind in ("alike", "contradicting"):  # two rows of one customer, one after the other
            pairs[kind] += 1
            customer = number - (pairs[kind] + 1) % 2
            email = f"new{customer if kind == 'alike' else number}@example.org"
        if kind == "invalid":
            email = f"new{number} at example.org"
        if kind == "unchanged":
            email = f"old{number}@example.com"
        rows.append(Row(number, kind, str(UUID(int=customer)), email, _first_name(customer)))
    return rows


def _first_name(customer: int) -> str:
    return f'Ann "{customer}" O\'Neil, jr.' if customer % 15 == 0 else f"Ann{customer}"


def write_input(rows: list[Row], folder: Path) -> None:
    """Write input.csv, and rows.tsv and rows.json for programs that read no CSV."""
    with (folder / "input.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["customer_id", "email", "first_name"])
        writer.writerows([row.customer_id, row.email, row.first_name] for row in rows)
    lines = [{"id": row.customer_id, "body": json.dumps(row.body), "key": f"peer-{row.number}"} for row in rows]
    (folder / "rows.json").write_text(json.dumps(lines))
    (folder / "rows.tsv").write_text("".join(f"{one['id']}\t{one['body']}\t{one['key']}\n" for one in lines))


@contextmanager
def serving(rows: list[Row], folder: Path, *, throttles: bool) -> Iterator[str]:
    """Serve the customers of these rows; yield the base URL. state/ and requests.jsonl are in the folder."""
    with (folder / "customers.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "email", "first_name", "status"])
        for customer_id in dict.fromkeys(row.customer_id for row in rows):
            number = UUID(customer_id).int
            writer.writerow([customer_id, f"old{number}@example.com", _first_name(number), "ACTIVE"])
    faults = f"{FAULTS},{THROTTLING}" if throttles else FAULTS
    words = ["sandbox", "--customers", folder / "customers.csv", "--state", folder / "state", "--faults", faults]
    words += ["--log", log_of(folder), "--latency", LATENCY_MS, "--seed", 5, "--token", "x"]
    with started([*BULK_PATCH, *map(str, words)]) as server:
        yield read_line(server)


def log_of(folder: Path) -> Path:
    """Return the API's log."""
    return folder / "requests.jsonl"


def count_requests(folder: Path) -> int:
    """Return how many requests the API has had."""
    log = log_of(folder)
    return log.read_bytes().count(b"\n") if log.exists() else 0


def find_truth(rows: list[Row], folder: Path, said: Mapping[int, bool], *, wall_s: float, starts: int) -> Truth:
    """Compare what a program said with what the API did; the server has ended.

    Args:
        rows: Of the input.
        folder: Of the API.
        said: Row number -> done or failed; a row that is missing was not spoken of.
        wall_s: What the program took.
        starts: How often it was started.
    """
    log = [json.loads(line) for line in log_of(folder).read_text().splitlines()]
    world = World(folder / "state")
    emails = {row.customer_id: (world.find(row.customer_id) or {}).get("email") for row in rows}
    world.close()
    is_done = {row.number: emails[row.customer_id] == row.email for row in rows}
    wanted = {row.customer_id for row in rows if row.kind in ("changed", "alike")}
    executed: Counter[str] = Counter()
    answered: set[str] = set()
    needless = 0
    for entry in log:
        if entry["method"] != "PATCH":
            continue
        customer_id = entry["path"].rpartition("/")[2]
        needless += customer_id not in wanted or customer_id in answered
        executed[customer_id] += bool(entry["executed"])
        if entry["status"] == 200:
            answered.add(customer_id)
    return Truth(
        lost=sum(row.customer_id in wanted and not is_done[row.number] and said.get(row.number, True) for row in rows),
        false=sum(said[row.number] is not is_done[row.number] for row in rows if row.number in said),
        doubled=sum(times > 1 for times in executed.values()),
        needless=needless,
        worst_second=_fullest_second([entry["t"] for entry in log]),
        requests=len(log),
        wall_s=wall_s,
        starts=starts,
    )


def _fullest_second(times: list[float]) -> int:
    times, first, most = sorted(times), 0, 0
    for last, at in enumerate(times):
        while at - times[first] > 1:
            first += 1
        most = max(most, last - first + 1)
    return most


def count_lines(module: str) -> int:
    """Return the lines of code of a module of the benchmarks, without blank ones and its docstring."""
    lines = Path(str(sys.modules[module].__file__)).read_text().partition('"""\n\n')[2].splitlines()
    return sum(bool(line.strip()) for line in lines)
