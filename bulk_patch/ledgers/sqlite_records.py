"""From the lines of a SQLite ledger's tables to the records they hold, and back."""

import json
from collections.abc import Sequence
from dataclasses import asdict, fields
from functools import lru_cache
from typing import Any

from bulk_patch.ledgers import Actor, LedgerRow, Run
from bulk_patch.ledgers.sqlite_database import Line
from bulk_patch.ledgers.sqlite_plan import unpack_customer
from bulk_patch.model import State, encode_json, idempotency_key

_RUN_FACTS = tuple(fact.name for fact in fields(Run))
_JSON_FACTS = frozenset({"actor", "columns", "waived", "details", "stats"})


def to_text(value: Any) -> str:
    """Return a value as JSON text."""
    return encode_json(value).decode()


def to_values(run: Run) -> dict[str, Any]:
    """Return a run's facts as its line stores them."""
    values = {name: getattr(run, name) for name in _RUN_FACTS} | {"actor": asdict(run.actor)}
    return {name: to_text(value) if name in _JSON_FACTS else value for name, value in values.items()}


def to_run(line: Line) -> Run:
    """Return the run that a line holds."""
    values = dict(zip(_RUN_FACTS, line[1:], strict=True))
    values |= {name: json.loads(values[name]) for name in _JSON_FACTS}
    values |= {name: tuple(values[name]) for name in ("columns", "waived")}
    return Run(**values | {"actor": Actor(**values["actor"])})


@lru_cache(maxsize=4096)
def _decode_names(text: str) -> tuple[str, ...]:
    return tuple(json.loads(text))


def to_row(line: Sequence[Any], secret: str) -> LedgerRow:
    """Return the row that a line of `PAGE` holds."""
    (_, row, customer_id, state, cells, reason, hint, names, body, before) = line[:10]
    (attempts, http_status, api_code, generation, first_intent_at, key_intent_at, done_at, final) = line[10:]
    if first_intent_at is None:
        key = ""
    else:  # a generation that was not used yet follows one that was
        used = generation if key_intent_at is not None else generation - 1
        key = idempotency_key(secret, row, used)
    return LedgerRow(
        row=row,
        customer_id=unpack_customer(customer_id),
        state=State(state),
        cells=cells,
        reason=reason,
        hint=hint,
        fields=_decode_names(names),
        body=body,
        before=before,
        attempts=attempts,
        http_status=http_status,
        api_code=api_code,
        key=key,
        generation=generation,
        first_intent_at=first_intent_at,
        done_at=done_at,
        final=bool(final),
    )
