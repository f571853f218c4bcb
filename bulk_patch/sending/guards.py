"""Guards: stop a run before it does harm. Pure decisions over counts and outcomes."""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from bulk_patch.errors import Exit
from bulk_patch.job.settings import Guards, share_of
from bulk_patch.ledgers.records import PlanSummary
from bulk_patch.model import Counts, Outcome, State, Stop
from bulk_patch.words import amount, duration_words

WINDOW = 500
AT_LEAST = 10
FAILED = frozenset({State.REJECTED, State.MISMATCH})


#: Guards that judge an input by itself. Waived, they stay so for the same bytes, until another input comes.
INPUT_GUARDS = frozenset({"max_age_h", "min_rows", "max_invalid"})


@dataclass(frozen=True, slots=True)
class InputSize:
    """How large and how old an input is.

    Args:
        rows: Its data rows.
        last_rows: Of the last complete run of the job at this target; None: there is none.
        age_h: Hours from its last modification to the plan.
    """

    rows: int
    last_rows: int | None
    age_h: float


def check_input(
    guards: Guards, found: InputSize, *, max_age_h: float | None, waived: Iterable[str]
) -> tuple[str, Stop] | None:
    """Return the guard that an input trips by its size or age, with the stop; None if it trips none.

    Args:
        guards: Of the job.
        found: The input.
        max_age_h: `input.max_age_h`, hours; None: any age.
        waived: Guards that a person waived for this input.
    """
    if max_age_h is not None and found.age_h > max_age_h and "max_age_h" not in waived:
        old = duration_words(found.age_h * 3600)
        reason = (
            f"guard max_age_h: the input was last modified {old} before it was planned, {max_age_h:g} h are allowed"
        )
        return "max_age_h", Stop(Exit.STOPPED, reason, "is it yesterday's file? See why no newer one has come")
    if "min_rows" in waived:
        return None
    if guards.min_rows is None:
        if found.rows:
            return None
        hint = "see why the extract is empty; where that is usual, set guards.min_rows = 0"
        return "min_rows", Stop(Exit.STOPPED, "guard min_rows: the input has a header and no rows", hint)
    is_share = str(guards.min_rows).endswith("%")
    if is_share and found.last_rows is None:
        fewest, wanted = (0.0 if found.rows else 1.0), "at least 1 is expected"
    else:
        fewest = share_of(guards.min_rows, found.last_rows or 0)
        wanted = f"at least {guards.min_rows} are expected" + (
            f" of the {found.last_rows:,} of the last complete run" if is_share else ""
        )
        if is_share and not found.rows and fewest:
            wanted += ": it has a header and no rows"
    if found.rows >= fewest:
        return None
    reason = f"guard min_rows: the input has {amount(found.rows, 'row')}, {wanted}"
    return "min_rows", Stop(Exit.STOPPED, reason, "see whether the extract was cut short")


def check_plan(
    guards: Guards, counts: Counts, *, changes: int, input_rows: int, waived: Iterable[str], noun: str = "record"
) -> tuple[str, Stop] | None:
    """Return the guard that a sealed plan trips, with the stop; None if it trips none.

    Args:
        guards: Of the job.
        counts: Rows per state.
        changes: Rows that would be sent.
        input_rows: Rows of the input.
        waived: Guards that a person waived for this run.
        noun: What the target calls a record.
    """
    if guards.max_changes is not None and changes > guards.max_changes and "max_changes" not in waived:
        reason = f"guard max_changes: the plan would change {changes:,} {noun}s, {guards.max_changes:,} are allowed"
        return "max_changes", Stop(
            Exit.STOPPED, reason, "report.html shows the plan: is it the right file, the right baseline?"
        )
    invalid = counts.get(State.INVALID, 0)
    if invalid > share_of(guards.max_invalid, input_rows) and "max_invalid" not in waived:
        reason = f"guard max_invalid: {invalid:,} of {input_rows:,} rows are invalid, {guards.max_invalid} are allowed"
        return "max_invalid", Stop(Exit.STOPPED, reason, "failures.csv names each row, its rule and how to fix it")
    return None


def check_undone(summary: PlanSummary, waived: Iterable[str]) -> tuple[str, Stop] | None:
    """Return the guard that a plan trips by asking again for what an undo took back, with the stop."""
    if not summary.taken_back or "taken_back" in waived:
        return None
    rows, named = sum(summary.taken_back.values()), [str(row) for row in summary.taken_back_rows]
    more = f" and {rows - len(named):,} more" if rows > len(named) else ""
    what = "asks" if rows == 1 else "ask"
    undos = ", ".join(summary.taken_back)
    reason = f"guard taken_back: {amount(rows, 'row')} {what} again for what undo {undos} took back (rows "
    hint = 'take these rows out of the input; or set them aside with guards.taken_back = "keep"'
    return "taken_back", Stop(Exit.STOPPED, f"{reason}{', '.join(named)}{more})", hint)


class FailureGuard:
    """Trips when too many of the last answers were refusals: `guards.max_failures`.

    Args:
        limit: Rows or a share of the last 500 answers; never trips below ten.
    """

    def __init__(self, limit: int | str) -> None:
        self._limit = limit
        self._recent: deque[tuple[int, bool]] = deque(maxlen=WINDOW)
        self._failed = 0

    def note(self, outcome: Outcome) -> Stop | None:
        """Count one outcome; return the stop that it makes due."""
        if outcome.state not in FAILED and outcome.state is not State.APPLIED:
            return None
        failed = outcome.state in FAILED
        if len(self._recent) == WINDOW:
            self._failed -= self._recent[0][1]
        self._recent.append((outcome.row, failed))
        self._failed += failed
        if self._failed < AT_LEAST or self._failed <= share_of(self._limit, len(self._recent)):
            return None
        rows = ", ".join(str(row) for row, failed in list(self._recent)[-100:] if failed)
        reason = (
            f"guard max_failures: {self._failed} of the last {len(self._recent)} answers were refusals, "
            f"{self._limit} are allowed (rows {rows})"
        )
        return Stop(Exit.STOPPED, reason, "failures.csv names the causes; fix them before the rest is sent")


def check_canary(outcome: Outcome, *, number: int, of: int) -> Stop | None:
    """Return the stop if one of the first rows, sent one by one, trips the canary: if it does not end applied.

    A row that is proven not to have been executed says nothing about the change; the run ends as incomplete then.
    """
    if outcome.state is State.APPLIED or outcome.new_generation or outcome.stop is not None:
        return None
    if outcome.state is State.PENDING:
        return Stop(Exit.INCOMPLETE, f"nothing could be sent: {outcome.reason}", "run it again when the API answers")
    names = f" ({', '.join(outcome.fields)})" if outcome.fields else ""
    ended = f"number {number} of the first {of}, ended {outcome.state}: {outcome.reason}{names}"
    reason = f"guard canary: row {outcome.row}, {ended}"
    return Stop(Exit.STOPPED, reason, "look at that row first: show it, and read its record in the API")


class WatchGuard:
    """Trips when customers leave a state that they should keep: `guards.watch`.

    A mass edit can trigger reviews that freeze live customers. A row counts when its value was in the list before (one
    that is not known counts as in the list) and the value in the answer is not.

    Args:
        watch: Field to the values that are fine.
    """

    def __init__(self, watch: Mapping[str, list[str]]) -> None:
        self._watch = watch
        self._recent: deque[tuple[int, bool]] = deque(maxlen=WINDOW)

    def note(self, outcome: Outcome, before: Mapping[str, str], *, in_canary: bool) -> Stop | None:
        """Count one outcome; return the stop that it makes due.

        Args:
            outcome: With the watched fields as the last answer showed them.
            before: The watched fields as they were, as far as known.
            in_canary: One row is enough then.
        """
        if not self._watch:
            return None
        left = [
            name
            for name, fine in self._watch.items()
            if name in outcome.watched and outcome.watched[name] not in fine and before.get(name, fine[0]) in fine
        ]
        self._recent.append((outcome.row, bool(left)))
        rows = [str(row) for row, has_left in self._recent if has_left]
        if not left or len(rows) < (1 if in_canary else AT_LEAST):
            return None
        reason = f"guard watch: {', '.join(left)} left the values to be kept, rows {', '.join(rows)}"
        return Stop(Exit.STOPPED, reason, "look at these rows in the API before any more are sent")


class RunGuards:
    """All guards of a run that is being sent.

    Args:
        guards: Of the job.
        canary: How many of the first rows still have to be sent one by one.
    """

    def __init__(self, guards: Guards, *, canary: int) -> None:
        self._of = guards.canary
        self._left = canary
        self._failures = FailureGuard(guards.max_failures)
        self._watch = WatchGuard(guards.watch)

    @property
    def in_canary(self) -> bool:
        """Tell whether the next row goes alone."""
        return self._left > 0

    def note(self, outcome: Outcome, before: Mapping[str, str]) -> Iterator[tuple[str, Stop]]:
        """Count one recorded outcome; yield each guard that it trips, with its stop. An outage has no guard's name."""
        in_canary = self.in_canary
        if in_canary:
            stop = check_canary(outcome, number=self._of - self._left + 1, of=self._of)
            self._left -= outcome.state is State.APPLIED
            if stop is not None:
                yield ("canary" if stop.exit_code is Exit.STOPPED else ""), stop
        if (stop := self._failures.note(outcome)) is not None:
            yield "max_failures", stop
        if (stop := self._watch.note(outcome, before, in_canary=in_canary)) is not None:
            yield "watch", stop
