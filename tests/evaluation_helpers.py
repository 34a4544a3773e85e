"""Tiny models, a tokenizer and a run directory, made from nothing for the evaluation's tests."""

import dataclasses
import datetime
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    Lfm2Config,
    Lfm2ForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    NanoChatConfig,
    NanoChatForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from domainlm.artifacts import Manifest, Run, sha256_file, write_json
from domainlm.corpus import documents
from domainlm.corpus.documents import Document, Section
from domainlm.pretrained import Pretrained
from domainlm.recipes import validate

TOPICS = {
    "Item 1": "business customers products markets services competitors store brand supply",
    "Item 1A": "risk adverse uncertainty litigation decline harm exposure failure breach loss",
    "Item 7": "revenue increased margin compared quarter expense liquidity cash operating tax",
}
KINDS = ("gpt2", "llama", "qwen3", "lfm2", "nanochat")  # of `tiny`
COMMON = "the of and in to our we for a by as on with are may year company"


def prose(seed: str, words: int, topic: str = "Item 1") -> str:
    """Reproducible word salad on a topic, in lines."""
    rng = random.Random(seed)
    pool = COMMON.split() * 2 + TOPICS[topic].split()
    chosen = [rng.choice(pool) for _ in range(words)]
    return "\n".join(" ".join(chosen[n : n + 12]) for n in range(0, words, 12)) + "\n"


def save_tokenizer(folder: Path, vocabulary: int = 400) -> None:
    """A byte-level BPE with `<|endoftext|>` as a special token."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([prose(t, 400, t) for t in TOPICS], trainer)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))


def tiny(kind: str, folder: Path, seed: int = 0, context: int = 64) -> Path:
    """Save a random model of class `kind` with its tokenizer; weights large enough to matter."""
    save_tokenizer(folder)
    torch.manual_seed(seed)
    ends = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0, "initializer_range": 0.3}
    modern = {
        "vocab_size": 400,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": context,
        **ends,
    }
    model: Any
    if kind == "gpt2":
        model = GPT2LMHeadModel(
            GPT2Config(vocab_size=400, n_positions=context, n_embd=32, n_layer=2, n_head=4, **ends)
        )
    elif kind == "llama":
        model = LlamaForCausalLM(LlamaConfig(**modern))
    elif kind == "lfm2":
        kinds = ["conv", "full_attention"]
        model = Lfm2ForCausalLM(
            Lfm2Config(block_auto_adjust_ff_dim=False, layer_types=kinds, **modern)
        )
    elif kind == "nanochat":  # its logits are capped: the whole model must be called
        model = NanoChatForCausalLM(NanoChatConfig(**modern, final_logit_softcapping=3.0))
    else:
        model = Qwen3ForCausalLM(Qwen3Config(head_dim=8, **modern))
    model.save_pretrained(folder)
    return folder


def filings(split: str, groups: int, each: int = 1) -> list[Document]:
    """Documents of three sections on different topics, two lines of heading each."""
    found = []
    for group in range(groups):
        for number in range(each):
            name = f"{split}-{group}-{number}"
            text, sections = "", []
            for label in TOPICS:
                start = len(text)
                text += (
                    f"{label}. Heading\nTable\n{prose(name + label, 300, label)}see {label}. é😀\n"
                )
                sections.append(Section(label, start, len(text)))
            found.append(
                Document(
                    id=name,
                    group=f"{'train' if split == 'seen' else split}-{group}",
                    date=datetime.date(2021, 1, 1),
                    title=f"Title {name}",
                    uri=name,
                    source_sha256="0" * 64,
                    text=text,
                    sections=tuple(sections),
                    split=split,
                )
            )
    return found


def relabelled(
    rows: list[Document], label: Callable[[Document, Section], Section]
) -> list[Document]:
    """The documents with what `label` makes of each section."""
    return [dataclasses.replace(d, sections=tuple(label(d, s) for s in d.sections)) for d in rows]


def make_run(root: Path, stock: bool = True, **evaluate: Any) -> Run:
    """A run directory as the stages before leave it, with two trained arms."""
    rows = [*filings("train", 6, 2), *filings("seen", 6), *filings("unseen", 6)]
    documents.write(root / "corpus/documents-00000.parquet", rows[:15])
    documents.write(root / "corpus/documents-00001.parquet", rows[15:])
    prompts = [
        {
            "id": f"opening-{n}",
            "text": row.text[20:90],
            "source": row.title,
            "document_id": row.id,
            "true_text": row.text[90:120],
        }
        for n, row in enumerate(rows[-2:])
    ]
    write_json(root / "corpus/prompts.json", prompts)
    counts = {"documents": 6, "groups": 6, "bytes": 1}
    ledger = {
        "source": "test",
        "files": 24,
        "bytes": 1,
        "skipped": {},
        "documents": 24,
        "text_bytes": 1,
        "duplicates": 0,
        "duplicate_bytes": 0,
        "groups": 12,
        "dated": 24,
        "cut": None,
        "splits": {"unseen": counts},
    }
    write_json(root / "corpus/ledger.json", {"evidence": ledger})
    train = {"tokens": 100, "documents": 12, "bytes": 400, "shards": []}
    write_json(root / "tokens/index.json", {"vocabulary": 400, "splits": {"train": train}})
    arms = {"scratch": ("qwen3", "scratch"), "continued": ("gpt2", "continued")}
    for arm, (kind, role) in arms.items():
        folder = tiny(kind, root / "models" / arm, seed=len(arm))
        facts = {"arm": arm, "role": role, "parameters": 9, "tokens": 7, "epochs": 0.5}
        facts |= {"flops": 1e9, "seconds": 2.0, "steps": 2, "kwh": None, "money": None, "seed": 1}
        facts |= {"kwh_method": "not measured", "device": "test"}
        write_json(folder / "training.json", facts)
        (folder / "training.jsonl").write_text(
            '{"meta": 1}\n{"step": 1, "tokens": 4, "seconds": 1.0, "loss": 5.5,'
            ' "validation_bits_per_byte": null, "tokens_per_second": 4, "watts": null}\n'
        )
    found = None
    if stock:
        folder = tiny("llama", root.parent / "stock-model", seed=9)
        from domainlm.pretrained import weights_hash

        found = Pretrained(str(folder), "Tiny Llama", folder, weights_hash(folder), ("random",))
        assert sha256_file(folder / "model.safetensors")
    recipe = validate(
        {
            "name": "test",
            "source": {"path": "sample:edgar"},
            "train": [
                {"name": "scratch", "model": "modern-tiny", "tokens": 10},
                {"name": "continued", "init": "stock", "tokens": 10},
            ],
            "evaluate": {
                "bytes": 600, "generate": 8, "passages": 96, "primer": 4000, **evaluate
            },
        },
        "test",
    )  # fmt: skip
    return Run(root, recipe, Manifest(root), found, "domainlm run test")
