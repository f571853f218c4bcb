"""Draft a job for a file that somebody has: look at its start, propose columns and rules, comment each line."""

import codecs
import csv
import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bulk_patch.errors import InputError
from bulk_patch.inputs.csv import CsvFile
from bulk_patch.inputs.encodings import describe_readings
from bulk_patch.inputs.formats import Reader
from bulk_patch.inputs.parts import guarding
from bulk_patch.inputs.start import open_input, read_start
from bulk_patch.inputs.streams import opened, packing_of
from bulk_patch.inputs.xlsx.reader import XlsxFile
from bulk_patch.job.overrides import to_toml
from bulk_patch.job.reference import SCHEMA_FILE
from bulk_patch.job.settings import InputSettings
from bulk_patch.planning.proposal import Proposal, looks_like_id, propose
from bulk_patch.targets import Target
from bulk_patch.targets.from_spec import target_from_spec

SAMPLE_ROWS = 1000
_TITLE_LINES = 20
_ANY_8_BIT = "windows-1252"
_SUFFIXES = (".csv", ".tsv", ".tab", ".jsonl", ".ndjson", ".parquet", ".pq", ".xlsx", ".gz", ".zst")


@dataclass(frozen=True, slots=True)
class Draft:
    """A job file that nobody has read yet."""

    name: str
    text: str
    doubts: tuple[str, ...]  # what a person should look at


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What a person said about the job.

    Attributes:
        input: The file.
        folder: Where the job file will be; its paths are relative to it.
        approval: A second person approves each plan.
        customers: What a rehearsal starts with; None: not said.
    """

    input: Path
    folder: Path
    approval: bool = False
    customers: Path | None = None


def draft_job(wishes: Wishes) -> Draft:
    """Draft a job for a file.

    Raises:
        InputError: The file cannot be read, or no column of it holds ids of the API.
    """
    kind, resource = "synctera", "customers"
    target = target_from_spec({"kind": kind, "resource": resource})
    doubts: list[str] = []
    settings, reader = _open(wishes.input.absolute(), target, doubts)
    names = [name for name, times in Counter(reader.header).items() if times == 1]  # no other can be asked for
    cells = read_start(reader, settings, names, rows=SAMPLE_ROWS)
    made = propose(names, cells, known=target.field_names(), rule=target.ids)
    if made is None:
        raise InputError(
            f"{wishes.input.name}: no column holds ids of the API; it has {', '.join(map(repr, reader.header[:20]))}",
            "the file needs a column with the API's own id of each customer",
        )
    rows = _count(settings, reader, made.id)
    name = _name_of(wishes.input)
    if reader.reading:
        doubts.insert(0, f"{wishes.input.name} is {reader.reading}")
    if not made.fields:
        doubts.append("no column fills a field: name one in [input.rename]")
    convert = made.convert
    if "convert" not in InputSettings.model_fields:  # this version has no rules for cells
        for column, rule in convert.items():
            doubts.append(f"column {column!r} needs a rule ({rule}): change its cells first")
        convert = {}
    text = "\n".join(_lines(wishes, name, settings, made, rows=rows, convert=convert)) + "\n"
    return Draft(name, text, (*doubts, *made.doubts))


def _name_of(path: Path) -> str:
    stem = path.name.lower()
    while stem.endswith(_SUFFIXES):
        stem = stem.rpartition(".")[0]
    return re.sub(r"[^a-z0-9]+", "-", stem).strip("-")[:64].strip("-") or "job"


# --- how the file is read


def _open(path: Path, target: Target, doubts: list[str]) -> tuple[InputSettings, Reader]:
    """Open the file, as UTF-8 if it is, and find the name of its id column."""
    settings = InputSettings(path=path, id="id")
    if not path.is_file():
        return settings, open_input(settings)  # a folder of parts, or nothing
    packed = packing_of(path)
    with opened(path, packed=packed) as stream:
        start = stream.read(1 << 20)
    is_text = not start.startswith((b"PAR1", b"PK\x03\x04")) and path.suffix.lower() not in (".jsonl", ".ndjson")
    ids: Sequence[str] = ()
    if is_text:
        encoding = _encoding_of(start)
        if encoding != "auto":
            settings = settings.model_copy(update={"encoding": _spelled(encoding)})
        text = start.decode(_spelled(encoding) if encoding != "auto" else "utf-8", "replace")
        ids = tuple(name for rows in _first_lines(text) for name in _id_names(rows, target))
    reader = open_input(settings, ids=ids)
    if isinstance(reader, XlsxFile) and not any(map(looks_like_id, reader.header)):
        ids = tuple(_id_names(reader.start[: _TITLE_LINES + 1], target))
        reader = open_input(settings, ids=ids)
    if isinstance(reader, CsvFile) and settings.encoding != "auto":
        readings = describe_readings(_odd_lines(start), reader.dialect.delimiter).partition(": ")[2]
        doubts.append(f"it is not UTF-8 and taken for {_ANY_8_BIT}; which one reads right? {readings}")
    return settings, reader


def _spelled(encoding: str) -> str:
    return codecs.lookup(encoding).name


def _encoding_of(start: bytes) -> str:
    """Return the encoding to write into the job: "auto" for UTF-8 and for what a mark at the start tells."""
    if start.startswith((codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "auto"
    try:
        codecs.getincrementaldecoder("utf-8")().decode(start)
    except UnicodeDecodeError:
        return _ANY_8_BIT
    return "auto"


def _odd_lines(start: bytes) -> list[tuple[int, bytes]]:
    lines = start.split(b"\n")[:-1] or [start]
    return [(number, line) for number, line in enumerate(lines, 1) if not _is_utf8(line)][:100]


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def _first_lines(text: str) -> Iterable[list[list[str]]]:
    """Yield the cells of the first lines, once for each delimiter that they may have."""
    lines = [line for line in text.removeprefix("\ufeff").splitlines()[: _TITLE_LINES + 1] if line.strip()]
    for delimiter in (",", ";", "\t", "|"):
        yield [next(csv.reader([line], delimiter=delimiter), []) for line in lines]


def _id_names(rows: Iterable[Sequence[str]], target: Target) -> Iterable[str]:
    """Yield what the id column may be called: by its name, or by an id below it."""
    header: Sequence[str] = ()
    for cells in rows:
        yield from (cell for cell in cells if looks_like_id(cell))
        has_ids = [target.ids.accepts(cell.strip(" {}")) for cell in cells]
        yield from (name for name, has_id in zip(header, has_ids, strict=False) if has_id and name)
        if not any(has_ids):
            header = cells


def _count(settings: InputSettings, reader: Reader, column: str) -> int:
    with guarding(settings.path):
        return sum(len(table) for table in reader.tables([column]))


# --- the job file


def _lines(
    wishes: Wishes, name: str, settings: InputSettings, made: Proposal, *, rows: int, convert: dict[str, str]
) -> Iterable[str]:
    def relative(path: Path) -> str:
        return to_toml(os.path.relpath(path.absolute(), wishes.folder.absolute()))

    def line(key: str, value: Any, comment: str = "") -> str:
        text = f"{key} = {value}"
        return f"{text:<50}  # {comment}" if comment else text

    quoted = to_toml
    yield f"#:schema {SCHEMA_FILE}"
    yield "# Drafted from the file below by `bulk-patch init --from`: read it, and correct what was guessed wrongly."
    yield "# What each setting means: bulk-patch settings"
    yield ""
    yield line("name", quoted(name), f"its runs are kept in output/{name}/")
    yield line("description", quoted(""), "the title of its plan and its report: say what this batch is")
    yield ""
    yield "[input]"
    yield line("path", relative(wishes.input), "relative to this file")
    yield line("id", quoted(made.id), "the column with the API's own id")
    if settings.encoding != "auto":
        yield line("encoding", quoted(_ANY_8_BIT), "not UTF-8: see whether names with accents read right")
    yield line("blank", quoted("keep"), "an empty cell means no change")
    if made.rename:
        yield ""
        yield f'{"[input.rename]":<50}  # column = field; "" ignores the column'
        yield from (line(_key(column), quoted(field)) for column, field in made.rename.items())
    if convert:
        yield ""
        yield "[input.convert]"
        yield from (line(_key(column), quoted(rule)) for column, rule in convert.items())
    yield ""
    yield "[baseline]"
    yield line("kind", quoted("live"), "compare with the API; only what differs is sent")
    yield ""
    yield "[target]"
    yield line("kind", quoted("synctera"))
    yield line("base_url", quoted("https://api-sandbox.synctera.com/v0"), "Synctera's test system")
    yield line("token", quoted("env:SYNCTERA_API_KEY"), "where the secret is found, never the secret itself")
    yield ""
    yield "[limits]"
    yield line("rate_per_s", "20", "requests a second, reads included; never exceeded")
    yield ""
    yield "[guards]"
    objects = list(dict.fromkeys(field.partition(".")[0] for field in made.fields))
    yield line("fields", quoted(objects), "nothing else may change")
    yield line("max_changes", str(max(rows, 1)), "as many rows as the file has now")
    yield line("max_invalid", quoted("5%"), "more rows that break a rule stop the run")
    yield line("canary", "10", "the first rows are sent one by one and read back")
    if wishes.approval:
        yield line("approval", "true", "another person approves each plan")
    yield ""
    yield "[sandbox]"
    if wishes.customers is not None:
        yield line("customers", relative(wishes.customers), "what a rehearsal with --sandbox starts with")
    else:
        yield '# customers = "customers.csv"    # a rehearsal needs customers with the ids of the input'


def _key(column: str) -> str:
    return column if re.fullmatch(r"[A-Za-z0-9_-]+", column) else to_toml(column)
