"""What a server accepts, found out from its refusals instead of from a list of model names.

Servers of Chat Completions differ in three things: how the answer's form is asked for (a strict JSON schema, any
JSON object, or nothing), how its length is limited (``max_tokens``, ``max_completion_tokens``, or not at all), and
whether a temperature of 0 may be given (reasoning models refuse it).
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

# In the order in which they are tried. Every server knows max_tokens, and some ignore the newer name in silence.
FORMATS = ("json_schema", "json_object", "text")
LIMITS = ("max_tokens", "max_completion_tokens", "none")
TEMPERATURES = ("0", "none")

# By which words a message names the parameter that is refused.
_WORDS = {
    "format": re.compile(
        r"response_?format|json_schema|json_object|json mode|structured[ _-]?outputs?|guided|grammar",
        re.IGNORECASE,
    ),
    "limit": re.compile(r"max_(?:completion_)?tokens", re.IGNORECASE),
    "temperature": re.compile(r"temperature", re.IGNORECASE),
}
# Messages that name a parameter and do not refuse it: the prompt is too long, or the limit too high.
_TOO_LONG = re.compile(
    r"context[ _-](?:length|window|size)|too (?:large|long)|at most|maximum|exceed", re.IGNORECASE
)
# Statuses with which servers refuse a parameter by name, and those with which they do so without a name.
NAMED = (400, 404, 415, 422, 500, 501)
UNNAMED = (400, 415, 422, 501)


@dataclass(frozen=True)
class Dialect:
    """How a request is put, besides its model and messages."""

    format: str = FORMATS[0]
    limit: str = LIMITS[0]
    temperature: str = TEMPERATURES[0]

    def __str__(self) -> str:
        return f"format {self.format}, limit {self.limit}, temperature {self.temperature}"

    def parameters(self, schema: Mapping[str, Any] | None, max_tokens: int) -> dict[str, Any]:
        """The parameters of the request; without a schema no form of the answer is asked for."""
        parameters: dict[str, Any] = {}
        if schema is not None and self.format == "json_schema":
            form = {"name": "scores", "strict": True, "schema": schema}
            parameters["response_format"] = {"type": "json_schema", "json_schema": form}
        elif schema is not None and self.format == "json_object":
            parameters["response_format"] = {"type": "json_object"}
        if self.limit != "none":
            parameters[self.limit] = max_tokens
        if self.temperature != "none":
            parameters["temperature"] = 0
        return parameters


_CHOICES = {"format": FORMATS, "limit": LIMITS, "temperature": TEMPERATURES}


def _loss(dialect: Dialect) -> int:
    """How far a dialect is from the first choice in everything."""
    return sum(choices.index(getattr(dialect, name)) for name, choices in _CHOICES.items())


# All of them; of two that are as far from the first choice, the one that keeps the temperature and the limit.
DIALECTS = sorted(
    (Dialect(*values) for values in itertools.product(FORMATS, LIMITS, TEMPERATURES)),
    key=lambda each: (_loss(each), each.temperature, LIMITS.index(each.limit)),
)


class Dialects:
    """The dialect of one server, as far as it is known.

    Args:
        remembered: the dialects in which earlier runs got answers, the oldest first (``Dialect`` as mappings).
    """

    def __init__(self, remembered: Iterable[Mapping[str, Any]] = ()) -> None:
        self._answered = [Dialect(**each) for each in remembered]
        self.current = self._answered[-1] if self._answered else DIALECTS[0]
        self._refused: set[tuple[str, str]] = set()
        self._unclear: set[Dialect] = set()
        self._settled = False

    def known(self) -> list[Dialect]:
        """The current dialect, and the others in which there may be answers."""
        return list(dict.fromkeys([self.current, *reversed(self._answered)]))

    def accept(self, used: Dialect) -> bool:
        """A request was answered: from now on only a refusal that names a parameter changes the dialect.

        Returns:
            Whether this is the first answer in the dialect ``used``, so that it should be remembered.
        """
        self._settled = True
        if used in self._answered:
            return False
        self._answered.append(used)
        return True

    def refuse(
        self, used: Dialect, sent: Mapping[str, Any], status: int, parameter: str, message: str
    ) -> bool:
        """Learn from a refusal.

        Args:
            used: the dialect of the refused request.
            sent: its parameters.
            status: the HTTP status.
            parameter: the name of the parameter in the error, if the server gives one.
            message: the server's message.

        Returns:
            Whether the request should be sent again, in what is now ``current``.
        """
        named = _named(sent, parameter, message) if status in NAMED else set()
        if named:
            self._refused |= {(name, getattr(used, name)) for name in named}
        elif status in UNNAMED and not self._settled and not _TOO_LONG.search(message):
            self._unclear.add(used)
        else:
            return False
        if self._possible(self.current):
            return used != self.current  # another request has learned the same
        found = next(filter(self._possible, DIALECTS), None)
        again = found is not None
        if found is None:  # it is not about the parameters
            self._unclear.clear()
            found = next(filter(self._possible, DIALECTS))
        self.current = found
        return again

    def _possible(self, dialect: Dialect) -> bool:
        return dialect not in self._unclear and not self._refused & set(asdict(dialect).items())


def _named(sent: Mapping[str, Any], parameter: str, message: str) -> set[str]:
    """Which of the things that differ between servers an error is about, of those that were ``sent``."""
    if _TOO_LONG.search(message):
        return set()
    given = {
        "format": "response_format" in sent,
        "limit": bool(sent.keys() & set(LIMITS)),
        "temperature": "temperature" in sent,
    }
    by_parameter = {name for name in given if given[name] and _WORDS[name].search(parameter)}
    return by_parameter or {name for name in given if given[name] and _WORDS[name].search(message)}
