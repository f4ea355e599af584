"""What calls cost: before anything is sent from an estimate, and afterward from what the server counted."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from xltjax.common.errors import UserError, did_you_mean, first_line
from xltjax.common.files import read_text
from xltjax.eval.judge.calls import Calls
from xltjax.eval.judge.judges import Judge
from xltjax.eval.judge.questions import Call, Question, judgment
from xltjax.eval.judge.results import find_call

MILLION = 1_000_000
BATCH_DISCOUNT = 0.5  # OpenAI's price for a batch file, as a share of the usual one
KINDS = ("input", "output", "cached_input")
# Tokens of an answer: those of the object, and those of a criterion's name and number.
ANSWER_TOKENS, CRITERION_TOKENS = 5, 8


@dataclass(frozen=True)
class Price:
    """The price of a model per million tokens, in whatever currency the user has.

    Attributes:
        input: of the prompt.
        output: of the answer, with what a reasoning model thinks.
        cached_input: of the part of the prompt that the server had cached.
    """

    input: float
    output: float
    cached_input: float

    def cost(self, bill: Bill) -> float:
        """What the tokens of ``bill`` cost, those of batch files at ``BATCH_DISCOUNT`` of the price."""
        return self._full(bill.tokens) - (1 - BATCH_DISCOUNT) * self._full(bill.in_batches)

    def _full(self, tokens: Tokens) -> float:
        fresh = tokens.input - tokens.cached
        costs = fresh * self.input + tokens.cached * self.cached_input + tokens.output * self.output
        return costs / MILLION


@dataclass
class Tokens:
    """Numbers of tokens, which are fractions where they are estimated.

    Attributes:
        input: of the prompts, the cached ones included.
        cached: of the prompts, as far as the server had them cached.
        output: of the answers.
    """

    input: float = 0
    cached: float = 0
    output: float = 0


@dataclass
class Bill:
    """What some calls took.

    Attributes:
        calls: how many calls were answered.
        uncounted: how many of them came without a count of their tokens.
        tokens: of all calls.
        in_batches: of those that came from batch files.
    """

    calls: int = 0
    uncounted: int = 0
    tokens: Tokens = field(default_factory=Tokens)
    in_batches: Tokens = field(default_factory=Tokens)

    def add(self, usage: Mapping[str, Any], *, batch: bool = False) -> None:
        """Add one answered call, by the ``usage`` of Chat Completions."""
        self.calls += 1
        prompt, answer = _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens"))
        if prompt is None or answer is None:
            self.uncounted += 1
            return
        details = usage.get("prompt_tokens_details")
        cached = _count(details.get("cached_tokens")) if isinstance(details, dict) else None
        for tokens in (self.tokens, self.in_batches) if batch else (self.tokens,):
            tokens.input += prompt
            tokens.output += answer
            tokens.cached += min(cached or 0, prompt)


def total(calls: Iterable[Call]) -> Bill:
    """The bill of some calls."""
    bill = Bill()
    for call in calls:
        bill.add(call.usage, batch=call.batch)
    return bill


def read_prices(path: Path) -> dict[str, Price]:
    """The prices of models by name: YAML or JSON, ``MODEL: {input: 0.4, output: 1.6, cached_input: 0.1}``.

    Without ``cached_input`` cached tokens cost as much as others.

    Raises:
        UserError: naming what is wrong in the file.
    """
    try:
        document = yaml.safe_load(read_text(path))
    except (yaml.YAMLError, ValueError, RecursionError) as problem:
        raise UserError(f"{path} is not YAML: {first_line(problem)}") from None
    if not isinstance(document, dict) or not document:
        raise UserError(f"{path}: prices are given as MODEL: {{input: 0.4, output: 1.6}}, per million tokens")
    return {str(model): _price(path, str(model), values) for model, values in document.items()}


def _price(path: Path, model: str, values: Any) -> Price:
    if not isinstance(values, dict):
        raise UserError(f"{path}: {model} needs input and output, the prices per million tokens")
    for key, value in values.items():
        if key not in KINDS:
            raise UserError(f"{path}: {model}: unknown key {key!r}; {did_you_mean(str(key), KINDS)}")
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not math.isfinite(value) or value < 0:
            raise UserError(f"{path}: {model}: {key} must be a price per million tokens, not {value!r}")
    for key in KINDS[:2]:
        if key not in values:
            raise UserError(f"{path}: {model}: {key} is missing")
    prices = {key: float(value) for key, value in values.items()}
    return Price(prices["input"], prices["output"], prices.get("cached_input", prices["input"]))


def find_price(prices: Mapping[str, Price], path: str, judge: str, model: str) -> Price | None:
    """The price of a judge, under its name or that of its model; None when there are no prices.

    Raises:
        UserError: when there are prices, but not for this judge.
    """
    if not prices:
        return None
    for name in (judge, model):
        if name in prices:
            return prices[name]
    raise UserError(f"{path} has no price for {model!r}; {did_you_mean(model, prices)}")


def estimated_tokens(text: str) -> int:
    """Roughly how many tokens a current tokenizer makes of ``text``: one for four ASCII or two other characters."""
    ascii_characters = sum(map(str.isascii, text)) if not text.isascii() else len(text)
    return math.ceil(ascii_characters / 4 + (len(text) - ascii_characters) / 2)


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def report(name: str, bill: Bill, price: Price | None) -> str:
    """One line about all calls of a judge."""
    tokens = bill.tokens
    cached = f" ({tokens.cached:,.0f} of them cached)" if tokens.cached else ""
    line = f"{name}: {bill.calls:,} answers in all"
    line += f", {tokens.input:,.0f} tokens in{cached}, {tokens.output:,.0f} out"
    if bill.uncounted:
        line += f"; {bill.uncounted:,} answers came without a count"
    return line + (f"; cost {price.cost(bill):.4f}" if price else "")


def estimate(
    judge: Judge, questions: Iterable[Question], calls: Calls, max_tokens: int
) -> tuple[int, Bill, Bill]:
    """What is to be expected of the calls without scores.

    Tokens of prompts are estimated from their characters, and those of answers from the criteria. Where the journal
    holds answers to some of the questions, both are scaled to what the server counted for them.

    Returns:
        The number of questions that are answered; the bill to be expected; the bill if every answer is as long as
        it may be.
    """
    expected, known, counted, seen = Bill(), Bill(), Bill(), set()
    for question in questions:
        keys = judge.keys(question)
        if keys[0] in seen:
            continue
        seen.add(keys[0])
        call = find_call(keys, calls)
        tokens = {
            "prompt_tokens": sum(
                map(estimated_tokens, (text for m in question.messages for text in m.values()))
            ),
            "completion_tokens": ANSWER_TOKENS + CRITERION_TOKENS * len(question.rubric.criteria),
        }
        if call is not None and judgment(question.rubric, call).outcome == "ok":
            before = counted.uncounted
            counted.add(call.usage)
            if counted.uncounted == before:
                known.add(tokens)
        else:
            expected.add(tokens)
    if known.calls:
        expected.tokens.input *= counted.tokens.input / known.tokens.input
        expected.tokens.output *= counted.tokens.output / known.tokens.output
    most = Bill(expected.calls, tokens=Tokens(expected.tokens.input, 0, expected.calls * max_tokens))
    return counted.calls, expected, most


def dry_run(
    judge: Judge, questions: Iterable[Question], calls: Calls, price: Price | None, max_tokens: int
) -> None:
    """Print what is to be expected of the calls that are still to be made."""
    answered, expected, most = estimate(judge, questions, calls, max_tokens)
    print(
        f"{judge.name}: {expected.calls:,} calls to make, {answered:,} answered before; about "
        f"{expected.tokens.input:,.0f} tokens in and {expected.tokens.output:,.0f} out "
        f"(at most {most.tokens.output:,.0f})"
    )
    if price is None:
        print("  cost: unknown; give --prices FILE")
    else:
        cost, highest = price.cost(expected), price.cost(most)
        print(f"  cost: about {cost:.4f}, at most {highest:.4f}; by --batch-file half of it")
