"""From the lines of a SQLite ledger's tables to the records they hold, and back."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields
from functools import lru_cache
from typing import Any

from bulk_patch.errors import DamagedLedgerError
from bulk_patch.ledgers.records import Actor, LedgerRow, PlanSummary, Run
from bulk_patch.ledgers.sqlite.database import Line
from bulk_patch.ledgers.sqlite.planning import details_text, unpack_customer
from bulk_patch.model import State, encode_json, idempotency_key

#: Columns of a run's line, after its number; `details` holds where the plan came from and its summary.
_RUN_FACTS = (
    *("id", "job", "target", "kind", "state", "secret", "created_at", "actor", "reason", "ticket", "identity"),
    *("baseline", "input_path", "input_sha256", "input_size", "input_mtime_ns", "baseline_sha256", "columns"),
    *("input_rows", "unchanged", "plan_sha256", "plan_s", "sealed_at", "started_at", "finished_at", "stopped_by"),
    *("stop_reason", "stop_hint", "waived", "exit_code", "details", "stats", "terms", "target_spec", "seal_version"),
)
_JSON_FACTS = frozenset({"actor", "columns", "waived", "details", "stats", "terms", "target_spec"})
_DAMAGE = (ValueError, TypeError, KeyError, AttributeError, RecursionError)  # how Python meets what was not written
_KINDS: dict[str, Any] = {fact.name: fact.type for fact in fields(Run)} | dict.fromkeys(
    ("stats", "terms", "target_spec"), dict
)


def to_text(value: Any) -> str:
    """Return a value as JSON text."""
    return encode_json(value).decode()


def to_values(run: Run) -> dict[str, Any]:
    """Return a run's facts as its line stores them."""
    values = {name: getattr(run, name) for name in _RUN_FACTS if name != "details"} | {"actor": asdict(run.actor)}
    texts = {name: to_text(value) if name in _JSON_FACTS else value for name, value in values.items()}
    return texts | {"details": details_text(run)}


@contextmanager
def decoding(what: str) -> Iterator[None]:
    """Say of what was read that it cannot have been written so: pages that SQLite can read may be damaged all the same.

    Args:
        what: Where the damage is.

    Raises:
        LedgerError: What the block reads is not as it was written.
    """
    try:
        yield
    except _DAMAGE as error:
        raise _damaged(what, error) from error


def _damaged(what: str, error: Exception) -> DamagedLedgerError:
    return DamagedLedgerError(
        f"the ledger is damaged: {what} is not as it was written ({type(error).__name__})",
        "Do not edit it: move it away and restore it from a backup.",
    )


def to_run(line: Line) -> Run:
    """Return the run that a line holds.

    Raises:
        LedgerError: The line is damaged.
    """
    with decoding(f"run {line[1]} of job {line[2]}"):
        values = dict(zip(_RUN_FACTS, line[1:], strict=True))
        values |= {name: json.loads(values[name]) for name in _JSON_FACTS}
        values |= {name: tuple(values[name]) for name in ("columns", "waived")}
        values["actor"] = _to_actor(values["actor"])
        details = values.pop("details")
        values |= {"job_file": details.get("job_file", ""), "overrides": tuple(details.get("overrides", ()))}
        values["summary"] = PlanSummary.from_json(details)
        for name, value in values.items():
            _check_kind(name, value)
        return Run(**values)


def to_actor(text: str) -> Actor:
    """Return the person that a text of JSON holds.

    Raises:
        LedgerError: The text is damaged.
    """
    with decoding("the record of who did something"):
        return _to_actor(json.loads(text))


def to_facts(text: str) -> dict[str, Any]:
    """Return the facts that a text of JSON holds.

    Raises:
        LedgerError: The text is damaged.
    """
    with decoding("a note"):
        return dict(json.loads(text))


def _to_actor(facts: Mapping[str, Any]) -> Actor:
    if not all(isinstance(value, int if name == "pid" else str) for name, value in facts.items()):
        raise TypeError
    return Actor(**facts)


def _check_kind(name: str, value: Any) -> None:
    kind = _KINDS[name]
    if name in ("columns", "waived", "overrides"):
        if not all(isinstance(text, str) for text in value):
            raise TypeError(name)
    elif not isinstance(value, kind) and not (isinstance(value, int) and isinstance(0.0, kind)):
        raise TypeError(name)


_STATES = {str(state): state for state in State}  # a fifth of the time that State(text) takes


@lru_cache(maxsize=4096)
def _decode_names(text: str) -> tuple[str, ...]:
    return tuple(json.loads(text))


def to_row(line: Sequence[Any], secret: str) -> LedgerRow:
    """Return the row that a line of `PAGE` holds.

    Raises:
        LedgerError: The line is damaged.
    """
    try:
        return _to_row(line, secret)
    except _DAMAGE as error:  # no `decoding` here: a report reads millions of rows
        raise _damaged(f"row {line[1]}", error) from error


def _to_row(line: Sequence[Any], secret: str) -> LedgerRow:
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
        state=_STATES[state],
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
