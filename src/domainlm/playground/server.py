"""The server: one page and what it asks, on this machine alone (`guard` says who may ask).

Answers that take time are lines of JSON as they come; each ends with `{"end": true}`, so that a
stream that broke is known. A client that goes takes its work with it.
"""

import asyncio
import contextlib
import dataclasses
import importlib.resources
import json
import secrets
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import anyio
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request as Http
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from domainlm.console import say
from domainlm.errors import USAGE, DomainLMError
from domainlm.evaluation.tables import SEED
from domainlm.playground import run as runs
from domainlm.playground import votes
from domainlm.playground.engine import Busy, Engine
from domainlm.playground.guard import (
    PROMPT,
    TEXT,
    TOKENS,
    Continue,
    Guard,
    Read,
    Reader,
    Refused,
    Search,
    Vote,
    is_local,
    policy,
    refusal,
)
from domainlm.playground.streams import Reading, Request, Row, Sampling, words

BEAT = 1.0  # seconds of silence after which a stream says that it lives


@dataclasses.dataclass(frozen=True)
class Limits:
    """What is served at once: running and waiting questions, open streams, questions a second."""

    active: int = 8
    waiting: int = 24
    streams: int = 64
    per_second: float = 10.0
    burst: int = 40


class _Stream(StreamingResponse):
    """Lines of JSON; `close` runs when the answer has ended in any way."""

    def __init__(self, lines: AsyncIterator[bytes], close: Callable[[], None]) -> None:
        super().__init__(lines, media_type="application/x-ndjson")
        self._close = close

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._close()


class Playground:
    """The answers to the page's questions."""

    def __init__(self, played: runs.Played, limits: Limits) -> None:
        self._played, self._limits = played, limits
        self.engine = Engine(played.players, limits.active, limits.waiting)
        self._ballots = votes.Ballots(played.votes)
        self._prompts = {p["id"]: p["text"] for p in played.prompts}
        self._streams = 0
        self._searching = asyncio.Lock()
        self._reader = Reader(limits.per_second, limits.burst)

    def app(self) -> ASGIApp:
        """The whole application, guarded."""
        text = (
            importlib.resources.files("domainlm.playground")
            .joinpath("page.html")
            .read_text("utf-8")
        )

        @contextlib.asynccontextmanager
        async def lifespan(app: Starlette) -> AsyncIterator[None]:
            yield
            await anyio.to_thread.run_sync(self.engine.close)

        async def page(http: Http) -> Response:
            return HTMLResponse(text)

        async def refused(http: Http, error: Exception) -> Response:
            assert isinstance(error, Refused)
            return refusal(error.status, error.why)

        async def broken(http: Http, error: Exception) -> Response:
            return refusal(500, f"{type(error).__name__}: the server failed to answer.")

        routes = [
            Route("/", page),
            Route("/api/run", self.about),
            Route("/api/continue", self.go_on, methods=["POST"]),
            Route("/api/read", self.read, methods=["POST"]),
            Route("/api/search", self.search, methods=["POST"]),
            Route("/api/vote", self.vote, methods=["POST"]),
        ]
        handlers: dict[Any, Any] = {Refused: refused, Exception: broken}
        inner = Starlette(routes=routes, exception_handlers=handlers, lifespan=lifespan)
        return Guard(inner, policy(text))

    async def about(self, http: Http) -> Response:
        """What the page shows before anything is asked."""
        played = self._played
        device = played.players[0].model.device
        models = [
            {f: getattr(p, f) for f in ("name", "title", "role", "sha256", "parameters")}
            for p in played.players
        ]
        limits = {"prompt": PROMPT, "text": TEXT, "tokens": TOKENS}
        return JSONResponse(
            {
                "name": played.recipe.name,
                "notices": list(played.notices),
                "models": models,
                "prompts": list(played.prompts),
                "seed": SEED,
                "temperature": played.recipe.evaluate.temperature,
                "tokens": min(played.recipe.evaluate.generate, TOKENS),
                "limits": limits,
                "processor": device.type == "cpu",
                "search": bool(played.train),
                "search_at_once": played.text_bytes <= runs.LARGE,
                "tally": self._tally(),
            }
        )

    def _tally(self) -> list[dict[str, Any]]:
        return votes.tally(self._played.votes, {p.name: p.sha256 for p in self._played.players})

    async def go_on(self, http: Http) -> Response:
        """Continuations of one prompt by up to three models, side by side."""
        asked = await self._reader.read(http, Continue)
        players = self._players(asked.models)
        known = (
            asked.prompt_id if self._prompts.get(asked.prompt_id or "") == asked.prompt else None
        )
        how = Sampling(
            asked.prompt, known or asked.prompt, asked.seed, asked.temperature, asked.tokens
        )
        ballot = None
        first: dict[str, Any] = {"models": [p.name for p in players]}
        if asked.blind:
            if len(players) < 2:
                raise Refused(400, "A blind comparison needs two models.")
            players = secrets.SystemRandom().sample(players, 2)
            size = 4 * asked.tokens
            how = dataclasses.replace(how, characters=size, tokens=size)  # as much text of both
            facts = {"prompt_id": known, "characters": how.characters}
            facts |= asked.model_dump(include={"prompt", "seed", "temperature"})
            ballot = votes.Ballot([(p.name, p.sha256) for p in players], facts)
            first = {"ticket": self._ballots.issue(ballot)}
        request, queue = self._request(ballot)
        for player in players:
            Row(request, player, how)
        return self._answer(request, queue, first)

    async def read(self, http: Http) -> Response:
        """Surprisal of a text, token by token, and its nats, under up to three models."""
        asked = await self._reader.read(http, Read)
        request, queue = self._request(None)
        players = self._players(asked.models)
        for player in players:
            Reading(request, player, asked.text)
        return self._answer(request, queue, {"models": [p.name for p in players]})

    async def search(self, http: Http) -> Response:
        """The longest span of a text that stands in train; ends when the client goes."""
        asked = await self._reader.read(http, Search)
        if not self._played.train:
            raise Refused(404, "The run has no corpus to search.")
        self._open_stream()

        async def lines() -> AsyncIterator[bytes]:
            copy, steps = None, runs.search(self._played, asked.text)
            yield _line({"share": 0})
            try:
                async with self._searching:  # one at a time: it reads the whole corpus
                    while step := await anyio.to_thread.run_sync(next, steps, None):
                        share, copy = step
                        yield _line({"share": share})
                found = dataclasses.asdict(copy) if copy and copy.words else None
                yield _line({"found": found}) + _line({"end": True})
            except Exception as error:  # a file of the corpus that is damaged or gone
                yield _line({"error": words(error)}) + _line({"end": True})

        return _Stream(lines(), self._close_stream)

    async def vote(self, http: Http) -> Response:
        """Save a vote, then say who was who."""
        asked = await self._reader.read(http, Vote)
        try:
            names = await anyio.to_thread.run_sync(self._ballots.cast, asked.ticket, asked.vote)
        except KeyError as error:
            raise Refused(409, "This comparison has its vote, or is too old.") from error
        except ValueError as error:
            raise Refused(409, str(error)) from error
        except DomainLMError as error:
            raise Refused(507, f"{error.what}: {error.why}") from error
        return JSONResponse({"models": names, "tally": self._tally()})

    def _players(self, names: Sequence[str]) -> list[Any]:
        if len(set(names)) < len(names) or set(names) - self.engine.players.keys():
            raise Refused(400, "models: each must be one of the run, named once.")
        return [self.engine.players[name] for name in names]

    def _request(self, ballot: votes.Ballot | None) -> tuple[Request, "asyncio.Queue[Any]"]:
        """A request whose events come out of the queue; of a blind one, text alone."""
        queue: asyncio.Queue[Any] = asyncio.Queue()  # no longer than what one request may write
        loop = asyncio.get_running_loop()
        faults: list[str] = []

        def emit(event: dict[str, Any]) -> None:
            if ballot is not None:
                slot = event.get("slot", 0)
                ballot.texts[slot] += event.get("text", "")
                faults.extend([event["error"]] if "error" in event else [])
                ballot.whole = "end" in event and not faults
                event = {k: v for k, v in event.items() if k in {"slot", "text", "error", "end"}}
            with contextlib.suppress(RuntimeError):  # the server has ended
                loop.call_soon_threadsafe(queue.put_nowait, event)

        return Request(emit), queue

    def _answer(
        self, request: Request, queue: "asyncio.Queue[Any]", first: dict[str, Any]
    ) -> Response:
        self._open_stream()
        try:
            self.engine.submit(request)
        except Busy as error:
            self._close_stream()
            raise Refused(429, f"{error} Try again soon.") from error

        async def lines() -> AsyncIterator[bytes]:
            yield _line(first)
            while True:
                try:
                    events = [await asyncio.wait_for(queue.get(), BEAT)]
                except TimeoutError:
                    yield _line({"waiting": self.engine.place(request)})
                    continue
                while not queue.empty():
                    events.append(queue.get_nowait())
                yield b"".join(map(_line, events))
                if "end" in events[-1]:
                    return

        def close() -> None:
            self._close_stream()
            self.engine.cancel(request)

        return _Stream(lines(), close)

    def _open_stream(self) -> None:
        if self._streams >= self._limits.streams:
            raise Refused(429, "Too many streams are open; close one, or try again soon.")
        self._streams += 1

    def _close_stream(self) -> None:
        self._streams -= 1


def _line(value: dict[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"


def serve(
    root: Path,
    host: str = "127.0.0.1",
    port: int = 8321,
    models: Sequence[str] = (),
    limits: Limits | None = None,
) -> None:
    """Serve the playground of the run `root` until Ctrl-C; port 0 is any that is free.

    `models` are names of the run's models to load (default: the stock model and the first arms).
    Raises `DomainLMError` where `host` is not this machine alone, the port is taken, or no model
    can be loaded.
    """
    if not is_local(f"[{host}]" if ":" in host else host):
        raise DomainLMError(
            f"the playground does not listen on {host}",
            why="it shows text of the corpus, and asks nobody for a password",
            fix="from another machine, use a tunnel: ssh -L 8321:127.0.0.1:8321 MACHINE",
            exit_code=USAGE,
        )
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family)
    except OSError as error:
        raise DomainLMError(
            f"port {port} cannot be had",
            why=error.strerror or str(error),
            fix="give another --port",
        ) from error
    say("loading models")
    playground = Playground(runs.open_run(root, models), limits or Limits())
    config = uvicorn.Config(
        playground.app(),
        log_level="error",
        access_log=False,
        server_header=False,
        ws="none",
        limit_concurrency=200,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=2,
        h11_max_incomplete_event_size=16_384,
        http="h11",
    )
    name = f"[{host}]" if ":" in host else host
    say(f"the playground: http://{name}:{listener.getsockname()[1]}    (Ctrl-C ends it)", "bold")
    with contextlib.suppress(KeyboardInterrupt):
        uvicorn.Server(config).run(sockets=[listener])
