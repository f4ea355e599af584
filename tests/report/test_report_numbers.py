"""Hand-made scores give hand-computed numbers, in the files beside the figures and in the tables."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import pandas as pd
import pytest
from helpers.scored import write_judge, write_model, write_modifiers, write_ratings, write_run, write_stage
from statsmodels.stats.proportion import proportion_confint

from xltjax.eval.report.command import ReportConfig, run

LOW = "7b/dolly-en/ft/lr-1e-06/seed-0"
HIGH = "7b/dolly-en/ft/lr-1e-05/seed-0"
JUDGE = "openai:a-judge"


def write_study(root: Path) -> None:
    """Two rates of one configuration, eight instructions in two languages; the higher rate loses French."""
    english = [1.0] * 8
    for model, french, spelled in (
        (LOW, [1, 1, 1, 1, 1, 1, 0, None], [0.9, 0.8, 1.0, 0.7, None, 0.6, 0.5, 0.9]),
        (HIGH, [1, 0, 0, 0, 1, 0, 0, None], [0.5, 0.4, 0.3, 0.2, 0.1, 0.6, 0.5, None]),
    ):
        write_model(
            root / model,
            model,
            {
                "language_correct": {"en": english, "fr": french},
                "relevance": {"en": [1, 1, 1, 0, 1, 1, 1, 1], "fr": [1, 1, 0, 1, 1, 1, 1, 1]},
                "spelling": {"en": [0.95] * 8, "fr": spelled},
            },
        )
        write_run(root / model / "train", [3.0, 2.0, 1.5], 1e-6 if model == LOW else 1e-5)
    write_modifiers(root / LOW, LOW, {"briefly": [1, 1, 1, 0, 1, None, 1, 1]}, [0, 1, 0, 0, 0, 0, 0, 0])
    criteria = ("language", "fluency", "helpfulness", "accuracy", "coherence", "harmlessness")
    judged = {name: {"en": [2.0] * 8, "fr": [2, 1, 0, 2, 1, 1, None, 2]} for name in criteria}
    judged["language"]["fr"] = [2, 2, 2, 2, 0, 2, 2, 2]
    write_judge(root / LOW / "judge", LOW, JUDGE, judged)
    write_ratings(
        root / LOW / "people", LOW, "anna", {**judged, "helpfulness": {"en": [2.0] * 8, "fr": [1] * 8}}
    )
    write_stage(root / "7b/dolly-en/lora/lr-1e-04/seed-0/train", "train", "failed", "out of memory")


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a report, beside which lies its page."""
    root = tmp_path_factory.mktemp("study")
    write_study(root / "study")
    run(ReportConfig(sources=(str(root / "study"),), out=str(root / "report.html"), draws=500))
    return root / "report"


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_csv_beside_the_figure_holds_the_hand_computed_rates(report: Path) -> None:
    rows = rows_of(report / "figures/surface-by-rate.csv")
    found = {(row["rate"], row["language"], row["metric"]): row for row in rows}
    assert (report / "figures/surface-by-rate.svg").read_text().startswith("<?xml")
    assert (report / "figures/surface-by-rate.pdf").read_bytes().startswith(b"%PDF")
    assert (report / "figures/surface-by-rate.png").read_bytes().startswith(b"\x89PNG")
    low = found["1e-06", "fr", "language_correct"]
    assert (float(low["mean"]), low["n"], low["answers"]) == (pytest.approx(6 / 7), "8", "8")
    assert float(low["coverage"]) == pytest.approx(7 / 8)
    expected = proportion_confint(6, 7, method="wilson")
    assert (float(low["low"]), float(low["high"])) == pytest.approx(expected)
    assert float(found["1e-05", "fr", "language_correct"]["mean"]) == pytest.approx(2 / 7)
    assert float(found["1e-06", "fr", "spelling"]["mean"]) == pytest.approx(
        (0.9 + 0.8 + 1 + 0.7 + 0.6 + 0.5 + 0.9) / 7
    )
    assert float(found["1e-05", "en", "relevance"]["mean"]) == pytest.approx(7 / 8)
    assert len(rows) == 2 * 2 * 3


def test_ten_numbers_follow_from_scores_jsonl_by_another_way(report: Path) -> None:
    study = report.parent / "study"
    frames = [pd.read_json(path, lines=True) for path in sorted(study.rglob("scores.jsonl"))]
    scores = pd.concat(frames, ignore_index=True)
    scores["language"] = scores["language"].fillna("") if "language" in scores else ""
    scores["in"] = scores["id"].str.split("-").str[1]
    scores["instruction"] = scores["id"].str.split("-").str[0]

    def cell(model: str, metric: str, language: str) -> pd.Series:
        own = scores[(scores.model == model) & (scores.metric == metric) & (scores["in"] == language)]
        return own.set_index("instruction")["value"]

    # 1 to 3: coverage and both bounds of a rate with an abstention.
    french = cell(LOW, "language_correct", "fr")
    row = only(report / "tables/all-metrics.csv", rate="1e-06", language="fr", metric="language_correct")
    assert float(row["coverage"]) == pytest.approx(french.notna().mean())
    assert float(row["unscored_as_0"]) == pytest.approx(french.fillna(0).mean())
    assert float(row["unscored_as_1"]) == pytest.approx(french.fillna(1).mean())
    # 4: right language and relevant; an answer in the wrong language is not, whatever its relevance.
    both = {}
    for model in (LOW, HIGH):
        right, relevant = cell(model, "language_correct", "fr"), cell(model, "relevance", "fr")
        product = (right * relevant).where(right.notna() & relevant.notna())
        both[model] = product.where(~((right == 0) | (relevant == 0)), 0.0)
    rate = only(report / "tables/rates.csv", rate="1e-06")
    assert float(rate["mean"]) == pytest.approx(both[LOW].mean())
    # 5: the lead of the best rate.
    assert float(rate["lead"]) == pytest.approx(both[LOW].mean() - both[HIGH].mean())
    # 6: what transfer costs in spelling.
    cost = only(report / "tables/transfer.csv", rate="1e-06", metric="spelling")
    gap = cell(LOW, "spelling", "fr").mean() - cell(LOW, "spelling", "en").mean()
    assert float(cost["difference"]) == pytest.approx(gap)
    # 7: the share of French answers that are in English.
    guesses = scores[(scores.model == LOW) & (scores.metric == "language_correct") & scores.value.notna()]
    english = guesses[guesses["in"] == "fr"].detail.map(lambda detail: detail["language"]) == "en"
    confused = only(report / "tables/language-confusion.csv", system=f"{SYSTEM}6", expected="fr", found="en")
    assert float(confused["share"]) == pytest.approx(english.mean())
    # 8: a modifier's rate, and its placebo rate.
    modifier = only(report / "tables/modifiers.csv", modifier="briefly", grade="strict")
    asked, unasked = (
        scores[scores.metric == f"{kind}_strict"].value.mean() for kind in ("modifier", "placebo")
    )
    assert (float(modifier["rate"]), float(modifier["placebo"])) == pytest.approx((asked, unasked))
    # 9: helpfulness of the answers that the judge finds in the right language.
    criteria = only(report / "tables/criteria.csv", judge=JUDGE, criterion="helpfulness", group="fr")
    right = cell(LOW, "judge/language", "fr") > 0
    assert float(criteria["mean"]) == pytest.approx(cell(LOW, "judge/helpfulness", "fr")[right].mean())
    # 10: equal ratings of people and judge, of those that both have.
    ratings = pd.read_json(study / LOW / "people/ratings.jsonl", lines=True)
    own = scores[(scores.metric == "judge/helpfulness")].set_index("id").value.dropna()
    rated = ratings[ratings.criterion == "helpfulness"].set_index("id").value
    common = own.index.intersection(rated.index)
    equal = only(report / "tables/agreement.csv", criterion="helpfulness", language="all")
    assert float(equal["exact"]) == pytest.approx((own[common] == rated[common]).mean())
    assert int(equal["n"]) == len(common)
    # 11: what both say on average about these answers, side by side in a figure.
    means = only(report / "tables/agreement-means.csv", criterion="helpfulness")
    assert float(means["mean_first"]) == pytest.approx(rated[common].mean())
    assert float(means["mean_second"]) == pytest.approx(own[common].mean())
    assert float(means["difference"]) == pytest.approx((own[common] - rated[common]).mean())
    assert (report / "figures/agreement-means-people.svg").exists()


SYSTEM = "7b/dolly-en/ft, lr 1e-"


def only(path: Path, **wanted: str) -> dict[str, str]:
    """The one row that has these values."""
    found = [row for row in rows_of(path) if all(row[key] == value for key, value in wanted.items())]
    assert len(found) == 1, (path.name, wanted, found)
    return found[0]


def test_an_interval_of_a_mean_over_languages_is_that_of_a_bootstrap_by_hand(report: Path) -> None:
    import numpy as np

    from xltjax.eval.report.numbers.analysis import Analysis
    from xltjax.eval.report.numbers.rates import choices
    from xltjax.eval.report.numbers.sources import read_source
    from xltjax.eval.report.numbers.systems import join
    from xltjax.eval.stats.intervals import _make_count_blocks

    analysis = Analysis(join([read_source(str(report.parent / "study"))]), {}, draws=500)
    (choice,) = choices(analysis).values()
    resamples = analysis.resamples
    sizes = np.array(resamples.sizes)
    (counts,) = _make_count_blocks(sizes, np.maximum(sizes - 1, 1), resamples)
    cell = analysis.cells["correct_and_relevant"][f"{SYSTEM}6"]["fr"]
    by_unit = {analysis.clusters[item]: value for item, value in cell.items()}
    values = np.array(
        [math.nan if (value := by_unit.get(unit)) is None else value for unit in resamples.units]
    )
    known = ~np.isnan(values)
    means = (counts[:, known] @ values[known]) / counts[:, known].sum(axis=1)
    assert (choice.tried[0].mean.low, choice.tried[0].mean.high) == pytest.approx(
        tuple(np.quantile(means, [0.025, 0.975]))
    )


def test_failed_cells_and_the_losses_of_runs_are_in_the_report(report: Path) -> None:
    page = (report.parent / "report.html").read_text(encoding="utf-8")
    assert "7b/dolly-en/lora/lr-1e-04/seed-0/train failed: out of memory" in page
    curves = rows_of(report / "figures/learning-curves-loss.csv")
    assert [float(row["value"]) for row in curves if row["run"] == HIGH] == [3.0, 2.0, 1.5]
    run_row = only(report / "tables/runs.csv", run=LOW)
    assert (run_row["first"], run_row["last"], run_row["seconds"]) == ("3", "1.5", "1.5")
