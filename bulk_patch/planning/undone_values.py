"""What undos took back: which planned changes would send a value again that an undo has removed."""

import json
from collections.abc import Iterator
from dataclasses import dataclass

from bulk_patch.ledgers import Ledger
from bulk_patch.ledgers.records import LedgerRow, Run
from bulk_patch.model import State
from bulk_patch.planning.changes import Change
from bulk_patch.targets import Target

#: So many customers are looked up one by one; for more, those that an undo was about are listed first.
_LOOKUPS = 1_000


@dataclass(frozen=True, slots=True)
class TakenBack:
    """A planned row of which an undo took back some fields and values."""

    undo: str  # the undo's id
    fields: tuple[str, ...]

    @property
    def reason(self) -> str:
        """Say it, as the reason of a row that is set aside."""
        return f"{', '.join(self.fields)} taken back by undo {self.undo}"


class UndoneValues:
    """Knows which customer, field and value the undos of a target took back.

    A value is forgotten once a run applied another one to the field, or this one (after `--continue`).

    Args:
        ledger: Of the job.
        target_name: Whose runs count.
        target: Reads bodies.
    """

    def __init__(self, ledger: Ledger, target_name: str, target: Target) -> None:
        self._ledger = ledger
        self._target = target
        self._runs = {run.id: run for run in ledger.runs(target_name) if run.state != "planning"}
        self._undos = [run for run in self._runs.values() if run.kind == "undo" and self._took_effect(run)]
        self._looked_up = 0
        self._customers: frozenset[int] | None = None  # hashes of ids, once many are asked for

    def find(self, change: Change) -> TakenBack | None:
        """Return what of a change an undo took back; None: nothing."""
        if not self._undos or not self._may_know(change.customer_id):
            return None
        took = self._taken_from(change.customer_id)
        if not took:
            return None
        asked = self._texts(change.body)
        again = [name for name in change.fields if name in took and took[name][0] == asked.get(name, "")]
        return TakenBack(took[again[0]][1], tuple(again)) if again else None

    def _took_effect(self, undo: Run) -> bool:
        """Tell whether an undo was sent, or found all as it was before."""
        return undo.started_at is not None or (undo.state == "sealed" and not self._ledger.to_do(undo.id))

    def _may_know(self, customer_id: str) -> bool:
        self._looked_up += 1
        if self._looked_up <= _LOOKUPS:
            return True
        if self._customers is None:
            undone = dict.fromkeys(undo.summary.undoes for undo in self._undos)
            rows = (row for run in undone for row in self._ledger.rows(run, states=(State.APPLIED,)))
            self._customers = frozenset(hash(row.customer_id) for row in rows)
        return hash(customer_id) in self._customers

    def _taken_from(self, customer_id: str) -> dict[str, tuple[str, str]]:
        """Return the fields of a customer that undos took back: the value, and the undo."""
        rows: dict[str, list[LedgerRow]] = {}
        for run_id, row in self._ledger.history(customer_id):
            if run_id in self._runs:
                rows.setdefault(run_id, []).append(row)
        met = sorted({*rows, *(undo.id for undo in self._undos)}, key=lambda run: self._runs[run].created_at)
        took: dict[str, tuple[str, str]] = {}
        for run in (self._runs[run_id] for run_id in met):
            if run.kind != "undo":
                for name, _ in self._applied(rows.get(run.id, [])):
                    took.pop(name, None)
            # A row that an undo does not have was as before already, and stays taken back.
            elif run in self._undos and (run.id not in rows or any(self._applied(rows[run.id]))):
                for name, text in self._applied(rows.get(run.summary.undoes, [])):
                    took[name] = text, run.id
        return took

    def _applied(self, rows: list[LedgerRow]) -> Iterator[tuple[str, str]]:
        """Yield each field that applied rows changed, with the value that was sent."""
        for row in rows:
            if row.state is State.APPLIED and row.body is not None:
                texts = self._texts(row.body)
                yield from ((name, texts.get(name, "")) for name in row.fields)

    def _texts(self, body: bytes) -> dict[str, str]:
        return self._target.evidence.flatten(json.loads(body), objects=())
