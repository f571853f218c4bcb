"""Commands to set up: a first job, the reference of settings, a local API, shell completion."""

import shlex
import sys
from pathlib import Path
from typing import Any

import click

from bulk_patch.cli import completing
from bulk_patch.cli.entry import error_boundary, fail
from bulk_patch.cli.options import Common, common
from bulk_patch.errors import UsageError


@click.command()
@click.argument("folder", metavar="[DIR]", default=".", type=click.Path(file_okay=False, path_type=Path))
@click.option("--from", "source", type=click.Path(path_type=Path), metavar="FILE", help="Write a job for this file.")
@click.option("--approval", is_flag=True, help="With --from: another person has to approve each plan.")
@click.option(
    "--sandbox",
    "customers",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="With --from: customers that a rehearsal starts with.",
)
@common
def init(common: Common, folder: Path, source: Path | None, approval: bool, customers: Path | None) -> None:
    """Write a commented job file: for a file that you have, or with a tiny input to start with.

    \b
    Example:
      bulk-patch init tryout
      bulk-patch init --from returned_mail.csv --approval
    """
    with error_boundary(common):
        if source is not None:
            _write_draft(folder, source, approval=approval, customers=customers)
            return
        if approval or customers is not None:
            raise UsageError("--approval and --sandbox go with --from", "bulk-patch init --from FILE --approval")
        from importlib.resources import files

        from bulk_patch.cli.printing import say

        places = {"first_job.toml": "jobs", "changes.csv": "sample_inputs", "customers.csv": "sample_inputs"}
        existing = [str(folder / where / name) for name, where in places.items() if (folder / where / name).exists()]
        if existing:
            raise UsageError(f"{existing[0]} already exists", "name another folder; nothing was written")
        for name, where in places.items():
            (folder / where).mkdir(parents=True, exist_ok=True)
            (folder / where / name).write_bytes((files("bulk_patch.cli") / "templates" / name).read_bytes())
            say(f"wrote {folder / where / name}")
        say(f"wrote {write_schema(folder / 'jobs')}")
        say(f"next: bulk-patch run {folder / 'jobs' / 'first_job.toml'} --sandbox")


def _write_draft(folder: Path, source: Path, *, approval: bool, customers: Path | None) -> None:
    """Write a job for a file, and say what is not sure about it."""
    from bulk_patch.cli.printing import say
    from bulk_patch.cli.text import join, safe, wrap
    from bulk_patch.workflows.draft import Wishes, draft_job

    for path in (source, customers):
        if path is not None and not path.exists():
            raise UsageError(f"there is no file at {path}", "name an existing file; nothing was written")
    draft = draft_job(Wishes(input=source, folder=folder / "jobs", approval=approval, customers=customers))
    job = folder / "jobs" / f"{draft.name}.toml"
    if job.exists():
        raise UsageError(f"{job} already exists", "name another folder; nothing was written")
    job.parent.mkdir(parents=True, exist_ok=True)
    job.write_text(draft.text, encoding="utf-8")
    say(f"wrote {safe(job)}")
    say(f"wrote {safe(write_schema(job.parent))}")
    if draft.doubts:
        say(join(["", "not sure of", *(line for doubt in draft.doubts for line in wrap(doubt, "  - ")), ""]))
    say(f"next: {shlex.join(['bulk-patch', 'check', str(job)])}")


def write_schema(folder: Path) -> Path:
    """Write the JSON Schema that the first line of a job file names, for editors; return where it is.

    It is written again where it exists: it belongs to the installed version, not to a person.
    """
    from bulk_patch.job.reference import SCHEMA_FILE, schema_text

    (folder / SCHEMA_FILE).write_text(schema_text(), encoding="utf-8")
    return folder / SCHEMA_FILE


@click.command()
@click.argument("key", metavar="[KEY]", required=False, shell_complete=completing.settings)
@click.option("--schema", is_flag=True, help="Print the JSON Schema of a job file, for editors and other programs.")
@common
def settings(common: Common, key: str | None, schema: bool) -> None:
    """Explain the settings of a job file: type, default, meaning and example of each, or of KEY.

    KEY is a setting (limits.rate_per_s), a table (limits), or a part of a name (rate).

    \b
    Example:
      bulk-patch settings limits.rate_per_s
    """
    with error_boundary(common):
        from bulk_patch.cli.printing import say
        from bulk_patch.cli.settings_screen import settings_screen
        from bulk_patch.job.reference import find_settings, list_settings, schema_text, section_titles

        if schema and key is not None:
            raise UsageError("--schema describes the whole job file", "leave out the KEY: bulk-patch settings --schema")
        if schema:
            say(schema_text())
            return
        say(settings_screen(list_settings() if key is None else find_settings(key), section_titles()))


@click.command()
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="0: any free port.")
@click.option("--customers", type=click.Path(path_type=Path), help="CSV or Parquet with dotted columns.")
@click.option(
    "--rate", type=click.FloatRange(min=0, min_open=True), metavar="N", help="Answer 429 above N requests a second."
)
@click.option(
    "--latency", "latency_ms", type=click.FloatRange(min=0), default=0, metavar="MS", help="Delay of each answer."
)
@click.option(
    "--faults", default="", metavar="SPEC", help="For example 500=0.02,429=0.05,reset=0.01,timeout=0.01,drop=0.01"
)
@click.option("--log", type=click.Path(path_type=Path), metavar="FILE", help="Write one JSON line per request.")
@click.option("--token", help="The bearer token that it accepts. Default: a random one, printed on the second line.")
@click.option("--seed", type=int, default=0, help="Seed of the random faults.")
@click.option(
    "--state", type=click.Path(path_type=Path), metavar="DIR", help="Keep its data there. Default: in memory."
)
def sandbox(**given: Any) -> None:
    """Serve a local API that behaves as Synctera documents it; its first line on stdout is its base URL.

    \b
    Example:
      bulk-patch sandbox --customers sample_inputs/customers.parquet --faults 500=0.02,drop=0.01
    """
    from bulk_patch.sandbox import SandboxSettings, serve

    try:
        sys.exit(serve(SandboxSettings(**given)))
    except (RuntimeError, ValueError, OSError) as error:
        fail(UsageError(str(error), "see the flags: bulk-patch sandbox --help"))


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print a script that completes commands and flags in a shell.

    \b
    Example:
      eval "$(bulk-patch completion bash)"
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None  # click has the three
    click.echo(kind(click.get_current_context().find_root().command, {}, "bulk-patch", "_BULK_PATCH_COMPLETE").source())
