"""``python -m xltjax.miniature.known RESPONSES... --out FOLDER``: whether answers about the toy world are right.

The miniature knows the answer to each of its questions, so its relevance needs no judge: an answer is relevant when
it is right, in any wording that the toy world's grammar allows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from xltjax.common.cli import command, entry_point
from xltjax.common.errors import UserError
from xltjax.common.files import make_output_directory
from xltjax.common.locks import lock_directory
from xltjax.data.responses import Response
from xltjax.eval.evaluator import EvaluatorConfig
from xltjax.eval.scores import Score, unanswered
from xltjax.eval.summary import check_results, save_results
from xltjax.eval.tables import print_summary
from xltjax.miniature.text import answer_is_right, evaluation_rows
from xltjax.miniature.world import SEED

KNOWN_VERSION = 1
METRICS = ("relevance",)


@dataclass(frozen=True)
class KnownConfig(EvaluatorConfig):
    """Settings of the command."""


def known(config: KnownConfig) -> None:
    """Score every answer with 1 where it is right, else 0, as the metric of ``eval relevance``.

    Raises:
        UserError: for responses that cannot be read, or to other questions than those of the miniature.
    """
    config.check_files("surface")
    responses = config.read()
    questions = {row["id"]: row for row in evaluation_rows(SEED)}
    for response in responses:
        if response.id not in questions:
            raise UserError(
                f"{response.id!r} is not a question of the miniature, and only its answers are known"
            )
    out = make_output_directory(Path(config.out))

    def scored() -> Iterator[tuple[Response, list[Score]]]:
        for response in responses:
            if response.failure:
                scores = unanswered(response, METRICS)
            else:
                right = answer_is_right(questions[response.id], response.response)
                scores = [Score(response.id, METRICS[0], float(right))]
            yield response, [replace(score, model=response.model) for score in scores]

    with lock_directory(out):
        check_results(out, METRICS, responses)
        rows = save_results(
            out, scored(), METRICS, "relevance", {"judge": "the answers that the miniature knows"}
        )
    print_summary(rows, {"Right answers": (("relevance", "right", True),)})
    print(f"scores and summary: {out}")


COMMAND = command(
    KnownConfig, known, name="known", help="Score whether answers about the miniature's toy world are right."
)


main = entry_point(COMMAND, "python -m xltjax.miniature.known")


if __name__ == "__main__":
    main()
