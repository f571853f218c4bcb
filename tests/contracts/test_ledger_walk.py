"""The contract of every ledger, on real storage: random walks beside a model that fits on a page."""

import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from bulk_patch.ledgers import Ledger
from bulk_patch.model import Outcome, State, idempotency_key
from bulk_patch.testing import ledger_calls as calls
from bulk_patch.testing.ledger_plans import ACTOR, SECRET, START, find_states, make_row, seal_plan
from tests.contracts.conftest import LEDGERS
from tests.support.examples import examples

ROWS = 6
ANSWERS = [State.APPLIED, State.REJECTED, State.MISMATCH, State.UNKNOWN, State.PENDING]


@dataclass
class ModelRow:
    """What the contract says of one row."""

    state: State = State.PENDING
    ambiguous: bool = False
    final: bool = False
    requested: bool = False
    spent: bool = False  # in this session
    spent_sessions: int = 0
    generation: int = 0
    key_used: bool = False

    def is_open(self) -> bool:
        if self.state is State.UNKNOWN:
            return not self.final
        return self.state in {State.PENDING, State.SENDING} or (self.state is State.REJECTED and self.requested)

    def is_next(self, only_requested: bool) -> bool:
        waits = self.is_open() and self.state is not State.SENDING and not self.spent
        return waits and (self.requested or not only_requested)


class LedgerWalk(RuleBasedStateMachine):
    """Every public move in any order; after each, the ledger says what the model says."""

    kind: ClassVar[str]

    def open(self) -> Ledger:
        return LEDGERS[self.kind](Path(self.folder.name))

    def sending(self) -> list[int]:
        return [number for number, row in self.rows.items() if row.state is State.SENDING]

    @initialize()
    def plan(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.ledger = self.open()
        self.rows = {row: ModelRow() for row in range(1, ROWS + 1)}
        self.run_id = seal_plan(self.ledger, [make_row(row) for row in self.rows], unchanged=3)
        self.begin_session()

    def teardown(self) -> None:
        self.ledger.close()
        self.folder.cleanup()

    def begin_session(self) -> None:
        left = self.sending()
        for row in self.rows.values():
            row.spent = False
        for number in left:
            self.rows[number].state, self.rows[number].ambiguous = State.UNKNOWN, True
        assert calls.start_session(self.ledger, self.run_id, ACTOR, START) == len(left)

    @rule(n=st.integers(1, 4), only_requested=st.booleans())
    def claim(self, n: int, only_requested: bool) -> None:
        expected = [number for number, row in self.rows.items() if row.is_next(only_requested)][:n]
        patches = calls.claim(self.ledger, self.run_id, n, now=START, only_requested=only_requested)
        assert [patch.row for patch in patches] == expected
        for patch in patches:
            row = self.rows[patch.row]
            assert patch.key == idempotency_key(SECRET, patch.row, row.generation)
            assert patch.ambiguous == row.ambiguous
            row.state, row.key_used = State.SENDING, True

    @precondition(lambda self: self.sending())
    @rule(
        data=st.data(),
        answer=st.sampled_from(ANSWERS),
        ambiguous=st.booleans(),
        spent=st.booleans(),
        final=st.booleans(),
        new_generation=st.booleans(),
    )
    def record(
        self, data: st.DataObject, answer: State, ambiguous: bool, spent: bool, final: bool, new_generation: bool
    ) -> None:
        number = data.draw(st.sampled_from(self.sending()))
        outcome = Outcome(number, answer, ambiguous=ambiguous, spent=spent, final=final, new_generation=new_generation)
        calls.record(self.ledger, self.run_id, [outcome], now=START)
        row = self.rows[number]
        if new_generation:
            row.state, row.ambiguous, row.key_used = State.PENDING, False, False
            row.generation += 1
        elif answer is State.PENDING:
            row.ambiguous = row.ambiguous or ambiguous
            row.state = State.UNKNOWN if row.ambiguous else State.PENDING
        else:
            row.state, row.ambiguous = answer, ambiguous or answer is State.UNKNOWN
        row.final = final and row.state is State.UNKNOWN
        undecided = row.state in {State.PENDING, State.UNKNOWN} and not row.final
        row.spent = spent and undecided
        row.requested = row.requested and undecided and not row.spent

    @precondition(lambda self: any(row.state is State.PENDING for row in self.rows.values()))
    @rule(data=st.data())
    def drift(self, data: st.DataObject) -> None:
        pending = [number for number, row in self.rows.items() if row.state is State.PENDING]
        number = data.draw(st.sampled_from(pending))
        calls.record(self.ledger, self.run_id, [Outcome(number, State.DRIFTED)], now=START)
        self.rows[number] = ModelRow(State.DRIFTED)

    @rule()
    def retry(self) -> None:
        for row in self.rows.values():
            if row.state is State.REJECTED and not row.requested:
                row.requested, row.ambiguous, row.key_used = True, False, False
                row.generation += 1
            elif row.state in {State.UNKNOWN, State.SENDING}:
                row.requested, row.final, row.spent, row.spent_sessions = True, False, False, 0
        asked = self.ledger.request_retry(self.run_id, now=START)
        assert asked == sum(row.requested for row in self.rows.values())

    @rule(by_itself=st.booleans())
    def end_session(self, by_itself: bool) -> None:
        calls.end_session(self.ledger, self.run_id, now=START, by_itself=by_itself)
        for row in self.rows.values():
            if by_itself and row.spent and row.state is State.UNKNOWN:
                row.spent_sessions += 1
                row.final = row.spent_sessions >= 2
                row.requested = row.requested and not row.final
        self.begin_session()

    @rule()
    def stop_dead(self) -> None:
        self.ledger.close()
        self.ledger = self.open()
        self.begin_session()

    @invariant()
    def agrees_with_the_model(self) -> None:
        assert find_states(self.ledger, self.run_id) == {number: row.state for number, row in self.rows.items()}
        found = Counter(self.ledger.counts(self.run_id))
        assert found == Counter(row.state for row in self.rows.values()) + Counter({State.UNCHANGED: 3})
        assert self.ledger.to_do(self.run_id) == sum(row.is_open() for row in self.rows.values())
        for only_requested in (False, True):
            peeked = calls.peek(self.ledger, self.run_id, ROWS, only_requested=only_requested)
            expected = [number for number, row in self.rows.items() if row.is_next(only_requested)]
            assert [patch.row for patch, *_ in peeked] == expected
        finals = {row.row for row in self.ledger.rows(self.run_id) if row.final}
        assert finals == {number for number, row in self.rows.items() if row.final}


@pytest.mark.hypothesis  # which Hypothesis sets by itself only where it makes the test
@pytest.mark.parametrize("kind", LEDGERS)
def test_any_order_of_moves_ends_where_the_contract_says(kind: str) -> None:
    run_state_machine_as_test(
        type("Walk", (LedgerWalk,), {"kind": kind}),
        settings=settings(
            max_examples=examples(40),
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
