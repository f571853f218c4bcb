"""The settings of the input: where the changes are, how the file is written, and what its cells mean."""

import codecs
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from bulk_patch.job.conversions import parse_rule
from bulk_patch.job.section import Section

AUTO: Literal["auto"] = "auto"
FORMATS = ("csv", "tsv", "jsonl", "parquet", "xlsx")

_DELIMITERS = {"comma": ",", "semicolon": ";", "tab": "\t", "pipe": "|"}
# Of Python's text encodings, those that no program writes tables in, or that read two bytes in two ways.
_NO_ENCODINGS = frozenset({"utf-7", "idna", "punycode", "raw_unicode_escape", "unicode_escape", "undefined", "charmap"})


class InputSettings(Section):
    """Where the changes come from, and how they are written down."""

    path: Path = Field(strict=False)
    id: str
    format: Literal["auto", "csv", "tsv", "jsonl", "parquet", "xlsx"] = AUTO
    delimiter: str = AUTO
    encoding: str = AUTO
    skip_rows: int | Literal["auto"] = AUTO
    header_row: int = Field(default=1, ge=1, le=1000)
    sheet: str = ""
    table: str = ""
    hidden: Literal["refuse", "skip", "send"] = "refuse"
    formulas: Literal["refuse", "values"] = "refuse"
    blank: Literal["keep", "clear", "reject"] = "keep"
    clear: str = Field(default="<CLEAR>", min_length=1)
    may_clear: tuple[str, ...] = Field(default=(), strict=False)
    duplicates: Literal["reject", "last"] = "reject"
    rename: dict[str, str] = Field(default={})
    convert: dict[str, str] = Field(default={})
    max_age_h: float | None = Field(default=None, gt=0, strict=False)

    @field_validator("delimiter")
    @classmethod
    def _is_one_character(cls, delimiter: str) -> str:
        character = _DELIMITERS.get(delimiter, delimiter)
        if character == AUTO:
            return character
        if len(character) != 1 or not character.isascii() or character.isalnum() or character in "\"'\r\n\0":
            raise ValueError('must be "auto", "comma", "semicolon", "tab", "pipe", or one ASCII character like these')
        return character

    @field_validator("encoding")
    @classmethod
    def _is_known(cls, encoding: str) -> str:
        if encoding == AUTO:
            return encoding
        try:
            name = codecs.lookup(encoding).name
            "".encode(encoding)  # refuses what is no encoding of text, such as base64
        except (LookupError, ValueError):
            name = ""
        if not name or name in _NO_ENCODINGS:
            raise ValueError('must be an encoding such as "utf-8", "windows-1252" or "utf-16"')
        return {"utf-8-sig": "utf-8"}.get(name, name)

    @field_validator("skip_rows")
    @classmethod
    def _is_a_number_of_rows(cls, rows: int | str) -> int | str:
        if isinstance(rows, int) and not 0 <= rows <= 1000:
            raise ValueError('must be "auto", or a number from 0 to 1000')
        return rows

    @field_validator("convert")
    @classmethod
    def _converts_by_rules(cls, convert: dict[str, str]) -> dict[str, str]:
        for column, rule in convert.items():
            try:
                parse_rule(rule)
            except ValueError as error:
                raise ValueError(f"of column {column!r}: {error}") from None
        return convert

    @model_validator(mode="after")
    def _blank_needs_leave(self) -> "InputSettings":
        if self.blank == "clear" and not self.may_clear:
            raise ValueError('blank = "clear" clears fields, so may_clear must name them')
        return self
