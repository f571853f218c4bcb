"""Foresee too many open files: connections against what this process may open."""

import resource

from bulk_patch.errors import UsageError

_OTHERS = 40  # ledger, logs, reports, threads' pipes, files of the interpreter


def provide_open_files(concurrency: int) -> None:
    """Raise this process's limit of open files where connections need it, as far as the system allows.

    Args:
        concurrency: Connections that may be open at once.

    Raises:
        UsageError: The system does not allow that many.
    """
    needed = concurrency + _OTHERS
    allowed, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if allowed == resource.RLIM_INFINITY or allowed >= needed:
        return
    if most == resource.RLIM_INFINITY or most >= needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, most))
        return
    raise UsageError(
        f"too many open files: limits.concurrency = {concurrency} needs about {needed}, and {most} are allowed here",
        f"lower limits.concurrency to {max(1, most - _OTHERS)} or less, or allow more: ulimit -n {max(needed, 1024)}",
    )
