"""What kind of thing a sentence is: a linear classifier over a sentence embedding and a few surface features."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agentmem.errors import ModelError, boundary
from agentmem.models.embed import Embedder
from agentmem.policy.lines import LABELS, Label, lines

THRESHOLD = 0.75
"""Probability of being worth remembering from which on a sentence is kept: the lowest of the table printed by
`python -m agentmem.policy.fit_offline` at which, in cross-validation over the lines for training, at most 3 % of the
lines that are no memory pass."""
EMBEDDING_SCALE = 3.0
REGULARISATION = 0.3
_DATA = Path(__file__).parent / "data"
SHIPPED = _DATA / "offline-minilm.safetensors"


_I = r"(?:i|i['’](?:m|ve|d|ll)|im|ive)"
_KIN = (
    r"(?:wife|husband|partner|girlfriend|boyfriend|fianc[ée]+|son|daughter|kids?|child(?:ren)?|twins|baby|mum|mom"
    r"|dad|mother|father|parents"
    r"|sister|brother|grand\w+|uncle|aunt|cousin|niece|nephew|step\w+)"
)
_TASK = (
    r"(?:write|create|generate|translate|explain|list|summari[sz]e|give|make|rewrite|compare|describe|convert"
    r"|calculate|solve|name|tell|show"
    r"|suggest|find|add|change|fix|continue|complete|classify|extract|define|act|play|let'?s|provide|draft|compose"
    r"|design|build|implement"
    r"|analy[sz]e|correct|proofread|paraphrase|improve|answer|imagine|identify|simulate|sort|rephrase|recommend"
    r"|help|do|use|try|consider)"
)
FEATURES: dict[str, re.Pattern[str]] = {
    name: re.compile(pattern, re.I)
    for name, pattern in {
        "question mark": r"\?\W*$",
        "asks": r"^\W*(?:(?:and|so|but|ok|hmm|well)\W+)?(?:what|who|whom|whose|when|where|which|why|how|is|are|am"
                r"|was|were|do|does|did|can|could|will"
                r"|would|should|has|have|had|may|might|whats|any)\b(?!ever)",
        "asks you": r"^\W*(?:can|could|would|will) you\b",
        "I": rf"\b{_I}\b",
        "starts with I": rf"^\W*(?:(?:and|so|but|well|ok(?:ay)?|oh|also|btw|since|because|as|now|that|tbh|honestly"
                         rf"|actually|that)\W+)*{_I}\b",
        "my": r"\b(?:my|our|me|us|mine|we|myself)\b",
        "starts with my kin": rf"^\W*(?:my|our)\s+(?:\w+\s+)?{_KIN}\b",
        "kin": rf"\b(?:my|our)\s+(?:\w+\s+)?{_KIN}\b",
        "my other": r"^\W*(?:my|our|an?|one of my)\s+(?:best |old |good )?(?:friend|boss|manager|colleague|coworker"
                    r"|roommate|flatmate|neighbou?r|client"
                    r"|customer|student|teacher|professor|player|ex|landlord|code|essay|question|file|function"
                    r"|results?|paper)s?\b",
        "third person": r"^\W*(?:he|she|they|it|this|that|these|those|there|his|her|their|the|an?|people|some|many"
                        r"|most)\b",
        "name first": r"^\W*[A-Z][a-z]+ (?:was|is|has|had|can|likes|loves|hates|prefers|lives|works|said)\b",
        "standing": r"\b(?:always|never|every time|each time|when(?:ever)|from now on|from here on|going forward"
                    r"|in (?:the )?future|ever again|any ?more"
                    r"|by default|unless i|in every|stop \w+ing|quit \w+ing|no more|all the time|ever|assume"
                    r"|allways)\b",
        "when I": r"\b(?:when(?:ever)?|every time|if|once) (?:i|you|we|there|a|my|it)\b",
        "from now on": r"\b(?:from now on|from here on|going forward|in (?:the )?future|whenever|every time"
                       r"|each time|by default|ever again)\b",
        "never always first": r"^\W*(?:please |pls )?(?:always|never|no more|stop|quit|don['’]?t ever|do not ever)\b",
        "imperative": rf"^\W*(?:(?:please|pls|now|and|ok|then|so)\W+)*{_TASK}\b",
        "please": r"\b(?:please|pls|plz|kindly)\b",
        "you": r"\b(?:you|your|u)\b",
        "role": r"\b(?:you are|you['’]re|act as|pretend|play the role|in character|respond as|as if you|roleplay"
                r"|role-play)\b",
        "hypothetical": rf"\b(?:if {_I}? ?(?:were|was|had|won|got|lived)|suppose|imagine|what if|let['’]?s (?:say"
                        rf"|pretend)|say i|assume (?:i|that|we)"
                        r"|hypothetical\w*|would i|i wish|might|maybe|for the sake)\b",
        "quote": r"[\"“”«»]",
        "quote first": r"^\W*[\"“«]",
        "code": r"[{}<>=;_\\`|$#]|\w\(\w*\)|\b[a-z]+\.[a-z]+\(",
        "colon": r"^[^.]{0,40}:\s",
        "negation": r"\b(?:not|no|never|cannot|nothing|without|nor|\w+n['’]t|dont|cant|wont|doesnt)\b",
        "forget": r"\b(?:forget|delete|erase|remove|wipe|scrap|strike)\b|\b(?:don['’]?t|do not|stop|no longer"
                  r"|not) (?:want you to )?(?:remember\w*|stor\w*|keep\w*|sav\w*)\b"
                  r"|\bolvida\b",
        "told you": r"\b(?:(?:what|that|ever|things?) (?:i|you)|about (?:me|my|our|us)|that i|memory|from your"
                    r"|your (?:notes|records)|said|mentioned|saved|stored"
                    r"|where i|(?:forget|erase|delete|remove|wipe|remember|keep|store|save) my)\b",
        "change": r"\b(?:moved|switched|changed|no longer|any ?more|these days|just (?:started|got|bought|moved)"
                  r"|instead|quit|sold|started|left|now|used to|lately"
                  r"|gave up|given up|stopped|since|new)\b",
        "likes": r"\b(?:prefer\w*|lik(?:e|es)|lov(?:e|es)|hat(?:e|es)|loathe|enjoy|avoid|rather|sooner|favou?rite"
                 r"|fan of|into|dislike|(?:can['’]?t|cannot) (?:stand|do)"
                 r"|appeal\w*|suits? me|fond|keen|tend to|go-?to|bores?|interest(?:ed)?|for me|my (?:thing|taste"
                 r"|scene)|over|drawn|not a \w+ person|refuse)\b",
        "I would like": rf"\b(?:{_I} (?:would|d) (?:like|love|want)|{_I} (?:want|need) (?:you|to|a|an|the|some"
                        rf"|help)|i['’]d (?:like|love)|i['’]m (?:looking for|trying to|asking))\b",
        "habit": r"\b(?:usually|always|often|tend to|normally|generally|rarely|never|every (?:day|week|night"
                 r"|morning|\w+day)|on \w+days|mostly|only|most of the time)\b",
        "allergic": r"\b(?:allerg\w*|intoleran\w*|diagnosed|diabet\w*|vegan|vegetarian|halal|kosher|coeliac|celiac"
                    r"|asthma\w*|dyslexi\w*|adhd|deaf|blind"
                    r"|colou?r-blind|autistic|pregnant|disabled|wheelchair)\b",
        "life": r"\b(?:live|lived|living|work|working|study|studying|teach|run|own|moved|born|grew up|married"
                r"|divorced|retired|engaged|got a|have an?|i['’]m an?|i am an?"
                r"|based in|speak|training for|part-time|full-time|called|named?)\b",
        "now only": r"\b(?:today|right now|tonight|tomorrow|yesterday|at the moment|stuck|error|just (?:woke"
                    r"|landed)|waiting|be right back|moment|currently|again)\b",
        "this one": r"\b(?:this|that|these|those|it|above|below|following|previous|the (?:first|second|third|last"
                    r"|next)|option|step|line|answer)\b",
        "thanks": r"\b(?:thanks?|thx|great|perfect|awesome|wow|sounds|helpful|haha|lol|sorry|sure|ok|okay|yes"
                  r"|cheers|appreciate|agree|suggestions)\b",
        "thinks": rf"\b{_I} (?:\w+ )?(?:think|believe|guess|hope|know|see|understand|agree|heard|read|saw|bet"
                  rf"|wonder\w*|mean|tried|couldn['’]?t|suppose)\b",
        "doing": rf"\b(?:{_I}|i am|we are|we['’]re)(?: been| just| now| currently)? \w+ing\b",
        "got": rf"\b(?:{_I}|we) (?:own|have|have got|['’]?ve got|got|use|drive|play|keep|wear|speak|take|cook|eat"
               rf"|drink|buy|write)\b",
        "yours": r"\byour (?:\w+ )?(?:answer|list|suggestion|idea|example|poem|story|reply|code|version|explanation"
                 r"|text)s?\b",
        "artefact": r"\b(?:error|code|function|file|script|class|variable|table|column|query|server|button|page|app"
                    r"|bug|string|list|array|loop|api|model"
                    r"|data|dataset|output|input|essay|paragraph|sentence|title|article|report|email|chapter"
                    r"|character|story|poem|song|paper|assignment)s?\b",
        "considers": rf"\b{_I} (?:(?:definitely|also|really|just|probably|still|actually|finally) )*(?:will"
                     rf"|look into|check|give|keep|try|start|add|think|want to|need to"
                     r"|was (?:thinking|wondering|hoping)|have(?:n['’]t)?|had(?:n['’]t)?)\b",
        "mulling": r"\b(?:been (?:thinking|meaning|wondering|looking|trying)|thinking (?:of|about)|wondering"
                   r"|considering|curious|hoping|looking (?:for|forward|into|to)"
                   r"|excited|worried|glad|happy with|not sure|figure out|decide|particularly interested"
                   r"|interested in (?:hearing|learning|the))\b",
        "I will": r"\bi(?:['’]ll| will)\b",
        "new state": r"\b(?:as of|starting|officially|now|these days|picked up|switched|moved|signed up|joined"
                     r"|started|new)\b",
        "options": r"\b(?:other (?:ones?|options?)|the (?:others|rest)|options?)\b",
    }.items()
}  # fmt: skip
_NUMBERS = 4


def features(texts: Sequence[str]) -> NDArray[np.float32]:
    """Surface features of each text: (len(texts), len(FEATURES) + 4), about 0 to 1."""
    rows = np.zeros((len(texts), len(FEATURES) + _NUMBERS), np.float32)
    for row, text in zip(rows, texts, strict=True):
        row[: len(FEATURES)] = [pattern.search(text) is not None for pattern in FEATURES.values()]
        count = len(text.split())
        digits = sum(character.isdigit() for character in text)
        row[len(FEATURES) :] = (
            min(count, 40) / 40,
            count <= 2,
            digits / len(text) if text else 0.0,
            text[:1].islower(),
        )
    return rows


class Classifier:
    """Multinomial logistic regression; three numbers arrays, no pickle.

    Args:
        weight: (dim + features, classes); bias: (classes,); threshold: probability of "not none" from which on a
            sentence is remembered.
    """

    def __init__(self, weight: NDArray[np.float32], bias: NDArray[np.float32], threshold: float) -> None:
        self.weight, self.bias, self.threshold = weight, bias, threshold

    def probabilities(self, vectors: NDArray[np.float32], texts: Sequence[str]) -> NDArray[np.float32]:
        """(len(texts), len(LABELS)); `vectors` are the unit embeddings of `texts`."""
        logits = inputs(vectors, texts) @ self.weight + self.bias
        grown = np.exp(logits - logits.max(axis=1, keepdims=True))
        return grown / grown.sum(axis=1, keepdims=True)


def inputs(vectors: NDArray[np.float32], texts: Sequence[str]) -> NDArray[np.float32]:
    """What the classifier sees: the embedding (scaled so that both parts weigh alike) beside the surface features."""
    return np.hstack([np.asarray(vectors, np.float32) * EMBEDDING_SCALE, features(texts)])


def fit(vectors: NDArray[np.float32], texts: Sequence[str], labels: Sequence[Label], threshold: float) -> Classifier:
    """Fit on labelled lines: a second for 2,000 lines on one core."""
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=REGULARISATION, max_iter=3000)
    model.fit(inputs(vectors, texts), [LABELS.index(label) for label in labels])
    return Classifier(np.asarray(model.coef_, np.float32).T.copy(), np.asarray(model.intercept_, np.float32), threshold)


def save(classifier: Classifier, path: Path, about: dict[str, str]) -> None:
    """Write weights as safetensors, under another name first, so that a reader never sees half a file."""
    from safetensors.numpy import save as to_bytes

    tensors = {
        "weight": classifier.weight,
        "bias": classifier.bias,
        "threshold": np.array([classifier.threshold], np.float32),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f"{path.name}.{os.getpid()}.new")
    fresh.write_bytes(to_bytes(tensors, metadata=about))
    fresh.replace(path)


def load(path: Path, about: dict[str, str]) -> Classifier | None:
    """The classifier in `path`; None when it is missing or was fitted for another embedder or from other lines."""
    from safetensors import safe_open

    if not path.is_file():
        return None
    with boundary(ModelError, f"{path}"), safe_open(str(path), framework="numpy") as file:
        if (file.metadata() or {}) != about:
            return None
        return Classifier(file.get_tensor("weight"), file.get_tensor("bias"), float(file.get_tensor("threshold")[0]))


def about(embedder: Embedder) -> dict[str, str]:
    """What a fitted classifier depends on: the embedder and everything it was fitted from."""
    digest = hashlib.sha256((_DATA / "lines.jsonl").read_bytes())
    digest.update(repr(([pattern.pattern for pattern in FEATURES.values()], EMBEDDING_SCALE, REGULARISATION)).encode())
    return {"embedder": embedder.name, "lines": digest.hexdigest()[:16]}


def classifier_for(embedder: Embedder, cache: Path) -> Classifier:
    """The classifier for this embedder: the shipped one, else a cached one, else fitted now from the shipped lines.

    Fitting embeds all lines once (about half a minute on one core) and keeps the result in `cache`.
    """
    wanted = about(embedder)
    own = cache / "offline" / f"{hashlib.sha256(repr(sorted(wanted.items())).encode()).hexdigest()[:16]}.safetensors"
    found = load(SHIPPED, wanted) or load(own, wanted)
    if found is None:
        train = lines("train")
        texts = [line.text for line in train]
        found = fit(embedder.encode(texts), texts, [line.label for line in train], THRESHOLD)
        save(found, own, wanted)
    return found
