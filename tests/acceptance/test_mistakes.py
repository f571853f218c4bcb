"""What people get wrong: each mistake gets one clear message with a hint, the right exit code, and loses nothing."""

import signal
import socket
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from bulk_patch.sandbox import Sandbox
from tests.acceptance.commands import WITHOUT_RIGHTS, Ended, Workspace, assert_told, needs_permissions, wait_until
from tests.acceptance.small_job import (
    FILE,
    NAME,
    NOTHING_TO_COMPARE,
    TOKEN,
    aimed_at,
    id_of,
    input_path,
    new_emails,
    patches,
    people,
    planned_at,
    write_job,
)

IMPATIENT = ("--set", "retry.attempts=2", "--set", "limits.timeout_s=2")


# --- the job file


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        pytest.param("concurrency = 4", "concurency = 4", ("limits.concurency", "concurrency"), id="unknown key"),
        pytest.param('name = "small"', "name = small", ("not valid TOML", "line 2"), id="bad TOML"),
        pytest.param('id = "customer_id"', "", ("input.id is required",), id="missing key"),
        pytest.param("attempts = 3", 'attempts = "3"', ("retry.attempts",), id="text for a number"),
        pytest.param(
            "[guards]", '[engine]\nkind = "dask"\n[guards]', ("engine.kind", "not built yet"), id="not built yet"
        ),
        pytest.param('"env:SYNCTERA_API_KEY"', '"sk_live_1234"', ("target.token", "env:NAME"), id="a secret in it"),
        pytest.param("https://api", "http://api", ("target.base_url", "https"), id="no TLS"),
    ],
)
def test_a_wrong_job_file_is_refused(
    office: Workspace, api: Sandbox, old: str, new: str, words: tuple[str, ...]
) -> None:
    write_job(office, new_emails(1))
    path = office.root / FILE
    path.write_text(path.read_text(encoding="utf-8").replace(old, new, 1), encoding="utf-8")
    ended = office.run("run", FILE, *aimed_at(api))
    assert_told(ended, 2, *words)
    assert "sk_live_1234" not in ended.err
    assert api.requests == []


def test_a_job_file_that_is_not_there_is_said_so(office: Workspace) -> None:
    assert_told(office.run("plan", "jobs/nowhere.toml"), 2, "no job file at jobs/nowhere.toml", "bulk-patch init")


def test_a_flag_that_sets_nothing_known_is_refused(office: Workspace, api: Sandbox) -> None:
    write_job(office, new_emails(1))
    assert_told(office.run("run", FILE, *aimed_at(api), "--set", "limits.rate=5"), 2, "limits.rate", "rate_per_s")


# --- the input


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param(
            "customer_id,e-mail\n{id},a@b.example\n", ("'e-mail' is not a field", "email"), id="unknown column"
        ),
        pytest.param("id,email\n{id},a@b.example\n", ("no column 'customer_id'",), id="no id column"),
        pytest.param("Title\ncustomer_id,email\ncustomer_id,email\n", ("lines 2, 3", "skip_rows"), id="two headers"),
        pytest.param("customer_id,email\n{id},a@b.example,x\n", ("line 2",), id="a row that is wider"),
        pytest.param('customer_id,email\n{id},"a@b.example\n', ("line 2",), id="an open quote"),
        pytest.param("customer_id,email\n4.31E+37,a@b.example\n4.4E+3,b@b.example\n", ("mangled",), id="mangled ids"),
        pytest.param("", ("small.csv",), id="an empty file"),
    ],
)
def test_a_wrong_input_is_refused_before_any_request(
    office: Workspace, api: Sandbox, content: str, words: tuple[str, ...]
) -> None:
    write_job(office, new_emails(1))
    input_path(office).write_text(content.replace("{id}", id_of(1)), encoding="utf-8")
    ended = office.run("run", FILE, *aimed_at(api))
    assert_told(ended, 2, *words)
    assert "b.example" not in ended.err
    assert api.requests == []


def test_an_input_that_is_not_there_is_said_so(office: Workspace, api: Sandbox) -> None:
    write_job(office, new_emails(1))
    input_path(office).unlink()
    assert_told(office.run("run", FILE, *aimed_at(api)), 2, "small.csv")
    assert api.requests == []


def test_a_column_that_the_job_does_not_allow_is_refused(office: Workspace, api: Sandbox) -> None:
    write_job(office, [{"customer_id": id_of(1), "email": "a@b.example", "first_name": "Bea"}])
    ended = office.run("run", FILE, *aimed_at(api), "--set", 'guards.fields=["email"]')
    assert_told(ended, 2, "first_name", "guards.fields")
    assert api.requests == []


# --- the API


class _Page(BaseHTTPRequestHandler):
    """Answers everything with one page."""

    status, body, media_type = 200, b"<html><body>Sign in</body></html>", "text/html"

    def do_GET(self) -> None:
        self.send_response(self.status)
        self.send_header("Content-Type", self.media_type)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    do_PATCH = do_GET  # noqa: N815 - http.server looks for handlers by this name

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def answering(status: int) -> Iterator[str]:
    """Serve HTML with this status on every path; yields the base URL."""
    handler = type("Page", (_Page,), {"status": status})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v0"
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def listening(answer: bytes) -> Iterator[int]:
    """Answer every connection with these bytes, whatever it says; yields the port."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(4096)
                    connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def run_at(office: Workspace, base_url: str, *more: str) -> Ended:
    return office.run("run", FILE, "--yes", "--set", f"target.base_url={base_url}", *IMPATIENT, *more)


def test_a_wrong_token_ends_with_6_and_the_mended_one_goes_on(office: Workspace, api: Sandbox) -> None:
    write_job(office, new_emails(1, 2))
    wrong = office.run("run", FILE, *aimed_at(api), env={"SYNCTERA_API_KEY": "not-the-token"})
    assert_told(wrong, 6, "401", "[target] token")
    assert "not-the-token" not in wrong.err
    assert office.run("run", FILE, *aimed_at(api)).code == 0
    assert {entry["status"] for entry in patches(api)} == {200}


def test_a_token_that_stops_being_accepted_while_rows_are_sent_leaves_them_open(office: Workspace) -> None:
    write_job(office, new_emails(1, 2))
    with Sandbox(people(12), token="another") as api:
        stopped = office.run("run", FILE, *aimed_at(api), *NOTHING_TO_COMPARE)
        assert stopped.code == 6, stopped.err
        assert "401" in stopped.err
        assert "fix the credential" in stopped.before
        assert set(office.states(NAME).values()) == {"pending"}
        api.token = TOKEN
        ended = office.run("run", FILE, *aimed_at(api), *NOTHING_TO_COMPARE)
        assert ended.code == 0, ended.err


def test_no_token_at_all_ends_with_6_before_any_request(office: Workspace, api: Sandbox) -> None:
    write_job(office, new_emails(1))
    del office.environment["SYNCTERA_API_KEY"]
    assert_told(office.run("run", FILE, *aimed_at(api)), 6, "SYNCTERA_API_KEY")
    assert api.requests == []


@pytest.mark.parametrize("status", [404, 200], ids=["404", "a sign-in page"])
def test_a_base_url_that_answers_404_or_html_ends_with_2(office: Workspace, status: int) -> None:
    write_job(office, new_emails(1))
    with answering(status) as base_url:
        assert_told(run_at(office, base_url), 2, "target.base_url")


def test_a_base_url_whose_path_the_api_does_not_know_ends_with_2(office: Workspace, api: Sandbox) -> None:
    write_job(office, new_emails(1))
    assert_told(run_at(office, api.base_url.replace("/v0", "/v9")), 2, "404", "target.base_url")


def test_without_a_baseline_a_foreign_page_stops_the_run_with_5_and_the_rows_stay_open(office: Workspace) -> None:
    write_job(office, new_emails(1, 2, 3, 4, 5, 6))
    with answering(404) as base_url:
        ended = run_at(office, base_url, *NOTHING_TO_COMPARE, "--set", "retry.attempts=8")
    assert ended.code == 5, ended.err
    assert "not the API's word (HTTP 404)" in ended.err
    assert set(office.states(NAME).values()) <= {"pending", "unknown"}


@pytest.mark.parametrize("baseline", [(), NOTHING_TO_COMPARE], ids=["live", "none"])
def test_a_port_where_nobody_listens_ends_with_4_and_the_next_try_sends(
    office: Workspace, baseline: tuple[str, ...]
) -> None:
    write_job(office, new_emails(1, 2))
    port = free_port()
    ended = run_at(office, f"http://127.0.0.1:{port}/v0", *baseline)
    assert ended.code == 4, ended.err
    assert "unreachable (refused)" in ended.err
    assert "Traceback" not in ended.err
    with Sandbox(people(12), token=TOKEN, port=port) as api:
        again = office.run("run", FILE, *aimed_at(api), *baseline)
        assert again.code == 0, again.err
        assert [entry["executed"] for entry in patches(api)] == [True, True]


def test_tls_that_is_none_ends_with_6_and_nothing_is_sent(office: Workspace) -> None:
    write_job(office, new_emails(1))
    with listening(b"\x00\x01 this is no TLS\r\n" * 20) as port:
        ended = run_at(office, f"https://127.0.0.1:{port}/v0", *NOTHING_TO_COMPARE)
    assert ended.code == 6, ended.err
    assert "failed handshake (TLS" in ended.err
    assert "Traceback" not in ended.err
    assert set(office.states(NAME).values()) == {"pending"}


# --- the disk and the neighbours


def test_a_second_process_on_the_same_job_is_refused_with_8_and_told_who_holds_it(office: Workspace) -> None:
    write_job(office, new_emails(*range(1, 101)))
    with Sandbox(people(100), token=TOKEN, latency_ms=300) as api:
        with office.start("run", FILE, *aimed_at(api), "--set", "limits.concurrency=1") as process:
            wait_until(lambda: len(patches(api)) >= 1)
            for command in (["run", FILE, *aimed_at(api)], ["plan", FILE, *planned_at(api)]):
                assert_told(office.run(*command), 8, f"process {process.pid} on {socket.gethostname()}")
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=20)
        assert process.returncode == 130, err  # undisturbed until then


def test_an_output_folder_that_cannot_be_written_ends_with_7(office: Workspace, api: Sandbox, tmp_path: Path) -> None:
    write_job(office, new_emails(1))
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    assert_told(office.run("run", FILE, *aimed_at(api), "--output", "file/output"), 7, "file/output")
    assert patches(api) == []


@needs_permissions
def test_a_read_only_output_folder_ends_with_7_and_nothing_is_sent(office: Workspace, api: Sandbox) -> None:
    write_job(office, new_emails(1))
    (office.root / "locked").mkdir(0o555)
    ended = office.run("run", FILE, *aimed_at(api), "--output", "locked", under=WITHOUT_RIGHTS)
    assert_told(ended, 7, "locked")
    assert patches(api) == []


def test_a_damaged_ledger_is_refused_with_7_and_nothing_is_sent(office: Workspace, api: Sandbox) -> None:
    write_job(office, new_emails(1, 2, 3))
    assert office.run("run", FILE, *aimed_at(api), "--limit", "1").code == 4
    ledger = office.job_folder(NAME) / "ledger.db"
    ledger.write_bytes(b"garbage" * 1000)
    for companion in ("ledger.db-wal", "ledger.db-shm"):
        (office.job_folder(NAME) / companion).unlink(missing_ok=True)
    assert_told(office.run("run", FILE, *aimed_at(api)), 7, "ledger.db")
    assert ledger.read_bytes() == b"garbage" * 1000
    assert len(patches(api)) == 1


def test_a_planned_row_that_was_altered_is_found_before_a_byte_of_it_is_sent(office: Workspace, api: Sandbox) -> None:
    write_job(office, new_emails(1, 2))
    assert office.run("plan", FILE, *planned_at(api)).code == 0
    with closing(sqlite3.connect(office.job_folder(NAME) / "ledger.db")) as database, database:
        database.execute("DROP TRIGGER rows_stay")
        database.execute("UPDATE rows SET body = CAST(replace(body, 'new2', 'evil') AS BLOB)")
    database.close()
    ended = office.run("run", FILE, *aimed_at(api))
    assert ended.code == 7, ended.err
    assert patches(api) == []


def test_a_ledger_of_another_job_is_refused_with_7(office: Workspace, api: Sandbox) -> None:
    write_job(office, new_emails(1))
    assert office.run("plan", FILE, *planned_at(api)).code == 0
    office.job_folder(NAME).rename(office.root / "output" / "other")
    assert_told(office.run("plan", FILE, *planned_at(api), "--set", "name=other"), 7, "belongs to job 'small'")
