"""A new LFM2 model whose first attention layer can copy before it has learnt anything.

Text repeats itself: a name, a phrase, a table's row comes back pages later. What finds the places
where the last two tokens stood before, and foretells what followed there, is an induction head
(Olsson et al. 2022). Models form them by themselves, after more tokens than a small one reads in
an hour of a CPU (docs/lab-notes.md), so here one is built out of a token table whose rows say
something (`spectral`), as Trockman and Kolter (2023) begin attention near what training makes of
it. Every weight of it is trained on like all others.

The first layer's short convolution carries the two tokens before each place into axes of the
residual stream that the table hardly uses; a query is the present token and the one before, a key
the two before its place; a value is the token at that place by the table's strongest axes, written
where the table has them. The gains of queries and keys are those of all heads of the layer.
"""

from typing import Any

import torch
from torch import Tensor

CONSTANT = 0.5  # of a row's length: an axis alike for all ids, which stands in for the biases
BEFORE = 1.5  # rms of what is carried, beside the table's
COPIED = 5.0  # rms of the token found, beside the table's
SHARPNESS = 4.0  # gain of a query times gain of its key
OLDER = 3 / 8  # of a head's slow axes, for the second token before
FEWEST = 16  # slow axes with which ids can be told apart
GAIN = 0.3  # of queries and values, divided out after; not so small that updates drown it


@torch.no_grad()
def begin(model: Any, counts: Tensor, context: int) -> None:
    """Build the head into `model`, an LFM2 of random weights with a table from `spectral`.

    `counts` (ids,) is how often each id stands in train, `context` the tokens of a window. Nothing
    happens where the table is not the head too, no convolution of three taps comes before an
    attention layer, a head is less than a quarter of the width (it would copy too little of a
    token), or RoPE leaves too few axes slow, or as many as half of the width.
    """
    config, table = model.config, model.get_input_embeddings().weight
    kinds, rope = config.layer_types, config.rope_parameters
    copies = kinds[0] == "conv" and "full_attention" in kinds and config.conv_L_cache >= 3
    tied = model.get_output_embeddings().weight is table
    if not copies or not tied or rope["rope_type"] != "default":
        return
    layers, width = model.base_model.layers, config.hidden_size
    attention = layers[kinds.index("full_attention")].self_attn
    slow = slow_axes(attention.head_dim, rope["rope_theta"], context)
    if 4 * attention.head_dim < width or not FEWEST <= len(slow) < width // 2:
        return
    older = int(len(slow) * OLDER)
    scale = float(table.square().mean().sqrt())
    rows, constant = turned(table)
    told = apart(rows, counts, len(slow) - older)
    # Where the tokens before are carried: the table's weakest axes, the very last is the constant.
    places = torch.arange(width - 1 - len(slow), width - 1)
    carry(layers[0].conv, told, older, places, constant, BEFORE * scale)
    look(attention, told, older, places, slow, COPIED * scale)


def carry(
    short: Any, told: Tensor, older: int, places: Tensor, constant: float, amount: float
) -> None:
    """Have a short convolution write what `told` says of the two tokens before into `places`."""
    newer, width = told.shape
    channels = newer + older
    gates, kernel, out = short.in_proj.weight, short.conv.weight[:, 0], short.out_proj.weight
    for gate in (gates[:channels], gates[width : width + channels]):
        gate.zero_()
        gate[:, -1] = 1 / constant
    gates[2 * width : 2 * width + channels] = torch.cat([told, told[:older]])
    kernel[:channels] = 0
    kernel[:newer, -2] = 1  # the token before
    kernel[newer:channels, -3] = 1  # the one before that
    out[:, :channels] = 0
    out[places, torch.arange(channels)] = amount


def look(
    attention: Any, told: Tensor, older: int, places: Tensor, slow: Tensor, amount: float
) -> None:
    """Have the first head match the last two tokens on its `slow` axes, and copy what followed."""
    head, width = attention.head_dim, told.size(1)
    query, key = attention.q_proj.weight[:head], attention.k_proj.weight[:head]
    query *= 0.1  # what is random in them would drown it
    key *= 0.1
    axes = torch.eye(width)
    query[slow] = GAIN * torch.cat([told, axes[places[:older]]])
    key[slow] = axes[places]
    for norm in (attention.q_layernorm, attention.k_layernorm):
        norm.weight[slow] = SHARPNESS**0.5
    attention.v_proj.weight[:head] = GAIN * axes[:head]
    attention.out_proj.weight[:, :head] = amount / GAIN * axes[:, :head]


def slow_axes(head: int, theta: float, context: int) -> Tensor:
    """Axes of a head that RoPE turns by less than a radian in `context` tokens, slowest first.

    transformers pairs axis n with n + head / 2. What they match, they match at any distance.
    """
    half = head // 2
    turns = [pair for pair in reversed(range(half)) if context <= theta ** (2 * pair / head)]
    return torch.tensor([axis for pair in turns for axis in (pair + half, pair)], dtype=torch.long)


def turned(table: Tensor) -> tuple[Tensor, float]:
    """Turn the axes of `table` in place: strongest first, and the last a constant for all ids.

    Returns its rows with a root mean square of 1, as the first norm passes them on, and the
    constant's value in them.
    """
    axes = torch.linalg.eigh(table.T @ table).eigenvectors.flip(1)
    table.copy_(table @ axes)
    table[:, -1] = CONSTANT * table.norm(dim=1)
    rows = table / table.square().mean(1, keepdim=True).sqrt()
    return rows, float(rows[:, -1].mean())


def apart(rows: Tensor, counts: Tensor, axes: int) -> Tensor:
    """The (axes, width) matrix that tells ids apart best: whitened, weighted by root frequency."""
    told = rows.clone()
    told[:, -1] = 0
    weights = (counts + 1.0).sqrt()
    values, vectors = torch.linalg.eigh(told.T @ (told * (weights / weights.sum())[:, None]))
    values = values.clamp(min=1e-6 * float(values[-1]))  # fewer ids than axes: nothing to tell
    whitened: Tensor = (vectors[:, -axes:] / values[-axes:].sqrt()).T.flip(0)
    return whitened
