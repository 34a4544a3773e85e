"""The playground: what it streams, how it counts votes, and whom it answers."""

import json
import math
import os
import queue
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from domainlm.corpus import documents
from domainlm.errors import DomainLMError
from domainlm.evaluation import loss, models, samples
from domainlm.playground import run as runs
from domainlm.playground import votes
from domainlm.playground.engine import Busy, Engine
from domainlm.playground.guard import is_local
from domainlm.playground.server import serve
from domainlm.playground.streams import Player, Reading, Request, Row, Sampling
from evaluation_helpers import KINDS, prose, tiny
from playground_helpers import ASK, Served

pytestmark = pytest.mark.usefixtures("one_thread")
CONTEXT = 64


# --- what is streamed -----------------------------------------------------------------------


def player(folder: Path, name: str) -> Player:
    model, tokenizer, separator = models.load(folder)
    model = model.float()
    forbidden = samples.unwritten(model, tokenizer, models.special_ids(folder) | {separator})
    facts = (name, name, "scratch", "0" * 64, 1, model, tokenizer, separator, forbidden)
    return Player(*facts, context=CONTEXT, window=CONTEXT)


@pytest.fixture(scope="module")
def players(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Player]:
    root = tmp_path_factory.mktemp("players")
    return {kind: player(tiny(kind, root / kind, 4, CONTEXT), kind) for kind in KINDS}


class Asked(Request):
    """A request whose events are gathered."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.ended = threading.Event()
        super().__init__(self._gather)

    def _gather(self, event: dict[str, Any]) -> None:
        self.events.append(event)
        if "end" in event:
            self.ended.set()

    def text(self, slot: int = 0) -> str:
        return "".join(e["text"] for e in self.events if e.get("slot") == slot and "text" in e)

    def totals(self, slot: int = 0) -> dict[str, Any]:
        return next(e["done"] for e in self.events if e.get("slot") == slot and "done" in e)


def how(prompt: str, tokens: int = 12, seed: int = 1, **more: Any) -> Sampling:
    return Sampling(prompt, f"name of {prompt}", seed, 0.9, tokens, **more)


def alone(player: Player, sampling: Sampling) -> str:
    [text] = samples.continue_text(
        player.model,
        player.tokenizer,
        sampling.prompt,
        identity=sampling.identity,
        seeds=[sampling.seed],
        tokens=sampling.tokens,
        temperature=sampling.temperature,
        context=CONTEXT,
        separator=player.separator,
        special=models.special_ids(Path(player.model.config.name_or_path)),
    )
    return text


@pytest.mark.parametrize("kind", KINDS)
def test_many_at_once_write_what_each_writes_alone(players: dict[str, Player], kind: str) -> None:
    """Rows of other lengths join, leave and pass the context; no text changes by its company."""
    engine = Engine([players[kind]], active=4, waiting=20)
    prompts = ["we may", "", prose("p", 30), "Zürich – 東京 😀 ", prose("q", 90), "the risk of"]
    asked = []
    for number, prompt in enumerate(prompts):
        request = Asked()
        Row(
            request, players[kind], how(prompt, tokens=(9, 70, 1, 25, 40, 100)[number], seed=number)
        )
        asked.append(request)
        engine.submit(request)
    gone = Asked()
    Row(gone, players[kind], how("cancelled in the middle", tokens=400))
    engine.submit(gone)
    engine.cancel(gone)
    for request in asked:
        assert request.ended.wait(60)
        row = request.slots[0]
        assert isinstance(row, Row)
        assert request.text() == alone(players[kind], row._how)
        assert (
            request.totals()["tokens"]
            == row._how.tokens
            == len(row.ids) - 1 - len(loss.encode(row.player.tokenizer, row._how.prompt))
        )
    assert not gone.ended.is_set()
    engine.close()


def test_models_of_one_request_write_side_by_side(players: dict[str, Player]) -> None:
    engine = Engine(list(players.values()), active=2, waiting=2)
    request = Asked()
    for one in players.values():
        Row(request, one, how("we may", tokens=30))
    engine.submit(request)
    assert request.ended.wait(60)
    engine.close()
    seen = [0] * len(players)
    for event in request.events:
        if "text" in event:
            seen[event["slot"]] += event["tokens"]
            assert max(seen) - min(seen) <= 9  # a round, and what a character may hold back
    assert request.events[-1] == {"end": True}
    assert [e["slot"] for e in request.events if "done" in e] == [0, 1, 2, 3, 4]


def test_blind_texts_are_equally_long(players: dict[str, Player]) -> None:
    engine = Engine(list(players.values()), active=1, waiting=2)
    request = Asked()
    for one in players.values():
        Row(request, one, how("we may", tokens=200, characters=50))
    engine.submit(request)
    assert request.ended.wait(60)
    engine.close()
    assert {len(request.text(slot)) for slot in range(5)} == {50}


@pytest.fixture(scope="module")
def reader(players: dict[str, Player]) -> Iterator[Engine]:
    engine = Engine(list(players.values()), active=8, waiting=8)
    yield engine
    engine.close()


@settings(max_examples=25)
@given(st.text(min_size=1, max_size=120), st.sampled_from(KINDS))
def test_a_reading_is_the_text_and_its_nats(reader: Engine, text: str, kind: str) -> None:
    request = Asked()
    Reading(request, reader.players[kind], text)
    reader.submit(request)
    assert request.ended.wait(60)
    assert request.text() == text
    one = reader.players[kind]
    [(tokens, nats)] = loss.nats(
        one.model, one.tokenizer, [text], CONTEXT, CONTEXT // 2, one.separator, 1
    )
    found = request.totals()
    assert (found["tokens"], found["bytes"]) == (tokens, len(text.encode()))
    assert found["nats"] == pytest.approx(nats, rel=1e-4)


def test_alternatives_are_the_most_probable(reader: Engine) -> None:
    one, request = reader.players["gpt2"], Asked()
    Reading(request, one, "we may")
    reader.submit(request)
    assert request.ended.wait(60)
    with torch.no_grad():
        chances = one.model(torch.tensor([[one.separator]])).logits[0, 0].softmax(0)
    best = chances.topk(5)
    top = request.events[0]["top"]
    assert [c for _, c in top] == pytest.approx(best.values.tolist(), abs=1e-4)
    texts = [one.tokenizer.decode([i]) for i in best.indices.tolist() if i != one.separator]
    assert [t for t, _ in top if t != "\u2404"] == texts


def test_a_broken_model_ends_its_own_slot_in_words(players: dict[str, Player]) -> None:
    copy = player(Path(players["llama"].model.config.name_or_path), "broken")
    with torch.no_grad():
        copy.model.model.norm.weight.fill_(float("nan"))
    engine = Engine([copy, players["gpt2"]], active=2, waiting=2)
    request, text = Asked(), Asked()
    for one in (copy, players["gpt2"]):
        Row(request, one, how("we may", tokens=5))
    Reading(text, copy, "we may")
    engine.submit(request)
    engine.submit(text)
    assert request.ended.wait(60) and text.ended.wait(60)
    engine.close()
    [error] = [e["error"] for e in request.events if "error" in e]
    assert "not finite" in error and request.totals(1)["tokens"] == 5
    assert "not finite" in text.events[0]["error"]


def test_a_full_queue_is_busy(players: dict[str, Player]) -> None:
    engine = Engine([players["gpt2"]], active=1, waiting=2)
    asked = [Asked() for _ in range(4)]
    for request in asked:
        Row(request, players["gpt2"], how("we may", tokens=4000))
    engine.submit(asked[0])
    while engine.place(asked[0]):  # until it runs
        time.sleep(0.001)
    for request in asked[1:3]:
        engine.submit(request)
    with pytest.raises(Busy, match="2 others wait"):
        engine.submit(asked[3])
    assert engine.place(asked[2]) == 2
    for request in asked:
        engine.cancel(request)
    engine.close()


# --- votes ----------------------------------------------------------------------------------


@given(st.integers(1, 500), st.data())
def test_wilson_is_its_formula(trials: int, data: st.DataObject) -> None:
    wins = data.draw(st.integers(0, trials))
    z, share = 1.959963984540054, wins / trials
    middle = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z / (1 + z * z / trials)
    half *= math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    assert votes.wilson(wins, trials) == pytest.approx((middle - half, middle + half), abs=1e-9)


def cast(path: Path, vote: str, names: tuple[str, str], sha: str = "1") -> None:
    ballots = votes.Ballots(path)
    ballot = votes.Ballot([(name, sha) for name in names], {"seed": 1}, ["x", "y"], True)
    assert ballots.cast(ballots.issue(ballot), vote) == list(names)


def test_the_tally_counts_pairs_whatever_their_side(tmp_path: Path) -> None:
    path = tmp_path / "playground" / "votes.jsonl"
    for vote, names in (
        ("A", ("arm", "stock")), ("B", ("stock", "arm")), ("B", ("arm", "stock")),
        ("tie", ("arm", "stock")), ("both bad", ("stock", "arm")),
    ):  # fmt: skip
        cast(path, vote, names)
    cast(path, "A", ("arm", "stock"), sha="older weights")
    with open(path, "a") as file:
        file.write('{"vote": "A", "a": {"model": "ar')  # the machine died here
    cast(path, "A", ("arm", "stock"))
    [row] = votes.tally(path, {"arm": "1", "stock": "1"})
    assert (row["a"], row["b"], row["wins_a"], row["wins_b"]) == ("arm", "stock", 3, 1)
    assert (row["ties"], row["bad"], row["others"]) == (1, 1, 1)
    assert row["share"] == 0.75 and row["ci95"] == votes.wilson(3, 4)


def test_votes_of_many_at_once_are_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "votes.jsonl"
    row = {"text": "long " * 5_000}
    threads = [
        threading.Thread(target=lambda: [votes.append(path, row) for _ in range(10)])
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [json.loads(line) for line in path.read_text().splitlines()] == [row] * 60


def test_a_ballot_is_for_one_vote_on_whole_texts(tmp_path: Path) -> None:
    ballots = votes.Ballots(tmp_path / "votes.jsonl")
    ballot = votes.Ballot([("a", "1"), ("b", "1")], {})
    ticket = ballots.issue(ballot)
    with pytest.raises(ValueError, match="whole"):
        ballots.cast(ticket, "A")
    ballot.whole = True
    ballots.cast(ticket, "A")
    with pytest.raises(KeyError):
        ballots.cast(ticket, "A")
    for _ in range(votes.OPEN + 1):
        ballots.issue(ballot)
    assert len(ballots._open) == votes.OPEN


# --- the server -----------------------------------------------------------------------------


def test_the_answer_is_the_reports_sample(played: Path, served: Served) -> None:
    about = json.loads(served.ask("/api/run")[1])
    assert [m["name"] for m in about["models"]] == ["stock", "scratch", "continued"]
    prompt = about["prompts"][0]
    question = {**ASK, "models": ["scratch"], "prompt": prompt["text"], "prompt_id": prompt["id"]}
    first, *events = served.lines("/api/continue", question)
    assert first == {"models": ["scratch"]} and events[-1] == {"end": True}
    one = next(p for p in runs.open_run(played, ["scratch"]).players)
    sampling = Sampling(prompt["text"], prompt["id"], 1, 0.8, 6)
    assert "".join(e.get("text", "") for e in events) == alone(one, sampling)
    assert all(e["nats"] > 0 and len(e["top"]) == 5 for e in events if "text" in e)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "evil.example"}, 403),
        ({"host": "evil.example:8321"}, 403),
        ({"host": "127.0.0.1.evil.example"}, 403),
        ({"host": "127.0.0.1@evil.example"}, 403),
        ({"host": ""}, 400),
        ({"host": "localhost:1", "origin": "http://localhost:1"}, 200),
        ({"host": "[::1]:9"}, 200),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://127.0.0.1:1"}, 403),
        ({"sec_fetch_site": "cross-site"}, 403),
        ({"sec_fetch_site": "same-site"}, 403),
        ({"content_type": "text/plain"}, 415),
        ({"content_type": "application/x-www-form-urlencoded"}, 415),
        ({"content_type": ""}, 415),
    ],
)
def test_whom_it_answers(served: Served, headers: dict[str, str], status: int) -> None:
    found, text = served.ask("/api/continue", ASK, **headers)
    assert found == status
    assert status != 403 or "answers" in json.loads(text)["error"]


def test_it_serves_nothing_but_itself(played: Path, served: Served) -> None:
    for path in (
        "/recipe.toml", "/playground/votes.jsonl", "/../recipe.toml", "/%2e%2e/recipe.toml",
        "//etc/passwd", "/page.html", "/api", "/docs", "/openapi.json", "/favicon.ico",
    ):  # fmt: skip
        assert served.ask(path)[0] == 404, path
    for path in ("/", "/api/run"):
        assert served.ask(path, {})[0] == 405
    for method in ("PUT", "DELETE", "OPTIONS", "TRACE"):
        assert served.ask("/api/vote", method=method)[0] == 405
    for path in ("/", "/api/run", "/nothing"):
        connection, answer = served.send(path)
        policy = answer.getheader("content-security-policy", "")
        assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy
        assert answer.getheader("access-control-allow-origin") is None
        assert answer.getheader("x-frame-options") == "DENY"
        assert answer.getheader("server") is None
        connection.close()


@pytest.mark.parametrize(
    ("path", "question", "status", "why"),
    [
        ("continue", {**ASK, "tokens": 401}, 400, "tokens: "),
        ("continue", {**ASK, "tokens": 1.5}, 400, "tokens: "),
        ("continue", {**ASK, "temperature": 0}, 400, "temperature: "),
        ("continue", b'{"models": ["stock"], "prompt": "", "temperature": NaN}', 400, ""),
        ("continue", {**ASK, "prompt": "x" * 8_001}, 400, "prompt: "),
        ("continue", {**ASK, "prompt": "\ud800"}, 400, ""),
        ("continue", {**ASK, "models": []}, 400, "models"),
        ("continue", {**ASK, "models": ["../../etc"]}, 400, "models"),
        ("continue", {**ASK, "models": ["stock", "stock"]}, 400, "models"),
        ("continue", {**ASK, "models": ["stock"], "blind": True}, 400, "two models"),
        ("continue", {**ASK, "seed": -1}, 400, "seed: "),
        ("continue", {**ASK, "more": 1}, 400, "more: "),
        ("continue", b"[" * 5_000, 400, ""),
        ("continue", b"\xff\xfe", 400, ""),
        ("read", {"models": ["stock"], "text": ""}, 400, "text: "),
        ("read", {"models": ["stock"], "text": "x" * 20_001}, 400, "text: "),
        ("read", b"x" * 200_001, 413, "bytes"),
        ("vote", {"ticket": "no such", "vote": "A"}, 409, "vote"),
        ("vote", {"ticket": "no such", "vote": "C"}, 400, "vote: "),
    ],
)
def test_what_is_wrong_is_said(
    served: Served, path: str, question: Any, status: int, why: str
) -> None:
    found, text = served.ask(f"/api/{path}", question)
    assert found == status and why in json.loads(text)["error"]


@given(st.text(max_size=30))
def test_no_other_name_is_local(name: str) -> None:
    known = re.fullmatch(r"(localhost|127(\.\d+){1,3}|\[::1\])(:\d*)?", name, re.IGNORECASE)
    assert known or not is_local(name)


def test_it_listens_on_this_machine_alone(played: Path) -> None:
    for host in ("0.0.0.0", "::", "192.168.0.1", "example.org"):
        with pytest.raises(DomainLMError, match="does not listen"):
            serve(played, host)


def test_a_search_finds_the_source(played: Path, served: Served) -> None:
    document = next(documents.read(documents.paths(played), ("train",)))
    piece = " ".join(document.text.split()[40:60])
    *_, found, end = served.lines("/api/search", {"text": f"Nothing of mine! {piece.upper()}"})
    assert end == {"end": True}
    assert found["found"]["words"] >= 20 and found["found"]["source"] == document.title
    *_, found, _ = served.lines("/api/search", {"text": "none of these words stands there at all"})
    assert found == {"found": None}


def test_a_blind_stream_names_nobody(played: Path, served: Served) -> None:
    question = {**ASK, "blind": True}
    first, *events = served.lines("/api/continue", question)
    assert set(first) == {"ticket"} and {k for e in events for k in e} == {"slot", "text", "end"}
    texts = ["".join(e.get("text", "") for e in events if e.get("slot") == n) for n in (0, 1)]
    assert [len(text) for text in texts] == [24, 24]
    status, text = served.ask("/api/vote", {"ticket": first["ticket"], "vote": "B"})
    said = json.loads(text)
    assert status == 200 and sorted(said["models"]) == ["scratch", "stock"]
    assert served.ask("/api/vote", {"ticket": first["ticket"], "vote": "B"})[0] == 409
    row = json.loads((played / "playground/votes.jsonl").read_text().splitlines()[-1])
    assert row["winner"] == row["b"]["model"] == said["models"][1]
    assert [row["a"]["text"], row["b"]["text"]] == texts and row["prompt"] == "we may"
    assert said["tally"][0]["ci95"]
    sides = {json.dumps(said["models"])}
    for _ in range(20):
        first, *_ = served.lines("/api/continue", {**question, "tokens": 1})
        text = served.ask("/api/vote", {"ticket": first["ticket"], "vote": "tie"})[1]
        sides.add(json.dumps(json.loads(text)["models"]))
    assert len(sides) == 2  # 2 to the -20 that this is chance


@pytest.mark.slow
def test_what_is_too_much_is_refused_and_who_goes_makes_room(played: Path) -> None:
    server = Served(played, active=1, waiting=1, per_second=0.001, burst=4)
    try:
        long = {**ASK, "models": ["stock", "scratch", "continued"], "tokens": 400}
        first, answer = server.send("/api/continue", long)
        assert "models" in json.loads(answer.readline())
        assert "text" in json.loads(answer.readline())
        second, queued = server.send("/api/continue", ASK)
        queued.readline()
        connection, refused = server.send("/api/continue", ASK)
        assert refused.status == 429 and refused.getheader("retry-after")
        assert "wait already" in json.loads(refused.read())["error"]
        connection.close()
        first.sock.close() if first.sock else None
        answer.close()
        first.close()
        rest = queued.read().decode().splitlines()
        assert json.loads(rest[-1]) == {"end": True}
        second.close()
        vote = {"ticket": "x", "vote": "A"}
        assert server.ask("/api/vote", vote)[0] == 409
        status, text = server.ask("/api/vote", vote)
        assert status == 429 and "a second" in text
        assert server.ask("/api/run")[0] == 200
    finally:
        server.stop()


def test_nothing_is_unpickled(played: Path, tmp_path: Path) -> None:
    """An arm with pickled weights alone is left out, and its pickle is not opened."""
    import pickle
    import shutil

    class Bomb:
        def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
            return os.mkdir, (str(tmp_path / "opened"),)

    copy = tmp_path / "copy"
    shutil.copytree(played, copy)
    (copy / "models/scratch/model.safetensors").unlink()
    for name in ("pytorch_model.bin", "training_args.bin"):
        (copy / "models/scratch" / name).write_bytes(pickle.dumps(Bomb()))
        (copy / "models/continued" / name).write_bytes(pickle.dumps(Bomb()))
    (copy / "models/continued/model.safetensors").write_bytes(pickle.dumps(Bomb()))
    played = runs.open_run(copy)
    assert [p.name for p in played.players] == ["stock"]
    assert sum("is left out" in notice for notice in played.notices) == 2
    assert not (tmp_path / "opened").exists()
    with pytest.raises(DomainLMError, match="no model that can be loaded"):
        runs.open_run(copy, ["scratch"])
    with pytest.raises(DomainLMError, match="no model 'other'"):
        runs.open_run(copy, ["other"])
    with pytest.raises(DomainLMError, match="not a run directory"):
        runs.open_run(tmp_path)


@pytest.mark.slow
def test_fifty_clients_for_half_a_minute(played: Path) -> None:
    """Every stream ends with its last line or was refused in words; memory stays where it is."""
    server = Served(played, per_second=1_000, burst=1_000)
    outcomes: queue.Queue[str] = queue.Queue()
    began = time.monotonic()

    def client(number: int) -> None:
        while time.monotonic() < began + 30:
            question = {**ASK, "seed": number, "tokens": 5 + number % 30}
            try:
                status, text = server.ask("/api/continue", question)
                lines = [json.loads(line) for line in text.splitlines()]
                done = sum("done" in line for line in lines)
                if status == 200:
                    whole = lines[-1] == {"end": True} and done == 2
                    outcomes.put("whole" if whole else f"cut: {text[-300:]}")
                else:
                    words = status == 429 and "Try again" in lines[0]["error"]
                    outcomes.put("busy" if words else f"{status}: {text}")
                    time.sleep(0.2)
            except Exception as error:
                outcomes.put(f"dropped: {error!r}")

    try:
        threads = [threading.Thread(target=client, args=(n,)) for n in range(50)]
        for thread in threads:
            thread.start()
        while outcomes.qsize() < 30 or time.monotonic() < began + 10:  # it is warm
            time.sleep(0.1)
        middle = psutil.Process(server.process.pid).memory_info().rss
        for thread in threads:
            thread.join()
        last = psutil.Process(server.process.pid).memory_info().rss
        found = [outcomes.get() for _ in range(outcomes.qsize())]
        assert set(found) == {"whole", "busy"}, set(found)
        assert found.count("whole") > 50
        assert last - middle < 50_000_000
        assert server.lines("/api/continue", ASK)[-1] == {"end": True}
        assert not [line for line in server.said if "Traceback" in line]
    finally:
        server.stop()
