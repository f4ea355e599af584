"""Scores and their summary: intervals, bounds, files that commands share, and tables."""

import json
import math
import random
import statistics

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.power import TTestPower

from xltjax.common.errors import UserError
from xltjax.data.responses import Response
from xltjax.eval import surface
from xltjax.eval.scores import Score, abstain, failed, read_scores
from xltjax.eval.summary import Summary, detectable_by_metric, save_results
from xltjax.eval.tables import print_summary


@pytest.mark.parametrize(
    ("value", "state"),
    [
        (None, "ok"),
        (math.nan, "ok"),
        (math.inf, "ok"),
        (0.0, "abstain"),
        (1.0, "failed:x"),
        (None, "skipped"),
    ],
)
def test_a_score_without_a_value_is_never_ok_nor_the_reverse(value, state):
    with pytest.raises(ValueError, match="cannot be"):
        Score("a", "m", value, state)


def summarize(*scores):
    summary = Summary()
    for item in scores:
        summary.add(Response(id=item.id, model="m", language="fr"), item)
    return {row["metric"]: row for row in summary.rows()}


def test_metrics_of_0_and_1_get_the_wilson_interval():
    row = summarize(*(Score(str(n), "lpr", float(n < 13)) for n in range(14)))["lpr"]
    # Wilson, 1927, for 13 of 14, worked out by hand with z = 1.96: 69 % to 99 %.
    assert (row["mean"], row["interval"]) == (pytest.approx(13 / 14), "wilson")
    assert (row["low"], row["high"]) == (pytest.approx(0.6853, abs=1e-4), pytest.approx(0.9873, abs=1e-4))


def bootstrap(values, seed=1):
    """The percentile interval of a mean by scipy."""
    found = stats.bootstrap(
        (np.array(values),), np.mean, method="percentile", n_resamples=10_000, rng=np.random.default_rng(seed)
    )
    return found.confidence_interval


def test_shares_get_the_bootstrap_interval_of_their_mean():
    shares = [0.5, 0.9, 0.75, 1.0, 0.9, 0.8, 0.25] * 12
    row = summarize(*(Score(str(n), "spelling", share) for n, share in enumerate(shares)))["spelling"]
    expected = bootstrap(shares)
    assert (row["mean"], row["interval"]) == (pytest.approx(statistics.mean(shares)), "bootstrap")
    assert row["low"] == pytest.approx(expected.low, abs=0.004)
    assert row["high"] == pytest.approx(expected.high, abs=0.004)


def test_the_method_follows_from_the_metric_and_not_from_its_values():
    whole = [float(n % 3 > 0) for n in range(60)]
    rows = summarize(
        *(Score(str(n), name, v) for name in ("lpr", "line_accuracy") for n, v in enumerate(whole))
    )
    assert [rows[name]["interval"] for name in ("lpr", "line_accuracy")] == ["wilson", "bootstrap"]
    # n, or n - 1 for shares, in the standard deviation.
    assert rows["line_accuracy"]["detectable"] / rows["lpr"]["detectable"] == pytest.approx(
        math.sqrt(60 / 59)
    )


def clustered(metric, values, copies):
    """The row of ``metric`` where each of ``values`` stands for ``copies`` answers to one instruction."""
    summary = Summary()
    for n, value in enumerate(values):
        for copy in range(copies):
            response = Response(id=f"{n}-{copy}", model="m", language="fr", instruction_id=str(n))
            summary.add(response, Score(response.id, metric, value))
    (row,) = summary.rows()
    return row


@pytest.mark.parametrize("metric", ["lpr", "spelling"])
def test_more_answers_to_the_same_instructions_are_no_more_evidence(metric):
    values = [float(n % 3 > 0) for n in range(30)]
    once, thrice = clustered(metric, values, 1), clustered(metric, values, 3)
    assert (thrice["n"], thrice["n_scored"], thrice["answers"], thrice["ok"]) == (30, 30, 90, 90)
    for key in ("mean", "low", "high"):
        assert thrice[key] == pytest.approx(once[key])
    assert thrice["detectable"] == pytest.approx(once["detectable"], rel=0.02)


def test_bounds_take_what_was_not_scored_for_wrong_and_for_right():
    scores = [Score(str(n), "lpr", float(n < 6)) for n in range(8)]
    row = summarize(*scores, abstain("8", "lpr", "x"), failed("9", "lpr", "y"))["lpr"]
    assert (row["mean"], row["coverage"]) == (0.75, 0.8)
    assert (row["unscored_as_0"], row["unscored_as_1"]) == (0.6, 0.8)


def test_bounds_are_shown_where_coverage_is_under_98_per_cent(capsys):
    def printed(unscored):
        scores = [Score(str(n), "lpr", 1.0) for n in range(100 - unscored)]
        scores += [abstain(f"r{n}", "lpr", "no line") for n in range(unscored)]
        print_summary(list(summarize(*scores).values()), {"Language": [("lpr", "LPR", True)]})
        return capsys.readouterr().out

    assert "] 95% (95.0–100.0)" in printed(5)
    assert "no line: lpr 5 (such as r0, r1, r2)" in printed(5)
    assert "] 98%  \n" in printed(2)
    assert "] 100%  \n" in printed(0)
    assert "Every answer was scored." in printed(0)


def test_each_row_says_what_difference_between_two_models_would_be_found():
    shares = [0.5, 0.9, 0.75, 1.0, 0.9] * 6
    row = summarize(*(Score(str(n), "x", share) for n, share in enumerate(shares)))["x"]
    effect = TTestPower().solve_power(nobs=30, alpha=0.05, power=0.8)
    assert row["detectable"] == pytest.approx(effect * math.sqrt(2) * statistics.stdev(shares), rel=1e-4)
    row = summarize(*(Score(str(n), "lpr", float(n < 21)) for n in range(30)))["lpr"]
    assert row["detectable"] == pytest.approx(effect * math.sqrt(2 * 0.7 * 0.3), rel=1e-4)
    assert summarize(*(Score(str(n), "lpr", 1.0) for n in range(30)))["lpr"]["detectable"] is None
    assert summarize(Score("a", "x", 0.5))["x"]["detectable"] is None


def test_under_a_table_stands_the_median_of_its_rows_with_their_n():
    rows = [
        {"metric": "x", "n_scored": n, "detectable": d}
        for n, d in ((30, 0.25), (113, 0.125), (90, 0.2), (5, None))
    ]
    assert detectable_by_metric(rows) == {"x": "20.0 (n = 30–113)"}


def test_a_difference_that_the_scale_does_not_have_is_not_detectable():
    few = summarize(*(Score(str(n), "lpr", float(n % 2)) for n in range(4)))["lpr"]
    # The formula gives more than 100 points.
    assert (few["detectable"], few["not_detectable"]) == (None, True)
    assert detectable_by_metric([few]) == {"lpr": "not detectable with n = 4"}
    more = summarize(*(Score(str(n), "lpr", float(n % 2)) for n in range(100)))["lpr"]
    assert (0 < more["detectable"] < 1, more["not_detectable"]) == (True, False)
    # The median of rows counts those that can show nothing.
    assert detectable_by_metric([few, few, more]) == {"lpr": "not detectable with n = 4–100"}
    assert detectable_by_metric([few, more, more])["lpr"].endswith("(n = 4–100)")


def test_legends_are_wrapped_at_80_columns_and_explain_abbreviations(capsys: pytest.CaptureFixture[str]):
    row = summarize(*(Score(f"an-id-without-any-blank-{n}" * 3, "lpr", float(n % 2)) for n in range(4)))[
        "lpr"
    ]
    long = {**row, "reasons": {"a reason with words " * 9: 3}, "abstain": 3}
    print_summary([{**long, "model": "m", "language": "fr"}], surface.TABLES)
    out = capsys.readouterr().out
    legend = out[out.index("detectable, in points") :].splitlines()
    assert max(map(len, legend)) <= 80
    text = " ".join(" ".join(legend).split())
    assert "LPR: line-level pass rate" in text
    assert "WPR: word-level pass rate" in text
    assert "LPR not detectable with n = 4" in text


def test_one_share_or_none_has_no_interval():
    assert summarize(Score("a", "x", 0.5))["x"]["low"] is None
    row = summarize(abstain("a", "x", "why"), failed("b", "x", "lost"))["x"]
    assert (row["mean"], row["low"], row["ok"], row["abstain"], row["failed"]) == (None, None, 0, 1, 1)
    assert row["reasons"] == {"why": 1, "failed:lost": 1}


def test_the_summary_does_not_depend_on_the_order():
    draw = random.Random(0)
    scores = [Score(str(n), "x", draw.random()) for n in range(500)]
    assert summarize(*scores) == summarize(*draw.sample(scores, 500))


def test_commands_share_a_directory_without_touching_each_others_scores(tmp_path):
    one = Response(id="a", model="m", language="fr")
    save_results(tmp_path, [(one, [Score("a", "x", 1.0)])], ["x"], "first", {"tool": 1})
    save_results(tmp_path, [(one, [Score("a", "y", 0.0)])], ["y"], "second", {"tool": 2})
    save_results(tmp_path, [(one, [Score("a", "x", 0.0)])], ["x"], "first", {"tool": 3})
    assert {s.metric: s.value for s in read_scores(tmp_path / "scores.jsonl")} == {"x": 0.0, "y": 0.0}
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert {row["metric"]: row["mean"] for row in summary["rows"]} == {"x": 0.0, "y": 0.0}
    assert summary["provenance"] == {"first": {"tool": 3}, "second": {"tool": 2}}


def test_scores_of_the_version_before_which_name_no_model_are_completed(tmp_path):
    old = {"id": "a", "metric": "y", "value": 0.5, "state": "ok", "detail": {"n": 2}}
    (tmp_path / "scores.jsonl").write_text(json.dumps(old) + "\n")
    (tmp_path / "summary.json").write_text(
        '{"rows": [{"model": "m", "metric": "y", "mean": 0.5}], "provenance": {"second": {}}}'
    )
    one = Response(id="a", model="m", language="fr")
    save_results(tmp_path, [(one, [Score("a", "x", 1.0, model="m")])], ["x"], "first", {})
    assert list(read_scores(tmp_path / "scores.jsonl")) == [
        Score("a", "y", 0.5, detail={"n": 2}),
        Score("a", "x", 1.0, model="m", language="fr"),
    ]
    assert [r["metric"] for r in json.loads((tmp_path / "summary.json").read_text())["rows"]] == ["y", "x"]
    assert "| m |  | y |" in (tmp_path / "summary.md").read_text()


def test_an_interrupted_run_leaves_the_earlier_files(tmp_path):
    one = Response(id="a", model="m", language="fr")
    save_results(tmp_path, [(one, [Score("a", "x", 1.0)])], ["x"], "first", {})
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def interrupted():
        yield one, [Score("a", "x", 0.0)]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        save_results(tmp_path, interrupted(), ["x"], "first", {})
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("scores.jsonl", '{"id": "a", "score": 1}\n'),
        ("scores.jsonl", '{"id": "a", "metric": "z", "value": null, "state": "ok", "detail": {}}\n'),
        ("scores.jsonl", "7\n"),
        ("summary.json", "[]"),
        ("summary.json", "{"),
        ("answers.jsonl", '{"my": "answers"}\n'),
    ],
)
def test_foreign_files_are_not_overwritten(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError):
        save_results(tmp_path, [], ["x"], "first", {})
    assert (tmp_path / name).read_text() == content


def test_tables_hold_any_model_name(tmp_path):
    odd = Response(id="a", model="a|b\n[bold]\ud800", language="fr")
    save_results(tmp_path, [(odd, [Score("a", "x", 1.0)])], ["x"], "first", {})
    assert "a\\|b [bold]?" in (tmp_path / "summary.md").read_text(encoding="utf-8")


def test_the_answers_stand_beside_their_scores_without_their_texts(tmp_path):
    def answer(id, **keys):
        return Response(
            id=id, model="m", language="fr", instruction="Dis bonjour.", response="Bonjour.", **keys
        )

    modifier = {"name": "list_n", "params": {"n": 2}}
    first = answer("a", task="t", instruction_id="q", extra={"level": 2, "note": "x" * 300, "turns": [1]})
    second = answer("b", modifier=modifier)
    save_results(tmp_path, [(first, [Score("a", "x", 1.0, model="m")])], ["x"], "first", {})
    save_results(tmp_path, [(second, [Score("b", "y", 1.0, model="m")])], ["y"], "second", {})
    rows = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
    told = [{key: value for key, value in row.items() if value not in (None, "")} for row in rows]
    same = told[0]["instruction_hash"]
    assert told == [
        {"id": "a", "model": "m", "task": "t", "instruction_id": "q", "level": 2, "instruction_hash": same},
        {"id": "b", "model": "m", "modifier": modifier, "instruction_hash": same},
    ]
    # An answer whose last scores are replaced by those of others goes with them.
    save_results(tmp_path, [(answer("c"), [Score("c", "x", 1.0, model="m")])], ["x"], "first", {})
    rows = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows] == ["b", "c"]


def test_the_language_of_a_score_is_that_of_its_answer(tmp_path):
    one = Response(id="a", model="m", language="pt")
    save_results(tmp_path, [(one, [Score("a", "x", 1.0, model="m")])], ["x"], "first", {})
    assert [score.language for score in read_scores(tmp_path / "scores.jsonl")] == ["pt"]
