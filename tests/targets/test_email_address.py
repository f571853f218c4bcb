"""E-mail addresses: the verdicts of one pattern on whole columns, beside those of the package email-validator."""

import string

import pandas as pd
import pyarrow as pa
import pytest
from email_validator import EmailNotValidError, validate_email
from hypothesis import given, settings
from hypothesis import strategies as st

from bulk_patch.targets import email_address
from bulk_patch.targets.email_address import is_email_address

GOOD = (
    "a@b.co ann@example.com ann.lee@example.com ann+tag@example.co.uk o'neil@example.com a_b-c@example.io 1@2.co "
    "ann@EXAMPLE.COM A.B@c.d.e.fg ann@xn--exmple-cua.com ann@exämple.com änn@example.com 用户@例子.广告 "
    "ann@sub-domain.example.com ann@a--b.com !#$%&'*+/=?^_`{|}~-@example.com ann@123.com é@example.com "
    "e\u0301@example.com ann@пример.рф ann@example.рф ann@straße.de ☃@example.com"
).split()
BAD = (
    "ann@example ann@ @example.com ann ann@@example.com ann@example..com ann@.example.com ann@example.com. "
    ".ann@example.com ann.@example.com a..b@example.com ann@-example.com ann@example-.com ann@example.123 "
    "ann@1.2.3.4 ann@[1.2.3.4] ann,lee@example.com ann@example,com ann@example.com, ann@example.com; "
    "<ann@example.com> mailto:ann@example.com 'ann@example.com' \"ann\"@example.com ann@example.com) "
    "(ann@example.com ann@exam_ple.com ann@example.com/ ann@example.com? http://ann@example.com ann@host.local "
    "ann@host.test ann@localhost ann@x.invalid ann@x.onion ann@x.arpa ann@ab--c.com ann@ex--ample.com "
    "ann@example.com@example.com ann:lee@example.com ann\\@example.com ann@example.c1 "
    "ann\u200b@example.com ann\u00a0@example.com ann@example.com\u00a0 ann@\u2603.com"
).split(" ")
BAD += ["ann lee@example.com", "ann@exam ple.com", " ann@example.com", "ann@example.com ", "Ann <ann@example.com>"]
BAD += ["ann@example.com, bob@example.com", "a" * 65 + "@example.com", "a@" + "b" * 64 + ".com", "a@b.co\n", "a\0@b.co"]
GOOD += ["a" * 64 + "@example.com", "a@" + "b" * 63 + ".com"]
SIGNS = [
    form.format(sign)
    for sign in string.punctuation
    for form in (
        "a{}b@example.com",
        "{}ab@example.com",
        "ab{}@example.com",
        "ab@exam{}ple.com",
        "ab@example.c{}om",
        "ab@example.com{}",
    )
]


def verdicts(addresses: list[str]) -> list[bool]:
    return is_email_address(pd.Series(addresses, dtype="str"), pd.DataFrame()).tolist()


def their_verdict(address: str) -> bool:
    try:
        validate_email(address, check_deliverability=False, strict=True)
    except EmailNotValidError:
        return False
    return True


def test_the_pattern_says_what_email_validator_says() -> None:
    addresses = [*GOOD, *BAD, *SIGNS]
    assert len(addresses) > 250
    differing = [
        (address, ours)
        for address, ours in zip(addresses, verdicts(addresses), strict=True)
        if ours != their_verdict(address)
    ]
    assert differing == []


@pytest.mark.parametrize(("addresses", "fine"), [(GOOD, True), (BAD, False)])
def test_addresses_are_taken_and_what_clings_to_them_is_not(addresses: list[str], fine: bool) -> None:
    assert [address for address, ours in zip(addresses, verdicts(addresses), strict=True) if ours is not fine] == []


@given(st.lists(st.from_regex(email_address._COMMON.replace("$", r"\Z"), fullmatch=True), min_size=1, max_size=20))
@settings(deadline=None)
def test_what_the_fast_pass_accepts_is_what_the_whole_rule_accepts(texts: list[str]) -> None:
    short = [text for text in texts if len(text) <= email_address._SHORT]
    assert email_address._judge(pa.array(short, pa.large_string())).to_pylist() == [True] * len(short)
