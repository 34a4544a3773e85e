"""What is said of one arm, and of its data, wherever words go out: card and post."""

import math

from domainlm.evaluation.evidence import Evidence
from domainlm.report import findings, view, words
from domainlm.report.provenance import declared, escape


def statement(evidence: Evidence) -> str:
    """What was read and on what it ran, as a paragraph of Markdown."""
    c, nouns, said = evidence.corpus, view.nouns(evidence), declared(evidence)
    cut = f"held out from {c.cut} on" if c.cut else f"held out by {nouns.group}"
    text = (
        f"{words.plural(c.documents, nouns.document, nouns.documents)} "
        f"({words.size(c.text_bytes)} of text) of "
        f"{words.plural(c.groups, nouns.group, nouns.groups)} from {c.source}, {cut}; "
        f"{words.count(c.duplicates)} duplicates were dropped. Licence of the text: "
        f"{f'“{said.licence}”, as the user declares it' if said.licence else 'not declared'}. "
        f"Trained and measured on {words.machine(evidence)}. "
        f"Held-out text: sha256 {evidence.held_out_sha256[:16]}."
    )
    if said.attestation:
        text += f" Attested by the user, not checked: “{said.attestation}”."
    return f"**Data and hardware.** {escape(text)}"


def limits(evidence: Evidence) -> str:
    """What the models are not, in plain text."""
    nouns = view.nouns(evidence)
    text = (
        "It is a language model that continues text: it answers no questions, knows no facts for "
        "sure, and invents names and figures that look right. What is measured is how well it "
        f"predicts held-out text of this one corpus, not whether it helps anybody in their work. "
        f"{words.capital(nouns.groups)} outside this corpus may be harder."
    )
    stock = evidence.models.get("stock")
    if not view.has_stock(evidence):
        text += " It was not compared with any pretrained model."
    elif stock and stock.notes:
        text += f" About the stock model: {'; '.join(stock.notes)}."
    return text


def only(evidence: Evidence, arm: str) -> Evidence:
    """The evidence as if `arm` were the only model that the run trained."""
    others = {name for name in view.arms(evidence) if name != arm}
    return evidence.model_copy(
        update={
            "models": {n: model for n, model in evidence.models.items() if n not in others},
            "general": [row for row in evidence.general if row.model not in others],
            "spreads": [row for row in evidence.spreads if arm in row.models],
            "gates": [row for row in evidence.gates if row.gap.startswith(f"{arm}-")],
        }
    )


def further(evidence: Evidence, arm: str) -> list[str]:
    """What else is known of an arm: forgetting, other seeds, limits that the recipe sets."""
    alone = only(evidence, arm)
    return [*findings.general(alone), findings.spreads(alone), *findings.gates(alone)]


def would_take(evidence: Evidence, arm: str) -> str:
    """What an arm that does not beat the stock model would need; empty for one that does.

    A gap that cannot be told from none needs more groups, for an interval narrows with the square
    root of their number; one that is lost needs more or other training.
    """
    split, nouns = view.main_split(evidence), view.nouns(evidence)
    gap = view.gap(evidence, arm, "stock", split)
    if gap is None or (words.apart(gap) and gap.bits_per_byte < 0):
        return ""
    if words.apart(gap):
        other = next((o for o in view.arms(evidence) if o != arm and _ahead(evidence, o)), None)
        more = (
            [f"The arm “{other}”, a start from the stock model, is ahead of it."] if other else []
        )
        return " ".join([*words.takes(only(evidence, arm)), *more])
    text = f"To tell “{arm}” from the stock model takes text of more {nouns.groups} than "
    text += f"{gap.groups:,}"
    if gap.groups < 2 or not gap.bits_per_byte:
        return f"{text}."
    low, high = words.ends(gap.ci95)
    half = (high - low) / 2
    number = max(gap.groups + 1, math.ceil(gap.groups * (half / gap.bits_per_byte) ** 2))
    return f"{text}: about {number:,}, if the difference is as large as it looks."


def _ahead(evidence: Evidence, arm: str) -> bool:
    gap = view.gap(evidence, arm, "stock", view.main_split(evidence))
    if gap is None or not view.from_stock(evidence, arm):
        return False
    return words.apart(gap) and gap.bits_per_byte < 0
