import builtins
from collections import Counter
from typing import Any

import pandas as pd
import pytest

from bulk_patch.errors import JobError
from bulk_patch.inputs.columns import TEXT
from bulk_patch.inputs.convert import convert_column, converter_of, count_conversions, shape
from bulk_patch.job.conversions import parse_rule

UUID = "a6a3b1c2-1111-4111-8111-111111111111"


@pytest.mark.parametrize(
    ("rule", "cell", "became"),
    [
        ("date:M/D/YYYY", "1/31/1980", "1980-01-31"),
        ("date:M/D/YYYY", " 01/02/1980 ", "1980-01-02"),
        ("date:D.M.YYYY", "1.2.1980", "1980-02-01"),
        ("date:D.M.YYYY", "1/2/1980", None),
        ("date:M/D/YYYY", "31/1/1980", None),
        ("date:M/D/YYYY", "2/29/1981", None),
        ("date:M/D/YYYY", "1/31/80", None),
        ("date:M/D/YYYY", "1/31/1980 0:00", None),
        ("date:MM/DD/YYYY", "1/31/1980", None),
        ("date:D MMM YYYY", "31 Jan 1980", "1980-01-31"),
        ("date:DD-MMM-YYYY", "31-XXX-1980", None),
        ("date:YYYYMMDD", "19800131", "1980-01-31"),
        ("phone:US", "617-555-0000", "+16175550000"),
        ("phone:US", "(617) 555 0001", "+16175550001"),
        ("phone:US", "+44 20 7946 0958", "+442079460958"),
        ("phone:US", "1-800-FLOWERS", None),
        ("phone:US", "617-555-0000 x12", None),
        ("phone:US", "555-0000", None),
        ("zip:US", "4101", "04101"),
        ("zip:US", "2139-1234", "02139-1234"),
        ("zip:US", "21391234", "02139-1234"),
        ("zip:US", "4101.0", None),
        ("zip:US", "SW1A 1AA", None),
        ("map:{USA=US, United States=US}", "United States", "US"),
        ("map:{USA=US}", "usa", None),
        ("uuid", f"{{{UUID.upper()}}}", UUID),
        ("uuid", UUID.replace("-", ""), UUID),
        ("uuid", f"{{{UUID}", None),
        ("upper", "ca", "CA"),
        ("trim", "\u00a0 a b ", "a b"),
        ("number", "2139.0", "2139"),
        ("number", "1 234", "1234"),
        ("number", "-0.50", "-0.50"),
        ("number", "007", "7"),
        ("number", "1,234", None),
        ("number", "1E5", None),
    ],
)
def test_a_cell_becomes_what_the_rule_says_or_is_refused(rule: str, cell: str, became: str | None) -> None:
    convert = converter_of(rule).convert
    assert convert(cell) == became
    if became is not None:
        assert convert(became) == became  # a corrected row passes the same rule again


@pytest.mark.parametrize(
    ("rule", "word"),
    [
        ("date", "needs YYYY"),
        ("date:M/D/YY", "century"),
        ("date:M/YYYY", "needs YYYY"),
        ("date:M/D/YYYY h", "needs YYYY"),
        ("phone", "country"),
        ("zip:DE", "United States"),
        ("map:{}", "pairs"),
        ("map:USA=US", "pairs"),
        ("map:{USA=US,USA=CA}", "two meanings"),
        ("lower", "must be "),
    ],
)
def test_a_rule_that_says_nothing_certain_is_refused(rule: str, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        parse_rule(rule)


def test_blank_missing_and_clearing_cells_stay_as_they_are() -> None:
    cells = pd.Series(["USA", "", None, "<CLEAR>", "  ", "Peru", "US"], dtype=TEXT, index=range(1, 8))
    after, failed = convert_column(cells, "map:{USA=US}", leave="<CLEAR>")
    assert after.fillna("?").tolist() == ["US", "", "?", "<CLEAR>", "  ", "Peru", "US"]
    assert failed == [6]
    assert count_conversions(cells, after, whole=True) == Counter({("USA", "US"): 1})


def test_a_shape_says_how_a_cell_is_written_and_not_what_it_says() -> None:
    assert shape("1/31/1980") == "9/99/9999"
    assert shape("(617) 555 0001") == "(999) 999 9999"
    assert shape("Ångström St 5") == "aaa… aa 9"


def test_telephone_numbers_need_their_package(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name == "phonenumbers":
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(JobError) as caught:
        converter_of("phone:GB")
    assert caught.value.hint == "pip install 'bulk-patch[contact]'"
