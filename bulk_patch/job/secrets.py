"""Fetch the secrets that a job file refers to: from the environment, a file or a command."""

import os
import shlex
import subprocess
from pathlib import Path

from bulk_patch.errors import CredentialError
from bulk_patch.job.settings import SECRET_REFERENCE

_COMMAND_TIMEOUT_S = 30


def read_secret(reference: str, folder: Path) -> str:
    """Fetch the secret that a reference names; called late, and again when the API refuses the secret.

    Args:
        reference: `env:NAME`, `file:PATH` (relative to `folder`) or `cmd:PROGRAM ARGS` (no shell).
        folder: The job file's folder.

    Raises:
        CredentialError: When the secret cannot be fetched, is empty, or cannot be sent in a header.
    """
    match = SECRET_REFERENCE.fullmatch(reference.strip())
    if match is None:  # the job model has already refused it
        raise CredentialError("the token is not a reference", "use env:NAME, file:PATH or cmd:PROGRAM ARGS")
    kind, where = match[1], match[2]
    secret = ""
    if kind == "env":
        secret = os.environ.get(where, "")
        hint = f"export {where}=… in the shell that runs this, or set [target] token to another reference"
    elif kind == "file":
        hint = "write the token into that file, readable by you only"
        try:
            secret = (folder / Path(where).expanduser()).read_text(encoding="utf-8")
        except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: `~name` of an unknown user
            raise CredentialError(f"the token file cannot be read: {type(error).__name__}", hint) from None
    else:
        hint = "run the command by hand: it must print the token and exit with 0"
        try:
            done = subprocess.run(
                shlex.split(where),
                capture_output=True,
                text=True,
                timeout=_COMMAND_TIMEOUT_S,
                check=True,
            )
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            raise CredentialError(f"the token command failed: {type(error).__name__}", hint) from None
        secret = done.stdout
    secret = secret.strip()
    if not secret:
        raise CredentialError(f"the token is empty ({kind}:{where.split()[0]})", hint)
    if not secret.isascii() or not secret.isprintable():
        raise CredentialError("the token contains characters that an HTTP header cannot carry", hint)
    return secret
