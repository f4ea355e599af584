"""What every language of the miniature offers, and the few string operations its grammars share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from xltjax.miniature.world import Fact


class Sentences(NamedTuple):
    """One fact in one language: several ways to ask for it, and the sentence that answers them all."""

    questions: tuple[str, ...]
    answer: str


@dataclass(frozen=True)
class Language:
    """A language of the miniature.

    Attributes:
        code: ISO 639-1.
        templates: relation -> its questions, then its answer, with slots in braces.
        slots: the words that fill the slots for a fact.
        forms: the written forms of the words by which a value (given its relation and name) is
            recognised in an answer; the relation tells apart values that share a name.
        frames: openings before a sentence: ``aside`` (everyone knows that), ``next_question`` (next
            question:) and ``new_topic`` (now something else:).
        join: the opening of a frame and the sentence inside it, as one sentence.
    """

    code: str
    templates: Mapping[str, Sequence[str]]
    slots: Callable[[Fact], Mapping[str, str]]
    forms: Callable[[str, str], tuple[str, ...]]
    frames: Mapping[str, str]
    join: Callable[[str, str], str] = lambda opening, sentence: f"{opening} {sentence}"

    def sentences(self, fact: Fact) -> Sentences:
        """The questions and the answer that express ``fact``."""
        slots = self.slots(fact)
        *questions, answer = (upper_first(form.format(**slots)) for form in self.templates[fact.relation])
        return Sentences(tuple(questions), answer)

    def framed(self, frame: str, sentence: str) -> str:
        """``sentence`` behind the opening of a frame, such as "everyone knows that"."""
        return self.join(self.frames[frame], lower_first(sentence))


def upper_first(text: str) -> str:
    """The text with its first letter in upper case, as a sentence begins."""
    return text[:1].upper() + text[1:]


def lower_first(text: str) -> str:
    """The text with its first letter in lower case, as it stands inside a sentence."""
    return text[:1].lower() + text[1:]


def enumeration(parts: Sequence[str], conjunction: str) -> str:
    """The parts joined as "a, b and c"."""
    return f"{', '.join(parts[:-1])} {conjunction} {parts[-1]}"
