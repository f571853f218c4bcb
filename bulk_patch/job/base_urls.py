"""Base URLs in one form, so that each spelling of an address names the same target.

Two spellings are one where a browser's URL parser (WHATWG) calls them equal, with percent-encoded unreserved characters
decoded and slashes at the end left out. Spellings that parsers read in different ways are refused.
"""

import ipaddress
import re
from functools import lru_cache
from urllib.parse import unquote_to_bytes, urlsplit

_DEFAULT_PORTS = {"http": 80, "https": 443}
_UNRESERVED = re.compile(r"%(2[dDeE]|3[0-9]|4[1-9a-fA-F]|5[0-9aAfF]|6[1-9a-fA-F]|7[0-9aAeE])")
_ENCODED_IN_PATHS = re.compile(r"[\x00-\x20\"<>^`{}\x7f]|[^\x00-\x7f]")
_HOST_NAME = re.compile(r"[a-z0-9_.\-]+")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
#: What parsers take off both ends.
BLANKS = "".join(map(chr, range(0x21)))


def normalise_base_url(url: str) -> str:
    """Return a base URL in its one form, without a slash at its end.

    Args:
        url: As a job names it.

    Raises:
        ValueError: It is not a plain http or https address, or parsers read it in different ways.
    """
    text = url.strip(BLANKS)
    if any(ord(mark) < 0x20 or ord(mark) == 0x7F for mark in text) or "\\" in text:
        raise ValueError("must be a plain address: no control character or backslash in it")
    scheme, separator, rest = text.partition("://")
    scheme = scheme.lower()
    if not separator or scheme not in _DEFAULT_PORTS or rest.startswith("/"):
        raise ValueError("must be a plain address that starts with https://")
    if any(mark in text for mark in "?#") or "@" in rest.partition("/")[0]:
        raise ValueError("must be a plain address: no user, query or fragment in it")
    try:
        parts = urlsplit(f"{scheme}://{rest}")
        port = parts.port
    except ValueError:
        raise ValueError("must be a plain address: host, port and path") from None
    host = _normalise_host(parts.netloc)
    shown = "" if port is None or port == _DEFAULT_PORTS[scheme] else f":{port}"
    return f"{scheme}://{host}{shown}{_normalise_path(parts.path)}".rstrip("/")


def _normalise_host(netloc: str) -> str:
    if netloc.startswith("["):
        inside, bracket, after = netloc[1:].partition("]")
        if not bracket or (after and not re.fullmatch(r":[0-9]*", after)) or "%" in inside:
            raise ValueError("must be a plain address: what is in the brackets is not an IPv6 address")
        return f"[{_ip_version_6(inside)}]"
    name, _, port = netloc.partition(":")
    if not re.fullmatch(r"[0-9]*", port, re.ASCII):
        raise ValueError("must be a plain address: the port is not a number")
    try:
        host = unquote_to_bytes(name).decode().lower()
        if not host.isascii() or "xn--" in host:
            import idna

            host = idna.encode(host, uts46=True).decode()
    except ValueError:
        raise ValueError("must be a plain address: the host is not a valid name") from None
    if not _HOST_NAME.fullmatch(host):
        raise ValueError("must be a plain address: the host is not a valid name")
    labels = host.removesuffix(".").split(".")
    if _NUMBER.fullmatch(labels[-1]):
        try:
            return str(ipaddress.IPv4Address(host))
        except ValueError:
            raise ValueError(
                "must be a plain address: four numbers for an IPv4 address, without zeros before"
            ) from None
    return host


def _ip_version_6(text: str) -> str:
    try:
        return ipaddress.IPv6Address(text).compressed
    except ValueError:
        raise ValueError("must be a plain address: what is in the brackets is not an IPv6 address") from None


def _normalise_path(path: str) -> str:
    if re.search(r"%(?![0-9A-Fa-f]{2})", path):
        raise ValueError("must be a plain address: a % in it encodes nothing")
    decoded = _UNRESERVED.sub(lambda found: chr(int(found[1], 16)), path)
    segments: list[str] = []
    *inner, last = decoded.split("/")[1:] or [""]
    for segment in inner:
        if segment == "..":
            segments = segments[:-1]
        elif segment != ".":
            segments.append(segment)
    if last == "..":
        segments = segments[:-1]
    if last not in (".", ".."):
        segments.append(last)
    whole = "".join(f"/{segment}" for segment in segments)
    return _ENCODED_IN_PATHS.sub(lambda found: "".join(f"%{byte:02X}" for byte in found[0].encode()), whole)


def same_target(one: str, other: str) -> bool:
    """Tell whether two names of targets, `kind base-URL resource`, are one; versions before 0.2 kept URLs as typed."""
    return one == other or _normalise_name(one) == _normalise_name(other)


def same_place(one: str, other: str) -> bool:
    """Tell whether two names of targets, `kind base-URL scope`, are of one base URL, or both of the sandbox."""
    return same_target(one, other) or _normalise_place(one) == _normalise_place(other)


def _normalise_place(name: str) -> str:
    place = [*name.split(" "), ""][1]
    try:
        return normalise_base_url(place)
    except ValueError:  # the sandbox
        return place


@lru_cache(maxsize=256)  # a ledger has few targets, and many runs
def _normalise_name(name: str) -> str:
    kind, _, rest = name.partition(" ")
    url, _, scope = rest.rpartition(" ")
    try:
        return f"{kind} {normalise_base_url(url)} {scope}"
    except ValueError:  # the sandbox, which is a target of its own
        return name
