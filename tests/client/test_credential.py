import copy
import logging
import pickle
import sys
import traceback
from pathlib import Path

import pytest

from bulk_patch.client.credential import Credential
from bulk_patch.errors import CredentialError, Exit
from bulk_patch.job import secrets
from bulk_patch.job.secrets import read_secret

TOKEN = "s3cr3t-t0ken"


def program(folder: Path, source: str) -> str:
    """Return a reference to a Python program."""
    script = folder / "print token.py"
    script.write_text(source, encoding="utf-8")
    return f"cmd:{sys.executable} '{script}'"


# --- where a token comes from


def test_a_token_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("API_KEY_OF_TEST", TOKEN)
    assert Credential("env:API_KEY_OF_TEST", tmp_path).header() == f"Bearer {TOKEN}"


def test_a_token_comes_from_a_file_beside_the_job(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN + "\n", encoding="utf-8")
    assert read_secret("file:token", tmp_path) == TOKEN
    assert read_secret(f"file:{tmp_path / 'token'}", Path("elsewhere")) == TOKEN


def test_a_file_may_lie_in_the_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "token").write_text(TOKEN, encoding="utf-8")
    assert read_secret("file:~/token", Path("elsewhere")) == TOKEN


def test_a_token_comes_from_a_command_whose_arguments_may_hold_blanks(tmp_path: Path) -> None:
    assert read_secret(program(tmp_path, f"print({TOKEN!r})"), tmp_path) == TOKEN


def test_no_shell_reads_the_command(tmp_path: Path) -> None:
    (tmp_path / "args.py").write_text("import sys; print('|'.join(sys.argv[1:]))", encoding="utf-8")
    assert read_secret(f"cmd:{sys.executable} {tmp_path}/args.py $HOME * ; `id` > x", tmp_path) == "$HOME|*|;|`id`|>|x"


@pytest.mark.parametrize("text", ["{}", "{}\n", "\n  {}\r\n\n", "\t{} "])
def test_white_space_around_a_token_is_dropped(text: str, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(text.format(TOKEN), encoding="utf-8")
    assert read_secret("file:token", tmp_path) == TOKEN


# --- what cannot be one


@pytest.mark.parametrize(
    "text", ["", " \n\t", "two\nlines", "nul\0", "esc\x1b", "ümlaut", "zero\u200bwidth", "x\r\nEvil: 1"]
)
def test_what_no_header_may_carry_is_refused_and_not_repeated(text: str, tmp_path: Path) -> None:
    (tmp_path / "token").write_bytes(text.encode())
    with pytest.raises(CredentialError) as caught:
        read_secret("file:token", tmp_path)
    assert caught.value.exit_code is Exit.CREDENTIAL
    assert caught.value.hint
    for part in filter(None, text.split()):
        assert part not in str(caught.value)


@pytest.mark.parametrize(
    "reference",
    [
        "env:NO_SUCH_VARIABLE_HERE",
        "env: ",
        "env:A=B",
        "env:NUL\0",
        "file:no/such/file",
        "file:.",
        "file: ",
        "file:NUL\0",
        "file:~no-user-of-this-name/token",
        "cmd:no-such-program-here",
        "cmd: ",
        "cmd:'unclosed",
        "cmd:false",
        "cmd:true",
        "cmd:.",
        "cmd:NUL\0",
        "",
        "plain-secret",
        "vault:path",
        "ENV:NAME",
    ],
)
def test_a_reference_that_leads_nowhere_is_a_credential_error_with_a_hint(reference: str, tmp_path: Path) -> None:
    with pytest.raises(CredentialError) as caught:
        read_secret(reference, tmp_path)
    assert caught.value.hint


def test_a_secret_that_stands_where_its_reference_should_is_not_repeated(tmp_path: Path) -> None:
    with pytest.raises(CredentialError) as caught:
        read_secret(TOKEN, tmp_path)
    assert TOKEN not in f"{caught.value!r} {caught.value.hint}"


def test_what_a_failing_command_prints_is_not_repeated(tmp_path: Path) -> None:
    reference = program(tmp_path, f"import sys; print({TOKEN!r}); print({TOKEN!r}, file=sys.stderr); sys.exit(1)")
    with pytest.raises(CredentialError) as caught:
        read_secret(reference, tmp_path)
    assert TOKEN not in "".join(traceback.format_exception(caught.value))


def test_a_command_that_prints_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CredentialError):
        read_secret(program(tmp_path, "import sys; sys.stdout.buffer.write(b'\\xff\\xfe')"), tmp_path)


def test_a_command_that_never_ends_is_given_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(secrets, "_COMMAND_TIMEOUT_S", 0.2)
    with pytest.raises(CredentialError, match="Timeout"):
        read_secret(program(tmp_path, "import time; time.sleep(60)"), tmp_path)


def test_a_token_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "token").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CredentialError):
        read_secret("file:token", tmp_path)


# --- kept in memory, shown nowhere


def test_renewing_fetches_the_token_again_and_counts(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("first", encoding="utf-8")
    credential = Credential("file:token", tmp_path)
    version = credential.version
    (tmp_path / "token").write_text("second", encoding="utf-8")
    assert credential.header() == "Bearer first"
    credential.renew()
    assert credential.header() == "Bearer second"
    assert credential.version == version + 1


def test_the_old_token_stays_when_it_cannot_be_renewed(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("first", encoding="utf-8")
    credential = Credential("file:token", tmp_path)
    (tmp_path / "token").unlink()
    with pytest.raises(CredentialError):
        credential.renew()
    assert credential.header() == "Bearer first"


def test_the_token_of_a_rehearsal_needs_no_reference() -> None:
    credential = Credential.of_sandbox(TOKEN)
    credential.renew()
    assert credential.header() == f"Bearer {TOKEN}"


def test_no_way_of_showing_a_credential_shows_the_token(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "token").write_text(TOKEN, encoding="utf-8")
    credential = Credential("file:token", tmp_path)
    logging.getLogger("test").warning("%s %r", credential, credential)
    shown = [
        repr(credential),
        str(credential),
        f"{credential}",
        f"{credential!r}",
        repr([credential]),
        repr({"a": credential}),
        caplog.text,
    ]
    assert not [text for text in shown if TOKEN in text]
    assert not hasattr(credential, "__dict__")  # what `vars` and most loggers look at


def test_a_credential_cannot_be_pickled_or_copied_out_of_its_process() -> None:
    held = Credential.of_sandbox("a-secret-token")
    for give_away in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="stays in its process") as caught:
            give_away(held)
        assert "a-secret-token" not in str(caught.value)
