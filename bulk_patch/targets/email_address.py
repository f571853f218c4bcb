"""The rule for e-mail addresses, on whole columns: what mail systems deliver to, and nothing that clings to an address.

The same verdicts as the package `email-validator` gives without asking DNS; a test compares them.
"""

from __future__ import annotations  # pandas and pyarrow are loaded when values are checked, as in `fields`

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\-\x{80}-\x{10FFFF}]+"
_LABEL = r"[A-Za-z0-9\pL\pN](?:[A-Za-z0-9\pL\pM\pN\-]{0,61}[A-Za-z0-9\pL\pM\pN])?"
_ADDRESS = rf"^{_ATOM}(?:\.{_ATOM})*@(?:{_LABEL}\.)+{_LABEL}$"
_UNSAFE = r"[\pZ\pC]|(?:^|@)\pM"  # blanks, controls and what hides; a mark that has nothing to stand on
_PARTS = r"^.{1,64}@.{1,253}$"
_LAST_LETTER = r"[A-Za-z\pL\pM]$"
#: Names that lead nowhere: reserved by RFC 6761 and its like, so no customer has them.
_NOWHERE = r"(?i)[@.](arpa|invalid|local|localhost|onion|test)$"
_TWO_DASHES = r"(?i)[@.][^.@]{2}--"
_PUNYCODE = r"(?i)[@.]xn--"
_LONGEST = 254
#: What almost all addresses are, and all of which the rule accepts when they are short: one pass in place of six.
_COMMON = r"^[A-Za-z0-9_+\-]+(?:\.[A-Za-z0-9_+\-]+)*@(?:[A-Za-z0-9]+(?:-[A-Za-z0-9]+)*\.)+[A-Za-z]{2,3}$"
_SHORT = 64


def is_email_address(values: pd.Series, context: pd.DataFrame) -> pd.Series:
    """Accept one address and nothing else; see `fields.ValueRule`."""
    import pandas as pd
    import pyarrow as pa
    import pyarrow.compute as pc

    texts = pa.array(values.array, type=pa.large_string(), from_pandas=True)
    if isinstance(texts, pa.ChunkedArray):
        texts = texts.combine_chunks()
    common = pc.and_(
        pc.match_substring_regex(texts, _COMMON), pc.less_equal(pc.binary_length(texts), pa.scalar(_SHORT))
    )
    fine = common.fill_null(False).to_numpy(zero_copy_only=False).copy()
    if not fine.all():
        fine[~fine] = _judge(texts.filter(pa.array(~fine))).to_numpy(zero_copy_only=False)
    return pd.Series(fine, index=values.index)


def _judge(texts: pa.LargeStringArray) -> Any:  # an array of truth values
    """Apply the whole rule."""
    import pyarrow as pa
    import pyarrow.compute as pc

    fine = pc.match_substring_regex(texts, _ADDRESS)
    for pattern in (_PARTS, _LAST_LETTER):
        fine = pc.and_(fine, pc.match_substring_regex(texts, pattern))
    fine = pc.and_(fine, pc.less_equal(pc.binary_length(texts), pa.scalar(_LONGEST)))
    for pattern in (_NOWHERE, _UNSAFE):
        fine = pc.and_not(fine, pc.match_substring_regex(texts, pattern))
    dashes = pc.match_substring_regex(texts, _TWO_DASHES)
    if pc.any(dashes).as_py():
        fine = pc.and_not(fine, pc.and_not(dashes, pc.match_substring_regex(texts, _PUNYCODE)))
    judged: Any = fine.fill_null(False)
    return judged
