"""How rows of a SQLite ledger move: what they become, pure, and the statement that writes it, with its event."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from bulk_patch.ledgers.events import Progress, encode_rows
from bulk_patch.ledgers.sqlite import chain_queries, queries
from bulk_patch.ledgers.sqlite.chain import Chain
from bulk_patch.ledgers.sqlite.chain_writer import ChainWriter
from bulk_patch.ledgers.sqlite.planning import span
from bulk_patch.ledgers.sqlite.schema import OUT, READY, SPENT
from bulk_patch.model import Outcome, State

#: Rows that are alike, the event that wrote them, and their numbers.
Group = tuple[Progress, int | None, list[int]]

_UNDECIDED = frozenset({State.PENDING, State.UNKNOWN})


# --- what rows become


def claimed(was: Progress, now: float) -> Progress:
    """Return a row with the intent to send it. The age of a key counts from when it may first have left."""
    is_new = was.state == State.PENDING or was.key_intent_at is None
    return was._replace(
        state=str(State.SENDING),
        lane=OUT,
        first_intent_at=now if was.first_intent_at is None else was.first_intent_at,
        key_intent_at=now if is_new else was.key_intent_at,
        done_at=None,
    )


def recorded(was: Progress, outcome: Outcome, state: State, *, session: int | None, now: float) -> Progress:
    """Return a row with its outcome."""
    final = outcome.final and state is State.UNKNOWN
    waits = state in _UNDECIDED and not final
    lane = (SPENT if outcome.spent else READY) if waits else None
    left_at = now if outcome.attempts > 0 else was.left_at
    return was._replace(
        state=str(state),
        lane=lane,
        requested=was.requested if lane == READY else 0,
        attempts=was.attempts + outcome.attempts,
        generation=was.generation + int(outcome.new_generation),
        ambiguous=int(not outcome.new_generation and (outcome.ambiguous or state is State.UNKNOWN)),
        spent_in=session if lane == SPENT else was.spent_in,
        final=int(final),
        http_status=was.http_status if outcome.http_status is None else int(outcome.http_status),
        api_code=outcome.api_code or was.api_code,
        reason=outcome.reason,
        hint=f"fields: {', '.join(outcome.fields)}" if outcome.fields else None,
        key_intent_at=None if outcome.new_generation else was.key_intent_at,
        done_at=None if state is State.PENDING else now,
        left_at=left_at if state in _UNDECIDED else None,
    )


def taken_back(was: Progress, *, now: float, last_time: float, silent_s: float) -> Progress:
    """Return a row as the next session finds it: in flight no more, and with new attempts."""
    if was.lane == OUT and was.state == State.SENDING:  # it may have been executed
        left_at = min(now, last_time + silent_s)
        was = was._replace(
            state=str(State.UNKNOWN), lane=READY, ambiguous=1, reason="left_in_flight", hint=None, left_at=left_at
        )
    elif was.lane == SPENT:
        was = was._replace(lane=READY)
    if was.left_at is not None and was.left_at > now:  # a clock that was ahead: it was before now, no more is known
        was = was._replace(left_at=now)
    return was


def asked_again(was: Progress) -> Progress:
    """Return a row that `retry` asks for: rejected under the next generation, unknown under its own key."""
    if was.state == State.REJECTED:
        if was.requested:
            return was
        return was._replace(lane=READY, requested=1, generation=was.generation + 1, key_intent_at=None, ambiguous=0)
    lane = READY if was.lane == SPENT or (was.lane is None and was.state == State.UNKNOWN) else was.lane
    return was._replace(lane=lane, requested=1, final=0, spent_sessions=0, spent_in=None)


def spent_again(was: Progress) -> Progress:
    """Return an unknown row after a session in which it spent its attempts; the second one is the last."""
    was = was._replace(spent_sessions=was.spent_sessions + 1)
    is_over = was.spent_sessions >= 2 and was.lane is not None
    return was._replace(final=1, lane=None, requested=0) if is_over else was


# --- writing


class RowMover:
    """Moves rows of one run, within a transaction, and tells it in one event.

    Args:
        chain: Of the ledger.
        run: The run's number.
    """

    def __init__(self, chain: ChainWriter, run: int) -> None:
        self._chain = chain
        self._database = chain.database
        self._run = run
        self._span = span(run)
        self._event = chain.next_number
        self._moved: dict[Progress, list[int]] = {}
        self._rows: Counter[str] = Counter()
        self._open: Counter[str] = Counter()

    def find(self, query: str, **values: Any) -> list[Group]:
        """Return rows that are alike, together, each compared with the event that wrote it.

        Args:
            query: One of `chain_queries.GROUPS...`.
            values: What it asks for, besides the run's span.
        """
        return find_groups(self._chain, self._run, query, values)

    def among(self, rows: Iterable[int]) -> list[Group]:
        """Return these rows, those that are alike together."""
        return self.find(chain_queries.GROUPS, ids=self.ids(rows))

    def move(self, was: Progress, event: int | None, rows: Sequence[int], becomes: Progress) -> None:
        """Write what rows that are alike become."""
        n = len(rows)
        self._rows[was.state] -= n
        self._open[was.state] -= n if was.lane is not None else 0
        self._rows[becomes.state] += n
        self._open[becomes.state] += n if becomes.lane is not None else 0
        self._chain.move_sum(self._run, n * (self._event - (event or 0)))
        self._moved.setdefault(becomes, []).extend(rows)

    def move_all(self, groups: Iterable[Group], change: Callable[[Progress], Progress]) -> None:
        """Write what groups of rows become; those that stay as they are stay unwritten."""
        for was, event, rows in groups:
            if (becomes := change(was)) != was:
                self.move(was, event, rows, becomes)

    def tell(self, kind: str, *, now: float, detail: Mapping[str, Any] | None = None, hot: bool = False) -> None:
        """Write the rows, their counts and the event.

        Args:
            kind: What happened.
            now: Unix seconds.
            detail: JSON values.
            hot: Nothing of the run but rows and counts has changed.
        """
        for becomes, rows in self._moved.items():
            values = {**becomes._asdict(), "event": self._event, "ids": self.ids(rows)}
            self._database.run(chain_queries.MOVE, values)
        lines = [
            {"run": self._run, "state": state, "rows": self._rows[state], "open": self._open[state]}
            for state in self._rows
            if self._rows[state] or self._open[state]
        ]
        self._database.run_many(queries.CHANGE_COUNT, lines)
        self._chain.append(self._run, kind, now=now, detail=detail, rows=encode_rows(self._moved.items()), hot=hot)

    def ids(self, rows: Iterable[int]) -> str:
        """Return where rows are in the ledger, as a JSON array."""
        offset = self._span["first"]
        return json.dumps([offset | row for row in rows])


def find_groups(chain: Chain, run: int, query: str, values: Mapping[str, Any]) -> list[Group]:
    """Return rows that are alike, together, each compared with the event that wrote it."""
    groups: list[Group] = []
    for *line, found in chain.database.all(query, span(run) | dict(values)):
        rows = json.loads(found)
        planned = line[0] if line[0] in _SET_ASIDE else None
        chain.check_progress(run, ((row, planned, line) for row in rows))
        groups.append((Progress(*line[:17]), line[17], rows))
    return groups


_SET_ASIDE = frozenset(map(str, (State.INVALID, State.DUPLICATE, State.KEPT)))
