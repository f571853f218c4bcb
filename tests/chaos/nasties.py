"""Inputs that once hurt someone: one for each line of behaviour.md's input table, with what each has to become."""

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.chaos.input_model import Settings

ANN = "11111111-aaaa-4aaa-8aaa-111111111111"
BOB = "22222222-bbbb-4bbb-8bbb-222222222222"
CAT = "33333333-cccc-4ccc-8ccc-333333333333"
HEAD = "customer_id,first_name,last_name\n"
Columns = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Nasty:
    """One input file and what has to come of it."""

    file: str = "input.csv"
    data: bytes | Callable[[], Columns]  # columns are made when they are written: not before the first fork
    settings: Settings = field(default_factory=Settings)
    refused: Sequence[str] = ()  # what has to be said; () means that it is planned
    states: Mapping[int, str] = field(default_factory=dict)
    bodies: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)
    unchanged: int = 0

    def write(self, path: Path) -> None:
        """Write the file."""
        if isinstance(self.data, bytes):
            path.write_bytes(self.data)
        else:
            pq.write_table(pa.table(dict(self.data())), path)


def _refused(text: str | bytes, *words: str, **more: Any) -> Nasty:
    data = text.encode() if isinstance(text, str) else text
    return Nasty(data=data, refused=words, **more)


def _planned(text: str | bytes, *states: str, **more: Any) -> Nasty:
    data = text.encode() if isinstance(text, str) else text
    return Nasty(data=data, states=dict(enumerate(states, start=1)), **more)


def _parquet(columns: Callable[[], Columns], *states: str, **more: Any) -> Nasty:
    named = dict(enumerate(states, start=1))
    return Nasty(file="input.parquet", data=lambda: {"customer_id": [ANN, BOB], **columns()}, states=named, **more)


def _person(first: str, last: str) -> dict[str, str]:
    return {"first_name": first, "last_name": last}


_TWO = f"{HEAD}{ANN},Ann,Lee\n{BOB},Bob,Ray\n"
_FIRST = Settings(may_clear=("middle_name",))

NASTIES: Mapping[str, Nasty] = {
    # the file is refused, with line numbers
    "a row wider than the header": _refused(f"{HEAD}{ANN},Ann,Lee\n{BOB},Bob,Ray,extra\n", "line 3: "),
    "a row narrower than the header": _refused(f"{HEAD}{ANN},Ann\n{BOB},Bob,Ray\n", "line 2: "),
    "every row wider than the header": _refused(f"{HEAD}{ANN},Ann,Lee,x\n{BOB},Bob,Ray,y\n", "line 2: ", "line 3: "),
    "twenty-five faulty lines": _refused(HEAD + f"{ANN},Ann\n" * 25, "line 2: ", "line 21: ", "and 5 more"),
    "an unclosed quote": _refused(f'{HEAD}{ANN},"Ann,Lee\n{BOB},Bob,Ray\n', "line 2: "),
    "an unclosed quote on the last line": _refused(f'{HEAD}{ANN},Ann,Lee\n{BOB},Bob,"Ray\n', "line 3: "),
    "text after a closing quote": _refused(f'{HEAD}{ANN},"Ann"a,Lee\n', "line 2: "),
    "a quote inside a bare cell": _refused(f'{HEAD}{ANN},An"n,Lee\n', "line 2: "),
    "a lone carriage return": _refused(f"{HEAD}{ANN},Ann\rAnna,Lee\n", "line 2: "),
    "old Macintosh line ends": _refused(_TWO.replace("\n", "\r"), "line 1: "),
    "latin-1": _refused(f"{HEAD}{ANN},Zoë,Lee\n".encode("latin-1"), "line 2: "),
    "UTF-16 without a mark": _refused(_TWO.encode("utf-16-le"), "line 1: "),
    "a NUL": _refused(f"{HEAD}{ANN},A\0nn,Lee\n", "line 2: "),
    "two columns of one name": _refused(f"customer_id,first_name,first_name\n{ANN},Ann,Anna\n", "first_name"),
    "a column that is no field": _refused(f"customer_id,frist_name\n{ANN},Ann\n", "frist_name", "first_name"),
    "a column in other case": _refused(f"customer_id,First_Name\n{ANN},Ann\n", "First_Name"),
    "a column without a name": _refused(f"customer_id,,first_name\n{ANN},x,Ann\n", "column 2"),
    "no id column": _refused(f"id,first_name\n{ANN},Ann\n", "customer_id"),
    "no header": _refused(f"{ANN},Ann,Lee\n{BOB},Bob,Ray\n", "header"),
    "an empty file": _refused("", "input.csv"),
    "nothing but blank lines": _refused("\n\n\r\n", "input.csv"),
    "two columns for one field": _refused(
        f"customer_id,first_name,Given\n{ANN},Ann,Anna\n",
        "first_name",
        settings=Settings(rename={"Given": "first_name"}),
    ),
    "a spreadsheet's ids": _refused(f"{HEAD}1.11E+31,Ann,Lee\n2.22E+31,Bob,Ray\n", "mangled"),
    "ids with a point": _refused(f"{HEAD}1234.0,Ann,Lee\n5678.0,Bob,Ray\n", "mangled"),
    "a zip called .csv": _refused(b"PK\x03\x04rest", "zip"),
    # read as they are
    "UTF-16": _planned(
        _TWO.encode("utf-16"), "pending", "pending", bodies={1: _person("Ann", "Lee"), 2: _person("Bob", "Ray")}
    ),
    "a byte order mark": _planned(
        b"\xef\xbb\xbf" + _TWO.encode(),
        "pending",
        "pending",
        bodies={1: _person("Ann", "Lee"), 2: _person("Bob", "Ray")},
    ),
    "Windows line ends": _planned(_TWO.replace("\n", "\r\n"), "pending", "pending", bodies={2: _person("Bob", "Ray")}),
    "no line end at the end": _refused(_TWO.rstrip(), "line 3", "cut short"),
    "no line end at the end, and a closed cell": _planned(
        _TWO.rstrip()[:-3] + '"Ray"', "pending", "pending", bodies={2: _person("Bob", "Ray")}
    ),
    "blank lines": _planned(_TWO.replace("\n", "\n\n\r\n"), "pending", "pending", bodies={2: _person("Bob", "Ray")}),
    "names called NULL and NA": _planned(
        f"{HEAD}{ANN},NULL,NA\n{BOB},None,nan\n",
        *("pending", "pending"),
        bodies={1: _person("NULL", "NA"), 2: _person("None", "nan")},
    ),
    "the country NA": _planned(
        "customer_id,legal_address.address_line_1,legal_address.country_code\n" + f"{ANN},1 Main St,NA\n",
        "pending",
        bodies={1: {"legal_address": {"address_line_1": "1 Main St", "country_code": "NA"}}},
    ),
    "numbers in names": _planned(
        f"{HEAD}{ANN},00123,1E5\n{BOB},1.10,12345678901234567890\n",
        *("pending", "pending"),
        bodies={1: _person("00123", "1E5"), 2: _person("1.10", "12345678901234567890")},
    ),
    "quotes and commas": _planned(
        f'{HEAD}{ANN},"say ""hi""","Lee, Jr."\n', "pending", bodies={1: _person('say "hi"', "Lee, Jr.")}
    ),
    "formulas are data": _planned(f'{HEAD}{ANN},=1+1,"@x"\n', "pending", bodies={1: _person("=1+1", "@x")}),
    "spaces around a name": _planned(f"{HEAD}{ANN}, Ann ,Lee\n", "pending", bodies={1: _person(" Ann ", "Lee")}),
    "an id in capitals": _planned(f"{HEAD}{ANN.upper()},Ann,Lee\n", "pending", bodies={1: _person("Ann", "Lee")}),
    "columns that begin with an underscore": _planned(
        f"customer_id,first_name,_status,_reason\n{ANN},Ann,invalid,x\n", "pending", bodies={1: {"first_name": "Ann"}}
    ),
    "an ignored column": _planned(
        f"customer_id,first_name,Remarks\n{ANN},Ann,whatever\n",
        "pending",
        settings=Settings(rename={"Remarks": ""}),
        bodies={1: {"first_name": "Ann"}},
    ),
    "two code points for one letter": _planned(
        f"{HEAD}{ANN},Zoe\u0308,Lee\n", "pending", bodies={1: _person("Zo\u00eb", "Lee")}
    ),
    # the row is invalid
    "a quoted line end in a name": _planned(f'{HEAD}{ANN},"An\nn",Lee\n{BOB},Bob,Ray\n', "invalid", "pending"),
    "spaces only": _planned(f"{HEAD}{ANN},   ,Lee\n{BOB},Bob,Ray\n", "invalid", "pending"),
    "bidi control": _planned(f"{HEAD}{ANN},A\u202enn,Lee\n{BOB},Bob,Ray\n", "invalid", "pending"),
    "zero-width space": _planned(f"{HEAD}{ANN},A\u200bnn,Lee\n{BOB},Bob,Ray\n", "invalid", "pending"),
    "one mangled id": _planned(f"{HEAD}{ANN},Ann,Lee\n1.11E+31,Bob,Ray\n", "pending", "invalid"),
    "a path for an id": _planned(f"{HEAD}{ANN},Ann,Lee\n..,Bob,Ray\n", "pending", "invalid"),
    "an id with a space": _planned(f"{HEAD}{ANN},Ann,Lee\n {BOB},Bob,Ray\n", "pending", "invalid"),
    "no id": _planned(f"{HEAD}{ANN},Ann,Lee\n,Bob,Ray\n", "pending", "invalid"),
    "dates that are none": _planned(
        f"customer_id,dob\n{ANN},1981-02-29\n{BOB},02/03/1980\n{CAT},1980-02-29\n",
        *("invalid", "invalid", "pending"),
        bodies={3: {"dob": "1980-02-29"}},
    ),
    "an SSN that lost its zero": _planned(
        f"customer_id,ssn\n{ANN},1-01-0001\n{BOB},001-01-0001\n", "invalid", "pending"
    ),
    "a phone as a number": _planned(
        f"customer_id,phone_number\n{ANN},1.4155550123E+10\n{BOB},+14155550123\n",
        *("invalid", "pending"),
        bodies={2: {"phone_number": "+14155550123"}},
    ),
    "a ZIP that lost its zero": _planned(
        "customer_id,legal_address.address_line_1,legal_address.country_code,legal_address.postal_code\n"
        f"{ANN},1 Main St,US,2134\n{BOB},1 Main St,US,02134\n",
        *("invalid", "pending"),
        bodies={2: {"legal_address": {"address_line_1": "1 Main St", "country_code": "US", "postal_code": "02134"}}},
    ),
    # the same id twice
    "the same change twice": _planned(f"{HEAD}{ANN},Ann,Lee\n{ANN.upper()},Ann,Lee\n", "pending", "duplicate"),
    "two changes that disagree": _planned(
        f"{HEAD}{ANN},Ann,Lee\n{BOB},Bob,Ray\n{ANN},Anna,Lee\n", "invalid", "pending", "invalid"
    ),
    "two changes, and the last one wins": _planned(
        f"{HEAD}{ANN},Ann,Lee\n{ANN},Anna,Lee\n",
        *("duplicate", "pending"),
        settings=Settings(duplicates="last"),
        bodies={2: _person("Anna", "Lee")},
    ),
    # empty and clear
    "empty cells": _planned(f"{HEAD}{BOB},,Ray\n{ANN},,\n", "pending", unchanged=1, bodies={1: {"last_name": "Ray"}}),
    "a clear that is allowed": _planned(
        f"customer_id,middle_name\n{ANN},<CLEAR>\n", "pending", settings=_FIRST, bodies={1: {"middle_name": ""}}
    ),
    "a clear that is not allowed": _planned(f"customer_id,middle_name\n{ANN},<CLEAR>\n", "invalid"),
    "a header and no rows": _planned(HEAD),
    # Parquet
    "null and NaN": _parquet(
        lambda: {"first_name": ["Ann", None], "last_name": [None, "Ray"]},
        *("pending", "pending"),
        bodies={1: {"first_name": "Ann"}, 2: {"last_name": "Ray"}},
    ),
    "whole numbers": _parquet(
        lambda: {"first_name": pa.array([7, None], pa.int64())}, "pending", unchanged=1, bodies={1: {"first_name": "7"}}
    ),
    "dates": _parquet(
        lambda: {"dob": pa.array([dt.date(1980, 2, 29), None])},
        "pending",
        unchanged=1,
        bodies={1: {"dob": "1980-02-29"}},
    ),
    "floats": _parquet(lambda: {"first_name": [1.0, float("nan")]}, refused=("first_name", "double")),
    "timestamps": _parquet(lambda: {"dob": [dt.datetime(1980, 2, 29)] * 2}, refused=("dob", "timestamp")),
    "decimals": _parquet(lambda: {"first_name": [Decimal("1.10")] * 2}, refused=("first_name", "decimal")),
    "nested": _parquet(lambda: {"first_name": [["a"], ["b"]]}, refused=("first_name", "list")),
    "whole numbers for ids": _parquet(
        lambda: {"customer_id": [1, 2], "first_name": ["Ann", "Bob"]}, refused=("customer_id",)
    ),
}
