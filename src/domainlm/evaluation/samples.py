"""Continuations: each model goes on from the same openings, chosen before anything was trained.

Plain sampling at a temperature, without top-k or top-p, so that nothing flatters a model. Random
numbers depend on the prompt and the seed alone: the same for every model (common random numbers),
whatever the other prompts, the batch or the device. The seeds of a prompt are one batch: as its
rows are of one length, nothing is padded.
"""

from collections.abc import Mapping, Sequence, Set
from typing import Any

import numpy as np
import tokenizers

from domainlm.errors import DomainLMError
from domainlm.evaluation.evidence import Sample
from domainlm.evaluation.loss import encode
from domainlm.evaluation.spans import hashed

SEEDS = (1, 2, 3)


def row(prompt: Mapping[str, Any], model: str, seed: int, text: str, sha256: str) -> dict[str, Any]:
    """One line of `samples.jsonl`; what of it is copied is found later."""
    return Sample(
        prompt_id=prompt["id"],
        prompt=prompt["text"],
        source=prompt["source"],
        model=model,
        seed=seed,
        text=text,
        true_text=prompt.get("true_text"),
        model_sha256=sha256,
    ).model_dump()


def continue_text(
    model: Any,
    tokenizer: tokenizers.Tokenizer,
    prompt: str,
    *,
    identity: str,
    seeds: Sequence[int],
    tokens: int,
    temperature: float,
    context: int,
    separator: int,
    special: Set[int] = frozenset(),
) -> list[str]:
    """The texts of `tokens` sampled tokens after the separator and `prompt`, one a seed.

    `identity` names the prompt: with a seed it decides the random numbers. Ids in `special`, the
    separator and ids that no text has are never drawn, so every model writes `tokens` tokens. A
    model that reaches its `context` goes on from the last half of it.
    """
    import torch

    generators = [np.random.default_rng(hashed("sample", identity, seed)) for seed in seeds]
    opening = encode(tokenizer, prompt)
    ids = [[separator, *opening] for _ in seeds]
    forbidden = unwritten(model, tokenizer, special | {separator})
    cache, feed = None, ids
    held = 0  # positions in the cache
    with torch.inference_mode():
        for _ in range(tokens):
            if held + len(feed[0]) > context:
                cache, held, feed = None, 0, [row[-max(1, context // 2) :] for row in ids]
            output = model(
                input_ids=torch.tensor(feed, device=model.device),
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            )
            cache, held = output.past_key_values, held + len(feed[0])
            logits = output.logits[:, -1].double().cpu().numpy()[:, : len(forbidden)]
            numbers = [generator.random() for generator in generators]
            feed = [
                [draw(row, forbidden, temperature, number)]
                for row, number in zip(logits, numbers, strict=True)
            ]
            ids = [row + new for row, new in zip(ids, feed, strict=True)]
    before = tokenizer.decode(opening, skip_special_tokens=False)
    after = [tokenizer.decode(row[1:], skip_special_tokens=False) for row in ids]
    # The last token may end inside a character: that half is left out.
    return [text.removeprefix(before).rstrip("\ufffd") for text in after]


def unwritten(model: Any, tokenizer: tokenizers.Tokenizer, special: Set[int]) -> Any:
    """Which ids are never drawn, bool of shape (embeddings,): `special`, and what is no token."""
    allowed = set(tokenizer.get_vocab().values()) - special
    rows = model.get_input_embeddings().num_embeddings
    return np.array([id not in allowed for id in range(rows)])


def draw(logits: Any, forbidden: Any, temperature: float, number: float) -> int:
    """The id at quantile `number` of softmax(logits / temperature), by inversion in float64."""
    if not np.isfinite(logits[~forbidden]).all():
        raise DomainLMError(
            "a model's logits are not finite",
            why="its weights are damaged, or its training diverged",
            fix="train it again with a lower learning rate, or --fresh",
        )
    scaled = np.where(forbidden, -np.inf, logits / temperature)
    cumulative = np.cumsum(np.exp(scaled - scaled.max()))
    place = int(np.searchsorted(cumulative, number * cumulative[-1], side="right"))
    return min(place, int(np.flatnonzero(~forbidden)[-1]))
