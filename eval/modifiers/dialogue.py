"""Whether lines that begin with a dash are the turns of a dialogue, as French, Portuguese and Russian print it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import regex

# "— Привет, — сказал он", "dit-il", "he said"
_REPORTED = regex.compile(
    r",[ \t]*[-–—][ \t]+\p{Ll}"
    r"|[,!?…»”\"][ \t]+\p{L}+-(?:t-)?(?:il|elle|je|ils|elles|on)\b"
    r"|[,!?…»”\"][ \t]+(?:(?:he|she|they|[Ii]|\p{Lu}\p{Ll}+)[ \t]+)?(?:said|asked|replied|answered|cried|"
    r"sagte|fragte|antwortete|rief|erwiderte|disse|perguntou|respondeu|сказал|спросил|ответил)"
)
# "— Olá! — disse ela"; behind a hyphen this may be a name: "- Yahoo! – a company".
_REPORTED_BY_A_DASH = regex.compile(r"[!?…][ \t]*[-–—][ \t]+\p{Ll}")
# How a turn begins, and no option of a list.
_REPLY = regex.compile(
    r"(?i)(?:yes|no|hello|hi|hey|thanks|thank you|ok|okay|oh|ah|well|good (?:morning|evening|day|night)|goodbye|bye"
    r"|oui|non|si|bonjour|bonsoir|salut|merci|d['’]accord|au revoir|bien sûr|eh bien|ça va|enchantée?"
    r"|sim|não|olá|oi|obrigad[oa]|bom dia|boa (?:tarde|noite)|tchau|claro|tudo bem|até logo|pois"
    r"|да|нет|привет|здравствуй(?:те)?|добр(?:ый день|ый вечер|ое утро)|спасибо|хорошо"
    r"|пока|ладно|конечно|до свидания|ну"
    r"|ja|nein|doch|hallo|guten (?:tag|morgen|abend)|danke|tschüss|gut|na|klar|auf wiedersehen"
    r")(?=[ \t]*[,.!?…—–]|[ \t]*$)"
)


def is_dialogue(items: Sequence[str], dashes: bool = False) -> bool:
    """Whether ``items`` are turns: one reports its speaker ("dit-il"), or two and more greet, agree or answer.

    Args:
        items: the text of the lines, without their dashes.
        dashes: whether the lines begin with a long dash. Then one such turn is enough, and so is a question that
            a line without a question mark follows, as in a list by hyphens some options may be questions.
    """
    lines = [item.strip() for item in items]
    if len(lines) < 2:
        return False
    if any(map(_REPORTED.search, lines)) or (dashes and any(map(_REPORTED_BY_A_DASH.search, lines))):
        return True
    replies = sum(1 for line in lines if _REPLY.match(line))
    if replies == len(lines) > 2 and not any(line[-1:] in "?!.…" for line in lines):
        return False  # a list of greetings: "Hello", "Hi", "Hey"
    asked = [line.rstrip('»”"* ').endswith("?") for line in lines]
    answered = any(first and not second for first, second in itertools.pairwise(asked))
    if dashes:
        return replies > 0 or answered
    return (replies > 1 and any(line[-1:] in "?!.…" for line in lines)) or (replies > 0 and answered)
