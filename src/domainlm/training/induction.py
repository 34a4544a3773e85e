"""A new LFM2 model whose first attention layer can copy before it has learnt anything.

Text repeats itself: a name, a phrase, a table's row comes back pages later. What finds the last
place where the present token stood, and foretells the token that followed there, is an induction
head (Olsson et al. 2022). Models form them by themselves, after more tokens than a small one reads
in an hour of a CPU (docs/lab-notes.md), so here one is built out of a token table whose rows say
something (`spectral`), as Trockman and Kolter (2023) begin attention near what training makes of
it. Every weight of it is trained on like all others.

The first layer's short convolution carries the two tokens before each place into axes of the
residual stream that the table hardly uses; a query is the present token and the one before, a key
the two before its place; a value is the token at that place, written as the table writes it.
"""

from typing import Any

import torch
from torch import Tensor

CONSTANT = 0.5  # of a row's length: an axis alike for all ids, which stands in for the biases
BEFORE = 0.03  # rms of what is carried, beside a table's 0.02
COPIED = 0.1  # the token found, per unit of a normalised row
SHARPNESS = 4.0  # gain of a query times gain of its key
OLDER = 3 / 8  # of a head's axes, for the second token before


@torch.no_grad()
def begin(model: Any, counts: Tensor) -> None:
    """Build the head into `model`, an LFM2 of random weights with a table from `spectral`.

    `counts` (ids,) is how often each id stands in train. Nothing happens where no convolution of
    three taps comes before an attention layer, or no axes are slow for windows of this length.
    """
    config, layers = model.config, model.base_model.layers
    kinds = list(config.layer_types)
    if kinds[0] != "conv" or "full_attention" not in kinds or config.conv_L_cache < 3:
        return
    attention = layers[kinds.index("full_attention")].self_attn
    head, width = attention.head_dim, config.hidden_size
    slow = slow_axes(head, config.rope_parameters["rope_theta"], config.max_position_embeddings)
    carried = len(slow)
    older = int(carried * OLDER)
    newer = carried - older
    if not older or carried >= width // 2:
        return

    rows, constant = turned(model.get_input_embeddings().weight)
    told = apart(rows, counts, newer)  # (newer, width)
    # Axes that hold the tokens before: of the table's last, the very last being the constant.
    first = torch.arange(width - 1 - carried, width - 1 - older)
    second = torch.arange(width - 1 - older, width - 1)

    short = layers[0].conv
    gates, kernel, out = short.in_proj.weight, short.conv.weight[:, 0], short.out_proj.weight
    for gate in (gates[:carried], gates[width : width + carried]):
        gate.zero_()
        gate[:, -1] = 1 / constant
    gates[2 * width : 2 * width + newer] = told
    gates[2 * width + newer : 2 * width + carried] = told[:older]
    kernel[:carried] = 0
    kernel[:newer, -2] = 1
    kernel[newer:carried, -3] = 1
    out[:, :carried] = 0
    out[torch.cat([first, second]), torch.arange(carried)] = BEFORE

    query, key = attention.q_proj.weight[:head], attention.k_proj.weight[:head]
    query *= 0.1  # what is random in them would drown it
    key *= 0.1
    query[slow] = 0.3 * torch.cat([told, torch.eye(width)[first[:older]]])
    key[slow] = torch.eye(width)[torch.cat([first, second])]
    for norm in (attention.q_layernorm, attention.k_layernorm):
        norm.weight[slow] = SHARPNESS**0.5
    value, result = attention.v_proj.weight[:head], attention.out_proj.weight[:, :head]
    value.copy_(0.3 * torch.eye(head, width))
    result.copy_(COPIED / 0.3 * torch.eye(width, head))


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
