"""The parts of a workbook: what is refused as a whole, its sheets, strings, formats and tables."""

import posixpath
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO
from xml.parsers import expat

from bulk_patch.errors import InputError
from bulk_patch.inputs.xlsx.numbers import Format, format_of

_LARGE_BYTES = 1 << 30
_LARGE_GROWTH = 200
_SMALL_BYTES = 10 << 20  # a part of fewer bytes may grow as it likes
_MOST_PARTS = 10_000
_CHUNK_BYTES = 256 << 10
_OLE = b"\xd0\xcf\x11\xe0"
_DAMAGE = (
    *(zipfile.BadZipFile, zlib.error, expat.ExpatError, EOFError, NotImplementedError),
    *(KeyError, ValueError, IndexError, StopIteration, OverflowError),
)
_ESCAPED = re.compile(r"_x([0-9A-Fa-f]{4})_")

Attributes = Mapping[str, str]
Start = Callable[[str, Attributes], None]
End = Callable[[str], None]
Characters = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Sheet:
    """A sheet of rows."""

    name: str
    part: str
    visible: bool


class Package:
    """An opened workbook.

    Args:
        file: Open at its first byte.
        name: What it is called in messages.

    Raises:
        InputError: It is not a workbook that can be read without guessing.
    """

    def __init__(self, file: BinaryIO, name: str) -> None:
        self.name = name
        if file.read(4) == _OLE:
            raise InputError(f"{name} is encrypted, or an old .xls file", "save it as .xlsx without a password")
        file.seek(0)
        with self.translating():
            self._zip = zipfile.ZipFile(file)
            self._check_parts()
            root = self._targets("")
            main = next((part for kind, part in root.values() if kind.endswith("/officeDocument")), "")
            self._parts = self._targets(main)
            self.since_1904 = False
            self.sheets = self._read_workbook(main)
            self.strings = self._read_strings()
            self.formats = self._read_formats()

    def parse(self, part: str, *, start: Start, end: End | None = None, characters: Characters | None = None) -> None:
        """Feed a part to these functions; names come without prefixes."""
        for _ in self.steps(part, start=start, end=end, characters=characters):
            pass

    def steps(
        self, part: str, *, start: Start, end: End | None = None, characters: Characters | None = None
    ) -> Iterator[None]:
        """Feed a part to these functions, and pause after every chunk of it."""
        parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.StartDoctypeDeclHandler = self._refuse_doctype
        _set_handlers(parser, start, end)
        if characters is not None:
            parser.CharacterDataHandler = characters
        with self.translating(), self._zip.open(part) as stream:
            while chunk := stream.read(_CHUNK_BYTES):
                parser.Parse(chunk, False)
                yield
            parser.Parse(b"", True)
        yield

    @contextmanager
    def translating(self) -> Iterator[None]:
        """Translate what a damaged workbook causes."""
        try:
            yield
        except _DAMAGE as error:
            raise InputError(
                f"{self.name} cannot be read as an Excel workbook: {type(error).__name__}", "open it and save it again"
            ) from None
        except RuntimeError:  # zipfile's way to ask for a password
            raise InputError(f"{self.name} is encrypted", "save it without a password") from None

    def tables_of(self, sheet: Sheet) -> dict[str, tuple[str, int, int]]:
        """Return the tables of a sheet: the name -> where it is, its rows of headers, its rows of totals."""
        tables: dict[str, tuple[str, int, int]] = {}

        def start(name: str, attributes: Attributes) -> None:
            if name == "table":
                shown = attributes.get("displayName", attributes.get("name", ""))
                rows = int(attributes.get("headerRowCount", "1")), int(attributes.get("totalsRowCount", "0"))
                tables[shown] = (attributes["ref"], *rows)

        for kind, part in self._targets(sheet.part).values():
            if kind.endswith("/table"):
                self.parse(part, start=start)
        return tables

    def _refuse_doctype(self, *_: object) -> None:
        raise InputError(f"{self.name} declares entities, which no Excel writes", "open it and save it again")

    def _check_parts(self) -> None:
        parts = self._zip.infolist()
        names = [part.filename for part in parts]
        unpacked = sum(part.file_size for part in parts)
        grown = any(p.file_size > _SMALL_BYTES and p.file_size > _LARGE_GROWTH * p.compress_size for p in parts)
        if grown or unpacked > _LARGE_BYTES or len(parts) > _MOST_PARTS:
            raise InputError(f"{self.name} unpacks to {unpacked >> 20} MiB", "save the sheet as CSV UTF-8")
        if len(set(names)) != len(names) or any(name.startswith("/") or ".." in name.split("/") for name in names):
            raise InputError(f"{self.name} has parts that no Excel writes", "open it and save it again")
        for word, what in (
            ("vbaProject.bin", "macros"),
            ("workbook.bin", "the binary form of a workbook"),
            ("externalLinks/", "links to other workbooks"),
        ):
            if any(word in name for name in names):
                raise InputError(f"{self.name} holds {what}", "save it as .xlsx without them")

    def _targets(self, part: str) -> dict[str, tuple[str, str]]:
        """Return what a part relates to: id -> kind, part."""
        folder, name = posixpath.split(part)
        relations = posixpath.join(folder, "_rels", f"{name}.rels")
        targets: dict[str, tuple[str, str]] = {}

        def start(name: str, attributes: Attributes) -> None:
            if name == "Relationship" and attributes.get("TargetMode") != "External":
                target = posixpath.normpath(posixpath.join("/", folder, attributes["Target"])).lstrip("/")
                targets[attributes["Id"]] = attributes["Type"], target

        if relations in self._zip.namelist():
            self.parse(relations, start=start)
        return targets

    def _read_workbook(self, main: str) -> tuple[Sheet, ...]:
        sheets: list[Sheet] = []

        def start(name: str, attributes: Attributes) -> None:
            if name == "workbookPr":
                self.since_1904 = attributes.get("date1904", "0") in ("1", "true")
            elif name == "sheet":
                relation = next(value for key, value in attributes.items() if key.rpartition(":")[2] == "id")
                kind, part = self._parts[relation]
                if kind.endswith("/worksheet"):
                    visible = attributes.get("state", "visible") == "visible"
                    sheets.append(Sheet(attributes["name"], part, visible))

        self.parse(main, start=start)
        return tuple(sheets)

    def _part(self, kind: str) -> str:
        return next((part for each, part in self._parts.values() if each.endswith(kind)), "")

    def _read_strings(self) -> list[str]:
        strings: list[str] = []
        reading = TextReader("si", strings.append)
        if part := self._part("/sharedStrings"):
            self.parse(part, start=reading.start, end=reading.end, characters=reading.characters)
        return strings

    def _read_formats(self) -> list[Format]:
        """Return the number format of each style of a cell."""
        codes: dict[int, str] = {}
        formats: list[Format] = []
        inside = ""

        def start(name: str, attributes: Attributes) -> None:
            nonlocal inside
            if name == "numFmt" and not inside:
                codes[int(attributes["numFmtId"])] = attributes["formatCode"]
            elif name in ("cellXfs", "cellStyleXfs", "dxfs"):
                inside = name
            elif name == "xf" and inside == "cellXfs":
                number = int(attributes.get("numFmtId", "0"))
                formats.append(format_of(number, codes.get(number)))

        if part := self._part("/styles"):
            self.parse(part, start=start)
        return formats or [format_of(0, None)]


def _set_handlers(parser: expat.XMLParserType, start: Start, end: End | None) -> None:
    """Have elements handed on without prefixes; where the first has none, as Excel writes them, at no cost."""

    def first(name: str, attributes: Attributes) -> None:
        if ":" in name:
            parser.StartElementHandler = lambda name, attributes: start(name.rpartition(":")[2], attributes)
            parser.EndElementHandler = (lambda name: end(name.rpartition(":")[2])) if end is not None else None
        else:
            parser.StartElementHandler, parser.EndElementHandler = start, end
        start(name.rpartition(":")[2], attributes)

    parser.StartElementHandler = first


class TextReader:
    """Collects the text of an element: its runs without their phonetic spelling.

    Args:
        whole: The name of the element.
        take: Gets its text.
    """

    def __init__(self, whole: str, take: Callable[[str], object]) -> None:
        self._whole = whole
        self._take = take
        self._pieces: list[str] = []
        self._in_text = False
        self._in_phonetic = False

    def start(self, name: str, attributes: Attributes) -> None:
        """Note where text begins."""
        if name == self._whole:
            self._pieces = []
        elif name == "rPh":
            self._in_phonetic = True
        self._in_text = name == "t" and not self._in_phonetic

    def end(self, name: str) -> None:
        """Note where text ends."""
        self._in_text = False
        if name == "rPh":
            self._in_phonetic = False
        elif name == self._whole:
            self._take(unescape("".join(self._pieces)))

    def characters(self, text: str) -> None:
        """Take text."""
        if self._in_text:
            self._pieces.append(text)


def unescape(text: str) -> str:
    """Return text without Excel's escapes: `_x000D_` is a carriage return."""
    return _ESCAPED.sub(lambda found: chr(int(found[1], 16)), text) if "_x" in text else text
