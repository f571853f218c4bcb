"""Count what a plan changes, row by row, into the summary that people decide by."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from bulk_patch.ledgers.records import Conversion, PlanSummary, Sample
from bulk_patch.planning.changes import Change
from bulk_patch.planning.diff import Conversions
from bulk_patch.planning.problems import Problem

SAMPLES = 3
TRANSITIONS = 5
_MOST_KEPT = 20_000
_ROWS_NAMED = 20


@dataclass(slots=True)
class SummaryBuilder:
    """Collects a `PlanSummary`; everything in it is masked or a count."""

    unchanged: int = 0
    changes: int = 0
    duplicates: int = 0
    words: Counter[tuple[str, str]] = field(default_factory=Counter)  # field and a word for no value -> rows
    overruled: int = 0  # of them: rows that a later row of the same id stands for
    merged: int = 0  # of those: rows with fields that no later row gives
    invalid: Counter[str] = field(default_factory=Counter)
    invalid_rows: int = 0
    fields: Counter[str] = field(default_factory=Counter)
    cleared: Counter[str] = field(default_factory=Counter)
    transitions: dict[str, Counter[tuple[str, str]]] = field(default_factory=dict)
    samples: list[Sample] = field(default_factory=list)
    taken_back: Counter[str] = field(default_factory=Counter)  # undo -> rows to send of which it took values back
    taken_back_rows: list[int] = field(default_factory=list)
    kept: Counter[str] = field(default_factory=Counter)  # the same of rows that are set aside
    warnings: list[str] = field(default_factory=list)
    converted: dict[str, tuple[Counter[tuple[str, str]], int, int]] = field(default_factory=dict)  # rows, failed

    def add(self, change: Change) -> None:
        """Count one change."""
        self.changes += 1
        for name in change.fields:  # `update` takes several times as long for so few
            self.fields[name] += 1
        for name in change.clears:
            self.cleared[name] += 1
        for name, old, new in change.moves:
            moves = self.transitions.setdefault(name, Counter())
            moves["?" if old is None else old or "(none)", new or "(cleared)"] += 1
            if len(moves) > _MOST_KEPT:  # masked values are few as a rule, but need not be
                self.transitions[name] = Counter(dict(moves.most_common(_MOST_KEPT // 2)))
        if len(self.samples) < SAMPLES:
            self.samples.append(Sample(change.row, change.customer_id, change.moves))

    def take_back(self, row: int, undo: str, *, kept: bool) -> None:
        """Count one row of which an undo took values back: it is set aside, or to be sent."""
        (self.kept if kept else self.taken_back)[undo] += 1
        if not kept and len(self.taken_back_rows) < _ROWS_NAMED:
            self.taken_back_rows.append(row)

    def refuse(self, problems: Sequence[Problem]) -> None:
        """Count one invalid row, once for each of its reasons."""
        self.invalid_rows += 1
        self.invalid.update(f"{problem.field} {problem.reason}" for problem in problems)

    def convert(self, found: Conversions) -> None:
        """Count what the rules of [input.convert] did with some rows."""
        for column, (pairs, failed) in found.items():
            shapes, rows, failed_before = self.converted.get(column, (Counter[tuple[str, str]](), 0, 0))
            rows += pairs.total()
            shapes += pairs
            if len(shapes) > _MOST_KEPT:
                shapes = Counter(dict(shapes.most_common(_MOST_KEPT // 2)))
            self.converted[column] = shapes, rows, failed_before + failed

    def conversions(self, rules: Mapping[str, str]) -> tuple[Conversion, ...]:
        """Return what became of each column that the job converts."""
        found = {column: self.converted.get(column, (Counter[tuple[str, str]](), 0, 0)) for column in rules}
        return tuple(
            Conversion(
                column,
                rules[column],
                rows,
                failed,
                tuple((old, new, count) for (old, new), count in shapes.most_common(SAMPLES)),
            )
            for column, (shapes, rows, failed) in found.items()
        )

    def build(self, begun: PlanSummary, *, reads: int, recheck: int) -> PlanSummary:
        """Return the summary of the whole plan.

        Args:
            begun: What was known when the plan was begun: what it undoes, whether it needs an approval.
            reads: Requests that the baseline took.
            recheck: Rows whose object was completed from an old snapshot.
        """
        return replace(
            begun,
            changes=self.changes,
            invalid=tuple(self.invalid.most_common(20)),
            fields=dict(self.fields.most_common()),
            cleared=dict(self.cleared.most_common()),
            transitions={
                name: tuple((old, new, count) for (old, new), count in moves.most_common(TRANSITIONS))
                for name, moves in self.transitions.items()
            },
            samples=tuple(self.samples),
            taken_back=dict(self.taken_back),
            taken_back_rows=tuple(self.taken_back_rows),
            warnings=tuple(self.warnings),
            reads=reads,
            recheck=recheck,
        )
