"""Decisions and speed of the quality rules beside datatrove's filters, on the same texts.

    .venv/bin/python benchmarks/quality_parity.py --root FILINGS --peer-python PEER/bin/python \\
        [--filings 100] [--pages 1000] [--json benchmarks/results/quality-parity.json]

The peer needs datatrove and spacy from a package registry (its English tokenizer has no model to
download). The texts are MD&A sections of real filings, chosen by the SHA-256 of their paths, and
invented pages of the web: blocks of prose, lists, menus, code, notices and repetition in random
shares, so that each rule has some on either side of its threshold. Each rule is a filter of
datatrove with all others switched off; line rules are asked about single lines, document rules
about whole texts. Both sides find words once a text and judge all rules, none left out after the
first that fails; seconds are CPU time, of the documents' rules without C4's.
"""

import argparse
import hashlib
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

Texts = dict[str, list[str]]  # by set
Ask = Callable[[str], bool]

NOUNS, VERBS, SMALL = (
    words.split()
    for words in (
        "market river engine garden teacher window report company system village letter",
        "shows takes moves opens reads keeps builds finds holds writes sends",
        "the of and to a in that with for on by be have it its as from",
    )
)
LINES = (
    "Home", "About us", "Read more...", "Click here to learn more…", "Contact", "Share this page",
    "We use cookies to make this site better.", "See our Privacy Policy for the details.",
    "Please enable JavaScript to view this page.", "function f() { return 1; }", "# # # #",
    "Lorem ipsum dolor sit amet, consectetur adipiscing elit.", "All rights reserved © 2024",
    "He was born in 1950.[1]", "“That is all,” she said, “for now.”", "x" * 1200 + ".", "Yes.",
)  # fmt: skip


def sentence(rng: random.Random) -> str:
    words = [
        rng.choice(rng.choice((NOUNS, VERBS, SMALL, SMALL))) for _ in range(rng.randint(4, 18))
    ]
    if rng.random() < 0.2:
        words.insert(2, rng.choice(("$1,234.5", "10-20%", "U.S.", "it's", "year-end", "(3.2)")))
    return " ".join(words).capitalize() + rng.choice(".....!?,")


def page(rng: random.Random) -> str:
    """A page whose blocks come in random shares."""
    repeated = [sentence(rng) for _ in range(rng.randint(1, 6))]
    kinds: list[Callable[[], str]] = [
        lambda: " ".join(sentence(rng) for _ in range(rng.randint(1, 6))),
        lambda: rng.choice(repeated),
        lambda: rng.choice("•-*") + " " + sentence(rng)[:40],
        lambda: rng.choice(LINES),
        lambda: " ".join(rng.choice(NOUNS) for _ in range(rng.randint(1, 3))),
        lambda: " | ".join(f"{rng.random() * 1000:,.1f}" for _ in range(rng.randint(2, 6))),
        lambda: sentence(rng).rstrip(".!?,") + rng.choice(("...", "…")),
        lambda: " ".join([rng.choice(NOUNS) * rng.randint(1, 4) for _ in range(8)]),
        lambda: " ".join(repeated[0].split()[:5] * rng.randint(1, 3)),
    ]
    shares = [rng.random() ** 4 for _ in kinds]
    blocks = rng.choices(kinds, shares, k=rng.randint(1, 60))
    gap = rng.choice(("\n", "\n\n"))
    return gap.join(block() for block in blocks)


def texts(root: Path, filings: int, pages: int) -> Texts:
    paths = [p.relative_to(root) for p in (root / "mda-2018-2023" / "mda").rglob("*.txt")]
    paths.sort(key=lambda p: hashlib.sha256(p.as_posix().encode()).digest())
    rng = random.Random(1)
    return {
        "md&a": [(root / p).read_text(encoding="utf-8") for p in paths[:filings]],
        "pages": [page(rng) for _ in range(pages)],
    }


def lines_of(documents: Iterable[str]) -> list[str]:
    """The different lines, without blanks at their ends."""
    lines = (line.strip() for text in documents for line in text.split("\n"))
    return sorted({line for line in lines if line})


def ours() -> tuple[dict[str, Callable[[Any], bool]], dict[str, Ask], Callable[[str], Any]]:
    from domainlm.corpus import quality

    lines = {
        n: lambda line, n=n: bool(quality.dropped_lines(line, [n])) for n in quality.LINE_RULES
    }
    return quality.RULES, lines, quality._Document


def theirs() -> tuple[dict[str, Callable[[Any], bool]], dict[str, Ask], Callable[[str], Any]]:
    """Filters of datatrove that judge by one rule, under our names."""
    from datatrove.data import Document
    from datatrove.pipeline.filters import (
        C4QualityFilter,
        FineWebQualityFilter,
        GopherQualityFilter,
        GopherRepetitionFilter,
    )
    from datatrove.utils.text import split_into_words

    quality = dict.fromkeys((
        "min_doc_words", "max_doc_words", "min_avg_word_length", "max_avg_word_length",
        "max_symbol_word_ratio", "max_bullet_lines_ratio", "max_ellipsis_lines_ratio",
        "max_non_alpha_words_ratio", "min_stop_words",
    ))  # fmt: skip
    repetition: dict[str, Any] = {
        "dup_line_frac": None, "dup_para_frac": None, "dup_line_char_frac": None,
        "dup_para_char_frac": None, "top_n_grams": (), "dup_n_grams": (),
    }  # fmt: skip
    fineweb = {
        "line_punct_thr": -1, "short_line_thr": 2, "char_duplicates_ratio": 2,
        "new_line_ratio": float("inf"),
    }  # fmt: skip
    c4 = {
        "remove_citations": False, "filter_no_terminal_punct": False, "min_num_sentences": -1,
        "min_words_per_line": -1, "max_word_length": -1, "filter_lorem_ipsum": False,
        "filter_javascript": False, "filter_curly_bracket": False, "filter_policy": False,
    }  # fmt: skip

    def document(made: Any) -> Callable[[Any], bool]:
        return lambda text: made.filter(Document(text=text, id="")) is not True

    def line(made: Any) -> Ask:
        def dropped(text: str) -> bool:
            given = Document(text=text, id="")
            return made.filter(given) is not True or not given.text

        return dropped

    rules = {
        "gopher_word_count": GopherQualityFilter(
            **quality | {"min_doc_words": 50, "max_doc_words": 100_000}
        ),
        "gopher_mean_word_length": GopherQualityFilter(
            **quality | {"min_avg_word_length": 3, "max_avg_word_length": 10}
        ),
        "gopher_symbol_ratio": GopherQualityFilter(**quality | {"max_symbol_word_ratio": 0.1}),
        "gopher_bullet_lines": GopherQualityFilter(**quality | {"max_bullet_lines_ratio": 0.9}),
        "gopher_ellipsis_lines": GopherQualityFilter(**quality | {"max_ellipsis_lines_ratio": 0.3}),
        "gopher_alphabetic_words": GopherQualityFilter(
            **quality | {"max_non_alpha_words_ratio": 0.8}
        ),
        "gopher_stop_words": GopherQualityFilter(**quality | {"min_stop_words": 2}),
        "gopher_duplicate_paragraphs": GopherRepetitionFilter(
            **repetition | {"dup_para_frac": 0.3}
        ),
        "gopher_duplicate_paragraph_characters": GopherRepetitionFilter(
            **repetition | {"dup_para_char_frac": 0.2}
        ),
        "gopher_duplicate_lines": GopherRepetitionFilter(**repetition | {"dup_line_frac": 0.3}),
        "gopher_duplicate_line_characters": GopherRepetitionFilter(
            **repetition | {"dup_line_char_frac": 0.2}
        ),
        **{
            f"gopher_top_{n}_gram": GopherRepetitionFilter(
                **repetition | {"top_n_grams": ((n, f),)}
            )
            for n, f in ((2, 0.2), (3, 0.18), (4, 0.16))
        },
        **{
            f"gopher_duplicate_{n}_grams": GopherRepetitionFilter(
                **repetition | {"dup_n_grams": ((n, (20 - n) / 100),)}
            )
            for n in range(5, 11)
        },
        "c4_lorem_ipsum": C4QualityFilter(**c4 | {"filter_lorem_ipsum": True}),
        "c4_curly_bracket": C4QualityFilter(**c4 | {"filter_curly_bracket": True}),
        "c4_few_sentences": C4QualityFilter(**c4 | {"min_num_sentences": 5}),
        "fineweb_line_punctuation": FineWebQualityFilter(**fineweb | {"line_punct_thr": 0.12}),
        "fineweb_short_lines": FineWebQualityFilter(**fineweb | {"short_line_thr": 0.67}),
        "fineweb_duplicate_characters": FineWebQualityFilter(
            **fineweb | {"char_duplicates_ratio": 0.01}
        ),
        "fineweb_new_lines": FineWebQualityFilter(**fineweb | {"new_line_ratio": 0.3}),
    }
    lines = {
        "c4_long_word": {"max_word_length": 1000},
        "c4_no_terminal_punctuation": {"filter_no_terminal_punct": True, "remove_citations": True},
        "c4_short_line": {"min_words_per_line": 3},
        "c4_javascript": {"filter_javascript": True},
        "c4_policy": {"filter_policy": True},
    }

    def opened(text: str) -> str:
        split_into_words(text)  # kept by datatrove for the rules that follow
        return text

    return (
        {name: document(made) for name, made in rules.items()},
        {name: line(C4QualityFilter(**c4 | on)) for name, on in lines.items()},
        opened,
    )


def decisions(sets: Texts, peer: bool) -> dict[str, Any]:
    """What each rule says of each text, by set, and the seconds it took."""
    rules, line_rules, opened = theirs() if peer else ours()
    for rule in rules.values():  # imports, and what is made on first use
        rule(opened("A text to begin with. It is read once."))
    found: dict[str, Any] = {"seconds": {}}
    for name, documents in sets.items():
        said: dict[str, list[bool]] = {rule: [] for rule in rules}
        seconds = 0.0
        for text in documents:
            begun = time.process_time()
            document = opened(text)
            for rule, fails in rules.items():
                if not rule.startswith("c4"):
                    said[rule].append(bool(fails(document)))
            seconds += time.process_time() - begun
            for rule, fails in rules.items():
                if rule.startswith("c4"):
                    said[rule].append(bool(fails(document)))
        found["seconds"][name] = seconds
        lines = lines_of(documents)
        found[name] = said | {rule: [drops(s) for s in lines] for rule, drops in line_rules.items()}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, default=Path.home() / ".cache/domainlm/filings")
    parser.add_argument("--peer-python")
    parser.add_argument("--filings", type=int, default=100)
    parser.add_argument("--pages", type=int, default=1000)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--peer", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.peer:
        found = decisions(json.loads(given.peer.read_text()), peer=True)
        given.peer.write_text(json.dumps(found))
        return
    if not given.peer_python:
        parser.error("--peer-python: a Python with datatrove and spacy")
    sets = texts(given.root, given.filings, given.pages)
    mine = decisions(sets, peer=False)
    with tempfile.TemporaryDirectory() as folder:
        exchange = Path(folder) / "texts.json"
        exchange.write_text(json.dumps(sets))
        command = [given.peer_python, __file__, "--peer", str(exchange)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        peer = json.loads(exchange.read_text())
    report: dict[str, Any] = {"sets": {}}
    for name, documents in sets.items():
        size = sum(len(t.encode()) for t in documents) / 1e6
        speeds = [size / side["seconds"][name] for side in (mine, peer)]
        rules = {rule: compared(mine[name][rule], peer[name][rule]) for rule in mine[name]}
        report["sets"][name] = {
            "documents": len(documents), "mb": round(size, 3),
            "mb_per_s": round(speeds[0], 3), "datatrove_mb_per_s": round(speeds[1], 3),
            "times_faster": round(speeds[0] / speeds[1], 1), "rules": rules,
        }  # fmt: skip
        print(f"\n{name}: {len(documents)} documents, {size:.1f} MB; "
              f"{speeds[0]:.1f} MB/s, datatrove {speeds[1]:.2f} MB/s")  # fmt: skip
        print(f"{'':40} agreement  of      both fail  only ours  only datatrove's")
        for rule, row in rules.items():
            print(f"{rule:40} {row['agreement']:9.4f} {row['of']:7,} {row['both_fail']:10,} "
                  f"{row['only_ours']:10,} {row['only_datatrove']:10,}")  # fmt: skip
    if given.json:
        given.json.write_text(json.dumps(report, indent=1) + "\n")


def compared(mine: list[bool], peer: list[bool]) -> dict[str, Any]:
    pairs = list(zip(mine, peer, strict=True))
    return {
        "of": len(pairs), "both_fail": pairs.count((True, True)),
        "only_ours": pairs.count((True, False)), "only_datatrove": pairs.count((False, True)),
        "agreement": round(sum(a == b for a, b in pairs) / max(1, len(pairs)), 5),
    }  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
