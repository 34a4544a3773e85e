"""An arm: a `[[train]]` block as model, settings and shards, checked against each other."""

import dataclasses
import functools
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from domainlm.artifacts import read_json, sha256_file
from domainlm.errors import DomainLMError
from domainlm.pretrained import Pretrained, relocate
from domainlm.recipe import Train
from domainlm.tokens.shards import check_shards, open_shards
from domainlm.training import distributed, induction, models, presets, spectral
from domainlm.training.batches import Batches

COUNTED = 20_000_000  # tokens that tell how often an id occurs
FORMAT = 5  # of plan and checkpoints: others are not gone on with


class Design:
    """An arm without its data: its model and its settings. Raises where they do not fit."""

    epoch_tokens: int | None = None  # of the train split in whole windows, where it is there

    def __init__(
        self, recipe: Train, source: Pretrained | None, vocabulary: int, separator: int
    ) -> None:
        self.recipe, self.name, self.source = recipe, recipe.name, source
        self.vocabulary, self.separator = vocabulary, separator
        self.config = configuration(recipe, source, vocabulary, separator)
        self.dtype = torch.float32 if source is None else self.config.dtype or torch.float32
        longest = getattr(self.config, "max_position_embeddings", None) or 2**20
        self.settings = presets.settings(recipe, longest)
        self.context = self.settings.context
        self.windows = self.settings.batch_tokens // self.context
        self.batch_tokens = self.windows * self.context
        check_windows(self.name, self.windows)
        self.flops_per_token = self.settings.mean(
            lambda phase: models.flops_per_token(self.config, phase.context, phase.candidates)
        )

    def new_model(self) -> Any:
        """The model as it is before the first step, in float32, on the CPU."""
        if self.source is not None:
            return models.load_pretrained(self.source.path)
        return models.build(self.recipe, self.vocabulary, self.separator, self.recipe.seed)


class Arm(Design):
    """One arm of the recipe with its shards."""

    def __init__(self, root: Path, arguments: dict[str, Any]) -> None:
        recipe, init = Train.model_validate(arguments["arm"]), arguments.get("init")
        self.tokens = root / presets.tokens_folder(recipe)
        self.target = root / "models" / recipe.name
        self.index = read_json(self.tokens / "index.json")
        source = relocate(init["name"], init["sha256"]) if init else None
        super().__init__(recipe, source, self.index["vocabulary"], self.index["separator"])
        self.shards = open_shards(self.tokens, "train")
        self.batches = Batches(self.shards, self.context, self.windows, recipe.seed)
        self.epoch_tokens = self.batches.epoch_tokens
        self.bytes_per_token = self.shards.bytes / max(1, self.shards.total)
        # What a checkpoint belongs to; a name for each part, so that an error can tell which.
        self.identity = {"format": FORMAT, **arguments["arm"], "init": init or ""}
        self.identity["config"] = arguments.get("config_sha256", "")
        preset = presets.check(recipe)  # another version may have another by this name
        self.identity["preset"] = dataclasses.asdict(preset) if preset else ""
        self.identity["tokens in"] = sha256_file(self.tokens / "index.json")

    def new_model(self) -> Any:
        """The model before the first step; from scratch, begun with counts as the settings say."""
        model = super().new_model()
        if self.source is None and self.settings.begin != "random":
            with torch.no_grad():
                model.get_input_embeddings().weight.copy_(self.embeddings)
            if self.settings.begin == "copies" and self.config.model_type == "lfm2":
                induction.begin(model, self.counts, self.context)
        return model

    @functools.cached_property
    def embeddings(self) -> Tensor:
        """What the rows of the token table are to begin with, up to a turn of the axes."""
        width, deviation = self.config.hidden_size, self.config.initializer_range
        rows = self.config.vocab_size
        return spectral.embeddings(self.first_ids(), rows, width, deviation, self.recipe.seed)

    @functools.cached_property
    def counts(self) -> Tensor:
        """How often each id stands in the first tokens of train."""
        return torch.from_numpy(np.bincount(self.first_ids(), minlength=self.config.vocab_size))

    def first_ids(self) -> npt.NDArray[np.int64]:
        """The part of train that is counted."""
        return self.shards.window(0, min(self.shards.total, COUNTED))

    @property
    def frequencies(self) -> Tensor | None:
        """`counts`, where a sampled softmax asks for them."""
        return self.counts if self.settings.candidates else None

    def check_tokens(self) -> None:
        """Raise where a shard is not the one that the index speaks of, or holds unknown ids."""
        for split in ("train", "validation"):
            check_shards(self.tokens, split)


def configuration(recipe: Train, source: Pretrained | None, vocabulary: int, separator: int) -> Any:
    """The config of an arm's model; raises where the tokenizer's ids go beyond its rows."""
    if source is None:
        return models.configure(recipe, vocabulary, separator)
    config = models.load_config(source.path)
    models.check_vocabulary(config, vocabulary, str(source.path))
    return config


def check_windows(name: str, windows: int) -> None:
    """Raise where a batch cannot be dealt out evenly to the processes of torchrun."""
    if windows % distributed.size():
        raise DomainLMError(
            f"the batch of arm {name!r} cannot be shared by {distributed.size()} processes",
            why=f"it has {windows} windows, and each process takes as many as the others",
            fix="give a --set train.N.batch_tokens that is a multiple of processes x context",
        )
