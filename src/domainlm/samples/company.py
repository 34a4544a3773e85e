"""A company: what it is, how its accounts move from year to year, and what it reports."""

import dataclasses
import datetime
import random
from collections.abc import Iterator

from domainlm.samples.grammar import Writer
from domainlm.samples.vocabulary import INDUSTRIES, NAMES, PHRASES, RISKS, TOPICS, Industry

MOST = len(NAMES["start"]) * len(NAMES["end"])

# The outline of a report: label, title, then what stands under it: `# subheading`, `= table`,
# or `topic least most` for a paragraph of so many sentences.
OUTLINE = (
    ("1", "Business", "# General/overview 2 3/strategy 1 2/# Products and Services/goods 2 3/"
     "# Customers and Sales/buyers 2 3/# Raw Materials and Suppliers/sourcing 2 3/# Competition/"
     "field 1 2/season 1 2/# Government Regulation/oversight 1 1/# Human Capital/staff 1 2"),
    ("1A", "Risk Factors", "risks"),
    ("1B", "Unresolved Staff Comments", "none 1 1"),
    ("2", "Properties", "premises 1 1"),
    ("3", "Legal Proceedings", "lawsuits 1 1"),
    ("4", "Mine Safety Disclosures", "none 1 1"),
    ("5", "Market for Registrant's Common Equity, Related Stockholder Matters and Issuer Purchases "
     "of Equity Securities", "shares 1 2"),
    ("6", "Selected Financial Data", "selected 1 1"),
    ("7", "Management's Discussion and Analysis of Financial Condition and Results of Operations",
     "# Overview/summary 1 3/# Results of Operations/= results/revenue 1 1/drivers 1 2/parts 1 2/"
     "gross 1 1/overhead 1 1/profit 1 1/# Liquidity and Capital Resources/cash 1 1/spending 1 1/"
     "funding 1 2/# Outlook/outlook 1 1/# Critical Accounting Estimates/estimates 1 1"),
    ("7A", "Quantitative and Qualitative Disclosures About Market Risk", "exposure 1 1"),
    ("8", "Financial Statements and Supplementary Data",
     "# Consolidated Statements of Income/= income/# Consolidated Balance Sheets/= balance/"
     "# Consolidated Statements of Cash Flows/= flows/# Note 1. Accounting Policies/policy 1 2/"
     "# Note 2. Inventories/stock 1 2/# Note 3. Property and Equipment/plant 1 2/# Note 4. Debt/"
     "loans 1 2/# Note 5. Income Taxes/taxes 1 1/# Note 6. Contingencies/contingent 1 2/"
     "# Note 7. Segments/= segments"),
    ("9", "Changes in and Disagreements with Accountants on Accounting and Financial Disclosure",
     "none 1 1"),
    ("9A", "Controls and Procedures", "controls 1 1"),
    ("9B", "Other Information", "none 1 1"),
    ("10", "Directors, Executive Officers and Corporate Governance", "proxy 1 1"),
    ("11", "Executive Compensation", "proxy 1 1"),
    ("12", "Security Ownership of Certain Beneficial Owners and Management and Related Stockholder "
     "Matters", "proxy 1 1"),
    ("13", "Certain Relationships and Related Transactions, and Director Independence",
     "proxy 1 1"),
    ("14", "Principal Accountant Fees and Services", "proxy 1 1"),
    ("15", "Exhibits and Financial Statement Schedules", "exhibits 1 1"),
)  # fmt: skip

# The figure whose direction a topic explains.
_TONES = {
    "summary": "revenue", "revenue": "revenue", "drivers": "revenue", "gross": "margin",
    "overhead": "sga", "profit": "net", "cash": "cfo", "overview": "revenue",
}  # fmt: skip

Rows = tuple[tuple[str, ...], ...]


@dataclasses.dataclass(frozen=True)
class Block:
    """A piece: `kind` is heading, subheading, paragraph, table, centered or contents."""

    kind: str
    text: str = ""
    rows: Rows = ()


@dataclasses.dataclass(frozen=True)
class Company:
    """What does not change about a company."""

    index: int
    cik: int
    name: str
    industry: Industry
    words: dict[str, tuple[str, ...]]
    town: str
    state: tuple[str, str]
    founded: int
    year_end: tuple[int, int]
    plain_text: bool
    form: str


@dataclasses.dataclass(frozen=True)
class Filing:
    """One annual report: its dates and its items, each a label and its blocks."""

    company: Company
    period: datetime.date
    filed: datetime.date
    items: tuple[tuple[str, tuple[Block, ...]], ...]


def found(index: int, seed: int) -> Company:
    """Invent company number `index` (from 0) of the world `seed`."""
    rng = random.Random(f"{seed}-{index}-company")
    order = list(range(MOST))
    random.Random(f"{seed}-names").shuffle(order)
    start, end = divmod(order[index], len(NAMES["end"]))
    industry = INDUSTRIES[index % len(INDUSTRIES)]
    # Each company knows only some of its industry's words, so that rivals differ.
    words = {
        symbol: tuple(rng.sample(options, max(2, len(options) - rng.randint(0, len(options) // 3))))
        for symbol, options in industry.words.items()
    }
    plain_text = index % 4 == 3
    state, code = rng.choice(NAMES["state"]).split()
    kind = f"{rng.choice(industry.words['kind'])} {rng.choice(('Inc', 'Corp', 'Company'))}"
    return Company(
        index,
        9_000_001 + index,
        f"{NAMES['start'][start]}{NAMES['end'][end]} {kind}",
        industry,
        words,
        f"{rng.choice(NAMES['place'])} {rng.choice(NAMES['feature'])}",
        (state, code),
        rng.randint(1921, 2004),
        rng.choice(((12, 31), (12, 31), (12, 31), (6, 30), (9, 30))),
        plain_text,
        "10-K405" if plain_text and index % 8 == 7 else "10-K",
    )


def accounts(company: Company, seed: int) -> Iterator[dict[str, int]]:
    """Yield the company's accounts year after year, in thousands; each balance sheet balances."""
    rng = random.Random(f"{seed}-{company.index}-accounts")
    revenue = rng.randint(60_000, 2_400_000)
    gross, overhead = rng.uniform(0.24, 0.46), rng.uniform(0.5, 0.7)
    share = rng.uniform(0.2, 0.6)
    year = dict(ppe=revenue // 3, debt=revenue // 5, cash=revenue // 10, equity=0, employees=0)
    year |= dict(receivables=revenue // 8, inventories=revenue // 9, payables=revenue // 10)
    assets = sum(year[k] for k in ("ppe", "cash", "receivables", "inventories"))
    year["equity"] = assets - year["debt"] - year["payables"]
    staff = rng.randint(120, 260)
    while True:
        revenue = round(revenue * (1 + rng.choice((1, 1, 1, -1)) * rng.uniform(0.008, 0.13)))
        gross = min(0.5, max(0.2, gross + rng.uniform(-0.02, 0.02)))
        overhead = min(0.72, max(0.48, overhead + rng.uniform(-0.02, 0.02)))
        new = dict(revenue=revenue, cost=round(revenue * (1 - gross)))
        new["gross"] = revenue - new["cost"]
        new["sga"] = round(new["gross"] * overhead)
        new["operating"] = new["gross"] - new["sga"]
        new["interest"] = round(year["debt"] * rng.uniform(0.035, 0.06))
        new["pretax"] = new["operating"] - new["interest"]
        new["tax"] = round(new["pretax"] * rng.uniform(0.19, 0.27))
        new["net"] = new["pretax"] - new["tax"]
        new["depreciation"] = year["ppe"] // 9
        new["capex"] = round(new["depreciation"] * rng.uniform(0.8, 1.6))
        new["ppe"] = year["ppe"] + new["capex"] - new["depreciation"]
        for name, ratio in (("receivables", 8), ("inventories", 9), ("payables", 10)):
            new[name] = round(revenue / ratio * rng.uniform(0.93, 1.07))
        new["working"] = sum(year[k] - new[k] for k in ("receivables", "inventories"))
        new["working"] += new["payables"] - year["payables"]
        new["cfo"] = new["net"] + new["depreciation"] + new["working"]
        new["dividends"] = round(new["net"] * rng.uniform(0.25, 0.6))
        cash = year["cash"] + new["cfo"] - new["capex"] - new["dividends"]
        target = revenue // 12
        # Surplus cash repays debt, a shortfall is borrowed.
        new["borrowed"] = max(round((target - cash) * 0.7), -round(year["debt"] * 0.3))
        new["cash"], new["debt"] = cash + new["borrowed"], year["debt"] + new["borrowed"]
        new["equity"] = year["equity"] + new["net"] - new["dividends"]
        new["assets"] = sum(new[k] for k in ("cash", "receivables", "inventories", "ppe"))
        new["claims"] = new["payables"] + new["debt"] + new["equity"]
        new["moved"] = new["cash"] - year["cash"]
        new["employees"] = revenue // staff
        share = min(0.65, max(0.15, share + rng.uniform(-0.03, 0.03)))
        new["seg1"] = round(revenue * share)
        rest = len(company.words["segment"]) - 1
        new["seg2"] = round((revenue - new["seg1"]) * (0.6 if rest > 1 else 1))
        new["seg3"] = revenue - new["seg1"] - new["seg2"]
        yield new
        year = new


def phrases(company: Company, now: dict[str, int], last: dict[str, int], fy: int) -> dict[str, str]:
    """Every figure that a sentence may name, in words."""

    def money(thousands: float) -> str:
        return f"${thousands / 1000:,.1f} million"

    segments = company.words["segment"]
    found = {name: money(value) for name, value in now.items()}
    found |= {f"{name}_py": money(value) for name, value in last.items()}
    for name in ("revenue", "sga"):
        change = abs(now[name] - last[name])
        found |= {f"{name}_change": money(change), f"{name}_pct": f"{change / last[name]:.1%}"}
    return found | {
        "name": company.name, "town": company.town, "state": company.state[0],
        "founded": str(company.founded), "fy": str(fy), "py": str(fy - 1), "ny": str(fy + 1),
        "margin": f"{now['gross'] / now['revenue']:.1%}",
        "margin_py": f"{last['gross'] / last['revenue']:.1%}",
        "sga_share": f"{now['sga'] / now['revenue']:.1%}",
        "tax_rate": f"{now['tax'] / now['pretax']:.1%}",
        "rate": f"{now['interest'] / last['debt']:.1%}",
        "point_cost": money(now["debt"] / 100), "capex_next": money(now["capex"] * 1.1),
        "employees": f"{now['employees']:,}", "sites_n": str(6 + now["employees"] % 37),
        "segments_n": "two" if len(segments) == 2 else "three",
        "segments": ", ".join(segments[:-1]) + " and " + segments[-1],
        "seg1": segments[0], "seg2": segments[1],
        "seg1_now": money(now["seg1"]), "seg2_now": money(now["seg2"]),
    }  # fmt: skip


def tables(company: Company, now: dict[str, int], last: dict[str, int], fy: int) -> dict[str, Rows]:
    """Set the statements out as rows of cells, in thousands."""
    head = ("(in thousands)", str(fy), str(fy - 1))

    def cell(value: int) -> str:
        return f"({-value:,})" if value < 0 else f"{value:,}"

    def table(lines: str, *, signs: str = "") -> Rows:
        rows = [head]
        for line in lines.split("/"):
            label, _, name = line.partition("=")
            sign = -1 if name in signs.split() else 1
            rows.append((label, cell(sign * now[name]), cell(sign * last[name])))
        return tuple(rows)

    results = (
        "Revenue=revenue/Cost of revenue=cost/Gross profit=gross/"
        "Selling, general and administrative=sga/Operating income=operating"
    )
    rest = (
        "/Interest expense=interest/Income before income taxes=pretax/Income tax expense=tax/"
        "Net income=net"
    )
    parts = "/".join(f"{s}=seg{i}" for i, s in enumerate(company.words["segment"][:3], start=1))
    return {
        "income": table(results + rest),
        "results": table(results),
        "balance": table(
            "Cash=cash/Accounts receivable=receivables/Inventories=inventories/Property and "
            "equipment, net=ppe/Total assets=assets/Accounts payable=payables/Debt=debt/"
            "Stockholders' equity=equity/Total liabilities and equity=claims"
        ),
        "flows": table(
            "Net income=net/Depreciation=depreciation/Changes in working capital=working/Net cash "
            "from operating activities=cfo/Capital expenditures=capex/Net borrowings=borrowed/"
            "Dividends paid=dividends/Change in cash=moved",
            signs="capex dividends",
        ),
        "segments": table(parts + "/Total revenue=revenue"),
    }


def filings(company: Company, years: range, seed: int) -> Iterator[Filing]:
    """Yield the company's annual reports filed in `years`, each revised from the one before."""
    rng = random.Random(f"{seed}-{company.index}-filings")
    grammar = {**PHRASES, **TOPICS, **company.words}
    writer = Writer(grammar, rng, keep=rng.uniform(0.55, 0.75))
    risks = sorted(rng.sample(RISKS, rng.randint(3, 4)), key=lambda risk: rng.random())
    books = accounts(company, seed)
    last = next(books)
    for filed_year in years:
        now = next(books)
        fy = filed_year - (company.year_end[0] == 12)
        period = datetime.date(fy, *company.year_end)
        filed = period + datetime.timedelta(days=rng.randint(55, 80))
        if filed.isoweekday() > 5:  # EDGAR takes filings on working days
            filed += datetime.timedelta(days=8 - filed.isoweekday())
        shown = tables(company, now, last, fy)
        writer.figures = phrases(company, now, last, fy)
        tones = {n: "up" if now[n] > last[n] else "down" for n in ("revenue", "sga", "net", "cfo")}
        margins = [round(y["gross"] / y["revenue"], 3) for y in (now, last)]
        tones["margin"] = "up" if margins[0] >= margins[1] else "down"
        items = []
        for label, title, plan in OUTLINE:
            blocks = [Block("heading", f"Item {label}. {title}")]
            for part in plan.split("/"):
                if part == "risks":
                    for risk in risks:
                        blocks.append(
                            Block("subheading", writer.paragraph("caption", 1, 1, about=risk))
                        )
                        blocks.append(
                            Block("paragraph", writer.paragraph("risk", 2, 3, about=risk))
                        )
                elif part.startswith("# "):
                    blocks.append(Block("subheading", part[2:]))
                elif part.startswith("= "):
                    blocks.append(Block("table", rows=shown[part[2:]]))
                else:
                    topic, low, high = part.split()
                    tone = tones.get(_TONES.get(topic, ""), "")
                    about = label if topic in ("none", "proxy") else ""
                    text = writer.paragraph(topic, int(low), int(high), tone=tone, about=about)
                    blocks.append(Block("paragraph", text))
            items.append((f"Item {label}", tuple(blocks)))
        yield Filing(company, period, filed, tuple(items))
        last = now
