"""Find a plug-in by its group and the kind that the job file names: built in, or an installed entry point."""

from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from bulk_patch.errors import JobError

#: (group, kind) -> "module:attribute", imported when asked for.
BUILT_IN = {
    ("target", "synctera"): "bulk_patch.targets.synctera.target:Synctera",
    ("ledger", "sqlite"): "bulk_patch.ledgers.sqlite.store:SqliteStore",
    ("engine", "local"): "bulk_patch.engines.local:LocalEngine",
    ("baseline", "none"): "bulk_patch.baselines.none:NoBaseline",
    ("baseline", "file"): "bulk_patch.baselines.file:FileBaseline",
    ("baseline", "last-run"): "bulk_patch.baselines.last_run:LastRunBaseline",
    ("baseline", "live"): "bulk_patch.baselines.live:LiveBaseline",
}

#: Kinds that are planned and not built yet.
PLANNED = frozenset(
    {("target", "rest"), ("ledger", "postgres"), ("engine", "dask")},
)


#: The settings of built-in kinds that have any, apart from the kinds themselves, which need more than a job file does.
SETTINGS = {
    ("target", "synctera"): "bulk_patch.targets.synctera.settings:SyncteraSettings",
    ("ledger", "sqlite"): "bulk_patch.ledgers.sqlite.settings:SqliteSettings",
    ("baseline", "none"): "bulk_patch.baselines.settings:NoneSettings",
    ("baseline", "file"): "bulk_patch.baselines.settings:FileSettings",
    ("baseline", "last-run"): "bulk_patch.baselines.settings:LastRunSettings",
    ("baseline", "live"): "bulk_patch.baselines.settings:LiveSettings",
}


def kinds(group: str) -> list[str]:
    """Return the kinds of a group that can be used now, built in and installed."""
    installed = entry_points(group=f"bulk_patch.{group}s").names
    return sorted({kind for known_group, kind in BUILT_IN if known_group == group} | installed)


def check(group: str, kind: str) -> None:
    """Refuse a kind that cannot be used.

    Raises:
        JobError: It is not known or not built yet; the hint lists the kinds that are.
    """
    if (group, kind) in BUILT_IN or kind in kinds(group):  # looking through installed packages takes a while
        return
    what = "is not built yet" if (group, kind) in PLANNED else "is not known"
    raise JobError(f"{group}.kind: {kind!r} {what}", f"use one of: {', '.join(kinds(group))}")


def find(group: str, kind: str) -> Any:
    """Import and return the plug-in of a kind.

    Raises:
        JobError: As `check`.
    """
    check(group, kind)
    if (group, kind) in BUILT_IN:
        return _load(BUILT_IN[group, kind])
    (found,) = entry_points(group=f"bulk_patch.{group}s", name=kind)
    return found.load()


def settings_class(group: str, kind: str) -> Any:
    """Return the model of what a kind reads of its table of the job file; None: nothing of its own.

    Raises:
        JobError: As `check`.
    """
    if (group, kind) in BUILT_IN:
        return _load(SETTINGS[group, kind]) if (group, kind) in SETTINGS else None
    return getattr(find(group, kind), "Settings", None)


def _load(place: str) -> Any:
    module, _, attribute = place.partition(":")
    return getattr(import_module(module), attribute)
