"""Signatures with existing SSH keys: `ssh-keygen -Y sign` and `-Y verify`."""

import base64
import re
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bulk_patch.errors import UsageError
from bulk_patch.job.checked_files import UnsafeFileError, read_small

NAMESPACE = "bulk-patch"  # signatures for other purposes do not count here
_TIMEOUT_S = 20.0
_WORD = re.compile(rb'(?:[^\s"]|"[^"]*")+')
_QUOTED = re.compile(rb'"[^"]*"')
_KEY_AT = 6 + 4 + 4  # after `SSHSIG`, the version, and the length of the key
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


def find_fault(statement: bytes, signature: str, *, signer: str, allowed_signers: Path, patterns: bool = False) -> str:
    """Say why a signature is not valid; "" when this signer signed this statement.

    Args:
        statement: What was signed.
        signature: As `sign` returned it.
        signer: A principal of the allowed signers.
        allowed_signers: A file as ssh-keygen reads it, including validity times.
        patterns: Lines whose names are patterns, or whose key is a certificate authority's, count too.
    """
    try:
        lines = read_small(allowed_signers, longest=_LONGEST_BYTES, secret=False)
    except UnsafeFileError as error:
        return f"the file of allowed signers {error.reason}: {error.fix}"
    except OSError as error:
        return f"the file of allowed signers cannot be read, {error.strerror}: {allowed_signers}"
    try:
        with tempfile.NamedTemporaryFile(prefix="bulk-patch-", suffix=".sig") as file:
            file.write(signature.encode())
            file.flush()
            with tempfile.NamedTemporaryFile(prefix="bulk-patch-", suffix=".signers") as counting:
                counting.write(lines if patterns else plain_lines(lines))
                counting.flush()
                words = ["-Y", "verify", "-f", counting.name, "-I", signer, "-n", NAMESPACE, "-s", file.name]
                done = _ssh_keygen(words, statement, timeout_s=_TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired) as error:  # no folder for temporary files, or no ssh-keygen
        return f"ssh-keygen cannot be run: {type(error).__name__}"
    return _first_line(done.stderr or done.stdout) if done.returncode else ""


def plain_lines(allowed_signers: bytes) -> bytes:
    """Return the lines of a file of allowed signers that name people, without patterns and certificate authorities."""
    kept = []
    for line in allowed_signers.splitlines():
        words = _WORD.findall(line.strip())
        if not words or words[0].startswith(b"#"):
            continue
        names = words[0].strip(b'"').split(b",")
        plain = [name for name in names if name and not re.search(rb"[*?!]", name)]
        is_authority = any(re.search(rb"(?i)(^|,)cert-authority(,|$)", _QUOTED.sub(b"", word)) for word in words[1:2])
        if plain and not is_authority:
            kept.append(b" ".join([b'"' + b",".join(plain) + b'"', *words[1:]]))
    return b"\n".join(kept) + b"\n"


def find_plan_fault(statement: bytes, signature: str) -> str:
    """Say why a signature is not one of this statement, whoever's key it is; "" when it is."""
    try:
        with tempfile.NamedTemporaryFile(prefix="bulk-patch-", suffix=".sig") as file:
            file.write(signature.encode())
            file.flush()
            words = ["-Y", "check-novalidate", "-n", NAMESPACE, "-s", file.name]
            done = _ssh_keygen(words, statement, timeout_s=_TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"ssh-keygen cannot be run: {type(error).__name__}"
    return _first_line(done.stderr or done.stdout) if done.returncode else ""


def key_of(signature: str) -> str:
    """Return the public key in a signature as ssh-keygen writes it, in hex; "" when there is none."""
    inside = "".join(line for line in signature.splitlines() if not line.startswith("-----"))
    try:
        blob = base64.b64decode(inside, validate=True)
    except ValueError:
        return ""
    if not blob.startswith(b"SSHSIG") or len(blob) < _KEY_AT:
        return ""
    length = int.from_bytes(blob[_KEY_AT - 4 : _KEY_AT], "big")
    return blob[_KEY_AT : _KEY_AT + length].hex() if len(blob) >= _KEY_AT + length else ""


def _ssh_keygen(
    words: Sequence[str], statement: bytes, *, timeout_s: float | None
) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(["ssh-keygen", *words], input=statement, capture_output=True, timeout=timeout_s, check=False)


def _first_line(output: bytes) -> str:
    lines = [line for line in output.decode("utf-8", "replace").splitlines() if line and "Signing data" not in line]
    return lines[0].strip() if lines else "ssh-keygen gives no reason"
