"""What a shell offers for a word that was begun: runs, job files, statuses, settings. Reads names only, no ledger."""

import re
from pathlib import Path

import click
from click.shell_completion import CompletionItem

_RUN = re.compile(r"\d{8}-\d{6}-[0-9a-f]{4}")
_MOST = 200


def jobs(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer job files; any other path is for the shell to complete."""
    found = [str(path) for folder in (Path(), Path("jobs")) for path in sorted(folder.glob("*.toml"))]
    matching = [CompletionItem(path) for path in found if path.startswith(incomplete)]
    return matching or [CompletionItem(incomplete, type="file")]


def runs(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer the runs of an output folder, the newest first, and job files."""
    output: Path = ctx.params.get("output") or Path("output")
    folders = (folder for folder in output.glob("*/*") if _RUN.fullmatch(folder.name) and folder.is_dir())
    known = {folder.name: folder.parent.name for folder in folders}
    newest = sorted((run for run in known if run.startswith(incomplete)), reverse=True)[:_MOST]
    offered = [CompletionItem(run, help=known[run]) for run in newest]
    return offered if incomplete[:1].isdigit() else offered + jobs(ctx, param, incomplete)


def statuses(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer the statuses of rows."""
    from bulk_patch.model import REPORTED

    return [CompletionItem(str(state)) for state in REPORTED if str(state).startswith(incomplete)]


def settings(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer the settings of a job file, by their dotted names."""
    from bulk_patch.job.meanings import MEANINGS

    return [
        CompletionItem(name, help=meaning) for name, (meaning, _) in MEANINGS.items() if name.startswith(incomplete)
    ]


def overrides(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer the settings as `--set` takes them; what follows the = is not completed."""
    if "=" in incomplete:
        return []
    return [CompletionItem(f"{item.value}=", help=item.help) for item in settings(ctx, param, incomplete)]
