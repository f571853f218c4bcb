"""Times as people type them: 90m, 26h, 2d."""

import re

from bulk_patch.errors import UsageError

_SECONDS = {"m": 60.0, "h": 3600.0, "d": 86400.0}


def seconds_of(text: str, flag: str, example: str) -> float:
    """Return a time such as `26h` in seconds.

    Args:
        text: As it was typed.
        flag: What it was given for.
        example: What it may be.

    Raises:
        UsageError: It is no such time.
    """
    found = re.fullmatch(r"([0-9]{1,6})([mhd])", text.strip())
    if found is None or not int(found[1]):
        raise UsageError(f"{flag}: {text!r} is not a time", f"write {example}")
    return int(found[1]) * _SECONDS[found[2]]
