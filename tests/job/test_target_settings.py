"""The address of a job's target and its token: what is unsafe is refused, and no secret is ever shown."""

from pathlib import Path

import pytest

from tests.job.test_settings import SECRET, refused
from tests.support.job_files import JOB, make_job


@pytest.mark.parametrize(
    "url",
    [
        "http://api.example.com/v0",
        "ftp://api.example.com",
        "api.example.com/v0",
        "https://",
        "https://pat:hunter2@api.example.com",
        "https://api.example.com/v0?key=1",
        "https://api.example.com/v0#top",
        "https://[::1",
        "http://127.0.0.1.example.com",
        "http://localhost.example.com",
        "file:///etc/passwd",
        "https://h:99999",
        "https://h:0/v0",
        "https://h:-1",
        "https://h:x",
        "http://[::1].evil.example",
        "http://127.0.0.1:80:443",
        "https://api.example.com /v0",
        " https://api.example.com",
        "https://a..b/v0",
        "https://-a.example.com",
        "https://a_.%41.com",
        "https://api.example.com\\\\@evil.example",
        "https://api.example.com?",
        "https://@api.example.com",
        "http://127.1/v0",
        "http://2130706433/v0",
        "",
    ],
)
def test_an_address_that_is_unsafe_is_refused_and_not_shown(tmp_path: Path, url: str) -> None:
    words = refused(tmp_path, f'target.base_url="{url}"')
    assert "target.base_url" in words
    assert "hunter2" not in words


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("https://api.example.com/v0/", "https://api.example.com/v0"),
        ("https://api.example.com", "https://api.example.com"),
        ("http://127.0.0.1:8080/v0", "http://127.0.0.1:8080/v0"),
        ("http://127.9.9.9/v0", "http://127.9.9.9/v0"),
        ("http://localhost:8080/v0", "http://localhost:8080/v0"),
        ("http://[::1]:8080/v0", "http://[::1]:8080/v0"),
        ("https://exämple.com:8443/v0", "https://xn--exmple-cua.com:8443/v0"),
        ("https://\u0430pi.example.com", "https://xn--pi-6kc.example.com"),
    ],
)
def test_https_is_taken_and_http_to_this_machine(tmp_path: Path, url: str, kept: str) -> None:
    assert make_job(tmp_path, f'target.base_url="{url}"').target.base_url == kept


@pytest.mark.parametrize("reference", ["env:SYNCTERA_API_KEY", "file:token.txt", "cmd:pass show synctera"])
def test_a_token_is_a_reference(tmp_path: Path, reference: str) -> None:
    kind, _, where = reference.partition(":")
    meant = f"file:{Path.cwd() / where}" if kind == "file" else reference  # a path of a flag is as seen from here
    assert make_job(tmp_path, f'target.token="{reference}"').target.token == meant


@pytest.mark.parametrize(
    "text",
    [
        JOB.replace("env:NOWHERE", SECRET),
        JOB.replace("env:NOWHERE", f"Bearer {SECRET}"),
        JOB.replace("env:NOWHERE", f"ENV:{SECRET}"),
        JOB.replace('"env:NOWHERE"', SECRET),
        JOB.replace('"env:NOWHERE"', f'["{SECRET}"]'),
        JOB.replace('"env:NOWHERE"', f'{{ value = "{SECRET}" }}'),
        JOB.replace("https://", f"https://{SECRET}@"),
        JOB.replace("https://", f"https://pat:{SECRET}@"),
        JOB + f'proxy = 7\nca_file = ["{SECRET}"]\n',
    ],
)
def test_a_pasted_secret_is_refused_and_never_echoed(tmp_path: Path, text: str) -> None:
    assert SECRET not in refused(tmp_path, text=text)


def test_a_secret_pasted_on_the_command_line_is_never_echoed(tmp_path: Path) -> None:
    words = refused(tmp_path, f"target.token={SECRET}")
    assert "target.token must be env:NAME" in words
    assert SECRET not in words


def test_the_repr_of_a_job_holds_neither_the_token_nor_that_of_a_rehearsal(tmp_path: Path) -> None:
    job = make_job(tmp_path, f'target.token="cmd:echo {SECRET}"')
    rehearsal = job.at_sandbox("http://127.0.0.1:1/v0", f"{SECRET}-2")
    assert SECRET not in f"{job!r} {job} {rehearsal!r} {rehearsal}"
    assert rehearsal.sandbox_token == f"{SECRET}-2"


@pytest.mark.parametrize(
    "proxy",
    [
        *("", " ", "127.0.0.1:3128", "proxy.corp:3128", "socks5://127.0.0.1:9", "http://", "http:///", "ftp://p:1"),
        *(
            "http://user:hunter2@p:3128",
            "http://user@p:3128",
            "//p:3128",
            "http://p:99999",
            "http://p:1:2",
            "http://p/x",
        ),
        *("http://p?x=1", "http://p#x", "user:hunter2@p:3128"),
    ],
)
def test_a_proxy_that_cannot_be_one_is_refused_and_not_shown(tmp_path: Path, proxy: str) -> None:
    words = refused(tmp_path, f'target.proxy="{proxy}"')
    assert "target.proxy " in words
    assert "hunter2" not in words


def test_a_proxy_is_refused_where_it_would_read_all_that_is_sent(tmp_path: Path) -> None:
    words = refused(tmp_path, "target.proxy=http://p:3128", "target.base_url=http://127.0.0.1:8080/v0")
    assert "https base_url only" in words


@pytest.mark.parametrize("proxy", ["http://p:3128", "https://proxy.example.com", "http://127.0.0.1:3128/"])
def test_a_proxy_is_named_with_its_scheme_and_its_login_by_reference(tmp_path: Path, proxy: str) -> None:
    job = make_job(tmp_path, f"target.proxy={proxy}", "target.proxy_auth=env:PROXY_AUTH")
    assert job.target.proxy == proxy.rstrip("/")
    assert "target.proxy_auth must be env:NAME" in refused(
        tmp_path, f"target.proxy={proxy}", f"target.proxy_auth=pat:{SECRET}"
    )
    assert "proxy_auth goes with proxy" in refused(tmp_path, "target.proxy_auth=env:PROXY_AUTH")


def test_a_rehearsal_knows_no_proxy_and_no_authority_of_the_job(tmp_path: Path) -> None:
    settings = ("target.proxy=http://p:3128", "target.proxy_auth=env:PROXY_AUTH", "target.ca_file=ca.pem")
    target = make_job(tmp_path, *settings).at_sandbox("http://127.0.0.1:1/v0", "t").target
    assert (target.proxy, target.proxy_auth, target.ca_file) == (None, None, None)
