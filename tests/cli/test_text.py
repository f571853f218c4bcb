import pytest

from bulk_patch.cli.text import numbered, safe, section, table, wrap
from bulk_patch.words import amount, duration_words, milliseconds_words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.0, "under 1 s"),
        (0.99, "under 1 s"),
        (1.0, "about 1 s"),
        (12.4, "about 12 s"),
        (59.6, "about 1 min"),
        (150.0, "about 2 min"),
        (3590.0, "about 1 h 0 min"),
        (7500.0, "about 2 h 5 min"),
        (47.9 * 3600, "about 47 h 54 min"),
        (50 * 3600.0, "about 2 d 2 h"),
    ],
)
def test_durations_are_said_as_a_person_would(seconds: float, words: str) -> None:
    assert duration_words(seconds) == words


@pytest.mark.parametrize(("value", "words"), [(0.0, "1 ms"), (0.4, "1 ms"), (1.4, "1 ms"), (84.7, "85 ms")])
def test_nothing_is_done_within_no_time(value: float, words: str) -> None:
    assert milliseconds_words(value) == words


def test_one_thing_has_no_plural() -> None:
    assert [amount(number, "row") for number in (0, 1, 2000)] == ["0 rows", "1 row", "2,000 rows"]


def test_what_cannot_be_printed_is_replaced_one_for_one() -> None:
    assert safe("a\x1b\n\u202e\u200bé 李") == "a\ufffd\ufffd\ufffd\ufffdé 李"


def test_a_long_word_stays_whole() -> None:
    path = "/folder" * 30
    assert wrap(f"see {path} now", "  ") == ["  see", f"  {path}", "  now"]


def test_numbers_end_below_each_other_and_those_left_out_are_counted() -> None:
    assert numbered([("many", 1000), ("few", 2), ("one", 1)], shown=2) == [
        "  1,000  many",
        "      2  few",
        "         and 1 more",
    ]


def test_a_section_without_lines_has_no_title() -> None:
    assert section("title", []) == []
    assert section("title", ["line"]) == ["title", "line", ""]


def test_a_table_is_as_wide_as_its_cells_and_ends_without_spaces() -> None:
    assert table([("name", "rows", "state"), ("a long name", "7", "x")], right=[1]) == [
        "name         rows  state",
        "a long name     7  x",
    ]
