"""The model card of an arm, in the form of the Hugging Face Hub.

Sections follow the Hub's annotated template (Mitchell 2019). No field is empty: what was not
measured, declared or stated says so.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from domainlm.evaluation.evidence import Evidence, Probe
from domainlm.report import findings, provenance, view, words
from domainlm.report.arms import further, limits, only, statement, would_take
from domainlm.report.provenance import declared, escape
from domainlm.report.words import NOT_MEASURED

NOT_STATED = "not stated"
_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
_LICENCE_ID = re.compile(r"[a-z0-9][a-z0-9.-]*")
# docs/use-the-model.md has the same code. It is plain torch, since LFM2 has no class for
# classification in transformers; the separator stands first, as it did in training.
_USE = """\
```python
from transformers import AutoModelForCausalLM, AutoTokenizer

folder = "FOLDER"
tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="right")
model = AutoModelForCausalLM.from_pretrained(folder)
start = tokenizer(tokenizer.bos_token + "In the year ended", return_tensors="pt")
written = model.generate(**start, max_new_tokens=40, do_sample=True, temperature=0.8)
print(tokenizer.decode(written[0], skip_special_tokens=True))
```

Texts as vectors:

```python
import torch
from transformers import AutoModel

base = AutoModel.from_pretrained(folder, dtype=torch.float32)
tokenizer.pad_token = tokenizer.eos_token
LAYER, POOLING = CHOSEN


def embed(texts):
    rows = [tokenizer.bos_token + text for text in texts]
    most = base.config.max_position_embeddings
    batch = tokenizer(rows, padding=True, truncation=True, max_length=most, return_tensors="pt")
    states = base(**batch, output_hidden_states=True).hidden_states[LAYER]
    kept = batch["attention_mask"].unsqueeze(-1)
    if POOLING == "last":
        return states[torch.arange(len(rows)), kept.sum((1, 2)) - 1]
    return (states * kept)[:, 1:].sum(1) / kept[:, 1:].sum(1).clamp(min=1)


with torch.inference_mode():
    print(embed(["Sales rose because of demand.", "A court has to decide."]).shape)
```

Trained on as a classifier, all weights and a linear layer:

```python
texts = ["Sales rose.", "Sales fell.", "Profits rose.", "Profits fell."]
labels = torch.tensor([1, 0, 1, 0])
head = torch.nn.Linear(base.config.hidden_size, 2)
optimizer = torch.optim.AdamW(
    [{"params": base.parameters(), "lr": 5e-5}, {"params": head.parameters(), "lr": 1e-2}]
)
base.train()
for _ in range(20):
    for part in torch.randperm(len(texts)).split(2):
        logits = head(embed([texts[n] for n in part]))
        loss = torch.nn.functional.cross_entropy(logits, labels[part])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
base.eval()
with torch.inference_mode():
    print(head(embed(["Prices rose."])).softmax(-1))
```

What else loads it (llama.cpp, vLLM), and how, is in DomainLM's docs/loading.md."""


def card(evidence: Evidence, arm: str, training: Mapping[str, Any] | None = None) -> str:
    """`models/ARM/README.md`; `training` is the arm's training.json."""
    model = evidence.models.get(arm)
    notices = "".join(f"> {escape(notice)}\n\n" for notice in evidence.notices)
    return f"""---
{_front(evidence, arm)}
---

# {escape(view.label(evidence, arm))}

{notices}{escape(_summary(evidence))}

## Model details

{_table(_details(evidence, arm))}

## Uses

- Direct use: continuing text like its corpus; measuring how surprising such text is.
- Downstream use: features for classifiers and retrieval; {_probed(evidence, arm)}.
- Out of scope: answering questions, advice, decisions about people or money, and any text that
  passes for a document somebody wrote.

## Bias, risks and limitations

{escape(limits(evidence))}

{_bullets([*findings.limits(only(evidence, arm)), *provenance.leak_lines(evidence, arm)])}
- Bias in what it writes: {NOT_MEASURED}.

## How to get started

{_use(evidence, arm)}

## Training

{statement(evidence)}

{_table(_procedure(evidence, arm, training or {}))}

## Evaluation

{_bullets(_worth(evidence, arm))}

{_table(_scores(evidence, arm))}

## Environmental impact

{_table(_impact(evidence, arm))}

## More

{_table(_more(evidence, model.notes if model else []))}
"""


def _front(evidence: Evidence, arm: str) -> str:
    """The YAML that the Hub reads; values are JSON, which YAML holds."""
    model, stock = evidence.models.get(arm), evidence.models.get("stock")
    tags = ["domainlm", *([f"domainlm-{model.role}"] if model else [])]
    lines = ["library_name: transformers", "pipeline_tag: text-generation", f"tags: {_yaml(tags)}"]
    licence = declared(evidence).model_licence
    if _LICENCE_ID.fullmatch(licence):
        lines.append(f"license: {_yaml(licence)}")
    elif licence:
        lines += ['license: "other"', f"license_name: {_yaml(licence)}"]
    if view.from_stock(evidence, arm) and stock and _HUB_ID.fullmatch(stock.source):
        lines.append(f"base_model: {_yaml(stock.source)}")
    metrics = [
        {"type": "bits_per_byte", "name": f"bits per byte, {row.split}",
         "value": round(row.bits_per_byte, 4)}
        for split in view.splits(evidence)
        if (row := view.loss(evidence, arm, split))
    ]  # fmt: skip
    if metrics:
        dataset = {"type": "text", "name": f"held-out text of {evidence.name}"}
        result = {"task": {"type": "text-generation"}, "dataset": dataset, "metrics": metrics}
        lines.append(f"model-index: {_yaml([{'name': arm, 'results': [result]}])}")
    return "\n".join(lines)


def _yaml(value: Any) -> str:
    """JSON with nothing in it that a page would take for a tag."""
    return json.dumps(value, ensure_ascii=False).replace("<", "\\u003c").replace("\u2028", " ")


def _table(facts: Mapping[str, str]) -> str:
    rows = "\n".join(f"| {escape(name)} | {escape(value)} |" for name, value in facts.items())
    return f"| | |\n|---|---|\n{rows}"


def _bullets(lines: list[str]) -> str:
    return "\n".join(f"- {escape(line)}" for line in lines)


def _summary(evidence: Evidence) -> str:
    return (
        f"A causal language model of the run {evidence.name}, made by DomainLM on "
        f"{view.nouns(evidence).corpus}. What it is worth stands under Evaluation."
    )


def _details(evidence: Evidence, arm: str) -> dict[str, str]:
    model, said = evidence.models.get(arm), declared(evidence)
    start = "nothing: from scratch"
    if view.from_stock(evidence, arm):
        start = view.label(evidence, "stock")
    elif model is None or model.role == "continued":
        start = "a pretrained model that the recipe names"
    return {
        "Developed by": NOT_STATED,
        "Model type": "decoder-only transformer that predicts the next token",
        "Role": model.role if model else NOT_MEASURED,
        "Languages": NOT_MEASURED,
        "Licence": said.model_licence or "not stated: decide before you pass it on",
        "Trained from": start,
        "Parameters": words.count(model.parameters) if model else NOT_MEASURED,
        "Vocabulary": words.count(model.vocabulary) if model else NOT_MEASURED,
        "Weights, sha256": (model.sha256 if model else None) or NOT_MEASURED,
    }


def _use(evidence: Evidence, arm: str) -> str:
    """How to use the model; texts are embedded as the run's largest probe chose, if there is one.

    The choice was made on train alone.
    """
    best = _largest_probe(evidence, arm)
    chosen = '-1, "mean"  # of the last layer: no probe chose one'
    if best and best.layer is not None:
        chosen = f'{best.layer}, "{best.pooling or "mean"}"  # chosen by the run\'s probe'
    return _USE.replace("FOLDER", f"models/{arm}").replace("CHOSEN", chosen)


def _procedure(evidence: Evidence, arm: str, training: Mapping[str, Any]) -> dict[str, str]:
    cost = view.cost(evidence, arm)
    settings = ("optimizer", "learning_rate", "embedding_rate", "batch_tokens", "context",
                "precision", "seed", "steps", "best_step", "tokens_per_second")  # fmt: skip
    return {
        "Objective": "cross-entropy of the next token",
        "Training tokens": words.count(cost.tokens) if cost else NOT_MEASURED,
        "Epochs": words.passes(cost.epochs) if cost else NOT_MEASURED,
        "Training FLOPs": f"{cost.flops:.2e}" if cost else NOT_MEASURED,
        "Training time": words.duration(cost.seconds) if cost else NOT_MEASURED,
        **{words.capital(s.replace("_", " ")): _setting(training.get(s)) for s in settings},
    }


def _setting(value: Any) -> str:
    if value is None or isinstance(value, str):
        return value or "not recorded"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.6g}"


def _scores(evidence: Evidence, arm: str) -> dict[str, str]:
    found = {}
    for split in view.splits(evidence) or ["held out"]:
        row = view.loss(evidence, arm, split)
        found[f"Bits per byte, {split}"] = NOT_MEASURED if row is None else (
            f"{row.bits_per_byte:.4f} ({words.between(row.ci95, '.4f')})"
        )  # fmt: skip
    return found


def _impact(evidence: Evidence, arm: str) -> dict[str, str]:
    cost = view.cost(evidence, arm)
    money = f"{cost.money:.2f} {cost.currency}" if cost and cost.money is not None else NOT_MEASURED
    return {
        "Machine": words.machine(evidence),
        "Time": words.duration(cost.seconds) if cost else NOT_MEASURED,
        "Energy, kWh": words.energy(cost),
        "Carbon emitted": NOT_MEASURED,
        "Money": money,
    }


def _more(evidence: Evidence, notes: list[str]) -> dict[str, str]:
    return {
        "Notes": "; ".join(notes) or "none",
        "To do it again": evidence.command,
        "Where data and software come from": "report/provenance.md and report/bom.cdx.json",
        "Citation": NOT_STATED,
        "Contact": NOT_STATED,
    }


def _worth(evidence: Evidence, arm: str) -> list[str]:
    certainty, takes = words.verdict(evidence)[3], would_take(evidence, arm)
    return [*_comparison(evidence, arm), certainty, *further(evidence, arm), *filter(None, [takes])]


def _comparison(evidence: Evidence, arm: str) -> list[str]:
    split, best = view.main_split(evidence), view.best_baseline(evidence)
    rivals = ["stock"] if view.has_stock(evidence) else []
    rivals += [best.model] if best else []
    if view.loss(evidence, arm, split) is None or not rivals:
        return [f"Compared with other models: {NOT_MEASURED}."]
    return [words.against(evidence, arm, rival, split) for rival in rivals]


def _largest_probe(evidence: Evidence, arm: str) -> Probe | None:
    """The arm's probe with most labels, then with most to learn from."""
    rows = [row for row in evidence.probe if row.features == arm]
    return max(rows, key=lambda row: (len(row.labels), row.labels_per_class), default=None)


def _probed(evidence: Evidence, arm: str) -> str:
    best = _largest_probe(evidence, arm)
    if best is None:
        return f"how good they are was {NOT_MEASURED}"
    size = (best.task, best.labels, best.labels_per_class)
    words_alone = [
        f"; a bag of words {words.percent(row.accuracy)}"
        for row in evidence.probe
        if row.features == "TF-IDF" and (row.task, row.labels, row.labels_per_class) == size
    ]
    told = f"asked {best.task}, {words.percent(best.accuracy)} right{''.join(words_alone)}"
    return escape(told)
