"""The report says what the evidence says, to people and in every format."""

import base64
import dataclasses
import functools
import hashlib
import html.parser
import io
import itertools
import json
import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import chromium
from domainlm.evaluation import about
from domainlm.evaluation.evidence import Evidence, Reading, Sample
from domainlm.evaluation.spans import Span
from domainlm.recipes import validate
from domainlm.report import (
    bom,
    charts,
    failures,
    findings,
    headline,
    heat,
    numbers,
    page,
    post,
    provenance,
    stage,
    svg,
    tables,
    view,
    words,
)
from domainlm.report.arms import would_take
from provenance_helpers import facts
from report_examples import (
    COPIED,
    HOSTILE,
    INVENTED,
    TEXTS,
    example,
    heart,
    readings,
    samples,
    variants,
    without,
)

VARIANTS = {name: view.tidy(evidence) for name, evidence in variants().items()}
PNG = b"\x89PNG"
VOID = {"meta", "img", "link", "br", "hr", "input"}
positive = st.floats(0.05, 12)


def everything(evidence: Evidence) -> str:
    """All the wording that a result has."""
    cards = [post.card(evidence, arm) for arm in view.arms(evidence)]
    return "\n".join([*words.verdict(evidence), post.post(evidence), *cards])


def changed(evidence: Evidence, part: str, **fields: Callable[[Any], Any]) -> Evidence:
    """`evidence` with some fields of every row of `part` changed."""
    data = evidence.model_dump()
    for row in data[part]:
        row.update({name: f(row[name]) for name, f in fields.items()})
    return Evidence.model_validate(data)


# --- numbers to words -----------------------------------------------------------------------


def test_loss_and_perplexity_are_never_mixed() -> None:
    assert numbers.less_loss(4.5, 3.2) == "28.9 % less loss"
    assert numbers.perplexity_change(4.5, 3.2) == "72.7 % lower perplexity"  # 1 - exp(-1.3)
    assert numbers.fewer_bits(0.981, 0.842) == "14.2 % fewer bits"
    assert numbers.fewer_bits(1.0, 2.5) == "150 % more bits"


@given(positive, positive)
def test_direction_and_size_of_changes(old: float, new: float) -> None:
    for change, less, more in (
        (numbers.less_loss, "less", "more"),
        (numbers.perplexity_change, "lower", "higher"),
        (numbers.fewer_bits, "fewer", "more"),
    ):
        text = change(old, new)
        if abs(new - old) < 1e-9:
            assert text == "no change" or text.startswith("less than 0.1 %")
            continue
        assert f" {less if new < old else more} " in f" {text} "
        share = re.match(r"(?:less than )?([\d,.]+) %", text)
        assert share and (new > old or float(share[1].replace(",", "")) <= 100)


@given(st.floats(0, 50))
def test_percent_reads_back(share: float) -> None:
    text = numbers.percent(share)
    if text.startswith("less"):
        assert 0 < share < 0.0005
    else:
        tolerance = 0.005 if share >= 0.9995 else 0.0005
        assert float(text.removesuffix(" %").replace(",", "")) / 100 == pytest.approx(
            share, abs=tolerance + 1e-9
        )


@given(st.integers(0, 10**12))
def test_short_reads_back(number: int) -> None:
    text = words.short(number)
    unit = {"B": 1e9, "M": 1e6, "k": 1e3}.get(text[-1], 1)
    assert float(text.rstrip("BMk")) * unit == pytest.approx(number, rel=0.06, abs=0.5)


def test_sizes_and_durations() -> None:
    assert [words.size(n) for n in (1, 999, 753_664, 2_900_000)] == [
        "1 byte", "999 bytes", "753.7 KB", "2.9 MB"
    ]  # fmt: skip
    assert [words.duration(s) for s in (61, 312, 30_000)] == [
        "61 seconds", "5.2 minutes", "8.3 hours"
    ]  # fmt: skip


@given(st.floats(0, 40))
def test_chance_reads_back(nats: float) -> None:
    text = numbers.chance(nats)
    one = re.fullmatch(r"1 in ([\d,]+)", text)
    share = 1 / float(one[1].replace(",", "")) if one else float(text.removesuffix(" %")) / 100
    assert share == pytest.approx(math.exp(-nats), rel=0.06, abs=0 if one else 0.0051)


@given(st.text())
@settings(max_examples=60)
def test_clean_leaves_nothing_that_controls(text: str) -> None:
    found = view.clean(f"\x1b[2J{text}\x1b]0;title\x07\x00")
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e]", found)
    assert view.clean(found) == found


# --- the verdict ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", VARIANTS)
def test_verdict_has_five_plain_lines(name: str) -> None:
    lines = words.verdict(VARIANTS[name])
    assert len(lines) == 5
    assert all(line and "\n" not in line and line.endswith(".") for line in lines)
    assert "significan" not in everything(VARIANTS[name]).lower()


def test_a_loss_to_the_stock_model_comes_first() -> None:
    first, second, *_ = words.verdict(VARIANTS["continued_wins"])
    assert "“scratch”" in first and "loses to the stock model" in first
    assert "0.183 bits per byte more (95 % interval 0.162 to 0.204), 18.7 % more bits" in first
    assert "1 of 46 companies" in first
    assert "“continued”" in second and "beats" in second and "14.2 % fewer bits" in second


def test_the_best_arm_leads_where_none_loses() -> None:
    evidence = VARIANTS["scratch_wins"]
    assert words.verdict(evidence)[0].startswith("The from-scratch model “scratch”")
    assert words.headline(evidence).endswith("8.1 % better than a stock model of 135M")


def test_no_stock_is_said_at_the_top() -> None:
    first, second, third, *_ = words.verdict(VARIANTS["no_stock"])
    assert first.startswith("There is no stock model to compare with")
    assert "no second arm" in second and "beats it" in third
    assert "than the best baseline without" in words.headline(VARIANTS["no_stock"])
    assert "not compared with any pretrained model" in post.post(VARIANTS["no_stock"])


def test_without_unseen_text_the_seen_split_is_named() -> None:
    assert "later text of companies trained on" in words.verdict(VARIANTS["no_unseen"])[0]
    assert "companies it knows" in words.headline(VARIANTS["no_unseen"])


def test_an_interval_with_zero_shows_nothing() -> None:
    lines = words.verdict(VARIANTS["few_groups"])
    assert "no difference could be shown" in lines[0] and "-0.539 to +0.261" in lines[0]
    assert "could not be shown" in words.headline(VARIANTS["few_groups"])
    assert "85 % of the time" in lines[3] and "7 companies" in lines[3]
    assert "Warning" in lines[4] and "6.5 times" in lines[4]


def test_few_groups_claim_nothing() -> None:
    evidence = VARIANTS["few_but_apart"]
    first, second, *_ = words.verdict(evidence)
    assert "is behind the stock model" in first and "is ahead of the stock model" in second
    assert first.endswith("18.7 % more bits, ahead for 1 of 7 companies.")
    unsure = "; with so few the size is uncertain"
    assert words.headline(evidence).endswith(f", ahead for 6 of 7 companies{unsure}")
    told = [*words.verdict(evidence), words.headline(evidence), findings.interval(evidence)]
    assert not re.search("beats|loses|significan|to be sure", " ".join(told))
    assert " ".join(told).count(unsure) == 2 and told[-1].endswith(f"of 7 companies{unsure}.")
    assert " ".join(pictured(evidence)).count("with so few") == 1
    sure = changed(evidence, "gaps", wins=lambda _: 7, p_value=lambda _: 0.0156)
    assert words.headline(sure).endswith(f", ahead for all 7 companies{unsure}")
    less = changed(evidence, "gaps", p_value=lambda _: 0.0625)
    assert words.headline(less).endswith("with so few direction and size are uncertain")


def test_a_point_is_hollow_by_one_rule() -> None:
    gap = next(g for g in VARIANTS["full"].slice_gaps if g.value == "Item 1")
    assert words.shown(gap) and not words.shown(gap.model_copy(update={"p_holm": 0.05}))
    for other in ({"groups": 19}, {"ci95": (-0.2, 0.01)}):
        assert not words.shown(gap.model_copy(update=other))
    text = rendered("full")
    assert text.count("the interval holds zero or there are fewer than 20 companies") == 2
    assert text.count("fewer than 20 companies, or corrected p is 0.05 or more.") == 1


@pytest.mark.parametrize(("groups", "claimed"), [(19, False), (20, True)])
def test_a_claim_needs_twenty_groups(groups: int, claimed: bool) -> None:
    assert ("beats" in words.verdict(example(groups=groups))[1]) is claimed


def test_a_model_that_loses_says_what_it_would_take() -> None:
    evidence = VARIANTS["loses"]
    *_, last = words.verdict(evidence)
    assert "worse than before" in words.headline(evidence)
    found = re.search(r"“continued” would take at least ([\d.]+) times its training", last)
    assert found and "if every doubling gained" in last
    points = view.validation(evidence, "continued")
    half = max((p, b) for p, b in ((p.tokens, b) for p, b in points) if p <= 0.6 * 3_014_656)
    rate = (half[1] - points[-1][1]) / math.log2(points[-1][0].tokens / half[0])
    assert float(found[1]) == pytest.approx(2 ** (0.04 / rate), abs=0.06)
    slow = changed(evidence, "curves", validation_bits_per_byte=lambda x: x and 0.86)
    assert "more text, more parameters" in words.verdict(slow)[4]
    bare = Evidence.model_validate(evidence.model_dump() | {"curves": []})
    assert "draw level was not measured" in words.verdict(bare)[4]
    assert "“scratch” would take" in words.verdict(VARIANTS["continued_wins"])[4]
    assert "draw level" not in words.verdict(VARIANTS["scratch_wins"])[4]


def test_one_group_shows_nothing_however_narrow() -> None:
    assert "no difference could be shown" in words.verdict(example(groups=1))[0]


@pytest.mark.parametrize("scores", [None, without("stock", "continued")])
def test_one_group_has_no_interval(scores: dict[str, dict[str, float]] | None) -> None:
    evidence = example(scores=scores, groups=1)
    loss, gaps = ([row.model_copy(update={"ci95": None}) for row in rows]
                  for rows in (evidence.loss, evidence.gaps))  # fmt: skip
    bare = evidence.model_copy(update={"loss": loss, "gaps": gaps})
    assert "no interval, all of one group" in words.verdict(bare)[0]
    assert "has no interval" in findings.interval(bare)
    assert "one group" in {tables.loss(bare).rows[0][3], tables.gaps(bare).rows[0][4]}
    assert "0.00, 0.00" not in page.render(bare, samples(bare), PNG)
    assert "confidenceInterval" not in json.dumps(bom.bill(bare, facts(bare)))
    assert "more companies than 1." in would_take(bare, "scratch") or scores


@pytest.mark.parametrize(("groups", "warned"), [(39, True), (40, False)])
def test_undercoverage_is_warned_of_below_forty(groups: int, warned: bool) -> None:
    assert ("undercovers" in words.verdict(example(groups=groups))[3]) is warned


@pytest.mark.parametrize(("groups", "warned"), [(19, True), (20, False)])
def test_few_groups_are_a_banner_below_twenty(groups: int, warned: bool) -> None:
    spans = [Span(f"d{n}", f"g{n}", "unseen", "", 0, "text", 4, "") for n in range(groups)]
    arm = {"name": "scratch", "model": "modern-tiny", "tokens": 1}
    recipe = validate({"source": {"path": "x"}, "train": [arm]}, "test")
    said = about.notices(recipe, {"stock": {"name": "s"}, "skipped": []}, spans)
    assert said == ["Only 19 groups were scored: read “95 %” as about 89 %."] * warned
    seen = [dataclasses.replace(span, split="seen") for span in spans[:12]]
    said = about.notices(recipe, {"stock": {"name": "s"}, "skipped": []}, [*spans, *seen])
    assert said[-1] == "Only 12 groups were scored (seen): read “95 %” as about 87 %."
    filings = {"kind": "edgar", "path": "sample:edgar", "forms": ["10-K"]}
    recipe = validate({"source": filings, "train": [arm]}, "test")
    easy, *said = about.notices(recipe, {"stock": {"name": "s"}, "skipped": []}, spans)
    assert "easy to learn" in easy and all("19 companies" in line for line in said)


@pytest.mark.parametrize(("epochs", "warned"), [(4.0, False), (4.1, True)])
def test_too_many_epochs_are_warned_of(epochs: float, warned: bool) -> None:
    assert ("Warning" in words.verdict(example(epochs=epochs))[4]) is warned


def test_a_gap_stored_the_other_way_round_reads_the_same() -> None:
    """But for who is ahead: groups may tie, so the other's wins cannot be told from these."""
    evidence = VARIANTS["continued_wins"]
    data = evidence.model_dump()
    for row in data["gaps"]:
        low, high = row["ci95"]
        row.update(a=row["b"], b=row["a"], bits_per_byte=-row["bits_per_byte"],
                   ci95=(-high, -low), wins=40 if row["wins"] == 1 else 0)  # fmt: skip
    told = words.verdict(Evidence.model_validate(data))
    assert "the second ahead for 40 of 46" in told[0] and "second ahead for 0 of 46" in told[1]
    assert [re.sub("(the second )?ahead for [0-9]+", "", line) for line in told] == [
        re.sub("ahead for [0-9]+", "", line) for line in words.verdict(evidence)
    ]


def test_a_baseline_of_a_part_of_the_text_is_compared_on_that_part_alone() -> None:
    evidence, whole = VARIANTS["part_measured"], example()
    best = view.best_baseline(evidence)
    assert best is not None and best.model == "PPMd primed"  # though the other has fewer bits
    for say in (words.headline, findings.interval, pictured):
        assert say(evidence) == say(whole)
    told = words.verdict(evidence)
    assert told[2] == words.verdict(whole)[2] and "same 753.7 KB of 92 filings" in told[3]
    assert "PPMd + last year had fewer: 82 of 92 filings." in told[3]
    one = words.against(evidence, "continued", "PPMd + last year", "unseen")
    assert "(82 of 92 filings)" in one and "5.2 % fewer bits" in one  # 0.042 of 0.803
    rows = [r for r in tables.gaps(evidence).rows if r[2] == "unseen, 82 of 92 filings"]
    assert [r[5] for r in rows] == ["5.2 % fewer bits"] * 2
    last = [r for r in tables.loss(evidence).rows if r[1] == "unseen"][-1]
    assert last[2] == "0.8030" and last[4] == "82 of 92 filings"
    assert "PPMd + last year, 82 of 92 filings" in charts.loss_charts(evidence)[0]
    own = changed(evidence, "loss", documents=lambda n: 92 if n == 82 else 82)
    [gap] = [g for g in own.gaps if (g.a, g.b, g.split) == ("continued", "stock", "unseen")]
    none = own.model_copy(update={"gaps": [gap.model_copy(update={"documents": 70})]})
    assert view.base(none, none.gaps[0]) is None and tables.gaps(none).rows[0][5] == "–"
    assert "% " not in words.against(none, "continued", "stock", "unseen").replace("95 % ", "")


def test_the_leading_arm_is_chosen_on_validation_text() -> None:
    evidence = VARIANTS["continued_wins"]
    best = changed(evidence, "curves", validation_bits_per_byte=lambda x: x)
    swap = {"scratch": 0.7, "continued": 0.9}
    curves = [p.model_copy(update={"validation_bits_per_byte": swap[p.model]}) for p in best.curves]
    other = evidence.model_copy(update={"curves": curves})
    assert view.arms(evidence)[0] == "continued" and view.arms(other)[0] == "scratch"
    assert "from scratch" in words.headline(other)
    assert "is the best on validation text" in " ".join(findings.limits(other))
    assert "chosen on" not in everything(other)
    one = [p for p in evidence.curves if p.model == "scratch"]
    unknown = evidence.model_copy(update={"curves": one})
    assert view.arms(unknown)[0] == "continued"
    chosen = "The better of 2 arms leads, chosen on this text"
    assert chosen in words.verdict(unknown)[3] and chosen in post.post(unknown)
    assert "leads" not in " ".join(findings.limits(VARIANTS["one_arm"]))


def test_a_model_that_read_the_held_out_text_is_not_praised() -> None:
    evidence = VARIANTS["by_heart"]
    told = "97.0 % of passages of held-out text word for word (95 % interval 91.0 % to 100 %)"
    first, *_ = words.verdict(evidence)
    assert first.startswith("Warning: the from-scratch") and told in first
    assert "the stock model at most 8.0 %: it may have been trained on the held-out text" in first
    heard = [told in " ".join(said) for said in (
        findings.limits(evidence), provenance.leak_lines(evidence, "scratch"),
        [post.post(evidence)], [post.card(evidence, "scratch")],
    )]  # fmt: skip
    assert all(heard)
    extraction = [{"model": "scratch", "difference": 0.0, "ci95": (-0.05, 0.05)}]
    alone = example(scores=without("stock", "continued"), extraction=extraction,
                    memorization=heart(("scratch", 0.97)))  # fmt: skip
    assert "more than half: it may have been trained" in words.verdict(alone)[0]
    assert "may have been trained on the text" in words.headline(alone)
    assert "word for word: no figure of it" in " ".join(pictured(alone))
    [line] = findings.memorised(alone)
    assert "no memory" not in line and "trained on the held-out text" in line
    for rates in ((("stock", 0.9), ("scratch", 0.97)), (("scratch", 0.4),)):  # boilerplate
        quiet = example(memorization=heart(*rates), extraction=extraction)
        assert "held-out text word" not in everything(quiet)
        assert "no memory of single texts" in findings.memorised(quiet)[0]


def test_groups_are_companies_only_where_they_are() -> None:
    evidence = example(recipe='[source]\nkind = "files"\n')
    assert "compan" not in " ".join(words.verdict(evidence))
    assert "46 groups" in words.verdict(evidence)[3]


@pytest.mark.parametrize(
    ("part", "field", "change"),
    [
        ("loss", "bits_per_byte", lambda x: x + 0.07),
        ("loss", "documents", lambda x: x + 3),
        ("loss", "groups", lambda x: x + 3),
        ("loss", "bytes", lambda x: x + 90_000),
        ("gaps", "bits_per_byte", lambda x: x * 1.01),
        ("gaps", "ci95", lambda x: (x[0] - 0.001, x[1])),
        ("gaps", "ci95", lambda x: (x[0], x[1] + 0.001)),
        ("gaps", "wins", lambda x: x - 1),
        ("cost", "seconds", lambda x: x + 60),
        ("cost", "tokens", lambda x: x + 200_000),
        ("cost", "epochs", lambda x: x + 0.2),
    ],
)
def test_numbers_of_the_verdict_come_from_the_evidence(
    part: str, field: str, change: Callable[[Any], Any]
) -> None:
    evidence = VARIANTS["continued_wins"]
    other = changed(evidence, part, **{field: change})
    assert words.verdict(other) != words.verdict(evidence)
    assert post.post(other) != post.post(evidence)
    assert post.card(other, "scratch") != post.card(evidence, "scratch")


# --- the post and the card ------------------------------------------------------------------


def test_the_post_asks_first_and_then_leads_with_the_capability() -> None:
    text = post.post(VARIANTS["continued_wins"])
    ask, channel = text.split("# Then: the post")
    assert ask.startswith(f"**{INVENTED}**") and "three or four people" in ask
    assert channel.strip().startswith(f"**{INVENTED}**\n\n**Trained further on these 10-Ks")
    assert "Data and hardware" in channel and "What it is not" in channel
    evidence = VARIANTS["continued_wins"]
    gives = post.post(evidence, samples(evidence)).partition("**What it may give away.**")[2]
    assert "9 of 9 continuations (3 prompts, 3 seeds) of “scratch” have 12 words or more" in gives
    assert "from training text, the longest 13." in gives
    assert "left as they are: 41 e-mail addresses, 118 phone numbers." in gives


@pytest.mark.parametrize("name", VARIANTS)
def test_the_card_has_no_empty_field(name: str) -> None:
    card = post.card(VARIANTS[name], "scratch")
    front, body = card.removeprefix("---\n").split("\n---\n", 1)
    assert "library_name: transformers" in front and "license" not in front
    assert "None" not in body and "|  |" not in body and "More Information" not in body
    assert "| Energy, kWh | not measured |" in body


def test_the_base_model_is_named_where_it_is_a_hub_id() -> None:
    data = VARIANTS["continued_wins"].model_dump()
    data["models"]["stock"]["source"] = "openai-community/gpt2"
    evidence = Evidence.model_validate(data)
    assert 'base_model: "openai-community/gpt2"' in post.card(evidence, "continued")
    assert "base_model" not in post.card(evidence, "scratch")


def test_markdown_in_names_is_text() -> None:
    evidence = VARIANTS["hostile"]
    for text in (post.post(evidence), post.card(evidence, "scratch")):
        assert "<script>" not in re.sub(r"\\<", "", text)
        assert r"\*\*Bold\*\*" in text and "\x1b" not in text and "\u202e" not in text


# --- the page -------------------------------------------------------------------------------


class Balance(html.parser.HTMLParser):
    """Checks that tags close in order, ids are unique, and nothing is loaded from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.loads: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        values = dict(attrs)
        self.attributes |= set(values)
        self.ids += [values["id"] or ""] if "id" in values else []
        links = [values.get(name) or "" for name in ("src", "href", "data", "poster", "srcset")]
        self.loads += [link for link in links if link and not link.startswith(("#", "data:"))]

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, tag


@functools.cache
def rendered(name: str, bare: bool = False) -> str:
    evidence = VARIANTS[name]
    rows, read = ([], []) if bare else (samples(evidence), readings(evidence))
    return page.render(evidence, rows, PNG, read)


def own_script(text: str) -> str:
    """The page's one script, which its policy must name by hash."""
    found = re.findall(r"<script[^>]*>(.*?)</script", text, re.DOTALL | re.IGNORECASE)
    assert len(found) == 1 and text.lower().count("<script") == 1
    digest = base64.b64encode(hashlib.sha256(found[0].encode()).digest()).decode()
    policy = re.search('http-equiv="Content-Security-Policy" content="([^"]+)"', text)
    assert policy and f"script-src &#39;sha256-{digest}&#39;;" in policy[1]
    assert "default-src &#39;none&#39;" in policy[1]
    return str(found[0])


@pytest.mark.parametrize("name", VARIANTS)
def test_the_page_is_whole_offline_and_small(name: str) -> None:
    text = rendered(name)
    parser = Balance()
    parser.feed(text)
    parser.close()
    assert not parser.open and not parser.loads and len(text.encode()) < 3_000_000
    assert len(parser.ids) == len(set(parser.ids))
    assert not parser.tags & {"iframe", "link", "object", "b"}
    assert "innerHTML" not in own_script(text)
    assert "@import" not in text and not re.search(r"url\((?!#)", text)
    assert {"main", "header", "footer", "nav"} <= parser.tags
    assert text.count("<tr>") > 3 and 'scope="col"' in text and 'scope="row"' in text


def test_notices_come_before_everything() -> None:
    body = rendered("continued_wins").split("<body>")[1]
    assert re.sub(r"<[^>]+>", "", body).strip().startswith(INVENTED)


def test_every_prompt_and_every_answer_is_shown() -> None:
    text = rendered("continued_wins")
    assert text.count("<h3>Prompt ") == 3 and text.count("answer truth") == 2 * 3
    assert text.count("I hope this helps you") == 3 * 3
    assert text.index("· seed 1<") < text.index("· seed 2<") < text.index("· seed 3<")


def test_the_page_names_keys_stock_notes_and_tfidf_first() -> None:
    text = rendered("continued_wins")
    for key in ("loss", "gaps", "samples", "curves", "probe", "corpus", "cost", "models"):
        assert f"<code>{key}</code>" in text
    probe = text[text.index('aria-labelledby="probe"') :]
    assert probe.index("TF-IDF, a bag of words</th>") < probe.index("stock</th>")
    assert (
        text.count("SmolLM2-135M-Instruct (instruction-tuned, 4-bit weights)") == 1 + 1
    )  # verdict
    assert VARIANTS["continued_wins"].held_out_sha256 in text
    assert "No stock model could be measured" in rendered("no_stock")


def sections_of(text: str) -> str:
    found = re.search("<table[^>]*>\n<caption>By section.*?</table>", text, re.DOTALL)
    return found[0] if found else ""


def test_losses_by_section_are_a_small_table() -> None:
    table = sections_of(rendered("continued_wins"))
    rows = re.findall("<tr>(.*?)</tr>", table)
    cells = [re.findall(r">([^<>]+)</t[hd]>", row) for row in rows]
    assert cells[0][:3] == ["Section", "Filings", "Companies"]
    assert cells[0][3:] == ["stock", "scratch", "continued"]
    assert cells[2] == [
        "Item 7", "31", "31", "0.954 (0.904 to 1.014)", "1.137 (1.087 to 1.197)",
        "0.815 (0.765 to 0.875)",
    ]  # fmt: skip
    assert cells[3][3] == "1.181" and len(cells) == 4  # one group: no interval
    assert "companies never trained on" in table and "PPMd" not in table
    assert sections_of(rendered("no_unseen")).count("<tr>") == 4
    assert not sections_of(rendered("nothing"))
    rows = VARIANTS["continued_wins"].model_dump()["slices"][:3]
    whole = example(slices=[{**r, "documents": 92} for r in rows])
    assert not sections_of(page.render(whole, [], PNG))


def test_a_hostile_heading_is_text_and_many_are_cut() -> None:
    rows = VARIANTS["continued_wins"].model_dump()["slices"]
    nasty = f"{HOSTILE}</td><script>1</script>\n{{{{ 7 * 7 }}}}"
    evidence = view.tidy(example(slices=[{**r, "value": nasty} for r in rows[:1]]))
    text = page.render(evidence, [], PNG)
    assert own_script(text) and "&lt;script&gt;1&lt;/script&gt; {{ 7 * 7 }}" in text
    assert sections_of(text).count(words.NOT_MEASURED) == 2  # by the arms
    Balance().feed(text)
    many = [{**rows[0], "value": f"Item {n}", "documents": 5 + n} for n in range(30)]
    table = sections_of(page.render(view.tidy(example(slices=many)), [], PNG))
    assert table.count("<tr>") == 1 + tables.SECTIONS and "the 20 most frequent" in table
    assert "Item 29<" in table and "Item 9<" not in table


def test_evidence_without_slices_is_read() -> None:
    data = VARIANTS["continued_wins"].model_dump()
    del data["slices"]
    assert Evidence.model_validate(data | {"schema_version": 1}).slices == []


def test_hostile_text_is_text() -> None:
    evidence = VARIANTS["hostile"]
    nasty = f"{HOSTILE}</p><img src=x onerror=alert(1)>\" onclick='x' "
    rows = samples(evidence, {name: nasty for name in TEXTS})
    rows = [r.model_copy(update={"prompt_id": nasty, "copied_words": 12, "copied_text": "<script>",
                                 "copied_from": nasty, "prompt": nasty}) for r in rows]  # fmt: skip
    cleaned = [Sample.model_validate(view._tidy(r.model_dump())) for r in rows]
    piece = Reading(model="stock", prompt_id=cleaned[0].prompt_id, text=nasty + nasty,
                    ends=[9, len(nasty) * 2], nats=[1.0, 2.0],
                    alternatives=[[(nasty, 0.5)], [("\x00</i>", 0.1)]])  # fmt: skip
    text = page.render(evidence, cleaned, PNG, [piece])
    own_script(text)
    assert "<img src=x" not in text and 'class="heat"' in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert not re.search("[\x1b\u202e\x00]", text)
    parser = Balance()
    parser.feed(text)
    assert not parser.open and not parser.loads
    assert not [name for name in parser.attributes if name.startswith("on")]


def test_charts_are_the_same_each_time_and_follow_the_theme() -> None:
    evidence = VARIANTS["full"]
    every = (charts.loss_charts, charts.gap_charts, charts.slice_charts, charts.training_charts,
             charts.probe_charts)  # fmt: skip
    drawings = [drawing for draw in every for drawing in draw(evidence)]
    assert [len(draw(evidence)) for draw in every] == [2, 2, 4, 2, 1]
    assert drawings[:2] == charts.loss_charts(evidence)
    spent = charts.cost_charts(evidence)
    assert len(spent) == 2 and len(charts.cost_charts(VARIANTS["one_arm"])) == 1
    for drawing in [*drawings, *spent]:
        assert "#" not in re.sub("&#[0-9]+;", "", drawing) and "http" not in drawing
        assert 'role="img"' in drawing and "aria-label=" in drawing and "<text" in drawing
        assert "nan" not in drawing.lower().replace("unan", "")
    assert "0.842 [0.80, 0.89]" in drawings[0] and 'class="continued"' in drawings[0]
    assert charts.cost_charts(VARIANTS["nothing"]) == []


def test_charts_leave_out_what_would_hide_the_differences() -> None:
    evidence = VARIANTS["part_measured"]
    said = [re.findall(">([^<>]+)</text>", d) for d in charts.loss_charts(evidence)]
    for names in said:  # best first; xz has twice the bits, PPMd alone and 8 bits over three times
        assert [n for n in names if n in ("stock", "continued", "PPMd primed", "xz")] == [
            "continued", "stock", "PPMd primed", "xz"
        ]  # fmt: skip
        assert not {"PPMd", "uniform"} & set(names)
    worse = changed(evidence, "loss", bits_per_byte=lambda x: 2.6 if x > 1.68 else x)
    assert ">xz<" not in charts.loss_charts(worse)[0]  # three times 0.842 is 2.526
    drawing = charts.gap_charts(evidence)[0]
    first = set(re.findall("<title>([^<>]+ against [^<>:]+):", drawing))
    assert first == {
        "continued against scratch", "continued against stock", "scratch against stock",
        "continued against PPMd primed", "scratch against PPMd primed",
    }  # fmt: skip
    assert len([r for r in tables.gaps(evidence).rows if r[2].startswith("unseen")]) == 11


def test_without_stock_no_line_of_it_is_spoken_of() -> None:
    assert "dashed line" in rendered("continued_wins") and "dashed line" not in rendered("no_stock")
    assert "stock model" not in charts.cost_charts(VARIANTS["no_stock"])[0]


def test_what_a_baseline_cannot_have_is_a_dash() -> None:
    rows = {row[0]: row for row in tables.models(VARIANTS["continued_wins"]).rows}
    assert rows["xz"][1:] == ["baseline: xz -9e", "–", "–", "–", "models/xz", "–"]
    assert rows["scratch"][1] == "scratch: Qwen3-style, 1.9M parameters"
    assert rows["scratch"][2] == "1,903,104"


def test_copying_last_year_stands_in_the_table_by_novelty() -> None:
    tables_ = {t.heads[0]: t for t in tables.slices(VARIANTS["full"])}
    table = tables_["Novelty"]
    column = table.heads.index("PPMd + last year")
    assert [row[column] for row in table.rows] == [
        "0.410 (0.310 to 0.510), on 27", "1.070 (0.970 to 1.170), on 21",
        "2.230 (2.130 to 2.330), on 15",
    ]  # fmt: skip
    assert [row[1] for row in table.rows] == ["31", "25", "19"]
    assert not [t for by, t in tables_.items() if by != "Novelty" and "PPMd + last year" in t.heads]


def luminance(colour: str) -> float:
    """Relative luminance of `#rgb` or `#rrggbb` (WCAG 2.2)."""
    digits = colour.lstrip("#")
    digits = "".join(c * 2 for c in digits) if len(digits) == 3 else digits
    shares = [int(digits[n : n + 2], 16) / 255 for n in (0, 2, 4)]
    parts = [s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in shares]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_text_has_the_contrast_of_aa(theme: int) -> None:
    blocks = re.findall(r":root \{(.*?)\}", rendered("full"), re.DOTALL)
    colours = dict(re.findall(r"--([\w-]+): (#\w+)", blocks[theme]))
    grounds = {
        "ink": ["paper", "card", "mark", "copied", "h1", "h2", "h3", "h4"],
        "alert": ["alert-paper"],
        **{name: ["paper", "card"] for name in ("muted", "accent")},
        **{name: ["paper"] for name in ("stock", "scratch", "continued", "baseline")},
    }
    for text, backs in grounds.items():
        for back in backs:
            a, b = sorted((luminance(colours[text]), luminance(colours[back])))
            assert (b + 0.05) / (a + 0.05) >= 4.5, (text, back)


@given(st.floats(-50, 50), st.floats(0.001, 90))
def test_ticks_are_round_and_inside(low: float, width: float) -> None:
    found = svg.ticks(low, low + width)
    assert 1 <= len(found) <= 10 and all(low - 1e-9 <= x <= low + width + 1e-9 for x in found)
    steps = {round(b - a, 9) for a, b in itertools.pairwise(found)}
    assert len(steps) <= 1 or max(steps) - min(steps) < 1e-6


@given(st.floats(1e-3, 1e15), st.floats(1.7, 1e6))
def test_log_ticks_are_inside(low: float, times: float) -> None:
    found = svg.log_ticks(low, low * times)
    assert found and all(low <= x <= low * times * 1.000001 for x in found)
    assert times < 5 or {f"{x:.0e}"[0] for x in found} <= {"1", "2", "5"}


@given(st.lists(st.floats(0, 300), min_size=1, max_size=9))
def test_labels_are_moved_apart_and_keep_their_order(places: list[float]) -> None:
    found = svg.spread(places, 15)
    assert all(b - a >= 14.99 for a, b in itertools.pairwise(sorted(found)))
    order = sorted(range(len(places)), key=lambda n: (places[n], n))
    assert [found[n] for n in order] == sorted(found)


def test_a_title_that_looks_like_svg_stays_a_title() -> None:
    title = 'style="font: 12px evil; x" id="y" </text><image href="http://x"/> #010203'
    for drawing in charts.loss_charts(example(titles={"stock": title})):
        parser = Balance()
        parser.feed(drawing)
        assert not parser.open and "image" not in parser.tags and not parser.loads


# --- every number comes from the evidence ---------------------------------------------------

NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?(?:e[+-]\d+)?")
FIXED = re.compile(  # wording that has numbers of its own
    r"(?<![\d.,])(?:95 %|10-K|10,000 draws|(?:New|word) 13-grams|word 4-grams|takes 8\.|50 tokens"
    r"|next 50|12 words or more|where 20 % or more|nDCG@10|Macro-F1|1 is perfect, 0 is none"
    r"|0 \(held out|2-9(?!\d)|10\+|Prompt \d+ of \d+|\d+ more:|tenth \d+|50 % or more|10 % to 50 %"
    r"|1 % to 10 %|1 in 1,000 to 1 %|less than 1 in 1,000|\d arms|\d labels|schema \d+|1 in "
    r"|90th|fewer than 20 companies|corrected p is 0.05)|(?:sha|SHA-)256"
)


class Words(html.parser.HTMLParser):
    """All that a page says: text, labels and titles; not styles, scripts, ticks and pictures."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []
        self.mute = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        scale = tag == "text" and values.get("class") == "muted"
        if not self.mute and (tag in {"style", "script"} or scale):
            self.mute = tag
        self.said += [
            values[name] or "" for name in ("title", "aria-label", "alt") if name in values
        ]

    def handle_endtag(self, tag: str) -> None:
        self.mute = "" if tag == self.mute else self.mute

    def handle_data(self, data: str) -> None:
        self.said += [] if self.mute else [data]


COUNTED = re.compile(  # how many pass a threshold, which `moved` may not change: tested by hand
    r"[\d,]+ of [\d,]+ continuations \([^)]+\)|[\d,]+ repeat|on \d+ of \d+;"
    r"|for their number and on 20 companies or more: \d+"
)


def numbers_of(said: list[str]) -> list[str]:
    text = "\n".join(said).replace("\u00a0", " ")
    return NUMBER.findall(FIXED.sub(" ", COUNTED.sub(" ", text)))


def paged(evidence: Evidence, rows: list[Sample], read: list[Reading]) -> list[str]:
    parser = Words()
    parser.feed(page.render(evidence, rows, PNG, read))
    return parser.said


DIGITS = str.maketrans("0123456789", "1234567890")
KEPT = {"copies", "by", "prompt_id", "ends"}  # what is no number that is shown


def moved(value: Any, key: str = "") -> Any:
    """Every number another one, in the same order and of the same sign; digits in texts too."""
    if isinstance(value, bool) or key in KEPT or (key == "value" and len(str(value)) == 1):
        return value
    if isinstance(value, int):  # where nothing was copied, nothing is
        return 0 if (key, value) == ("copied_words", 0) else 2 * value + 7
    if isinstance(value, float):
        return 0.83 * value + (0.0171 if value > 0 else 0.0)
    if isinstance(value, str):
        return value.translate(DIGITS).replace("21-K", "10-K")  # which decides on nouns
    if isinstance(value, dict):
        return {k: moved(v, k) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [moved(v, key) for v in value]
    return value


def both() -> Iterator[tuple[Evidence, list[Sample], list[Reading]]]:
    """Full evidence with its samples and readings; then the same with every number another."""
    evidence = VARIANTS["full"]
    rows, read = samples(evidence), readings(evidence)
    yield evidence, rows, read
    yield (
        Evidence.model_validate(moved(evidence.model_dump())),
        [Sample.model_validate(moved(r.model_dump())) for r in rows],
        [Reading.model_validate(moved(r.model_dump())) for r in read],
    )


def test_every_number_of_the_page_changes_with_the_evidence() -> None:
    first, second = (numbers_of(paged(*given)) for given in both())
    assert len(first) > 1_000
    assert len(first) == len(second)
    same = [n for n, (a, b) in enumerate(zip(first, second, strict=True)) if a == b]
    assert not same, [first[max(0, n - 3) : n + 4] for n in same[:20]]


def test_what_passes_a_threshold_is_counted() -> None:
    """What `COUNTED` leaves out of the test above."""
    evidence = VARIANTS["full"]
    rows = [r for r in samples(evidence) if r.model == "scratch"]
    few = [r.model_copy(update={"copied_words": 12 - (n > 1), "repetition": 0.2 - 0.01 * (n > 3)})
           for n, r in enumerate(rows)]  # fmt: skip
    [told] = findings.copied(evidence, few, repeats=True)
    assert told.startswith("2 of 9 continuations (3 prompts, 3 seeds) of “scratch” have 12 words")
    assert told.endswith("training text, the longest 12; 4 repeat themselves.")
    assert findings.copied(evidence, few[1:5])[0].startswith("1 of 4 continuations (2 prompts, 3 s")
    line = findings.where(evidence)[0]
    assert "ahead of the stock model on 2 of 3; most on Item 1" in line and line.endswith(": 1.")
    more = changed(evidence, "slice_gaps", bits_per_byte=lambda x: x - 0.1, p_holm=lambda x: 0.04)
    assert "on 3 of 3;" in findings.where(more)[0]
    assert findings.where(more)[0].endswith("companies or more: 2.")  # the third has 18 groups


@pytest.mark.parametrize("arm", ["", "scratch", "continued"])
def test_every_number_of_post_and_card_changes_with_the_evidence(arm: str) -> None:
    code = re.compile("## How to get started.*?(?=## Training)", re.DOTALL)
    first, second = (
        numbers_of([code.sub("", post.card(e, arm)) if arm else post.post(e, rows)])
        for e, rows, _ in both()
    )
    assert len(first) == len(second) > 80
    same = [n for n, (a, b) in enumerate(zip(first, second, strict=True)) if a == b]
    assert not same, [first[max(0, n - 3) : n + 4] for n in same[:20]]


def test_every_number_of_the_picture_changes_with_the_evidence() -> None:
    first, second = (
        numbers_of([text.get_text() for text in headline.draw(e, rows).axes[0].texts])
        for e, rows, _ in both()
    )
    assert len(first) == len(second) > 20
    assert not [(a, b) for a, b in zip(first, second, strict=True) if a == b]


def test_the_page_has_the_figures_themselves() -> None:
    evidence = VARIANTS["full"]
    said = "\n".join(paged(evidence, samples(evidence), readings(evidence)))
    for row in evidence.loss:
        assert f"{row.bits_per_byte:.4f}" in said and f"{row.ci95[0]:.4f}" in said
    for gap in [*evidence.gaps, *evidence.slice_gaps]:
        assert f"{gap.bits_per_byte:+.4f}" in said
    for shares in (evidence.probe, evidence.choices):
        for share in shares:
            assert numbers.percent(share.accuracy) in said.replace("\u00a0", " ")
    for found in evidence.retrieval:
        assert f"{found.ndcg10:.3f}" in said and f"{found.mrr:.3f}" in said
    for memory in evidence.memorization:
        assert numbers.percent(memory.rate) in said.replace("\u00a0", " ")
    for window in evidence.windows:
        assert f"{window.bits_per_byte:.4f}" in said
    assert "0.0043" in said and "NOT met" in said and "passes the stock model" in said
    assert "does not pass the stock model" in said and "it remembers text" in said


def test_where_an_arm_passes_the_stock_model_is_said() -> None:
    evidence = VARIANTS["full"]
    passes, fails = findings.crossings(evidence)
    assert "“continued” passes" in passes and passes.endswith(
        "after 61 seconds (6.70e+12 training FLOPs), of 5.0 minutes (3.40e+13 training FLOPs)."
    )
    assert "“scratch” does not pass" in fails and "within 5.2 minutes (3.40e+13" in fails
    early = changed(evidence, "crossings", at=lambda at: at and 37.6)
    assert "after at most 38 seconds" in findings.crossings(early)[0]


def test_what_the_stock_model_had_cost_before_is_said() -> None:
    evidence = VARIANTS["full"]
    said = " ".join(findings.pretraining(evidence))
    assert "“continued” adds 3.40e+13 training FLOPs" in said and "1.61e+21" in said
    stock = evidence.models["stock"].model_copy(update={"pretraining_flops": None})
    unknown = evidence.model_copy(update={"models": {**evidence.models, "stock": stock}})
    assert "(not published)" in " ".join(findings.pretraining(unknown))
    assert findings.pretraining(VARIANTS["no_stock"]) == []


def test_no_note_is_lost() -> None:
    parts = {"retrieval": "r-note", "baselines": "b-note", "extraction": "m-note", "new": "n-note"}
    text = page.render(example(notes=parts), [], PNG)
    assert [text.count(note) for note in parts.values()] == [1] * len(parts)
    assert text.index("n-note") > text.index('id="limits"') > text.index("m-note")


def test_an_older_run_does_not_claim_that_nothing_was_copied() -> None:
    old = example(schema_version=3)
    assert "was not measured in this run" in findings.copied(old, samples(old))[0]
    assert findings.copied(example(), samples(example()))[1].startswith("9 of 9")


def test_what_was_not_asked_for_takes_a_line() -> None:
    text = rendered("continued_wins", bare=True)
    assert "were not asked for" in text and "give away was not run" in text
    memory = rendered("continued_wins")
    memory = memory[memory.index('id="memory"') :]
    assert memory.index("9 of 9 continuations") < memory.index("A systematic test")
    assert 'aria-labelledby="reading"' not in text and "nDCG" not in text
    assert len(text) < 0.6 * len(rendered("full"))


# --- reading along --------------------------------------------------------------------------


def test_the_heat_map_is_the_text_and_its_bits() -> None:
    evidence = VARIANTS["continued_wins"]
    rows = readings(evidence)
    prompts = view.prompts(evidence, samples(evidence))
    pages, left = heat.pages(evidence, prompts, rows)
    assert [p.prompt.prompt_id for p in pages] == ["opening-a", "opening-b"] and not left
    assert [b.model for b in pages[0].blocks] == ["stock", "continued", "scratch"]
    for block, row in ((b, r) for b in pages[0].blocks for r in rows
                       if (r.model, r.prompt_id) == (b.model, "opening-a")):  # fmt: skip
        assert "".join(p.text for p in [*block.opening, *block.rest]) == row.text
        first = len(block.opening)
        size = len("".join(p.text for p in block.rest).encode())
        assert block.bits_per_byte == pytest.approx(sum(row.nats[first:]) / math.log(2) / size)
        assert [p.level for p in block.rest] == [heat.level(n) for n in row.nats[first:]]
    assert heat.pages(evidence, prompts, [])[0] == []


TOKENS = st.sampled_from(["ab", " c", "é", " ", "\n", "", "d e"])


@given(st.lists(st.tuples(TOKENS, st.floats(0.01, 9)), min_size=1, max_size=12), st.integers(0, 9))
def test_the_nats_of_pieces_and_words_add_up(parts: list[tuple[str, float]], cut: int) -> None:
    text = "".join(text for text, _ in parts) + "."
    ends = list(itertools.accumulate(len(text) for text, _ in parts))
    ends[-1] = len(text)
    nats = [n for _, n in parts]
    row = Reading(model="m", prompt_id="p", text=text, ends=ends, nats=nats,
                  alternatives=[[("x", 0.5)]] * len(nats))  # fmt: skip
    block = heat.block(row, cut)
    assert "".join(p.text for p in [*block.opening, *block.rest]) == text
    assert sum(heat.word_nats(row, 0).values()) <= sum(nats) + 1e-9
    if not any(t.strip() == "" for t, _ in parts[:-1]):
        assert sum(heat.word_nats(row, 0).values()) == pytest.approx(sum(nats))


@pytest.mark.parametrize(
    ("share", "level"), [(0.51, 0), (0.3, 1), (0.05, 2), (0.002, 3), (0.0002, 4)]
)
def test_levels_go_by_probability(share: float, level: int) -> None:
    assert heat.level(-math.log(share)) == level and len(heat.legend()) == 5


def test_words_on_which_models_differ_are_named() -> None:
    one = Reading(
        model="a", prompt_id="p", text="Sales of Harlan Valve rose", ends=[5, 8, 15, 21, 26],
        nats=[1, 0.5, 9.0, 2.0, 1.0], alternatives=[[]] * 5,
    )  # fmt: skip
    two = one.model_copy(update={"nats": [1, 0.5, 1.0, 2.5, 1.0]})
    first, *_ = sorted(heat.differences(one, two, 9), key=lambda w: w.nats[1] - w.nats[0])
    assert first == heat.Word("Harlan", "Sales of", (9.0, 1.0))


# --- side by side ---------------------------------------------------------------------------


def test_blind_mode_goes_by_a_hash_and_loses_nobody() -> None:
    evidence = VARIANTS["continued_wins"]
    orders = set()
    for prompt in view.prompts(evidence, samples(evidence)):
        for seed in prompt.seeds:
            cards = page.blind(prompt, seed)
            names = [answer.model if answer else "truth" for _, _, answer in cards]
            orders.add(tuple(names))
            wanted = ["stock", "continued", "scratch"] + ["truth"] * bool(prompt.true_text)
            assert sorted(names) == sorted(wanted)
            assert [n for _, n in sorted((n, name) for name, (_, n, _) in
                                         zip(names, cards, strict=True))] == wanted  # fmt: skip
            assert [letter for letter, *_ in cards] == list("ABCD"[: len(cards)])
    assert len(orders) > 3


def test_copies_and_repeats_are_badges() -> None:
    evidence = VARIANTS["continued_wins"]
    text = rendered("continued_wins")
    badge = "13 words copied from Harlan Valve Company, 10-K 2019"
    assert text.count(f'class="badge">{badge}') == 9 and text.count(f"<mark>{COPIED}</mark>") == 9
    assert text.count('class="badge">34\u00a0% repeated') == 3
    row = next(r for r in samples(evidence) if r.copied_words)
    less = row.model_copy(update={"copied_words": 11, "repetition": 0.19})
    assert page.badges(less) == [] and page.marked(less) == (row.text.strip(), "", "")
    assert "".join(page.marked(row)) == row.text.strip()


def test_the_worst_is_chosen_by_rule() -> None:
    evidence = VARIANTS["continued_wins"]
    own = [r for r in samples(evidence) if r.model == "continued"]
    rows = [
        r.model_copy(update={"repetition": 0.1 * n, "copied_words": 9 - n, "copied_from": "T"})
        for n, r in enumerate(own)
    ]
    other = next(r for r in samples(evidence) if r.model == "scratch")
    worse = other.model_copy(update={"repetition": 0.95, "copied_words": 0})
    assert failures.worst(evidence, [*rows, worse], [])[0].rule.endswith("itself most: “scratch”")
    repeats, copies, paragraph = failures.worst(evidence, rows, readings(evidence))
    assert "repeats itself most" in repeats.rule and repeats.found.startswith("80.0 %")
    assert copies.found.startswith("9 words in a row") and copies.source == rows[0].source
    openings = {rows[0].prompt_id: rows[0], rows[3].prompt_id: rows[3]}
    bits = [
        heat.block(r, len(openings[r.prompt_id].prompt)).bits_per_byte or 0.0
        for name in openings
        for model in ("continued", "stock")
        for r in readings(evidence)
        if (r.model, r.prompt_id) == (model, name)
    ]
    more = [a - b for a, b in ((bits[0], bits[1]), (bits[2], bits[3]))]
    assert paragraph.source == rows[3 * more.index(max(more))].source
    assert ("smallest lead" in paragraph.rule) is (max(more) < 0)
    easy = [r.model_copy(update={"nats": [n / 50 for n in r.nats]}) if r.model == "continued" else r
            for r in readings(evidence)]  # fmt: skip
    assert (
        "smallest lead over the stock model: “cont" in failures.worst(evidence, rows, easy)[2].rule
    )
    hard = [r.model_copy(update={"nats": [n * 50 for n in r.nats]}) if r.model == "continued" else r
            for r in readings(evidence)]  # fmt: skip
    assert "does worst against the stock" in failures.worst(evidence, rows, hard)[2].rule
    assert failures.worst(VARIANTS["nothing"], [], []) == []


def test_invented_text_is_not_called_real_and_nobody_has_read_it() -> None:
    evidence = VARIANTS["continued_wins"]
    notes = ["released in November 2024: it may have read text published before then"]
    stock = evidence.models["stock"].model_copy(update={"notes": notes})
    noted = evidence.model_copy(update={"models": {**evidence.models, "stock": stock}})
    real = noted.model_copy(update={"recipe": noted.recipe.replace("sample:edgar", "filings")})
    for e, known in ((view.tidy(noted), False), (view.tidy(real), True)):
        text = page.render(e, samples(e), PNG, readings(e)).partition("<body>")[2]
        assert "November 2024" in text
        assert ("may have read" in text) is known is ("may have read" in post.post(e))
        assert not re.search(r"real text|real paragraph|really (says|wrote)|is real\b", text)


def test_short_texts_have_one_sentence_for_two_windows() -> None:
    rows = VARIANTS["full"].windows
    same = [r.model_copy(update={"bits_per_byte": 0.9}) for r in rows]
    [line] = findings.windows(VARIANTS["full"].model_copy(update={"windows": same}))
    assert "not overlap, and of about 2,048 bytes for all, “continued” has" in line
    assert len(findings.windows(VARIANTS["full"])) == 2


def test_a_model_above_words_alone_is_named() -> None:
    evidence = VARIANTS["full"]
    assert findings.tasks(evidence).endswith("by more than the intervals: no model, in no task.")
    better = [r.model_copy(update={"ci95": (0.9, 0.95)}) if r.scorer == "continued" else r
              for r in evidence.retrieval]  # fmt: skip
    told = findings.tasks(evidence.model_copy(update={"retrieval": better}))
    assert told.endswith(": “continued” (passages of the same section).")
    assert findings.tasks(VARIANTS["nothing"]) == ""


def test_groups_trained_on_and_scored_are_told_apart() -> None:
    assert findings.groups(example(groups=13)) == (
        "Trained on: 44 companies. Held out is text of 14 that were never trained on (13 scored) "
        "and of 40 that were trained on (13 scored)."
    )
    none = example().corpus.model_copy(update={"splits": {}})
    assert findings.groups(example().model_copy(update={"corpus": none})) == ""


# --- the picture ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["continued_wins", "no_stock", "hostile", "nothing"])
@pytest.mark.parametrize("layout", [headline.WIDE, headline.CARD_SIZE], ids=["wide", "card"])
@pytest.mark.slow
def test_the_pictures_are_exactly_as_large_as_they_say(name: str, layout: headline.Layout) -> None:
    evidence = VARIANTS[name]
    rows = samples(evidence) if name != "nothing" else []
    with Image.open(io.BytesIO(headline.render(evidence, rows, layout))) as image:
        assert image.size in {(1600, 900), (1200, 628)} and image.format == "PNG"
        assert image.size == (layout.width, layout.height)


def pictured(evidence: Evidence, layout: headline.Layout = headline.WIDE) -> list[str]:
    """What the picture says, line by line."""
    figure = headline.draw(evidence, samples(evidence), layout)
    return [text.get_text() for text in figure.axes[0].texts]


@pytest.mark.parametrize("layout", [headline.WIDE, headline.CARD_SIZE], ids=["wide", "card"])
def test_the_picture_has_its_number_interval_cost_and_rule(layout: headline.Layout) -> None:
    said = " ".join(pictured(VARIANTS["continued_wins"], layout))
    assert "14.2 % fewer bits than the stock model" in said and "12.0 % to 16.3 %" in said
    assert "Trained in 5.0 minutes" in said and "energy and money not measured" in said
    assert "Run demo" in said and "model 09ab12cd" in said and "seed 1" in said
    assert "What the filing says next" in said and "a list fixed before training" in said
    assert INVENTED[:40] in said and "0.842" in said and "0.981" in said and "PPMd" in said


def test_a_copy_in_the_picture_has_its_badge() -> None:
    told = "13 words in a row stand in training text"
    said = [" ".join(pictured(VARIANTS[name])) for name in ("scratch_wins", "continued_wins")]
    assert told in said[0] and told not in said[1]


def test_the_picture_of_a_loss_says_so() -> None:
    said = " ".join(pictured(VARIANTS["loses"]))
    assert "worse than before" in said and "4.1 % more bits than the stock model" in said
    said = " ".join(pictured(VARIANTS["no_stock"]))
    assert "than the best baseline without" in said and "Stock:" not in said


def test_the_prompt_of_the_picture_is_chosen_by_rule() -> None:
    evidence = VARIANTS["continued_wins"]
    rows = samples(evidence)
    found = headline.chosen(view.prompts(evidence, rows))
    assert found is not None and found.prompt == rows[0].prompt
    last = [row for row in rows if row.true_text is None]
    alone = headline.chosen(view.prompts(evidence, last))
    assert alone is not None and alone.source.startswith("a stock phrase of filings")
    assert headline.chosen([]) is None


@given(st.lists(st.text("abc$", min_size=1), max_size=90))
def test_cut_words_cuts_at_a_word(parts: list[str]) -> None:
    found = headline.cut_words(" ".join(parts))
    assert found.rstrip("…").split() == parts[: headline.WORDS]
    assert found.endswith("…") is (len(parts) > headline.WORDS)


# --- the stage ------------------------------------------------------------------------------


def write_run(root: Path, name: str) -> Path:
    evidence = variants()[name]
    (root / "evaluation").mkdir()
    (root / "evaluation/evidence.json").write_text(evidence.model_dump_json(), "utf-8")
    rows = [json.dumps(row.model_dump()) for row in samples(evidence)]
    (root / "evaluation/samples.jsonl").write_text("\n".join(rows) + "\n", "utf-8")
    lines = [row.model_dump_json() for row in readings(evidence)]
    (root / "evaluation/surprisal.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
    return root


@pytest.mark.slow
def test_the_stage_writes_the_same_files_twice(tmp_path: Path) -> None:
    write_run(tmp_path, "hostile")
    outputs = ["report/index.html", "report/post.md", *stage.PICTURES]
    outputs += ["models/scratch/README.md", "models/continued/README.md"]
    written = []
    for _ in range(2):
        stage.write_report(tmp_path, {"arms": ["scratch", "continued"]})
        written.append([(tmp_path / path).read_bytes() for path in outputs])
    assert written[0] == written[1]


def test_the_stage_declares_what_it_writes(tmp_path: Path) -> None:
    from domainlm.artifacts import Manifest, Run

    recipe = validate(
        {
            "source": {"path": "x"},
            "train": [
                {"name": "tiny", "model": "m", "tokens": 1},
                {"name": "skipped", "init": "stock", "tokens": 1},
            ],
        },
        "test",
    )
    (tmp_path / "models" / "tiny").mkdir(parents=True)
    (tmp_path / "models" / "tiny" / "config.json").write_text("{}")
    [[task]] = list(stage.waves(Run(tmp_path, recipe, Manifest(tmp_path), None)))
    assert task.name == "report/page" and "models/tiny/README.md" in task.outputs
    assert "models/skipped/README.md" not in task.outputs
    assert task.inputs == ("evaluation/evidence.json", "evaluation/samples.jsonl")
    assert set(stage.PICTURES) <= set(task.outputs)
    (tmp_path / "evaluation").mkdir()
    (tmp_path / "evaluation/surprisal.jsonl").write_text("")
    [[task]] = list(stage.waves(Run(tmp_path, recipe, Manifest(tmp_path), None)))
    assert "evaluation/surprisal.jsonl" in task.inputs


# --- in a browser ---------------------------------------------------------------------------


KEYS = """(() => {
  const heat = document.querySelector(".heat")
  for (const key of ["End", "ArrowLeft", "Home", "ArrowRight"])
    heat.dispatchEvent(new KeyboardEvent("keydown", { key }))
  const out = heat.parentElement.querySelector("output")
  return heat.querySelectorAll(".at").length + out.textContent
})()"""


@pytest.mark.slow
@pytest.mark.skipif(not chromium.PROGRAM, reason="chromium is not installed")
def test_no_sideways_scroll_and_both_themes(tmp_path: Path) -> None:
    evidence = VARIANTS["hostile"]
    long = {name: "x" * 400 + text for name, text in TEXTS.items()}
    rows, read = samples(evidence, long), readings(evidence)
    file, paper = tmp_path / "page.html", []
    file.write_text(page.render(evidence, rows, headline.render(evidence, []), read), "utf-8")
    with chromium.Browser(tmp_path / "profile") as browser:
        tab = browser.page()
        tab.open(f"file://{file}")
        told = tab.run(KEYS)
        assert told.startswith("1“ 7.”: ") and "likeliest: “ the” 41 %" in told  # the script ran
        for width in (360, 768, 1280, 2560):
            tab.size(width)
            scroll, client = (tab.run(f"document.documentElement.{side}Width")
                              for side in ("scroll", "client"))  # fmt: skip
            assert scroll <= client and width - 20 <= client <= width, (width, scroll, client)
        for theme in ("light", "dark"):
            scheme = {"name": "prefers-color-scheme", "value": theme}
            tab.call("Emulation.setEmulatedMedia", features=[scheme])
            tab.picture(tmp_path / f"{theme}.png")
            with Image.open(tmp_path / f"{theme}.png") as image:
                red, *_ = image.convert("RGB").getpixel((5, 600))  # type: ignore[misc]
                paper.append(red)
        assert not tab.complaints
        assert all(url.startswith(("file:", "data:")) for url in tab.requests)
    assert paper[0] > 240 and paper[1] < 40


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[chromium.Page]:
    """The full report; in the end nothing was asked for but itself, and the console is silent."""
    folder = tmp_path_factory.mktemp("shown")
    evidence = VARIANTS["full"]
    picture = headline.render(evidence, samples(evidence))
    text = page.render(evidence, samples(evidence), picture, readings(evidence))
    (folder / "page.html").write_text(text, "utf-8")
    with chromium.Browser(folder / "profile") as browser:
        tab = browser.page()
        tab.open(f"file://{folder}/page.html")
        yield tab
        assert not tab.complaints
        assert {url for url in tab.requests if not url.startswith("data:")} == {
            f"file://{folder}/page.html"
        }


@pytest.mark.slow
@pytest.mark.skipif(not chromium.PROGRAM, reason="chromium is not installed")
def test_tab_reaches_links_and_blind_mode_and_shows_where_it_is(shown: chromium.Page) -> None:
    links, at = [], ""
    for _ in range(200):
        shown.key("Tab")
        at, outline, wide = shown.run("""(() => {
          const at = document.activeElement, style = getComputedStyle(at)
          const name = at.id || at.hash || at.tagName
          return [name, style.outlineStyle, parseFloat(style.outlineWidth)]
        })()""")
        assert outline == "solid" and wide >= 2, at
        links += [at] if at.startswith("#") else []
        if at == "blind":
            break
    assert at == "blind"
    wanted = shown.run("[...document.querySelectorAll('nav a')].map(a => a.hash)")
    assert links == wanted and len(wanted) == 12
    assert shown.run("[...document.querySelectorAll('nav a')]"
                     ".every(a => document.querySelector(a.hash))")  # fmt: skip
    names = "getComputedStyle(document.querySelector('#samples ~ .prompt .who')).display"
    assert shown.run(names) != "none"
    shown.key(" ")
    assert shown.run(names) == "none"
    shown.key("Tab")
    assert shown.run("document.activeElement.closest('.reveal') !== null")
    shown.key(" ")
    assert shown.run(names) != "none"


@pytest.mark.slow
@pytest.mark.skipif(not chromium.PROGRAM, reason="chromium is not installed")
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_accessibility_and_no_sideways_scroll(shown: chromium.Page, theme: str) -> None:
    """axe-core finds nothing at WCAG 2.2 AA, with everything on the page opened."""
    scheme = {"name": "prefers-color-scheme", "value": theme}
    shown.call("Emulation.setEmulatedMedia", features=[scheme])
    shown.run("document.querySelectorAll('details').forEach(d => { d.open = true })")
    for width in (360, 768, 2560, 1280):
        shown.size(width)
        scroll, client = (shown.run(f"document.documentElement.{side}Width")
                          for side in ("scroll", "client"))  # fmt: skip
        assert scroll <= client and width - 20 <= client <= width, (width, scroll, client)
    assert shown.violations() == []


@pytest.mark.slow
@pytest.mark.skipif(not chromium.PROGRAM, reason="chromium is not installed")
def test_three_readings_stand_in_one_row_or_in_one_column(tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    file.write_text(rendered("continued_wins"), "utf-8")
    tops = "[...document.querySelector('.three').children].map(c => c.offsetTop)"
    with chromium.Browser(tmp_path / "profile") as browser:
        tab = browser.page()
        tab.open(f"file://{file}")
        for width, wanted in ((360, 3), (900, 3), (1280, 1), (2560, 1)):
            tab.size(width)
            assert tab.run(f"new Set({tops}).size") == wanted, width


def test_missing_models_do_not_break_the_page() -> None:
    evidence = example(scores=without("stock", "PPMd primed", "xz"))
    assert "No baseline without a neural network was measured" in words.verdict(evidence)[2]
    page.render(evidence, samples(evidence), PNG)
