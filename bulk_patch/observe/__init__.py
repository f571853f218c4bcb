"""What the program says while it works: lines on stderr, JSON lines in run.log, and the one progress bar.

    log = get_logger()
    log.info("plan sealed", rows=1200, plan_sha256=digest)

The event is a constant text; whatever varies is a key, and only the keys of `ALLOWED_KEYS` pass. `run`, `job` and
`target` are bound once, with `structlog.contextvars.bound_contextvars`.

Nothing here raises into the program: a terminal that is gone, or a full disk, costs log lines and not the run.
"""

from bulk_patch.observe.log import attach_log_file, detach_log_file, get_logger, start_logging
from bulk_patch.observe.progress import ProgressBar, SendProgress
from bulk_patch.observe.redact import ALLOWED_KEYS, mask
from bulk_patch.observe.stderr import silence

__all__ = [
    "ALLOWED_KEYS",
    "ProgressBar",
    "SendProgress",
    "attach_log_file",
    "detach_log_file",
    "get_logger",
    "mask",
    "silence",
    "start_logging",
]
