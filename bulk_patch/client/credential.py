"""The token: fetched when it is needed, held in memory only, fetched again when the API refuses it."""

from pathlib import Path
from typing import NoReturn

from bulk_patch.job.secrets import read_secret


class Credential:
    """A bearer token by reference; neither `repr` nor a traceback shows it.

    Args:
        reference: See `read_secret`.
        folder: The job file's folder.
    """

    __slots__ = ("_folder", "_reference", "_token", "version")

    def __init__(self, reference: str, folder: Path) -> None:
        self._reference = reference
        self._folder = folder
        self._token = read_secret(reference, folder)
        self.version = 1

    @classmethod
    def of_sandbox(cls, token: str) -> "Credential":
        """Make the credential of a rehearsal: the job's own token is neither read nor needed."""
        made = cls.__new__(cls)
        made._reference, made._folder, made._token, made.version = "", Path(), token, 1
        return made

    def __repr__(self) -> str:
        return "Credential(***)"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a credential stays in its process: pass the reference of the token on, never the token")

    def header(self) -> str:
        """Return the value of the Authorization header."""
        return f"Bearer {self._token}"

    def renew(self) -> None:
        """Fetch the token again: a file or command may give another one by now."""
        if self._reference:
            self._token = read_secret(self._reference, self._folder)
        self.version += 1
