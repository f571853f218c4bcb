"""Fetch the secrets that a job file refers to: from the environment, a file or a command."""

import os
import re
from pathlib import Path

from bulk_patch.errors import CredentialError
from bulk_patch.job.checked_files import UnsafeFileError, read_small
from bulk_patch.job.secret_command import CommandError, run_command
from bulk_patch.job.settings import SECRET_REFERENCE

_LONGEST_BYTES = 64 << 10
_QUOTES = "\"'`\u201c\u201d\u2018\u2019\u00ab\u00bb"
#: What is not the token but something around it: pattern of the whole text, what it is.
_WRAPPINGS = (
    (
        re.compile(r"(authorization\s*[:=]\s*.*|(bearer|basic|token)[\s:].*)", re.IGNORECASE),
        "a header, not only a token",
    ),
    (re.compile(rf"[{_QUOTES}].*|.*[{_QUOTES}]"), "text in quotes"),
    (re.compile(r"(export\s+|set\s+)?[A-Za-z_][A-Za-z0-9_.-]*\s*=\s*[^=\s].*|\w+:\s.*"), "a line KEY=VALUE"),
    (re.compile(r"[{\[].*"), "JSON"),
    (re.compile(r"<.*"), "a page, or a placeholder"),
    (re.compile(r"\$\{?\w+\}?|%\w+%"), "the name of a variable, not its value"),
    (re.compile(r"-----BEGIN.*"), "a private key"),
)


def read_secret(reference: str, folder: Path, *, what: str = "token") -> str:
    """Fetch the secret that a reference names; called late, and again when the API refuses the secret.

    Args:
        reference: `env:NAME`, `file:PATH` (relative to `folder`) or `cmd:PROGRAM ARGS` (no shell, run in `folder`).
        folder: The job file's folder.
        what: What it is called in messages; a token is also checked for what no token has.

    Raises:
        CredentialError: When the secret cannot be fetched, is empty, or cannot be sent in a header.
    """
    match = SECRET_REFERENCE.fullmatch(reference.strip())
    if match is None:  # the job model has already refused it
        raise CredentialError(f"the {what} is not a reference", "use env:NAME, file:PATH or cmd:PROGRAM ARGS")
    kind, where = match[1], match[2]
    if kind == "env":
        secret = os.environ.get(where, "")
        hint = (
            f"export {where}=… in the shell that runs this, or name a file: file:PATH; cron's lines have no such shell"
        )
    elif kind == "file":
        hint = f"write the {what} into that file, readable by you only"
        secret = _read_file(folder, where, what, hint)
    else:
        hint = f"run the command by hand, in the job file's folder: it must print the {what} and exit with 0"
        try:
            secret = run_command(where, folder)
        except CommandError as error:
            raise CredentialError(f"the {what} command {error}", error.hint or hint) from None
    secret = secret.removeprefix("\ufeff").strip()
    if not secret:
        raise CredentialError(f"the {what} is empty ({kind}:{where.split()[0] if where.split() else ''})", hint)
    if what == "token":
        _refuse_wrapping(secret, kind)
    if not secret.isascii() or not secret.isprintable():
        raise CredentialError(f"the {what} contains characters that an HTTP header cannot carry", hint)
    return secret


def _read_file(folder: Path, where: str, what: str, hint: str) -> str:
    try:
        data = read_small(folder / Path(where).expanduser(), longest=_LONGEST_BYTES, secret=True)
    except UnsafeFileError as error:
        raise CredentialError(f"the {what} file {where} {error.reason}", error.fix) from None
    except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: `~name` of an unknown user
        raise CredentialError(f"the {what} file cannot be read: {type(error).__name__}", hint) from None
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise CredentialError(f"the {what} file is UTF-16", "save it as plain text (UTF-8)")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise CredentialError(f"the {what} file is not text", hint) from None


def _refuse_wrapping(secret: str, kind: str) -> None:
    """Refuse what no bearer token is: it would be sent, and refused by the API as if it had expired."""
    first = secret.splitlines()[0]
    for pattern, what in _WRAPPINGS:
        if pattern.fullmatch(first):
            raise CredentialError(
                f"the token from {kind}: is {what}",
                "give the token alone: no name, no quotes, nothing before or after it",
            )
    if re.search(r"\s", secret):
        held = "a line break" if len(secret.splitlines()) > 1 else "a blank"
        raise CredentialError(f"the token from {kind}: contains {held}", "give the token alone, on one line")
