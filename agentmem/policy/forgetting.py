"""Requests to forget: whether a sentence is one, and which memories it means."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

from agentmem.memory import words
from agentmem.models.embed import Embedder
from agentmem.models.judges import FORGETTING, Judge
from agentmem.policy.edits import Edit
from agentmem.relation import stem
from agentmem.store.common import COMMON

FORGET_AT = 0.3
"""A request to forget is heard at a lower probability: to keep what somebody wants gone is the worse mistake."""
MEANT = 0.5
"""Probability from which on a request to forget means a memory."""
PERHAPS = 0.2
"""The same where it would else mean none: its sentences would go from the conversations while the memory stayed."""
JUDGED, NEARNESS, NEAR = 0.6, 8.0, 0.35
"""Weights of the judge's odds and of the cosine (beyond NEAR) in that probability."""

LONG = 4
"""Letters of a word that can tell what a request in another language is about."""
SPEAKS_OF = 0.35
"""Cosine from which on a request that shares a word with a sentence of the conversation means it."""

_REQUEST = re.compile(
    r"^.{0,24}?\b(?:forget|delete|erase|remove|wipe|scrap|drop|strike|unlearn|get rid of|don['’]?t|do not|stop"
    r"|remembering|storing|remember|pretend i never|keep|store|save)\b", re.I
)  # fmt: skip
TO_FORGET = re.compile(
    r"\b(?:forget|delete|erase|remove|wipe|scrap|strike)\b|\b(?:don['’]?t|do not|stop|no longer|not) "
    r"(?:want you to )?(?:remember\w*|stor\w*|keep\w*|sav\w*)\b",
    re.I,
)
_ASK = (
    r"^\W*(?:(?:please|pls|kindly|hey|hi|ok|okay|actually|can you|could you|would you|will you|i want you to"
    r"|i['’]d like you to)\W+)*"
)
_FORGET_MINE = re.compile(
    rf"{_ASK}(?:forget|(?:don['’]?t|do not) remember)"
    r" (?:that |about |what |the fact that )?(?:i|i['’]m|i['’]ve|my|we|our)\b(?!.*\bforgot\b)",
    re.I,
)
_FORGET_IT = re.compile(
    r"^\W*(?:please|pls)\W+(?:don['’]?t|do not) remember (?!to\b|me as\b).*\b(?:any ?more|any longer)"
    r"(?:\W+(?:thanks|thank you))?\W*$"
    r"|^\W*(?:don['’]?t|do not) remember (?!how\b|wh\w+\b|to\b|the\b|his\b|her\b|their\b)"
    r".*\b(?:any ?more|any longer)\W+(?:please|pls)\W*$"
    rf"|{_ASK}(?:forget|delete|erase|remove|wipe)\W+(?:all\W+|everything\W+)?(?:(?:what|that)\W+)?"
    r"you(?:['’]ve| have)? (?:know|remember|saved|stored|learned) (?:about|of|on) (?:me|my|us|our)\b"
    r"(?!.*\b(?:pretend|act|imagine)\b)"
    rf"|{_ASK}(?:delete|erase|remove|wipe)\W+what you(?:['’]ve| have)? (?:know|remember|saved|stored) about"
    r" \w+(?: \w+){0,2}\W*$"
    rf"|{_ASK}(?:forget|delete|erase|remove|wipe)\W+"
    r"(?!(?:nothing|things|something|stuff|data|facts?|people|it|that|this|the previous)\b)"
    r"(?:(?!\b(?:keep|save|store|put|but|stores?|keeps?|instead)\b)[^,;:])*\bfrom your memory"
    r"(?=\W*$|\W+(?:please|pls|now|thanks|that (?!was\b|were\b|is\b|are\b)|about|too)\b)",
    re.I,
)
"""Not said to be one's own, so only with "please", or as what is known: "don't remember her name" tells of oneself."""
_KEEP = re.compile(
    r"\b(?:don['’]?t|do not|never|not to|n['’]t|must not|should not|without)\W+(?:ever\W+|you\W+|dare\W+)*"
    r"(?:forget|delete|erase|remove|wipe|scrap|drop|strike|unlearn|get rid)",
    re.I,
)
_ABROAD = re.compile(  # in other languages; a reader decides, too
    r"\b(?:lösch|loesch|vergiss|vergesst|vergessen|entfern|rausnehm|streich|merk\w* dir (?:\w+ )*nicht"
    r"|nicht gespeichert|nicht speicher|effac|oubli|supprim|enlev|borr[aeé]|olv[ií]d|elimin(?:a|e|ar)\b"
    r"|cancell(?:a|i|are)\b|dimentic|scorda|togli\b|apag|esque[cç]|exclu(?:a|i|ir)\b|vergeet|vergeten|verwijder"
    r"|schrap|wis\b|haal\b.*\buit\b|niet (?:\w+ )?herinner|usu[nń]|zapomn|skasuj|wymaż|sil\b|siler|silin|unut"
    r"|șterge|sterge|uit[aă]\b|hapus|lupakan|jangan disimpan|забудь|удали|сотри|убери|glöm|radera|ta bort|slett?\b"
    r"|glem)|हटा|मिटा|भूल|忘|删除|刪除|消して|삭제|잊",
    re.I,
)
_KEEP_ABROAD = re.compile(
    r"\b(?:vergiss|vergesst) (?:\w+ )?n(?:ie|icht)\b|\bn['’]oubli|\bno (?:te |lo )?olv[ií]d"
    r"|\bnon (?:ti )?(?:dimentic|scord)|\bn[ãa]o (?:se |te )?esque[cç]|\bvergeet (?:\w+ )?niet\b|\bnie zapomn"
    r"|\bunutma|\bне забы|\bне забудь|\bnu uita\b|\b(?:glöm|glem) (?:inte|ikke)\b|\bjangan (?:lupa|hapus)",
    re.I,
)
"""Asks not to forget."""
_TOLD_OF = re.compile(r"\b(?:did|do|does|had|has|have) (?:i|you|we|they|he|she)(?: \w+)? forg[eo]t", re.I)
"""Speaks of forgetting and asks for none: "did you forget what I asked?" """
_EVERYTHING = re.compile(  # about the user: "everything you know about drums" is about drums
    r"\b(?:forget|delete|erase|remove|wipe)\W+(?:(?:absolutely\W+)?everything|all)\b"
    r"(?:.*\babout me\b"
    r"|(?=.*\b(?:you know|you remember|memor(?:y|ies)|stored|saved)\b)"
    r"(?!.*\b(?:(?:about|of|on)\b(?! (?:me|us)\b)|in the\b|from the\b|and\b|is\b|to be\b|off\b)).*$|\W*$)",
    re.I,
)
_JUST = re.compile(
    r"\b(?:just (?:said|told|wrote|mentioned)|(?:forget|save|store|remember|keep|erase|delete) (?:that|this|it)\W*$"
    r"|my last (?:message|sentence))",
    re.I,
)
_WEAK = set(
    words(
        "i me my we our us a an the and or but to of in on at for with from is am are was were be been it that this"
        " these those i'm i've don't do not no"
        " longer anymore any more please forget delete erase remove remember you your what about said told memory have"
        " has had will would can could"
        " stop quit stopped like likes love loves hate hates prefer prefers always never"
    )
)


def asks_to_forget(quote: str, chance: float) -> bool:
    """Whether a sentence asks that something of the user be forgotten; a reader gives it this chance."""
    return asks_plainly(quote) or (chance >= FORGET_AT and worded_as_request(quote))


def asks_plainly(quote: str) -> bool:
    """Whether a sentence asks so in so many words, in English, that no reader need be asked."""
    plain = _FORGET_MINE.search(quote) or _FORGET_IT.search(quote)
    return plain is not None and worded_as_request(quote)


def worded_as_request(quote: str) -> bool:
    """Whether a sentence has the words of a request to forget; not all that have them are one."""
    if _KEEP.search(quote) or _TOLD_OF.search(quote):  # "don't forget …" asks for the very opposite
        return False
    if _ABROAD.search(quote) and not _KEEP_ABROAD.search(quote):
        return True
    return bool(_FORGET_MINE.search(quote) or (TO_FORGET.search(quote) and _REQUEST.search(quote)))


def what(quote: str) -> str:
    """What a request to forget speaks of: "please forget that I told you about my divorce" -> "my divorce"."""
    rest = re.sub(
        r"^.*?\b(?:forget|delete|erase|remove|wipe|scrap|drop|strike|unlearn|remember(?:ing)?|stor(?:e|ing)"
        r"|keep(?:ing)?|sav(?:e|ing)|get rid of|told you)\b",
        "", quote, count=1, flags=re.I)  # fmt: skip
    rest = re.sub(r"\b(?:from (?:your|my) \w+|please|i (?:ever )?(?:told you|mentioned|said)|what you (?:saved|know"
                  r"|stored|have)|everything|all memories)\b",
                  "", rest, flags=re.I)  # fmt: skip
    rest = re.sub(r"^\W*(?:(?:that|about|what|the|bit|part|thing|where|fact|note)\W+)+", "", rest, flags=re.I).strip(
        " .!?\"'"
    )
    return rest or quote


def forget_edits(quote: str, meant: Sequence[str]) -> list[Edit]:
    """`x` for each memory the request means; without an alias when it means none."""
    return [Edit(sign="x", aliases=(alias,), quotes=(quote,)) for alias in meant] or [Edit(sign="x", quotes=(quote,))]


def meant(request: str, texts: Mapping[str, str], embedder: Embedder, judge: Judge) -> list[str]:
    """Aliases of the memories that a request to forget means: by its judge and by nearness in meaning, together.

    On the held-out families of agentmem/train/data/forget.jsonl (66 requests that are heard) the set is exactly right
    for .55 with the judge and .33 without it (`python -m agentmem.train.judges.worth forgetting`).
    """
    if not texts or _EVERYTHING.search(request):
        return list(texts)
    chances = judge.probabilities([(request, text) for text in texts.values()])
    odds = np.log(chances[:, FORGETTING.index("forget")] + 1e-6) - np.log(chances[:, FORGETTING.index("keep")] + 1e-6)
    near = embedder.encode(list(texts.values())) @ embedder.encode([what(request)])[0]
    chance_N = 1 / (1 + np.exp(-(JUDGED * odds + NEARNESS * (near - NEAR))))
    if not TO_FORGET.search(request):  # neither the judge nor the embedder learned other languages well
        likeliest = [list(texts)[int(chance_N.argmax())]] if chance_N.max() >= PERHAPS else []
        return _sharing(request, texts) or likeliest
    found = [alias for alias, chance in zip(texts, chance_N, strict=True) if chance >= MEANT]
    if not found and chance_N.max() >= PERHAPS:
        found = [list(texts)[int(chance_N.argmax())]]
    if not found:  # "where I live": worded shortly, so a shared word has to do
        own = content(what(request))
        sharing = [(cosine, alias) for cosine, (alias, text) in zip(near.tolist(), texts.items(), strict=True)
                   if own & content(text)]  # fmt: skip
        found = [max(sharing)[1]] if sharing else []
    return found


def _sharing(request: str, texts: Mapping[str, str]) -> list[str]:
    """Aliases of the memories that share the most longer words with the request, if any does."""
    own = content(" ".join(word for word in words(request) if len(word) >= LONG and word not in COMMON))
    shared = {alias: len(own & content(text)) for alias, text in texts.items()}
    most = max(shared.values())
    return [alias for alias, many in shared.items() if most and many == most]


def speaks_of(request: str, said: str, turns: int, cosine: float) -> bool:
    """Whether a request to forget means something that is said in the same conversation.

    Args:
        request: the sentence that asks.
        said: another sentence.
        turns: messages from that one to the request.
        cosine: of both.
    """
    if _JUST.search(request):  # "forget what I just said"
        return 0 <= turns <= 2
    return bool(content(what(request)) & content(said)) and cosine >= SPEAKS_OF


def content(text: str) -> set[str]:
    """Stems of the content words, cut to five letters so that "plays" meets "playing", "diagnosis" "diagnosed"."""
    return {stem(word)[:5] for word in words(text) if word not in _WEAK}
