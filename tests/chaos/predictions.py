"""What behaviour.md promises for one row whose PATCH goes wrong: once, three times, for ever. Written by hand.

A cell says where the row stands when the process has ended, its exit code, how many PATCHes the row got (`…`: it
depends on the time, or on whether its connection was used before: then a refusal is confirmed), and then, where it is
so, under how many keys (`2k`) and that the customer was read (`look`).
"""

from collections.abc import Mapping
from dataclasses import dataclass

ONCE, THRICE, FOR_EVER = "once", "three times", "for ever"
COUNTS: Mapping[str, int | None] = {ONCE: 1, THRICE: 3, FOR_EVER: None}

_TABLE = """
late: in time                       | applied 0 1        | applied 0 1        | applied 0 1
differs: after                      | applied 0 1 look   | applied 0 1 look   | applied 0 1 look
differs: before                     | mismatch 3 1 look  | mismatch 3 1 look  | mismatch 3 1 look
wrong customer: before              | unknown 5 1        | unknown 5 1        | unknown 5 1
wrong customer: after               | unknown 5 1        | unknown 5 1        | unknown 5 1
unreadable: page                    | applied 0 2        | unknown 4 3 look   | unknown 4 3 look
unreadable: page after              | applied 0 2        | applied 0 3 look   | applied 0 3 look
unreadable: empty                   | applied 0 2        | unknown 4 3 look   | unknown 4 3 look
unreadable: list after              | applied 0 2        | applied 0 3 look   | applied 0 3 look
unreadable: cut short after         | applied 0 2        | applied 0 3 look   | applied 0 3 look
unreadable: huge                    | applied 0 2        | unknown 4 3 look   | unknown 4 3 look
unreadable: deep after              | applied 0 2        | applied 0 3 look   | applied 0 3 look
unreadable: garbage                 | applied 0 2        | unknown 4 3 look   | unknown 4 3 look
unreadable: garbage after           | applied 0 2        | applied 0 3 look   | applied 0 3 look
unreadable: status 999              | applied 0 2        | unknown 4 3 look   | unknown 4 3 look
unreadable: status 42 after         | applied 0 2        | applied 0 3 look   | applied 0 3 look
unconfirmed: 201 after              | applied 0 2        | applied 0 3 look   | applied 0 3 look
unconfirmed: 202                    | applied 0 2        | unknown 4 3 look   | unknown 4 3 look
unconfirmed: 202 after              | applied 0 2        | applied 0 3 look   | applied 0 3 look
unconfirmed: 204 after              | applied 0 2        | applied 0 3 look   | applied 0 3 look
switched: 101                       | unknown 5 1        | unknown 5 1        | unknown 5 1
redirected: 301                     | unknown 5 1        | unknown 5 1        | unknown 5 1
redirected: 303 after               | unknown 5 1        | unknown 5 1        | unknown 5 1
redirected: 304                     | unknown 5 1        | unknown 5 1        | unknown 5 1
redirected: 307                     | unknown 5 1        | unknown 5 1        | unknown 5 1
refused: 400 own kept               | rejected 3 …       | rejected 3 …       | rejected 3 …
refused: 404 own kept               | rejected 3 …       | rejected 3 …       | rejected 3 …
refused: 403 own kept               | rejected 3 …       | rejected 3 …       | rejected 3 …
refused: 409 own kept               | rejected 3 …       | rejected 3 …       | rejected 3 …
refused: 422 own kept               | rejected 3 …       | rejected 3 …       | rejected 3 …
processing: 409 own                 | applied 0 2        | applied 0 4        | unknown 4 8
processing: 422 own                 | applied 0 2        | applied 0 4        | unknown 4 8
reused: 422 own                     | unknown 5 1        | unknown 5 1        | unknown 5 1
unauthenticated: 401 own            | applied 0 2 look   | applied 0 4 2k look| pending 6 6 2k look
unauthenticated: 401 own kept       | applied 0 4 2k look| applied 0 4 2k look| pending 6 6 2k look
unauthenticated: 401 page           | applied 0 2 look   | unknown 4 2 look   | unknown 4 2 look
foreign: 400 page                   | applied 0 2        | applied 0 4        | unknown 5 …
foreign: 403 message                | applied 0 2        | applied 0 4        | unknown 5 …
foreign: 404 empty after            | applied 0 2        | applied 0 4        | unknown 5 …
unsettled: 408                      | applied 0 2        | unknown 4 3 look   | unknown 4 3 look
unsettled: 423 own                  | applied 0 2        | rejected 3 3 look  | rejected 3 3 look
unsettled: 425 after                | applied 0 2        | applied 0 3 look   | applied 0 3 look
unsettled: 499 own kept             | rejected 3 3 look  | rejected 3 3 look  | rejected 3 3 look
throttled: 429                      | applied 0 2        | applied 0 4        | unknown 4 …
throttled: 429 own pause=0.4        | applied 0 2        | applied 0 4        | unknown 4 …
throttled: 429 after                | applied 0 2        | applied 0 4        | unknown 4 …
throttled: 429 seconds pause=1      | applied 0 2        | applied 0 4        | unknown 4 …
throttled: 429 date pause=1         | applied 0 2        | applied 0 4        | unknown 4 …
throttled: 429 for an hour          | unknown 4 1        | unknown 4 1        | unknown 4 1
failing: 500 own                    | applied 0 2        | applied 0 4        | unknown 4 8
failing: 500 own after              | applied 0 2        | applied 0 4        | unknown 4 8
failing: 502 gateway after          | applied 0 2        | applied 0 4        | unknown 4 8
throttled: 503 pause=0.3            | applied 0 2        | applied 0 4        | unknown 4 …
failing: 599 empty                  | applied 0 2        | applied 0 4        | unknown 4 8
no answer: reset                    | applied 0 2        | applied 0 4        | unknown 4 8
no answer: reset after              | applied 0 2        | applied 0 4        | unknown 4 8
no answer: closed                   | applied 0 2        | applied 0 4        | unknown 4 8
no answer: closed after             | applied 0 2        | applied 0 4        | unknown 4 8
no answer: never                    | applied 0 2        | applied 0 4        | unknown 4 8
no answer: never after              | applied 0 2        | applied 0 4        | unknown 4 8
no answer: dripping after           | applied 0 2        | applied 0 4        | unknown 4 8
no answer: half a head after        | applied 0 2        | applied 0 4        | unknown 4 8
"""


@dataclass(frozen=True, slots=True)
class Predicted:
    """What one cell of the table says."""

    state: str
    exit_code: int
    patches: int | None  # None: it depends on the time
    keys: int = 1
    looked: bool = False

    @property
    def stops(self) -> bool:
        """Tell whether the run stops, so that other rows may be left."""
        return self.exit_code in (5, 6) or (self.exit_code == 4 and self.patches in (1, None))


def _read(cell: str) -> Predicted:
    state, code, patches, *more = cell.split()
    keys = next((int(word[0]) for word in more if word.endswith("k") and word != "look"), 1)
    return Predicted(state, int(code), None if patches == "…" else int(patches), keys, "look" in more)


#: Mishap -> how often -> what happens.
PREDICTIONS: Mapping[str, Mapping[str, Predicted]] = {
    name.strip(): dict(zip(COUNTS, map(_read, cells), strict=True))
    for name, *cells in (line.split("|") for line in _TABLE.strip().splitlines())
}
