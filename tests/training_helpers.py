"""Tiny arms on tokens of a little language, and a training process of its own."""

import json
import multiprocessing
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from domainlm import pretrained
from domainlm.artifacts import sha256_file, write_json
from domainlm.recipe import Train
from domainlm.training import loop, models, plan, stage

VOCABULARY, SEPARATOR, CONTEXT = 300, 0, 16
OUTPUTS = [f for f in stage.OUTPUTS if not f.startswith("training")]


def write_tokens(folder: Path, train: int = 6_000, validation: int = 800) -> None:
    """Shards of a little language: words of a fixed cycle, now and then a separator."""
    from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
    from tokenizers import models as kinds

    folder.mkdir(parents=True)
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {"<|endoftext|>": SEPARATOR}
    for word in [*letters, *(a + b for a in letters[:2] for b in letters[2:])]:
        vocabulary.setdefault(word, len(vocabulary))
        if len(vocabulary) == VOCABULARY:
            break
    merges = [(w[0], w[1]) for w in vocabulary if len(w) == 2]
    tokenizer = Tokenizer(kinds.BPE(vocab=vocabulary, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken("<|endoftext|>", special=True)])
    tokenizer.save(str(folder / "tokenizer.json"))
    write_json(
        folder / "tokenizer_config.json",
        {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|endoftext|>"},
    )
    splits: dict[str, Any] = {}
    for split, count in (("train", train), ("validation", validation)):
        ids = (np.arange(count) * 7 % 60 + 1).astype("<u2")
        ids[49::50] = SEPARATOR
        ids.tofile(folder / f"{split}-00000.bin")
        shard = {"path": f"{split}-00000.bin", "ends": "", "tokens": count}
        shard |= {"documents": count // 50, "bytes": count}
        shard["sha256"] = sha256_file(folder / f"{split}-00000.bin")
        splits[split] = {"tokens": count, "documents": count // 50, "bytes": count}
        splits[split]["shards"] = [shard]
    spec = {"schema_version": 1, "tokenizer_sha256": sha256_file(folder / "tokenizer.json")}
    spec |= {"vocabulary": VOCABULARY, "separator": SEPARATOR, "dtype": "uint16"}
    write_json(folder / "index.json", spec | {"splits": splits})


def make_home(home: Path) -> Path:
    """Fill a folder: tokens for both kinds of arm, a tiny config, a tiny pretrained model."""
    write_tokens(home / "tokens")
    write_tokens(home / "tokens" / "stock")
    write_config(home / "config.json")
    model = models.build(scratch(home).recipe_arm, VOCABULARY, SEPARATOR, 5)
    model.save_pretrained(home / "stock")
    (home / "stock" / "tokenizer.json").write_bytes(
        (home / "tokens" / "tokenizer.json").read_bytes()
    )
    return home


def write_config(path: Path, **changes: Any) -> Path:
    values = {
        "model_type": "qwen3",
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "max_position_embeddings": 64,
        "tie_word_embeddings": True,
    }
    write_json(path, values | changes)
    return path


class Arguments(dict[str, Any]):
    """A task's arguments, with the arm they describe."""

    @property
    def recipe_arm(self) -> Train:
        return Train.model_validate(self["arm"])


def scratch(home: Path, **changes: Any) -> Arguments:
    values: dict[str, Any] = {"name": "scratch", "model": str(home / "config.json")}
    values |= {"context": CONTEXT, "batch_tokens": 128, "optimizer": "muon", "learning_rate": 0.01}
    values |= {"candidates": 100}
    if not set(changes) & {"epochs", "flops", "minutes"}:
        values["tokens"] = 128 * 24
    return Arguments(arm=Train.model_validate(values | changes).model_dump(mode="json"))


def continued(home: Path) -> Arguments:
    values = {"name": "continued", "init": "stock", "context": CONTEXT, "batch_tokens": 64}
    values |= {"tokens": 64 * 14, "micro_batch": 2}
    found = pretrained.locate(str(home / "stock"))
    arm = Train.model_validate(values).model_dump(mode="json")
    return Arguments(arm=arm, init={"name": found.name, "sha256": found.sha256})


def new_run(home: Path, folder: Path) -> Path:
    """A run directory on the shared tokens."""
    folder.mkdir(parents=True)
    (folder / "tokens").symlink_to(home / "tokens")
    return folder


def weights(root: Path, arm: str = "scratch") -> bytes:
    return (root / "models" / arm / "model.safetensors").read_bytes()


def log_of(root: Path, arm: str = "scratch") -> list[dict[str, Any]]:
    lines = (root / "models" / arm / "training.jsonl").read_text().splitlines()
    timed = {
        "seconds",
        "tokens_per_second",
        "bytes_per_second",
        "utilization",
        "memory_gb",
        "watts",
    }
    return [{k: v for k, v in json.loads(x).items() if k not in timed} for x in lines]


def train_slowly(root: Path, arguments: dict[str, Any], pause: float) -> None:
    """In a process of its own: train, with a checkpoint and a pause after every line."""
    real = loop.Trainer.write_line

    def write_line(self: loop.Trainer, bits: float | None) -> None:
        real(self, bits)
        self.save()
        time.sleep(pause)

    torch.set_num_threads(1)
    loop.Trainer.write_line = write_line  # type: ignore[method-assign]
    plan.VALIDATION_SHARE = 1e9
    loop.train(root, arguments)


def begin(root: Path, arguments: dict[str, Any], pause: float = 0.0) -> Any:
    """Start `train_slowly` in a process; of a server that has torch loaded, so that it is quick."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["training_helpers"])
    process = context.Process(target=train_slowly, args=(root, dict(arguments), pause))
    process.start()
    return process
