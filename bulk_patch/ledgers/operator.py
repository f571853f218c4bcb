"""Identify the operator: who runs this process."""

import os
import pwd
import socket

from bulk_patch.ledgers.records import Actor


def current_actor(operator: str) -> Actor:
    """Return the operator as named, the login by uid, host and process."""
    try:
        login = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a uid without an account, as in a container
        login = str(os.getuid())
    return Actor(operator or login, login, socket.gethostname(), os.getpid())
