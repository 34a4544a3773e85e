"""Continuations: each model goes on from the same openings, chosen before anything was trained.

Plain sampling at a temperature, without top-k or top-p, so that nothing flatters a model. Random
numbers depend on the prompt and the seed alone: the same for every model (common random numbers),
whatever the other prompts, the batch or the device.
"""

from collections.abc import Set
from typing import Any

import numpy as np
import tokenizers

from domainlm.errors import DomainLMError
from domainlm.evaluation.loss import encode
from domainlm.evaluation.spans import hashed


def continue_text(
    model: Any,
    tokenizer: tokenizers.Tokenizer,
    prompt: str,
    *,
    identity: str,
    seed: int,
    tokens: int,
    temperature: float,
    context: int,
    separator: int,
    special: Set[int] = frozenset(),
) -> str:
    """The text of `tokens` sampled tokens after the separator and `prompt`.

    `identity` names the prompt: with `seed` it decides the random numbers. Ids in `special`, the
    separator and ids that no text has are never drawn, so every model writes `tokens` tokens. A
    model that reaches its `context` goes on from the last half of it.
    """
    import torch

    generator = np.random.default_rng(hashed("sample", identity, seed))
    opening = encode(tokenizer, prompt)
    ids = [separator, *opening]
    rows = model.get_input_embeddings().num_embeddings
    allowed = set(tokenizer.get_vocab().values()) - special - {separator}
    forbidden = np.array([id not in allowed for id in range(rows)])
    cache, feed = None, ids
    held = 0  # positions in the cache
    with torch.inference_mode():
        for _ in range(tokens):
            if held + len(feed) > context:
                cache, held, feed = None, 0, ids[-max(1, context // 2) :]
            output = model(
                input_ids=torch.tensor([feed], device=model.device),
                past_key_values=cache,
                use_cache=True,
            )
            cache, held = output.past_key_values, held + len(feed)
            logits = output.logits[0, -1].double().cpu().numpy()[: len(forbidden)]
            feed = [draw(logits, forbidden, temperature, generator.random())]
            ids = ids + feed
    before, after = (tokenizer.decode(row, skip_special_tokens=False) for row in (opening, ids[1:]))
    # The last token may end inside a character: that half is left out.
    return after.removeprefix(before).rstrip("\ufffd")


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
