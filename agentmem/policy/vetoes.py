"""Plain rules that overrule the classifier: what is never a memory, whatever it looks like."""

from __future__ import annotations

import re

from agentmem.policy.lines import Label

_HYPOTHETICAL = re.compile(
    r"^\W*(?:(?:and|but|so|ok|well|now)\W+)*(?:if (?:i|we) (?:were|was|had|won|got|could)\b|suppose|imagine"
    r"|let['’]?s (?:say|pretend|assume)|what if|say i"
    r"|assum(?:e|ing) (?:i|we|that)|pretend|hypothetic|for the sake|i wish i|maybe i|i might|in (?:my dream"
    r"|this (?:story|scenario|game)))",
    re.I,
)
_DEICTIC = re.compile(
    r"\b(?:like|love|hate|prefer|enjoy|agree with|stand|appreciate)\s+(?:\w+ )?(?:this|that|it\b|your|these|those"
    r"|how (?:you|the|this)|the (?:first|second|third|last"
    r"|previous|idea|way)|all of)",
    re.I,
)
_ONE_OFF = re.compile(
    r"\b(?:this (?:one|time|answer|task|text|sentence|essay|question|list|table|reply|email|recipe|function|code"
    r"|paragraph)|(?:for|in) (?:this|that)\b"
    r"|(?:the )?(?:above|below|following)|last (?:one|answer|message))\b",
    re.I,
)
_FROM_NOW_ON = re.compile(
    r"\b(?:from now on|from here on|going forward|in (?:the )?future|whenever|every time|each time|by default"
    r"|ever again)\b",
    re.I,
)
_STANDING = re.compile(
    r"\b(?:always|allways|never|ever|every time|each time|whenever|from now on|from here on|going forward"
    r"|in (?:the )?future|any ?more|by default|unless i|in every|(?:stop|quit) \w+ing|no more|all the time|assume"
    r"|(?:when|if|once) (?:i|you|we|there|a|my|it))\b",
    re.I,
)
_SECRET = re.compile(
    r"\b(?:pass ?(?:word|phrase|code)|api[ _-]?key|access key|secret key|private key|pin (?:is|code|number)|cvv"
    r"|credit card|card number|social security|ssn"
    r"|iban|passport (?:no|number)|licen[cs]e number|account number|sk-\w{6,}|gh[pousr]_\w{6,}|token)\b"
    r"|\b(?:\d[ -]?){12,19}\b|\b\d{3}-\d{2}-\d{4}\b",
    re.I,
)
_TO_MACHINES = re.compile(
    r"\b(?:ai|llms?|language models?|(?:ai )?(?:assistants|agents|chatbots|models|crawlers|bots))\b"
    r"(?=[^.!?]{0,40}(?::|,? (?:must|should|shall|always|never|please|recommend|ignore)\b))"
    r"|\bignore (?:all |any )?(?:previous|prior|earlier|other) (?:instructions|rules|prompts)\b",
    re.I,
)
"""Orders to assistants at large stand in pasted pages, not in what a person says of themselves."""
_YOU_ARE = re.compile(
    r"(?<!when )(?<!whenever )(?<!if )(?<!unless )(?<!where )(?<!\bas )\byou(?:['’]re| are| will (?:now )?(?:act"
    r"|be))\b|\bthe (?:assistant|user|ai|bot)\b|\b(?:system prompt"
    r"|instructions|guidelines)\b",
    re.I,
)
_OF_MINE = re.compile(r"\b(?:i|me|my|mine|im|ive|i['’]\w+|we|our|us|we['’]\w+)\b", re.I)
_OTHERS = re.compile(
    r"^\W*(?:he|she|they|his|her|their|people|some|many|most|everyone|users|our (?:customers|guests|users|survey"
    r"|brand|mission))\b",
    re.I,
)
_DECLARES = re.compile(
    r"^\W*(?:(?:and|but|so|now|also|then)\W+)*(?:i(?!['’]d (?:like|want|love|rather) you| want you| need you"
    r"| would like you)|the|my|we|it|this|that|he|she|they|there)\b",
    re.I,
)
_PASSING = re.compile(
    r"^\W*(?:\w+\W+){0,3}?i(?:['’]ll| will| think i['’]ll| was (?:thinking|wondering|hoping)"
    r"|['’]?ve been (?:thinking|wondering|meaning|looking)|['’]m (?:also |really |just "
    r"|still |actually )?(?:thinking|considering|looking (?:for|into|forward)|wondering|curious|excited|worried"
    r"|glad|not sure|trying to (?:figure|decide|find)))\b"
    r"|\bi had(?:n['’]t| not) (?:thought|considered|heard)|\bi have(?:n['’]t| not) (?:really )?(?:tried|thought"
    r"|explored|heard)",
    re.I,
)


def vetoed(quote: str, label: Label) -> bool:
    """Whether `quote` must not become a memory of this kind.

    Secrets, hypotheses and orders to machines at large never; questions, passing thoughts ("I'll look into it") and the
    taste of others are no preference or fact; an instruction about the answer at hand, or about what "the assistant"
    is, does not stand.
    """
    if _SECRET.search(quote) or _HYPOTHETICAL.search(quote) or _TO_MACHINES.search(quote):
        return True
    if label == "instruction":
        standing = _STANDING.search(quote)
        if _DECLARES.search(quote) and not _FROM_NOW_ON.search(quote):
            return True
        return _YOU_ARE.search(quote) is not None or (_ONE_OFF.search(quote) is not None and not standing)
    if quote.endswith("?") or _PASSING.search(quote):
        return True
    mine = _OF_MINE.search(quote) is not None
    if not mine and (_OTHERS.search(quote) or len(quote.split()) > 9):
        return True
    return label == "preference" and (_DEICTIC.search(quote) is not None or _OTHERS.search(quote) is not None)
