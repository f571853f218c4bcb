"""Tier `connections`: no one listens, the name is unknown, TLS fails, the certificate is bad.

Nothing of a request leaves then, so nothing is in doubt: the rows stay pending, and once the way is free the job ends
well. Between product and API stands a door, a relay on a port of its own, since a sandbox does not speak TLS.
"""

import asyncio
import os
import random
import signal
import socket
import ssl
import time
from collections import Counter
from contextlib import closing, suppress
from dataclasses import replace
from datetime import UTC, datetime
from urllib.parse import urlsplit

import trustme

from tests.chaos.crew import Findings, Form, judge, make_folder, play_all
from tests.chaos.evidence import Evidence, load
from tests.chaos.kills import finish
from tests.chaos.scene import Settings, draw
from tests.chaos.sightings import sight
from tests.chaos.stage import Mischief, Stage

ROWS = 8
CONCURRENCIES = (1, 8)
BASELINES = ("none", "live")
USUAL = Settings(rate_per_s=500.0, timeout_s=1.0, give_up_after_s=1.5)
BAD_CERTIFICATES = ("unknown authority", "other name", "expired")
#: What is in the way -> the exit code of a process that meets it to its end.
OBSTACLES = {
    "refused connection": 4,
    "unknown name": 4,
    "failed handshake": 6,
    **{f"bad certificate, {why}": 6 for why in BAD_CERTIFICATES},
}
BRIEFLY = "refused connection, briefly"
_AT_ONCE_S, _PATIENT_S = 10.0, 30.0  # even on a busy machine the one is not the other
_BRIEF_S = 0.5
_REPEATS = 3  # of each combination, in the long form


def run(form: Form) -> Findings:
    """Play all combinations, or each obstacle once."""
    dice = random.Random(f"{form.seed}/connections")
    cells = [f"{what}/{baseline}/{n}" for what in OBSTACLES for baseline in BASELINES for n in CONCURRENCIES]
    if not (form.long or form.only):
        cells = [f"{what}/{dice.choice(BASELINES)}/{dice.choice(CONCURRENCIES)}" for what in OBSTACLES]
    cells.append(f"{BRIEFLY}/none/8")
    repeats = form.amount(short=1, long=_REPEATS)
    return play_all(form, "connections", [f"connections/{cell}/{n}" for cell in cells for n in range(repeats)], play)


def play(form: Form, trial: str) -> Findings:
    """Let one process meet the obstacle, take it away, and let the next one end the job."""
    dice = random.Random(f"{form.seed}/{trial}")
    _, what, baseline, concurrency, *_ = trial.split("/")
    settings = replace(USUAL, baseline=baseline, concurrency=int(concurrency))
    if OBSTACLES.get(what) == 6:
        settings = replace(settings, give_up_after_s=_PATIENT_S)
    scene = draw(dice, rows=ROWS, settings=settings, kinds=("name", "address"))
    stage = Stage.set_up(make_folder(), scene, Mischief(), dice)
    door = Door(stage)
    try:
        door.lead_there(what)
        begun = time.monotonic()
        code = stage.play(library=dice.random() < 0.3)
        lasted_s = time.monotonic() - begun
        met = _count_requests(stage)
        may_end = what != "unknown name"  # no one will ever own that name
        ends = code
        if may_end:
            door.free_the_way()
            ends = finish(stage, "run", code)
    finally:
        door.close()
    stage.close(settled=may_end)
    evidence = load(stage.folder)
    wrong = _compare_brief(evidence, code) if what == BRIEFLY else _compare(evidence, what, code, met, lasted_s)
    if may_end and ends != 0:
        wrong.append(f"the way was free, and the job ended with {ends}")
    sightings = sight(evidence) + Counter({f"fault {what.partition(',')[0]}": 1})
    return Findings(1, judge(form, trial, stage, wrong), sightings)


def _compare(evidence: Evidence, what: str, code: int | None, met: int, lasted_s: float) -> list[str]:
    """Say where the process that met the obstacle did something else than it should."""
    wrong = [f"[exit] {what}: it ended with {code}, not {OBSTACLES[what]}"] if code != OBSTACLES[what] else []
    if met:
        wrong.append(f"[obstacle] {met} requests came through")
    if OBSTACLES[what] == 6 and lasted_s > _AT_ONCE_S:
        wrong.append(f"[at once] it took {lasted_s:.1f} s to stop")
    copy = evidence.spans[0].copy
    runs = list(copy.runs.values()) if copy is not None else []
    if bool(runs) != (evidence.story.baseline == "none"):
        wrong.append(f"[plan] there are {len(runs)} plans")
    rows = [(row, record) for run in runs for row, record in run.rows.items()]
    for row, record in rows:
        if (record["state"], record["ambiguous"], record["attempts"]) != ("pending", 0, 0):
            wrong.append(f"[doubt] row {row} is {record['state']}, attempts {record['attempts']}: nothing had left")
    return wrong


def _compare_brief(evidence: Evidence, code: int | None) -> list[str]:
    """Say where a process did not sit out a short refusal."""
    tries = [len(lines) for lines in evidence.patches.values()]
    return [] if (code, tries) == (0, [1] * ROWS) else [f"[brief] it ended with {code}, PATCHes by row: {tries}"]


def _count_requests(stage: Stage) -> int:
    log = stage.folder / "world" / "requests.jsonl"
    return len(log.read_text().splitlines()) if log.exists() else 0


# --- the door


class Door:
    """A port that is bound from the beginning, so that no one else can answer there, and leads to the API when open.

    Args:
        stage: Its job is made to go through the door.
    """

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._api_port = urlsplit(stage.api.base_url).port
        self._authority = trustme.CA()
        self._authority.cert_pem.write_to_path(stage.folder / "ca.pem")
        self._listener = socket.socket()
        self._listener.bind(("127.0.0.1", 0))
        self._port = self._listener.getsockname()[1]
        self._keeper: int | None = None

    def lead_there(self, what: str) -> None:
        """Put an obstacle in the way of the job."""
        kind, _, why = what.partition(", ")
        scheme, host = ("http", "127.0.0.1") if kind == "refused connection" else ("https", "localhost")
        if kind == "unknown name":
            host = "no-such-name.invalid"
        self._stage.job = self._stage.scene.write(self._stage.folder, f"{scheme}://{host}:{self._port}/v0")
        if kind == "failed handshake":
            self._open(_Relay(self._api_port, None))
        elif kind == "bad certificate":
            self._open(_Relay(self._api_port, self._bad_certificate(why)))
            if why != "unknown authority":
                self._trust()
        elif what == BRIEFLY:
            self._open(_Relay(self._api_port, None), after_s=_BRIEF_S)

    def free_the_way(self) -> None:
        """Let the next process through."""
        is_tls = "https:" in self._stage.job.read_text()
        self._leave()
        self._open(_Relay(self._api_port, self._certificate("localhost") if is_tls else None))
        if is_tls:
            self._trust()

    def close(self) -> None:
        """End what keeps it open."""
        self._leave()
        self._listener.close()

    def _open(self, relay: "_Relay", *, after_s: float = 0.0) -> None:
        pid = os.fork()
        if pid == 0:
            with suppress(BaseException):
                time.sleep(after_s)
                asyncio.run(relay.serve(self._listener))
            os._exit(0)
        self._keeper = pid
        deadline = time.monotonic() + 5.0
        while not after_s and not _listens(self._listener) and time.monotonic() < deadline:
            time.sleep(0.001)

    def _leave(self) -> None:
        if self._keeper is not None:
            os.kill(self._keeper, signal.SIGKILL)
            os.waitpid(self._keeper, 0)
            self._keeper = None

    def _trust(self) -> None:
        """Let the job name the authority."""
        text = self._stage.job.read_text()
        if "ca_file" not in text:
            self._stage.job.write_text(text.replace("[limits]", 'ca_file = "ca.pem"\n[limits]'))

    def _bad_certificate(self, why: str) -> ssl.SSLContext:
        if why == "expired":
            return self._certificate("localhost", not_after=datetime(2001, 1, 1, tzinfo=UTC))
        return self._certificate("elsewhere.example" if why == "other name" else "localhost")

    def _certificate(self, name: str, not_after: datetime | None = None) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._authority.issue_cert(name, not_after=not_after).configure_cert(context)
        return context


def _listens(listener: socket.socket) -> bool:
    return bool(listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))


class _Relay:
    """Passes on what comes; with a certificate it speaks TLS to all who come, without one it does not."""

    def __init__(self, api_port: int | None, certificate: ssl.SSLContext | None) -> None:
        self._api_port, self._certificate = api_port, certificate

    async def serve(self, listener: socket.socket) -> None:
        """Serve until the process is ended."""
        async with await asyncio.start_server(self._pass_on, sock=listener, ssl=self._certificate) as server:
            await server.serve_forever()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer), suppress(OSError):
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._api_port)
            with closing(far_writer):
                await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()
