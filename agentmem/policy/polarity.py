"""Whether a text says that the user likes what they turned down, or dislikes what they took; and the text put right.

A small model that words a choice among options turns it round now and then: "The high-rise options don't appeal to me"
-> "Prefers high-rise hotels." Only what is plain in the user's own clauses is put right: of the 2,076
preferences in the dialogues that were authored it changes none.
"""

from __future__ import annotations

import re

from agentmem.policy.forgetting import content
from agentmem.policy.taste import REFUSALS

_LIKES = re.compile(
    r"(?:prefers|likes|loves|enjoys|is (?:a fan|fond) of|wants)\b (?P<what>.+?)"
    r"(?P<other>,? (?:over|rather than|instead of|(?<!ing )to) .+)?$",
    re.I,
)
_DISLIKES = re.compile(
    r"(?:dislikes|hates|avoids|is not a fan of|doesn['’]t (?:like|enjoy|want))\b (?P<what>.+)$",
    re.I,
)
_FINDS = re.compile(r"finds\b (?P<what>.+ (?:too|not)\b .+)$", re.I)
_VERY = r"(?:(?:really|quite|particularly|exactly|just|very|all that|so) )*"
_FORMS_OF_REFUSAL = (
    rf"(?:n['’]?t|\bnot) {_VERY}(?:{REFUSALS}|appeal\w*|a (?:big |huge )?fan"
    r"|interest\w*|suit\w*|attract\w*|keen|into|work|fit)\b|\b(?:put|turn)s? me off\b|\bpass on\b"
)
_TOO = (
    r"\btoo (?!(?:and|but|or|so|on|in|at|with|for|to|of|from|by|when|if|as|because|since|though|especially|i|we|my|our"
    r"|the|a)\b)[\w-]+"
)
"""A quality in excess; "too" before another word, or at the end, is "also"."""
_REFUSED = re.compile(rf"{_FORMS_OF_REFUSAL}|{_TOO}", re.I)
_EXCESS = re.compile(_TOO, re.I)
_NOT = r"(?:n['’]t|\b(?:isnt|arent|wasnt|dont|doesnt|didnt|wont|cant|couldnt|wouldnt|not|never|nothing|hardly))"
_NEGATED = re.compile(
    rf"{_NOT}(?: (?:be|been|really|quite|ever|at|all|that|even|feel|seem|sound|look|it|is|it['’]s))*\s*$"
    rf"|{_NOT} (?:find|think|consider|feel)\b.*$",
    re.I,
)
"""What turns a form round that follows: "isn't too much for me", "would never pass on coffee"."""
_REACH = 60
"""Characters before a form in which it is looked for."""
_TAKEN = re.compile(
    r"\b(?:go|going) (?:with|for)\b|\bi(?:['’]ll| will|['’]d| would) (?:take|choose|pick|prefer)\b"
    r"|\b(?:sounds?|seems?|looks?|would be) (?:like )?(?:the |a )?"
    r"(?:perfect|great|good|best|better|lovely|ideal|right|nice)\b",
    re.I,
)
_CLAUSES = re.compile(r"[.;:!?\n]|, |\b(?:but|while|though|although|whereas|because|since)\b")
_CONTRARY = re.compile(r"\b(?:without|no|not|non|never|less|little|few|free|low|neither)\b|n['’]t\b", re.I)
"""Words by which a text that likes something names what was turned down: "apps without ads"."""


def righted(text: str, said: str, asked: str = "") -> str:
    """A text of a preference with its direction as in `said`, the user's message; unchanged where nothing is plain.

    What the user had `asked` for before ("some hotels") is on both sides, and says nothing of the direction.
    What is taken back to front is said without the comparison: it named the other side out of the model's own head.
    """
    if _CONTRARY.search(text):
        return text
    known = content(asked)
    likes, dislikes = _LIKES.match(text), _DISLIKES.match(text)
    if likes and (_says(_EXCESS, likes["what"]) or _only(_REFUSED, _TAKEN, content(likes["what"]) - known, said)):
        return f"Dislikes {likes['what'].rstrip(' .')}."
    if dislikes and _only(_TAKEN, _REFUSED, content(dislikes["what"]) - known, said):
        return f"Prefers {dislikes['what'].rstrip(' .')}."
    return text


def sides(text: str) -> tuple[set[str], set[str]]:
    """Content words of what a text of a preference says is liked, and of what it says is not."""
    if (dislikes := _DISLIKES.match(text) or _FINDS.match(text)) is not None:
        return set(), content(dislikes["what"])
    if (likes := _LIKES.match(text)) is None:
        return set(), set()
    if likes["other"] is None and _CONTRARY.search(text):  # "apps without ads"
        return set(), content(text)
    return content(likes["what"]), content(likes["other"] or "")


def _only(form: re.Pattern[str], contrary: re.Pattern[str], what: set[str], said: str) -> bool:
    """Whether the user speaks of it, and in every clause that does so in this form and not in the contrary one."""
    clauses = [clause for clause in _CLAUSES.split(said) if what & content(_without(clause))]
    return bool(clauses) and all(_says(form, one) and not _says(contrary, one) for one in clauses)


def _says(form: re.Pattern[str], clause: str) -> bool:
    """Whether the clause has the form, and not with a negation before it."""
    starts = (match.start() for match in form.finditer(clause))
    return any(not _NEGATED.search(clause[max(0, at - _REACH) : at]) for at in starts)


def _without(clause: str) -> str:
    """The clause without the words of its form: "work" of "doesn't work for me" names nothing; a quality does."""
    return _TAKEN.sub(" ", re.sub(_FORMS_OF_REFUSAL, " ", clause, flags=re.IGNORECASE))
