"""The checks of length and language: for brief and detailed answers, and answers in X."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import regex

from xltjax.eval.language import (
    CONFIDENCE,
    UNKNOWN,
    Identify,
    line_language,
    long_enough,
    prose_before_cut,
)
from xltjax.eval.modifiers.verdict import Verdict, abstain, decided
from xltjax.eval.scores import Unavailable
from xltjax.eval.text.markup import prose
from xltjax.eval.text.scripts import in_script_of, length, letters_of, other_words_than
from xltjax.eval.text.segmentation import Span, count_words, is_empty, sentences, trim, words

STRICT_SENTENCES, STRICT_WORDS = 5, 100
LOOSE_SENTENCES, LOOSE_WORDS = 7, 150
SHORT_ITEM_WORDS = 3
LEAST_DETAIL_RATIO, LEAST_DETAIL_WORDS = 1.25, 60
LEAST_SHARE = 0.5

_ITEM = regex.compile(
    r"[\s>*_]*(?:[-*+•·–—‣▪●→]|-{1,2}>|\(?\p{N}{1,3}[.)]|\(?\p{L}[)]|\p{Extended_Pictographic}\uFE0F?)[ \t]+"
)
# What makes a sentence of a short item; a period does not.
_EXCLAIMS = regex.compile(r"[!?…]|\.[ \t]*\S")


def briefly(response: str, language: str, truncated: bool, own: str | None) -> Verdict:
    """Whether ``response`` is brief: a few sentences.

    Strict: it has at most 5 sentences and 100 words and is not cut off at the token limit. Loose: at most 7 and
    150. Items of a list with up to three words, such as "- salt", are together one sentence, or belong to the line
    with a colon above them. The detail's ``length_ratio`` (words here / words of the model's own unmodified answer)
    is evidence and not part of the grade, since the same check must apply to the unmodified answer too.

    Args:
        response: the answer.
        language: ISO 639-1 code of the answer, for abbreviations.
        truncated: whether generation stopped at the token limit.
        own: the same model's unmodified answer to the same instruction, None when there is none.
    """
    word_spans, count = words(response), count_words(response)
    sentence_spans = _with_lists_as_sentences(response, sentences(response, language))
    numbers: dict[str, Any] = {
        "sentences": len(sentence_spans),
        "words": count,
        "truncated": truncated,
        "length_ratio": None if own is None else _ratio(count, count_words(own)),
    }
    if not word_spans:
        return decided(False, False, **numbers)
    strict = len(sentence_spans) <= STRICT_SENTENCES and count <= STRICT_WORDS
    loose = len(sentence_spans) <= LOOSE_SENTENCES and count <= LOOSE_WORDS
    # The whole answer fulfills the modifier; what stands beyond the limit breaks it.
    start, stop = sentence_spans[0][0], sentence_spans[-1][1]
    if len(sentence_spans) > STRICT_SENTENCES:
        start = sentence_spans[STRICT_SENTENCES][0]
    elif count > STRICT_WORDS:
        start = word_spans[min(STRICT_WORDS, len(word_spans) - 1)][0]
    return decided(strict and not truncated, loose and not truncated, (start, stop), **numbers)


def _with_lists_as_sentences(response: str, spans: Sequence[Span]) -> list[Span]:
    """The spans of sentences, with the short items of a list joined to one or to the line that introduces them."""
    joined: list[Span] = []
    in_list = False
    for start, stop in spans:
        item = _ITEM.match(response, start, stop)
        text = response[item.end() : stop] if item else ""
        short = item is not None and count_words(text) <= SHORT_ITEM_WORDS and not _EXCLAIMS.search(text)
        introduced = bool(joined) and response[slice(*joined[-1])].rstrip("*_ ").endswith(":")
        if short and joined and (in_list or introduced):
            joined[-1] = (joined[-1][0], stop)
        else:
            joined.append((start, stop))
        in_list = short
    return joined


def detailed(response: str, truncated: bool, own: str | None, own_truncated: bool) -> Verdict:
    """Whether ``response`` is more detailed than the model's own unmodified answer.

    Strict: it has at least 1.25 times as many words, and at least 60. Loose: it has more words, and at least 60.
    Code, tags, addresses and formulas are no words. A program sees only the length; whether the words add substance
    is for a judge. The program abstains without the unmodified answer, where that has no words, and when both were
    cut off at the token limit.
    """
    if own is None:
        return abstain("no unmodified answer to compare with")
    if truncated and own_truncated:
        return abstain("both answers were cut off at the token limit")
    own_words, count = count_words(prose(own)), count_words(prose(response))
    if not own_words:
        return abstain(
            "the unmodified answer is empty" if is_empty(own) else "the unmodified answer has no words"
        )
    long_enough = count >= LEAST_DETAIL_WORDS
    return decided(
        long_enough and count >= LEAST_DETAIL_RATIO * own_words,
        long_enough and count > own_words,
        trim(response, (0, len(response))) if count else None,
        words=count,
        own_words=own_words,
        length_ratio=_ratio(count, own_words),
    )


def _ratio(count: int, own: int) -> float | None:
    return round(count / own, 4) if own else None


# --- answer in X ---

_LETTER = regex.compile(r"\p{L}")
_PARENTHESIS = regex.compile(r"[(\[]([^()\[\]\n]{20,})[)\]]")
_QUOTATION = regex.compile(r"«[^«»\n]*+»|“[^“”\n]*+”|„[^„“”\n]*+[“”]|\"[^\"\n]*+\"")


def answer_in(
    response: str, target: str, identify: Identify | Unavailable, truncated: bool = False
) -> Verdict:
    """Whether ``response`` is in the language ``target``.

    Strict: every passage that is long enough to be identified is in ``target`` (as in line pass rate), and so is
    what stands in parentheses or in another script within a line, such as an English remark of five words in a
    Russian line, but not a quotation or a title (The Return of the King). Loose: passages with at least half of the
    letters are. What is read, and what the script decides, is as in ``language.line_language``: code, tags and
    addresses are left out, and of an answer that stopped at the token limit the line that was cut, or its last word.
    Text that is too short to be identified does not pass when it has no letter of the target's scripts; otherwise the
    program abstains.

    Args:
        response: the answer.
        target: the ISO 639-1 code of the language asked for.
        identify: identifies the language of a passage, or says why this cannot be done.
        truncated: whether generation stopped at the token limit.
    """
    if isinstance(identify, Unavailable):
        return abstain(str(identify))
    text = prose_before_cut(response) if truncated else prose(response)
    rest, remarks = _without_remarks(text, target, identify)
    score = (
        line_language("", response, target, identify, truncated)
        if rest is None
        else line_language("", rest, target, identify)
    )
    lines = list(score.detail["lines"])
    if score.value is None and not remarks:
        if _LETTER.search(text) and in_script_of(text, target) is False:
            return decided(False, False, share=0.0, lines=lines)
        return abstain(score.detail["reason"], lines=lines)
    sure = [line for line in lines if line["language"] != UNKNOWN]
    share = score.value or 0.0
    if remarks:
        letters = sum(line["letters"] for line in sure)
        share *= letters / (letters + length("".join(remarks)))
    strict, loose = share == 1, share >= LEAST_SHARE
    shown = remarks or [line["text"] for line in sure if (line["language"] == target) == strict]
    return decided(
        strict, loose, _find(response, shown[0]) if shown else None, share=share, lines=lines, remarks=remarks
    )


def _without_remarks(text: str, target: str, identify: Identify) -> tuple[str | None, list[str]]:
    """``text`` without what would mislead the identification of its lines, and the remarks in another language.

    A remark has 20 letters and 5 words and more. It is a run in another script than the target's, whatever the
    language, or stands in parentheses and is identified as another language. Quotations are none, nor are titles
    and names, most of whose longer words have a capital; but where they are in another script and the rest of their
    line is mostly in the target's, they are left out too.

    Returns:
        the rest of the text, None when nothing was left out; and the remarks.
    """
    script, others = letters_of(target), other_words_than(target)
    remarks: list[str] = []
    rest = []
    for line in text.split("\n"):
        unquoted = _QUOTATION.sub(" ", line)
        if script is not None and others is not None and script.search(unquoted):
            runs = [run.group() for run in others.finditer(unquoted)]
            found = [run for run in runs if _is_remark(run)]
            remarks += found
            if 2 * length("".join(script.findall(unquoted))) > length(unquoted) - length("".join(found)):
                line = others.sub(" ", line)
        for parenthesis in _PARENTHESIS.finditer(_QUOTATION.sub(" ", line)):
            remark = parenthesis.group(1)
            if _is_remark(remark):
                guess, probability = identify(remark.lower())
                if guess != target and probability >= CONFIDENCE:
                    remarks.append(remark)
                    line = line.replace(remark, " ", 1)
        rest.append(line)
    parted = "\n".join(rest)
    return (None if parted == text else parted), remarks


def _is_remark(remark: str) -> bool:
    longer = [word for word in remark.split() if len(word) > 3]
    names = sum(1 for word in longer if word.strip("\"'«»“”„(")[:1].isupper())
    return long_enough(remark) and 2 * names <= len(longer)


def _find(response: str, excerpt: str) -> Span | None:
    """The span of ``excerpt``, a piece of the prose, in the response; None when markup stands inside it."""
    start = response.find(excerpt)
    return (start, start + len(excerpt)) if start >= 0 else None
