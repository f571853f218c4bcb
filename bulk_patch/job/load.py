"""Load a job file: read TOML, apply `--set`, check all that can be checked without opening another file."""

import difflib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from pydantic import ValidationError

from bulk_patch.errors import JobError
from bulk_patch.job.meanings import MEANINGS
from bulk_patch.job.overrides import apply_override, last_of_each, make_absolute
from bulk_patch.job.plugin_sections import kinds_with, section_of
from bulk_patch.job.settings import PLUGIN_SECTIONS, Guards, Job
from bulk_patch.job.toml_file import read_toml

#: What pydantic adds to the place of a fault: which of several types a value was tried as.
_BRANCHES = ("literal['unlimited']", "float", "int", "str")
#: Faults of which pydantic says more about types than a person wants to know; the reference says it in words.
_TYPE_FAULTS = ("_type", "_parsing", "literal_error", "string_pattern_mismatch", "int_from_float")
_WITH_ARTICLE = ("list", "number", "path", "reference", "table", "whole number")
_REPAIRS = 5  # faults can hide others
_RESERVED = frozenset({"file", "overrides", "sandbox_token", "known_as"})
_STAND_INS: dict[tuple[str, ...], str] = {
    ("name",): "unnamed",
    ("target", "token"): "env:NAME",
    ("target", "base_url"): "https://localhost",
}


def load_job(path: str | Path, overrides: Sequence[str] = ()) -> Job:
    """Read and check a job file.

    Args:
        path: A TOML file as the README describes it.
        overrides: `KEY=VALUE` settings by dotted name; the value is TOML or bare text, paths are relative to the
            current directory.

    Raises:
        JobError: With every fault, where it is, and the nearest known key for an unknown key.
    """
    settings, file = _read(path)
    # The file alone first: an override must not hide a fault of the file.
    job = _validate(settings, file)
    if overrides:
        applied = tuple(apply_override(settings, override) for override in overrides)
        overridden = _validate(settings, file).model_copy(update={"overrides": last_of_each(applied)})
        _keep_approval(job.guards, overridden.guards)
        return overridden
    return job


def load_sound_part(path: str | Path, overrides: Sequence[str] = ()) -> tuple[Job | None, JobError | None]:
    """Load a job as `load_job` does, and where it has faults, as far as it can be looked at without them.

    So what else is wrong can be said at once, and not only after these faults are fixed. A job with faults is never
    used to reach a server: where a wrong setting stood there may be a stand-in.

    Returns:
        The job, without the settings that are wrong; None where nothing usable is left. And the faults, if any.
    """
    try:
        return load_job(path, overrides), None
    except JobError as error:
        faults = error
    try:
        settings, file = _read(path)
    except JobError:
        return None, faults
    for override in overrides:
        with suppress(JobError):
            apply_override(settings, override)
    for name in _RESERVED & settings.keys():
        del settings[name]
    for _ in range(_REPAIRS):
        try:
            return Job.model_validate({**settings, "file": file}), faults
        except ValidationError as error:
            places = {tuple(str(part) for part in fault["loc"] if part not in _BRANCHES) for fault in error.errors()}
        if {_repair(settings, place) for place in places} != {True}:
            break
    return None, faults


def output_root(job_file: Path | None, *, given: Path | None = None) -> Path:
    """Return the `output/` folder of a job file.

    It is beside the `jobs` folder if the file is in one, else beside the file; without a job file it is `./output`.
    """
    if given is not None:
        return given.absolute()
    if job_file is None:
        return Path("output").absolute()
    folder = job_file.absolute().parent
    return (folder.parent if folder.name == "jobs" else folder) / "output"


# --- how the file is checked


def _read(path: str | Path) -> tuple[dict[str, Any], Path]:
    """Read a job file: its settings with absolute paths, and where it is."""
    file = Path(path).absolute()
    settings = read_toml(path)
    make_absolute(settings, file.parent)
    return settings, file


def _repair(settings: dict[str, Any], place: tuple[str, ...]) -> bool:
    """Take a wrong setting out, or put a stand-in where one is required; tell whether that changed anything."""
    *tables, key = place or ("",)
    table = settings
    for name in tables:
        inner = table.setdefault(name, {}) if place in _STAND_INS else table.get(name)
        if not isinstance(inner, dict):  # the fault is in a part of it
            return table.pop(name, None) is not None
        table = inner
    if place in _STAND_INS and table.get(key) != _STAND_INS[place]:
        table[key] = _STAND_INS[place]
        return True
    return table.pop(key, None) is not None


def _validate(settings: Mapping[str, Any], file: Path) -> Job:
    reserved = _RESERVED & settings.keys()
    if reserved:
        raise JobError(f"{file.name}: {min(reserved)} is not a setting", "see: bulk-patch init")
    try:
        return Job.model_validate({**settings, "file": file})
    except ValidationError as error:
        met = cast(list[Mapping[str, Any]], error.errors(include_input=False, include_url=False))
        described = [_describe(fault, settings) for fault in met]
        faults = list(dict.fromkeys(described))  # one that may be of several types has a fault for each
    raise JobError(f"{file.name}: " + "; ".join(faults), "compare it with a commented job file: bulk-patch init")


def _keep_approval(in_file: Guards, overridden: Guards) -> None:
    """Refuse overrides that would weaken the approval that the job file asks for."""
    for name in ("approval", "approval_valid_h", "allowed_signers") if in_file.approval else ():
        if getattr(in_file, name) != getattr(overridden, name):
            raise JobError(f"--set guards.{name}: the job file asks for an approval", "change it in the job file")


def _describe(fault: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    """Describe a fault of the job file: where, what, and the nearest known key; never the value, it may be a secret."""
    location = [str(part) for part in fault["loc"] if part not in _BRANCHES]
    name = ".".join(location) or "the job"
    if fault["type"] == "extra_forbidden":
        table = _model_at(location[:-1], settings)
        if kinds := kinds_with(location[0], location[-1]) if len(location) == 2 else []:
            return f"{name} goes with kind = {' or '.join(kinds)}"
        near = difflib.get_close_matches(location[-1], table.model_fields, n=1, cutoff=0.5)
        known = f"; did you mean {near[0]}?" if near else f"; known here: {', '.join(sorted(table.model_fields))}"
        return f"{name} is not a setting{known}"
    if fault["type"] == "missing":
        return f"{name} is required"
    if fault["type"].endswith(_TYPE_FAULTS) and name in MEANINGS:
        from bulk_patch.job.reference import find_settings  # only where something is wrong

        kind = find_settings(name)[0].kind.replace("`", "")
        return f"{name} must be {'a ' if kind.startswith(_WITH_ARTICLE) else ''}{kind}"
    return f"{name} {fault['msg'].removeprefix('Value error, ').replace('Input should', 'must')}"


def _model_at(place: Sequence[str], settings: Mapping[str, Any]) -> Any:
    """Return the model of a table, with what the plug-in that the file names adds to it."""
    table: Any = Job
    for part in place:
        table = table.model_fields[part].annotation
    if len(place) == 1 and place[0] in PLUGIN_SECTIONS:
        kind = settings[place[0]].get("kind", table.model_fields["kind"].default)
        with suppress(JobError):
            return section_of(table, place[0], kind)
    return table
