"""The reference of all settings: types and defaults from the models of the job file, meanings from `job.meanings`."""

import difflib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, create_model
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from bulk_patch import plugins
from bulk_patch.errors import UsageError
from bulk_patch.job.meanings import KINDS, MEANINGS
from bulk_patch.job.overrides import to_toml
from bulk_patch.job.settings import PLUGIN_SECTIONS, Job

#: The file beside a job file that its first line names, for editors.
SCHEMA_FILE = "job.schema.json"

_WORDS: dict[Any, str] = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "true or false",
    Path: "path",
    list: "list",
    tuple: "list",
    dict: "table",
}


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting of the job file, as the reference shows it."""

    name: str  # dotted
    kind: str  # what may be written, in words
    default: str  # as TOML, "required" or "none"
    meaning: str
    example: str  # its line in a job file

    @property
    def section(self) -> str:
        """Name the table that it stands in; "" for the job itself."""
        return self.name.rpartition(".")[0]


def list_settings() -> list[Setting]:
    """Return every setting that a job file may hold, in the order of the models."""
    return [
        Setting(name, _kind_words(name, field), _default_words(field), *MEANINGS.get(name, ("", "")))
        for name, field in _fields(_reference_model())
    ]


def section_titles() -> dict[str, str]:
    """Return what each table of the job file is about, by its dotted name, in the order of the models."""
    return {name: _first_line(model) for name, model in _sections(_reference_model())}


def find_settings(key: str) -> list[Setting]:
    """Return what a person means by a name: a setting, those of a table, or those with the name or a part of it.

    Raises:
        UsageError: There is no such setting; the hint names the nearest ones.
    """
    everything = list_settings()
    wanted = key.strip().strip("[]").removesuffix(".")
    for matches in (
        [setting for setting in everything if setting.name == wanted],
        [setting for setting in everything if setting.name.startswith(f"{wanted}.")],
        [setting for setting in everything if setting.name.rpartition(".")[2] == wanted],
        [setting for setting in everything if len(wanted) > 2 and wanted in setting.name],
    ):
        if wanted and matches:
            return matches
    near = _nearest(wanted, everything)
    raise UsageError(f"{key!r} is not a setting", near or "bulk-patch settings lists all of them")


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of a job file, for editors that check TOML against one."""
    schema: dict[str, Any] = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    schema |= _reference_model().model_json_schema()
    schema["title"] = "A job of bulk-patch"
    tables = dict([("", schema), *_schema_tables(schema)])
    for name, field in _fields(_reference_model()):
        section, _, key = name.rpartition(".")
        entry = tables[section]["properties"][key]
        meaning, example = MEANINGS.get(name, ("", ""))
        entry.pop("title", None)
        entry["description"] = f"{meaning}. Example: {example}" if example else meaning
        if entry.get("default", 0) is None:  # TOML has no null
            del entry["default"]
        if usable := _usable_kinds(name):
            entry["enum"] = usable
        if "anyOf" in entry:
            entry["anyOf"] = [option for option in entry["anyOf"] if option != {"type": "null"}]
        if set(_options(field.annotation)) == {int, str}:  # a share
            entry["anyOf"] = [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": r"^\d+(\.\d+)?%?$"}]
    return schema


def schema_text() -> str:
    """Return the JSON Schema as the text of a file."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


# --- how the models are read


@cache
def _reference_model() -> type[Job]:
    """Return the model of a job file with what the built-in plug-ins of every kind read."""
    tables: dict[str, Any] = {}
    for group, core in PLUGIN_SECTIONS.items():
        owned: dict[str, Any] = {}
        for known, kind in plugins.BUILT_IN:
            own = plugins.settings_class(group, kind) if known == group else None
            for name, field in getattr(own, "model_fields", {}).items():
                optional = field if not field.is_required() else FieldInfo(default=None, annotation=field.annotation)
                owned[name] = (field.annotation, optional)
        table = create_model(core.__name__, __base__=core, __doc__=core.__doc__, **owned)
        tables[group] = (table, Job.model_fields[group])
    return create_model("Job", __base__=Job, **tables)


def _fields(model: type[BaseModel], section: str = "") -> Iterator[tuple[str, FieldInfo]]:
    for name, field in model.model_fields.items():
        if field.exclude:
            continue
        table = _table(field)
        if table is None:
            yield f"{section}{name}", field
        else:
            yield from _fields(table, f"{section}{name}.")


def _sections(model: type[BaseModel], above: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    for name, field in model.model_fields.items():
        table = None if field.exclude else _table(field)
        if table is not None:
            yield f"{above}{name}", table
            yield from _sections(table, f"{above}{name}.")


def _table(field: FieldInfo) -> type[BaseModel] | None:
    """Return the model of a field that is a table of its own, also where the table may be left out."""
    found = (kind for kind in _options(field.annotation) if isinstance(kind, type) and issubclass(kind, BaseModel))
    return next(found, None)


def _schema_tables(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the part of the schema that describes each table, without the fields that no job file holds."""
    for name in [name for name, field in Job.model_fields.items() if field.exclude]:
        schema["properties"].pop(name, None)
    schema["required"] = [name for name in schema["required"] if name in schema["properties"]]
    for name, model in _sections(_reference_model()):
        table = schema["$defs"][model.__name__]
        yield name, table


def _options(annotation: Any) -> list[Any]:
    options = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    return [option for option in options if option is not NoneType]


def _kind_words(name: str, field: FieldInfo) -> str:
    if name in KINDS:
        return KINDS[name]
    if usable := _usable_kinds(name):
        return _one_of([f"`{kind}`" for kind in usable])
    options = _options(field.annotation)
    if len(options) > 1:  # a whole number is a number
        options = [option for option in options if not (option is int and float in options)]
    words = ", or ".join(_option_words(option) for option in options)
    bounds = {type(bound).__name__: bound for bound in field.metadata}
    least = getattr(bounds.get("Ge"), "ge", None)
    most = getattr(bounds.get("Le"), "le", None)
    if options == [int] and least and most:
        return f"{words}, {least} to {most}"
    return f"{words}, from {least}" if options == [int] and least else words


def _option_words(option: Any) -> str:
    origin = get_origin(option)
    if origin is Literal:
        values = get_args(option)
        return _one_of([f"`{value}`" for value in values]) if len(values) > 1 else f'`"{values[0]}"`'
    if origin is dict and get_origin(get_args(option)[1]) in (list, tuple):
        return "table of lists"
    return _WORDS.get(origin or option, "value")


def _one_of(values: list[str]) -> str:
    return " or ".join(filter(None, (", ".join(values[:-1]), values[-1])))


def _default_words(field: FieldInfo) -> str:
    default = field.get_default(call_default_factory=True)
    if default is PydanticUndefined:
        return "required"
    return "none" if default in (None, "", (), {}) else to_toml(default)


def _usable_kinds(name: str) -> list[str]:
    group, _, key = name.partition(".")
    return plugins.kinds(group) if key == "kind" else []


def _first_line(model: type[BaseModel]) -> str:
    return (model.__doc__ or "").partition("\n")[0]


def _nearest(wanted: str, everything: list[Setting]) -> str:
    names = [setting.name for setting in everything]
    last = {setting.name.rpartition(".")[2]: setting.name for setting in everything}
    near = difflib.get_close_matches(wanted, names, n=3, cutoff=0.6)
    near += [last[name] for name in difflib.get_close_matches(wanted.rpartition(".")[2], last, n=3, cutoff=0.6)]
    unique = list(dict.fromkeys(near))[:3]
    return f"did you mean {' or '.join(unique)}?" if unique else ""
