"""Load a job file: read TOML, apply `--set`, check all that can be checked without opening another file."""

import difflib
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from pydantic import ValidationError

from bulk_patch.errors import JobError
from bulk_patch.job.overrides import apply_override, last_of_each, make_absolute
from bulk_patch.job.settings import Guards, Job


def load_job(path: str | Path, overrides: Sequence[str] = ()) -> Job:
    """Read and check a job file.

    Args:
        path: A TOML file as the README describes it.
        overrides: `KEY=VALUE` settings by dotted name; the value is TOML or bare text, paths are relative to the
            current directory.

    Raises:
        JobError: With every fault, where it is, and the nearest known key for an unknown key.
    """
    file = Path(path).absolute()
    try:
        settings = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise JobError(f"no job file at {path}", "name an existing file, or write one: bulk-patch init") from None
    except (OSError, UnicodeDecodeError) as error:
        raise JobError(
            f"{path} cannot be read: {type(error).__name__}", "check that it is a text file that you may read"
        ) from None
    except tomllib.TOMLDecodeError as error:
        raise JobError(
            f"{path} is not valid TOML: {error}", "text needs quotes; a path with \\ needs 'single' quotes"
        ) from None
    make_absolute(settings, file.parent)
    # The file alone first: an override must not hide a fault of the file.
    job = _validate(settings, file)
    if overrides:
        applied = tuple(apply_override(settings, override) for override in overrides)
        overridden = _validate(settings, file).model_copy(update={"overrides": last_of_each(applied)})
        _keep_approval(job.guards, overridden.guards)
        return overridden
    return job


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


def _validate(settings: Mapping[str, Any], file: Path) -> Job:
    reserved = {"file", "overrides", "sandbox_token"} & settings.keys()
    if reserved:
        raise JobError(f"{file.name}: {reserved.pop()} is not a setting", "see: bulk-patch init")
    try:
        return Job.model_validate({**settings, "file": file})
    except ValidationError as error:
        faults = [
            _describe(cast(Mapping[str, Any], fault)) for fault in error.errors(include_input=False, include_url=False)
        ]
    raise JobError(f"{file.name}: " + "; ".join(faults), "compare it with a commented job file: bulk-patch init")


def _keep_approval(in_file: Guards, overridden: Guards) -> None:
    """Refuse overrides that would weaken the approval that the job file asks for."""
    for name in ("approval", "approval_valid_h", "allowed_signers") if in_file.approval else ():
        if getattr(in_file, name) != getattr(overridden, name):
            raise JobError(f"--set guards.{name}: the job file asks for an approval", "change it in the job file")


def _describe(fault: Mapping[str, Any]) -> str:
    """Describe a fault of the job file: where, what, and the nearest known key; never the value, it may be a secret."""
    location = [str(part) for part in fault["loc"] if part not in ("literal['unlimited']", "float", "int", "str")]
    name = ".".join(location) or "the job"
    if fault["type"] == "extra_forbidden":
        table: Any = Job
        for part in location[:-1]:
            table = table.model_fields[part].annotation
        near = difflib.get_close_matches(location[-1], table.model_fields, n=1, cutoff=0.5)
        known = f"; did you mean {near[0]}?" if near else f"; known here: {', '.join(sorted(table.model_fields))}"
        return f"{name} is not a setting{known}"
    if fault["type"] == "missing":
        return f"{name} is required"
    return f"{name} {fault['msg'].removeprefix('Value error, ')}"
