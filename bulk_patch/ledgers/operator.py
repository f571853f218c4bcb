"""Identify the operator: who runs this process."""

import os
import socket

from bulk_patch.ledgers.records import Actor


def current_actor(operator: str) -> Actor:
    """Return the operator as named, the login by uid, host and process."""
    try:
        import pwd  # not on every platform

        login = pwd.getpwuid(os.getuid()).pw_name
    except (ImportError, KeyError):
        login = str(os.getuid()) if hasattr(os, "getuid") else "unknown"
    return Actor(operator or login, login, socket.gethostname(), os.getpid())
