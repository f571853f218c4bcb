import asyncio
import logging
import re
import sys
import threading
import warnings
from datetime import date
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest
import structlog

from bulk_patch.observe import ALLOWED_KEYS, get_logger, mask, start_logging
from bulk_patch.observe.redact import LONGEST_TEXT
from tests.support.observing import read_lines

MARKER = "Vex-Quillon-7731"  # stands for a customer's value
ID = "0195f7c2-54aa-7c1d-9a36-3d7d4b6c1f20"

log = get_logger()


def say_everywhere(tmp_path: Path, capsys: pytest.CaptureFixture[str], **keys: Any) -> tuple[dict[str, Any], str]:
    """Log one event; return it as run.log has it, and all that both outputs hold."""
    path = tmp_path / "run.log"
    with start_logging(log_file=path, quiet=False, verbose=False):
        log.error("happened", **keys)
    (line,) = read_lines(path)
    return line, capsys.readouterr().err + path.read_text(encoding="utf-8")


def test_only_allowed_keys_pass_and_the_others_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line, everything = say_everywhere(tmp_path, capsys, row=7, first_name=MARKER, body={"email": MARKER})
    assert line["row"] == 7
    assert line["dropped"] == ["first_name", "body"]
    assert MARKER not in everything


def test_no_allowed_key_is_a_field_of_a_customer() -> None:
    assert len(ALLOWED_KEYS) == len(set(ALLOWED_KEYS))
    personal = (
        "name",
        "email",
        "phone",
        "address",
        "ssn",
        "dob",
        "token",
        "body",
        "before",
        "after",
        "customer",
        "url",
    )
    assert [key for key in ALLOWED_KEYS for word in personal if word in key] == []


def test_an_object_is_only_named_by_its_class(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Patch:
        def __repr__(self) -> str:
            return MARKER

    line, everything = say_everywhere(
        tmp_path, capsys, row=Patch(), rows=[Patch(), MARKER.encode()], reason=ValueError(MARKER), counts={"a": Patch()}
    )
    assert line.items() >= {"row": "<Patch>", "rows": ["<Patch>", "<bytes>"], "reason": "<ValueError>"}.items()
    assert line["counts"] == {"a": "<Patch>"}
    assert MARKER not in everything


def test_plain_values_pass_as_json_values(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Colour(StrEnum):
        RED = "red"

    given = {
        "state": Colour.RED,
        "counts": {Colour.RED: 2},
        "seconds": 1.5,
        "share": float("nan"),
        "ok": True,
        "path": Path("output/run.log"),
        "started_at": date(2026, 11, 22),
        "fields": {"b", "a"},
        "limit": None,
        "total": Decimal(1),
    }
    line, _ = say_everywhere(tmp_path, capsys, **given)
    del line["timestamp"], line["level"], line["event"]
    assert line == {
        "state": "red",
        "counts": {"red": 2},
        "seconds": 1.5,
        "share": "nan",
        "ok": True,
        "path": "output/run.log",
        "started_at": "2026-11-22",
        "fields": ["a", "b"],
        "limit": None,
        "total": "<Decimal>",
    }


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("Authorization: Bearer abc.def-123456", "Authorization: <token>"),
        ("BASIC dXNlcjpwYXNz", "<token>"),
        ("got eyJhbGciOi.eyJzdWIiOi.c2ln-_ here", "got <token> here"),
        ("write to jane.doe+x@mail.example.com.", "write to <email>"),
        ("call +14155550123 or +442071838750", "call <phone> or <phone>"),
        ("ssn 123-45-6789, 123 45 6789 and 123456789", "ssn <ssn>, <ssn> and <ssn>"),
        (f"PATCH /v0/customers/{ID}", "PATCH /v0/customers/<id>"),
        ("two\nlines \x1b[31mred\x1b[0m \u202eback", "two lines  [31mred [0m  back"),
    ],
)
def test_what_looks_private_inside_a_text_is_masked(text: str, masked: str) -> None:
    assert mask(text) == masked


@pytest.mark.parametrize(
    "text",
    [
        "run 20261122-151203-4f2a of address-corrections",
        "plan " + "0123456789abcdef" * 4,
        "2026-11-22T15:12:03.123456Z",
        "12,345 of 1234567890 rows, 1.5e+10",
        "the bearer of the token was refused (HTTP 401)",
        "bulk-patch run jobs/address_corrections.toml --set limits.rate_per_s=5",
        "synctera https://api-sandbox.synctera.com/v0 customers",
    ],
)
def test_what_is_not_private_is_left_as_it_is(text: str) -> None:
    assert mask(text) == text


def test_a_very_long_text_is_cut_after_it_was_masked() -> None:
    assert len(mask("x" * 100_000)) == LONGEST_TEXT + 1
    assert "jane" not in mask("." * (LONGEST_TEXT - 3) + " jane.doe@mail.example.com")


def test_masks_reach_into_lists_mappings_events_and_bound_values(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    private = "jane.doe@mail.example.com"
    with structlog.contextvars.bound_contextvars(job=private, secret=private):
        line, everything = say_everywhere(
            tmp_path, capsys, fields=[private], counts={private: 1}, **{f"about {private}": 1}
        )
    assert line.items() >= {"job": "<email>", "fields": ["<email>"], "counts": {"<email>": 1}}.items()
    assert line["dropped"] == ["about <email>", "secret"]
    assert private not in everything


def test_a_value_cannot_forge_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, everything = say_everywhere(tmp_path, capsys, code='X"\n12:00:00 info    all is well rows=1\x1b[2K')
    assert everything.count("\n") == 2
    assert "\x1b" not in everything


# --- exceptions, libraries, warnings


def fail_with_marker() -> None:
    name = MARKER  # a local variable
    try:
        raise KeyError(name)
    except KeyError as cause:
        error = ValueError(f"cannot use {name}")
        error.add_note(name)
        raise error from cause


@pytest.mark.parametrize("form", ["exception", "true", "instance", "tuple"])
def test_an_exception_is_told_by_classes_and_places_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    path = tmp_path / "run.log"
    with start_logging(log_file=path, quiet=False, verbose=False):
        try:
            fail_with_marker()
        except ValueError as error:
            match form:
                case "exception":
                    log.exception("failed", error=error)
                case "true":
                    log.error("failed", exc_info=True)
                case "instance":
                    log.error("failed", exc_info=error)
                case _:
                    log.error("failed", exc_info=(ValueError, error, error.__traceback__))
    (line,) = read_lines(path)
    assert line["error"] == "ValueError"
    outline = line["exception"]
    assert [entry for entry in outline if not entry.startswith(" ")] == ["ValueError", "KeyError"]
    assert re.fullmatch(r"  test_redact\.py:\d+ fail_with_marker", outline[-1])
    printed = capsys.readouterr().err
    assert f"    {outline[-1]}\n" in printed
    assert MARKER not in printed + path.read_text(encoding="utf-8")


def test_an_exception_group_is_told_with_its_parts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    group = ExceptionGroup(MARKER, [OSError(MARKER), ValueError(MARKER)])
    line, everything = say_everywhere(tmp_path, capsys, exc_info=group)
    assert line["exception"] == ["ExceptionGroup", "  OSError", "  ValueError"]
    assert MARKER not in everything


@pytest.mark.parametrize("keys", [{"error": MARKER}, {"exception": MARKER}, {"stack_info": MARKER}])
def test_no_key_lets_an_exceptions_text_through(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], keys: dict[str, str]
) -> None:
    assert MARKER not in say_everywhere(tmp_path, capsys, **keys)[1]


def test_a_librarys_message_is_reduced_to_its_origin(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "run.log"
    with start_logging(log_file=path, quiet=False, verbose=True):
        library = logging.getLogger("aiohttp.client")
        library.info("GET /customers?email=%s", MARKER)
        library.warning("Authorization: %s", MARKER, extra={"url": MARKER})
        try:
            fail_with_marker()
        except ValueError:
            library.exception("failed for %s", MARKER)
    warning, error = read_lines(path)
    assert warning.items() >= {"level": "warning", "logger": "aiohttp.client"}.items()
    assert re.fullmatch(r"test_redact\.py:\d+", warning["origin"])
    assert error.items() >= {"level": "error", "error": "ValueError"}.items()
    assert MARKER not in capsys.readouterr().err + path.read_text(encoding="utf-8")


def test_what_no_one_waited_for_is_told_without_its_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Careless:
        def __del__(self) -> None:
            fail_with_marker()

    async def forget() -> None:
        async def fail() -> None:
            fail_with_marker()

        task = asyncio.create_task(fail())
        await asyncio.sleep(0)
        del task

    path = tmp_path / "run.log"
    with start_logging(log_file=path, quiet=False, verbose=False):
        thread = threading.Thread(target=fail_with_marker)
        thread.start()
        thread.join()
        thread = threading.Thread(target=sys.exit)
        thread.start()
        thread.join()
        Careless()
        asyncio.run(forget())
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn(MARKER, RuntimeWarning, stacklevel=1)
    told = [(line["event"], line.get("error"), line.get("category")) for line in read_lines(path)]
    assert told == [
        ("an exception nobody waited for", "ValueError", None),
        ("an exception nobody waited for", "ValueError", None),
        ("a library reported a problem", "ValueError", None),
        ("a library warned", None, "RuntimeWarning"),
    ]
    assert MARKER not in capsys.readouterr().err + path.read_text(encoding="utf-8")
