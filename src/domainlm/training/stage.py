"""The stage `train`: one task an arm, one after another, each with the whole machine."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from domainlm.artifacts import Run, Task, sha256_file
from domainlm.console import say
from domainlm.pretrained import locate
from domainlm.training import presets

OUTPUTS = (
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
    "training.json",
    "training.jsonl",
)


def waves(run: Run) -> Iterator[list[Task]]:
    """One wave, of one task, for each arm; `training/ARM` writes `models/ARM`."""
    for arm in run.recipe.train:
        presets.check(arm)  # a typing error in the last arm must not wait for the first
    for arm in run.recipe.train:
        arguments: dict[str, Any] = {"arm": arm.model_dump(mode="json")}
        if arm.init == "stock" and run.stock is None:
            say(f"  {arm.name}: skipped, there is no stock model to train on")
            continue
        if arm.init is not None:
            found = run.stock if arm.init == "stock" else locate(arm.init)
            assert found is not None
            arguments["init"] = {"name": found.name, "sha256": found.sha256}
        elif arm.model not in presets.PRESETS:
            arguments["config_sha256"] = sha256_file(Path(str(arm.model)))
        folder = presets.tokens_folder(arm)
        names = ("index.json", "tokenizer.json", "tokenizer_config.json")
        yield [
            Task(
                f"training/{arm.name}",
                train,
                arguments,
                tuple(f"{folder}/{name}" for name in names),
                tuple(
                    f"models/{arm.name}/{name}"
                    for name in (*OUTPUTS, *presets.snapshots(arm.snapshots))
                ),
                in_process=True,
            )
        ]


def train(root: Path, arguments: dict[str, Any]) -> Mapping[str, int]:
    """Task: train one arm, or go on with it. Loads torch only now: the CLI answers at once."""
    from domainlm.training import loop

    return loop.train(root, arguments)
