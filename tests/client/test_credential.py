import copy
import logging
import os
import pickle
import sys
import time
import traceback
from pathlib import Path

import pytest

from bulk_patch.client.credential import Credential, with_login
from bulk_patch.errors import CredentialError, Exit
from bulk_patch.job import secret_command
from bulk_patch.job.secrets import read_secret
from bulk_patch.targets.synctera.target import LOGIN
from tests.support.private import write_private

TOKEN = "s3cr3t-t0ken"


def program(folder: Path, source: str) -> str:
    """Return a reference to a Python program."""
    script = folder / "print token.py"
    script.write_text(source, encoding="utf-8")
    return f"cmd:{sys.executable} '{script}'"


# --- where a token comes from


def test_a_token_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("API_KEY_OF_TEST", TOKEN)
    assert Credential("env:API_KEY_OF_TEST", tmp_path, LOGIN).header_lines() == f"Authorization: Bearer {TOKEN}\r\n"


def test_a_token_comes_from_a_file_beside_the_job(tmp_path: Path) -> None:
    write_private(tmp_path / "token", TOKEN + "\n")
    assert read_secret("file:token", tmp_path) == TOKEN
    assert read_secret(f"file:{tmp_path / 'token'}", Path("elsewhere")) == TOKEN


def test_a_file_may_lie_in_the_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    write_private(tmp_path / "token", TOKEN)
    assert read_secret("file:~/token", Path("elsewhere")) == TOKEN


def test_a_token_comes_from_a_command_whose_arguments_may_hold_blanks(tmp_path: Path) -> None:
    assert read_secret(program(tmp_path, f"print({TOKEN!r})"), tmp_path) == TOKEN


def test_no_shell_reads_the_command(tmp_path: Path) -> None:
    (tmp_path / "args.py").write_text("import sys; print('|'.join(sys.argv[1:]))", encoding="utf-8")
    assert read_secret(f"cmd:{sys.executable} {tmp_path}/args.py $HOME * ; `id` > x", tmp_path) == "$HOME|*|;|`id`|>|x"


@pytest.mark.parametrize("text", ["{}", "{}\n", "\n  {}\r\n\n", "\t{} "])
def test_white_space_around_a_token_is_dropped(text: str, tmp_path: Path) -> None:
    write_private(tmp_path / "token", text.format(TOKEN))
    assert read_secret("file:token", tmp_path) == TOKEN


# --- what cannot be one


@pytest.mark.parametrize(
    "text", ["", " \n\t", "two\nlines", "nul\0", "esc\x1b", "ümlaut", "zero\u200bwidth", "x\r\nEvil: 1"]
)
def test_what_no_header_may_carry_is_refused_and_not_repeated(text: str, tmp_path: Path) -> None:
    write_private(tmp_path / "token", text.encode())
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
    monkeypatch.setattr(secret_command, "_COMMAND_TIMEOUT_S", 0.2)
    with pytest.raises(CredentialError, match="did not end within"):
        read_secret(program(tmp_path, "import time; time.sleep(60)"), tmp_path)


def test_a_token_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    write_private(tmp_path / "token", b"\xff\xfe\x00")
    with pytest.raises(CredentialError):
        read_secret("file:token", tmp_path)


# --- kept in memory, shown nowhere


def test_renewing_fetches_the_token_again_and_counts(tmp_path: Path) -> None:
    write_private(tmp_path / "token", "first")
    credential = Credential("file:token", tmp_path, LOGIN)
    version = credential.version
    write_private(tmp_path / "token", "second")
    assert credential.header_lines() == "Authorization: Bearer first\r\n"
    credential.renew()
    assert credential.header_lines() == "Authorization: Bearer second\r\n"
    assert credential.version == version + 1


def test_the_old_token_stays_when_it_cannot_be_renewed(tmp_path: Path) -> None:
    write_private(tmp_path / "token", "first")
    credential = Credential("file:token", tmp_path, LOGIN)
    (tmp_path / "token").unlink()
    with pytest.raises(CredentialError):
        credential.renew()
    assert credential.header_lines() == "Authorization: Bearer first\r\n"


def test_the_token_of_a_rehearsal_needs_no_reference() -> None:
    credential = Credential.of_sandbox(TOKEN, LOGIN)
    credential.renew()
    assert credential.header_lines() == f"Authorization: Bearer {TOKEN}\r\n"


def test_no_way_of_showing_a_credential_shows_the_token(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_private(tmp_path / "token", TOKEN)
    credential = Credential("file:token", tmp_path, LOGIN)
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
    held = Credential.of_sandbox("a-secret-token", LOGIN)
    for give_away in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="stays in its process") as caught:
            give_away(held)
        assert "a-secret-token" not in str(caught.value)


# --- files and commands that are not to be trusted


@pytest.mark.parametrize("mode", [0o666, 0o644, 0o604, 0o660, 0o620])
def test_a_token_file_that_others_may_read_or_write_is_refused_with_what_to_type(tmp_path: Path, mode: int) -> None:
    write_private(tmp_path / "token", TOKEN)
    (tmp_path / "token").chmod(mode)
    with pytest.raises(CredentialError, match=rf"mode {mode:04o}") as caught:
        read_secret("file:token", tmp_path)
    assert caught.value.hint == f"chmod 600 {tmp_path / 'token'}"
    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o640, 0o440])
def test_a_token_file_for_the_owner_or_its_group_is_read(tmp_path: Path, mode: int) -> None:
    write_private(tmp_path / "token", TOKEN)
    (tmp_path / "token").chmod(mode)
    assert read_secret("file:token", tmp_path) == TOKEN


def test_a_pipe_or_a_device_is_no_token_file_and_nobody_waits_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    for where, word in ((tmp_path / "pipe", "a pipe"), (Path("/dev/zero"), "a device"), (tmp_path, "a folder")):
        with pytest.raises(CredentialError, match=word):
            read_secret(f"file:{where}", tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        *(f"Bearer {TOKEN}", f"bearer {TOKEN}", f"Authorization: Bearer {TOKEN}", f"Basic {TOKEN}"),
        *(f'"{TOKEN}"', f"'{TOKEN}'", f"\u201c{TOKEN}\u201d", f'"{TOKEN}'),
        *(f"SYNCTERA_API_KEY={TOKEN}", f"export KEY={TOKEN}", f'KEY = "{TOKEN}"', f"token: {TOKEN}"),
        *(f'{{"access_token":"{TOKEN}"}}', f'["{TOKEN}"]', f"{TOKEN} extra", f"{TOKEN}\n{TOKEN}", f"{TOKEN}\tx"),
        *("<your token>", "$SYNCTERA_API_KEY", "${SYNCTERA_API_KEY}", "<html>"),
    ],
)
def test_a_token_with_something_around_it_is_refused_where_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("API_KEY_OF_TEST", text)
    write_private(tmp_path / "token", text)
    for reference in ("env:API_KEY_OF_TEST", "file:token"):
        with pytest.raises(CredentialError, match="the token from") as caught:
            read_secret(reference, tmp_path)
        assert "alone" in caught.value.hint
        assert TOKEN not in f"{caught.value} {caught.value.hint}"


@pytest.mark.parametrize("text", ["abc123==", "eyJhbGciOi.J9-_x.yz", "\ufeffabc", "a/b+c=", "sk_live-1", "1|laravel"])
def test_what_tokens_look_like_is_taken(tmp_path: Path, text: str) -> None:
    write_private(tmp_path / "token", text)
    assert read_secret("file:token", tmp_path) == text.removeprefix("\ufeff")


def test_a_command_gets_nothing_of_our_stdin_and_runs_beside_the_job_file(tmp_path: Path) -> None:
    script = tmp_path / "helper"
    script.write_text(f"#!{sys.executable}\nimport os, sys\nprint(sys.stdin.read() or os.path.basename(os.getcwd()))\n")
    script.chmod(0o755)
    assert read_secret("cmd:./helper", tmp_path) == tmp_path.name


def test_what_a_command_leaves_running_ends_with_it(tmp_path: Path) -> None:
    source = (
        "import os, subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "print(child.pid)\n"
    )
    began = time.monotonic()
    pid = int(read_secret(program(tmp_path, source), tmp_path))
    assert time.monotonic() - began < 10  # it holds our pipe open, and is not waited for
    for _ in range(100):
        try:
            gone = Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z"
        except OSError:
            gone = True
        if gone:
            break
        time.sleep(0.05)
    assert gone


def test_why_a_command_failed_is_shown_without_its_secrets(tmp_path: Path) -> None:
    source = (
        "import sys\nprint('hunter2hunter2')\nprint('vault is sealed (hunter2hunter2, key=AKIA99887766XY)', "
        "file=sys.stderr)\nsys.exit(3)\n"
    )
    with pytest.raises(CredentialError, match="exit code 3: vault is sealed") as caught:
        read_secret(program(tmp_path, source), tmp_path)
    assert "hunter2" not in str(caught.value)
    assert "AKIA" not in str(caught.value)


def test_a_program_that_is_not_found_is_named_with_where_it_was_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    with pytest.raises(CredentialError, match="gettok, that is not on the PATH"):
        read_secret("cmd:gettok --all", tmp_path)
    with pytest.raises(CredentialError, match="does not exist"):
        read_secret("cmd:./gettok", tmp_path)
    (tmp_path / "gettok").write_text("x")
    with pytest.raises(CredentialError, match="cannot be executed") as caught:
        read_secret("cmd:./gettok", tmp_path)
    assert caught.value.hint.startswith("chmod +x ")


def test_the_login_of_a_proxy_is_fetched_from_its_reference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROXY_AUTH_OF_TEST", "pat:p@ss:w/rd")
    assert with_login("http://p:3128", None, tmp_path) == "http://p:3128"
    assert with_login("http://p:3128", "env:PROXY_AUTH_OF_TEST", tmp_path) == "http://pat:p%40ss%3Aw%2Frd@p:3128"
    monkeypatch.setenv("PROXY_AUTH_OF_TEST", "only-a-name")
    with pytest.raises(CredentialError, match="USER:PASSWORD"):
        with_login("http://p:3128", "env:PROXY_AUTH_OF_TEST", tmp_path)
