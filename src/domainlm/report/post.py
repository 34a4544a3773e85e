"""The words to send: a note to ask a few people first, the channel post, and the model cards."""

import json
import re

from domainlm.evaluation.evidence import Evidence
from domainlm.report import view, words
from domainlm.report.words import NOT_MEASURED

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def escape(text: str) -> str:
    """`text` on one line, with everything that Markdown would read as markup made plain."""
    return re.sub(r"([\\`*_\[\]<>#|~&$])", r"\\\1", view.one_line(text))


def post(evidence: Evidence) -> str:
    """`post.md`: the note to three or four people, then the post."""
    lines = words.verdict(evidence)
    notices = [f"**{escape(notice)}**\n\n" for notice in evidence.notices]
    doubts = [escape(line) for line in lines[:1] + lines[3:4]]
    return f"""{"".join(notices)}# First: a note to the three or four people to ask

Hello, before I post this more widely: would you look for holes in it? The report is one file that
opens without a network (`report/index.html`).

The claim: {escape(words.headline(evidence))}.

- {doubts[0]}
- {doubts[1]}

What I would most like to know: is the comparison fair, what would you have measured instead, and
which sentence would you not sign?

---

# Then: the post

**{escape(words.headline(evidence))}.**

{_bullets(lines)}

{_statement(evidence)}

**What it is not.** {_limits(evidence)}

To do it again: `{view.one_line(evidence.command).replace("`", "'")}`
"""


def _bullets(lines: list[str]) -> str:
    return "\n".join(f"- {escape(line)}" for line in lines)


def _statement(evidence: Evidence) -> str:
    """What was read and on what it ran."""
    c, nouns = evidence.corpus, view.nouns(evidence)
    cut = f"held out from {c.cut} on" if c.cut else f"held out by {nouns.group}"
    return (
        f"**Data and hardware.** {words.plural(c.documents, nouns.document, nouns.documents)} "
        f"({words.size(c.text_bytes)} of text) "
        f"of {words.plural(c.groups, nouns.group, nouns.groups)} from {escape(c.source)}, {cut}; "
        f"{words.count(c.duplicates)} duplicates were dropped. "
        f"Trained and measured on {escape(words.machine(evidence))}. "
        f"Held-out text: sha256 {evidence.held_out_sha256[:16]}."
    )


def _limits(evidence: Evidence) -> str:
    nouns = view.nouns(evidence)
    text = (
        "It is a language model that continues text: it answers no questions, knows no facts for "
        "sure, and invents names and figures that look right. What is measured is how well it "
        f"predicts held-out text of this one corpus, not whether it helps anybody in their work. "
        f"{nouns.groups.capitalize()} outside this corpus may be harder."
    )
    stock = evidence.models.get("stock")
    if not view.has_stock(evidence):
        text += " It was not compared with any pretrained model."
    elif stock and stock.notes:
        text += f" About the stock model: {escape('; '.join(stock.notes))}."
    return text


def card(evidence: Evidence, arm: str) -> str:
    """The Hugging Face model card of one arm; what is not known is said to be not measured."""
    model, cost = evidence.models.get(arm), view.cost(evidence, arm)
    role = model.role if model else NOT_MEASURED
    stock = evidence.models.get("stock")
    front = ["library_name: transformers", "pipeline_tag: text-generation", "tags:"]
    front += [f"- {json.dumps(tag)}" for tag in ("domainlm", f"domainlm-{role}")]
    if role == "continued" and stock and _HUB_ID.fullmatch(stock.source):
        front.append(f"base_model: {json.dumps(stock.source)}")
    scored = view.splits(evidence) or ["held out"]
    facts = {
        "Role": role,
        "Parameters": words.count(model.parameters) if model else NOT_MEASURED,
        "Vocabulary": words.count(model.vocabulary) if model else NOT_MEASURED,
        "Weights, sha256": (model.sha256 if model else None) or NOT_MEASURED,
        "Training time": words.duration(cost.seconds) if cost else NOT_MEASURED,
        "Training tokens": words.count(cost.tokens) if cost else NOT_MEASURED,
        "Epochs": f"{cost.epochs:.2f}" if cost else NOT_MEASURED,
        "Training FLOPs": f"{cost.flops:.2e}" if cost else NOT_MEASURED,
        **{f"Bits per byte, {split}": _score(evidence, arm, split) for split in scored},
        "Energy, kWh": words.energy(cost),
        "Machine": words.machine(evidence),
        "Notes": "; ".join(model.notes) if model and model.notes else "none",
        "Licence": "not stated: decide before you pass it on",
    }
    table = "\n".join(f"| {escape(name)} | {escape(value)} |" for name, value in facts.items())
    notices = "".join(f"> {escape(notice)}\n\n" for notice in evidence.notices)
    return f"""---
{chr(10).join(front)}
---

# {escape(view.label(evidence, arm))}

{notices}A causal language model of the run {escape(evidence.name)}, made by DomainLM.

| | |
|---|---|
{table}

## What it is worth

{_comparison(evidence, arm)}

{escape(words.verdict(evidence)[3])}

## Training data

{_statement(evidence)}

## Use

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("models/{arm}")
model = AutoModelForCausalLM.from_pretrained("models/{arm}")
```

## Limits

{_limits(evidence)} Bias, memorised text and personal data in its output: {NOT_MEASURED}.
"""


def _comparison(evidence: Evidence, arm: str) -> str:
    split = view.main_split(evidence)
    best = view.best_baseline(evidence)
    rivals = ["stock"] if view.has_stock(evidence) else []
    rivals += [best.model] if best else []
    if view.loss(evidence, arm, split) is None or not rivals:
        return f"Compared with other models: {NOT_MEASURED}."
    return "\n".join(f"- {escape(words.against(evidence, arm, b, split))}" for b in rivals)


def _score(evidence: Evidence, arm: str, split: str) -> str:
    row = view.loss(evidence, arm, split)
    if row is None:
        return NOT_MEASURED
    return f"{row.bits_per_byte:.4f} (95 % interval {row.ci95[0]:.4f} to {row.ci95[1]:.4f})"
