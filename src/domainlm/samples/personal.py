"""Documents with invented personal data and secrets, and where each stands: to measure recognisers.

The templates (`words/personal.txt`; `words/personal-held-out.txt`, written before anything was
measured on it, though by the author of the recognisers) are letters, cover pages, forms, logs,
settings and tables. `{email}` is filled with a value to find, `{!zip4}` with a decoy, a number that
must not be found, and the rest with plain words. No person, account or key in them exists: card,
bank and Social Security numbers are drawn at random to have (or, for decoys, not to have) the right
form and check digits.
"""

import base64
import dataclasses
import ipaddress
import random
import re
import string
from collections.abc import Callable, Iterator
from importlib import resources

Maker = Callable[[random.Random], str]
_SLOT = re.compile(r"\{(!?)(\w+)\}|\{\{|\}\}")
_WORD = string.ascii_letters + string.digits

_FIRST = ("Ana", "Bruno", "Chloé", "Dmitri", "Ellen", "Farid", "Grace", "Hugo", "Ines", "Jonas",
          "Keiko", "Liam", "Marta", "Nils", "Olu", "Priya", "Quentin", "Rosa", "Søren",
          "Tara")  # fmt: skip
_LAST = ("Abbott", "Brandt", "Castillo", "Duarte", "Engel", "Fontaine", "Greco", "Haugen", "Iqbal",
         "Jensen", "Kowalski", "Lindqvist", "Moreau", "Nakamura", "O'Brien", "Petrov", "Quiroga",
         "Rossi", "Schäfer", "Tanaka")  # fmt: skip
_HOSTS = ("example.com", "example.org", "mail.example.net", "northwind-partners.example",
          "brask.co", "law.velmoor.com", "uni-harlan.test", "ostra.io",
          "finance.kestra.com.au")  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Example:
    """A document, what stands in it as (kind, start, end) in characters, and decoys likewise."""

    text: str
    findings: tuple[tuple[str, int, int], ...]
    decoys: tuple[tuple[str, int, int], ...]


def labelled(seed: int, rounds: int, *, held_out: bool = False) -> Iterator[Example]:
    """Every template `rounds` times, each with values of its own."""
    name = "personal-held-out.txt" if held_out else "personal.txt"
    text = (resources.files("domainlm.samples") / "words" / name).read_text("utf-8")
    for turn in range(rounds):
        for number, template in enumerate(text.removesuffix("\n").split("\n---\n")):
            yield _filled(template, random.Random(f"{seed}/{turn}/{number}"))


def _filled(template: str, rng: random.Random) -> Example:
    text, at = "", 0
    findings, decoys = [], []
    for slot in _SLOT.finditer(template):
        text += template[at : slot.start()]
        at, start = slot.end(), len(text)
        if not slot[2]:  # a doubled brace
            text += slot[0][0]
            continue
        value = (_DECOYS[slot[2]] if slot[1] else _VALUES.get(slot[2]) or _PLAIN[slot[2]])(rng)
        text += value
        if slot[1]:
            decoys.append((slot[2], start, len(text)))
        elif slot[2] in _VALUES:
            findings.append((_KIND[slot[2]], start, len(text)))
    return Example(text + template[at:], tuple(findings), tuple(decoys))


def _shaped(*shapes: str) -> Maker:
    """One of the shapes: 0 is any digit, 9 any but zero, A a capital, x hexadecimal; z 0, q 9."""
    sets = {"0": string.digits, "9": "123456789", "A": string.ascii_uppercase,
            "x": "0123456789abcdef", "z": "0", "q": "9"}  # fmt: skip
    return lambda rng: "".join(rng.choice(sets.get(c, c)) for c in rng.choice(shapes))


def _token(head: str, least: int, most: int = 0, of: str = _WORD) -> Maker:
    def make(rng: random.Random) -> str:
        return head + "".join(rng.choices(of, k=rng.randint(least, max(least, most)) - 1)) + "7"

    return make


def _email(rng: random.Random) -> str:
    first, last = (re.sub(r"\W", "", rng.choice(names)).lower() for names in (_FIRST, _LAST))
    first, last = (w.translate(str.maketrans("éøä", "eoa")) for w in (first, last))
    local = rng.choice(
        (f"{first}.{last}", f"{first[0]}{last}", f"{first}_{last}{rng.randint(1, 99)}",
         f"{first}+news", "investor-relations", f"{last}.{first}", "IR", "o'" + last,
         f"{first[0]}.{last}", f"{first.title()}.{last.title()}")
    )  # fmt: skip
    return f"{local}@{rng.choice(_HOSTS)}"


def _email_rare(rng: random.Random) -> str:
    return rng.choice((_email(rng), _email(rng).upper(), f"no-reply@{rng.randint(1, 9)}.brask.co",
                       f"a@{rng.choice(_HOSTS)}", f"müller@{rng.choice(_HOSTS)}",
                       "info@bücher.example", f"r&d@{rng.choice(_HOSTS)}"))  # fmt: skip


def _phone(*shapes: str) -> Maker:
    """North American numbers, half of them of the fictional 555-0100 to 0199."""

    def make(rng: random.Random) -> str:
        area = rng.choice((212, 415, 617, 303, 512, 206, 312, 404, 800, 888, 613, 787))
        exchange, line = rng.choice(((555, rng.randint(100, 199)), (rng.randint(220, 810), 4000)))
        exchange += exchange % 100 == 11
        line += rng.randint(0, 99)
        return rng.choice(shapes).format(
            area, exchange, line if exchange != 555 else 100 + line % 100
        )

    return make


def _iban(*countries: str, blanks: bool | None = None) -> Maker:
    def make(rng: random.Random) -> str:
        country = rng.choice(countries)
        body = "".join(_shaped(c)(rng) for c in country[2:])
        number = int("".join(str(int(c, 36)) for c in body + country[:2]) + "00") % 97
        value = f"{country[:2]}{98 - number:02}{body}"
        spaced = rng.random() < 0.5 if blanks is None else blanks
        return " ".join(re.findall(".{1,4}", value)) if spaced else value

    return make


def _checked(shape: str, *, right: bool = True) -> Maker:
    """Digits for the zeros of a shape, so that Luhn's sum is right, or is not."""

    def make(rng: random.Random) -> str:
        while True:
            value = _shaped(shape)(rng)
            digits = [int(c) for c in reversed(value) if c.isdigit()]
            doubled = [d if i % 2 == 0 else d * 2 - 9 * (d > 4) for i, d in enumerate(digits)]
            if (sum(doubled) % 10 == 0) == right:
                return value

    return make


def _any(*makers: Maker) -> Maker:
    return lambda rng: rng.choice(makers)(rng)


def _ssn(rng: random.Random) -> str:
    area = rng.choice([*range(1, 666), *range(667, 900)])
    return f"{area:03}-{rng.randint(1, 99):02}-{rng.randint(1, 9999):04}"


def _bad_iban(rng: random.Random) -> str:
    value = _iban("DE000000000000000000", "GBAAAA00000000000000")(rng)
    return value[:-1] + str((int(value[-1]) + rng.randint(1, 9)) % 10)


def _ip4(rng: random.Random) -> str:
    other = f"{rng.randint(11, 99)}.{rng.randint(40, 255)}.{rng.randint(0, 255)}"
    known = ("203.0.113", "198.51.100", "192.0.2", "10.20.30", "192.168.1", "172.16.254")
    head = rng.choice((*known, other))
    return f"{head}.{rng.randint(1, 254)}"


def _ip6(rng: random.Random) -> str:
    full = ipaddress.IPv6Address((0x20010DB8 << 96) + rng.getrandbits(64) * rng.choice((1, 0)) + 7)
    return rng.choice((full.compressed, full.exploded, f"fe80::{rng.randint(1, 0xFFFF):x}:1"))


def _pem(rng: random.Random, what: str = "RSA PRIVATE KEY") -> str:
    body = base64.b64encode(rng.randbytes(240)).decode()
    lines = "\n".join(re.findall(".{1,64}", body))
    return f"-----BEGIN {what}-----\n{lines}\n-----END {what}-----"


def _password(rng: random.Random) -> str:
    word = rng.choice(("Tiger", "blue", "Winter", "harbor", "Qx", "monkey"))
    return word + str(rng.randint(10, 9999)) + rng.choice(("!", "#", "", "_kR", "$z"))


def _jwt(rng: random.Random) -> str:
    parts = (b'{"alg":"HS256"}', f'{{"sub":"{rng.randint(0, 10**9)}"}}'.encode(), rng.randbytes(32))
    return ".".join(base64.urlsafe_b64encode(p).decode().rstrip("=") for p in parts)


_PLAIN: dict[str, Maker] = {
    "name": lambda rng: f"{rng.choice(_FIRST)} {rng.choice(_LAST)}",
    "first": lambda rng: rng.choice(_FIRST),
    "login": lambda rng: rng.choice(_FIRST).lower(),
    "street": lambda rng: (
        f"{rng.randint(10, 9900)} {rng.choice(_LAST)} Avenue, Suite {rng.randint(100, 990)}"
    ),
    "pem_public": lambda rng: _pem(rng, "PUBLIC KEY"),
}
_CARDS = ("4000000000000000", "4000 0000 0000 0000", "5100 0000 0000 0000", "5500-0000-0000-0000",
          "370000000000000", "3700 000000 00000", "6z11000000000000",
          "2400 0000 0000 0000")  # fmt: skip
_VALUES: dict[str, Maker] = {
    "email": _email,
    "email2": _email_rare,
    "phone": _phone("({}) {}-{:04}", "{}-{}-{:04}", "1-{}-{}-{:04}", "+1 {} {} {:04}",
                    "{}.{}.{:04}"),
    "phone2": _phone("({}){}-{:04}", "{} {} {:04}", "1 ({}) {}-{:04}", "{}/{}-{:04}", "{}-{}-{:04}",
                     "+1-{}-{}-{:04}", "+1 ({}) {} {:04}", "{}\u2011{}\u2011{:04}", "{}{}{:04}"),
    "phone_tel": _phone("+1{}{}{:04}", "+1-{}-{}-{:04}", "{}{}{:04}"),
    "phone_plus": _shaped("+44 2z 7946 0000", "+49 (z)30 9000000", "+33 1 00 00 00 00",
                          "+81-3-9000-0000", "+61 2 9000 0000", "+41 44 900 00 00",
                          "+5511900000000"),
    "ssn": _ssn,
    "card": _any(*(_checked(s) for s in _CARDS)),
    "card2": _any(*(_checked(s) for s in (*_CARDS[1:], "3530 0000 0000 0000", "3600 000000 0000",
                                          "6212 3400 0000 0000 000",
                                          "4000\u00a00000\u00a00000\u00a00000"))),
    "iban": _iban("DE000000000000000000", "GBAAAA00000000000000", "FR00000000000A0A0A0A0A000",
                  "NLAAAA0000000000", "ES00000000000000000000"),
    "iban2": _iban("CH00000000A0A0A0A0A", "NO00000000000", "BE000000000000", "IEAAAA00000000000000",
                   "MTAAAA00000AA0000000000AAAA0A", "SE00000000000000000000"),
    "ip": _ip4, "ip2": _ip4, "ip6": _ip6, "ip6b": _ip6,
    "password": _password,
    "password2": _any(_password, _token("", 12, 24), _token("", 10, 14, _WORD + "!#%^*-+")),
    "password40": _token("", 40, 40),
    "aws": _token("AKIA", 16, 16, string.ascii_uppercase + "234567"),
    "github": _any(_token("ghp_", 36, 36), _token("gho_", 36, 36)),
    "gitlab": _token("glpat-", 20, 20),
    "stripe": _any(_token("sk_live_", 24, 40), _token("rk_live_", 24, 24)),
    "slack": lambda rng: f"xoxb-{rng.randint(10**10, 10**11)}-{_token('', 24, 24)(rng)}",
    "google": _token("AIza", 35, 35, _WORD + "-_"),
    "openai": _any(_token("sk-", 48, 48), _token("sk-proj-", 64, 100, _WORD + "-_")),
    "hf": _token("hf_", 34, 34),
    "jwt": _jwt,
    "pem": _pem,
}  # fmt: skip
_KIND = {name: re.sub(r"\d.*|_.*", "", name) for name in _VALUES}
_KIND |= dict.fromkeys([*list(_VALUES)[list(_VALUES).index("password") :]], "secret")

_DECOYS: dict[str, Maker] = {
    "date": _shaped("March 12, 2z10", "2z20-z9-10", "z9/20/2z20", "10.z9.2z20",
                    "December 31, 2z10"),
    "year": _shaped("2z10", "2z20"), "time": _shaped("z9:50:30", "10:20:00"),
    "stamp": _shaped("2z20z910T101010Z"),
    "file_number": _shaped("zz1-90000", "333-900000", "z-90000"),
    "ein": _shaped("90-0000000"), "zip4": _shaped("90000-0000"),
    "cik": _shaped("zzzz900000", "900000"),
    "accession": _shaped("zzzz900000-20-zz0000"), "cusip": _shaped("900000AA9", "90000A109"),
    "money": _shaped("$9,000,000", "$900.9 million", "9,000", "$ 90,000", "$9.00"),
    "money_plain": _shaped("90000.00", "900.00", "9000.00"),
    "group": _shaped("900 000 000", "900,000 900,000", "90 000 0000", "900 900 9000"),
    "group3": _shaped("900 000 000", "900 0000 0000"), "four": _shaped("9000"),
    "two": _shaped("12", "90"), "three": _shaped("900"),
    "decimal": _shaped("9.000", "90.0", "0.9000"),
    "percent": _shaped("9.00%", "90%", "9.000%"), "exhibit": _shaped("10.9", "10.90.9", "99.1"),
    "section": _shaped("9.0", "9.9(a)"), "section4": _shaped("9.9.9.9", "10.9.1.2", "2.10.9.1"),
    "section4b": _shaped("9.9.9.9", "12.9.1.9"), "patent": _shaped("9,000,000", "10,900,000"),
    "application": _shaped("16/900,000"), "doi": _shaped("10.9000/s90000-000-0000-9"),
    "digits5": _shaped("90000"), "digits6": _shaped("900000"), "digits8": _shaped("90000000"),
    "digits9": _shaped("z21000089", "900000000"), "digits10": _shaped("9000000000"),
    "digits12": _shaped("900000000000"),
    "part": _shaped("AA-900-0000", "900-0000-00", "9000-000-90"),
    "digits16": _checked("9400000000000000", right=False),
    "bad_ssn": _shaped("zzz-90-0000", "666-90-0000", "q00-90-0000", "190-zz-0900", "190-90-zzzz",
                       "z78-z5-112z"),
    "bad_card": _checked("4000 0000 0000 0000", right=False), "bad_iban": _bad_iban,
    "isbn": _shaped("z-3z6-4z615-2", "3-900-00000-X"),
    "isbn13": _shaped("978-z-3z6-4z615-7", "978-3-16-148410-0"),
    "issn": _shaped("0378-5955"), "vat": _shaped("DE900000000", "CHE-900.000.000"),
    "version": _shaped("9.0.9.90", "91.0.4472.124", "10.z.19z41.1"),
    "version3": _shaped("9.10.0", "5.4.0-90"),
    "oracle": _shaped("19.3.z.z", "12.2.z.1"), "netmask": _shaped("255.255.255.z", "255.255.z.z"),
    "mac": _shaped("xx:xx:xx:xx:xx:xx"), "cpp": _shaped("cafe::9add", "push_back"),
    "sha1": _shaped("x" * 40), "sha256": _shaped("x" * 64),
    "uuid": _shaped("xxxxxxxx-xxxx-4xxx-axxx-xxxxxxxxxxxx"),
    "hexid": _shaped("x9xx9x0x9x"), "range": _shaped("2018-2023", "100-000", "10.00 - 90.00"),
    "lot": _shaped("A900-00-0000"), "invoice": _shaped("INV-2z20-00900", "90-0000-0000"),
    "container": _shaped("AAAU 900000 9"), "hs": _shaped("9000.00.0000"),
    "ean": _shaped("9006381333931"),
    "cfr": _shaped("240.14a-12", "229.901"), "asc": _shaped("900-10-25", "606-10-50-12"),
    "latlong": _shaped("40.7128, -74.0060", "47.900000, 8.900000"),
    "well": _shaped("42-900-00000", "42-900-00000-0000"),
    "imei": _checked("35-000000-000000-0", right=False),
}  # fmt: skip
