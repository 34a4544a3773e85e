"""Recipe to network: stock Hugging Face models, new or trained on, ready for the loop."""

import functools
import json
import types
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import (
    AttentionInterface,
    AutoConfig,
    AutoModelForCausalLM,
    GPT2Config,
    Lfm2Config,
    Qwen3Config,
)
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.models.lfm2.modeling_lfm2 import Lfm2ShortConv
from transformers.utils import logging as transformers_logging

from domainlm.artifacts import read_json
from domainlm.errors import USAGE, DomainLMError
from domainlm.recipe import Train
from domainlm.training import presets

_Auto: Any = AutoModelForCausalLM  # transformers' own types are too narrow for its use
_GPT2: Any = GPT2Config
_LFM2: Any = Lfm2Config
_Qwen3: Any = Qwen3Config
_logging: Any = transformers_logging

# The function that transformers calls gelu_new, as one kernel instead of eight.
FAST_GELU = "gelu_pytorch_tanh"


def configure(arm: Train, vocabulary: int, separator: int) -> Any:
    """The Hugging Face config of an arm trained from scratch.

    Text begins and ends with the separator: GPT2Config would keep 50256 whatever the vocabulary,
    and such a model never stops. There is no pad id, since transformers keeps the gradient from
    the row of a pad id, and the separator's is to be learned. Raises `DomainLMError` for an
    unknown preset, or a config.json that is no causal model or has too few ids.
    """
    preset = presets.check(arm)
    ids = {"bos_token_id": separator, "eos_token_id": separator, "pad_token_id": None}
    if preset is None:
        return _from_file(Path(str(arm.model)), vocabulary, ids)
    context = arm.context or preset.context
    if preset.family == "gpt2":
        return _GPT2(
            vocab_size=vocabulary,
            n_positions=context,
            n_ctx=context,  # only for llama.cpp's converter, which asks for it
            n_embd=preset.width,
            n_layer=preset.layers,
            n_head=preset.heads,
            n_inner=preset.inner,
            activation_function=FAST_GELU,
            resid_pdrop=0.0,  # one epoch over a corpus does not need dropout
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            **ids,
        )
    shape = {
        "vocab_size": vocabulary,
        "max_position_embeddings": context,
        "hidden_size": preset.width,
        "intermediate_size": preset.inner,
        "num_hidden_layers": preset.layers,
        "num_attention_heads": preset.heads,
        "num_key_value_heads": preset.heads,
        "tie_word_embeddings": True,  # at these sizes a second matrix would be most of the model
        **ids,
    }
    if preset.family == "qwen3":
        return _Qwen3(head_dim=preset.width // preset.heads, **shape)
    return _LFM2(
        block_auto_adjust_ff_dim=False,  # the width of the MLP is what it says
        layer_types=[("conv", "conv", "full_attention")[n % 3] for n in range(preset.layers)],
        conv_dim=preset.width,  # these two only for vLLM, which asks for them
        block_dim=preset.width,
        **shape,
    )


def _from_file(path: Path, vocabulary: int, ids: dict[str, int | None]) -> Any:
    try:
        values = read_json(path)
        config = AutoConfig.for_model(**{**values, **ids})
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise DomainLMError(
            "the model's config.json cannot be used",
            where=str(path),
            why=str(error).splitlines()[0],
            exit_code=USAGE,
        ) from error
    if "vocab_size" not in values:
        config.vocab_size = vocabulary
    check_vocabulary(config, vocabulary, str(path))
    return config


def check_vocabulary(config: Any, vocabulary: int, where: str) -> None:
    """Raise before time is spent, where the shards hold ids that the model has no row for."""
    if vocabulary > config.vocab_size:
        raise DomainLMError(
            "the tokenizer and the model do not belong together",
            where=where,
            why=f"token ids go up to {vocabulary - 1:,}; the model knows {config.vocab_size:,} ids",
            fix="tokenize with the model's own tokenizer, or give the model a larger vocab_size",
        )


def build(arm: Train, vocabulary: int, separator: int, seed: int) -> Any:
    """A new model in float32 on the CPU, its weights a pure function of config and `seed`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = _Auto.from_config(configure(arm, vocabulary, separator), dtype=torch.float32)
    model.config.use_cache = False
    return model


def load_config(path: Path) -> Any:
    """The config of a pretrained model's folder, dropout off."""
    config = AutoConfig.from_pretrained(path, local_files_only=True)
    for name in config.to_dict():
        if name.endswith(("dropout", "pdrop")):
            setattr(config, name, 0.0)
        if getattr(config, name) == "gelu_new":
            setattr(config, name, FAST_GELU)
    return config


def load_pretrained(path: Path) -> Any:
    """A pretrained model to train on: float32 master weights, dropout off.

    Only safetensors are read, never a pickle, and never the network.
    """
    _logging.disable_progress_bar()
    model = _Auto.from_pretrained(
        path,
        config=load_config(path),
        dtype=torch.float32,
        use_safetensors=True,
        local_files_only=True,
    )
    for module in model.modules():
        if isinstance(module, nn.Embedding):
            module.padding_idx = (
                None  # else the pad id's row, often the separator's, learns nothing
            )
    model.config.use_cache = False
    return model


def parameters(model: nn.Module) -> int:
    """Number of weights, a tied matrix counted once."""
    return sum(p.numel() for p in model.parameters())


def embeddings(model: nn.Module) -> set[Tensor]:
    """Weights that are looked up, not multiplied: token and position tables."""
    return {m.weight for m in model.modules() if isinstance(m, nn.Embedding)}


def head(model: Any) -> Tensor:
    """The matrix from hidden state to logits; the token table itself where the two are tied."""
    weight: Tensor = model.get_output_embeddings().weight
    return weight


def layers(model: Any) -> list[nn.Module]:
    """The decoder's layers, first to last: the list of as many modules as the config says."""
    count = model.config.num_hidden_layers
    lists = [m for m in model.modules() if isinstance(m, nn.ModuleList) and len(m) == count]
    return list(lists[0]) if lists else []


def compilable(model: Any) -> list[nn.Module]:
    """What torch.compile gets: the layers one by one, and the norm after them; or all as one.

    As one on a GPU, for what it saves between layers, unless a mask is made on the way, for which
    there is no fast kernel, or angles of RoPE, which would be computed anew in every layer.
    """
    body = model.base_model
    unmasked = model.config._attn_implementation == CAUSAL
    if head(model).is_cuda and unmasked and not hasattr(body, "rotary_emb"):
        return [body]
    apart = (nn.Embedding, nn.ModuleList)
    rest = [m for m in body.children() if not isinstance(m, apart)]
    return layers(model) + [m for m in rest if any(True for _ in m.parameters())]


CAUSAL = "causal_sdpa"  # transformers makes no masks for attention whose name it does not know
AttentionInterface.register(CAUSAL, sdpa_attention_forward)


def quicken(model: Any) -> None:
    """Spare a model two detours of transformers', for whole windows of text: the results stay.

    To find that it needs no mask, it looks at numbers on the device, and the host waits for them in
    every pass. And it turns the axes of LFM2's short convolutions, for a convolution of one channel
    a group, which no device is fast at: three products and sums take half the time (lab notes).
    """
    kinds = set(getattr(model.config, "layer_types", None) or ())
    whole = kinds <= {"full_attention", "conv"} and not getattr(model.config, "sliding_window", 0)
    if whole and model.config._attn_implementation == "sdpa":
        model.config._attn_implementation = CAUSAL
    for module in model.modules():
        if isinstance(module, Lfm2ShortConv):
            module.forward = types.MethodType(_short_convolution, module)


def _short_convolution(
    self: Any,
    hidden_states: Tensor,
    past_key_values: Any = None,
    attention_mask: Tensor | None = None,
    **others: Any,
) -> Tensor:
    if past_key_values is not None or attention_mask is not None:  # one token at a time; padding
        stock: Any = Lfm2ShortConv.forward
        result: Tensor = stock(self, hidden_states, past_key_values, attention_mask, **others)
        return result
    before, after, values = self.in_proj(hidden_states).chunk(3, -1)
    kernel = self.conv.weight[:, 0].T  # (taps, width)
    time, taps = hidden_states.size(1), len(kernel)
    padded = F.pad(before * values, (0, 0, taps - 1, 0))
    total = padded[:, :time] * kernel[0]
    for tap in range(1, taps):
        total = torch.addcmul(total, padded[:, tap : tap + time], kernel[tap])
    if self.conv.bias is not None:
        total = total + self.conv.bias
    return self.out_proj(after * total)  # type: ignore[no-any-return]


def recompute(model: Any) -> None:
    """Keep no activations of the layers: they are made again on the way back (Chen et al. 2016)."""
    name = "activation_checkpointing_enable"
    if not hasattr(model, name):  # transformers before 5.23
        name = "gradient_checkpointing_enable"
    getattr(model, name)({"use_reentrant": False})


@torch.no_grad()
def plain_head(model: Any) -> bool:
    """True where logits are the head times the last hidden state, with nothing after it.

    Found out by trying: many classes scale or cap their logits, and none of them says so alike.
    Logits are made large for it, since a new model's are too small for a cap to be felt.
    """
    head_weight, large = head(model), 1024.0
    inputs = torch.arange(4, device=head_weight.device)[None] % len(head_weight)
    was = model.training
    model.eval()
    hidden = model.base_model(input_ids=inputs, use_cache=False).last_hidden_state
    layer = model.get_output_embeddings()
    with layer.register_forward_pre_hook(lambda _, given: (given[0] * large,)):
        logits = model(input_ids=inputs, use_cache=False).logits
    model.train(was)
    if hidden.shape[-1] != head_weight.shape[-1]:
        return False
    plain = large * (hidden.float() @ head_weight.float().T)
    return torch.allclose(plain, logits.float(), 1e-3, 1e-4 * large)


def flops_per_token(config: Any, context: int, candidates: int = 0) -> float:
    """Training FLOPs a token: 6 N + 12 L H Q T (PaLM, Chowdhery et al. 2022, appendix B).

    N counts what is multiplied: all but the lookups, the head included. L layers, H heads of
    width Q, T tokens of context; attention counted without the causal saving, as is the custom. Of
    models with short convolutions only the layers with attention count here. Where the loss looks
    at `candidates` alone, only their rows of the head count.
    """
    heads = config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // heads
    kinds = getattr(config, "layer_types", None) or ["full_attention"] * config.num_hidden_layers
    attention: float = 12 * sum(kind != "conv" for kind in kinds) * heads * width * context
    unused = max(0, config.vocab_size - candidates) * config.hidden_size if candidates else 0
    return 6.0 * (_multiplied(json.dumps(config.to_dict(), default=str)) - unused) + attention


@functools.lru_cache(maxsize=16)
def _multiplied(config: str) -> int:
    """Weights in matrix products, counted on the meta device: no memory, no time."""
    with torch.device("meta"):
        model = _Auto.from_config(AutoConfig.for_model(**json.loads(config)))
    rest = embeddings(model) | {head(model)}
    count = head(model).numel() + sum(p.numel() for p in model.parameters() if p not in rest)
    return int(count)
