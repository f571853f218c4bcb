"""The token: fetched when it is needed, held in memory only, fetched again when the API refuses it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from yarl import URL

from bulk_patch.client.token_users import TokenUser, using_token
from bulk_patch.errors import CredentialError
from bulk_patch.job.secrets import read_secret


class Credential:
    """A token by reference; neither `repr` nor a traceback shows it.

    Args:
        reference: See `read_secret`.
        folder: The job file's folder.
        login: Headers that show the token to the API, see `Target.login`.
    """

    __slots__ = ("_folder", "_lines", "_login", "_reference", "_token", "version")

    def __init__(self, reference: str, folder: Path, login: Mapping[str, str]) -> None:
        self._reference = reference
        self._folder = folder
        self._token = read_secret(reference, folder)
        self.version = 1
        self.show_by(login)

    @classmethod
    def of_sandbox(cls, token: str, login: Mapping[str, str]) -> "Credential":
        """Make the credential of a rehearsal: the job's own token is neither read nor needed."""
        made = cls.__new__(cls)
        made._reference, made._folder, made._token, made.version = "", Path(), token, 1
        made.show_by(login)
        return made

    def __repr__(self) -> str:
        return "Credential(***)"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a credential stays in its process: pass the reference of the token on, never the token")

    def show_by(self, login: Mapping[str, str]) -> None:
        """Show the token to the API by these headers from now on."""
        self._login = dict(login)
        self._write_lines()

    def _write_lines(self) -> None:
        shown = ((name, value.replace("{token}", self._token)) for name, value in self._login.items())
        self._lines = "".join(f"{name}: {value}\r\n" for name, value in shown)

    def header_lines(self) -> str:
        """Return the headers that show the token, each with its line end."""
        return self._lines

    def is_in(self, text: str) -> bool:
        """Tell whether a text repeats the token, in whatever case."""
        return self._token.casefold() in text.casefold()

    @contextmanager
    def noted(self, host: str, *, job: str, share: str | None) -> Iterator[tuple[TokenUser, ...]]:
        """Let other processes know that this one uses the token; see `using_token`."""
        with using_token(self._token, host, job=job, share=share) as others:
            yield others

    def renew(self) -> None:
        """Fetch the token again: a file or command may give another one by now."""
        if self._reference:
            self._token = read_secret(self._reference, self._folder)
            self._write_lines()
        self.version += 1


def with_login(proxy: str | None, reference: str | None, folder: Path) -> str | None:
    """Return the address of a proxy with the user and password that it asks for; it is never shown or kept.

    Args:
        proxy: Its address without them; None: there is no proxy.
        reference: See `read_secret`; what it names must be `USER:PASSWORD`. None: it asks for nobody.
        folder: The job file's folder.

    Raises:
        CredentialError: They cannot be had.
    """
    if proxy is None or reference is None:
        return proxy
    user, colon, password = read_secret(reference, folder, what="proxy login").partition(":")
    if not colon or not user:
        raise CredentialError("target.proxy_auth does not give USER:PASSWORD", "the two are separated by a colon")
    return str(URL(proxy).with_user(user).with_password(password))
