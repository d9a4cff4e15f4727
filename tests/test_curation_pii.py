"""Personal data: what is found, what must not be taken for it, and that a mask hides it."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation.pii import find, mask

FOUND = [
    ("email", "write to mei.ling+sale@example.com.sg tonight", "mei.ling+sale@example.com.sg"),
    ("email", "我的邮箱是tan_ah_kow@mail.com请联系", "tan_ah_kow@mail.com"),
    ("email", "farid [at] gmail [dot] com", "farid [at] gmail [dot] com"),
    ("email", "ａｂｃ@mail.com", "ａｂｃ@mail.com"),
    ("phone", "call +65 9123 4567 after 6", "+65 9123 4567"),
    ("phone", "my number is 9123 4567", "9123 4567"),
    ("phone", "电话91234567，谢谢", "91234567"),
    ("phone", "９１２３４５６７ 找我", "９１２３４５６７"),
    ("phone", "got 2 91234567 call", "91234567"),
    ("phone", "91234567/81234567", "81234567"),
    ("phone", "hubungi 012-345 6789 (Kak Yah)", "012-345 6789"),
    ("phone", "no saya 0123456789", "0123456789"),
    ("phone", "pejabat (03) 2161 2345", "03) 2161 2345"),
    ("phone", "手机138-0013-8000", "138-0013-8000"),
    ("phone", "加我13800138000", "13800138000"),
    ("phone", "அழைக்க 98765 43210", "98765 43210"),
    ("phone", "whatsapp 9876543210 pannu", "9876543210"),
    ("phone", "https://wa.me/6591234567", "6591234567"),
    ("phone", "+91-98765-43210", "+91-98765-43210"),
    ("phone", "text me 1234 5678", "1234 5678"),
    ("phone", "to order call 91234567", "91234567"),
    ("phone", "PayNow 9123 4567", "9123 4567"),
    ("nric", "his NRIC is S1234567D lol", "S1234567D"),
    ("nric", "身份证号码S1234567D。", "S1234567D"),
    ("nric", "NRIC: S1234567A", "S1234567A"),
    ("mykad", "IC 900101-14-5678", "900101-14-5678"),
    ("mykad", "no kad pengenalan 900101145678", "900101145678"),
    ("aadhaar", "aadhaar 2341 2341 2346", "2341 2341 2346"),
    ("cn_id", "身份证11010519491231002X号", "11010519491231002X"),
    ("card", "4111 1111 1111 1111 exp 12/27", "4111 1111 1111 1111"),
    ("card", "卡号5500005555555559", "5500005555555559"),
    ("iban", "IBAN GB82 WEST 1234 5698 7654 32 PLEASE", "GB82 WEST 1234 5698 7654 32"),
    ("ip", "he logs in from 203.0.113.7.", "203.0.113.7"),
    ("ip", "2001:db8::8a2e:370:7334", "2001:db8::8a2e:370:7334"),
    ("bank_account", "transfer to POSB 012-34567-8 ok", "012-34567-8"),
    ("bank_account", "akaun Maybank 5123 4567 8901", "5123 4567 8901"),
    ("bank_account", "银行账号：6222021234567890", "6222021234567890"),
]

NOT_FOUND = [
    "Price RM 1,250.00 nego, retail 12345678",
    "S$91234567 lottery win",
    "$8888 8888",
    "on 2024-10-11 at 19:30, until 2025-01-02",
    "20241011 20241012",
    "11/10/2024 12:30:45",
    "11-10-2024",
    "Order no. 91234567 not delivered",
    "订单号 91234567890123",
    "resit 98765432 hilang",
    "tracking 4111 1111 1111 1111",
    "steps 6500-7000 a day",
    "gaji 60000-70000 setahun",
    "6500 7000 8000",
    "90000000 views already",
    "81234567 followers",
    "iPhone 13 Pro 256GB, battery 89%, 4K60",
    "S(560123) blk 123 #12-345",
    "version 1.2.3.4 and ios 17.4.1.2",
    "1:: first, a::b, 12:30:45",
    "router page is at 192.168.1.1 or 127.0.0.1",
    "@mei_ling thanks, ask @admin.sg",
    "3.14159265358979",
    "1,234,567,890",
    "bought 3 for 10, sold 12 at 5",
    "https://shop.example.sg/item/91234567?ref=81234567",
    "S1234567A",
    "dimensions 1200 x 600 x 750 mm",
    "4PM-6PM, level 3, table 45",
    "ISBN 9780306406157",
    "Toto 4D 1234 5678 9012",
    "2023 2024 2025",
    "SKU-91234567",
    "கடை எண் 12, விலை 3500",
    "",
]


@pytest.mark.parametrize(("kind", "text", "value"), FOUND)
def test_finds_and_masks(kind: str, text: str, value: str) -> None:
    found = find(text)
    assert (kind, value) in [(pii.kind, text[pii.start : pii.end]) for pii in found]
    assert all(pii.value == text[pii.start : pii.end] and pii.value not in repr(pii) for pii in found)
    masked = mask(text)
    assert value not in masked
    assert len(masked) == len(text)


@pytest.mark.parametrize("text", NOT_FOUND)
def test_leaves_other_numbers_alone(text: str) -> None:
    assert find(text) == []
    assert mask(text) == text


def test_finds_do_not_overlap_and_come_in_order() -> None:
    text = "S1234567D, 9123 4567, mei@mail.com, 4111-1111-1111-1111, 9123 4568"
    found = find(text)
    assert [pii.kind for pii in found] == ["nric", "phone", "email", "card", "phone"]
    assert all(left.end <= right.start for left, right in pairwise(found))


def test_a_mask_keeps_the_first_and_last_sign_and_all_between_that_is_no_letter() -> None:
    assert [pii.masked for pii in find("mei@mail.com or +65 9123 4567")] == ["m••@••••.••m", "+6• •••• •••7"]


NUMBERISH = st.text(alphabet="0123456789 -+().@:/ABSTabc#\n\uff11一க", max_size=80)


@given(st.one_of(st.text(max_size=80), NUMBERISH))
def test_any_text_is_survived_and_masked(text: str) -> None:
    found = find(text)
    assert all(0 <= pii.start < pii.end <= len(text) and pii.masked != pii.value for pii in found)
    assert len(mask(text)) == len(text)
