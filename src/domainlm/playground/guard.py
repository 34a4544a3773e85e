"""Who may ask the server what: this machine's own page, in small and few questions.

Whoever gets a browser here to open a page elsewhere must reach nothing: the Host must name this
machine (DNS rebinding), the Origin must be the page itself, and questions are JSON, which no form
can send. The page's policy lets it run its own script and ask its own server, no more.
"""

import asyncio
import base64
import hashlib
import ipaddress
import re
import time
from typing import Annotated, Literal, TypeVar
from urllib.parse import urlsplit

import pydantic
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import ClientDisconnect
from starlette.requests import Request as Http
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from domainlm.evaluation.tables import SEED

BODY = 200_000  # bytes of a question
SECONDS = 10  # in which a question must have been sent
PROMPT, TEXT = 8_000, 20_000  # characters
TOKENS = 400  # of a continuation
Asked = TypeVar("Asked", bound=BaseModel)


class _Question(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


Names = Annotated[list[Annotated[str, Field(max_length=100)]], Field(min_length=1, max_length=3)]


class Continue(_Question):
    """Go on from a prompt; `prompt_id` is that of an opening of the run, where it is one."""

    models: Names
    prompt: str = Field(max_length=PROMPT)
    prompt_id: str | None = Field(None, max_length=200)
    seed: int = Field(SEED, ge=0, lt=2**31)
    temperature: float = Field(0.8, ge=0.05, le=5)
    tokens: int = Field(100, ge=1, le=TOKENS)
    blind: bool = False


class Read(_Question):
    """Measure a text."""

    models: Names
    text: str = Field(min_length=1, max_length=TEXT)


class Search(_Question):
    """Find a text's longest copy in train."""

    text: str = Field(min_length=1, max_length=TEXT)


class Vote(_Question):
    """Say which of two is better."""

    ticket: str = Field(max_length=100)
    vote: Literal["A", "B", "tie", "both bad"]


class Refused(Exception):
    """A question that is not answered: the status, and why in words."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status, self.why = status, why


class Guard:
    """Refuses what does not come from the page itself, and sets every answer's headers."""

    def __init__(self, app: ASGIApp, policy: str) -> None:
        self._app = app
        self._headers = [
            (b"content-security-policy", policy.encode()),
            (b"cross-origin-opener-policy", b"same-origin"),
            (b"cross-origin-resource-policy", b"same-origin"),
            (b"x-frame-options", b"DENY"),
            (b"x-content-type-options", b"nosniff"),
            (b"referrer-policy", b"no-referrer"),
            (b"cache-control", b"no-store"),
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer 403 or 415 in words."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *self._headers]
            await send(message)

        why = self._refusal(scope)
        app = refusal(*why) if why else self._app
        await app(scope, receive, answer)

    @staticmethod
    def _refusal(scope: Scope) -> tuple[int, str] | None:
        values: dict[bytes, list[str]] = {}
        for name, value in scope["headers"]:
            values.setdefault(name, []).append(value.decode("latin-1"))
        host, origin = values.get(b"host", []), values.get(b"origin", [])
        if len(host) != 1 or not is_local(host[0]):
            return 403, "This server answers to names of this machine only."
        if origin and origin != [f"http://{host[0]}"]:
            return 403, "This server answers its own page only."
        site = values.get(b"sec-fetch-site", ["none"])
        if scope["path"] != "/" and site not in (["none"], ["same-origin"]):
            return 403, "This server answers its own page only."
        kind = values.get(b"content-type", [""])[0].partition(";")[0].strip()
        if scope["method"] == "POST" and kind != "application/json":
            return 415, "Questions are application/json."
        return None


def is_local(host: str) -> bool:
    """True where a Host header (name, and perhaps a port) is of the loopback interface."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def refusal(status: int, why: str) -> JSONResponse:
    """The answer to a question that is refused: `why` in words."""
    headers = {"retry-after": "2"} if status == 429 else None
    return JSONResponse({"error": why}, status, headers)


class Reader:
    """Reads questions within all limits: `burst` at once, then `per_second`."""

    def __init__(self, per_second: float, burst: int) -> None:
        self._per_second, self._burst = per_second, burst
        self._left, self._when = float(burst), time.monotonic()

    async def read(self, http: Http, kind: type[Asked]) -> Asked:
        """The question in a request's body; raises `Refused`."""
        now = time.monotonic()
        filled = self._left + (now - self._when) * self._per_second
        self._left, self._when = min(filled, self._burst), now
        if self._left < 1:
            raise Refused(429, "Too many questions a second; try again soon.")
        self._left -= 1
        body = b""
        try:
            async with asyncio.timeout(SECONDS):
                async for chunk in http.stream():
                    body += chunk
                    if len(body) > BODY:
                        raise Refused(413, f"A question has at most {BODY:,} bytes.")
        except ClientDisconnect as error:
            raise Refused(400, "The question broke off.") from error
        except TimeoutError as error:
            raise Refused(408, f"A question must be here within {SECONDS} seconds.") from error
        try:
            asked = kind.model_validate_json(body)
            for value in dict(asked).values():
                str(value).encode()  # half a surrogate pair is no text
        except pydantic.ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"])
            raise Refused(400, f"{place or 'the question'}: {first['msg']}") from error
        except UnicodeEncodeError as error:
            raise Refused(400, "The text holds half a character.") from error
        return asked


def policy(page: str) -> str:
    """The Content-Security-Policy under which a page runs its own script and style alone."""
    hashes = {}
    for tag in ("script", "style"):
        inner = re.search(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        assert inner, f"the page has no {tag}"
        digest = hashlib.sha256(inner[1].encode()).digest()
        hashes[tag] = f"'sha256-{base64.b64encode(digest).decode()}'"
    return (
        f"default-src 'none'; script-src {hashes['script']}; style-src {hashes['style']}; "
        "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
    )
