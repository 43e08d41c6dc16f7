"""Captions are split into claims in many scripts, and written again without some of them."""

from __future__ import annotations

from random import Random

import pytest

from pipeline.annotation.claims import join_claims, split_claims

COOK = "While a kettle whistles softly, the cook pours hot water. Meanwhile, it rains; a dog barks twice."


@pytest.mark.parametrize(
    ("caption", "claims"),
    [
        ("A red circle moves left while a voice says two dogs.", ["A red circle moves left", "a voice says two dogs"]),
        ("It rains. Then a dog barks!", ["It rains", "a dog barks"]),
        (COOK, ["a kettle whistles softly", "the cook pours hot water", "it rains; a dog barks twice"]),
        ("A man, a woman and a dog sit in a boat.", 1),
        ("Mr. Smith pays 1,000.50 dollars at 3:30 p.m. in the shop.", 1),
        (
            'He says "Stop, now. I wait, then go." A bell rings.',
            ['He says "Stop, now. I wait, then go', "A bell rings"],
        ),
        ("- A dog barks loudly\n- A cat sits there", ["A dog barks loudly", "A cat sits there"]),
        ("一位厨师站在炉子旁，同时水壶发出哨声。然后她倒水。", ["一位厨师站在炉子旁", "水壶发出哨声", "她倒水"]),
        ("红色、蓝色、绿色的球滚动。", 1),
        ("料理人が台所に立ち、やかんが鳴る。", ["料理人が台所に立ち", "やかんが鳴る"]),
        ("Sie steht am Herd, während der Kessel leise pfeift.", ["Sie steht am Herd", "der Kessel leise pfeift"]),
        ("बारिश हो रही है। एक कुत्ता भौंकता है।", 2),
        ("يقف الطباخ في المطبخ، ثم يسكب الماء ببطء. هل تمطر؟", 3),
        ("ผู้หญิงพูดกับลูก ขณะที่เสียงเพลงดังขึ้น", ["ผู้หญิงพูดกับลูก", "เสียงเพลงดังขึ้น"]),
        ("", []),
        ("... !? —", []),
    ],
)
def test_claims_of_a_caption(caption: str, claims: list[str] | int) -> None:
    found = [each.text for each in split_claims(caption)]
    assert (len(found) if isinstance(claims, int) else found) == claims


@pytest.mark.parametrize(
    ("kept", "text"),
    [
        ((1, 1, 1, 1), COOK),
        ((0, 1, 1, 1), "The cook pours hot water. Meanwhile, it rains; a dog barks twice."),
        ((1, 0, 0, 1), "A kettle whistles softly. A dog barks twice."),
        ((0, 0, 1, 0), "It rains."),
        ((0, 0, 0, 0), ""),
    ],
)
def test_a_caption_without_some_of_its_claims(kept: tuple[int, ...], text: str) -> None:
    caption = COOK.replace("it rains", "it rains hard")
    clauses = split_claims(caption)
    assert len(clauses) == 4
    assert join_claims(clauses, [bool(each) for each in kept]) == text.replace("t rains", "t rains hard")


def test_no_letter_is_lost_or_added() -> None:
    pieces = (
        "a dog barks",
        "while",
        "then",
        ", ",
        ". ",
        "。",
        "然后",
        "\n",
        '"',
        "“",
        "”",
        "…",
        "; ",
        " — ",
        "1,5",
        "Mr.",
        "ขณะ ",
    )
    random = Random(4)
    for _ in range(3000):
        caption = " ".join(random.choices(pieces, k=random.randrange(1, 12)))
        clauses = split_claims(caption)
        written = "".join(each.lead + each.text + each.end for each in clauses)
        assert written == caption.strip() or not clauses, caption
        assert join_claims(clauses, [True] * len(clauses)) == written.strip()
        assert join_claims(clauses, [False] * len(clauses)) == ""
