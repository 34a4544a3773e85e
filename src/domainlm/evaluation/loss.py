"""The headline measurement: nats of a text under a causal language model, each token once.

Bits per byte = nats / (ln 2 x UTF-8 bytes of the text): the same bytes for every model, so that
tokenizers do not matter (Gao 2020, section 3.1). Long texts are read in windows that overlap
(stride half a window), and each window scores only the tokens the one before has not: a token has
at least window - stride tokens of context wherever the text has them (Press 2021). The separator
stands before the text as context and is never scored, nor is any document end.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import tokenizers

from domainlm.errors import DomainLMError

CHUNK = 512  # positions whose float32 logits exist at once
# Classes whose logits are the head applied to the last hidden state, and nothing more. For all
# others (scaled or capped logits) the whole model is called.
PLAIN_HEADS = frozenset(
    f"{name}ForCausalLM" for name in ("Lfm2", "Llama", "Mistral", "Qwen2", "Qwen3", "SmolLM3")
) | {"GPT2LMHeadModel"}


@dataclasses.dataclass(frozen=True)
class Window:
    """One pass over inputs `begin` to `end` of a text; targets before `first` are not scored.

    Input i predicts target i; inputs are the separator and all tokens but the last.
    """

    text: int
    begin: int
    end: int
    first: int


def windows(tokens: int, window: int, stride: int, text: int = 0) -> Iterator[Window]:
    """Windows of at most `window` inputs every `stride`, covering `tokens` targets once each."""
    if not 0 < stride <= window:
        raise ValueError(f"stride {stride} must be from 1 to the window, {window}")
    first = 0
    for begin in range(0, max(tokens, 0), stride):
        end = min(begin + window, tokens)
        yield Window(text, begin, end, first)
        first = end
        if end == tokens:
            return


def nats(
    model: Any,
    tokenizer: tokenizers.Tokenizer,
    texts: Sequence[str],
    window: int,
    stride: int,
    separator: int,
    batch: int,
    report: Callable[[float], None] = lambda share: None,
) -> list[tuple[int, float]]:
    """(tokens, nats) of each text; `tokenizer` is a plain one (`models.plain_tokenizer`).

    Windows are batched by length with padding on the right, which a causal model cannot see, so
    `batch` (windows at once) does not change results. `report` is given the share that is done.
    Raises `DomainLMError` where a text does not survive the tokenizer or nats are not finite.
    """
    ids = [encode(tokenizer, text) for text in texts]
    rows = model.get_input_embeddings().num_embeddings
    if any(max(row, default=0) >= rows for row in ids):
        raise DomainLMError(
            "a model and its tokenizer do not belong together",
            why=f"the tokenizer has ids from {rows} on, the model has {rows} embeddings",
        )
    work = [w for n, row in enumerate(ids) for w in windows(len(row), window, stride, n)]
    work.sort(key=lambda w: (w.begin - w.end, w.text, w.begin))  # longest first: memory shows early
    totals = np.zeros(len(texts))
    done = 0
    for start in range(0, len(work), batch):
        part = work[start : start + batch]
        losses, owners = _score(model, ids, part, separator)
        np.add.at(totals, owners, losses)
        done += len(losses)
        report(done / sum(map(len, ids)))
    for row, text, total in zip(ids, texts, totals, strict=True):
        if row and not (math.isfinite(total) and total > 0):
            raise DomainLMError(
                f"the loss of a text is {total}, not a positive number",
                where=f"{model.config.name_or_path or type(model).__name__}, {text[:60]!r}",
                why="the model's weights are damaged, or its training diverged",
                fix="train it again with a lower learning rate, or --fresh",
            )
    return [(len(row), float(total)) for row, total in zip(ids, totals, strict=True)]


def encode(tokenizer: tokenizers.Tokenizer, text: str) -> list[int]:
    """Ids of `text` without special tokens; raises where they do not decode to `text` again."""
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
    back: str = tokenizer.decode(ids, skip_special_tokens=False)
    if back != text:
        pairs = enumerate(zip(text, back, strict=False))
        place = next((n for n, (a, b) in pairs if a != b), len(back))
        raise DomainLMError(
            "a text does not survive the tokenizer: bits per byte would be of another text",
            where=f"character {place}: {text[place : place + 20]!r}",
            why=f"encoded and decoded it reads {back[place : place + 20]!r}",
            fix="use a model with a byte-level tokenizer (GPT-2, Llama 3, Qwen, SmolLM, ...)",
        )
    return ids


def _score(
    model: Any, ids: Sequence[Sequence[int]], part: Sequence[Window], separator: int
) -> tuple[Any, Any]:
    """Losses in nats and the texts they belong to, both of shape (scored tokens,)."""
    import torch

    length = max(w.end - w.begin for w in part)
    inputs = torch.full((len(part), length), separator)
    targets = torch.full((len(part), length), -1)
    for place, w in enumerate(part):
        row = ids[w.text]
        before = [separator, *row[: w.end - 1]] if w.begin == 0 else row[w.begin - 1 : w.end - 1]
        inputs[place, : w.end - w.begin] = torch.tensor(before)
        targets[place, w.first - w.begin : w.end - w.begin] = torch.tensor(row[w.first : w.end])
    owners = torch.tensor([w.text for w in part])[:, None].expand_as(targets)[targets >= 0]
    inputs, targets = inputs.to(model.device), targets.to(model.device)
    with torch.inference_mode():
        losses = _losses(model, inputs, targets)
    return losses.double().cpu().numpy(), owners.numpy()


def _losses(model: Any, inputs: Any, targets: Any) -> Any:
    """Float32 losses where targets >= 0, shape (scored tokens,), in row-major order."""
    import torch

    scored = targets >= 0
    wanted = targets[scored]
    if type(model).__name__ in PLAIN_HEADS:
        values, head = last_hidden(model, inputs)[scored], model.get_output_embeddings()
    else:
        values, head = model(input_ids=inputs, use_cache=False).logits[scored], torch.nn.Identity()
    pieces = [
        torch.nn.functional.cross_entropy(
            head(values[start : start + CHUNK]).float(),
            wanted[start : start + CHUNK],
            reduction="none",
        )
        for start in range(0, len(wanted), CHUNK)
    ]
    return torch.cat(pieces)


def last_hidden(model: Any, inputs: Any) -> Any:
    """Hidden states before the head, shape (batch, length, width)."""
    if type(model).__name__ in PLAIN_HEADS:
        return model.base_model(input_ids=inputs, use_cache=False).last_hidden_state
    output = model(input_ids=inputs, use_cache=False, output_hidden_states=True)
    return output.hidden_states[-1]


def hidden_means(
    model: Any,
    tokenizer: tokenizers.Tokenizer,
    texts: Sequence[str],
    window: int,
    separator: int,
    batch: int,
) -> Any:
    """Mean of the last hidden state over each text's tokens: float32 of shape (texts, width).

    A text longer than `window` inputs is cut; the separator is read first and not averaged.
    """
    import torch

    ids = [encode(tokenizer, text)[: window - 1] for text in texts]
    order = sorted(range(len(ids)), key=lambda n: -len(ids[n]))
    means: dict[int, Any] = {}
    for start in range(0, len(order), batch):
        part = order[start : start + batch]
        inputs = torch.full((len(part), 1 + max(len(ids[n]) for n in part)), separator)
        for place, n in enumerate(part):
            inputs[place, 1 : 1 + len(ids[n])] = torch.tensor(ids[n])
        with torch.inference_mode():
            states = last_hidden(model, inputs.to(model.device))
            for place, n in enumerate(part):
                kept = states[place, 1 : 1 + len(ids[n])].float()
                means[n] = kept.mean(0).cpu().numpy().astype(np.float32)
    return np.stack([means[n] for n in range(len(ids))]) if ids else np.zeros((0, 0), np.float32)
