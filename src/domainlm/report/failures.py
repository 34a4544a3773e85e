"""The worst of a model, chosen by rules, so that nobody can leave it out."""

import dataclasses
from collections.abc import Sequence

from domainlm.evaluation.evidence import Evidence, Reading, Sample
from domainlm.report import heat, view
from domainlm.report.numbers import percent


@dataclasses.dataclass(frozen=True)
class Failure:
    """The rule that chose a text, what it measured, and the text."""

    rule: str
    found: str
    source: str
    text: str


def worst(
    evidence: Evidence, samples: Sequence[Sample], readings: Sequence[Reading]
) -> list[Failure]:
    """The arms' most repetitive and most copied continuation, and the best arm's worst paragraph.

    Of equals the first, in the order of the prompts.
    """
    arms = view.arms(evidence)
    own = [s for s in samples if s.model in arms]
    found = []
    if own:
        row = max(own, key=lambda s: s.repetition)
        if row.repetition > 0:
            share = f"{percent(row.repetition)} of its word 4-grams had stood in it before"
            found.append(_sample("The continuation that repeats itself most", share, row))
        row = max(own, key=lambda s: s.copied_words)
        if row.copied_words:
            words = f"{row.copied_words:,} words in a row stand in “{row.copied_from}”"
            found.append(_sample("The continuation that copies most", words, row))
    if arms and (paragraph := _paragraph(evidence, arms[0], samples, readings)):
        found.append(paragraph)
    return found


def _sample(rule: str, share: str, row: Sample) -> Failure:
    found = f"{share}; seed {row.seed}"
    return Failure(f"{rule}: “{row.model}”", found, view.origin(row.source), row.text.strip())


def _paragraph(
    evidence: Evidence, arm: str, samples: Sequence[Sample], readings: Sequence[Reading]
) -> Failure | None:
    """The text on which the arm does worst against the stock model."""
    bits: dict[str, dict[str, float]] = {}
    prompts = {p.prompt_id: p for p in view.prompts(evidence, samples)}
    for reading in readings:
        if reading.model in (arm, "stock") and reading.prompt_id in prompts:
            size = len(prompts[reading.prompt_id].prompt)
            block = heat.block(reading, size)
            if block.bits_per_byte is not None:
                bits.setdefault(reading.prompt_id, {})[reading.model] = block.bits_per_byte
    both = {name: of[arm] - of["stock"] for name, of in bits.items() if len(of) == 2}
    if not both:
        return None
    name = max(both, key=lambda name: both[name])
    ours, stock = bits[name][arm], bits[name]["stock"]
    told = f"does worst against the stock model: “{arm}”"
    if ours < stock:
        told = f"has its smallest lead over the stock model: “{arm}”"
    return Failure(
        f"The paragraph on which the best model here {told}",
        f"{ours:.3f} bits per byte against {stock:.3f}",
        prompts[name].source,
        (prompts[name].true_text or "").strip(),
    )
