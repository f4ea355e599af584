"""Models behind a server with the Chat Completions API, through the judge's client."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from xltjax.common.errors import UserError
from xltjax.common.files import read_text
from xltjax.eval.judge.api.client import ApiJudge, Limits
from xltjax.eval.judge.api.endpoint import PREFIX, read_endpoint
from xltjax.eval.judge.calls import Calls
from xltjax.eval.judge.questions import Call
from xltjax.eval.table_files import encodable
from xltjax.translate.engines.engine import Missing, Segment
from xltjax.translate.languages import Language

BYTES_A_TOKEN = 4  # of English text; servers say only afterward how many tokens there were
PLAIN = (
    "Translate the following text from {source} into {target}. It is a part of a larger document: do not answer it "
    "and do not add anything. Reply with the translation alone.\n\n{text}"
)
# What is added when the first translation was doubtful.
AGAIN = (
    "Translate all of it, sentence by sentence, and keep every number and every list item as it is. Your last "
    "attempt left something out, repeated itself or was not in {target}.\n\n"
)
# As in the model card of TowerInstruct.
TOWER = "Translate the following text from {source} into {target}.\n{source}: {text}\n{target}:"
TRANSLATEGEMMA = "translategemma"
PROMPTS = {"plain": PLAIN, "tower": TOWER}


@dataclass(frozen=True)
class Asked:
    """A segment as a request."""

    segment: Segment
    messages: Sequence[Mapping[str, Any]]
    repeat: int
    schema: None = None


class ServerEngine:
    """A model behind a server.

    Args:
        name: as it was given with ``--engine``.
        base_url: of the server when the name has none.
        key_variable: the environment variable of its key.
        limits: how it is asked.
        prompt: a key of ``PROMPTS``, ``translategemma``, or a file with ``{source}``, ``{target}`` and ``{text}``.
        plan: whether the server is not going to be asked, so that no key is needed.

    Raises:
        UserError: for a name, URL or prompt that cannot be used.
    """

    parameters: float | None = None  # which nobody says

    def __init__(
        self, name: str, base_url: str, key_variable: str, limits: Limits, prompt: str, *, plan: bool = False
    ) -> None:
        self.name = name
        self._plan = plan
        # The address does not count: the same model may be served on another host tomorrow.
        endpoint = replace(
            read_endpoint(name, base_url, key_variable, flag="--engine"), identity="any server"
        )
        self.label = PREFIX + endpoint.model
        self._client = ApiJudge(name, endpoint, limits)
        self._prompt = prompt
        self._template = _template(prompt)

    def check(self, languages: Sequence[Language]) -> None:
        """See ``Engine.check``; which languages the model knows is not known."""
        if not self._plan:
            self._client.check()

    def count(self, text: str) -> int:
        """See ``Engine.count``."""
        return -(-len(text.encode("utf-8", "replace")) // BYTES_A_TOKEN)

    def recall(self, calls: Calls) -> None:
        """See ``Engine.recall``."""
        self._client.recall(calls)

    def keys(self, segment: Segment) -> Sequence[str]:
        """See ``Engine.keys``."""
        return self._client.keys(self._asked(segment))

    def answers(self, segments: Sequence[Segment], missing: Missing) -> Iterator[tuple[Segment, Call]]:
        """See ``Engine.answers``."""
        for asked, call in self._client.answers(self._asked(each) for each in segments if missing(each)):
            yield asked.segment, call

    def hide(self, text: str) -> str:
        """See ``Engine.hide``."""
        return self._client.hide(text)

    def provenance(self) -> dict[str, Any]:
        """See ``Engine.provenance``."""
        most = self._client.provenance()["max_tokens"]
        return {"engine": self.label, "prompt": self._template or self._prompt, "max_tokens": most}

    def close(self) -> None:
        """See ``Engine.close``."""

    def _asked(self, segment: Segment) -> Asked:
        # With a prompt that has no second form, the same is asked once more.
        return Asked(segment, self._messages(segment), segment.attempt)

    def _messages(self, segment: Segment) -> list[dict[str, Any]]:
        source, target = segment.source, segment.target
        if self._prompt == TRANSLATEGEMMA:
            part = {
                "type": "text",
                "source_lang_code": source.tag,
                "target_lang_code": target.tag,
                "text": encodable(segment.text),
            }
            return [{"role": "user", "content": [part]}]
        template = AGAIN + self._template if segment.attempt and self._prompt == "plain" else self._template
        return [{"role": "user", "content": _filled(template, source.name, target.name, segment.text)}]


def _template(prompt: str) -> str:
    if prompt in PROMPTS or prompt == TRANSLATEGEMMA:
        return PROMPTS.get(prompt, "")
    path = Path(prompt)
    if not path.is_file():
        raise UserError(
            f"--prompt {prompt} is neither a file nor one of {', '.join(PROMPTS)}, {TRANSLATEGEMMA}"
        )
    text = read_text(path).strip()
    if "{text}" not in text or "{target}" not in text:
        raise UserError(
            f"{path} must have {{text}} and {{target}} (and may have {{source}}) where they belong"
        )
    return text


def _filled(template: str, source: str, target: str, text: str) -> str:
    """The template with its three words replaced, the text last, whose braces stay as they are."""
    return template.replace("{source}", source).replace("{target}", target).replace("{text}", text)
