"""Rating sheets of answers that do all that they may."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from helpers.pages.reports import EVIL
from helpers.scored import answer

from xltjax.common.files import write_jsonl
from xltjax.eval.people.sheets import SheetsConfig, run

MODELS = ("sekret-alfa-13b/dolly", "sekret-beta", "Sekret Gamma")
HOSTILE = {
    0: f"{EVIL}\n[click](javascript:window.broken=6) [out](https://example.org/leave) ![i](https://example.org/i.png)\n"
    "<https://example.org> https://example.org data:text/html,<script>window.broken=7</script>",
    1: "\u202eoverride \u2067isolate never closed\u2068 \u202b\u202a שלום \u2028line \u2029par \0nul "
    "\ud800 lone \udfff \ufeff \x1b[31m \r\n end",
    2: "w" * 50_000,
    3: "* " * 20_000 + "`" * 5_000 + "[" * 5_000,
    4: "",
    5: "# Title\n\nSome **bold** words.\n\n"
    + "- + " * 200
    + "\n"
    + "\n".join("-+*"[k % 3] + " a" for k in range(3000)),
}


def rows(languages: tuple[str, ...] = ("en", "fr"), count: int = 6, **more: Any) -> list[dict[str, Any]]:
    """The answers of all models, of which the first one's are hostile."""
    return [
        answer(
            model, number, language,
            instruction=f"Instruction {number} in {language}\n</script><b>now</b>",
            response=HOSTILE.get(number, "Fine.") if model == MODELS[0] else f"Answer {number}: one, two, {which}.",
            **more,
        )
        for language in languages
        for number in range(count)
        for which, model in enumerate(MODELS)
    ]  # fmt: skip


def sheets(folder: Path, answers: list[dict[str, Any]] | None = None, **settings: Any) -> Path:
    """The directory of the sheets of some answers."""
    path = folder / "a run" / "responses-of-sekret.jsonl"
    write_jsonl(path, rows() if answers is None else answers)
    given: dict[str, Any] = {"per_language": 6, "annotators": 1, "repeats": 2}
    run(SheetsConfig(responses=(str(path),), out=str(folder / "sheets"), **{**given, **settings}))
    return folder / "sheets"
