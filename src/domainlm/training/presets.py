"""The models that ship with the package, as numbers. Importing this loads no torch.

`gpt2-*` is the classic (Radford et al. 2019) trained by AdamW: the reference. `modern-*` is trained
by Muon, and its architecture is what was best at equal time where its size is trained
(docs/lab-notes.md): on a CPU LFM2's (Liquid AI 2025: gated short convolutions, every third layer
attention), on a GPU Qwen3's (2025: all layers attention). Both have RoPE, QK-norm, RMSNorm, SwiGLU
and tied embeddings. All are stock classes of transformers; what else loads them: docs/loading.md.

Batch and learning rate follow a rule, which the recipe overrides. A batch is about three times the
square root of the tokens that a model of its size is usually given, of the small ones what was best
in the time that a CPU has. Muon's peak rate falls with the root of the width, AdamW's with the
width (Yang et al. 2022), and both go with the root of the batch where a recipe gives another one
(Malladi et al. 2022). Where a model begins with a head that copies, Muon's is low, so that the head
lives, and the embeddings go at a multiple of it.
"""

import dataclasses
import difflib
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from domainlm.errors import USAGE, DomainLMError
from domainlm.recipe import Begin, Optimizer, Train


@dataclasses.dataclass(frozen=True)
class Preset:
    """A model's shape, and the settings it is trained with unless the recipe says otherwise."""

    family: Literal["gpt2", "lfm2", "qwen3"]
    width: int  # of the residual stream
    layers: int
    heads: int
    inner: int  # of the MLP
    context: int  # tokens a window
    short: int  # tokens of context in the first half of the steps
    batch_tokens: int  # tokens an optimizer step
    optimizer: Optimizer
    learning_rate: float  # peak
    candidates: int = 0  # of the sampled softmax; 0: the loss looks at all ids
    begin: Begin = "random"  # or from counts of train: `spectral`, and with copies `induction`
    embedding_rate: float = 1.0  # the embeddings' learning rate, a multiple of the others'


# fmt: off
PRESETS = {  #                  width layers heads inner context short  batch   optimizer rate
    "gpt2-tiny":    Preset("gpt2", 192,  4,  3,  768,  256,  256,   4_096, "adamw", 2e-3),
    "gpt2-small":   Preset("gpt2", 256,  6,  4, 1024,  512,  512,   8_192, "adamw", 1e-3),
    "gpt2-124m":    Preset("gpt2", 768, 12, 12, 3072, 1024, 1024,  32_768, "adamw", 6e-4),
    "modern-tiny":  Preset("lfm2", 192,  4,  3,  512,  256,  256,   4_096, "muon", 6e-3,
                           0, "vectors"),
    "modern-small": Preset("lfm2", 128,  6,  2,  352, 1024,  256,   4_096, "muon", 2e-3,
                           1536, "copies", 3.0),
    "modern-30m":   Preset("lfm2", 512,  8,  8, 1408, 1024,  256,  32_768, "muon", 4e-3,
                           0, "vectors"),
    "modern-124m":  Preset("qwen3", 768, 12, 6, 2048, 1024, 1024, 131_072, "muon", 3e-3),
    "modern-350m":  Preset("qwen3", 1024, 24, 8, 2816, 1024, 1024, 262_144, "muon", 3e-3),
}
# fmt: on

SHORT, SAMPLED = 0.5, 0.9  # shares of the steps with a short context, and with candidates
SHARED_WINDOW = 512  # tokens: context where neither preset nor recipe gives one
WEIGHT_DECAY = 0.1


@dataclasses.dataclass(frozen=True)
class Phase:
    """A part of training, from the end of the one before to the share `until` of all steps."""

    until: float
    context: int  # tokens that a window is cut to
    candidates: int  # ids that the loss of a pass looks at, about; 0: all


@dataclasses.dataclass(frozen=True)
class Settings:
    """What the optimizer needs to know, with nothing left open."""

    context: int
    short_context: int
    batch_tokens: int
    optimizer: Optimizer
    learning_rate: float
    candidates: int = 0
    begin: Begin = "random"
    embedding_rate: float = 1.0
    weight_decay: float = WEIGHT_DECAY

    @property
    def phases(self) -> tuple[Phase, ...]:
        """First what is cheap: short context (Li et al. 2022) and a sampled softmax."""
        cheap = Phase(SHORT, self.short_context, self.candidates)
        longer = Phase(SAMPLED, self.context, self.candidates)
        return cheap, longer, Phase(1.0, self.context, 0)

    def phase(self, done: float) -> Phase:
        """The phase of a step before which the share `done` of all steps is done."""
        return next(phase for phase in self.phases if done < phase.until)

    def mean(self, of: Callable[[Phase], float]) -> float:
        """The mean over all steps of what depends on the phase."""
        begins = (0.0, *(phase.until for phase in self.phases))
        shares = zip(self.phases, begins, strict=False)
        alike: dict[tuple[int, int], float] = {}  # asked once for phases that do the same
        for phase, begin in shares:
            key = phase.context, phase.candidates
            alike[key] = alike.get(key, 0.0) + phase.until - begin
        return sum(share * of(Phase(1.0, *key)) for key, share in alike.items())


def check(arm: Train) -> Preset | None:
    """The preset an arm names; None where it names a config.json or trains a given model on.

    Raises `DomainLMError` (exit code 2) for a name that is neither, with a did-you-mean.
    """
    if arm.model is None or Path(arm.model).is_file():
        return None
    if arm.model not in PRESETS:
        close = difflib.get_close_matches(arm.model, PRESETS, 1, 0.4)
        raise DomainLMError(
            f"no model preset {arm.model!r}" + (f"; did you mean {close[0]!r}?" if close else ""),
            where=f"train.{arm.name}.model",
            why="it is neither a preset nor the path of a config.json",
            fix=f"use one of {', '.join(PRESETS)}",
            exit_code=USAGE,
        )
    return PRESETS[arm.model]


def settings(arm: Train, longest: int) -> Settings:
    """The arm's settings: the recipe's word, else the preset's, else careful defaults.

    `longest` is the model's own limit in tokens. A model trained on gets AdamW at a learning rate
    far below the one it was born with, so that what it knows is bent and not broken.
    """
    preset = check(arm)
    if preset is None:
        rate, batch = (1e-4, 2_048) if arm.init else (1e-3, 4_096)
        window = min(longest, SHARED_WINDOW)
        preset = Preset("gpt2", 0, 0, 0, 0, window, window, batch, "adamw", rate)
    context = arm.context or preset.context
    if context > longest:
        raise DomainLMError(
            f"a context of {context:,} tokens is longer than the model's {longest:,}",
            where=f"train.{arm.name}.context",
            fix=f"--set train.N.context={longest}",
            exit_code=USAGE,
        )
    batch = max(arm.batch_tokens or preset.batch_tokens, context)
    rate = preset.learning_rate * (batch / preset.batch_tokens) ** 0.5
    short = arm.short_context or min(preset.short, context)
    if context % short:
        raise DomainLMError(
            f"windows of {context:,} tokens cannot be cut into pieces of {short:,}",
            where=f"train.{arm.name}.short_context",
            fix=f"give a divisor of {context:,}, or {context:,} itself for no short context",
            exit_code=USAGE,
        )
    optimizer = arm.optimizer or preset.optimizer
    multiple = preset.embedding_rate if optimizer == preset.optimizer else 1.0
    return Settings(
        context,
        short,
        batch,
        optimizer,
        arm.learning_rate or rate,
        preset.candidates if arm.candidates is None else arm.candidates,
        arm.begin or preset.begin,
        arm.embedding_rate or multiple,
    )


def snapshots(count: int) -> list[str]:
    """Files of an arm's snapshots, in their order, in its folder."""
    return [f"snapshots/{place}.safetensors" for place in range(1, count + 1)]


def tokens_folder(arm: Train) -> str:
    """Where an arm's shards are: the run's own, or those in the tokenizer of what it goes on."""
    if arm.init is None:
        return "tokens"
    return f"tokens/{'stock' if arm.init == 'stock' else arm.name}"
