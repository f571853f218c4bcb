"""The addresses in a job file, judged by the parser that connects, so that no two readings of one differ."""

import ipaddress
import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from bulk_patch.job.base_urls import BLANKS, normalise_base_url

if TYPE_CHECKING:
    from yarl import URL

_HOST = re.compile(r"(?=.{1,253}$)([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.?")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def check_base_url(text: str) -> str:
    """Return a base URL in its one form (`base_urls`), in which it is connected to and names a target.

    Raises:
        ValueError: It is not an address, not safe, or holds more than an address; the text does not repeat it.
    """
    text = text.rstrip(BLANKS)
    url = _parsed(text)
    if url.raw_user is not None or url.raw_password is not None or "@" in urlsplit(text).netloc:
        raise ValueError("must be a plain address: no user, query or fragment in it")
    if "?" in text or "#" in text:
        raise ValueError("must be a plain address: no user, query or fragment in it")
    if url.scheme != "https" and not (url.scheme == "http" and is_loopback(url.raw_host or "")):
        raise ValueError("must be https; http is accepted for loopback only")
    return normalise_base_url(text)


def check_proxy(text: str) -> str:
    """Return the address of a proxy as it is connected to.

    Raises:
        ValueError: It is not the address of an HTTP proxy, or holds a user or password; the text does not repeat it.
    """
    if not text.strip():
        raise ValueError("is empty: leave it out for no proxy")
    if not _SCHEME.match(text):
        raise ValueError('needs its scheme, as in "http://proxy.example.com:3128"')
    if "@" in urlsplit(text).netloc:
        raise ValueError('must not hold a user or password: name them in target.proxy_auth, as in "env:PROXY_AUTH"')
    url = _parsed(text)
    if url.scheme not in ("http", "https"):
        raise ValueError(f"must be an HTTP proxy (http://… or https://…); {url.scheme} is not supported")
    if url.raw_path not in ("", "/") or "?" in text or "#" in text:
        raise ValueError("must be a plain address: no path, query or fragment in it")
    return _with_ascii_host(text, url).rstrip("/")


def is_loopback(host: str) -> bool:
    """Tell whether a host is this machine, by its spelling."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _parsed(text: str) -> "URL":
    from yarl import URL  # with idna: most commands need neither

    if text != text.strip() or not text.isprintable():
        raise ValueError("must be an address without blanks around it or control characters in it")
    try:
        url = URL(text)
        host, port = url.raw_host, url.port
    except (ValueError, TypeError):
        raise ValueError("is not an address: check host and port, as in https://api.example.com:8443/v0") from None
    if not host or not url.scheme:
        raise ValueError("is not an address: it must begin with https:// and name a host")
    if not _is_host(host):
        raise ValueError("names a host that does not exist: check its spelling")
    if port is not None and not 0 < port < 65536:
        raise ValueError("names a port that does not exist: it must be 1 to 65535")
    return url


def _is_host(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
        return "%" not in host
    except ValueError:
        return _HOST.fullmatch(host) is not None


def _with_ascii_host(text: str, url: "URL") -> str:
    netloc = urlsplit(text).netloc
    if netloc.isascii():
        return text
    port = "" if url.explicit_port is None else f":{url.explicit_port}"
    return text.replace(netloc, f"{url.raw_host}{port}", 1)
