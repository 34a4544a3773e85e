"""How surprising a real text is to a model, token by token, and what it would have written there.

Surprisal is a token's loss, -ln p (Hale 2001). The text is a prompt and what its author really
wrote next, read in one pass from its start.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import tokenizers

from domainlm.evaluation.evidence import Reading
from domainlm.evaluation.kinds import characters, token_ends
from domainlm.evaluation.loss import encoding

ALTERNATIVES = 3


def readings(
    model: Any,
    tokenizer: tokenizers.Tokenizer,
    prompts: Sequence[Mapping[str, Any]],
    name: str,
    context: int,
    separator: int,
) -> list[Reading]:
    """A reading of every prompt with a true text: rows of `corpus/prompts.json`.

    Of a text longer than `context` tokens, what comes after them is left out.
    """
    import torch

    found = []
    for prompt in prompts:
        text = prompt["text"] + (prompt["true_text"] or "")
        tokens = encoding(tokenizer, text)
        ids = tokens.ids[:context]
        if not prompt["true_text"] or not ids:
            continue
        inputs = torch.tensor([[separator, *ids[:-1]]], device=model.device)
        with torch.inference_mode():
            scores = model(input_ids=inputs, use_cache=False).logits[0].float().log_softmax(-1)
        targets = torch.tensor(ids, device=model.device)
        best = scores.topk(ALTERNATIVES)
        alternatives = [
            [
                (tokenizer.decode([number], skip_special_tokens=False), round(chance, 4))
                for number, chance in zip(numbers, chances, strict=True)
            ]
            for numbers, chances in zip(
                best.indices.tolist(), best.values.exp().tolist(), strict=True
            )
        ]
        ends = characters(text, token_ends(text, tokens.tokens, tokens.offsets))[: len(ids)]
        nats = (-scores.gather(1, targets[:, None])[:, 0]).tolist()
        found.append(
            Reading(
                model=name,
                prompt_id=prompt["id"],
                text=text[: ends[-1]],
                ends=ends,
                nats=[round(n, 4) for n in nats],
                alternatives=alternatives,
            )
        )
    return found
