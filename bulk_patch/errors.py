"""The tree of errors that a user can meet, each with a hint and an exit code, and which code takes precedence.

    BulkPatchError
    ├── UsageError          2  what was typed
    │   ├── JobError        2  the job file
    │   └── InputError      2  the input file; nothing was sent for it
    ├── IncompleteError     4  something outside is missing for now: run again
    ├── StoppedError        5  a guard or an integrity fault: a person must look
    ├── CredentialError     6  token, permission or TLS
    ├── LedgerError         7  ledger or disk
    │   ├── OutdatedLedgerError 7  an older version wrote it
    │   ├── DamagedLedgerError  7  what it holds is not as it was written
    │   │   └── OlderLedgerError 7  it is older than its folder
    │   └── StorageError    7  a file beside the ledger cannot be read or written
    ├── LockedError         8  another process holds the job
    └── RefusedError        9  the plan cannot run as things are

Foreign errors are translated where they arise, never shown raw. A new exit code is added to `Exit`, its words and
`PRECEDENCE`, and gets a class here if it can be raised. These list codes too:
`FIX_FIRST` in `reports/next_command.py`, `_FIX_FIRST` in `cli/entry.py`, `_FROM_ROWS` in `reports/summary.py` and
`SessionResult.by_itself` in `sending/dispatcher.py`.
"""

from enum import IntEnum


class Exit(IntEnum):
    """Exit codes, as cron and scripts read them."""

    OK = 0
    BUG = 1
    USAGE = 2
    NEEDS_PERSON = 3
    INCOMPLETE = 4
    STOPPED = 5
    CREDENTIAL = 6
    LEDGER = 7
    LOCKED = 8
    REFUSED = 9
    CHANGES_PENDING = 10  # `plan --detailed-exitcode` only
    INTERRUPTED = 130
    TERMINATED = 143

    @property
    def words(self) -> str:
        """Return what the code means, in words."""
        return _WORDS[self]


_WORDS = {
    Exit.OK: "done",
    Exit.BUG: "a bug in bulk-patch; the ledger is intact",
    Exit.USAGE: "invalid command, job file or input; nothing of this input was sent",
    Exit.NEEDS_PERSON: "complete, but some rows need a person",
    Exit.INCOMPLETE: "incomplete; running it again is safe and continues",
    Exit.STOPPED: "stopped by a guard or an integrity fault; a person must look",
    Exit.CREDENTIAL: "the credential, a permission or TLS was refused",
    Exit.LEDGER: "the ledger or the disk failed",
    Exit.LOCKED: "another process holds this job",
    Exit.REFUSED: "the plan cannot run as things are",
    Exit.CHANGES_PENDING: "sealed; changes are pending",
    Exit.INTERRUPTED: "interrupted; requests under way were finished and recorded",
    Exit.TERMINATED: "terminated; requests under way were finished and recorded",
}

# The gravest first: one run can meet several of these, and answers with the first that holds.
PRECEDENCE = (
    Exit.BUG,
    Exit.LEDGER,
    Exit.STOPPED,
    Exit.CREDENTIAL,
    Exit.INTERRUPTED,
    Exit.TERMINATED,
    Exit.REFUSED,
    Exit.INCOMPLETE,
    Exit.NEEDS_PERSON,
    Exit.OK,
)


def gravest(*codes: int) -> Exit:
    """Return the code that a run with all these findings ends with.

    Args:
        codes: Exit codes, at least one; all but `USAGE`, `LOCKED` and `CHANGES_PENDING`, which no sending ends with.
    """
    return min((Exit(code) for code in codes), key=PRECEDENCE.index)


class BulkPatchError(Exception):
    """A failure that the user can act on.

    Args:
        message: What happened, in one sentence, without a value of any customer.
        hint: What is safe, and what to type next.
    """

    exit_code = Exit.BUG

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(BulkPatchError):
    """The command line is wrong."""

    exit_code = Exit.USAGE


class JobError(UsageError):
    """The job file is wrong."""


class InputError(UsageError):
    """The input or baseline file is wrong; nothing was sent for it."""


class IncompleteError(BulkPatchError):
    """Something outside is missing for now; running again is safe."""

    exit_code = Exit.INCOMPLETE


class StoppedError(BulkPatchError):
    """A guard or an integrity fault stopped the job; a person must look."""

    exit_code = Exit.STOPPED


class CredentialError(BulkPatchError):
    """The token, a permission or TLS was refused."""

    exit_code = Exit.CREDENTIAL


class LedgerError(BulkPatchError):
    """The ledger or the disk failed; nothing is sent without a durable intent."""

    exit_code = Exit.LEDGER


class OutdatedLedgerError(LedgerError):
    """An older version wrote the ledger; what only reads cannot bring it up to date."""


class DamagedLedgerError(LedgerError):
    """What the ledger holds is not as it was written or sealed; typing the same command again does not help."""


class OlderLedgerError(DamagedLedgerError):
    """The ledger is older than its folder: it was restored, deleted, or lost its log."""


class StorageError(LedgerError):
    """The disk failed for a report, an export or a temporary file; the ledger itself is intact."""


class LockedError(BulkPatchError):
    """Another process holds this job."""

    exit_code = Exit.LOCKED


class RefusedError(BulkPatchError):
    """The plan cannot run as things are."""

    exit_code = Exit.REFUSED


_KINDS: dict[Exit, type[BulkPatchError]] = {kind.exit_code: kind for kind in BulkPatchError.__subclasses__()}


def error_with(code: Exit, message: str, hint: str = "") -> BulkPatchError:
    """Return the error of an exit code; one that no error stands for, as after a signal, keeps its code."""
    error = _KINDS.get(code, BulkPatchError)(message, hint)
    error.exit_code = code
    return error
