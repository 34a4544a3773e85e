"""From the evidence's numbers to wording: pure functions, no number typed by hand.

A per cent is always of one named thing. Loss, perplexity and bits are different things: a loss
that falls from 4.5 to 3.2 nats is 28.9 % less loss, and 72.7 % lower perplexity.
"""

import math

from domainlm.evaluation.evidence import Cost, Evidence, Gap
from domainlm.report import view

NOT_MEASURED = "not measured"
COVERAGE = "84 % at 6 groups, 89 % at 20, 93 % at 40"  # measured: of nominal 95 % intervals
ENOUGH_GROUPS = 40
MANY_EPOCHS = 4.0  # beyond about four passes, repeated text teaches little
_UNITS = ((1e9, "B"), (1e6, "M"), (1e3, "k"))


def percent(share: float) -> str:
    """A share as per cent: one decimal, none from 100 % on, and never a bare zero."""
    size = abs(share) * 100
    if 0 < size < 0.05:
        return "less than 0.1 %"
    return f"{size:,.0f} %" if size >= 99.95 else f"{size:.1f} %"


def _change(new: float, old: float, less: str, more: str) -> str:
    if not old > 0:
        return "no comparison possible"
    if new == old:
        return "no change"
    return f"{percent(new / old - 1)} {less if new < old else more}"


def less_loss(old: float, new: float) -> str:
    """A change of loss in nats, as per cent of the loss."""
    return _change(new, old, "less loss", "more loss")


def perplexity_change(old: float, new: float) -> str:
    """A change of loss in nats, as per cent of the perplexity exp(loss)."""
    return _change(math.exp(min(new - old, 700.0)), 1.0, "lower perplexity", "higher perplexity")


def fewer_bits(old: float, new: float) -> str:
    """A change of bits per byte, as per cent of the bits."""
    return _change(new, old, "fewer bits", "more bits")


def count(number: int | None) -> str:
    """A whole number with thousands separators."""
    return NOT_MEASURED if number is None else f"{number:,}"


def plural(number: int, one: str, many: str) -> str:
    """`1 company`, `2 companies`."""
    return f"{number:,} {one if number == 1 else many}"


def short(number: float | None) -> str:
    """A large number in three digits: 135M, 1.9M, 320k."""
    if number is None:
        return NOT_MEASURED
    for unit, letter in _UNITS:
        if number >= unit * 0.9995:
            scaled = number / unit
            return f"{scaled:.0f}{letter}" if scaled >= 9.95 else f"{scaled:.1f}{letter}"
    return f"{number:.0f}"


def size(number: int) -> str:
    """Bytes in decimal units."""
    for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "KB")):
        if number >= unit:
            return f"{number / unit:.1f} {name}"
    return plural(number, "byte", "bytes")


def data(evidence: Evidence) -> list[str]:
    """What the split promises, what the audit found, what was joined, and personal data."""
    c = evidence.corpus
    said = list(c.promises)
    if c.audit and {"unseen", "random"} <= set(c.audit.splits):
        unseen, random = c.audit.splits["unseen"], c.audit.splits["random"]
        said.append(
            f"Half of the unseen documents have at most {percent(unseen.median)} of their "
            f"{c.audit.n}-grams of words in train, and none more than {percent(unseen.max)}; after "
            f"a random split of the same documents it would be {percent(random.median)} and "
            f"{percent(random.max)}."
        )
    if c.audit and (over := c.audit.splits.get("unseen")) and over.over:
        said.append(
            f"{plural(over.over, 'unseen document is', 'unseen documents are')} above the "
            f"recipe's limit of {percent(c.audit.limit)}: the figures for unseen text flatter."
        )
    if joined := c.links.get("joined_groups"):
        said.append(
            f"{plural(joined, 'group was', 'groups were')} joined to others by near-duplicates, "
            f"and went to one side of the split with them."
        )
    if c.privacy and c.privacy.mode != "off":
        did = {
            "report": "left as they are",
            "mask": "masked",
            "drop": "dropped with their document",
        }
        kinds = ", ".join(f"{count(n)} {kind}" for kind, n in sorted(c.privacy.found.items()))
        said.append(f"Personal data and secrets, {did[c.privacy.mode]}: {kinds or 'none found'}.")
    return said


def duration(seconds: float) -> str:
    """Seconds as a person says them: seconds, minutes or hours."""
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    if seconds < 5400:
        return f"{seconds / 60:.1f} minutes"
    return f"{seconds / 3600:.1f} hours"


def passes(epochs: float) -> str:
    """Epochs in words; few tokens of a large corpus are not none."""
    return "under 0.1 epochs" if epochs < 0.05 else f"{epochs:.1f} epochs"


def shown(gap: Gap) -> bool:
    """True where the interval excludes zero and there is more than one group to draw from."""
    low, high = gap.ci95
    return gap.groups > 1 and (low > 0 or high < 0)


def split_words(evidence: Evidence, split: str | None) -> str:
    """What a split's text is, in plain words."""
    groups = view.nouns(evidence).groups
    if split == "unseen":
        return f"text of {groups} never trained on"
    if split == "seen":
        return f"{'later text' if evidence.corpus.cut else 'other text'} of {groups} trained on"
    return f"the split {split}"


def machine(evidence: Evidence) -> str:
    """The machine as the environment names it."""
    known = evidence.environment
    parts = [known[key] for key in ("machine", "gpu", "device", "cpu") if known.get(key)]
    return view.one_line(", ".join(dict.fromkeys(parts))) or "a machine that was not recorded"


def who(evidence: Evidence, name: str) -> str:
    """A model in a sentence: arms by role, name and size, the others by their title."""
    model, title = evidence.models.get(name), view.label(evidence, name)
    if model is None or model.role == "baseline":
        return title
    if model.role == "stock":
        return f"the stock model {title}"
    of = f" ({short(model.parameters)} parameters)" if model.parameters else ""
    kind = "from-scratch" if model.role == "scratch" else "continued"
    return f"the {kind} model “{name}”{of}"


def capital(text: str) -> str:
    """`text` with its first letter large."""
    return text[:1].upper() + text[1:]


def against(
    evidence: Evidence, a: str, b: str, split: str | None, *, where: str = "", rival: str = ""
) -> str:
    """One sentence: `a` against `b` on the same bytes, honest about the direction.

    `where` and `rival` replace the names of the text and of `b` where they have just been said.
    """
    first, second = capital(who(evidence, a)), rival or who(evidence, b)
    where, words = where or split_words(evidence, split), view.nouns(evidence)
    gap = view.gap(evidence, a, b, split)
    ours, theirs = view.loss(evidence, a, split), view.loss(evidence, b, split)
    if ours is None or theirs is None:
        return f"{first} and {second} were not both measured on {where}."
    bits = fewer_bits(theirs.bits_per_byte, ours.bits_per_byte)
    if gap is None:
        return (
            f"{first} has {ours.bits_per_byte:.3f} bits per byte and {second} "
            f"{theirs.bits_per_byte:.3f} on {where} ({bits}); no paired interval was computed."
        )
    low, high = gap.ci95
    wins = f"{gap.wins:,} of {plural(gap.groups, words.group, words.groups)}"
    if not shown(gap):
        return (
            f"Between {who(evidence, a)} and {second} no difference could be shown on {where}: "
            f"{gap.bits_per_byte:+.3f} bits per byte (95 % interval {low:+.3f} to {high:+.3f}), "
            f"the first ahead for {wins}."
        )
    better = gap.bits_per_byte < 0
    ends = sorted((abs(low), abs(high)))
    return (
        f"{first} {'beats' if better else 'loses to'} {second} on {where}: "
        f"{abs(gap.bits_per_byte):.3f} bits per byte {'fewer' if better else 'more'} "
        f"(95 % interval {ends[0]:.3f} to {ends[1]:.3f}), {bits}, ahead for {wins}."
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
        return gap is not None and shown(gap) and gap.bits_per_byte > 0

    return sorted(view.arms(evidence), key=lambda arm: not loses(arm))  # stable: then best first


def verdict(evidence: Evidence) -> list[str]:
    """The result in exactly five sentences' worth of lines; losing to the stock model first."""
    split, arms = view.main_split(evidence), ranked_arms(evidence)
    return [
        *_results(evidence, arms, split),
        _compressors(evidence, split),
        _certainty(evidence, split),
        spent(evidence),
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
            f"(95 % interval {row.ci95[0]:.3f} to {row.ci95[1]:.3f})."
            for arm, row in scores
            if row is not None
        ] or ["No model of this run was scored on held-out text."]
        lines[0] = f"There is no stock model to compare with in this run. {lines[0]}"
    return lines[0], " ".join(lines[1:]) or "This run has no second arm to compare with."


def _compressors(evidence: Evidence, split: str | None) -> str:
    arms, baseline = view.arms(evidence), view.best_baseline(evidence)
    if baseline is None or not arms:
        return "No compressor was measured on the same text."
    same = {"where": "the same text", "rival": "it"}
    sentence = against(evidence, arms[0], baseline.model, split, **same)
    return (
        f"The best compressor, {view.label(evidence, baseline.model)}, needs "
        f"{baseline.bits_per_byte:.3f} bits per byte. {sentence}"
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
    if row.groups >= ENOUGH_GROUPS:
        return line
    return (
        f"{line} With fewer than {ENOUGH_GROUPS} the percentile bootstrap undercovers: its 95 % "
        f"intervals hold the truth less often than they say ({COVERAGE})."
    )


def spent(evidence: Evidence) -> str:
    """What the arms cost, and a warning where text was repeated too often."""
    rows = [row for arm in view.arms(evidence) if (row := view.cost(evidence, arm))]
    if not rows:
        return "What the training cost was not measured."
    parts = [
        f"“{row.model}” took {duration(row.seconds)} for {short(row.tokens)} tokens "
        f"({passes(row.epochs)})"
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


def headline(evidence: Evidence) -> str:
    """The result in one plain sentence, for someone who never heard of bits per byte."""
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
        rival, other = baseline, "than the best compressor"
    if row is None or rival is None:
        return f"{start} was measured, with nothing to compare with"
    gap = view.gap(evidence, arm, rival.model, split)
    if gap is not None and not shown(gap):
        return f"{start} could not be shown to predict {text} better or worse {other}"
    share = row.bits_per_byte / rival.bits_per_byte - 1
    return f"{start} predicts {text} {percent(share)} {'better' if share < 0 else 'worse'} {other}"


def curve(evidence: Evidence, model: str) -> str:
    """How the training loss of an arm moved, as loss and as perplexity, never mixed."""
    points = [p for p in evidence.curves if p.model == model]
    if len(points) < 2:
        return f"“{model}”: no training curve was kept."
    first, last = points[0].loss, points[-1].loss
    return (
        f"“{model}”: the training loss went from {first:.2f} to {last:.2f} nats a token, "
        f"{less_loss(first, last)}, which is {perplexity_change(first, last)} per token."
    )
