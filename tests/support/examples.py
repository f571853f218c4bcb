"""How many examples a property is tried with: a quarter by default, all with `--hypothesis-profile=long`."""

from hypothesis import settings

WHOLE = 100  # examples in the long form, of a property that names no number
QUICK = 25


def examples(whole: int) -> int:
    """Return how many examples are tried now, of a property that is given `whole` of them in the long form."""
    return max(1, whole * settings().max_examples // WHOLE)
