"""The tables of a job file that a plug-in has a part in: [baseline], [target], [ledger] and [engine].

A plug-in owns its settings: its `Settings`, a `Section`, says which keys its table may hold besides those of the core.
The model of a table is made of both, so a wrong or unknown key is told in the same way whoever owns it.
"""

from functools import cache
from pathlib import Path
from types import new_class
from typing import Any, get_args

from pydantic import ConfigDict
from pydantic.fields import FieldInfo

from bulk_patch import plugins
from bulk_patch.errors import JobError
from bulk_patch.job.section import Section

GROUPS = ("baseline", "target", "ledger", "engine")


@cache
def section_of(core: type[Section], group: str, kind: str) -> type[Section]:
    """Return the model of a table: the core's keys and those of the plug-in.

    Args:
        core: The core's part.
        group: Of the plug-in: the table's name.
        kind: Of the plug-in.

    Raises:
        JobError: There is no such plug-in, or its settings are not a `Section`.
    """
    own = plugins.settings_class(group, kind)
    if own is None:
        return core
    if not (isinstance(own, type) and issubclass(own, Section)):
        raise JobError(
            f"{group}.kind: the Settings of {kind!r} are not a bulk_patch.job.section.Section",
            "report it to whoever made the plug-in",
        )
    config = ConfigDict(extra="forbid", frozen=True, strict=True)
    facts = {"model_config": config, "__module__": core.__module__, "__doc__": core.__doc__}
    model: type[Section] = new_class(core.__name__, (own, core), exec_body=lambda names: names.update(facts))
    return model


def kinds_with(group: str, key: str) -> list[str]:
    """Return the built-in kinds whose plug-in owns a key of their table, as TOML."""
    found = [kind for known, kind in plugins.BUILT_IN if known == group]
    return [f'"{kind}"' for kind in found if key in getattr(plugins.settings_class(group, kind), "model_fields", {})]


def path_keys(group: str, table: dict[str, Any]) -> set[str]:
    """Return the keys of a table that hold a path: those of every built-in kind, and of the kind that it names."""
    kinds = {kind for known, kind in plugins.BUILT_IN if known == group}
    if isinstance(named := table.get("kind"), str):
        kinds.add(named)
    keys: set[str] = set()
    for kind in kinds:
        try:
            own = plugins.settings_class(group, kind)
        except JobError:  # the model says so
            continue
        fields: dict[str, FieldInfo] = getattr(own, "model_fields", {})
        keys |= {name for name, field in fields.items() if Path in (field.annotation, *get_args(field.annotation))}
    return keys
