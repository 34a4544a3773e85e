"""What the parts of the evidence say, a sentence each: pure functions of numbers and rows."""

from collections.abc import Iterator, Sequence

from domainlm.evaluation.evidence import Evidence, Sample
from domainlm.report import view, words
from domainlm.report.numbers import (
    NOT_MEASURED,
    capital,
    duration,
    ends,
    fewer_bits,
    less_loss,
    perplexity_change,
    plural,
)
from domainlm.report.words import BY, apart, machine, shown, split_words

COPIED, REPEATED = 12, 0.2  # words copied, share of repeated 4-grams: from here on a text says so
WORDS_ALONE = ("TF-IDF", "BM25")
PARTS = {  # whose notes stand in which section
    "loss": ("baselines", "windows", "general", "spreads"),
    "tasks": ("probe", "choices", "next_passage", "retrieval"),
    "memory": ("memorization", "extraction", "personal", "copies"),
}


def purpose(evidence: Evidence) -> tuple[list[str], list[str]]:
    """What this is, and what it is not."""
    nouns, c = view.nouns(evidence), evidence.corpus
    names = ", ".join(f"“{name}”" for name in view.arms(evidence)) or "no model"
    read = f"{plural(c.documents, nouns.document, nouns.documents)} of "
    read += plural(c.groups, nouns.group, nouns.groups)
    held = f"dated from {c.cut} on" if c.cut else f"of {nouns.groups} kept apart"
    is_ = [
        f"A measurement of how well {names} predict {nouns.documents} {held}, beside a stock model "
        f"and compressors, on the same bytes; trained on part of {read}.",
        "A run that anybody with the same corpus can repeat, with every figure in one file.",
    ]
    if not view.has_stock(evidence):
        is_[0] = is_[0].replace("a stock model and compressors", "compressors")
    not_ = [
        "An assistant: these models continue text. They answer no questions, know no facts for "
        "sure, and write names and figures that look right and are invented.",
        "A proof of use: predicting text better is no proof that anybody works better with it.",
        f"A statement about other text: {nouns.groups} outside this corpus may be harder.",
    ]
    return is_, not_


def where(evidence: Evidence) -> list[str]:
    """On which slices the headline's first model is ahead, best and worst, a sentence a cut."""
    said, pair = [], view.pair(evidence)
    for by, rows in view.slice_gaps(evidence).items():
        a, b = (
            "the stock model" if name == "stock" else f"“{view.short_label(evidence, name)}”"
            for name in pair or ("", "")
        )
        ahead = [r for r in rows if r.bits_per_byte < 0]
        sure = [r for r in rows if shown(r)]
        best, worst = (f(rows, key=lambda r: r.bits_per_byte) for f in (min, max))
        line = f"{BY[by].split(' (')[0]}: {a} is ahead of {b} on {len(ahead)} of {len(rows)}"
        if len(rows) > 1:
            line += "; most on {} ({:+.3f} bits per byte), least on {} ({:+.3f})".format(
                *(x for r in (best, worst) for x in (words.slice_label(r), r.bits_per_byte))
            )
        of = f"{words.CLAIM_GROUPS} {view.nouns(evidence).groups} or more"
        said.append(f"{line}. Sure, after correction for their number and on {of}: {len(sure)}.")
    return said


def windows(evidence: Evidence) -> list[str]:
    """Whether the headline holds where the window is another, or as many bytes for all."""
    arms, split = view.arms(evidence), view.main_split(evidence)
    rows = [r for r in evidence.windows if r.split == split]
    said: dict[str, list[str]] = {}  # short texts fit in every window: then the figures are one
    for context in dict.fromkeys(r.context_bytes for r in rows):
        of = {r.model: r for r in rows if r.context_bytes == context}
        if not arms or not {arms[0], "stock"} <= set(of):
            continue
        ours, stock = of[arms[0]], of["stock"]
        how = "that do not overlap" if context is None else f"of about {context:,} bytes for all"
        line = (
            f"“{arms[0]}” has {ours.bits_per_byte:.3f} and the stock model "
            f"{stock.bits_per_byte:.3f} bits per byte on {ours.documents:,} of the texts: "
            f"{fewer_bits(stock.bits_per_byte, ours.bits_per_byte)}."
        )
        said.setdefault(line, []).append(how)
    return [f"With windows {', and '.join(how)}, {line}" for line, how in said.items()]


def spreads(evidence: Evidence) -> str:
    """How much training by itself varies."""
    rows = [r for r in evidence.spreads if r.split == view.main_split(evidence)]
    if not rows:
        return (
            "Each arm was trained once, with one seed: how much training by itself varies was "
            f"{NOT_MEASURED}, and is in none of the intervals."
        )
    return " ".join(
        f"{capital(plural(len(r.models), 'arm', 'arms'))} that differ by the seed alone have "
        f"{r.mean:.3f} bits per byte on average, with a standard deviation of {r.sd:.4f}: what "
        "training by itself varies."
        for r in rows
    )


def general(evidence: Evidence) -> list[str]:
    """What the models do on other text, technical documentation: what training forgets."""
    said, stock = [], {r.source: r for r in evidence.general if r.model == "stock"}
    for r in evidence.general:
        if r.model == "stock":
            continue
        line = f"On technical documentation ({view.one_line(r.source)}) “{r.model}” has "
        line += f"{r.bits_per_byte:.3f} bits per byte"
        if base := stock.get(r.source):
            change = fewer_bits(base.bits_per_byte, r.bits_per_byte)
            line += f", the stock model {base.bits_per_byte:.3f}: {change}"
        said.append(f"{line}.")
    return said


def memorised(evidence: Evidence) -> list[str]:
    """What train gave that can be had back, beyond what boilerplate completes by itself."""
    known = words.by_heart(evidence)
    return [
        f"“{view.short_label(evidence, r.model)}” completes, word for word, "
        f"{r.difference * 100:+.1f} more in a hundred passages of train than of held-out text "
        f"(95 % interval {r.ci95[0] * 100:+.1f} to {r.ci95[1] * 100:+.1f})"
        + (
            ": it remembers text."
            if r.ci95[0] > 0
            else f". But {known[r.model]}"
            if r.model in known
            else ": no memory of single texts was shown."
        )
        for r in evidence.extraction
    ]


def copied(evidence: Evidence, samples: Sequence[Sample], repeats: bool = False) -> list[str]:
    """How many generations of each model copy from train, and how many repeat themselves."""
    said = []
    if evidence.schema_version < 4:
        return [f"Whether these texts copy from training text was {NOT_MEASURED} in this run."]
    for model in dict.fromkeys(s.model for s in samples):
        of = [s for s in samples if s.model == model]
        copies = [s.copied_words for s in of if s.copied_words >= COPIED]
        prompts, seeds = len({s.prompt_id for s in of}), len({s.seed for s in of})
        line = (
            f"{len(copies):,} of {len(of):,} continuations "
            f"({plural(prompts, 'prompt', 'prompts')}, {plural(seeds, 'seed', 'seeds')}) of "
            f"“{view.short_label(evidence, model)}” have {COPIED} words or more in a row from "
            "training text"
        )
        line += f", the longest {max(copies):,}" if copies else ""
        if repeats:
            line += f"; {sum(s.repetition >= REPEATED for s in of):,} repeat themselves"
        said.append(f"{line}.")
    return said


def tasks(evidence: Evidence) -> str:
    """Whether a model is above words alone in a task by more than the intervals."""
    rows = [(r.task, r.features, r.labels_per_class, r.ci95) for r in evidence.probe]
    rows += [(r.task, r.scorer, 0, r.ci95) for r in evidence.choices]
    rows += [("passages of the same section", r.scorer, 0, r.ci95) for r in evidence.retrieval]
    most = {task: max(r[2] for r in rows if r[0] == task) for task, *_ in rows}
    last = [r for r in rows if r[2] == most[r[0]]]
    bars = {t: max(ci[1] for u, n, _, ci in last if u == t and n in WORDS_ALONE)
            for t, name, *_ in last if name in WORDS_ALONE}  # fmt: skip
    above = [
        f"“{view.short_label(evidence, name)}” ({view.one_line(task)})"
        for task, name, _, ci in last
        if (name in evidence.models or name == "MiniLM") and ci[0] > bars.get(task, 1.0)
    ]
    if not bars:
        return ""
    told = ", ".join(above) or "no model, in no task"
    return f"Above the bag of words or the overlap of words by more than the intervals: {told}."


def groups(evidence: Evidence) -> str:
    """How many groups were trained on, and how many of each kind are held out and scored."""
    nouns, splits = view.nouns(evidence), evidence.corpus.splits
    held = [
        f"{splits[split].get('groups', 0):,} that were {never}trained on "
        f"({view.losses(evidence, split)[0].groups:,} scored)"
        for split, never in (("unseen", "never "), ("seen", ""))
        if split in splits and view.losses(evidence, split)
    ]
    if not held or "train" not in splits:
        return ""
    trained = plural(splits["train"].get("groups", 0), nouns.group, nouns.groups)
    return f"Trained on: {trained}. Held out is text of {' and of '.join(held)}."


def gates(evidence: Evidence) -> list[str]:
    """What the recipe asked for, and whether it is so."""
    return [
        f"The recipe asks that {row.gap} on {row.split} be at most {row.max:+.3f} bits per byte: "
        + (f"it was {NOT_MEASURED}" if row.bits_per_byte is None else f"{row.bits_per_byte:+.3f}")
        + (", met." if row.met else ", NOT met.")
        for row in evidence.gates
    ]


def limits(evidence: Evidence) -> Iterator[str]:
    """What a careful reader should hold against these figures."""
    nouns, split = view.nouns(evidence), view.main_split(evidence)
    rows = view.losses(evidence, split)
    if rows and rows[0].groups < words.ENOUGH_GROUPS:
        yield words.undercoverage(rows[0].groups)
    arms = view.arms(evidence)
    yield from (capital(t) for n, t in words.by_heart(evidence).items() if n in arms)
    yield from words.leads(evidence)
    stock = evidence.models.get("stock")
    if stock:
        told = f" ({'; '.join(map(view.one_line, stock.notes))})" if stock.notes else ""
        if not view.invented(evidence):
            told += " may have read some of this text before, which would flatter it; and it"
        yield f"The stock model{told} is one model of many: another may be better."
    yield spreads(evidence)
    if not evidence.general:
        yield f"What the models lose on other text, by training on this, was {NOT_MEASURED}."
    if not evidence.memorization:
        yield f"How much of its training text a model gives away was {NOT_MEASURED}."
    if evidence.slices:
        yield (
            f"Slices are looked at after the fact: they say where to look, not what {nouns.groups} "
            "in general do. Labels of sections come from rules, and rules err."
        )


def notes(evidence: Evidence, section: str) -> list[str]:
    """What the evidence says of the parts that a section shows; `limits` has all others."""
    known = [part for parts in PARTS.values() for part in parts]
    parts = PARTS.get(section) or [part for part in evidence.notes if part not in known]
    return [evidence.notes[part] for part in parts if evidence.notes.get(part)]


def interval(evidence: Evidence) -> str:
    """The headline's number with its interval, in words for the picture."""
    split, arms, nouns = view.main_split(evidence), view.arms(evidence), view.nouns(evidence)
    rival = view.loss(evidence, "stock", split) or view.best_baseline(evidence)
    if not arms or rival is None or split is None:
        return "Nothing to compare with was measured."
    gap, base = view.gap(evidence, arms[0], rival.model, split), rival.bits_per_byte
    name = "the stock model" if rival.model == "stock" else view.label(evidence, rival.model)
    if arms[0] in words.by_heart(evidence):
        return "It completes held-out text word for word: no figure of it says how good it is."
    if gap is None or gap.groups < 2:
        return f"The difference from {name} has no interval."
    change = fewer_bits(base, base + gap.bits_per_byte)
    low, high = (fewer_bits(base, base + bits) for bits in sorted(ends(gap.ci95), key=abs))
    if not apart(gap):
        return f"Against {name}: {change}, but anything from {low} to {high} is possible."
    line = f"{capital(change)} than {name}"
    if not shown(gap):
        return f"{line}, {words.unsure(evidence, gap)}."
    told = f"{low.rsplit(' ', 2)[0]} to {high.rsplit(' ', 2)[0]}"
    return f"{line}. Other {nouns.groups} would probably give {told} (95 % interval)."


def price(evidence: Evidence) -> str:
    """What the headline's arm cost, in one sentence for the picture."""
    arms = view.arms(evidence)
    cost = view.cost(evidence, arms[0]) if arms else None
    if cost is None:
        return f"What the training cost was {NOT_MEASURED}."
    energy = f"{cost.kwh:.3f} kWh" if cost.kwh is not None else ""
    money = f"{cost.money:,.2f} {cost.currency}".strip() if cost.money is not None else ""
    known = ", ".join(filter(None, [energy, money])) or f"energy and money {NOT_MEASURED}"
    return f"Trained in {duration(cost.seconds)} on {machine(evidence)}: {known}."


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


def crossings(evidence: Evidence) -> list[str]:
    """Where each arm's training passes the stock model on the headline's split, in every cost."""
    said, split = [], view.main_split(evidence)
    where = split_words(evidence, split)
    rows = [row for row in evidence.crossings if row.split == split]
    for model in dict.fromkeys(row.model for row in rows):
        of = [row for row in rows if row.model == model]
        budget = _amounts(evidence, [(row.by, row.budget) for row in of])
        passed = [(row.by, row.at) for row in of if row.at is not None]
        if not passed:
            said.append(f"“{model}” does not pass the stock model on {where} within {budget}.")
            continue
        line = [row for row in evidence.quality if (row.model, row.split) == (model, split)]
        by, at = passed[0]
        first = "at most " if line and at <= getattr(line[0], by) * 1.000001 else ""
        said.append(
            f"“{model}” passes the stock model on {where} after {first}"
            f"{_amounts(evidence, passed)}, of {budget}."
        )
    return said


def pretraining(evidence: Evidence) -> list[str]:
    """What each arm cost beside what its start had cost before, where that was published."""
    stock = evidence.models.get("stock")
    if stock is None:
        return []
    before = stock.pretraining_flops
    known = f"{before:.2e} FLOPs, as published" if before else "not published"
    return [
        f"“{row.model}” adds {row.flops:.2e} training FLOPs to the stock model's own pretraining "
        f"({known})."
        if evidence.models[row.model].role == "continued"
        else f"“{row.model}” took {row.flops:.2e} training FLOPs and stands on no pretraining; the "
        f"stock model's took {known}."
        for row in evidence.cost
        if row.model in evidence.models
    ]


def _amounts(evidence: Evidence, costs: Sequence[tuple[str, float]]) -> str:
    """Costs of one thing, time first, the others in brackets."""
    first, *others = [
        _amount(evidence, by, cost) for by, cost in sorted(costs, key=lambda c: c[0] != "seconds")
    ]
    return first + (f" ({', '.join(others)})" if others else "")


def _amount(evidence: Evidence, by: str, number: float) -> str:
    if by == "seconds":
        return duration(number)
    if by == "flops":
        return f"{number:.2e} training FLOPs"
    currency = next((row.currency for row in evidence.cost if row.currency), "")
    return f"{number:.3f} kWh" if by == "kwh" else f"{number:,.2f} {currency}".strip()
