"""The work on one language: every segment translated once, the doubtful ones a second time, and what came of each."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from xltjax.common.errors import UserError
from xltjax.common.progress import progress
from xltjax.eval.judge.api.client import UnusableServerError
from xltjax.eval.judge.calls import Calls
from xltjax.eval.judge.questions import Call
from xltjax.eval.judge.results import find_call
from xltjax.translate.checks import Identify, doubts
from xltjax.translate.engines.engine import Engine, Segment, translation
from xltjax.translate.languages import Language
from xltjax.translate.segments import Piece, finer, join

CUT = "cut"  # the doubt about a translation that was cut off at the limit of tokens

State = Literal["ok", "corrected", "doubtful", "failed"]


@dataclass(frozen=True)
class Outcome:
    """What came of a segment.

    Attributes:
        state: ``ok``; ``corrected``, when the first translation was doubtful and the second one is not;
            ``doubtful``, when both are; ``failed``, when there is no translation.
        output: the translation that is used; the source when there is none.
        doubts: the names of what is doubtful about it, see ``checks.doubts``.
        first: the first translation, where the second one is used.
        first_doubts: what is doubtful about the first translation.
        problem: why there is no translation.
    """

    state: State
    output: str
    doubts: tuple[str, ...] = ()
    first: str | None = None
    first_doubts: tuple[str, ...] = ()
    problem: str = ""


@dataclass(frozen=True)
class Translator:
    """An engine with the journal of its translations.

    Attributes:
        engine: who translates.
        calls: the journal.
        source: the language of the texts.
        identify: names the language of a text; None where no identifier is installed.
    """

    engine: Engine
    calls: Calls
    source: Language
    identify: Identify | None

    def translate(self, texts: Sequence[str], target: Language) -> dict[str, Outcome]:
        """Translate ``texts``, each of which is a segment, and no two of which are the same.

        Raises:
            UserError: when the engine cannot continue. What is done is in the journal.
        """
        segments = [Segment(text, self.source, target) for text in texts]
        self._run(segments, f"translate {target.label}")
        firsts = {each.text: self._found(each, target) for each in segments}
        again = {
            text: finer(text, self.source.iso) or [Piece(text, True)]
            for text, first in firsts.items()
            if first.state == "doubtful"
        }
        parts = dict.fromkeys(piece.text for pieces in again.values() for piece in pieces if piece.translate)
        self._run([Segment(part, self.source, target, 1) for part in parts], f"once more {target.label}")
        return {
            text: self._second(first, text, again[text], target) if text in again else first
            for text, first in firsts.items()
        }

    def _run(self, segments: Sequence[Segment], title: str) -> None:
        """Translate the segments that are not in the journal."""
        missing = {each for each in segments if not self._is_done(each)}
        if not missing:
            return
        tokens = {each: max(1, self.engine.count(each.text)) for each in segments}
        done = sum(count for each, count in tokens.items() if each not in missing)
        began, written, made = time.monotonic(), 0, 0
        with progress(f"{title}, tokens", sum(tokens.values()), done) as advance:
            try:
                for segment, call in self.engine.answers(segments, missing.__contains__):
                    labels = {
                        "engine": self.engine.name,
                        "source": segment.source.iso,
                        "target": segment.target.label,
                        "attempt": segment.attempt,
                    }
                    self.calls.keep(labels, call)
                    made += 1
                    count = call.usage.get("completion_tokens")
                    written += count if isinstance(count, int) else 0
                    rate = written / max(time.monotonic() - began, 1e-9)
                    advance(tokens[segment], note=f"{rate:,.0f} tokens/s")
            except UnusableServerError as problem:
                if not made:
                    raise
                raise UserError(
                    f"{problem}; {made} translations of this run are kept, and the same command continues"
                ) from None

    def _call(self, segment: Segment) -> Call | None:
        return find_call(self.engine.keys(segment), self.calls)

    def _is_done(self, segment: Segment) -> bool:
        call = self._call(segment)
        return call is not None and call.body is not None

    def _found(self, segment: Segment, target: Language) -> Outcome:
        """What the journal holds for a segment, as if there were no second attempt."""
        call = self._call(segment)
        if call is None or call.body is None:
            return Outcome("failed", segment.text, problem=call.problem if call else "not asked")
        output, cut = translation(call)
        return self._checked(segment.text, output, cut, target)

    def _checked(self, source: str, output: str, cut: bool, target: Language) -> Outcome:
        found = (*([CUT] if cut else []), *doubts(source, output, target=target.iso, identify=self.identify))
        return Outcome("doubtful" if found else "ok", output, found)

    def _second(self, first: Outcome, text: str, pieces: Sequence[Piece], target: Language) -> Outcome:
        """The better one of two attempts; the first one where they are equal."""
        parts = [Segment(piece.text, self.source, target, 1) for piece in pieces if piece.translate]
        found = [self._found(each, target) for each in parts]
        complete = all(each.state != "failed" and each.output for each in found)
        if complete:
            output = join(pieces, [each.output for each in found])
            second = self._checked(text, output, any(CUT in each.doubts for each in found), target)
            if len(second.doubts) < len(first.doubts):
                state: State = "corrected" if not second.doubts else "doubtful"
                return Outcome(state, output, second.doubts, first.output, first.doubts)
        if not first.output:
            return Outcome("failed", text, problem="an empty translation", first_doubts=first.doubts)
        return first


def put_together(pieces: Sequence[Piece], outcomes: Mapping[str, Outcome]) -> str:
    """A text from its pieces and what came of its segments."""
    return join(pieces, [outcomes[piece.text].output for piece in pieces if piece.translate])
