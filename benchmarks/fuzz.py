"""Fuzzing of `read_filing`: crashes, broken invariants, hangs and memory.

    .venv/bin/python benchmarks/fuzz.py --minutes 30 --seed 1 --corpus DIR [--found DIR]

Two kinds of search take turns in legs of `LEG` seconds, so that one core is enough:

- coverage: atheris (pip install atheris) instruments the parser and mutates small filings by their
  structure: tags, entities, headings, tables, pages, SGML, uuencode, encodings, splices. The
  corpus is that of libFuzzer; it survives in DIR/grown. A leg is a process of its own, so that a
  crash of the C parser is seen, and libFuzzer writes the input down.
- size: recipes "before, piece * n, after" of 60 kB up to 3 MB, of the same vocabulary, each read in
  a fork of a process without instruments. Those that take the most seconds or memory for a MB
  are the parents of the next ones (as in PerfFuzz), so super-linear paths are climbed, and a piece
  whose rate rises with its size is tried at the next size.

Limits: 5 s of CPU a MB (1 s at least) and 10 times the input in memory (64 MB at least), which is
the peak of the resident set of a fresh fork, less what it was before. A first byte of each input
chooses tables, form and period. Failing inputs are minimised and written to --found, with a line
each in `found.jsonl`. Seeds: the files of DIR, and the traps of `domainlm.samples.traps`.
"""

import argparse
import datetime
import hashlib
import itertools
import json
import os
import random
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

LEG = 45  # seconds
LIMIT_S, FLOOR_S = 5.0, 1.0  # CPU seconds a MB of 10**6 bytes; at least so many
LIMIT_MEMORY, FLOOR_MEMORY = 10.0, 64e6  # times the input; at least so many bytes
RATED = 200_000  # bytes an input has at least for its ratios to count among the worst
SIZES = (60_000, 250_000, 1_000_000, 3_000_000)
GROWS = 1.6  # a rate that rises so much with a size is followed to the next one
SMALL = 16_000  # bytes of a coverage input
MODULES = [
    "domainlm.corpus.edgar.filing", "domainlm.corpus.edgar.submission",
    "domainlm.corpus.edgar.plain", "domainlm.corpus.edgar.pages",
    "domainlm.corpus.edgar.headings", "domainlm.corpus.edgar.items", "domainlm.corpus.html",
    "domainlm.corpus.marks", "domainlm.corpus.extract",
]  # fmt: skip
FORMS = ("10-K", "10-KSB", "10-K/A", "")
PERIODS = (datetime.date(2020, 12, 31), None)

TAGS = (  # noqa: SIM905
    "p div span font b i u a td tr th table tbody br hr li ul ol pre center h1 body html head "
    "title style script textarea svg math template select option iframe noscript object caption "
    "form ix:header ix:hidden ix:nonNumeric ix:continuation page type text sequence filename x-y"
).split()
WORDS = (  # noqa: SIM905
    "item|items|Item 1.|ITEM 7A.|Item 1A|Items 1 and 2|item no. 9|Item 14(a)|I T E M 3|ITEM IV|"
    "business|risk factors|legal proceedings|exhibit|exhibits|schedule II|report|reports on form|"
    "signature|SIGNATURES|S I G N A T U R E S|PART|PART II|part ii,|pursuant to the requirements "
    "of section|power of attorney|index to financial statements|financial statement schedules|"
    "executive officers of the registrant|information about|board of directors|to the|shareholders|"
    "auditor|accountant|report on internal control|incorporated by reference|see|is set forth|"
    "table of contents|back to contents|page 12|12|- 12 -|iv|A-1|F-12|12 of 99|none|reserved|(a)|"
    "[reserved]|not applicable|balance at|balances|3. Properties|1. |a) |(3) exhibits|continued|"
    "and|through|to|,|-|&|[table]|....|. . .|---|===|***|$|(|)|%|1,234|12.5|$ (|) %|\u2014|\u2022|"
    "o|\u0131|\u0130|\u017f|\u0663|\u00b2|e\u0301|\u00a0|\u2003|\u200b|\u00ad|\ufeff|\u2028|\x85|"
    "\u00c3\u00a9|\u00e2\u20ac\u2122|\ufb01|\u1e9e|\u0345\u0301|\U0001d7d9|\u212b|x|A|word. |"
    "Smith said|cautionary statement|appendix A|pages 12 to 14 not used|mine safety|item 16.|"
    "md&a|financial section|exhibit index|exhibit no|of part iv are incorporated|it em|"
    "<PAGE>|<PAGE>  12|<TABLE>|</TABLE>|<CAPTION>|<S>|<C>|<FN>|<F1>|<TEXT>|</TEXT>|<DOCUMENT>|"
    "</DOCUMENT>|<TYPE>10-K|<TYPE>EX-13|<PDF>|</PDF>|<XBRL>|</XBRL>|<R>|"
    "-----BEGIN PRIVACY-ENHANCED MESSAGE-----|<SEC-HEADER>|CONFORMED SUBMISSION TYPE:\t10-K|"
    "CENTRAL INDEX KEY:\t0|FILED AS OF DATE:\t20200101|begin 644 a.jpg|end|M_]C_X|"
    "10-K\n1\nd10k.htm\n|<!--|-->|<![CDATA[|]]>|<!doctype html>|<?xml version='1.0'?>|<html>|"
    "<body>|%PDF-|&nbsp;|&amp;|&#160;|&#150;|&#12;|&#9;|&#1;|&#x1|&#127;|&#x81;|&#13;|&#10;|&#0;|"
    "&#xD800;|&#x110000;|&#14;000000&#16;|&#&#1;1;|&lt;p&gt;|&lt|&|&#|&zwnj;|&shy;|&NotEqualTilde;"
).split("|")
SPACES = (" ", "  ", "   ", "\t", "\n", "\n\n", "\n\n\n\n", "\r\n", "\r", "\f", " \n ", "\v", "")
STYLES = (
    "display:none", "display:inline", "display : inline-block", "visibility:hidden",
    "DISPLAY:NONE !important", "display:", ";" * 40, "visibility:visible;display:block",
)  # fmt: skip


# --- The input and its verdict ------------------------------------------------------------------


def reader() -> Callable[[bytes], None]:
    """A function that reads one input, mode byte first, and raises where something is wrong."""
    from domainlm.corpus.edgar.filing import read_filing
    from domainlm.corpus.edgar.tree import Filing
    from domainlm.corpus.extract import Unreadable

    def read(data: bytes) -> None:
        mode = data[0] if data else 0
        form, period = FORMS[mode // 3 % 4], PERIODS[mode // 12 % 2]
        filing = Filing("a.txt", form, "", "", None, period, "")
        try:
            text, sections, _ = read_filing(data[1:], filing, ("keep", "drop", "mark")[mode % 3])
        except Unreadable as refusal:
            if len(refusal.args) != 1 or not isinstance(refusal.args[0], str):
                raise AssertionError("Unreadable without a slug") from refusal
            return
        for fault, broken in faults(text, sections):
            if broken:
                raise AssertionError(fault)

    return read


def faults(text: str, sections: Sequence[Any]) -> Iterable[tuple[str, bool]]:
    """What a text and its sections must never be."""
    yield "not NFC", not unicodedata.is_normalized("NFC", text)
    control = (text.isascii() and text.isprintable()) or re.search(r"[^\n\x20-\x7e]", text)
    kinds = {unicodedata.category(c): c for c in set(text) - {"\n"}} if control else {}
    yield f"control character {kinds.get('Cc')!r}", "Cc" in kinds
    yield "surrogate", "Cs" in kinds
    yield "two blank lines", "\n\n\n" in text
    yield "space at an end", text != text.strip()
    yield "nothing in it", not text
    past = 0
    for section in sections:
        missing = "not_found" in section.flags
        yield "empty without not_found, or the reverse", (section.start == section.end) != missing
        yield "out of order, or over another", section.start < past
        yield "past the end", not section.start <= section.end <= len(text)
        yield "confidence", not 0 <= section.confidence <= 1
        past = section.end
    labels = [s.label for s in sections]
    yield "a label twice", len(set(labels)) < len(labels)


def signature(error: BaseException) -> str:
    """The kind of failure: exception, and the last line of ours that it came through."""
    lines = [f for f in traceback.extract_tb(error.__traceback__) if "/domainlm/" in f.filename]
    where = f"{Path(lines[-1].filename).name}:{lines[-1].name}" if lines else "invariant"
    said = str(error) if isinstance(error, AssertionError) else ""
    return f"{type(error).__name__} {where} {said[:60]}".strip()


def memory(key: str) -> float:
    status = Path("/proc/self/status").read_text()
    return 1024.0 * int(status.split(f"{key}:")[1].split()[0])


def measured(data: bytes, limit_s: float | None = None) -> dict[str, Any]:
    """One input in a fork: seconds, bytes of memory, and how it failed, if it did."""
    size = max(1, len(data))
    limit_s = limit_s or max(FLOOR_S, LIMIT_S * size / 1e6)
    out, into = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(out)
        found: dict[str, Any] = {"error": ""}
        try:
            cpu = int(limit_s * 1.1) + 2
            resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu))
            resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
            before, start = memory("VmRSS"), time.process_time()
            try:
                READ(data)
            except BaseException as error:
                found["error"] = signature(error)
            found["seconds"] = time.process_time() - start
            found["memory"] = max(0.0, memory("VmHWM") - before)
            os.write(into, json.dumps(found).encode())
        finally:
            os._exit(0)
    os.close(into)
    with os.fdopen(out, "rb") as pipe:
        raw = pipe.read()
    status = os.waitpid(child, 0)[1]
    if raw:
        found = json.loads(raw)
    else:
        killer = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        name = "hang" if killer in (signal.SIGXCPU, signal.SIGKILL) else f"signal {killer}"
        found = {"error": name, "seconds": limit_s * 1.1 + 2, "memory": 0.0}
    found["size"] = size
    if not found["error"] and found["seconds"] > limit_s:
        found["error"] = "slow"
    if not found["error"] and found["memory"] > max(FLOOR_MEMORY, LIMIT_MEMORY * size):
        found["error"] = "memory"
    return found


# --- Structure ----------------------------------------------------------------------------------


def token(rng: random.Random) -> str:
    """A piece of what filings are made of."""
    tag = rng.choice(TAGS)
    kind = rng.randrange(14)
    if kind < 5:
        return rng.choice(WORDS)
    if kind == 5:
        return rng.choice(SPACES)
    if kind == 6:
        return f"<{tag}>"
    if kind == 7:
        return f"</{tag}>"
    if kind == 8:
        style = rng.choice(STYLES)
        return f'<{rng.choice((tag, "div", "span", "p"))} style="{style}">'
    if kind == 9:
        n = rng.randrange(4)
        return rng.choice((f'<a href="#i{n}">', f'<a name="i{n}">', f'<div id="i{n}">', "</a>"))
    if kind == 10:
        n = rng.choice((0, 2, 999, 10**9, -1))
        return f'<td colspan="{n}" rowspan="{n}">'
    if kind == 11:
        return f"<{tag}/>" if rng.random() < 0.5 else f"<{tag.upper()} {rng.choice(WORDS)}>"
    if kind == 12:
        return rng.choice(('<style>.a{display:none}</style>', '<b class="a">', "<p hidden>", "<",
                           "/>", ">", '"', "='", "<!", "</", "<a b='", "<ix:header>",
                           "</ix:header>", "<div><ix:header>", "<script/>",
                           "<title/>"))  # fmt: skip
    return rng.choice(WORDS) + rng.choice(SPACES)


def tokens(rng: random.Random, most: int) -> bytes:
    made = "".join(token(rng) for _ in range(rng.randint(1, most)))
    return made.encode("utf-8", "surrogatepass")


def mutated(data: bytes, rng: random.Random, others: Sequence[bytes] = ()) -> bytes:
    """`data` (mode byte first) with one to four changes of structure."""
    mode, body = data[:1] or b"\0", data[1:]
    for _ in range(rng.choice((1, 1, 2, 4))):
        # Places are at the edges of tags and lines, mostly.
        edges = [m.start() for m in re.finditer(rb"[<>\n&]", body[:SMALL])] or [0]
        at = rng.choice(edges) if rng.random() < 0.8 else rng.randint(0, len(body))
        to = min(len(body), max(at, rng.choice(edges)))
        kind = rng.randrange(12)
        if kind < 3:
            body = body[:at] + tokens(rng, 3) + body[at:]
        elif kind == 3:
            body = body[:at] + body[to:]
        elif kind == 4:
            body = body[:at] + tokens(rng, 2) + body[to:]
        elif kind == 5 and to - at < 4000:
            body = body[:to] + body[at:to] * rng.choice((1, 2, 9, 60)) + body[to:]
        elif kind == 6:
            body = body[:at] + tokens(rng, 2) * rng.choice((2, 5, 40, 300)) + body[at:]
        elif kind == 7 and others:
            other = rng.choice(others)[1:]
            cut = rng.randint(0, len(other))
            body = body[:at] + other[cut : cut + rng.choice((50, 800, 6000))] + body[to:]
        elif kind == 8:
            words = re.findall(rb"[A-Za-z]{3,}", body[at : at + 300])
            if words:
                word = rng.choice(words)
                swap = rng.choice((word.upper(), word.lower(), b" ".join(b"%c" % c for c in word)))
                body = body.replace(word, swap)
        elif kind == 9:
            body = bytes([*body[:at], rng.randrange(256), *body[at:]])
        elif kind == 10:
            mode = bytes([rng.randrange(24)])
        elif rng.random() < 0.15:
            text = body.decode("utf-8", "replace")
            body = rng.choice((
                b"\xff\xfe" + text.encode("utf-16-le"), b"\xfe\xff" + text.encode("utf-16-be"),
                b"\xef\xbb\xbf" + body, text.encode("cp1252", "replace"),
                text.encode().decode("cp1252", "replace").encode(),
                body.replace(b"\n", b"\r\n"), body.replace(b" ", b"\xc2\xa0"),
                b"<html><body>" + body, b"<DOCUMENT>\n<TYPE>10-K\n<TEXT>\n" + body
                + b"\n</TEXT>\n</DOCUMENT>", body.replace(b"\n", b"\n\n"),
                body.replace(b"\n", b" "), body.replace(b" ", b""),
            ))  # fmt: skip
    return mode + body[: SMALL - 1]


# --- Coverage -----------------------------------------------------------------------------------


def cover(arguments: Sequence[str], seed: int, folder: Path) -> None:
    """One leg of libFuzzer in this process; it ends the process."""
    import atheris

    atheris.enabled_hooks.add("str")
    with atheris.instrument_imports(include=MODULES):
        read = reader()
    seen: set[str] = set()
    count = 0
    others = [p.read_bytes() for p in sorted((folder / "seeds").iterdir())[:300]]

    def keep(data: bytes, name: str) -> None:
        if name not in seen:
            seen.add(name)
            key = hashlib.sha256(name.encode()).hexdigest()[:16]
            (folder / "suspects" / key).write_bytes(data)

    def one(data: bytes) -> None:
        nonlocal count
        count += 1
        if count % 500 == 0:
            (folder / "count").write_text(str(count))
        start = time.process_time()
        try:
            read(data)
        except Exception as error:
            keep(data, signature(error))
        if time.process_time() - start > FLOOR_S:
            keep(data, f"slow {len(data) // 8000}")

    def custom(data: bytes, most: int, mutation: int) -> bytes:
        rng = random.Random(mutation)
        if rng.random() < 0.2:
            return atheris.Mutate(data, most)
        return mutated(data, rng, others)[:most]

    atheris.Setup(["fuzz", *arguments], one, custom_mutator=custom)
    atheris.Fuzz()


def cover_leg(folder: Path, seconds: int, seed: int) -> dict[str, Any]:
    """Run a leg; its executions and coverage. Inputs it failed on are in suspects/."""
    (folder / "count").write_text("0")
    command = [
        sys.executable, __file__, "--leg", str(folder), "--seed", str(seed), "--",
        str(folder / "grown"), str(folder / "seeds"), f"-max_total_time={seconds}",
        f"-seed={seed}", f"-max_len={SMALL}", "-len_control=0", "-timeout=40",
        "-rss_limit_mb=5000", "-print_final_stats=1", f"-artifact_prefix={folder}/suspects/",
        "-reload=0", "-report_slow_units=100",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    stats = re.findall(r"#(\d+)\s.*?cov: (\d+) ft: (\d+) corp: (\d+)", done.stderr)
    count = int((folder / "count").read_text() or 0)
    last = [int(n) for n in stats[-1]] if stats else [0, 0, 0, 0]
    (folder / "log").write_text(done.stderr[-20_000:])
    if not stats:
        print("the leg failed:", done.stderr[-2000:], flush=True)
    return {"executions": max(count, last[0]), "edges": last[1], "features": last[2],
            "inputs": last[3], "rc": done.returncode}  # fmt: skip


# --- Size ---------------------------------------------------------------------------------------

Recipe = tuple[bytes, bytes, bytes, int]  # mode and before, piece, after, bytes


def built(recipe: Recipe) -> bytes:
    before, piece, after, size = recipe
    return before + piece * max(1, (size - len(before) - len(after)) // max(1, len(piece))) + after


def fresh_recipe(rng: random.Random, pool: Sequence[bytes]) -> Recipe:
    """A new piece to repeat: tokens, a filing's lines, or one heading and its spaces."""
    mode = bytes([rng.randrange(24)])
    before = rng.choice((b"", b"", b"<html><body>", b"<html><body><p>", b"<html><body><pre>",
                         b"<html><body><table>", tokens(rng, 3)))  # fmt: skip
    kind = rng.randrange(6)
    if kind == 0:
        piece = rng.choice(SPACES).encode() or b"("
        before += tokens(rng, 2)
    elif kind == 1:
        piece = (rng.choice(WORDS) + rng.choice(SPACES)).encode("utf-8", "replace")
    elif kind == 2 and pool:
        source = rng.choice(pool)[1:]
        at = rng.randint(0, len(source))
        piece = source[at : at + rng.choice((20, 100, 1000, 8000))]
    elif kind == 3:
        tag = rng.choice(TAGS)
        piece = rng.choice((f"<{tag}>", f"<{tag}>a", f"<{tag}>a</{tag}>", f"</{tag}>",
                            f"<{tag}><a href=#x>", f'<{tag} id="x">')).encode()  # fmt: skip
    else:
        piece = tokens(rng, rng.choice((2, 4, 12)))
    after = rng.choice((b"", b"", tokens(rng, 3), b"\n"))
    return mode + before, piece or b"x", after, SIZES[0]


def changed(recipe: Recipe, rng: random.Random, others: Sequence[Recipe]) -> Recipe:
    before, piece, after, _ = recipe
    kind = rng.randrange(6)
    if kind == 0:
        piece += tokens(rng, 2)
    elif kind == 1:
        cut = rng.randint(0, len(piece))
        piece = piece[:cut] + tokens(rng, 1) + piece[cut:]
    elif kind == 2 and len(piece) > 1:
        a, b = sorted((rng.randint(0, len(piece)), rng.randint(0, len(piece))))
        piece = piece[:a] + piece[b:]
    elif kind == 3:
        piece += rng.choice(others)[1][:400]
    elif kind == 4:
        before = mutated(before, rng)[:2000]
    else:
        after = tokens(rng, 4)
    return before, piece or b"x", after, SIZES[0]


class Sizes:
    """The search for seconds and memory; `worst` holds the recipes that cost the most."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.runs = 0
        self.pool: list[bytes] = []
        self.best: dict[str, list[tuple[float, Recipe]]] = {"seconds": [], "memory": []}
        self.worst: dict[str, tuple[float, Any]] = {"seconds": (0.0, None), "memory": (0.0, None)}
        self.over: dict[str, int] = {}

    def leg(self, until: float) -> Iterable[tuple[Recipe, dict[str, Any]]]:
        """Recipes that failed, with what was measured."""
        while time.monotonic() < until:
            parents = [r for of in self.best.values() for _, r in of]
            if parents and self.rng.random() < 0.6:
                recipe = changed(self.rng.choice(parents), self.rng, parents)
            else:
                recipe = fresh_recipe(self.rng, self.pool)
            failed = self.climb(recipe)
            if failed:
                yield failed

    def climb(self, recipe: Recipe) -> tuple[Recipe, dict[str, Any]] | None:
        """Read the recipe at rising sizes as long as its costs for a byte rise, or by chance."""
        past, heavy = 0.0, None
        for size in SIZES:
            recipe = (*recipe[:3], size)
            found = measured(built(recipe))
            self.runs += 1
            rates = {"seconds": found["seconds"] / found["size"] * 1e6,
                     "memory": found["memory"] / found["size"]}  # fmt: skip
            if found["size"] >= RATED:
                for kind, rate in rates.items():
                    self.note(kind, rate, recipe)
            if found["error"] == "memory":
                self.over["memory"] = self.over.get("memory", 0) + 1
                heavy = recipe, found
            elif found["error"]:
                self.over[found["error"]] = self.over.get(found["error"], 0) + 1
                return recipe, found
            if size > SIZES[0] and rates["seconds"] < GROWS * past and self.rng.random() < 0.85:
                break
            if size == SIZES[0] and rates["seconds"] < 0.5 and self.rng.random() < 0.5:
                break
            past = rates["seconds"]
        return heavy

    def note(self, kind: str, rate: float, recipe: Recipe) -> None:
        if rate > self.worst[kind][0]:
            self.worst[kind] = (rate, recipe)
        best = self.best[kind]
        if all(recipe[1] != r[1] for _, r in best):
            best.append((rate, recipe))
            best.sort(key=lambda b: -b[0])
            del best[24:]


# --- What was found -----------------------------------------------------------------------------


def minimised(parts: list[bytes], fails: Callable[[list[bytes]], bool], seconds: float) -> Any:
    """`parts` with all that can go gone while it still fails: halves, quarters ... bytes."""
    until = time.monotonic() + seconds
    for index in range(len(parts)):
        step = max(1, len(parts[index]) // 2)
        while step and time.monotonic() < until:
            at = 0
            while at < len(parts[index]) and time.monotonic() < until:
                fewer = list(parts)
                fewer[index] = parts[index][:at] + parts[index][at + step :]
                if fails(fewer):
                    parts = fewer
                else:
                    at += step
            step //= 2
    return parts


class Found:
    """Failing inputs, one of each kind, minimised, in a folder with `found.jsonl`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.kinds: dict[str, int] = {}
        folder.mkdir(parents=True, exist_ok=True)

    def small(self, data: bytes) -> None:
        found = measured(data)
        kind = found["error"]
        if not kind or self.again(kind):
            return
        [body] = minimised([data[1:]], lambda p: measured(data[:1] + p[0])["error"] == kind, 40)
        self.write(kind, data[:1] + body, found, None)

    def big(self, recipe: Recipe, found: dict[str, Any]) -> None:
        kind = found["error"]
        if kind in ("slow", "hang", "memory"):
            kind = f"{kind} {self.family(recipe)}"
        if self.again(kind):
            return
        size, error = recipe[3], found["error"]
        print("failed", found, [p[:200] for p in recipe[:3]], flush=True)
        both = {"slow", "hang"}

        def fails(parts: list[bytes]) -> bool:
            got = measured(built((recipe[0][:1] + parts[0], parts[1], parts[2], size)))["error"]
            return bool(parts[1]) and (got == error or {got, error} <= both)

        parts = minimised(
            [recipe[0][1:], recipe[1], recipe[2]], fails, 10 if error == "memory" else 40
        )
        small: Recipe = (recipe[0][:1] + parts[0], parts[1], parts[2], size)
        kept = b"".join(small[:3]) if found["error"] not in (*both, "memory") else b""
        self.write(kind, kept, measured(built(small)), small)

    def family(self, recipe: Recipe) -> str:
        """What a recipe is much the same as: its tags, else its letters."""
        tags = sorted(set(re.findall(rb"</?[a-z!?]*", recipe[1].lower())))
        return hashlib.sha256(b" ".join(tags) or recipe[1][:2]).hexdigest()[:6] if tags else "text"

    def again(self, kind: str) -> bool:
        self.kinds[kind] = self.kinds.get(kind, 0) + 1
        broad = kind.split(" ")[0]
        several = sum(1 for k in self.kinds if k.split(" ")[0] == broad)
        return self.kinds[kind] > 1 or several > {"slow": 12, "hang": 12, "memory": 4}.get(
            broad, 99
        )

    def write(self, kind: str, data: bytes, found: dict[str, Any], recipe: Recipe | None) -> None:
        name = hashlib.sha256(kind.encode()).hexdigest()[:12]
        if data:
            (self.folder / name).write_bytes(data)
        line = {"kind": kind, "file": name if data else "", **found}
        if recipe:
            line["recipe"] = [repr(p) for p in recipe[:3]] + [recipe[3]]
        elif len(data) < 400:
            line["input"] = repr(data)
        with (self.folder / "found.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")
        print("FOUND", json.dumps(line), flush=True)


def seeds(corpus: Path, seed: int) -> Iterable[bytes]:
    """Traps, and windows of the files of `corpus`; a mode byte first."""
    from domainlm.samples.traps import TRAPS

    rng = random.Random(seed)
    for trap in TRAPS:
        if trap.number == 26:  # the huge one
            continue
        data = trap.case(rng.randrange(9), rng.randrange(40)).data
        mode = bytes([rng.randrange(24)])
        yield mode + data[: SMALL - 1]
        if len(data) > SMALL:
            at = rng.randrange(len(data) - 8000)
            head = b"<html><body>" if b"<html" in data[:9000].lower() else b""
            yield mode + head + data[at : at + 8000]
    for path in sorted(p for p in corpus.rglob("*") if p.is_file() and "grown" not in p.parts):
        data = path.read_bytes()
        head = b"<html><body>" if b"<html" in data[:9000].lower() else b""
        for size in (3000, 12_000):
            at = rng.randrange(max(1, len(data) - size))
            yield bytes([rng.randrange(24)]) + head + data[at : at + size]
        yield bytes([rng.randrange(24)]) + data[:8000]
    for _ in range(200):
        yield bytes([rng.randrange(24)]) + b"<html><body>" * rng.randrange(2) + tokens(rng, 60)


def fuzz(minutes: float, seed: int, corpus: Path, found_folder: Path) -> None:
    start = time.monotonic()
    until = start + minutes * 60
    found, sizes = Found(found_folder), Sizes(seed)
    total: dict[str, Any] = {"executions": 0, "edges": 0, "features": 0, "inputs": 0}
    with tempfile.TemporaryDirectory(prefix="fuzz-") as name:
        folder = Path(name)
        for sub in ("seeds", "suspects"):
            (folder / sub).mkdir()
        grown = corpus / "grown"
        grown.mkdir(parents=True, exist_ok=True)
        (folder / "grown").symlink_to(grown.resolve())
        for n, data in enumerate(seeds(corpus, seed)):
            (folder / "seeds" / f"{n:05}").write_bytes(data)
        sizes.pool = [p.read_bytes() for p in sorted((folder / "seeds").iterdir())]
        for leg in itertools.count():
            left = until - time.monotonic()
            if left < 5:
                break
            if leg % 2 == 0:
                done = cover_leg(folder, int(min(LEG, left)), seed * 1000 + leg + 1)
                total = {k: total[k] + done[k] if k == "executions" else max(total[k], done[k])
                         for k in total}  # fmt: skip
                for path in sorted((folder / "suspects").iterdir()):
                    found.small(path.read_bytes())
                    path.unlink()
                fresh = sorted(grown.iterdir(), key=lambda p: -p.stat().st_mtime)[:200]
                sizes.pool += [p.read_bytes() for p in fresh]
                sizes.pool = sizes.pool[-900:]
            else:
                for recipe, what in sizes.leg(min(until, time.monotonic() + LEG)):
                    found.big(recipe, what)
            report(total, sizes, found, time.monotonic() - start)
    print(json.dumps({"seconds": round(time.monotonic() - start), **total, "sized": sizes.runs,
                      "kinds": found.kinds, "over": sizes.over}, indent=1))  # fmt: skip
    for kind, of in sizes.best.items():
        for rate, recipe in of[:6]:
            print(kind, round(rate, 2), [p[:120] for p in recipe[:3]], recipe[3])


def report(total: dict[str, Any], sizes: Sizes, found: Found, seconds: float) -> None:
    worst = {k: round(v[0], 2) for k, v in sizes.worst.items()}
    print(
        f"{seconds:6.0f} s: {total['executions']} executions, {total['edges']} edges, "
        f"{total['features']} features, {total['inputs']} inputs; {sizes.runs} sized; "
        f"worst {worst['seconds']} s/MB, {worst['memory']} x memory; "
        f"{len(found.kinds)} kinds of failure",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--corpus", type=Path, default=Path("/tmp/fuzz-corpus"))
    parser.add_argument("--found", type=Path, default=Path("/tmp/fuzz-found"))
    parser.add_argument("--leg", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("rest", nargs="*", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.leg:
        cover(args.rest, args.seed, args.leg)
        return
    global READ
    READ = reader()
    READ(b"\0<html><body><p>Warm</p></body></html>")
    fuzz(args.minutes, args.seed, args.corpus, args.found)


READ: Callable[[bytes], None]

if __name__ == "__main__":
    main()
