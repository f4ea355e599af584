"""Probes ask what they should, and judge and program are compared where they disagree."""

from __future__ import annotations

import pytest

from xltjax.common.errors import UserError
from xltjax.data.responses import Response
from xltjax.eval.judge.probes import ProbeItem, probe_items
from xltjax.eval.judge.report.program import find_disagreements
from xltjax.eval.scores import Score

RESPONSES = [
    Response(
        f"{n}-{language}",
        "m",
        language,
        f"task{n % 2}",
        f"Question {n}",
        f"Answer {n}",
        instruction_id=str(n),
    )
    for language in ("en", "fr", "it")
    for n in range(6)
]


def items(
    kind: str, responses: list[Response] = RESPONSES, preset: str = "xlt", language: str = "en"
) -> list[ProbeItem]:
    return probe_items(kind, responses, criteria="six", preset=preset, language=language)


def test_the_language_probe_asks_the_same_in_the_language_of_the_response() -> None:
    found = items("language")
    # "it" has no rubric.
    assert [each.response for each in found] == [r for r in RESPONSES if r.language == "fr"]
    assert {each.rubric.language for each in found} == {"fr"}
    assert "fluidité" in found[0].rubric.messages(found[0].response)[0]["content"]
    assert found[0].detail == {"probe": "language", "rubric_language": "fr"}
    assert {each.response.language for each in items("language", language="fr")} == {"en"}


def test_the_copy_probe_puts_an_answer_to_another_instruction_of_its_language() -> None:
    found = items("copy")
    by_id = {response.id: response for response in RESPONSES}
    assert len(found) == len(RESPONSES)
    for each in found:
        original, target = by_id[each.response.id], by_id[each.detail["instruction_of"]]
        assert (each.response.response, each.response.key) == (original.response, original.key)
        assert each.response.instruction == target.instruction != original.instruction
        assert target.language == original.language
        assert target.task != original.task
    assert len({each.detail["instruction_of"] for each in found}) > len(RESPONSES) / 3
    assert found == items("copy")
    # The same whatever else is judged with it, except where the other answer is missing.
    assert {each.detail["instruction_of"] for each in items("copy", RESPONSES[:6])} <= {
        r.id for r in RESPONSES[:6]
    }


def test_forms_of_one_instruction_are_no_other_instruction() -> None:
    forms = [Response(f"a{n}", "m", "en", "t", f"Q{n}", "A", instruction_id="a") for n in range(3)]
    with pytest.raises(UserError, match="two instructions in one language"):
        items("copy", forms)
    (*_, last) = items("copy", [*forms, Response("b", "m", "en", "t", "QB", "B", instruction_id="b")])
    assert last.detail["instruction_of"] in ("a0", "a1", "a2")


def test_a_probe_with_nothing_to_ask_says_so() -> None:
    with pytest.raises(UserError, match=r"did you mean 'language'\?"):
        items("langage")
    with pytest.raises(UserError, match="the paper's is in English only"):
        items("language", preset="paper")
    with pytest.raises(UserError, match="has nothing to ask"):
        items("language", [r for r in RESPONSES if r.language != "fr"])


def test_where_judge_and_program_disagree_is_listed() -> None:
    responses = [
        Response(key, "m", "en", "", "Q", "A", modifier={"name": "arrow"})
        for key in ("yes", "no", "lax", "judge", "open")
    ]
    verdicts = {  # judge, strict, loose
        "yes": (1, 1, 1), "no": (0, 0, 0), "lax": (0, 0, 1), "judge": (1, 0, 0), "open": (1, None, None),
    }  # fmt: skip
    scores = []
    for key, (judged, strict, loose) in verdicts.items():
        scores.append(Score(key, "judge/fulfilled", float(judged), "ok", {"judge": "j"}, "m"))
        for name, value in (("strict", strict), ("loose", loose)):
            if value is None:
                scores.append(
                    Score(key, f"modifier_{name}", None, "abstain", {"reason": "for the judge"}, "m")
                )
            else:
                scores.append(
                    Score(key, f"modifier_{name}", float(value), "ok", {"problem": "no arrow"}, "m")
                )
    scores.append(Score("no", "judge/fulfilled", 1.0, "ok", {"judge": "j", "probe": "copy"}, "m"))
    found = find_disagreements(responses, scores)
    (row,) = found.rows
    assert (row["id"], row["judge_fulfilled"], row["program_loose"]) == ("judge", 1.0, False)
    assert row["program_detail"] == {"problem": "no arrow"}
    (counts,) = found.table
    assert (counts["modifier"], counts["n"], counts["agree"], counts["share"]) == ("arrow", 4, 3, 0.75)
    assert (counts["judge_only"], counts["program_only"]) == (1, 0)
