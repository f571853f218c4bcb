"""One target, one name: what a URL parser calls equal is one base URL, and what it does not is two."""

import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from yarl import URL

from bulk_patch.job.base_urls import normalise_base_url, same_target

UNRESERVED = string.ascii_letters + string.digits + "-._~"


@pytest.mark.parametrize(
    "spelling",
    [
        "https://api.example.com/v0",
        "HTTPS://API.Example.COM/v0",
        "https://api.example.com:443/v0",
        "https://api.example.com:0443/v0/",
        "https://api.example.com:/v0//",
        "https://api.example.com/%76%30",
        "https://api.example.com/x/../v0",
        "https://api.example.com/./v0/%2e",
        "https://api.example.com/v0/x/%2E%2e",
        " https://api.example.com/v0/ \n",
        "https://%61pi.example.com/v0",
    ],
)
def test_spellings_of_one_address_are_one(spelling: str) -> None:
    assert normalise_base_url(spelling) == "https://api.example.com/v0"
    assert same_target(f"synctera {spelling} customers", "synctera https://api.example.com/v0 customers")


@pytest.mark.parametrize(
    "other",
    [
        "https://api.example.com/V0",
        "https://api.example.com:8443/v0",
        "https://api.example.com./v0",
        "https://api.example.com//v0",
        "https://api.example.com/v0/%2F",
        "https://api.example.com/%2576%2530",
        "http://api.example.com/v0",
        "https://api2.example.com/v0",
    ],
)
def test_other_addresses_are_others(other: str) -> None:
    assert normalise_base_url(other) != "https://api.example.com/v0"
    assert not same_target(f"synctera {other} customers", "synctera https://api.example.com/v0 customers")


@pytest.mark.parametrize(
    "odd",
    [
        "https:api.example.com",
        "https:///api.example.com",
        "https:\\\\api.example.com",
        "https://api.example.com/a\tb",
        "https://127.1/v0",
        "https://0x7f.0.0.1/v0",
        "https://0177.0.0.1/v0",
        "https://2130706433",
        "https://[::1%25eth0]/",
        "https://[::1]x/",
        "https://h:99999/",
        "https://h:+80/",
        "https://h/%zz",
        "https://@h/",
        "https://h/?",
        "https://h/#",
        "https://a%2fb/",
    ],
)
def test_what_parsers_read_in_different_ways_is_refused(odd: str) -> None:
    with pytest.raises(ValueError, match="must be a plain address"):
        normalise_base_url(odd)


_SEGMENT = st.text(alphabet=UNRESERVED + "!$&'()*+,;=:@", min_size=1, max_size=6)


@st.composite
def _addresses(draw: st.DrawFn) -> tuple[str, str]:
    """Return an address in its plain form and another spelling of it."""
    host = draw(st.from_regex(r"[a-z][a-z0-9]{0,5}(\.[a-z]{2,4}){1,2}", fullmatch=True))
    scheme, usual = draw(st.sampled_from([("https", 443), ("http", 80)]))
    port = draw(st.sampled_from([usual, 1, 8080, 65535]))
    segments = draw(st.lists(_SEGMENT.filter(lambda text: text not in (".", "..")), max_size=4))
    shown = "" if port == usual else f":{port}"
    plain = f"{scheme}://{host}{shown}" + "".join(f"/{segment}" for segment in segments)
    spelled = ""
    for segment in segments:
        spelled += draw(st.sampled_from(["", "/.", "/x/..", "/%2e", "/y/%2E."]))
        encoded = [
            f"%{ord(mark):02{draw(st.sampled_from('xX'))}}" if mark in UNRESERVED and draw(st.booleans()) else mark
            for mark in segment
        ]
        spelled += "/" + "".join(encoded)
    spelled += draw(st.sampled_from(["", "/", "//", "/."]))
    case = draw(st.sampled_from([str.lower, str.upper, str.title]))
    ports = [f":{port}", f":00{port}"] + (["", ":"] if port == usual else [])
    written = f"{case(scheme)}://{case(host)}{draw(st.sampled_from(ports))}{spelled}"
    return plain, draw(st.sampled_from(["", " ", "\n "])) + written + draw(st.sampled_from(["", " ", "\t"]))


@settings(max_examples=300)
@given(_addresses())
def test_every_spelling_of_an_address_has_its_one_name(address: tuple[str, str]) -> None:
    plain, spelled = address
    assert normalise_base_url(spelled) == normalise_base_url(plain) == plain
    assert normalise_base_url(normalise_base_url(spelled)) == plain


@settings(max_examples=300)
@given(_addresses(), _addresses())
def test_two_addresses_have_one_name_only_if_a_parser_calls_them_equal(
    one: tuple[str, str], other: tuple[str, str]
) -> None:
    are_equal = str(URL(one[0])).rstrip("/") == str(URL(other[0])).rstrip("/")
    assert (normalise_base_url(one[1]) == normalise_base_url(other[1])) is are_equal
