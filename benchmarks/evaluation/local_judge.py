"""Speed of a local judge: ``python benchmarks/evaluation/local_judge.py --model DIR``.

Asks the six criteria about one answer to each instruction of xlt113 in four languages: 452 calls that score 2,712
criteria. The answer is the instruction of another language, of realistic length. A model whose positions are too few
for the prompt is copied with more of them (rotary positions have no table that would end), so that the base model of
the quickstart can be measured; its verdicts are noise.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from xltjax.common.cli import command, execute
from xltjax.common.errors import UserError
from xltjax.common.settings import setting
from xltjax.data.prompt_sets import load_set
from xltjax.data.responses import Response
from xltjax.eval.judge.local.judge import LocalJudge
from xltjax.eval.judge.local.model import LocalOptions
from xltjax.eval.judge.questions import Question, judgment
from xltjax.eval.judge.rubrics import load_rubric
from xltjax.mesh import cache_compilations

LANGUAGES = ("en", "fr", "pt", "ru")


@dataclass(frozen=True)
class BenchmarkConfig:
    """Settings of the benchmark."""

    model: str = setting("", "The judge: a Hugging Face directory.")
    criteria: str = setting("six", "Rubric.")
    preset: str = setting("paper", "paper or xlt.")
    max_new_tokens: int = setting(128, "Most tokens of a verdict.")
    positions: int = setting(4096, "Positions that the model has room for at least.")
    batch_size: int = setting(8, "Answers at once.")
    mesh: str = setting("1x1", "Devices as DxT.")
    dtype: str = setting("float32", "Data type.")


def with_positions(model: Path, positions: int, directory: Path) -> Path:
    """The model, or a copy of it in ``directory`` whose config allows so many positions."""
    config = json.loads((model / "config.json").read_text())
    if config["max_position_embeddings"] >= positions:
        return model
    copy = directory / model.name
    shutil.copytree(model, copy)
    (copy / "config.json").write_text(json.dumps({**config, "max_position_embeddings": positions}))
    return copy


def run(config: BenchmarkConfig) -> None:
    """Ask everything, and print the time."""
    if not config.model:
        raise UserError("give --model DIR")
    cache_compilations()
    rubric = load_rubric(config.criteria, preset=config.preset, language="en")
    sets = {language: load_set("xlt113", [language]) for language in LANGUAGES}
    responses = [
        Response(each.id, language=language, instruction=each.instruction, response=other.instruction)
        for number, language in enumerate(LANGUAGES)
        for each, other in zip(sets[language], reversed(sets[LANGUAGES[number - 1]]), strict=True)
    ]
    with tempfile.TemporaryDirectory() as directory:
        began = time.perf_counter()
        model = with_positions(Path(config.model), config.positions, Path(directory))
        options = LocalOptions(
            max_new_tokens=config.max_new_tokens,
            mesh=config.mesh,
            batch_size=config.batch_size,
            dtype=config.dtype,
        )
        judge = LocalJudge(str(model), options)
        asked = [Question(rubric, each) for each in responses]
        calls = [call for _, call in judge.answers(asked)]
        seconds = time.perf_counter() - began
    outcomes = Counter(judgment(rubric, call).outcome for call in calls)
    used = [call.body["usage"] for call in calls if call.body]
    criteria = len(calls) * len(rubric.criteria)
    read, written = (sum(each[kind] for each in used) for kind in ("prompt_tokens", "completion_tokens"))
    print(f"{len(calls)} calls, {criteria} criteria: {seconds:.1f} s, with loading and compilation")
    print(f"tokens: {read} read, {written} written")
    print(f"outcomes: {dict(outcomes)}")


if __name__ == "__main__":
    execute(command(BenchmarkConfig, run, name="local_judge", help=(__doc__ or "").split("\n")[0]))
