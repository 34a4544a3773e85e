"""A trained arm as a folder that `AutoModelForCausalLM.from_pretrained` loads."""

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig
from transformers.utils import logging as transformers_logging

from domainlm.artifacts import write_json

TOKENIZER = ("tokenizer.json", "tokenizer_config.json")
_Generation: Any = GenerationConfig  # transformers leaves these untyped
_logging: Any = transformers_logging
MODEL = ("config.json", "generation_config.json", "model.safetensors")


def export(
    model: Any, target: Path, tokens: Path, separator: int, dtype: torch.dtype, facts: Any
) -> None:
    """Write weights, configs and tokenizer into `target`, and `facts` as training.json, last.

    Each file is renamed into place whole. The separator ends a document, so it ends a generation.
    """
    _logging.disable_progress_bar()
    model.config.use_cache = True
    model.config.bos_token_id = model.config.eos_token_id = separator
    model.generation_config = _Generation(
        bos_token_id=separator, eos_token_id=separator, pad_token_id=separator
    )
    target.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        model.to(dtype).save_pretrained(temporary, max_shard_size="1TB")
        for name in TOKENIZER:
            shutil.copyfile(tokens / name, temporary / name)
        for name in (*MODEL, *TOKENIZER):
            os.replace(temporary / name, target / name)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    write_json(target / "training.json", facts)
