"""A small corpus, a small stock model and a small recipe: the whole pipeline in seconds."""

import json
import random
import subprocess
import sys
from pathlib import Path

from domainlm.tokens.tokenizer import byte_level_bpe, write_config

NOUNS = ["valve", "pump", "boiler", "turbine", "filter", "gasket", "sensor", "meter"]
VERBS = ["rose", "fell", "recovered", "stagnated", "doubled", "declined", "grew", "improved"]
CAUSES = ["demand", "prices", "weather", "regulation", "a strike", "new plants", "imports"]


def write_corpus(top: Path, groups: int = 10, years: int = 4) -> None:
    """Text files `company-N/YYYY-03-01.txt` of a few kilobytes, with a little to learn."""
    for group in range(groups):
        rng = random.Random(group)
        product = rng.choice(NOUNS)
        for year in range(2018, 2018 + years):
            sentences = [f"Annual report of the {product} company {group} for {year}."]
            for _ in range(60):
                sentences.append(
                    f"Sales of the {rng.choice([product, rng.choice(NOUNS)])} line "
                    f"{rng.choice(VERBS)} by {rng.randint(1, 99)} % in {year} because of "
                    f"{rng.choice(CAUSES)}."
                )
            path = top / f"company-{group:02d}" / f"{year}-03-01.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("\n\n".join(" ".join(sentences[n : n + 5]) for n in range(0, 60, 5)))


def write_stock(folder: Path) -> None:
    """A GPT-2 of random weights with a byte-level tokenizer of its own, as a local folder."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    folder.mkdir(parents=True)
    (folder / "tokenizer.json").write_text(
        byte_level_bpe([b"a general text about nothing in particular, and more of it " * 20], 300)
    )
    write_config(folder, "<|endoftext|>")
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=300, n_positions=128, n_embd=32, n_layer=2, n_head=2,
        bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    GPT2LMHeadModel(config).save_pretrained(folder)


def write_recipe(folder: Path) -> Path:
    """A recipe over the two above; returns its path."""
    write_corpus(folder / "text")
    write_stock(folder / "stock")
    config = {
        "model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"], "hidden_size": 32,
        "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
        "num_key_value_heads": 2, "head_dim": 16, "max_position_embeddings": 128,
        "vocab_size": 512, "tie_word_embeddings": True,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    recipe = folder / "small.toml"
    recipe.write_text(
        f"""
name = "small"
[source]
path = "{folder}/text"
date = '(\\d{{4}}-\\d{{2}}-\\d{{2}})'
[split]
cut = 2021-01-01
unseen = 0.3
[tokens]
vocabulary = 512
[[train]]
name = "scratch"
model = "{folder}/config.json"
tokens = 60_000
context = 64
batch_tokens = 512
learning_rate = 5e-3
optimizer = "muon"
snapshots = 2
[[train]]
name = "continued"
init = "stock"
tokens = 20_000
context = 64
batch_tokens = 512
[evaluate]
stock = ["{folder}/stock"]
documents = 6
bytes = 600
window = 64
prompts = 2
generate = 20
primer = 20000
[[evaluate.gate]]
gap = "scratch-stock"
max = 0.0
"""
    )
    return recipe


def peak() -> int:
    """The most bytes this process has held; `ru_maxrss` begins with those of the one before it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "domainlm", *arguments]


def domainlm(*arguments: str, cwd: Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command(*arguments), cwd=cwd, capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done
