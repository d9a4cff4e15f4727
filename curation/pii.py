"""Personal data with a recognisable form, found by pattern and checksum.

Found: e-mail and IP addresses, telephone numbers (Singapore, Malaysia, India, China, and any written with +), identity
numbers of the same four countries, payment cards, IBANs, and account numbers beside the name of a bank.
Not found: personal names and street addresses. Nothing that works offline finds those well in four languages, so a
text without findings is not thereby free of personal data.

Made-up values count too: a model does not know which of its numbers rings at somebody's home.
"""

import ipaddress
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date
from typing import Literal

Kind = Literal["email", "phone", "nric", "mykad", "aadhaar", "cn_id", "card", "iban", "ip", "bank_account"]


@dataclass(frozen=True, slots=True)
class Pii:
    """One find: `text[start:end]`. The value stays out of the repr, so that it stays out of logs."""

    kind: Kind
    start: int
    end: int
    value: str = field(repr=False)

    @property
    def masked(self) -> str:
        """The value with a dot for each letter and digit but the first and the last: enough to find it again."""
        places = [place for place, char in enumerate(self.value) if char.isalnum()]
        kept = {places[0], places[-1]}
        return "".join(
            "\u2022" if char.isalnum() and place not in kept else char for place, char in enumerate(self.value)
        )


def find(text: str) -> list[Pii]:
    """Every find in order of place, none overlapping; where two kinds fit, the one with the stronger proof."""
    if not _HINT.search(text):
        return []
    plain = text.translate(_NARROW)  # one character for one, so places stay true
    found: list[Pii] = []
    for kind, spans in _FINDERS:
        for start, end in spans(plain):
            if all(end <= other.start or start >= other.end for other in found):
                found.append(Pii(kind, start, end, text[start:end]))
    return sorted(found, key=lambda pii: pii.start)


def mask(text: str) -> str:
    """The text with every find masked; its length does not change."""
    for pii in find(text):
        text = text[: pii.start] + pii.masked + text[pii.end :]
    return text


# -- patterns: edges are spelt out, as \b sees none between a digit and a Chinese character, and \d is any script's --

_Spans = Iterator[tuple[int, int]]

_HINT = re.compile(
    r"[@\uff20]|[0-9\uff10-\uff19](?:[^0-9\uff10-\uff19\n]{0,3}[0-9\uff10-\uff19]){5}|[\[(]at[\])]"
    r"|[0-9]\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]|[0-9A-Fa-f]{1,4}:[0-9A-Fa-f]{0,4}:"
)
_NARROW = {
    wide: wide - 0xFEE0
    for wide in (*range(0xFF10, 0xFF1A), *range(0xFF21, 0xFF3B), *range(0xFF41, 0xFF5B), 0xFF0B, 0xFF0D, 0xFF0E, 0xFF20)
}
_EMAIL = re.compile(
    r"(?<![A-Za-z0-9._%+-])[A-Za-z0-9][A-Za-z0-9._%+-]{0,63}"
    r"(?:@(?:[A-Za-z0-9-]{1,63}\.){1,6}| ?[\[(]at[\])] ?[A-Za-z0-9-]{1,63}(?: ?[\[(]dot[\])] ?|\.))[A-Za-z]{2,24}"
    r"(?![A-Za-z0-9-])"
)
_NRIC = re.compile(r"(?<![A-Za-z0-9])[STFGMstfgm][0-9]{7}[A-Za-z](?![A-Za-z0-9])")
_MYKAD = re.compile(r"(?<![0-9A-Za-z-])([0-9]{6})(-?)([0-9]{2})\2[0-9]{4}(?![0-9A-Za-z-])")
_AADHAAR = re.compile(
    r"(?<![0-9A-Za-z])(?<![0-9][ -])[2-9][0-9]{3}([ -]?)[0-9]{4}\1[0-9]{4}(?![0-9A-Za-z])(?![ -][0-9])"
)
_CN_ID = re.compile(r"(?<![0-9A-Za-z])[1-9][0-9]{5}((?:18|19|20)[0-9]{6})[0-9]{3}[0-9Xx](?![0-9A-Za-z])")
_CARD = re.compile(
    r"(?<![0-9A-Za-z])(?:3[0-9]{3}[ -]?[0-9]{6}[ -]?[0-9]{4,5}|[2-6][0-9]{3}(?:[ -]?[0-9]{4}){2,3}(?:[ -]?[0-9]{1,3})?)"
    r"(?![0-9A-Za-z])"
)
_ISSUER = re.compile(
    r"4(?:.{12}|.{15}|.{18})|(?:5[1-5]|2[2-7]|35).{14}|3[47].{13}|3[068].{12}|6(?:011|5|2|4[4-9]|0|3)[0-9]{12,17}"
)
_IBAN = re.compile(r"(?<![A-Za-z0-9])[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,4})?(?![A-Za-z0-9])")
_IPV4 = re.compile(r"(?<![0-9A-Za-z.])(?:[0-9]{1,3}\.){3}[0-9]{1,3}(?![0-9A-Za-z]|\.[0-9])")
_IPV6 = re.compile(r"(?<![0-9A-Za-z:.])(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4}(?![0-9A-Za-z:])")
_ACCOUNT = re.compile(r"(?<![0-9A-Za-z+])[0-9]{2,}(?:[ -]?[0-9]{1,6})*(?![0-9A-Za-z]|[.,][0-9])")
_PLUS = re.compile(r"(?<![0-9A-Za-z])\+[1-9](?:[ ().-]{0,2}[0-9]){6,14}(?![0-9])")
_CHAIN = re.compile(
    r"(?<![0-9A-Za-z+#_=])(?<![0-9][.,])(?<![A-Za-z]-)\(?[0-9]+\)?(?:[ -]\(?[0-9]+\)?)*(?![0-9A-Za-z_]|[.,][0-9])"
)
_RUN = re.compile(r"[0-9]+")
_URL = re.compile(r"https?://[^\s\u3000-\u9fff]+|www\.[^\s\u3000-\u9fff]+")

# -- what stands just before or after a number says what it is --------------------------------------------------------


def _before(words: str, gap: int) -> re.Pattern[str]:
    return re.compile(rf"(?:{words})[^0-9\n]{{0,{gap}}}$", re.IGNORECASE)


_SAYS_ID = _before(
    r"nric|(?<![a-z])fin(?![a-z])|(?<![a-z])ic(?![a-z])|i/c|mykad|kad pengenalan|aadh?aa?r|身[份分][证證]|ஆதார்|அடையாள", 18
)
_SAYS_ACCOUNT = _before(
    r"(?<![a-z])a/c|(?<![a-z])acc(?:t|ount)?(?![a-z])|akaun|(?<![a-z])bank(?![a-z])|posb|(?<![a-z])dbs|ocbc|(?<![a-z])uob"
    r"|maybank|cimb|rhb|hsbc|icici|hdfc|账[号户]|帳[號戶]|帐[号户]|户口|银行|銀行|கணக்கு|வங்கி",
    24,
)
_SAYS_PHONE = _before(
    r"(?<![a-z])(?:tel|phone|h/?p|call|whats?app|sms|text|contact|mobile|hotline|dial|telegram|telefon|hubungi|handphone"
    r"|paynow|duitnow|gpay|gcash|wa\.me/|no\.? ?tel)|电话|電話|手机|手機|联系|聯絡|微信|拨打|致电|热线"
    r"|தொலைபேசி|அழை|போன்|மொபைல்",
    20,
)
_SAYS_REFERENCE = _before(
    r"(?<![a-z])(?:order|invoice|track(?:ing)?|ref(?:erence)?|case|ticket|item|serial|s/n|sku|model|isbn|imei|uen|parcel"
    r"|receipt|booking|awb|transaction|id|pesanan|resit|invois|rujukan)(?![a-z])|订单|訂單|单号|單號|编号|編號|快递|发票|ஆர்டர்",
    14,
)
_SAYS_VERSION = _before(r"(?<![a-z])(?:v|ver|version|firmware|build|ios|android)", 3)
_SAYS_MONEY = _before(r"[$€£¥₹]|(?<![a-z])(?:rm|sgd|myr|usd|inr|cny|rmb|rs)(?![a-z])\.?|price|harga|价格|ரூ", 3)
_COUNTED = re.compile(
    r" ?(?:元|块|塊|人|%|万|ringgit|rupees?|dollars?|sgd|rm(?![a-z])|usd|k[mg](?![a-z])|views|likes|followers|people"
    r"|pcs|ரூபாய்)",
    re.IGNORECASE,
)


def _says(pattern: re.Pattern[str], text: str, start: int) -> bool:
    return pattern.search(text[max(0, start - 48) : start]) is not None


# -- checksums and calendars -------------------------------------------------------------------------------------------


def _nric_ok(value: str) -> bool:
    prefix, digits, letter = value[0].upper(), value[1:8], value[8].upper()
    total = sum(int(digit) * weight for digit, weight in zip(digits, (2, 7, 6, 5, 4, 3, 2), strict=True))
    total += {"T": 4, "G": 4, "M": 3}.get(prefix, 0)
    letters = {"S": "JZIHGFEDCBA", "T": "JZIHGFEDCBA", "M": "XWUTRQPNJLK"}.get(prefix, "XWUTRQPNMLK")
    return letters[total % 11] == letter


def _luhn_ok(digits: str) -> bool:
    doubled = (int(digit) * 2 for digit in digits[-2::-2])
    return (sum(map(int, digits[-1::-2])) + sum(value - 9 if value > 9 else value for value in doubled)) % 10 == 0


_DIHEDRAL = (
    "0123456789", "1234067895", "2340178956", "3401289567", "4012395678",
    "5987604321", "6598710432", "7659821043", "8765932104", "9876543210",
)  # fmt: skip
_PERMUTED = (
    "0123456789", "1576283094", "5803796142", "8916043527", "9453126870", "4286573901", "2793806415", "7046913258",
)  # fmt: skip


def _verhoeff_ok(digits: str) -> bool:
    """Source: Verhoeff 1969, multiplication in the dihedral group D5."""
    check = 0
    for place, digit in enumerate(reversed(digits)):
        check = int(_DIHEDRAL[check][int(_PERMUTED[place % 8][int(digit)])])
    return check == 0


def _cn_id_ok(value: str) -> bool:
    """Source: GB 11643-1999, ISO 7064 MOD 11-2."""
    total = sum(int(digit) * pow(2, 17 - place, 11) for place, digit in enumerate(value[:17]))
    return "10X98765432"[total % 11] == value[17].upper()


def _day_ok(digits: str, *centuries: int) -> bool:
    for century in centuries:
        try:
            date(century + int(digits[:-4]), int(digits[-4:-2]), int(digits[-2:]))
        except ValueError:
            continue
        return True
    return False


def _only_digits(value: str) -> str:
    return "".join(char for char in value if char in "0123456789")


# -- finders, the strongest proof first --------------------------------------------------------------------------------


def _emails(text: str) -> _Spans:
    yield from (match.span() for match in _EMAIL.finditer(text))


def _nrics(text: str) -> _Spans:
    for match in _NRIC.finditer(text):
        if _nric_ok(match.group()) or _says(_SAYS_ID, text, match.start()):
            yield match.span()


def _cn_ids(text: str) -> _Spans:
    for match in _CN_ID.finditer(text):
        if _day_ok(match.group(1), 0) and (_cn_id_ok(match.group()) or _says(_SAYS_ID, text, match.start())):
            yield match.span()


def _ibans(text: str) -> _Spans:
    for match in _IBAN.finditer(text):
        groups = match.group().split(" ")
        while groups:  # a following word in capitals looks like one more group
            compact = "".join(groups)
            if len(compact) >= 15 and int("".join(str(int(c, 36)) for c in compact[4:] + compact[:4])) % 97 == 1:
                yield match.start(), match.start() + len(" ".join(groups))
                break
            groups.pop()


def _cards(text: str) -> _Spans:
    for match in _CARD.finditer(text):
        digits = _only_digits(match.group())
        if _ISSUER.fullmatch(digits) and _luhn_ok(digits) and not _says(_SAYS_REFERENCE, text, match.start()):
            yield match.span()


def _mykads(text: str) -> _Spans:
    for match in _MYKAD.finditer(text):
        born, hyphen, place = match.groups()
        if not _day_ok(born, 1900, 2000) or place in ("00", "17", "18", "19", "20", "69", "70", "73", "80", "81"):
            continue
        if hyphen or _says(_SAYS_ID, text, match.start()):
            yield match.span()


def _aadhaars(text: str) -> _Spans:
    for match in _AADHAAR.finditer(text):
        digits = _only_digits(match.group())
        years = all(digits[place : place + 2] in ("19", "20") for place in (0, 4, 8))
        proven = match.group(1) and not years and _verhoeff_ok(digits)
        if proven or _says(_SAYS_ID, text, match.start()):
            yield match.span()


def _ips(text: str) -> _Spans:
    for pattern in (_IPV4, _IPV6):
        for match in pattern.finditer(text):
            try:
                address = ipaddress.ip_address(match.group())
            except ValueError:
                continue
            if address.version == 6 and sum(map(bool, match.group().split(":"))) < 3:
                continue  # "1::" and the like are list marks
            local = address.is_loopback or address.is_unspecified or address.is_link_local or address.is_multicast
            home = match.group().startswith(("10.", "192.168.", "172.16.", "255."))
            if not (local or home or _says(_SAYS_VERSION, text, match.start())):
                yield match.span()


def _accounts(text: str) -> _Spans:
    for match in _ACCOUNT.finditer(text):
        if not 8 <= len(_only_digits(match.group())) <= 18:
            continue
        if _says(_SAYS_ACCOUNT, text, match.start()) and not _says(_SAYS_PHONE, text, match.start()):
            yield match.span()


def _phones(text: str) -> _Spans:
    import phonenumbers

    for match in _PLUS.finditer(text):
        try:
            number = phonenumbers.parse(match.group())
        except phonenumbers.NumberParseException:
            continue
        if phonenumbers.is_possible_number(number):
            yield match.span()
    links = [match.span() for match in _URL.finditer(text) if "wa.me/" not in match.group()]
    for chain in _CHAIN.finditer(text):
        if not any(start <= chain.start() < end for start, end in links):
            yield from _phones_in(
                text, [(chain.start() + run.start(), chain.start() + run.end()) for run in _RUN.finditer(chain.group())]
            )


def _phones_in(text: str, runs: list[tuple[int, int]]) -> _Spans:
    """Telephone numbers among digit runs that only a space, hyphen or bracket parts, the longest first."""
    first = 0
    while first < len(runs):
        for last in range(min(len(runs), first + 5), first, -1):
            neighbours = runs[first - 1 : first] + runs[last : last + 1]
            # "2 9123 4567" is a count and a number; "6500 7000 8000" is a list
            if all(end - start <= 3 for start, end in neighbours) and _is_phone(text, runs[first:last]):
                yield runs[first][0], runs[last - 1][1]
                first = last - 1
                break
        first += 1


def _is_phone(text: str, runs: list[tuple[int, int]]) -> bool:
    digits = "".join(text[start:end] for start, end in runs)
    if not 7 <= len(digits) <= 13 or digits.endswith("00000") or _looks_like_a_date([text[a:b] for a, b in runs]):
        return False
    start, end = runs[0][0], runs[-1][1]
    if text[start - 1 : start] == "(":
        start -= 1
    if _says(_SAYS_MONEY, text, start) or _COUNTED.match(text, end):
        return False
    if _says(_SAYS_PHONE, text, start):
        return True
    if _says(_SAYS_REFERENCE, text, start):
        return False
    if len(runs) == 2 and text[runs[0][1]] == "-" and runs[0][1] - runs[0][0] == runs[1][1] - runs[1][0]:
        return False  # 6500-7000 is a range
    return any(_dials(digits, region) for region in _regions(digits, len(runs)))


def _looks_like_a_date(groups: list[str]) -> bool:
    joined = "".join(groups)
    if len(joined) != 8:
        return False
    return (joined[:2] in ("19", "20") and _day_ok(joined, 0)) or (
        len(groups) == 3 and len(groups[2]) == 4 and groups[2][:2] in ("19", "20")
    )


def _regions(digits: str, groups: int) -> tuple[str, ...]:
    """Where a number of this shape could ring; a country code without + counts only when it is set apart."""
    if len(digits) == 8 and digits[0] in "3689":
        return ("SG",)
    if digits[0] == "0" and 9 <= len(digits) <= 12:
        return ("MY", "IN", "CN")
    if len(digits) == 11 and digits[0] == "1":
        return ("CN",)
    if len(digits) == 10 and digits[0] in "6789":
        return ("IN",)
    if groups > 1 and digits[:2] in ("65", "60", "91", "86"):
        return ({"65": "SG", "60": "MY", "91": "IN", "86": "CN"}[digits[:2]],)
    return ()


def _dials(digits: str, region: str) -> bool:
    import phonenumbers

    try:
        number = phonenumbers.parse(digits, region)
    except phonenumbers.NumberParseException:
        return False
    return phonenumbers.is_valid_number_for_region(number, region)


_FINDERS: tuple[tuple[Kind, Callable[[str], _Spans]], ...] = (
    ("email", _emails),
    ("nric", _nrics),
    ("cn_id", _cn_ids),
    ("iban", _ibans),
    ("card", _cards),
    ("mykad", _mykads),
    ("aadhaar", _aadhaars),
    ("ip", _ips),
    ("bank_account", _accounts),
    ("phone", _phones),
)
