# ruff: noqa: SIM905 (list literals of these words would be 200 lines)
"""Whether a sentence is in another language than English, in which a small model words memories badly."""

from __future__ import annotations

import re

from agentmem.store.common import COMMON

_ENGLISH = frozenset(
    """
    the and my it its it's you your with have has had don't dont are this that from but they she when what which
    because never please i'm i've i'd i'll im ive we're we've of for not was is be at on our us if just like
    would can now to i me his her them then than who how been were do does did will about out up there here only
    some any all one two as a no he we or by too get got put go say says yes ask use see way why off own old new
    him an so doesn't didn't isn't wasn't can't won't that's what's there's he's she's every per pls u works loves
    """.split()
)
_ELSEWHERE = frozenset(
    """
    ich mir mich mein meine meinen nicht und der die das ist wir für auf mit bei immer bitte auch unser unsere ein eine
    einen zu den dem von nur noch seit habe bin hab jetzt wie kann sie er nach ohne über heute gut aus mehr kein
    keine zum zur sind schon als alle wenn kannst oder vor wieder muss hier dann aber mag hasse liebe wohne arbeite
    heiße dass doch sehr was so an im
    ik mijn niet het een van voor altijd heb ben ook maar naar dat wat aan hoe op nooit bij ze wil welke sinds moet
    heeft uit zijn deze geen meer woon werk mij hij
    jag är inte och att det som på alltid mitt har jeg ikke og til mig meg bor med hur från för vad utan
    je j'ai suis mon ma mes moi le la les des une est pas pour avec dans toujours et que qui sur au aux du ne
    c'est ce tu ça peux quoi merci vous par elle sans mais très tout habite travaille déteste préfère où à me on
    yo mi mis soy tengo el los las por para con siempre es en de del al nos se lo y ya qué sin cómo más nunca hago
    ahora quiero está así mañana hoy desde porque todo necesito voy pero muy gusta gustan encanta estoy vivo trabajo
    odio tiene hay puedo como no a
    io sono mio mia il gli non per che sempre di un una della nel ho è più niente mai senza ogni dal anche vivo
    abito lavoro mangio faccio odio adoro preferisco piace voglio oggi adesso perché ci
    eu sou meu minha não uma com os as da em tenho é um só como agora sem vou hoje nunca mais faço então ela ele quero
    muito moro trabalho gosto adoro odeio posso isso estou até já mas pra tô
    și sunt nu pentru mereu din sau este
    ja moje mam mój mnie nie się jest na zawsze jestem jak od bez że dla tylko jaki teraz mieszkam pracuję
    lubię
    jsem mám můj moje má bydlím pracuji rád ráda že ale nebo protože nejsem nemám jak když už pro
    minä mä olen on ei ja mun minun se että kun asun mutta myös aina en pidän rakastan työskentelen vain
    vagyok nem és az egy hogy
    benim için çok ve bir değil her bu ben var yok ama ile daha hep
    saya aku tidak yang dan untuk selalu ini itu sudah jangan kalau nggak jadi buat lagi bisa
    ako ang ng sa hindi mga ko ni wa kwa sana hai ki ka kya nahi mujhe hoon aur
    """.split()
)
"""Of German, Dutch and the Scandinavian languages; of French, Spanish, Italian, Portuguese and Romanian; of Polish,
Czech, Finnish, Hungarian, Turkish, Indonesian, Tagalog, Swahili and Hindi: small words, and verbs said of oneself."""
_SMALL = _ENGLISH | _ELSEWHERE
_ENGLISH_ALONE, _ELSEWHERE_ALONE = _ENGLISH - _ELSEWHERE, _ELSEWHERE - _ENGLISH
"""Without those that are both, which tell nothing ("me", "no", "a", "was", "on")."""
_ARTICLES = frozenset("los las la el le les de del san da di du van von der".split())
"""Not counted before a capital letter: "Los Angeles"."""
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?")
_LATIN = re.compile(r"[A-Za-z\u00c0-\u024f'’]+")
_ACCENT = re.compile(r"[\u00c0-\u024f]")
_SIGN = re.compile(r"[¿¡]")
_ELIDED = re.compile(r"(?:[jJlLdDnNmMtTsScC]|[qQ]u)['’][aeiouyhàâéèêíóú]")  # "j'habite", not "D'Angelo" or "I'd"
_ENDING = re.compile(r"\w{3,}(?:ed|ing|ly|ness|tion|['’]s)$")
"""Of English words."""


def is_abroad(text: str) -> bool:
    """Whether more of its small words are of other languages than of English, or most of its letters are not Latin.

    Where these decide nothing, it is abroad if it has letters with accents and few words that are known in English.
    """
    found = _WORD.findall(text)
    if 2 * sum(_LATIN.fullmatch(word) is None for word in found) > len(found):
        return True
    own = _plain_words(found)
    words = [word.lower().replace("’", "'") for word in own]
    elsewhere = sum(
        word in _ELSEWHERE_ALONE or _ELIDED.match(said) is not None for word, said in zip(words, own, strict=True)
    )
    elsewhere += _SIGN.search(text) is not None
    english = sum(word in _ENGLISH_ALONE for word in words)
    if elsewhere != english:
        return elsewhere > english
    known, accents = sum(_is_english(word) for word in words), any(_ACCENT.search(word) for word in own)
    return (accents or elsewhere > 0) and len(found) > 1 and 3 * known < len(words)


def _plain_words(found: list[str]) -> list[str]:
    """Without the names: what has a capital letter beyond the first word, and articles before such ("Los Angeles").

    German nouns go with them, but no small word does.
    """
    named = [word[:1].isupper() and word != "I" and not word.isupper() for word in found]
    return [
        word
        for place, word in enumerate(found)
        if not (
            (named[place] and place and word.lower() not in _SMALL)
            or (word.lower() in _ARTICLES and place + 1 < len(found) and named[place + 1])
        )
    ]


def _is_english(word: str) -> bool:
    return word in _ENGLISH or (word in COMMON and word not in _ELSEWHERE) or _ENDING.match(word) is not None
