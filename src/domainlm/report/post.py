"""The words to send: a note to the few people to ask first, then the post for the big channel."""

from collections.abc import Sequence

from domainlm.evaluation.evidence import Evidence, Sample
from domainlm.report import findings, provenance, view, words
from domainlm.report.arms import limits, only, statement, would_take
from domainlm.report.card import card
from domainlm.report.provenance import escape

__all__ = ["card", "doubts", "escape", "post"]


def post(evidence: Evidence, samples: Sequence[Sample] = ()) -> str:
    """`post.md`: the note to three or four people, then the post, each with the notices."""
    lines = words.verdict(evidence)
    notices = "".join(f"**{escape(notice)}**\n\n" for notice in evidence.notices)
    nouns = view.nouns(evidence)
    takes = [
        text
        for arm in words.ranked_arms(evidence)
        if (text := would_take(evidence, arm))
        and not any(said in lines[4] for said in words.takes(only(evidence, arm)))
    ]
    more = [*findings.general(evidence), *findings.gates(evidence)]
    leaks = [*provenance.leak_lines(evidence), *findings.copied(evidence, samples)]
    leaks += provenance.personal(evidence)
    missing = f"**What it would take.**\n\n{_bullets(takes)}\n\n" if takes else ""
    return f"""{notices}# First: a note to the three or four people to ask

To one who knows these {nouns.documents}, one who knows statistics, one who would use it, and one
who answers for the data:

Hello, before I post this more widely: would you look for holes in it? The report is one file that
opens without a network (`report/index.html`).

The claim: {escape(words.headline(evidence))}. {escape(lines[0])}

What I am least sure of:

{_bullets(doubts(evidence))}

What I would most like to know: is the comparison fair, what would you have measured instead, and
which sentence would you not sign? If you would rather it were not posted, say so.

---

# Then: the post

{notices}**{escape(words.headline(evidence))}.**

{_bullets([*lines, *more])}

{missing}{statement(evidence)}

**What it may give away.** {escape(" ".join(leaks))}

**What it is not.** {escape(limits(evidence))}

To do it again: `{view.one_line(evidence.command).replace("`", "'")}`
"""


def _bullets(lines: list[str]) -> str:
    return "\n".join(f"- {escape(line)}" for line in lines)


def doubts(evidence: Evidence) -> list[str]:
    """What speaks against the result: certainty, overlap, seeds, limits not met, memorisation."""
    found = [words.verdict(evidence)[3]]
    audit = evidence.corpus.audit
    if audit and "unseen" in audit.splits:
        part = audit.splits["unseen"]
        found.append(
            f"{words.percent(part.max)} of the {audit.n}-word sequences of one unseen "
            f"{view.nouns(evidence).document} stand in train too, "
            f"{words.percent(part.median)} in the median."
        )
    found += [findings.spreads(evidence)]
    unmet = [row for row in evidence.gates if not row.met]
    found += findings.gates(evidence.model_copy(update={"gates": unmet}))
    ours = [row for row in evidence.extraction if row.model in view.arms(evidence)]
    worst = max(ours, key=lambda row: row.difference).model if ours else None
    return [*found, provenance.leak_lines(evidence, worst)[0]]
