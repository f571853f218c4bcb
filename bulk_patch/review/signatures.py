"""Signatures with existing SSH keys: `ssh-keygen -Y sign` and `-Y verify`."""

import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bulk_patch.errors import UsageError
from bulk_patch.job.checked_files import UnsafeFileError, read_small

NAMESPACE = "bulk-patch"  # signatures for other purposes do not count here
_TIMEOUT_S = 20.0
_LONGEST_BYTES = 16 << 20


def sign(statement: bytes, *, key: Path) -> str:
    """Sign a statement; a key with a passphrase asks for it on the terminal.

    Raises:
        UsageError: This key cannot sign.
    """
    try:
        done = _ssh_keygen(["-Y", "sign", "-f", str(key), "-n", NAMESPACE], statement, timeout_s=None)
    except OSError as error:
        raise UsageError(f"ssh-keygen cannot be run: {error.strerror}", "install OpenSSH, or sign elsewhere") from None
    if done.returncode or not done.stdout:
        raise UsageError(f"{key} does not sign: {_first_line(done.stderr)}", "name a private key that ssh-keygen reads")
    return done.stdout.decode("ascii")


def find_fault(statement: bytes, signature: str, *, signer: str, allowed_signers: Path) -> str:
    """Say why a signature is not valid; "" when this signer signed this statement.

    Args:
        statement: What was signed.
        signature: As `sign` returned it.
        signer: A principal of the allowed signers.
        allowed_signers: A file as ssh-keygen reads it, including validity times.
    """
    try:
        read_small(allowed_signers, longest=_LONGEST_BYTES, secret=False)
    except UnsafeFileError as error:
        return f"the file of allowed signers {error.reason}: {error.fix}"
    except OSError as error:
        return f"the file of allowed signers cannot be read, {error.strerror}: {allowed_signers}"
    try:
        with tempfile.NamedTemporaryFile(prefix="bulk-patch-", suffix=".sig") as file:
            file.write(signature.encode())
            file.flush()
            words = ["-Y", "verify", "-f", str(allowed_signers), "-I", signer, "-n", NAMESPACE, "-s", file.name]
            done = _ssh_keygen(words, statement, timeout_s=_TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired) as error:  # no folder for temporary files, or no ssh-keygen
        return f"ssh-keygen cannot be run: {type(error).__name__}"
    return _first_line(done.stderr or done.stdout) if done.returncode else ""


def _ssh_keygen(
    words: Sequence[str], statement: bytes, *, timeout_s: float | None
) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(["ssh-keygen", *words], input=statement, capture_output=True, timeout=timeout_s, check=False)


def _first_line(output: bytes) -> str:
    lines = [line for line in output.decode("utf-8", "replace").splitlines() if line and "Signing data" not in line]
    return lines[0].strip() if lines else "ssh-keygen gives no reason"
