"""What a client asks of a model, token by token: a continuation, or the surprisal of its own text.

Sampling is that of `evaluation.samples`: random numbers depend on the prompt and the seed alone.
Surprisal is a token's loss -ln p (Hale 2001), of the model as it is, whatever the temperature.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import tokenizers

from domainlm.errors import DomainLMError
from domainlm.evaluation import kinds, loss, samples
from domainlm.evaluation.spans import hashed

ALTERNATIVES = 5
END = "\u2404"  # shown for ids that stand for no text
PARTIAL = "\ufffd"
HELD_TOKENS = 8  # that a character may take before it is shown broken


@dataclasses.dataclass(frozen=True)
class Player:
    """A loaded model (`models.load`). Ids where `forbidden` is true are never drawn.

    `context` is how many tokens a continuation may look back on, `window` the tokens that a text
    is scored in; `forbidden` has shape (embeddings,).
    """

    name: str
    title: str
    role: str
    sha256: str
    parameters: int
    model: Any
    tokenizer: tokenizers.Tokenizer
    separator: int
    forbidden: Any
    context: int
    window: int

    def decode(self, ids: Sequence[int]) -> str:
        """The text of `ids`; what is cut in the middle of a character ends with `PARTIAL`."""
        text: str = self.tokenizer.decode(list(ids), skip_special_tokens=False)
        return text

    def alternatives(self, ids: Sequence[int], chances: Sequence[float]) -> list[Any]:
        """[text, probability] of each of the most probable ids."""
        texts = [END if self.forbidden[id] else self.decode([id]) for id in ids]
        return [[text, round(chance, 4)] for text, chance in zip(texts, chances, strict=True)]


class Request:
    """What a client asked of some models, one slot each; `emit` is called in the engine's thread.

    Events have a `slot` and either `text`, `nats`, `tokens` and `top` of what is new, or `done`
    with totals, or `error` in words. The last event of all is `{"end": True}`.
    """

    def __init__(self, emit: Callable[[dict[str, Any]], None]) -> None:
        self.emit = emit
        self.cancelled = False
        self.slots: list[Slot] = []

    @property
    def over(self) -> bool:
        """True when every slot has ended, or the client is gone."""
        return self.cancelled or all(slot.over for slot in self.slots)


class Slot:
    """One model's part of a request."""

    def __init__(self, request: Request, player: Player) -> None:
        self.request, self.player = request, player
        self.number = len(request.slots)
        self.over = False
        self.tokens = self.bytes = 0
        self.nats = 0.0
        request.slots.append(self)

    def show(self, text: str, nats: float, tokens: int, top: list[Any]) -> None:
        """Emit whole characters, what they cost, and what the model would rather have written."""
        self.nats, self.tokens = self.nats + nats, self.tokens + tokens
        self.bytes += len(text.encode("utf-8", "replace"))
        facts = {"text": text, "nats": round(nats, 4), "tokens": tokens, "top": top}
        self.request.emit({"slot": self.number, **facts})

    def end(self, error: Exception | None = None) -> None:
        """Emit the slot's last event, once; and the request's where this slot was the last."""
        if self.over:
            return
        self.over = True
        totals = {"tokens": self.tokens, "nats": self.nats, "bytes": self.bytes}
        last = {"error": words(error)} if error else {"done": totals}
        self.request.emit({"slot": self.number, **last})
        if all(slot.over for slot in self.request.slots):
            self.request.emit({"end": True})


def words(error: Exception) -> str:
    """What a client is told of an error."""
    if isinstance(error, DomainLMError):
        return f"{error.what} ({error.why})" if error.why else error.what
    return f"the model failed: {type(error).__name__}: {(str(error).splitlines() or [''])[0]}"


@dataclasses.dataclass(frozen=True)
class Sampling:
    """How to go on from `prompt`: `identity` and `seed` decide the random numbers.

    `tokens` are written, or fewer where `characters` are reached first (all models then write as
    much, which tells nothing of their tokenizers).
    """

    prompt: str
    identity: str
    seed: int
    temperature: float
    tokens: int
    characters: int | None = None


class Row(Slot):
    """A continuation."""

    def __init__(self, request: Request, player: Player, sampling: Sampling) -> None:
        super().__init__(request, player)
        self.ids = [player.separator]
        self._how = sampling
        self._generator = np.random.default_rng(hashed("sample", sampling.identity, sampling.seed))
        self._left, self._room = sampling.tokens, sampling.characters
        self._held: list[int] = []  # tokens of a character that is not whole yet
        self._spent, self._top = 0.0, list[Any]()

    def begin(self) -> None:
        """Encode the prompt; raises `DomainLMError` where the tokenizer cannot say it."""
        self.ids += loss.encode(self.player.tokenizer, self._how.prompt)

    def take(self, logits: Any) -> None:
        """Draw the next token from `logits`, float64 of shape (embeddings,), and show it."""
        player, number = self.player, self._generator.random()
        chosen = samples.draw(logits, player.forbidden, self._how.temperature, number)
        self.ids.append(chosen)
        total = np.logaddexp.reduce(logits)
        self._spent += float(total - logits[chosen])
        if not self._held:
            best = np.argpartition(-logits, ALTERNATIVES)[:ALTERNATIVES]
            best = best[np.argsort(-logits[best])]
            self._top = player.alternatives(best.tolist(), np.exp(logits[best] - total).tolist())
        self._held.append(chosen)
        self._left -= 1
        text = player.decode(self._held)
        whole = not text.endswith(PARTIAL) or len(self._held) >= HELD_TOKENS
        if not self._left:
            text, whole = text.rstrip(PARTIAL), True
        if whole:
            if self._room is not None:
                text = text[: self._room]
                self._room -= len(text)
            self.show(text, self._spent, len(self._held), self._top)
            self._held, self._spent = [], 0.0
        if not self._left or self._room == 0:
            self.end()


class Reading(Slot):
    """The surprisal of a text, in the windows of the headline measurement."""

    def __init__(self, request: Request, player: Player, text: str) -> None:
        super().__init__(request, player)
        self._text = text

    def windows(self) -> Iterator[None]:
        """Read window after window, and show the tokens that each one scores."""
        import torch

        player = self.player
        found = loss.encoding(player.tokenizer, self._text)
        ends = kinds.token_ends(self._text, found.tokens, found.offsets)
        ends = kinds.characters(self._text, ends)
        inputs = [player.separator, *found.ids[:-1]]
        shown, held, spent, top = 0, 0, 0.0, list[Any]()
        stride = loss.half(player.window)
        for w in loss.windows(len(found.ids), player.window, stride):
            row = torch.tensor([inputs[w.begin : w.end]], device=player.model.device)
            targets = torch.tensor(found.ids[w.first : w.end], device=player.model.device)
            for end, nats, ids, chances in zip(
                ends[w.first : w.end], *_surprisal(player.model, row, targets), strict=True
            ):
                top = top if held else player.alternatives(ids, chances)
                spent, held = spent + nats, held + 1
                if end > shown:
                    self.show(self._text[shown:end], spent, held, top)
                    shown, held, spent = end, 0, 0.0
            yield
        self.end()


def _surprisal(
    model: Any, row: Any, targets: Any
) -> tuple[list[float], list[list[int]], list[list[float]]]:
    """Nats of the last positions' targets, the most probable ids there and their probabilities."""
    import torch

    nats: list[float] = []
    ids: list[list[int]] = []
    chances: list[list[float]] = []
    with torch.inference_mode():
        if type(model).__name__ in loss.PLAIN_HEADS:
            values, head = loss.last_hidden(model, row), model.get_output_embeddings()
        else:
            values, head = model(input_ids=row, use_cache=False).logits, torch.nn.Identity()
        values = values[0, -len(targets) :]
        for start in range(0, len(targets), loss.CHUNK):
            scores = head(values[start : start + loss.CHUNK]).float().log_softmax(-1)
            best = scores.topk(ALTERNATIVES)
            nats += (-scores.gather(1, targets[start : start + loss.CHUNK, None])[:, 0]).tolist()
            ids += best.indices.tolist()
            chances += best.values.exp().tolist()
    if not np.isfinite(nats).all():
        raise DomainLMError("a model's losses are not finite", why="its weights are damaged")
    return nats, ids, chances
