"""Commands as a person at this terminal types them: paths as seen from the current directory."""

from dataclasses import dataclass, replace
from pathlib import Path

from bulk_patch.cli.next_command import Invocation, next_command
from bulk_patch.job.load import output_root
from bulk_patch.ledgers.records import Run
from bulk_patch.model import Counts
from bulk_patch.reports.failures import failures_name
from bulk_patch.reports.next_command import NextCommand


@dataclass(frozen=True, slots=True)
class CommandLines:
    """Names commands about one job, for hints and for `next`.

    Their paths are as seen from the current directory, unless the job file was named by an absolute path: a cron line
    that names it so runs in another directory than the one where its mail is read and the command is typed. One that
    names a relative path changes the directory first, and says so in the mail's subject.

    Args:
        called: How the command was called.
        folder: Of the job: output/<job>.
    """

    called: Invocation
    folder: Path

    def next_command(self, run: Run, counts: Counts, to_do: int) -> NextCommand:
        """Return the command that continues from here, also when this one named the run and not the job file."""
        failures = self.folder / run.id / failures_name(run)
        failures = failures if self._is_for_anywhere() else from_here(failures)
        return next_command(run, counts, to_do, prefix=self._with_output(), failures=failures)

    def for_job(self, verb: str, *flags: str) -> str:
        """Return a whole command about the job."""
        return self._with_output().command(verb, *flags)

    def for_run(self, verb: str, run_id: str, *flags: str) -> str:
        """Return a whole command about one run, or about one customer."""
        return self._with_output().command(verb, *flags, run=run_id)

    def _with_output(self) -> Invocation:
        """Name the output folder, where a command that names a run would not find it by itself."""
        anywhere = self._is_for_anywhere()
        if self.called.output is None and (anywhere or self.folder.parent != output_root(None)):
            return replace(self.called, output=str(self.folder.parent if anywhere else from_here(self.folder.parent)))
        return self.called

    def _is_for_anywhere(self) -> bool:
        return Path(self.called.job).is_absolute()


def from_here(path: Path) -> Path:
    """Return a path as seen from the current directory, where it lies below it."""
    try:
        return path.relative_to(Path.cwd())
    except (ValueError, OSError):  # OSError: the current directory was deleted
        return path
