# ruff: noqa: SIM905 (list literals of these words would be 200 lines)
"""Whether a sentence is in another language than English, in which a small model words memories badly."""

from __future__ import annotations

import re

_ENGLISH = frozenset(
    """
    the and my it its it's you your with have has had don't dont are this that from but they she when what which
    because never please i'm i've i'd i'll im ive we're we've of for not was is be at on our us if just like
    would can now to i me his her them then than who how been were do does did will about out up there here only
    some any all one two
    """.split()
)
_ELSEWHERE = frozenset(
    """
    ich mir mich mein meine meinen nicht und der die das ist wir für auf mit bei immer bitte auch ein eine einen
    zu den dem von nur noch seit habe bin ik mijn niet het een van voor altijd heb ben ook maar naar jag är inte
    och att det som på alltid mitt har jeg ikke og til mig meg
    je j'ai suis mon ma mes moi le la les des une est pas pour avec dans toujours et que qui sur au aux du ne
    c'est yo mi mis soy tengo el los las por para con siempre es en de del al nos se lo y ya io sono mio mia il
    gli non per che sempre di un una della nel ho eu sou meu minha não uma com os as da em tenho și sunt nu
    pentru mereu din
    ja moje mam nie się jest na zawsze jestem benim için çok ve bir değil her saya aku tidak yang dan untuk
    selalu ini itu sudah ako ang ng sa hindi mga ko ni wa kwa sana
    """.split()
)
"""Of German, Dutch and the Scandinavian languages; of French, Spanish, Italian, Portuguese and Romanian; of Polish,
Turkish, Indonesian, Tagalog and Swahili."""
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?")
_LATIN = re.compile(r"[A-Za-z\u00c0-\u024f'’]+")
_LETTER = re.compile(r"[ąćęłńśźżğşșțăßãõñ¿¡đơư]", re.I)


def is_abroad(text: str) -> bool:
    """Whether more of its small words are of other languages than of English, or most of its letters are not Latin.

    Some small words are both ("de", "on"); a text without any is taken for English.
    """
    words = [word.lower().replace("’", "'") for word in _WORD.findall(text)]
    if 2 * sum(_LATIN.fullmatch(word) is None for word in words) > len(words):
        return True
    elsewhere = sum(word in _ELSEWHERE for word in words) + (_LETTER.search(text) is not None)
    return elsewhere > sum(word in _ENGLISH for word in words)
