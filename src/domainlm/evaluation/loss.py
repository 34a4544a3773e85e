"""The headline measurement: nats of a text under a causal language model, each token once.

Bits per byte = nats / (ln 2 x UTF-8 bytes of the text): the same bytes for every model, so that
tokenizers do not matter (Gao 2020, section 3.1). Long texts are read in windows that overlap
(stride half a window), and each window scores only the tokens the one before has not: a token has
at least window - stride tokens of context wherever the text has them (Press 2021). The last window
begins earlier, so that it is full too (as in lm-evaluation-harness). The separator stands before
the text as context and is never scored, nor is any document end.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import tokenizers

from domainlm.errors import DomainLMError
from domainlm.evaluation import kinds

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
        yield Window(text, max(0, end - window), end, first)
        first = end
        if end == tokens:
            return


def half(window: int) -> int:
    """The stride of the headline."""
    return max(1, window // 2)


def nats(
    model: Any,
    tokenizer: tokenizers.Tokenizer,
    texts: Sequence[str],
    window: int,
    stride: int,
    separator: int,
    batch: int,
) -> list[tuple[int, float]]:
    """(tokens, nats) of each text, as `token_nats` has them."""
    found = token_nats(model, tokenizer, texts, window, stride, separator, batch)
    return [(len(row), float(row.sum(dtype=np.float64))) for row in found]


def token_nats(
    model: Any,
    tokenizer: tokenizers.Tokenizer,
    texts: Sequence[str],
    window: int,
    stride: int,
    separator: int,
    batch: int,
    report: Callable[[float], None] = lambda share: None,
) -> list[npt.NDArray[np.float32]]:
    """Nats of every token of each text; `tokenizer` is a plain one (`models.plain_tokenizer`).

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
    found = [np.full(len(row), np.nan, np.float32) for row in ids]
    done = 0
    for start in range(0, len(work), batch):
        part = work[start : start + batch]
        losses = _score(model, ids, part, separator)
        for w, piece in zip(
            part, np.split(losses, np.cumsum([w.end - w.first for w in part])[:-1]), strict=True
        ):
            found[w.text][w.first : w.end] = piece
        done += len(losses)
        report(done / sum(map(len, ids)))
    for row, text in zip(found, texts, strict=True):
        total = float(row.sum(dtype=np.float64))
        if len(row) and not (math.isfinite(total) and total > 0):
            raise DomainLMError(
                f"the loss of a text is {total}, not a positive number",
                where=f"{model.config.name_or_path or type(model).__name__}, {text[:60]!r}",
                why="the model's weights are damaged, or its training diverged",
                fix="train it again with a lower learning rate, or --fresh",
            )
    return found


def encode(tokenizer: tokenizers.Tokenizer, text: str) -> list[int]:
    """Ids of `text` without special tokens; raises where they do not decode to `text` again."""
    return list(encoding(tokenizer, text).ids)


def encoding(tokenizer: tokenizers.Tokenizer, text: str) -> tokenizers.Encoding:
    """Ids, tokens and offsets of `text`; raises as `encode` does."""
    found = tokenizer.encode(text, add_special_tokens=False)
    back: str = tokenizer.decode(found.ids, skip_special_tokens=False)
    if back != text:
        pairs = enumerate(zip(text, back, strict=False))
        place = next((n for n, (a, b) in pairs if a != b), len(back))
        raise DomainLMError(
            "a text does not survive the tokenizer: bits per byte would be of another text",
            where=f"character {place}: {text[place : place + 20]!r}",
            why=f"encoded and decoded it reads {back[place : place + 20]!r}",
            fix="use a model with a byte-level tokenizer (GPT-2, Llama 3, Qwen, SmolLM, ...)",
        )
    return found


def token_ends(tokenizer: tokenizers.Tokenizer, text: str) -> list[int]:
    """The UTF-8 byte that each token of `text` ends before; raises as `encode` does."""
    found = encoding(tokenizer, text)
    return kinds.token_ends(text, found.tokens, found.offsets)


def _score(
    model: Any, ids: Sequence[Sequence[int]], part: Sequence[Window], separator: int
) -> npt.NDArray[np.float32]:
    """Losses in nats of what the windows score, one window after the other."""
    import torch

    length = max(w.end - w.begin for w in part)
    inputs = torch.full((len(part), length), separator)
    targets = torch.full((len(part), length), -1)
    for place, w in enumerate(part):
        row = ids[w.text]
        before = [separator, *row[: w.end - 1]] if w.begin == 0 else row[w.begin - 1 : w.end - 1]
        inputs[place, : w.end - w.begin] = torch.tensor(before)
        targets[place, w.first - w.begin : w.end - w.begin] = torch.tensor(row[w.first : w.end])
    inputs, targets = inputs.to(model.device), targets.to(model.device)
    with torch.inference_mode():
        losses = _losses(model, inputs, targets)
    scored: npt.NDArray[np.float32] = losses.cpu().numpy()
    return scored


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
