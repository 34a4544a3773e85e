"""Scoring beside lm-evaluation-harness: the same documents, windows and device, in one run.

    pip install lm-eval==0.4.13        # in an environment that also has domainlm
    python benchmarks/evaluation/harness.py runs/demo [--model stock] [--documents 40] [--rounds 3]

Both score whole windows of the model's window tokens, each token once (stride = window; the last
window full), alternating. Prints bits per byte of both, which must agree to four digits, and the
ratio of their times; writes `benchmarks/results/evaluation-harness.json`.
"""

import argparse
import json
import math
import time
from pathlib import Path

from domainlm import pretrained
from domainlm.artifacts import read_json, write_json
from domainlm.evaluation import evidence, loss, models, spans
from domainlm.evaluation.deep import SPANS

RESULT = Path(__file__).parent.parent / "results" / "evaluation-harness.json"


def main() -> None:
    """Score, compare, print, write."""
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--model", default="stock")
    parser.add_argument("--documents", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=4)
    given = parser.parse_args()
    about = evidence.load(given.run).models[given.model]
    folder = given.run / "models" / given.model
    if given.model == "stock":
        folder = pretrained.relocate(about.source, about.sha256 or "").path
    texts = [s.text for s in spans.read_spans(given.run / SPANS)][: given.documents]
    size = sum(len(text.encode()) for text in texts)
    model, tokenizer, separator = models.load(folder)
    window = min(about.window or 1024, models.context(model))
    theirs = HFLM(pretrained=str(folder), device=model.device.type, batch_size=given.batch,
                  max_length=window, dtype=model.dtype)  # fmt: skip
    theirs.custom_prefix_token_id = separator
    asked = [Instance("loglikelihood_rolling", {}, (text,), n) for n, text in enumerate(texts)]
    times: dict[str, list[float]] = {"domainlm": [], "lm-eval": []}
    bits: dict[str, float] = {}
    for _ in range(given.rounds):
        began = time.perf_counter()
        nats = sum(
            n for _, n in loss.nats(model, tokenizer, texts, window, window, separator, given.batch)
        )
        times["domainlm"].append(time.perf_counter() - began)
        bits["domainlm"] = nats / math.log(2) / size
        began = time.perf_counter()
        found = theirs.loglikelihood_rolling(asked, disable_tqdm=True)
        times["lm-eval"].append(time.perf_counter() - began)
        bits["lm-eval"] = -sum(found) / math.log(2) / size
    best = {name: min(seconds) for name, seconds in times.items()}
    result = {
        "model": about.title,
        "device": str(model.device),
        "documents": len(texts),
        "bytes": size,
        "window": window,
        "bits_per_byte": bits,
        "seconds": times,
        "ratio": best["lm-eval"] / best["domainlm"],
    }
    for name in times:
        print(f"{name:9} {bits[name]:.6f} bits per byte, {size / best[name] / 1e3:,.1f} kB/s")
    print(json.dumps({"agree": abs(bits["domainlm"] - bits["lm-eval"]) < 5e-5,
                      "ratio": round(result["ratio"], 2), "bar": 1.5}))  # fmt: skip
    previous = read_json(RESULT) if RESULT.is_file() else {}
    write_json(RESULT, {**previous, given.model: result})


if __name__ == "__main__":
    main()
