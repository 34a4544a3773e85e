"""The thread that owns the models and serves many clients at once.

Each round it lets in at most one request that waits, steps every model once for all of its rows
together, and reads one window of one text. So requests share fairly, and models that are compared
write token by token side by side.
"""

import dataclasses
import inspect
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

from domainlm.playground.streams import Player, Reading, Request, Row


class Busy(Exception):
    """As many requests wait as may; the message is for people."""


@dataclasses.dataclass
class _Group:
    """Rows with one cache; `mask` (rows, positions) is 0 where a shorter row was padded."""

    rows: list[Row]
    cache: Any
    mask: Any


class Batch:
    """All rows of one model, which step together.

    Caches that are plain keys and values make one group, padded on the left; others (windows,
    convolutions) step one by one. Rows that end leave, rows that come join, at any step.
    """

    def __init__(self, player: Player) -> None:
        self._player = player
        self._groups: list[_Group] = []
        self._placed = "position_ids" in inspect.signature(player.model.forward).parameters

    def join(self, row: Row) -> None:
        """Read a row's ids (the last half of a context where they are more), draw one, stay."""
        import torch

        context = self._player.context
        feed = row.ids[:] if len(row.ids) <= context else row.ids[-max(1, context // 2) :]
        try:
            cache, logits = self._forward([feed], None)
            row.take(logits[0])
            mask = torch.ones((1, len(feed)), dtype=torch.long, device=self._player.model.device)
            new = _Group([row], cache, mask)
            if self._placed and self._groups and _plain(cache) and _plain(self._groups[0].cache):
                _merge(self._groups[0], new)
            else:
                self._groups.append(new)
        except Exception as error:  # of whatever kind: it is said, and ends this row alone
            row.end(error)

    def clear(self) -> None:
        """Forget all rows."""
        self._groups = []

    def step(self) -> None:
        """One token more for every row that is not over."""
        groups, self._groups = self._groups, []
        full: list[Row] = []
        for group in groups:
            rows = list(group.rows)
            try:
                going = [n for n, row in enumerate(rows) if not (row.over or row.request.cancelled)]
                held = group.mask.sum(1).tolist()
                full += [rows[n] for n in going if held[n] >= self._player.context]
                _keep(group, [n for n in going if held[n] < self._player.context])
                if group.rows:
                    self._advance(group)
                    self._groups.append(group)
            except Exception as error:
                for row in rows:
                    row.end(error)
        for row in full:
            self.join(row)

    def _advance(self, group: _Group) -> None:
        import torch

        ones = torch.ones_like(group.mask[:, :1])
        extra = {}
        if not group.mask.all():
            extra["position_ids"] = group.mask.sum(1, keepdim=True)
            extra["attention_mask"] = torch.cat([group.mask, ones], 1)
        group.mask = torch.cat([group.mask, ones], 1)
        feed = [row.ids[-1:] for row in group.rows]
        group.cache, logits = self._forward(feed, group.cache, **extra)
        for row, values in zip(group.rows, logits, strict=True):
            try:
                row.take(values)
            except Exception as error:
                row.end(error)

    def _forward(self, feed: list[list[int]], cache: Any, **extra: Any) -> tuple[Any, Any]:
        """The cache, and the last position's logits, float64 of shape (rows, embeddings)."""
        import torch

        model = self._player.model
        with torch.inference_mode():
            output = model(
                input_ids=torch.tensor(feed, device=model.device),
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
                **extra,
            )
        logits = output.logits[:, -1].double().cpu().numpy()
        return output.past_key_values, logits[:, : len(self._player.forbidden)]


def _plain(cache: Any) -> bool:
    """True where a cache is keys and values of all positions, and nothing else."""
    from transformers.cache_utils import DynamicLayer

    return all(type(layer) is DynamicLayer for layer in getattr(cache, "layers", [None]))


def _merge(group: _Group, new: _Group) -> None:
    """Add the rows of `new`, the shorter of both padded on the left."""
    import torch
    from torch.nn.functional import pad

    size = max(group.mask.shape[1], new.mask.shape[1])
    for mine, other in zip(group.cache.layers, new.cache.layers, strict=True):
        for name in ("keys", "values"):
            pair = [getattr(mine, name), getattr(other, name)]
            pair = [pad(part, (0, 0, size - part.shape[2], 0)) for part in pair]
            setattr(mine, name, torch.cat(pair))
    masks = [pad(part.mask, (size - part.mask.shape[1], 0)) for part in (group, new)]
    group.mask = torch.cat(masks)
    group.rows = group.rows + new.rows


def _keep(group: _Group, places: list[int]) -> None:
    """Leave only the rows at `places`, and only positions that one of them has."""
    import torch

    if len(places) == len(group.rows):
        return
    group.rows = [group.rows[place] for place in places]
    if not places:
        group.cache = None
        return
    index = torch.tensor(places, device=group.mask.device)
    mask = group.mask[index]
    first = int(mask.any(0).int().argmax())
    group.mask = mask[:, first:]
    for layer in group.cache.layers:
        layer.keys = layer.keys[index, :, first:]
        layer.values = layer.values[index, :, first:]


class Engine:
    """At most `active` requests run at once and `waiting` wait; `close` when done."""

    def __init__(self, players: Sequence[Player], active: int, waiting: int) -> None:
        self.players = {player.name: player for player in players}
        self._most_active, self._most_waiting = active, waiting
        self._batches = {name: Batch(player) for name, player in self.players.items()}
        self._waiting: deque[Request] = deque()
        self._active: list[Request] = []
        self._readings: deque[tuple[Reading, Iterator[None]]] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="playground", daemon=True)
        self._thread.start()

    def submit(self, request: Request) -> None:
        """Let a request wait for its turn; raises `Busy` where too many do."""
        with self._changed:
            if len(self._waiting) >= self._most_waiting:
                raise Busy(f"The models are busy, and {len(self._waiting)} others wait already.")
            self._waiting.append(request)
            self._changed.notify()

    def place(self, request: Request) -> int:
        """A request's place among those that wait, from 1; 0 when it runs or has run."""
        with self._changed:
            return self._waiting.index(request) + 1 if request in self._waiting else 0

    def cancel(self, request: Request) -> None:
        """End a request: it leaves at the next step, without a word."""
        with self._changed:
            request.cancelled = True
            if request in self._waiting:
                self._waiting.remove(request)

    def idle(self) -> bool:
        """True when nothing runs or waits."""
        with self._changed:
            return not self._waiting and all(request.over for request in self._active)

    def close(self) -> None:
        """Stop the thread after its step."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(10)

    def _work(self) -> None:
        while True:
            with self._changed:
                self._active = [r for r in self._active if not r.over]
                while not (self._closed or self._active or self._waiting):
                    for batch in self._batches.values():
                        batch.clear()
                    self._readings.clear()
                    self._changed.wait()
                if self._closed:
                    return
                new = None
                if self._waiting and len(self._active) < self._most_active:
                    new = self._waiting.popleft()
                    self._active.append(new)
            for batch in self._batches.values():
                batch.step()
            for slot in new.slots if new else ():
                if isinstance(slot, Row):
                    self._join(slot)
                elif isinstance(slot, Reading):
                    self._readings.append((slot, slot.windows()))
            self._read()

    def _join(self, row: Row) -> None:
        try:
            row.begin()
        except Exception as error:  # a text that the tokenizer cannot say
            row.end(error)
        else:
            self._batches[row.player.name].join(row)

    def _read(self) -> None:
        """One window of the text whose turn it is."""
        while self._readings and self._readings[0][0].request.cancelled:
            self._readings.popleft()
        if self._readings:
            reading, windows = self._readings.popleft()
            try:
                next(windows, None)
            except Exception as error:
                reading.end(error)
            if not reading.over:
                self._readings.append((reading, windows))
