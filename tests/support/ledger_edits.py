"""Edits of a SQLite ledger by somebody who computes all hashes again: only a head that was kept elsewhere tells."""

from collections import defaultdict
from pathlib import Path

from bulk_patch.ledgers.events import Progress, encode_rows
from bulk_patch.ledgers.sqlite import chain_queries
from bulk_patch.ledgers.sqlite.ledger import SqliteLedger
from bulk_patch.ledgers.sqlite.planning import span

_TOUCHED = (
    f"SELECT {chain_queries.PROGRESS}, p.row FROM progress AS p WHERE p.event IS NOT NULL AND p.id BETWEEN ? AND ?"
)


def rechain(path: Path, job: str) -> None:
    """Take over into the chain of events what the tables of a ledger say now."""
    with SqliteLedger.open(path, job=job) as ledger:
        chain, database = ledger._chain, ledger._database
        numbers = [number for number, _ in database.all(chain_queries.RUN_IDS)]
        chain._checked |= dict.fromkeys(numbers, 1)
        for number in numbers:
            limits = tuple(span(number).values())
            alike: defaultdict[Progress, list[int]] = defaultdict(list)
            for *line, _, row in database.all(_TOUCHED, limits):
                alike[Progress(*line)].append(row)
            with chain.transaction(number):
                event = chain.next_number
                touched = database.run(
                    "UPDATE progress SET event = ? WHERE event IS NOT NULL AND id BETWEEN ? AND ?", (event, *limits)
                )
                chain._sums[number] = event * touched.rowcount
                chain.append(number, "rewritten", now=chain.last_time, rows=encode_rows(alike.items()))
