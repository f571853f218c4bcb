"""The rows of a run as its page shows them: grouped by cause, some as text, most as data for the page's script.

Rows are streamed; what is kept in memory is what many rows share. No value leaves here unmasked but on `reveal`, and
none with a character that hides, reorders or steers text.
"""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice

from bulk_patch.ledgers import RunReader
from bulk_patch.ledgers.records import Check, Drift, LedgerRow, Run
from bulk_patch.model import REACHED, State
from bulk_patch.reports.rows import changes_of, hint_on, merge_rows, status_of
from bulk_patch.targets import Target

#: Rows in the page at most: beyond that, browsers take too long to open it.
MOST_ROWS = 100_000
#: Rows at most in the part of the page that works without a script and is printed.
MOST_PRINTED = 1_000
#: It shows at least this many rows, even when fewer need a person.
FEWEST_PRINTED = 50

_MOST_CAUSES = 50
_MOST_COUNTED = 20_000
_EXAMPLES = 5
_PER_CHUNK = 500

FOR_A_PERSON = tuple(state for state in State if state not in REACHED | {State.PENDING, State.UNCHANGED})
_OTHERS = tuple(state for state in State if state not in (*FOR_A_PERSON, State.UNCHANGED))

#: Field, before, after. Before is None: not known; after is None: nothing would be sent, before is the cell as read.
Shown = tuple[str, str | None, str | None]


def visible(text: str) -> str:
    """Spell out characters that hide, reorder or steer text: control, bidi and invisible ones."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else f"[U+{ord(char):04X}]" for char in text)


@dataclass(frozen=True, slots=True)
class PageContext:
    """A run, and how its values are shown."""

    ledger: RunReader
    run: Run
    target: Target
    reveal: bool

    def rows(self, *, for_a_person: bool) -> Iterator[LedgerRow]:
        """Stream the rows that need a person, or the others except unchanged ones, in input order."""
        return self.ledger.rows(self.run.id, states=FOR_A_PERSON if for_a_person else _OTHERS)

    def in_order(self) -> Iterator[LedgerRow]:
        """Stream all of these, those that need a person first."""
        yield from self.rows(for_a_person=True)
        yield from self.rows(for_a_person=False)

    def changes(self, row: LedgerRow) -> list[Shown]:
        """Return what a row would change; of a row that is not sent, the fields at fault or the cells as read."""
        if row.body is not None:
            return list(changes_of(row, self.target, reveal=self.reveal))
        if not self.reveal:
            return [(name, None, None) for name in row.fields]
        cells = zip(self.run.columns, json.loads(row.cells), strict=False)
        return [(name, cell, None) for name, cell in cells if cell not in (None, "", row.customer_id)]

    def hint(self, row: LedgerRow) -> str:
        """Return what a person can do about a row; nothing where nothing has to be done."""
        return "" if row.state in REACHED else hint_on(row, self.run)


@dataclass(frozen=True, slots=True)
class Cause:
    """Why rows need a person, and how to fix that."""

    status: str
    reason: str
    hint: str
    rows: int
    examples: tuple[int, ...]  # the first data rows of it


@dataclass(frozen=True, slots=True)
class PrintedRow:
    """One row of the part that works without a script."""

    row: int
    customer_id: str
    status: str
    reason: str
    hint: str
    changes: list[Shown]
    answer: str


@dataclass(slots=True)
class Gathered:
    """What the page says about rows above its table."""

    causes: list[Cause] = field(default_factory=list)
    more_causes: int = 0
    printed: list[PrintedRow] = field(default_factory=list)


def gather(view: PageContext) -> Gathered:
    """Group the rows that need a person by cause, and take the rows that are printed."""
    counted: Counter[tuple[str, str, str]] = Counter()
    examples: dict[tuple[str, str, str], list[int]] = {}
    gathered = Gathered()
    for row in view.rows(for_a_person=True):
        cause = (str(status_of(row)), merge_rows(row.reason), merge_rows(view.hint(row)))
        counted[cause] += 1
        first = examples.setdefault(cause, [])
        if len(first) < _EXAMPLES:
            first.append(row.row)
        if len(counted) > _MOST_COUNTED:  # usually the causes are few
            counted = Counter(dict(counted.most_common(_MOST_COUNTED // 2)))
            examples = {cause: examples[cause] for cause in counted}
        if len(gathered.printed) < MOST_PRINTED:
            gathered.printed.append(_print(view, row))
    for row in view.rows(for_a_person=False):
        if len(gathered.printed) >= FEWEST_PRINTED:
            break
        gathered.printed.append(_print(view, row))
    gathered.causes = [Cause(*cause, rows, tuple(examples[cause])) for cause, rows in counted.most_common(_MOST_CAUSES)]
    gathered.more_causes = len(counted) - len(gathered.causes)
    return gathered


@dataclass(frozen=True, slots=True)
class Drifted:
    """Rows that the last verify found changed, except those that later runs explain."""

    check: Check
    listed: list[Drift]

    @property
    def more(self) -> int:
        """Return how many are not listed."""
        return self.check.drifted - len(self.listed)


def gather_drifted(view: PageContext, *, most: int = MOST_PRINTED) -> Drifted | None:
    """Return the first drifted rows; None where nothing is known to have drifted."""
    check = next(iter(view.ledger.checks(view.run.id)), None)
    if check is None or not check.drifted:
        return None
    drifts = (drift for drift in view.ledger.drifts(check.number) if drift.counts)
    return Drifted(check, list(islice(drifts, most)))


def answer_words(row: LedgerRow) -> str:
    """Say how often a row was sent and what the answer was; "" when it was never sent."""
    if not row.attempts:
        return ""
    words = f"sent {row.attempts} times" if row.attempts > 1 else "sent once"
    if row.http_status is not None:
        words += f", HTTP {row.http_status}"
    return f"{words} {row.api_code}" if row.api_code else words


def _print(view: PageContext, row: LedgerRow) -> PrintedRow:
    status, hint = str(status_of(row)), view.hint(row)
    return PrintedRow(row.row, row.customer_id, status, row.reason, hint, view.changes(row), answer_words(row))


# --- data for the script


def data(view: PageContext, *, most: int = MOST_ROWS) -> Iterator[str]:
    """Yield JSON that is safe between script tags: the rows, then the texts that they share.

    A row is `[row, customer, status, reason, hint, answer, sent, done, changes]`; status, reason, hint and answer are
    numbers of texts, sent and done Unix seconds or 0, changes `[field, before, after, field, …]` with numbers of texts
    for fields.
    """
    texts: dict[str, int] = {}
    shared: dict[tuple[object, ...], tuple[int, ...]] = {}  # what is said of most rows is said of many
    encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode

    def number_of(text: str) -> int:
        return texts.setdefault(text, len(texts))

    def numbers_of(row: LedgerRow) -> tuple[int, ...]:
        said = (row.state, row.reason, row.hint, row.attempts, row.http_status, row.api_code)
        numbers = shared.get(said)
        if numbers is None:
            words = (str(status_of(row)), row.reason, view.hint(row), answer_words(row))
            numbers = tuple(number_of(visible(text)) for text in words)
            if len(shared) < _MOST_COUNTED:
                shared[said] = numbers
        return numbers

    def line(row: LedgerRow) -> str:
        changes: list[int | str | None] = []
        for name, before, after in view.changes(row):
            changes.append(number_of(visible(name)))
            changes.append(before if before is None else visible(before))
            changes.append(after if after is None else visible(after))
        times = int(row.first_intent_at or 0), int(row.done_at or 0)
        return encode([row.row, visible(row.customer_id), *numbers_of(row), *times, changes])

    yield '{"rows":['
    lines: list[str] = []
    for at, row in enumerate(view.in_order()):
        if at >= most:
            break
        lines.append(("," if at else "") + line(row))
        if len(lines) >= _PER_CHUNK:
            yield _between_script_tags("".join(lines))
            lines.clear()
    yield _between_script_tags("".join(lines))
    yield '],"texts":'
    yield _between_script_tags(encode(list(texts)))
    yield "}"


def _between_script_tags(json_text: str) -> str:
    """Escape what could end the data block or open a comment in it."""
    return json_text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
