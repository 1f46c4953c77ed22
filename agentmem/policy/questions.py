"""What a short answer says together with its question: "Where do you live?" - "Porto": "I live in Porto."

An answer of a word or two is no statement without the question, and neither the detectors nor the writer read it well
as one. This is the task of QA2D (Demszky, Guu, Liang, "Transforming question answering datasets into natural language
inference datasets", arXiv 1809.02922), here by rules, for plain English questions about the user; whether the
sentence is worth keeping is not decided here.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from agentmem.memory import words
from agentmem.policy.pastes import SUBJECT
from agentmem.sensitive import asks_secret

MOST_SAID = 6
"""Words of an answer; a longer one mostly says itself what it is about."""
MOST_ASKED = 18
"""Words of a question; a longer one is seldom about one thing."""

_YES_WORDS = (
    r"yes|yeah|yep|yup|sure|of course|absolutely|definitely|certainly|indeed|right|correct|exactly|i do|i am|do it"
    r"|please do|that['’]?s right|always|ok|okay"
)
_NO_WORDS = r"no|nope|nah|none|nothing|not at all|i don['’]?t|i am not|i['’]?m not"
_ASIDE = r"oh|ah|please|thanks|thank you|sorry"
"""What stands beside a yes or no, and is none."""
_YES = re.compile(rf"^(?=.*\b(?:{_YES_WORDS})\b)(?:(?:{_YES_WORDS}|{_ASIDE})\b[ ,!.]*)+$", re.I)
_NO = re.compile(rf"^(?=.*\b(?:{_NO_WORDS})\b)(?:(?:{_NO_WORDS}|{_ASIDE})\b[ ,!.]*)+$", re.I)
_OFTEN = re.compile(
    r"^(?:(?:almost|nearly) )?(?:never|always|rarely|seldom|sometimes|often|usually|occasionally|hardly ever|mostly)$",
    re.I,
)
_OPEN = re.compile(
    r"^(?:maybe|perhaps|(?:it )?depends|idk|dunno|no idea|unsure|any\b|anything|either|both|neither|none|nothing"
    r"|whatever|later|skip|next|continue|stop|go\b|hm+|huh|lol|what|why|how|who|where|when|which|that|this|these|those"
    r"|it|he|she|they|you|i|do|don['’]?t|can|could|all|thanks|ok|okay|good|great|fine|perfect|nice|cool|surprise|let['’]?s|please"
    r"|give|show|tell|make|send|for|not|sorry|wait|well|actually|same|just|never mind|write|hi|hello)\b",
    re.I,
)
"""How answers begin that leave open, ask back, point elsewhere or ask for something."""
_REMARK = re.compile(
    r"^\W*(?:that|those|these|this|it|he|she|they|there|his|her|their|its|thanks?|good|great|nice|cool|perfect|wow"
    r"|ha+h*|lol|pretty|sounds|hey|hi|hello|definitely|totally|exactly|absolutely)\b",
    re.I,
)
_POLITE = re.compile(r"^(?:um+|uh+|oh|ah)\W+|,? (?:please|pls|thanks|thank you|i think|i guess|for me)$", re.I)
_OPENER = (
    r"(?=(?:what|which|where|who|when|how|do you|are you|is there|any|should|shall|want me|would you like me|may i"
    r"|can i|you(?:'re| are|'ve| have|r))\b)"
)
_LEAD = re.compile(
    r"^(?:(?:and|so|ok|okay|also|but|well|then|great|got it|sure|first|by the way|btw|just curious|out of curiosity"
    r"|(?:may|can) i ask|just (?:so i know|to be sure|checking)|(?:one |a )?(?:more |last |quick )?(?:thing|question)"
    r"|(?:so |just so )?(?:that )?i can [^,:;?]{1,60}|to (?:help|narrow|plan|give|find|get|make|suggest)\b[^,:;?]{0,60}"
    rf"|before (?:i|we) [^,:;?]{{1,40}})(?:\s*[,:;–—-]+\s+|\s+))+{_OPENER}",
    re.I,
)
"""What a question begins with: "By the way, …", "So I can narrow it down, …"; "For your mom: …" asks of another."""
_FICTION = re.compile(
    r"\b(?:if you were|imagine|pretend|suppose|(?:in|for|of) (?:this|the|our|your) (?:story|game|scene"
    r"|role-?play|quiz))\b",
    re.I,
)
"""It is asked of a character."""
_OF_OTHERS = re.compile(
    r"\b(?:guests?|friends?|party|group|daughter|son|kids?|children|baby|mom|mum|mother|dad|father|husband|wife|partner"
    r"|sister|brother|parents?|team|colleagues?|class|people|him|her|them|they|he|she|everyone|anyone|somebody)\b",
    re.I,
)
"""Whose allergies may be asked for, too."""
_TRAIL = re.compile(
    r",? (?:again|roughly|more or less|exactly|by the way|then|though|if you don't mind(?: me asking| my asking)?"
    r"|if i may ask)$",
    re.I,
)
_AT_HAND = re.compile(
    r"\b(?:i|me|my|we|us|our|this|that|these|those|it|one|ones|them|here|now|today|tonight|at present|ready|mood)\b",
    re.I,
)
"""The assistant, or the matter at hand: a question about these is none about the user alone."""
_SEVERAL = re.compile(
    r"[,;:]|\b(?:and|but|or) (?:(?:for|with|at|by|on) )?(?:what|which|who|when|where|how|why|do|does|is|are|have"
    r"|would|can)\b",
    re.I,
)
_MOMENT = re.compile(
    r"^(?:(?:also|just|still|really) )*(?:answer|guess|move|order|question|choice|pick|goal for|next|count|choose|cast"
    r"|attack|two\b|both|all\b|guys|folks|each|ready|sure|ok|okay|all right|alright|there|alive|excited|serious|kidding"
    r"|happy|done|finished|looking|asking|trying|feeling|in the mood|interested|going|thinking|coming|free|able|willing"
    r"|want|need|mean|think|see|say|know|remember|agree|mind|get|feel|notice|hear)\b",
    re.I,
)
"""What the user is, does or wants now."""
_FOR_NOTE = re.compile(
    r",? (?:(?:that |which )?i (?:should|need to|have to|must|can) \w+.*|to (?:consider|keep in mind|work around|avoid"
    r"|plan around|know about|be aware of|respect))$",
    re.I,
)
_LASTING = re.compile(
    r"^(?:always|never|from now on|in (?:the )?future|by default|as a rule)\b|\b(?:whenever|every time|each time) you\b"
    r"|\b(?:from now on|from here on|going forward|in (?:the )?future|by default|as a rule|every time|each time"
    r"|every (?:day|week|month|morning|evening|answer|reply))$",
    re.I,
)
_OBJECT = re.compile(r"(?<!when )(?<!ever )(?<!if )(?<!time )(?<!what )(?<!that )\byou\b(?!['’])", re.I)
""" "You" of an order that is no subject: "correct you"."""
_PREMISE = re.compile(
    r"^(?:no|nope|nah|yes|yeah|yep|never|nobody|nowhere|somewhere|everything|everyone|used to|stopped|quit|moved|moving"
    r"|prefer|rather|secret|guess|up to|single|alone|divorced|unemployed|retired|n/?a|died|dead|formerly|no longer"
    r"|hate|love)\b",
    re.I,
)
"""How answers begin that deny what the question takes for granted, or say it in another way."""
_DEGREE = re.compile(r"^(?:very|really|extremely|super|not (?:too|very)|medium|quite|pretty|mildly)$", re.I)
_JOINED = frozenset(words("only mostly to with without at in by from for as of more rather hate not else"))
"""How alternatives begin that share no end with the other one: "alone or with your parents"."""
_PLACED = re.compile(r"^(?:in|at|near|from|on|by|around|outside|close to|with|to|for|between)\b", re.I)
_NO_PLACE = re.compile(r"(?:abroad|home|online|outside|everywhere)\b", re.I)
_NUMBER = re.compile(
    r"^(?:(?:about|around|almost|only) )?(?:\d[\d.,]*|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve"
    r"|a few|a couple|several)$",
    re.I,
)
_ARTICLES = frozenset({"a", "an", "the", "some", "something"})
_COMMON_NOUNS = re.compile(
    r"\b(?:allerg|diet|restriction|intoleran|job|profession|occupation|eat|drink|take|avoid)", re.I
)
"""In questions whose answers are seldom names: there a capital only begins the sentence."""
_SMALL = frozenset(
    words(
        "the a an in at on with from near by around about only mostly usually my every once twice one two three four"
        " five six seven eight nine ten"
    )  # fmt: skip
)
_PERSONS = (
    (r"\b(to|for|with|of|about|from|call|give|tell|show|send|ask|remind|help|let|bring) you\b", r"\1 me"),
    (r"\byou were\b", "I was"), (r"\byou aren't\b", "I'm not"), (r"\byou're\b", "I'm"), (r"\byou've\b", "I've"),
    (r"\byou are\b", "I am"), (r"\byourself\b", "myself"),
    (r"\byours\b", "mine"), (r"\byour\b", "my"), (r"\byou\b", "I"),
)  # fmt: skip
"""How the one who answers says what was said to them."""


def names_nobody(asked: str) -> bool:
    """Whether a question leaves open whom it asks of: "Any allergies?" """
    return re.search(r"\byou(?:r|['’]\w+)?\b", asked, re.I) is None


def speaks_of_others(text: str) -> bool:
    """Whether a text names people whom such a question may mean."""
    return _OF_OTHERS.search(text) is not None


def speaks(said: str) -> bool:
    """Whether words say themselves what they are about: with "I" or "my" or the like, or as a remark on what was said
    ("that's a great idea", "pretty good!")."""
    return re.search(rf"\b{SUBJECT}", said, re.I) is not None or _REMARK.match(said) is not None


def spelled_out(question: str, answer: str) -> str:
    """The sentence that an answer stands for; empty where the question is none about the user, or it isn't plain.

    Args:
        question: one sentence of the assistant's, with its question mark.
        answer: the user's words that answer it, one sentence.
    """
    asked = " ".join(question.strip(" \"'”’*_").replace("’", "'").split()).rstrip(" ?")
    asked = _TRAIL.sub("", _LEAD.sub("", asked))
    said = " ".join(answer.split()).strip(" .!,;")
    if not said or "?" in answer or asks_secret(asked) or _FICTION.search(asked):
        return ""
    if len(asked.split()) > MOST_ASKED or len(said.split()) > MOST_SAID:
        return ""
    for pattern, spell in _FORMS:
        if match := pattern.match(asked):
            sentence = " ".join(spell(match, said).split())
            return sentence[:1].upper() + sentence[1:] + "." if sentence else ""
    return ""


# -- the forms of questions ------------------------------------------------------------------------------------------


def _mine(text: str) -> str:
    """What is said to the user, as the user says it: "when you travel" -> "when I travel"."""
    for theirs, own in _PERSONS:
        text = re.sub(theirs, own, text, flags=re.I)
    return text


def _value(said: str, asked: str = "") -> str:
    """The answer as part of a sentence; empty where it is no name, noun or number."""
    said = _POLITE.sub("", _POLITE.sub("", said)).strip(" ,")
    if not re.search(r"\w", said) or speaks(said):
        return ""
    if any(one.match(said) for one in (_OPEN, _YES, _NO, _OFTEN, _PREMISE)):
        return ""
    small = said.split()[0].lower() in _SMALL or (_COMMON_NOUNS.search(asked) and said[1:] == said[1:].lower())
    return said[:1].lower() + said[1:] if small else said


def _is_own(asked: str) -> bool:
    """Whether a question is about one thing, and the user's own."""
    return not _AT_HAND.search(asked) and not _SEVERAL.search(asked)


def _be(match: re.Match[str]) -> str:
    return "am" if match["do"].lower() == "are" else ""


def _called(_: re.Match[str], said: str) -> str:
    value = _value(said)
    return f"call me {value}" if value else ""


def _named(match: re.Match[str], said: str) -> str:
    """ "What's your job?" - "Nurse.": "My job is nurse." """
    value, thing = _value(said, match["thing"]), match["thing"]
    if not value or not _is_own(thing) or _MOMENT.match(thing) or " and " in thing:
        return ""
    return f"my {_mine(thing)} {'are' if (match['be'] or '').lower() == 'are' else 'is'} {value}"


def _aged(match: re.Match[str], said: str) -> str:
    who = f"my {match['thing']} is" if match["thing"] else "I am"
    plain = _NUMBER.match(said) and not re.search(r"\d{3}", said) and _is_own(match["thing"] or "")
    return f"{who} {said.lower()} years old" if plain else ""


def _counted(match: re.Match[str], said: str) -> str:
    """ "How many kids do you have?" - "Two.": "I have two kids." """
    value = said.lower()
    if not _NUMBER.match(value) or not _is_own(match.group()) or _MOMENT.match(match["verb"]):
        return ""
    return f"I {_mine(match['verb'])} {value} {match['thing']}"


def _frequent(match: re.Match[str], said: str) -> str:
    """ "How often do you run?" - "Twice a week": "I run twice a week." """
    often, verb = _OFTEN.match(said), match["verb"]
    value = said.lower() if often else _value(said)
    if not value or not _is_own(match.group()) or _MOMENT.match(verb):
        return ""
    return f"I {value} {_mine(verb)}" if often else f"I {_mine(verb)} {value}"


def _where(match: re.Match[str], said: str) -> str:
    """ "Where do you live?" - "Porto": "I live in Porto." """
    value, verb = _value(said), match["verb"]
    if not value or not _is_own(match.group()) or _MOMENT.match(verb):
        return ""
    placed = _PLACED.match(value) or _NO_PLACE.match(value) or verb.split()[-1].lower() in ("from", "in", "at")
    return f"I {_be(match)} {_mine(verb)} {value if placed else f'in {value}'}"


def _which(match: re.Match[str], said: str) -> str:
    """ "Which language do you use?" - "Rust": "The language I use is Rust." """
    value, verb, thing = _value(said, match.group()), match["verb"], match["thing"]
    if not value or not _is_own(match.group()) or _MOMENT.match(verb):
        return ""
    if thing and re.match(r"(?:city|town|village|country|state|region)$", thing, re.I):
        return f"I {_be(match)} {_mine(verb)} {re.sub(r'^(?:in|from) ', '', value)}"
    if thing:
        be = "are" if re.search(r"[^s]s$", thing) else "is"
        return f"the {thing} I {_be(match)} {_mine(verb)} {be} {re.sub(r'^(?:in|on|at) ', '', value)}"
    if re.match(r"(?:usually )?do for ", verb, re.I):
        return f"my job is {value}"
    return f"I {_be(match)} {_mine(verb)} {value}"


def _taken_so(match: re.Match[str], said: str) -> str:
    """ "How do you take your coffee?" - "Black": "I take my coffee black." """
    value = _value(said)
    if not value or not _is_own(match["thing"]):
        return ""
    quality = f"{value} {match['how']}" if match["how"] and _DEGREE.match(value) else value
    return f"I {_mine(match['verb'])} {_mine(match['thing'])} {quality[:1].lower()}{quality[1:]}"


def _excepted(match: re.Match[str], said: str) -> str:
    """ "Is there anything you don't eat?" - "Pork": "I don't eat pork." """
    value = _value(said, match["verb"])
    return f"I {_mine(match['verb'])} {value}" if value and _is_own(match["verb"]) else ""


def _either(match: re.Match[str], said: str) -> str:
    """ "Do you prefer an aisle or a window seat?" - "Aisle": "I prefer an aisle seat." """
    value = _value(said)
    if not value or not _is_own(match.group()) or _MOMENT.match(f"{match['verb']}{match['first']}"):
        return ""
    if not (match["verb"] or "").strip() and (match["do"].lower() == "do" or _JOINED & set(words(match["first"]))):
        return ""  # "allergic to peanuts or shellfish"
    taken = _taken(match["first"], match["second"], value)
    return f"I {_be(match)} {_mine(match['verb'] or '')} {_mine(taken)}" if taken else ""


def _taken(first: str, second: str, said: str) -> str:
    """Of "an aisle" and "a window seat when you fly" what the answer names, with the end that both share."""
    one, other = first.split(), second.split()
    if one[0].lower() in _ARTICLES - {"something"} and other[0].islower() and other[0] not in _ARTICLES:
        return ""  # "an instrument or sing"
    bare, article = one[0].lower() not in _ARTICLES, other[0].lower() in _ARTICLES
    apart = {one[0].lower(), other[0].lower()} & _JOINED or set(words(first)) & set(words(second)) - _ARTICLES
    if apart or (other[0].endswith("ing") and not article and not one[0].endswith("ing")):
        return ""
    own_words = len(one) + (bare and article)  # "tea or a coffee in the morning": as many of the second are its own
    named = set(words(said)) - _ARTICLES
    of_one, of_other = named & set(words(first)), named & set(words(" ".join(other[:own_words])))
    if bool(of_one) == bool(of_other) or named - set(words(f"{first} {second}")):
        return ""
    end = other[own_words:]
    if of_one and end and (len(one) > 1 + (not bare) or end[0] in _ARTICLES):
        return ""
    return " ".join([*one, *end]) if of_one else second


def _whether(match: re.Match[str], said: str) -> str:
    """ "Are you vegetarian?" - "Yes": "I am vegetarian." And "allergic to anything?" - "Peanuts"."""
    rest, be = match["rest"], _be(match)
    if not _is_own(rest) or _MOMENT.match(rest) or re.search(r"\b(?:or|not|no|never)\b|n't\b", rest):
        return ""
    rest = re.sub(r"^(?:ever|still|already) ", "", rest)
    if _OFTEN.match(said):
        return f"I {be} {said.lower()} {_mine(rest)}"
    if not (_YES.match(said) or _NO.match(said)):
        return _filled(match, said)
    if _YES.match(said):
        return "" if re.search(r"\bany", rest) else f"I {be} {_mine(rest)}"
    if rest.startswith("have ") and not re.match(r"have (?:any )?(?:\w+ )?(?:\w+s|children|experience)$", rest):
        return ""  # "Do you have a fan?" - "No": what is not at hand
    rest = _mine(re.sub(r"\bany ", "", rest))
    return f"I am not {rest}" if be else f"I have no {rest[5:]}" if rest.startswith("have ") else f"I do not {rest}"


def _filled(match: re.Match[str], said: str) -> str:
    value, rest = _value(said, match["rest"]), match["rest"]
    open_ = re.search(r"\b(?:anything|anyone|any(?P<thing>(?: \w+){1,3}))$", rest)
    if open_ is None or not value:
        return ""
    thing = (open_["thing"] or "").strip()
    value = f"{value} {thing}" if _NUMBER.match(value) else value
    return f"I {_be(match)} {_mine(rest[: open_.start()])} {value}"


def _any(match: re.Match[str], said: str) -> str:
    """ "Any dietary restrictions?" - "Vegan.": "My dietary restrictions: vegan." """
    thing = _FOR_NOTE.sub("", match["thing"])
    value = _value(said, thing)
    if not _is_own(thing) or re.search(r" (?:in|among) the\b", thing):
        return ""
    if _NO.match(said):
        return f"I have no {thing}"
    return f"my {_mine(thing)}: {value}" if value else ""


def _agreed(match: re.Match[str], said: str) -> str:
    """ "Shall I always add sources?" - "Yes": "Please always add sources." Only what is to last is an instruction."""
    rest = _OBJECT.sub("me", match["rest"])
    return f"please {_mine(rest)}" if _YES.match(said) and _LASTING.search(rest) and " or " not in rest else ""


def _noted(match: re.Match[str], said: str) -> str:
    """ "Shall I remember that you prefer aisle seats?" - "Yes": "I prefer aisle seats." """
    return _mine(match["rest"]) if _YES.match(said) and " or " not in match["rest"] else ""


def _form(pattern: str, spell: Callable[[re.Match[str], str], str]) -> tuple[re.Pattern[str], Callable[..., str]]:
    return re.compile(pattern + "$", re.I), spell


_OFFER = r"(?:(?:shall|should|may|can|could) i|(?:do you )?want me to|would you like me to)"
_FORMS = (
    _form(rf"{_OFFER} (?:remember|note(?: down)?|keep in mind|save"
          rf"|write down)(?: it)?(?: that)? (?P<rest>you(?:'\w+)? .+"
          r"|your .+ (?:is|are|has|have)\b.+)", _noted),
    _form(r"(?:what|how) (?:shall|should|may|can|could) i (?:call|address) you", _called),
    _form(r"what (?:do|would) you (?:like|want|prefer) (?:me )?to (?:be called|call you)", _called),
    _form(rf"{_OFFER} (?P<rest>.+)", _agreed),
    _form(r"how old (?:are you|is your (?P<thing>.+))", _aged),
    _form(r"(?:what|who|when)(?:'s| (?P<be>is|are)) your (?P<thing>.+?)(?: like)?", _named),
    _form(r"how many (?P<thing>.+?) do you (?P<verb>.+)", _counted),
    _form(r"(?:how often do you|when do you (?=usually|normally|typically|mostly|always)) ?(?P<verb>.+)", _frequent),
    _form(r"where (?P<do>do|are) you (?P<verb>.+)", _where),
    _form(r"(?:which|what) (?P<thing>.+?) (?P<do>do|are) you (?P<verb>.+)", _which),
    _form(r"what(?P<thing>) (?P<do>do|are) you (?P<verb>(?:usually )?(?:do(?: for (?:work|a living))|drive|ride|study"
          r"|teach|play|collect|major in|listen to|allergic to|intolerant to))", _which),
    _form(r"how(?: (?P<how>\w+))? do you (?P<verb>(?:normally |usually )?(?:take|like|drink|prefer"
          r"|eat)) (?P<thing>your (?:\w+ )?(?:coffee|tea|steaks?|eggs?|food|curry|pizza|burgers?|toast|noodles|drinks?"
          r"|whiske?y|wine|beer|milk|porridge|answers|replies|recipes|bed|room))", _taken_so),
    _form(r"is there (?:anything|any \w+|an? \w+) (?:that |which )?you (?P<verb>(?:don't|can't|never|always|avoid"
          r"|won't)\b.*)", _excepted),
    _form(r"(?:do you have )?any (?P<thing>(?:\w+ )*(?:allerg|restriction|intoleran|preference|requirement|condition"
          r"|dislike|injur|limitation|diet)\w*.*)", _any),
    _form(r"(?P<do>do|are) you (?P<verb>(?:\w+ly |always |often )?(?:(?:prefer|like|use|drink|eat|have|take|play|speak"
          r"|drive|work|live|wear|read|own|cook|write|travel|pay|keep|more of|on|in)\b(?: (?:of|with|in|on|by|from"
          r"|at|to|as)\b)?"
          r")? ?)(?P<first>[^,]+?) or (?P<second>[^,]+)", _either),
    _form(r"(?P<do>do|are) you (?P<rest>.+)", _whether),
    _form(r"(?P<rest>you(?:'re| are|'ve| have|r) [^,]+)(?:, (?:right|correct|then|yes|no))?", _noted),
)  # fmt: skip
