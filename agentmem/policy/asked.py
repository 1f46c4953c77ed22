"""Whether a sentence asks to forget something, and what it speaks of: rules, without a judge."""

from __future__ import annotations

import re

FORGET_AT = 0.3
"""A request to forget is heard at a lower probability: to keep what somebody wants gone is the worse mistake."""

LONGEST = 1000
"""Characters of a sentence that are read: a request is not longer, and a pasted line may be."""

_VERB = r"(?:forget|delete|erase|remove|wipe|scrap|drop|strike|unlearn|unremember|purge|expunge|scrub|get rid of)"
"""To forget. This list, and those of its other forms, is the only one: all patterns below are made of it."""
_VERBING = (
    r"(?:forgetting|deleting|erasing|removing|wiping|scrapping|dropping|striking|unlearning|purging|expunging|scrubbing"
    r"|getting rid of)"
)
_VERBED = r"(?:forgot|forgotten|deleted|erased|removed|wiped|scrapped|dropped|struck|unlearned|got rid of)"
_HOLD = r"(?:remember|store|save|retain|keep(?! (?:up|on)\b| (?!any|every|some|no)\w+ing\b))"
"""To keep in mind; "don't keep asking" and "I can't keep up" are about something else."""
_HOLDING = r"(?:remembering|storing|saving|retaining|keeping)"
_POLITE = r"(?:please|pls|plz|kindly|just|so|and|then|can you|could you|would you|will you|you can|you may|do)"
_NO_SUBJECT = "".join(rf"(?<!\b{who} )" for who in ("i", "you", "u", "we", "they", "he", "she", "it", "who", "to"))
"""Before an imperative: "you don't remember", "I don't remember" ask for nothing."""
_NOT_HOLD = (
    rf"{_NO_SUBJECT}\b(?:don['’]?t|do not|please never|no longer) (?:please |ever |\w+ly )?{_HOLD}\b"  # an order
    rf"|\b(?:don['’]?t|do not|never|not|no longer) (?:want|need|wish|like|allow) you to {_HOLD}\b"
    rf"|\b(?:want|need|like|ask|asked|asking|tell|told|prefer) you (?:to not|not to|to no longer) {_HOLD}\b"
    rf"|\b(?:rather|prefer|if|that) you (?:didn['’]?t|did not) {_HOLD}\b(?![^?]{{0,200}}\?)"  # not in a question
    rf"|\b(?:can|could|will|would) you (?:please |kindly )?not (?:(?!remember){_HOLD}\b"
    rf"|remember\b(?=.{{0,200}}\b(?:please|pls|any ?more|any longer|again)\b))"  # else it is a reproach
    rf"|(?<!\bi )(?<!\bwe )\b(?:should|must|shall)(?: not|n['’]?t) {_HOLD}\b"
    rf"|(?<!\bi )(?<!\bwe )\bno need to {_HOLD}\b|\bmind not {_HOLDING}\b|\b(?:stop|quit) {_HOLDING}\b"
)
_ORDER = (
    r"(?:^\W*|[,;:&]\W{0,3}|\b(?:you to|please|pls|kindly|so|and|then|just|can|could|may|might as well|you may as well"
    r"|would you) )"
)
"""Before a verb that has other meanings besides where it is no order: "to drop the dog at the kennel"."""
_TO_FORGET = (
    rf"\b(?!drop){_VERB}\b|{_ORDER}drop(?! (?:off|out|by|in)\b|-)\b|\bmind (?:just )?{_VERBING}\b"
    rf"|\bpretend (?:that )?i(?:['’]ve)? never\b|{_NOT_HOLD}"
)
TO_FORGET = re.compile(_TO_FORGET, re.I)
"""Words that a request to forget has, in English; whoever has them need not ask for it."""
_REQUEST = re.compile(
    rf"^.{{0,40}}?(?:{_NOT_HOLD})|^.{{0,24}}?(?:{_TO_FORGET})"
    r"|(?:[,;:]\W{0,3}|\b(?:so|please|pls|kindly|any ?more|longer)\W{1,3})"
    rf"(?:{_POLITE}\W{{1,3}}){{0,3}}(?:{_TO_FORGET})",
    re.I,
)
"""These words where an order has them: near the beginning, or first in a clause."""
_ASK = (
    r"^\W*(?:(?:please|pls|kindly|hey|hi|ok|okay|actually|can you|could you|would you|will you|i want you to"
    r"|i['’]d like you to)\W+)*"
)
_FOR_ONCE = (  # only for a while, for what is at hand, or as a game
    r"\b(?:tonight|today|temporarily|(?:for|in|on|with) th(?:is|ese|at one)|just this|th(?:is|at) (?:once|one|time)"
    r"|for (?:just )?(?:once|now|starters|the moment|the (?:time|sake)|tomorrow|one|an? (?:\w+ )?"
    r"(?:sec|second|moment|min|minute|hour|bit|while|day|night|evening|meal|week|weekend|trip|change))"
    r"|at the moment|pretend|imagine|suppose|as if|act)\b"
)
_OF_CHAT = (  # what is written here, not what is known of the user
    r"(?:my|our)(?: \w+){0,2}? (?:questions?|messages?|requests?|drafts?|prompts?|code|texts?|answers?|quer(?:y|ies)"
    r"|comments?|examples?|ideas?|suggestions?|essays?|letters?|paragraphs?|sentences?|versions?|inputs?|scripts?"
    r"|functions?|tables?|lists?|points?)\b(?! (?:about|with|to) (?:my|me)\b)"
    r"|(?:my|our) (?:last|previous|earlier|above|first|second)\b|i (?:asked|typed)\b"
)
_FORGET_MINE = re.compile(
    rf"{_ASK}(?:forget|(?:don['’]?t|do not) remember(?!.*\?))"
    rf" (?:that |about |what |the fact that )?(?!{_OF_CHAT})(?:i|i['’]m|i['’]ve|my|we|our)\b"
    rf"(?!.*\bforgot\b)(?!.*{_FOR_ONCE})",
    re.I,
)
_WONDERS = re.compile(
    r"^(?!\W*(?:\w+\W+){0,3}?(?:please|pls|kindly|can you|could you|would you|will you)\b)"  # unless it asks politely
    r"(?!.*\b(?:please|pls|ok|okay|thanks|(?:can|could|will|would) you)\W*$).*\?\W*$",
    re.I,
)
"""Is a question: "forget my birthday?", "forget that I live in Lyon, what would a Parisian do?" """
_CLEAR = r"(?:forget|delete|erase|remove|wipe)"
_FORGET_IT = re.compile(
    r"^\W*(?:please|pls)\W+(?:don['’]?t|do not) remember (?!to\b|me as\b).*\b(?:any ?more|any longer)"
    r"(?:\W+(?:thanks|thank you))?\W*$"
    r"|^\W*(?:don['’]?t|do not) remember (?!how\b|wh\w+\b|to\b|the\b|his\b|her\b|their\b)"
    r".*\b(?:any ?more|any longer)\W+(?:please|pls)\W*$"
    rf"|{_ASK}{_CLEAR}\W+(?:all\W+|everything\W+)?(?:(?:what|that)\W+)?"
    r"you(?:['’]ve| have)? (?:know|remember|saved|stored|learned) (?:about|of|on) (?:me|my|us|our)\b"
    r"(?!.*\b(?:pretend|act|imagine)\b)"
    rf"|{_ASK}(?!forget){_CLEAR}\W+what you(?:['’]ve| have)? (?:know|remember|saved|stored) about"
    r" \w+(?: \w+){0,2}\W*$"
    rf"|{_ASK}{_CLEAR}\W+"
    r"(?!(?:nothing|things|something|stuff|data|facts?|people|it|that|this|the previous)\b)"
    r"(?:(?!\b(?:keep|save|store|put|but|stores?|keeps?|instead)\b)[^,;:])*\bfrom your memory"
    r"(?=\W*$|\W+(?:please|pls|now|thanks|that (?!was\b|were\b|is\b|are\b)|about|too)\b)",
    re.I,
)
"""Not said to be one's own, so only with "please", or as what is known: "don't remember her name" tells of oneself."""
_ENDS = r"(?:so|and|but|then|because|please|pls|any ?more|longer|mind|care|hesitate|afraid|matter)\b"
"""Words at which what a "not" denies has ended, or which make a leave of it: "I don't mind if you forget it"."""
_KEEP = re.compile(
    r"(?:(?<!\bca)(?<!\bcould)(?<!\bwould)(?<!\bwo)n['’]t|(?:ca|could|would|wo)n['’]t(?! you\b)"  # "can't you" asks
    r"|\b(?:dont|not|never|cannot|without|no need|no reason|no circumstances|no account|rather than|forbid"
    r"|(?:nobody|no one) (?:should|may|must|can)))"
    r"(?:, whatever \w+(?: \w+)?,|,? ever\b|\W{1,3}please)?"
    rf"(?:[ \"'*]{{1,3}}(?!{_ENDS})[\w'’-]+){{0,5}}?[ \"'*]{{1,3}}"  # words of the same clause
    rf"(?:{_VERB}|{_VERBING}|(?:stop|quit) {_HOLDING})\b"
    r"|\b(?:hate|sad|sorry|upset|annoyed|angry|shame|pity|worr(?:y|ied)|scared|afraid)(?: it)? (?:for|if|when|that)"
    rf" you(?:['’]\w+| \w+){{0,3}}? (?:{_VERB}|{_VERBED})\b",
    re.I,
)
"""Asks not to forget. What is erased is gone, so any "not" before the verb counts, in the same clause."""
_WHY_NOT = re.compile(rf"\bwhy (?:don['’]?t you|not)(?: just| simply| please)? {_VERB}\b", re.I)
"""Asks all the same."""
_ABROAD = re.compile(  # in other languages, as one is told to do it; a reader decides, too
    r"\b(?:l(?:ö|oe)sch(?:e|en|t|st)?\b|vergiss\b|vergesst\b|vergessen\b|entferne?n?\b|rausnehm"  # German
    r"|(?<!ich )streiche?n?\b|merk\w* dir (?:\w+ ){0,8}nicht\b|nicht gespeichert|nicht speicher"
    r"|efface[rz]?\b|(?<!j['’])oublie[rz]?\b|supprime[rz]?\b|(?<!j['’])enl[eè]ve[rz]?\b"  # French
    r"|b[oó]rr(?:a|á|e|ar|en|es)(?:me)?(?:l[oa]s?)?\b|olv[ií]d(?:a|á|ar|e|en|es)(?:te|se|me)?(?:l[oa]s?)?\b"  # Spanish
    r"|el[ií]min(?:a|e|ar|are)(?:l[oaei]s?)?\b|cancell(?:a|i|are)(?:l[oaei])?\b"
    r"|dimentic(?:a|are|hi|ate|ar)(?:ti|l[oaei])?\b|scorda(?:ti|re|l[oaei])?\b|togli(?:l[oaei])?\b"  # Italian
    r"|apag(?:a|ue|ar|uem)\b|esque(?:ce|ça|cer|ca)\b|exclu(?:a|i|ir)\b"  # Portuguese
    r"|vergeet\b|vergeten\b|verwijder(?:en)?\b|schrap(?:pen)?\b|wis\b|je (?:\w+ ){0,3}wissen\b"  # Dutch
    r"|haal\b.{0,80}?\buit\b|niet (?:\w+ )?herinner"
    r"|usu(?:ń|n|nąć|nac|ńcie)\b|zapomnij\b|zapomnieć\b|skasuj\b|wymaż\b"  # Polish
    r"|sil\b|siler\b|silin\b|silebilir\b|unut\b|unutun\b|unutur\b"  # Turkish
    r"|șterge(?:ți)?\b|sterge(?:ti)?\b|uit[aă]\b|hapus\b|hapuskan\b|lupakan\b|jangan disimpan\b"  # Romanian, Indonesian
    r"|забудь(?:те)?\b|удали(?:те|ть)?\b|сотри(?:те)?\b|убери(?:те)?\b"  # Russian
    r"|glöm(?:ma?)?\b|radera\b|ta bort\b|slett?\b|slette\b|glem(?:me)?\b)"  # Swedish, Norwegian, Danish
    r"|हटा|मिटा|भूल|忘|删除|刪除|消して|삭제|잊",
    re.I,
)
_AFTER = r"(?:(?!(?:dass|was|dat|und|en)\b)[\w'’-]+ ){0,4}?"
"""A few words between a verb and its "not", of the same clause, in any of these languages."""
_BEFORE = r"(?:(?!(?:mehr|bitte|und|meer|en|mais|más|più|plus)\b)[\w'’-]+ ){0,4}?"
"""The same between "not" and the verb; "nicht mehr" has nothing to do with a verb behind it."""
_KEEP_ABROAD = re.compile(
    rf"\b(?:vergiss|vergesst|(?:lösch|streich|entfern)\w*) {_AFTER}(?:nie|niemals|nichts?|keine?n?)\b"
    rf"|\b(?:nie|niemals|nichts?) {_BEFORE}(?:vergess|lösch|entfern|streich)"
    r"|\bkeine?n? (?:\w+ ){1,2}(?:vergessen|löschen|entfernen|streichen)\b"
    rf"|\b(?:vergeet|verwijder|wis) {_AFTER}(?:niets?|nooit)\b"  # Dutch
    rf"|\b(?:niets?|nooit) {_BEFORE}(?:vergeten|verwijder|wis|schrap)"
    r"|\b(?:ne |n['’])(?:(?!plus\b)[\w'’]+ ){0,3}?(?:\w['’])?(?:oubli|effac|supprim|enl[eè]v)"  # French
    r"|\b(?:oubli|effac|supprim|enl[eè]v)\w* (?:surtout )?(?:pas|rien|jamais)\b"
    rf"|\b(?:no|nunca) {_BEFORE}(?:borre|borré|olvide|elimine)"  # Spanish: as one is told not to
    r"|\b(?:no|nunca) (?:\w\w )?(?:borr|olvid|elimin)"
    rf"|\bnon {_BEFORE}(?:dimentichi|scordi|cancelli|elimini|tolga)"  # Italian, so too
    r"|\bnon (?:\w\w )?(?:dimentic|scord|cancell|elimin|togli)"
    rf"|\b(?:n[ãa]o|nunca) {_BEFORE}(?:esque[cç]|apagu|apagar|exclu|elimin)"  # Portuguese
    r"|\b(?:nie|nigdy) (?:\w{1,3} )?(?:zapom|usu[nńw]|skasuj|kasuj|wyma)"  # Polish
    r"|\b(?:unutma|silme)(?:y[ıi]n\w*)?\b"  # Turkish
    r"|(?<!\w)не (?:\w{1,4} )?(?:забы|забуд|удал|стира|стер|убира)"  # Russian
    r"|\bnu (?:\w{1,3} )?(?:uita|șterge|sterge)|\bjangan (?:\w+ )?(?:lupa|di ?hapus|hapus)"  # Romanian, Indonesian
    rf"|\b(?:glöm|glem|radera|slette?|ta) {_AFTER}(?:inte|ikke)\b"  # Swedish, Norwegian, Danish
    rf"|\b(?:inte|ikke) {_BEFORE}(?:glöm|glem|radera|slett|ta bort)"
    r"|(?:मत|नहीं|न) ?(?:भूल|हटा|मिटा)|(?:भूल|हटा|मिटा)\S{0,6} (?:मत|नहीं)"
    r"|(?:不要|别|別|勿|不能|不可以?)(?:再|给我|随便|把[^，。！？]{1,12})?(?:忘|删|刪)|忘れ(?:な|ず)|消しては"
    r"|(?:삭제|잊)\S{0,3}지 ?(?:마|말|않)",
    re.I,
)
"""Asks not to forget."""
_TOLD_OF = re.compile(r"\b(?:did|do|does|had|has|have) (?:i|you|we|they|he|she)(?: \w+)? forg[eo]t", re.I)
"""Speaks of forgetting and asks for none: "did you forget what I asked?" """
_ERASE = rf"\b(?:{_VERB}|clear|destroy|reset)\W{{1,3}}"
_TAIL = (
    r"(?=\W*$|\W*[,.;:!?]|\W+(?:please|pls|now|thanks|thank|that you|so|because|right|at once|immediately|for good"
    r"|forever|again|completely|i|from your)\b)"
)
"""After what is to be erased: no more that narrows it down ("about me and Tunde", "on me and the car")."""
_OF_ME = rf"(?: (?:about|on|of|for|from|concerning|relating to|related to) (?:me|us|myself)\b{_TAIL})"
_YOURS = (
    r"(?:you|u)(?:['’]ve| have| had)?(?: ever)?"
    r" (?:know|hold|have|remember\w*|sav(?:e|ed)|stor(?:e|ed)|noted?|kept|keep|learn\w*)"
)
_THINGS = r"(?:memor(?:y|ies)|(?:personal )?(?:data|info\w*|records?|notes))"
_EVERYTHING = re.compile(  # about the user: "everything you know about drums" is about drums
    rf"{_ERASE}(?:absolutely )?(?:everything|anything|all)(?: of it)?(?:,? that| of what| what)?"
    rf"(?:{_OF_ME}| {_YOURS}(?:{_OF_ME}|{_TAIL})| (?:stored|saved|known){_OF_ME})"  # everything (you know) about me
    rf"|{_ERASE}(?:all|everything)(?: of)?(?: (?:my|your|the))? {_THINGS}"  # all the data you have on me
    rf"(?:{_OF_ME}| (?:that )?{_YOURS}(?:{_OF_ME}|{_TAIL}))"
    rf"|{_ERASE}(?:all|everything)(?: of)?(?: in)? (?:(?:your |the )?memor(?:y|ies)|my {_THINGS}){_TAIL}"  # all my data
    rf"|{_ERASE}(?:out )?your (?:whole |entire |complete )?memor(?:y|ies)(?: clean)?(?:{_OF_ME}|{_TAIL})",
    re.I,
)
_EXCEPT = re.compile(r"\b(?<!without )(?:except\w*|apart from|other than|but|keep|stays?|leave|besides|only)\b", re.I)
"""Of everything something is to stay."""
_BARE = re.compile(
    rf"{_ERASE}(?:absolutely )?(?:everything|all)(?:{_TAIL}|(?= (?:and|then) (?:start|begin|go|try)\b))"
    r"(?!.*\b(?:my|our|about|told)\b)",
    re.I,
)
"""Names nothing: "no, remove all" may be about files, rows or the code at hand."""
_RECALLS = re.compile(r"^\W*(?:don['’]?t|do not) remember\b(?!.*\b(?:please|pls|ok|okay)\b).*\?\W*$", re.I)
"""Asks whether it is remembered: "don't remember that I live in Lyon?" """


def asks_to_forget(quote: str, chance: float) -> bool:
    """Whether a sentence asks that something of the user be forgotten; a reader gives it this chance."""
    return asks_plainly(quote) or (chance >= FORGET_AT and worded_as_request(quote))


def asks_plainly(quote: str) -> bool:
    """Whether a sentence asks so in so many words, in English, that no reader need be asked."""
    text = _short(quote)
    plain = _FORGET_MINE.search(text) or _FORGET_IT.search(text)
    return plain is not None and not _WONDERS.search(text) and worded_as_request(text)


def worded_as_request(quote: str) -> bool:
    """Whether a sentence has the words of a request to forget; not all that have them are one."""
    text = _short(quote)
    if _TOLD_OF.search(text) or (_KEEP.search(text) and not _WHY_NOT.search(text)):
        return False  # "don't forget …" asks for the very opposite
    if _ABROAD.search(text):
        return not _KEEP_ABROAD.search(text)
    return bool(_FORGET_MINE.search(text) or _REQUEST.search(text)) and not _RECALLS.search(text)


def means_everything(request: str) -> bool:
    """Whether a request to forget names all that is known of the user; "delete everything" by itself names nothing."""
    text = _short(request)
    return bool(_EVERYTHING.search(text)) and not _EXCEPT.search(text)


def names_nothing(request: str) -> bool:
    """Whether it asks to delete all of something that it does not name: files, rows or the code at hand."""
    return _BARE.search(_short(request)) is not None


def _short(quote: str) -> str:
    """A sentence as the patterns read it: its beginning, without long runs of spaces, dashes or commas."""
    return re.sub(r"\W{4,}", lambda run: " ".join(run[0].split())[:3].rstrip() + " ", quote[: 4 * LONGEST])[:LONGEST]


def what(quote: str) -> str:
    """What a request to forget speaks of: "please forget that I told you about my divorce" -> "my divorce"."""
    rest = re.sub(rf"^.*?\b(?:{_VERB}|{_VERBING}|{_HOLD}|{_HOLDING}|told you)\b", "", quote, count=1, flags=re.I)
    rest = re.sub(r"\b(?:from (?:your|my) \w+|please|i (?:ever )?(?:told you|mentioned|said)|what you (?:saved|know"
                  r"|stored|have)|everything|all memories)\b",
                  "", rest, flags=re.I)  # fmt: skip
    rest = re.sub(r"^\W*(?:(?:that|about|what|the|bit|part|thing|where|fact|note)\W+)+", "", rest, flags=re.I).strip(
        " .!?\"'"
    )
    return rest or quote
