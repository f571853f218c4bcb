"""`--set KEY=VALUE`: override a setting of a job file by its dotted name, and make relative paths absolute."""

import json
import os
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bulk_patch.errors import JobError
from bulk_patch.job.plugin_sections import GROUPS, path_keys

_PATHS = (
    ("input", "path"),
    ("target", "ca_file"),
    ("limits", "share_dir"),
    ("guards", "allowed_signers"),
    ("sandbox", "customers"),
)

_SECRETS, _FILE = (("target", "token"), ("target", "proxy_auth")), "file:"


def make_absolute(settings: dict[str, Any], folder: Path) -> None:
    """Make the paths among settings absolute; relative ones are relative to `folder`."""
    tables = ((group, settings[group]) for group in GROUPS if isinstance(settings.get(group), dict))
    owned = [(group, key) for group, table in tables for key in path_keys(group, table)]
    for section, key in (*_PATHS, *owned, *_SECRETS):
        table = settings.get(section)
        if not isinstance(table, dict) or not isinstance(table.get(key), str):
            continue
        text: str = table[key]
        scheme = _FILE if (section, key) in _SECRETS else ""
        if text.startswith(scheme) and text != _FILE:
            table[key] = scheme + os.path.normpath(folder / os.path.expanduser(text.removeprefix(scheme)))


def last_of_each(overrides: Iterable[str]) -> tuple[str, ...]:
    """Return the overrides in order, without those that a later override of the same name replaces."""
    listed = list(overrides)
    names = [override.partition("=")[0].strip() for override in listed]
    # At the position of the last, not of the first: an override in between may set a part of what it replaces.
    return tuple(override for at, override in enumerate(listed) if names[at] not in names[at + 1 :])


def apply_override(settings: dict[str, Any], override: str) -> str:
    """Apply one override; return it with absolute paths, so that the current directory does not matter."""
    name, equals, text = override.partition("=")
    keys = name.strip().split(".")
    if not equals or not all(keys):
        raise JobError(f"--set {name.strip() or override}: must be KEY=VALUE", "for example: --set limits.rate_per_s=5")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except (tomllib.TOMLDecodeError, KeyError):
        value = text
    table = settings
    for key in keys[:-1]:
        table = table.setdefault(key, {})
        if not isinstance(table, dict):
            raise JobError(
                f"--set {name}: {key} is a setting, not a table", "a dotted name follows the tables of the job file"
            )
    table[keys[-1]] = value
    if isinstance(value, str) and len(keys) == 2:
        make_absolute({keys[0]: table}, Path.cwd())
        return override if table[keys[1]] == value else f"{name}={table[keys[1]]}"
    if isinstance(value, dict) and len(keys) == 1:
        before = to_toml(value)
        make_absolute({keys[0]: value}, Path.cwd())
        return override if to_toml(value) == before else f"{name}={to_toml(value)}"
    return override


def to_toml(value: Any) -> str:
    """Return a value as TOML on one line."""
    if isinstance(value, dict):
        return f"{{{', '.join(f'{to_toml(key)} = {to_toml(inner)}' for key, inner in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(to_toml, value))}]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)  # numbers, dates and times are written as Python writes them
