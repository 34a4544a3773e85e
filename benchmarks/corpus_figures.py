"""Measure the table FIGURES of domainlm/corpus/estimate.py on unpacked real filings.

    .venv/bin/python benchmarks/corpus_figures.py /tmp/filings

Of each era at most 40 annual reports (10-K, 10-K405; at most 5 a company, chosen by hash) are read
with tables kept and dropped. The tokenizers are trained on the texts of one half of the companies
(about 20 MB) and encode those of the other half. Prints the table and what it was measured on.
"""

import collections
import csv
import sys
from pathlib import Path

from tokenizers import Tokenizer

from domainlm.artifacts import sha256_json
from domainlm.corpus.edgar.filing import read_filing
from domainlm.corpus.edgar.tree import Filing
from domainlm.corpus.estimate import ERAS, era_of
from domainlm.corpus.extract import Unreadable
from domainlm.tokens.tokenizer import byte_level_bpe

SAMPLE, A_COMPANY = 40, 5
VOCABULARIES = (16_384, 32_768)


def main(top: Path) -> None:
    rows: dict[int, list[dict[str, str]]] = collections.defaultdict(list)
    for pack in sorted(top.glob("annual-[12]*")):
        with open(pack / "manifest.csv", newline="") as file:
            for row in csv.DictReader(file):
                year = (row["filed"] or row["period"] or row["fiscal_year"])[:4]
                if year and row["form"] in ("10-K", "10-K405"):
                    rows[era_of(int(year))].append({**row, "path": str(pack / row["path"])})
    texts: dict[int, dict[str, list[tuple[str, str]]]] = {}
    for era, found in sorted(rows.items()):
        sizes = collections.defaultdict(list)
        taken: collections.Counter[str] = collections.Counter()
        texts[era] = {"keep": [], "drop": []}
        for row in sorted(found, key=lambda r: sha256_json(r["sha256"])):
            if len(texts[era]["keep"]) == SAMPLE or taken[row["cik"]] == A_COMPANY:
                continue
            data = Path(row["path"]).read_bytes()
            filing = Filing(row["path"], row["form"], row["cik"], "", None, None, "")
            try:
                kept, _, submission = read_filing(data, filing, "keep")
                dropped, _, _ = read_filing(data, filing, "drop")
            except Unreadable:
                continue
            taken[row["cik"]] += 1
            texts[era]["keep"].append((row["cik"], kept))
            texts[era]["drop"].append((row["cik"], dropped))
            sizes["document"].append(len(data) - submission.dropped_bytes)
            sizes["kept"].append(len(kept.encode()))
            sizes["dropped"].append(len(dropped.encode()))
            if submission.dropped_bytes:
                sizes["submission"].append(len(data))
                sizes["of it"].append(len(data) - submission.dropped_bytes)
        means = {k: round(sum(v) / len(v), -3) for k, v in sizes.items()}
        count = len(texts[era]["keep"])
        print(ERAS[era], f"{count} filings, {len(taken)} companies,",
              f"{len(sizes['submission'])} full submissions:", means)  # fmt: skip
    companies = sorted({cik for t in texts.values() for cik, _ in t["keep"]}, key=sha256_json)
    train = set(companies[::2])
    for tables in ("keep", "drop"):
        sample = [t.encode() for e in texts.values() for cik, t in e[tables] if cik in train]
        for vocabulary in VOCABULARIES:
            bpe = Tokenizer.from_str(byte_level_bpe(sample, vocabulary))
            shares = {}
            for era, by in texts.items():
                held = [t for cik, t in by[tables] if cik not in train]
                tokens = sum(len(e.ids) for e in bpe.encode_batch_fast(held))
                shares[ERAS[era][0]] = round(tokens / max(1, sum(len(t.encode()) for t in held)), 3)
            print(f"tables {tables}, vocabulary {vocabulary}: tokens a byte {shares}",
                  f"({sum(map(len, sample)) / 1e6:.0f} MB to learn from)")  # fmt: skip


if __name__ == "__main__":
    main(Path(sys.argv[1]))
