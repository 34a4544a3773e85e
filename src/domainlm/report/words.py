"""From the evidence's numbers to wording: pure functions, no number typed by hand."""

import math

from domainlm.evaluation import statistics
from domainlm.evaluation.evidence import Cost, Evidence, Gap, Slice, SliceGap
from domainlm.report import view
from domainlm.report.numbers import (
    NOT_MEASURED,
    between,
    capital,
    count,
    duration,
    ends,
    fewer_bits,
    passes,
    percent,
    plural,
    rounded,
    short,
    size,
)

__all__ = [  # of `numbers`, so that one import has all words
    "NOT_MEASURED",
    "between",
    "capital",
    "count",
    "duration",
    "ends",
    "fewer_bits",
    "passes",
    "percent",
    "plural",
    "short",
    "size",
]

ENOUGH_GROUPS = statistics.FEW_GROUPS
CLAIM_GROUPS = 20  # below, a difference is told, but no claim is made of it
SURE = 0.05  # p, of a slice adjusted for their number: below
HALF = 0.5  # of held-out passages completed, of a model that nothing can be compared with
MOST_DOUBLINGS = 7.0  # of training: beyond, a prediction from its last part is a guess
MANY_EPOCHS = 4.0  # beyond about four passes, repeated text teaches little
BY = {
    "section": "By section",
    "year": "By year",
    "novelty": "By novelty (tenths, by how many word 13-grams train does not have)",
    "kind": "By kind of character",
}


def apart(gap: Gap | SliceGap) -> bool:
    """True where the interval excludes zero and there is more than one group to draw from."""
    low, high = ends(gap.ci95)
    return gap.groups > 1 and (low > 0 or high < 0)


def shown(gap: Gap | SliceGap) -> bool:
    """True where the models are apart, on groups enough to say so; a slice also by its p."""
    likely = not isinstance(gap, SliceGap) or gap.p_holm < SURE
    return apart(gap) and gap.groups >= CLAIM_GROUPS and likely


def hollow(evidence: Evidence, slices: bool = False) -> str:
    """The rule of `shown`, for the captions of charts."""
    also = f", or corrected p is {SURE} or more" if slices else ""
    return (
        f"A point is hollow where the interval holds zero or there are fewer than "
        f"{CLAIM_GROUPS} {view.nouns(evidence).groups}{also}."
    )


def ahead(evidence: Evidence, gap: Gap) -> str:
    """For how many groups the first is ahead, or the second where the gap was turned round."""
    nouns = view.nouns(evidence)
    stored = any((r.a, r.b, r.split) == (gap.a, gap.b, gap.split) for r in evidence.gaps)
    number = f"{gap.wins:,} of {plural(gap.groups, nouns.group, nouns.groups)}"
    if gap.wins == gap.groups > 1:
        number = f"all {gap.groups:,} {nouns.groups}"
    return f"{'' if stored else 'the second '}ahead for {number}"


def split_words(evidence: Evidence, split: str | None) -> str:
    """What a split's text is, in plain words."""
    groups = view.nouns(evidence).groups
    if split == "unseen":
        return f"text of {groups} never trained on"
    if split == "seen":
        return f"{'later text' if evidence.corpus.cut else 'other text'} of {groups} trained on"
    return f"the split {split}"


def slice_label(row: Slice | SliceGap) -> str:
    """What a slice is called: a tenth of novelty says which end is which."""
    tenth, value = {"0": "1 (most like train)", "9": "10 (newest)"}, view.one_line(row.value)
    if row.by != "novelty" or not value.isdigit():
        return value
    return f"tenth {tenth.get(value, int(value) + 1)}"


def machine(evidence: Evidence) -> str:
    """The machine as the environment names it."""
    known = evidence.environment
    parts = [known[key] for key in ("machine", "gpu", "device", "cpu") if known.get(key)]
    return view.one_line(", ".join(dict.fromkeys(parts))) or "a machine that was not recorded"


def who(evidence: Evidence, name: str) -> str:
    """A model in a sentence: arms by role, name and size, the others by their title."""
    model, title = evidence.models.get(name), view.label(evidence, name)
    if model is None or model.role in ("baseline", "other"):
        return title
    if model.role == "stock":
        return f"the stock model {title}"
    of = f" ({short(model.parameters)} parameters)" if model.parameters else ""
    kind = "from-scratch" if model.role == "scratch" else "continued"
    return f"the {kind} model “{name}”{of}"


def against(
    evidence: Evidence, a: str, b: str, split: str | None, *, where: str = "", rival: str = ""
) -> str:
    """One sentence: `a` against `b` on the same bytes, honest about the direction.

    `where` and `rival` replace the names of the text and of `b` where they have just been said.
    """
    first, second = capital(who(evidence, a)), rival or who(evidence, b)
    where = where or split_words(evidence, split)
    gap = view.gap(evidence, a, b, split)
    ours, theirs = view.loss(evidence, a, split), view.loss(evidence, b, split)
    if ours is None or theirs is None:
        return f"{first} and {second} were not both measured on {where}."
    if gap is None:
        return (
            f"{first} has {ours.bits_per_byte:.3f} bits per byte and {second} "
            f"{theirs.bits_per_byte:.3f} on {where}; no paired interval was computed."
        )
    if some := view.part(evidence, gap):
        where += f" ({some})"
    base = view.base(evidence, gap)
    bits = "" if base is None else f", {fewer_bits(base, base + gap.bits_per_byte)}"
    wins = ahead(evidence, gap)
    if not apart(gap):
        return (
            f"Between {who(evidence, a)} and {second} no difference could be shown on {where}: "
            f"{gap.bits_per_byte:+.3f} bits per byte ({between(gap.ci95, '+.3f')}), "
            f"{'the first ' if wins.startswith('ahead') else ''}{wins}."
        )
    better = gap.bits_per_byte < 0
    low, high = sorted(map(abs, ends(gap.ci95)))
    if not shown(gap):
        return (
            f"{first} is {'ahead of' if better else 'behind'} {second} on {where} by "
            f"{abs(gap.bits_per_byte):.3f} bits per byte ({between((low, high))}){bits}, "
            f"{wins}."
        )
    return (
        f"{first} {'beats' if better else 'loses to'} {second} on {where}: "
        f"{abs(gap.bits_per_byte):.3f} bits per byte {'fewer' if better else 'more'} "
        f"({between((low, high))}){bits}, {wins}."
    )


def energy(cost: Cost | None) -> str:
    """Kilowatt hours with the method, or that there is no measurement."""
    if cost is None or cost.kwh is None:
        return NOT_MEASURED
    return f"{cost.kwh:.3f} ({cost.kwh_method})"


def ranked_arms(evidence: Evidence) -> list[str]:
    """Arms in the order of the verdict: one that loses to the stock model comes first."""
    split = view.main_split(evidence)

    def loses(arm: str) -> bool:
        gap = view.gap(evidence, arm, "stock", split)
        return gap is not None and apart(gap) and gap.bits_per_byte > 0

    return sorted(view.arms(evidence), key=lambda arm: not loses(arm))  # stable: then best first


def verdict(evidence: Evidence) -> list[str]:
    """The result in exactly five sentences' worth of lines; losing to the stock model first.

    Before all else a warning, where a model seems to know the text by heart.
    """
    split, arms = view.main_split(evidence), ranked_arms(evidence)
    first, second = _results(evidence, arms, split)
    return [
        " ".join([*(f"Warning: {line}" for line in by_heart(evidence).values()), first]),
        second,
        _compressors(evidence, split),
        _certainty(evidence, split),
        " ".join([spent(evidence), *takes(evidence)]),
    ]


def _results(evidence: Evidence, arms: list[str], split: str | None) -> tuple[str, str]:
    if split is None or not arms:
        return ("Nothing was measured on held-out text.", "So nothing can be said of any model.")
    where = split_words(evidence, split)
    if view.has_stock(evidence):
        lines = [against(evidence, arms[0], "stock", split)]
        same = {"where": "the same text", "rival": "the stock model"}
        lines += [against(evidence, arm, "stock", split, **same) for arm in arms[1:]]
        other = next((s for s in view.splits(evidence) if s != split), None)
        if len(arms) == 1 and other and view.loss(evidence, "stock", other):
            lines.append(against(evidence, arms[0], "stock", other))
    else:
        scores = [(arm, view.loss(evidence, arm, split)) for arm in arms]
        lines = [
            f"{capital(who(evidence, arm))} needs {row.bits_per_byte:.3f} bits per byte on {where} "
            f"({between(row.ci95)})."
            for arm, row in scores
            if row is not None
        ] or ["No model of this run was scored on held-out text."]
        lines[0] = f"There is no stock model to compare with in this run. {lines[0]}"
    return lines[0], " ".join(lines[1:]) or "This run has no second arm to compare with."


def _compressors(evidence: Evidence, split: str | None) -> str:
    arms, baseline = view.arms(evidence), view.best_baseline(evidence)
    if baseline is None or not arms:
        return "No baseline without a neural network was measured on the same text."
    same = {"where": "the same text", "rival": "it"}
    sentence = against(evidence, arms[0], baseline.model, split, **same)
    return (
        f"The best baseline without a neural network, {view.label(evidence, baseline.model)}, "
        f"needs {baseline.bits_per_byte:.3f} bits per byte. {sentence}"
    )


def _certainty(evidence: Evidence, split: str | None) -> str:
    rows, words = view.losses(evidence, split), view.nouns(evidence)
    if not rows:
        return "There is no interval, since nothing was scored."
    row = rows[0]
    groups = plural(row.groups, words.group, words.groups)
    line = (
        f"Every model read the same {size(row.bytes)} of "
        f"{plural(row.documents, words.document, words.documents)} from {groups}, "
        f"and the intervals are drawn over {words.groups}."
    )
    told = [line]
    for some in (r for r in rows if view.part(evidence, r)):
        told.append(f"{view.brief(evidence, some.model)} had fewer: {view.part(evidence, some)}.")
    told += [] if view.validated(evidence) else leads(evidence)
    return " ".join(told + [undercoverage(row.groups)] * (row.groups < ENOUGH_GROUPS))


def leads(evidence: Evidence) -> list[str]:
    """By what the arm that leads was chosen, where there are several."""
    if (number := len(view.arms(evidence))) < 2:
        return []
    if view.validated(evidence):
        return [f"Of {number} arms the one that leads here is the best on validation text."]
    best = "better" if number == 2 else "best"
    return [f"The {best} of {number} arms leads, chosen on this text: that flatters it."]


def by_heart(evidence: Evidence) -> dict[str, str]:
    """A sentence for each model that completes more of held-out text than it should be able to.

    More than the stock model does, interval above interval; more than half where there is none.
    """
    rows = {row.model: row for row in evidence.memorization if row.copies == "0"}
    stock = rows.pop("stock", None)
    than = f"the stock model at most {percent(stock.ci95[1])}" if stock else "more than half"
    return {
        name: f"{who(evidence, name)} completes {percent(row.rate)} of passages of held-out text "
        f"word for word (95 % interval {' to '.join(map(percent, row.ci95))}), {than}: "
        "it may have been trained on the held-out text."
        for name, row in rows.items()
        if row.ci95[0] > (stock.ci95[1] if stock else HALF) and name in evidence.models
    }


def undercoverage(groups: int) -> str:
    """How far the intervals of so few groups can be trusted."""
    return (
        f"With fewer than {ENOUGH_GROUPS} the percentile bootstrap undercovers: of {groups:,}, its "
        f"95 % intervals hold the truth about {rounded(statistics.coverage(groups))} of the time."
    )


def spent(evidence: Evidence) -> str:
    """What the arms cost, and a warning where text was repeated too often."""
    rows = [row for arm in view.arms(evidence) if (row := view.cost(evidence, arm))]
    if not rows:
        return "What the training cost was not measured."
    parts = [
        f"“{row.model}” took {duration(row.seconds)} for {short(row.tokens)} tokens "
        f"({passes(row.epochs)} epochs)"
        for row in rows
    ]
    line = f"Training {'; '.join(parts)}, on {machine(evidence)}."
    many = [row for row in rows if row.epochs > MANY_EPOCHS]
    if many:
        each = ", ".join(f"“{row.model}” {row.epochs:.1f} times" for row in many)
        line += (
            f" Warning: text was read more than {MANY_EPOCHS:.0f} times ({each}), and "
            "repeats teach little and invite memorisation."
        )
    return line


def takes(evidence: Evidence) -> list[str]:
    """What it would take the verdict's first arm to draw level with a stock model that is better.

    From its validation loss: what the last doubling of its tokens gained, repeated. Learning
    curves flatten, and the last part of a schedule falls fastest, so it is a least.
    """
    arms, split = ranked_arms(evidence), view.main_split(evidence)
    gap = view.gap(evidence, arms[0], "stock", split) if arms else None
    if gap is None or not (apart(gap) and gap.bits_per_byte > 0):
        return []
    arm, points = arms[0], view.validation(evidence, arms[0])
    cost = view.cost(evidence, arm)
    start = f"To draw level with the stock model “{arm}” would take"
    early = [(p, bits) for p, bits in points if p.tokens <= 0.6 * points[-1][0].tokens]
    if not early or not early[-1][0].tokens:
        return [f"What it would take “{arm}” to draw level was {NOT_MEASURED}: its validation "
                "loss was measured too seldom."]  # fmt: skip
    (half, before), (last, after) = early[-1], points[-1]
    rate = (before - after) / math.log2(last.tokens / half.tokens)
    doublings = gap.bits_per_byte / rate if rate > 0 else math.inf
    if doublings > MOST_DOUBLINGS:
        return [f"{start} more than the same training for longer, whose last part gained "
                f"{max(0.0, before - after):.3f} bits per byte: more text, more parameters, or "
                "the stock model as a start."]  # fmt: skip
    factor = 2.0**doublings
    time = f" ({duration(cost.seconds * factor)} on the same machine)" if cost else ""
    return [f"{start} at least {factor:.1f} times its training{time}, if every doubling gained "
            f"what the last one did, {rate:.3f} bits per byte."]  # fmt: skip


def unsure(evidence: Evidence, gap: Gap) -> str:
    """What is known of a gap of few groups: mostly its direction, never its size."""
    what = "the size is" if gap.p_value <= SURE else "direction and size are"
    return f"{ahead(evidence, gap)}; with so few {what} uncertain"


def headline(evidence: Evidence, brief: bool = False) -> str:
    """The result in one plain sentence, for someone who never heard of bits per byte.

    `brief`: where `unsure` is said beside it.
    """
    split, arms, words = view.main_split(evidence), view.arms(evidence), view.nouns(evidence)
    if split is None or not arms:
        return "Nothing was measured on held-out text"
    arm = arms[0]
    model, row = evidence.models[arm], view.loss(evidence, arm, split)
    text = f"the text of {words.groups} it never saw"
    if split != "unseen":
        text = f"new text of {words.groups} it knows"
    size = f"a {short(model.parameters)}-parameter model" if model.parameters else "a model"
    how = "further" if model.role == "continued" else "from scratch"
    start = f"Trained {how} on {words.corpus}, {size}"
    rival, baseline = view.loss(evidence, "stock", split), view.best_baseline(evidence)
    stock = evidence.models.get("stock")
    of = f" of {short(stock.parameters)}" if stock and stock.parameters else ""
    other = "than before" if view.from_stock(evidence, arm) else f"than a stock model{of}"
    if rival is None:
        rival, other = baseline, "than the best baseline without a neural network"
    if row is None or rival is None:
        return f"{start} was measured, with nothing to compare with"
    gap = view.gap(evidence, arm, rival.model, split)
    if arm in by_heart(evidence):
        return f"{start} may have been trained on the text that it is measured on"
    if gap is not None and not apart(gap):
        return f"{start} could not be shown to predict {text} better or worse {other}"
    share = row.bits_per_byte / rival.bits_per_byte - 1
    line = f"{start} predicts {text} {percent(share)} {'better' if share < 0 else 'worse'} {other}"
    if gap is not None and not shown(gap):
        line += f", {unsure(evidence, gap)}" * (not brief)
    return line
