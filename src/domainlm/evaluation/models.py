"""The one door for every model, ours or stock: a Hugging Face folder, safetensors only."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tokenizers

from domainlm.artifacts import sha256_file
from domainlm.errors import DomainLMError

DOCUMENT_END = "<|endoftext|>"


def load(path: Path) -> tuple[Any, tokenizers.Tokenizer, int]:
    """(model, tokenizer, separator id) of the folder `path`, for evaluation.

    The model is in eval mode without gradients, on the GPU where there is one. Weights are float32
    on a CPU without bfloat16 units, else bfloat16. The tokenizer reads special tokens in a text as
    plain text (`plain_tokenizer`). Raises `DomainLMError` where the folder cannot be loaded.
    """
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    quiet: Any = logging.disable_progress_bar  # bars are for terminals; console has them
    quiet()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        model: Any = AutoModelForCausalLM.from_pretrained(
            path, dtype=precision(device), use_safetensors=True, local_files_only=True
        )
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise DomainLMError(
            "a model cannot be loaded",
            where=str(path),
            why=(str(error).splitlines() or [type(error).__name__])[0],
            fix="it must be a causal language model as a Hugging Face folder with *.safetensors",
        ) from error
    model = model.eval().requires_grad_(False).to(device)
    return model, plain_tokenizer(path), separator_id(path)


@dataclasses.dataclass(frozen=True)
class Held:
    """A model that a task named, loaded."""

    folder: Path
    sha256: str
    model: Any
    tokenizer: tokenizers.Tokenizer
    separator: int

    def window(self, wanted: int) -> int:
        """Tokens the model reads at once: so many, or what it was built for."""
        return min(wanted, context(self.model))


_HELD: dict[tuple[object, ...], Held] = {}


def held(root: Path, arguments: Mapping[str, Any]) -> Held:
    """The model that a task of the run in `root` names; kept, since its next task wants it too.

    Raises `DomainLMError` where a stock model is not the one this run began with.
    """
    weights = root / "models" / arguments["name"] / "model.safetensors"
    stat = None if "stock" in arguments else weights.stat()
    stamp = (arguments["sha256"],) if stat is None else (stat.st_ino, stat.st_mtime_ns)
    key = (root, arguments["name"], *stamp)
    if key not in _HELD:
        release()
        if stat is None:
            from domainlm.pretrained import relocate

            found = relocate(arguments["stock"], arguments["sha256"])
            folder, sha256 = found.path, found.sha256
        else:
            folder, sha256 = weights.parent, sha256_file(weights)
        _HELD[key] = Held(folder, sha256, *load(folder))
    return _HELD[key]


def release() -> None:
    """Let go of the model that is kept."""
    _HELD.clear()


def batch(model: Any) -> int:
    """How many windows or texts a model reads at once."""
    return 32 if model.device.type == "cuda" else 4


def precision(device: str) -> Any:
    """The dtype of weights: bfloat16 where the machine multiplies it in hardware, else float32."""
    import torch

    fast = device == "cuda" or any(
        bool(getattr(torch.cpu, name, bool)())
        for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    )
    return torch.bfloat16 if fast else torch.float32


def context(model: Any) -> int:
    """Positions that the model was built for; a large number where its config names none."""
    config = model.config.get_text_config()
    return int(getattr(config, "max_position_embeddings", None) or 1 << 30)


def _specification(path: Path) -> dict[str, Any]:
    """The content of `tokenizer.json`, made by AutoTokenizer where a folder has older files."""
    file = path / "tokenizer.json"
    if file.is_file():
        text = file.read_text(encoding="utf-8")
    else:
        from transformers import AutoTokenizer

        tokenizer: Any = AutoTokenizer.from_pretrained(path, local_files_only=True)
        text = tokenizer.backend_tokenizer.to_str()
    specification: dict[str, Any] = json.loads(text)
    return specification


def plain_tokenizer(path: Path) -> tokenizers.Tokenizer:
    """The folder's tokenizer without added tokens: `<|endoftext|>` in a text is 13 characters.

    With added tokens a literal special token in a text would become its id: the model would see a
    document's end that is not there, and bytes would go missing. Nothing is cut off or padded.
    """
    specification = _specification(path)
    specification |= {"added_tokens": [], "truncation": None, "padding": None}
    specification["post_processor"] = None
    return tokenizers.Tokenizer.from_str(json.dumps(specification))


def special_ids(path: Path) -> set[int]:
    """Ids that stand for no text: the special tokens and the separator."""
    added = _specification(path).get("added_tokens") or ()
    return {int(token["id"]) for token in added if token.get("special")} | {separator_id(path)}


def separator_id(path: Path) -> int:
    """The id put before a text: `<|endoftext|>` where there is one, else bos, else eos."""
    specification = _specification(path)
    for token in specification.get("added_tokens") or ():
        if token["content"] == DOCUMENT_END:
            return int(token["id"])
    vocabulary = specification["model"].get("vocab")
    if isinstance(vocabulary, dict) and DOCUMENT_END in vocabulary:
        return int(vocabulary[DOCUMENT_END])
    file = path / "config.json"
    config = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    for name in ("bos_token_id", "eos_token_id"):
        value = config.get(name)
        for id in value if isinstance(value, list) else [value]:
            if id is not None:
                return int(id)
    raise DomainLMError(
        "a model has no token that separates documents",
        where=str(path),
        why=f"no {DOCUMENT_END!r} in its vocabulary, no bos_token_id or eos_token_id in its config",
        fix="set bos_token_id in its config.json",
    )
