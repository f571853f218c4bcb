"""Why there was no answer: exceptions of aiohttp and of TLS, translated. Only this module knows them.

Their `repr` may hold the token, so words are made here, of fixed texts.
"""

import os
import ssl
from collections.abc import Mapping

import aiohttp
from aiohttp.http import HttpProcessingError

from bulk_patch.client.transport import ForeignPeer, NeverLeft
from bulk_patch.model import NEVER_LEFT, FailureKind, NetworkFailure

_PROXY_VARIABLES = ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")
_ASKS_TO_LOG_IN = 407
#: OpenSSL's verify codes.
_CERTIFICATE_WORDS: Mapping[int, str] = {
    9: "the certificate is not valid yet; is this machine's clock right?",
    10: "the certificate has expired; is this machine's clock right?",
    18: "the certificate is signed by itself: its authority is not known",
    19: "the certificate's authority is not known",
    20: "the certificate's authority is not known",
    21: "the certificate's authority is not known",
    62: "the certificate is for another name",
    64: "the certificate is for another address",
}
#: The other side hung up in mid-handshake: no finding about TLS.
_CUT_OFF = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)

_KINDS: tuple[tuple[type[BaseException], FailureKind], ...] = (  # the most specific first
    (aiohttp.ClientConnectorCertificateError, FailureKind.CERTIFICATE),
    (aiohttp.ServerFingerprintMismatch, FailureKind.CERTIFICATE),
    (ForeignPeer, FailureKind.FOREIGN_PEER),
    (aiohttp.ClientConnectorDNSError, FailureKind.DNS),
    (NeverLeft, FailureKind.CONNECT),
    (aiohttp.ClientProxyConnectionError, FailureKind.PROXY),
    (aiohttp.ClientHttpProxyError, FailureKind.PROXY),
    (aiohttp.ClientConnectorError, FailureKind.REFUSED),
    (TimeoutError, FailureKind.TIMEOUT),
    (aiohttp.ServerDisconnectedError, FailureKind.RESET),
    (aiohttp.ClientOSError, FailureKind.RESET),
    (aiohttp.ClientPayloadError, FailureKind.RESET),
    (aiohttp.ClientResponseError, FailureKind.PROTOCOL),
    (HttpProcessingError, FailureKind.PROTOCOL),
    (ValueError, FailureKind.PROTOCOL),
)


def translate(error: BaseException, elapsed_s: float, *, has_proxy: bool) -> NetworkFailure:
    """Translate what an exchange raised.

    Args:
        error: Of the transport.
        elapsed_s: How long it took.
        has_proxy: The job names a proxy.
    """
    kind, detail = _kind_and_words(error)
    if kind in NEVER_LEFT and kind is not FailureKind.PROXY and has_proxy and not detail:
        detail = f"{kind.value}, through the proxy"
    elif kind in _UNREACHED and not has_proxy and (name := _unused_proxy()):
        detail = f"{kind.value}; {name} is set in the environment and is not used: set target.proxy"
    return NetworkFailure(kind, elapsed_s, detail)


_UNREACHED = frozenset({FailureKind.DNS, FailureKind.REFUSED, FailureKind.CONNECT, FailureKind.TIMEOUT})


def _unused_proxy() -> str:
    return next((name for name in _PROXY_VARIABLES if os.environ.get(name)), "")


def _kind_and_words(error: BaseException) -> tuple[FailureKind, str]:
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return FailureKind.CERTIFICATE, _certificate_words(error.certificate_error)
    if isinstance(error, aiohttp.ClientConnectorSSLError):
        return _of_handshake(error)
    if isinstance(error, aiohttp.ClientHttpProxyError):
        if error.status == _ASKS_TO_LOG_IN:
            return FailureKind.PROXY_LOGIN, "HTTP 407"
        return FailureKind.PROXY, f"the proxy refuses, HTTP {error.status}"
    if isinstance(error, aiohttp.ClientProxyConnectionError):
        return FailureKind.PROXY, "the proxy cannot be reached"
    if isinstance(error, ForeignPeer):
        return FailureKind.FOREIGN_PEER, "plain http, and the address is not a loopback address"
    return next((kind for each, kind in _KINDS if isinstance(error, each)), FailureKind.RESET), ""


def _certificate_words(error: BaseException) -> str:
    code = error.verify_code if isinstance(error, ssl.SSLCertVerificationError) else 0
    return _CERTIFICATE_WORDS.get(code, "the certificate cannot be verified")


def _of_handshake(error: aiohttp.ClientConnectorSSLError) -> tuple[FailureKind, str]:
    cause = error.os_error
    if isinstance(cause, _CUT_OFF) or not isinstance(cause, ssl.SSLError):
        return FailureKind.CONNECT, ""
    reason = str(cause.reason or "").replace("_", " ").lower()  # a name that OpenSSL gives, never a text of the server
    return FailureKind.TLS, f"TLS: {reason}" if reason else "TLS"
