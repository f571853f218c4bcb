"""The command to type next, and what comes before it. Pure."""

from dataclasses import dataclass

from bulk_patch.errors import Exit

#: Exit codes whose cause a person has to remove before the run can continue.
FIX_FIRST = {
    Exit.CREDENTIAL: "first: fix the credential or permission",
    Exit.LEDGER: "first: free disk space or fix the disk",
}


@dataclass(frozen=True, slots=True)
class NextCommand:
    """What to type next.

    Attributes:
        command: One command that can be pasted; "" when nothing is left to do.
        before: What has to be done or waited for before it, as a line of its own; "" when nothing.
    """

    command: str = ""
    before: str = ""


NOTHING_NEXT = NextCommand()
