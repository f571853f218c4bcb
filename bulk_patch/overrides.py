"""`--set KEY=VALUE`: one setting of a job file by its dotted name, and paths that mean the same from anywhere."""

import os
import tomllib
from pathlib import Path
from typing import Any

from bulk_patch.errors import JobError

_PATHS = (
    *(("input", "path"), ("baseline", "path"), ("target", "ca_file"), ("guards", "allowed_signers")),
    ("sandbox", "customers"),
)


def make_absolute(settings: dict[str, Any], folder: Path) -> None:
    """Make the paths among settings absolute; relative ones are relative to `folder`."""
    for section, key in _PATHS:
        table = settings.get(section)
        if isinstance(table, dict) and isinstance(table.get(key), str):
            table[key] = os.path.normpath(folder / Path(table[key]).expanduser())


def apply_override(settings: dict[str, Any], override: str) -> str:
    """Apply one override; return it so that it means the same from any current directory."""
    name, equals, text = override.partition("=")
    keys = name.strip().split(".")
    if not equals or not all(keys):
        raise JobError(
            f"--set {name.strip() or override}: has to be KEY=VALUE", "for example: --set limits.rate_per_s=5"
        )
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except (tomllib.TOMLDecodeError, KeyError):
        value = text
    table = settings
    for key in keys[:-1]:
        table = table.setdefault(key, {})
        if not isinstance(table, dict):
            raise JobError(
                f"--set {name}: {key} is a setting, not a table", "dotted names follow the job file's tables"
            )
    table[keys[-1]] = value
    if isinstance(value, str) and tuple(keys) in _PATHS:
        table[keys[-1]] = os.path.abspath(os.path.expanduser(value))
        return f"{name}={table[keys[-1]]}"
    if isinstance(value, dict):
        make_absolute({keys[0]: value}, Path.cwd())
    return override
