"""What must not be remembered: secrets and identifiers never, delicate matters only when the user states them."""

from __future__ import annotations

import re
from functools import cache

# Secrets by their form, from detect-secrets. Its entropy and keyword detectors are for source code: on chat they take
# product names and plain words for secrets.
_DETECTORS = (
    "AWSKeyDetector", "ArtifactoryDetector", "AzureStorageKeyDetector", "BasicAuthDetector", "CloudantDetector",
    "DiscordBotTokenDetector", "GitHubTokenDetector", "GitLabTokenDetector", "IbmCloudIamDetector", "JwtTokenDetector",
    "MailchimpDetector", "NpmDetector", "OpenAIDetector", "PrivateKeyDetector", "PypiTokenDetector", "SendGridDetector",
    "SlackDetector", "SquareOAuthDetector", "StripeDetector", "TelegramBotTokenDetector", "TwilioKeyDetector",
)  # fmt: skip

_NAMES = (  # names of secrets; blanks as classes, for the patterns below are verbose
    r"(?:pass[ ]?(?:word|code|phrase)|pwd|pin(?:[ ]code|[ ]number)?|otp|cvv|cvc|security[ ]code|secret[ ]key"
    r"|api[ _-]?key|access[ ]token)"
)
_NUMBERED = (
    r"(?:passport|licen[cs]e|social[ ]security|ssn|national[ ]insurance|identity[ ]card|id[ ]card"
    r"|tax(?:payer)?(?:[ ]id)?|nhs|visa|membership|insurance|account|routing|medical[ ]record)"
)
_ASKED = re.compile(
    rf"\b(?:{_NAMES}|iban|social[ ]security|ssn|(?:{_NUMBERED}|(?:credit[ ])?card)[ ](?:number|no|id)"
    r"|(?:private|recovery|verification|one[- ]time|door|alarm|login)[ ](?:key|code|phrase|details))\b",
    re.IGNORECASE,
)

# Secrets and identifiers that have no form of their own: the user names what it is, then gives it.
_NAMED = {
    "a password": re.compile(
        rf"""\b{_NAMES}\b
        (?:[ ](?:for|of|to|on|at)[ ][\w .'-]{{1,30}}?)?   # for my mail
        (?:(?:\s+(?:is|was|=|to)|['’]s|\s*[:=])\s*["'“]?
        (?=\S*[\d!@#$%^&*_-]|\S{{8,}}\s*$)\S+          # looks like one, rather than "is long" or "is important to me"
        |\s\d{{3,8}}\b)                                # cvv 123
        |\bcode[ ](?:to|for|of|on)[ ](?:my|our|the)[ ][\w ]{{1,30}}?[ ]is[ ]\W?\d{{3,}}
        """,
        re.IGNORECASE | re.VERBOSE,
    ),
    "an identity number": re.compile(
        rf"""\b{_NUMBERED}\b
        (?:[ ](?:number|no\.?|nr\.?|id|\#))?\W{{0,3}}(?:is|was|:|=|\#)?\W{{0,3}}
        (?:(?=[A-Z0-9-]*\d[A-Z0-9-]*\d[A-Z0-9-]*\d)[A-Z0-9-]{{5,}}|\d(?:[ -]?\d){{6,}})
        """,
        re.IGNORECASE | re.VERBOSE,
    ),
}
_DIGITS = re.compile(r"(?<![\d.,])\d(?:[ -]?\d){11,18}(?![\d.,]\d)")
_IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{2,4}){3,8}\b", re.IGNORECASE)
_KEY = re.compile(r"\b[spr]k[-_](?:[a-z]+[-_]){0,2}[A-Za-z0-9_-]{20,}")  # newer forms than detect-secrets knows
_SSN = re.compile(r"(?<![\d-])\d{3}-\d{2}-\d{4}(?![\d-])")

_DELICATE = {
    "health": (
        "diagnos\\w* depress\\w* anxi\\w* bipolar adhd autis\\w* cancer diabet\\w* hiv therap(?:y|ist) medication "
        "pregnan\\w* disorder disease illness syndrome "
        "addict\\w* alcoholic infertil\\w* miscarriage ptsd epilep\\w* asthma"
    ),
    "religion": (
        "christian\\w* catholic\\w* protestant\\w* muslim\\w* islam\\w* jewish judaism hindu\\w* buddhis\\w* sikh\\w* "
        "atheis\\w* religio\\w* church mosque synagogue"
    ),
    "politics": (
        "democrats? republicans? conservatives? liberals? socialis\\w* communis\\w* left-wing right-wing "
        "trump biden tory tories labour votes? voted voter politic\\w* union-member\\w*"
    ),
    "sexuality": (
        "gay lesbian bisexual\\w* homosexual\\w* heterosexual\\w* queer transgender trans asexual\\w* sexual\\w*"
    ),
}


def asks_secret(question: str) -> bool:
    """Whether a question asks for a secret or an identifier: its answer has no form, and says nothing by itself."""
    return _ASKED.search(question) is not None


def secret(text: str) -> str | None:
    """What secret or identifier the text holds, in words ("a card number"); None if none is found.

    Cards and IBANs are checked by their check digits (python-stdnum), keys and tokens by their form (detect-secrets).
    """
    from stdnum import iban, luhn

    if any(luhn.is_valid(re.sub(r"\D", "", match[0])) for match in _DIGITS.finditer(text)):
        return "a card number"
    if any(iban.is_valid(start) for match in _IBAN.finditer(text) for start in _starts(match[0])):
        return "an IBAN"
    if _SSN.search(text):
        return "an identity number"
    for what, pattern in _NAMED.items():
        if pattern.search(text):
            return what
    return "a key or token" if _has_token(text) else None


def _starts(found: str) -> list[str]:
    """The first group, the first two, and so on: words may follow the number."""
    groups = found.split()
    return ["".join(groups[:end]) for end in range(1, len(groups) + 1)]


def _has_token(text: str) -> bool:
    return _KEY.search(text) is not None or any(
        True for plugin in _plugins() for line in text.splitlines() for _ in plugin.analyze_string(line)
    )


@cache
def _plugins():  # noqa: ANN202  the library has no types
    from detect_secrets.core.plugins.initialize import from_plugin_classname

    return [from_plugin_classname(name) for name in _DETECTORS]


def delicate(text: str) -> str | None:
    """Which delicate matter the text is about (health, religion, politics, sexuality); None if none is seen."""
    for topic, pattern in _delicate_patterns().items():
        if pattern.search(text):
            return topic
    return None


@cache
def _delicate_patterns() -> dict[str, re.Pattern[str]]:
    return {topic: re.compile(rf"\b(?:{'|'.join(terms.split())})\b", re.I) for topic, terms in _DELICATE.items()}
