"""The surface command end to end, its files, and the defined result of every odd answer."""

import csv
import json
import math
import random
import sys

import pytest
from helpers.sentences import ENGLISH, FRENCH, RUSSIAN
from statsmodels.stats.power import TTestPower

from xltjax.data.responses import Response
from xltjax.eval import __main__ as program
from xltjax.eval import spelling, surface
from xltjax.eval.agreement import AgreementConfig
from xltjax.eval.modifiers.command import ModifiersConfig
from xltjax.eval.relevance import RelevanceConfig
from xltjax.eval.scores import read_scores
from xltjax.eval.surface import METRICS, SurfaceConfig, SurfaceMetrics

WORDS = {
    "en_US": ENGLISH.strip("."),
    "en_GB": ENGLISH.strip("."),
    "fr_FR": FRENCH.strip("."),
    "pt_BR": "o gato dorme no sofá",
    "pt_PT": "o gato dorme no sofá",
    "ru_RU": RUSSIAN.replace(",", "").strip("."),
}


@pytest.fixture(autouse=True)
def only_our_dictionaries(monkeypatch):
    """What the machine has installed must not decide a test."""
    monkeypatch.setattr(spelling, "SYSTEM_FOLDERS", ())
    monkeypatch.delenv("DICPATH", raising=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dictionaries")
    for name, words in WORDS.items():
        words = words.split()
        (folder / f"{name}.aff").write_text("SET UTF-8\n")
        (folder / f"{name}.dic").write_text("\n".join([str(len(words)), *words, ""]), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def metrics(folder):
    return SurfaceMetrics(SurfaceConfig(dictionaries=(str(folder),)))


@pytest.fixture
def responses(tmp_path):
    rows = [
        {"id": "1", "model": "a", "language": "fr", "response": FRENCH},
        {"id": "2", "model": "a", "language": "fr", "response": ENGLISH},
        {"id": "3", "model": "a", "language": "ru", "response": RUSSIAN},
        {"id": "4", "model": "b", "language": "ru", "response": ""},
        {"id": "5", "model": "b", "response": RUSSIAN},
    ]
    path = tmp_path / "responses.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def write_rows(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def run(capsys, monkeypatch, *arguments):
    """Exit code, standard output and standard error of the command."""
    monkeypatch.setattr(sys, "argv", ["eval", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        program.main()
    captured = capsys.readouterr()
    return stop.value.code, captured.out, captured.err


def values(scores):
    return {score.metric: score.value for score in scores}


def score(metrics, text, language="fr"):
    return {s.metric: s for s in metrics(Response(id="a", language=language, response=text))}


# Odd answers. "-" is an abstention; the metrics come in the order of their names below.

LINE_OF_100_000 = f"{FRENCH} " * 1_613
NAMES = ("language_correct", "line_language", "lpr", "spelling")


@pytest.mark.parametrize(
    ("text", "language", "expected"),
    [
        ("", "fr", (0.0, 0.0, "-", 0.0)),
        (" \n\t\u200b", "fr", (0.0, 0.0, "-", 0.0)),
        ("...", "fr", (0.0, 0.0, "-", 0.0)),
        ("1 2 3 4 5 6 7 8 9 10", "fr", ("-", "-", 0.0, "-")),
        ("🙂 🎉 🙂 🎉 🙂 🎉", "fr", ("-", "-", 0.0, "-")),
        (LINE_OF_100_000, "fr", (1.0, 1.0, 1.0, 1.0)),
        ("x" * 100_000, "fr", (0.0, "-", "-", 0.0)),
        ("\0" + FRENCH.replace(" ", "\0 ") + "\0", "fr", (1.0, 1.0, 1.0, 1.0)),
        ("\ud800 " + FRENCH + " \udfff", "fr", (1.0, 1.0, 1.0, 1.0)),
        ("\u202bالقط ينام على الأريكة، بينما يهطل المطر في الخارج.\u202c", "ar", (1.0, 1.0, 1.0, "-")),
        ("החתול ישן על הספה בזמן שהגשם יורד בחוץ.", "he", (1.0, 1.0, 1.0, "-")),
        ("```python\nfor cat in sofa: print('the rain falls outside')\n```", "fr", (0.0, "-", 0.0, "-")),
        ("<html><head><style>p { color: red; margin: 0 auto; }</style></head></html>", "fr", (0.0, "-", 0.0, "-")),
    ],
    ids=[
        "empty", "blanks", "marks", "digits", "emoji", "a line of 100,000", "a word of 100,000", "NUL",
        "lone surrogates", "Arabic", "Hebrew", "all code", "all tags",
    ],
)  # fmt: skip
def test_odd_answers_have_a_defined_result(metrics, text, language, expected):
    got = score(metrics, text, language)
    assert tuple("-" if got[name].state == "abstain" else got[name].value for name in NAMES) == expected
    assert {s.state for s in got.values()} <= {"ok", "abstain"}


def test_scores_do_not_depend_on_order_batch_or_repetition(metrics, folder):
    draw = random.Random(1)
    lines = [FRENCH, ENGLISH, RUSSIAN, "Gribouille", "```\ncode\n```", "• un\n• deux", ""]
    responses = [
        Response(
            id=str(n), language=draw.choice(["fr", "ru", "en"]), response="\n".join(draw.choices(lines, k=4))
        )
        for n in range(60)
    ]
    once = {r.id: metrics(r) for r in responses}
    shuffled = draw.sample(responses, len(responses))
    fresh = SurfaceMetrics(SurfaceConfig(dictionaries=(str(folder),)))
    assert {r.id: fresh(r) for r in shuffled} == once
    assert {r.id: fresh(r) for r in shuffled[:7]} == {r.id: once[r.id] for r in shuffled[:7]}


def test_an_answer_cut_at_the_token_limit_is_read_up_to_there(metrics):
    text = f"{FRENCH}\n{ENGLISH}\nLe chat glor"
    cut, whole = (
        {s.metric: s for s in metrics(Response(id="a", language="fr", response=text, finish_reason=reason))}
        for reason in ("length", "stop")
    )
    assert (cut["spelling_nonword"].value, whole["spelling_nonword"].detail["words"]) == (0.0, {"glor": 1})
    assert [len(scores["line_language"].detail["lines"]) for scores in (cut, whole)] == [2, 2]
    # As in the benchmark and the paper, the other metrics read all of it.
    assert {name for name in cut if cut[name] != whole[name] and not name.startswith("spelling")} == set()


def test_a_word_list_is_known_to_every_process(tmp_path, folder, capsys, monkeypatch):
    (tmp_path / "words").write_text("glorbe\n")
    path = tmp_path / "r.jsonl"
    row = {"id": "1", "language": "fra", "response": "le chat glorbe dort"}
    path.write_text(json.dumps(row) + "\n")
    values = []
    for flags in (
        (),
        ("--word-list", tmp_path / "words"),
        ("--word-list", tmp_path / "words", "--workers", 2),
    ):
        arguments = ("surface", path, "--out", tmp_path / "out", "--dictionaries", folder, *flags)
        assert run(capsys, monkeypatch, *arguments)[0] == 0
        values += [s.value for s in read_scores(tmp_path / "out" / "scores.jsonl") if s.metric == "spelling"]
    assert values == [0.75, 1.0, 1.0]
    tools = json.loads((tmp_path / "out" / "summary.json").read_text())["provenance"]["surface"]
    assert len(tools["word_list"]["sha256"]) == 64
    assert isinstance(tools["segmenters"], dict)


def test_tags_of_one_language_in_two_files_are_one_language(tmp_path, folder, capsys, monkeypatch):
    for name, tag in (("a", "fra"), ("b", "fr-CA"), ("c", "French")):
        row = {"id": "1", "language": tag, "response": FRENCH}
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(row) + "\n")
    files = [tmp_path / f"{name}.jsonl" for name in "abc"]
    out = tmp_path / "out"
    assert run(capsys, monkeypatch, "surface", *files, "--out", out, "--dictionaries", folder)[0] == 0
    rows = json.loads((out / "summary.json").read_text())["rows"]
    assert {row["language"] for row in rows} == {"fr"}


def test_without_an_expected_language_every_metric_fails(metrics):
    got = score(metrics, FRENCH, "")
    assert {s.state for s in got.values()} == {"failed:the expected language is not given"}
    assert set(got) == set(METRICS) - {"wpr"}


@pytest.mark.parametrize("language", ["ru", ""])
def test_an_answer_that_was_never_given_fails_every_metric(metrics, language):
    response = Response(
        id="a", language=language, finish_reason="failed: too long (900 tokens, room for 512)"
    )
    scores = metrics(response)
    assert {s.metric for s in scores} >= set(METRICS) - {"wpr"}
    assert {s.state for s in scores} == {"failed:no answer (too long)"}
    assert {s.detail["finish_reason"] for s in scores} == {response.finish_reason}


def test_without_a_language_model_or_dictionaries_everything_abstains(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "fasttext", None)
    bare = SurfaceMetrics(SurfaceConfig())
    got = score(bare, RUSSIAN, "ru")
    assert {s.state for s in got.values()} == {"abstain"}
    assert set(got) == set(METRICS)
    assert bare.provenance({"ru"})["language_model"] is None


# The command.


def test_the_command_writes_scores_and_summary_and_prints_the_table(
    tmp_path, folder, responses, capsys, monkeypatch
):
    out = tmp_path / "out"
    code, printed, _ = run(
        capsys, monkeypatch, "surface", responses, "--out", out, "--dictionaries", folder, "--language", "ru"
    )
    assert code == 0
    scores = {(s.id, s.metric): s for s in read_scores(out / "scores.jsonl")}
    assert len(scores) == 2 * 8 + 3 * 9
    correct = {id: scores[id, "language_correct"].value for id in "12345"}
    assert correct == {"1": 1.0, "2": 0.0, "3": 1.0, "4": 0.0, "5": 1.0}
    assert scores["2", "spelling_foreign"].detail["words"]["en"]["the"] == 2
    assert (scores["4", "spelling"].value, scores["4", "spelling"].detail["reason"]) == (0.0, "empty")
    assert scores["4", "spelling_name"].detail == {"reason": "no words"}
    summary = json.loads((out / "summary.json").read_text())
    row = next(r for r in summary["rows"] if (r["model"], r["metric"]) == ("b", "lpr"))
    assert (row["n"], row["ok"], row["abstain"], row["failed"], row["coverage"]) == (2, 1, 1, 0, 0.5)
    assert (row["mean"], row["unscored_as_0"], row["unscored_as_1"]) == (1.0, 0.5, 1.0)
    assert row["reasons"] == {"no line of 5 tokens": 1}
    assert row["examples"] == {"no line of 5 tokens": ["4"]}
    with (out / "summary.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == len(summary["rows"]) == 8 + 9 + 9
    page = (out / "summary.md").read_text()
    assert sum(line.startswith("|") for line in page.splitlines()) == len(summary["rows"]) + 2
    for text in (page, " ".join(printed.split()), summary["notes"]["detectable"]):
        assert "80% power" in text
        assert "5% level" in text
    # Model a in French: one answer of two is in French.
    row = next(r for r in summary["rows"] if (r["language"], r["metric"]) == ("fr", "language_correct"))
    # Two answers would show a difference of 11.8 alone, and the scale ends at 1.
    assert TTestPower().solve_power(nobs=2, alpha=0.05, power=0.8) * math.sqrt(2 * 0.5 * 0.5) > 1
    assert (row["detectable"], row["not_detectable"]) == (None, True)
    assert "language not detectable with n = 2" in " ".join(printed.split())
    tools = summary["provenance"]["surface"]
    assert len(tools["language_model"]["sha256"]) == 64
    assert tools["dictionaries"]["fr"][0]["path"].endswith("fr_FR.dic")
    assert "100.0" in printed
    # Beside each mean its coverage, below 98 % the bounds, and at the end who was left out.
    assert "100.0 50% (50.0–100.0)" in " ".join(printed.split())
    for text in (page, printed):
        assert "  no words: spelling_name 1, " in text
        assert "no line of 5 tokens: lpr 1, line_accuracy 1, wpr 1 (such as 4)\n" in text
    assert not [path for path in out.iterdir() if path.name.startswith(".")]


def test_models_with_equal_ids_go_into_one_command(tmp_path, folder, capsys, monkeypatch):
    for model, text in (("a", FRENCH), ("b", ENGLISH)):
        row = {"id": "1", "model": model, "language": "fr", "response": text}
        (tmp_path / f"{model}.jsonl").write_text(json.dumps(row) + "\n")
    out = tmp_path / "out"
    files = (tmp_path / "a.jsonl", tmp_path / "b.jsonl")
    assert run(capsys, monkeypatch, "surface", *files, "--out", out, "--dictionaries", folder)[0] == 0
    scores = {(s.model, s.id): s.value for s in read_scores(out / "scores.jsonl") if s.metric == "lpr"}
    assert scores == {("a", "1"): 1.0, ("b", "1"): 0.0}
    line = json.loads((out / "scores.jsonl").read_text().splitlines()[0])
    assert list(line) == ["id", "model", "language", "metric", "value", "state", "detail"]
    rows = json.loads((out / "summary.json").read_text())["rows"]
    assert {(r["model"], r["n"], r["mean"]) for r in rows if r["metric"] == "lpr"} == {
        ("a", 1, 1.0),
        ("b", 1, 0.0),
    }


def test_odd_model_names_are_printed(tmp_path, folder, capsys, monkeypatch):
    path = tmp_path / "r.jsonl"
    path.write_text(
        json.dumps({"id": "1", "model": "[red]a\ud800", "language": "fr", "response": FRENCH}) + "\n"
    )
    code, printed, _ = run(
        capsys, monkeypatch, "surface", path, "--out", tmp_path / "out", "--dictionaries", folder
    )
    assert code == 0
    assert "[red]a?" in printed


def test_more_processes_give_the_same_files(tmp_path, folder, responses, capsys, monkeypatch):
    for workers in (1, 2):
        arguments = ("--dictionaries", folder, "--language", "ru", "--workers", workers)
        code, *_ = run(
            capsys, monkeypatch, "surface", responses, "--out", tmp_path / str(workers), *arguments
        )
        assert code == 0
    for name in ("scores.jsonl", "summary.json"):
        assert (tmp_path / "1" / name).read_text() == (tmp_path / "2" / name).read_text()


@pytest.mark.parametrize(
    ("asked", "responses", "processes"),
    [
        (None, 2000, 1),
        (None, 2001, 3),
        (0, 10, 1),
        (0, 100, 2),
        (0, 2001, 3),
        (1, 9999, 1),
        (2, 1, 2),
        (2, 0, 1),
    ],
)
def test_all_cores_are_taken_when_asked_for_or_for_many_responses(monkeypatch, asked, responses, processes):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 3, 5}, raising=False)
    assert surface.processes(asked, responses) == processes


def test_every_input_gives_the_scores_of_our_own_format(tmp_path, folder, capsys, monkeypatch):
    texts = {"1": FRENCH, "2": ENGLISH}
    write_rows(
        tmp_path / "m.jsonl", [{"id": id, "language": "fr", "response": text} for id, text in texts.items()]
    )
    with (tmp_path / "m.csv").open("w", newline="") as file:
        csv.writer(file).writerows(
            [("n", "sprache", "text"), *((id, "French", text) for id, text in texts.items())]
        )
    chats = [[{"from": "human", "value": "?"}, {"from": "gpt", "value": text}] for text in texts.values()]
    write_rows(
        tmp_path / "m.json", [{"id": n, "conversations": chat} for n, chat in enumerate(chats, start=1)]
    )
    flags = {
        "m.jsonl": (),
        "m.csv": ("--id-key", "n", "--language-key", "sprache", "--response-key", "text"),
        "m.json": ("--language", "fr"),
    }
    scores = []
    for name, more in flags.items():
        arguments = ("surface", tmp_path / name, "--out", tmp_path / f"out-{name}", "--dictionaries", folder)
        assert run(capsys, monkeypatch, *arguments, *more)[0] == 0
        scores.append((tmp_path / f"out-{name}" / "scores.jsonl").read_text())
    assert scores[0] == scores[1] == scores[2]


def test_numbered_answers_in_another_order_are_paired_by_their_instruction(
    tmp_path, folder, capsys, monkeypatch
):
    texts = [FRENCH, ENGLISH, RUSSIAN]
    for model, order in (("a", (0, 1, 2)), ("b", (2, 0, 1))):
        rows = [{"instruction": f"q{n}", "output": texts[n], "generator": model} for n in order]
        (tmp_path / model).mkdir()
        (tmp_path / model / "model_outputs.json").write_text(json.dumps(rows))
    files = [tmp_path / model / "model_outputs.json" for model in "ab"]
    flags = ("--dictionaries", folder, "--language", "fr")
    assert run(capsys, monkeypatch, "surface", *files, "--out", tmp_path / "out", *flags)[0] == 0
    compared = ("compare", tmp_path / "out", "--out", tmp_path / "c", "--metrics", "lpr", "--draws", 20)
    assert run(capsys, monkeypatch, *compared)[0] == 0
    document = json.loads((tmp_path / "c" / "compare.json").read_text())
    # Each model has the same answers to the same instructions.
    assert document["paired_by"] == "instruction_id"
    assert {(row["n"], row["difference"]) for row in document["rows"]} == {(3, 0.0)}


@pytest.mark.parametrize("config", [SurfaceConfig, RelevanceConfig, ModifiersConfig, AgreementConfig])
def test_every_evaluator_reads_files_through_one_function(tmp_path, config):
    (tmp_path / "r.csv").write_text("n;wer;text;sprache\n1;a;Oui;French\n")
    keys = {"id_key": ("n",), "model_key": "wer", "response_key": "text", "language_key": "sprache"}
    (response,) = config(**keys).read_files([str(tmp_path / "r.csv")])
    assert (response.id, response.model, response.response, response.language) == ("1", "a", "Oui", "fr")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("surfac",), "unknown command 'surfac'; did you mean 'surface'?"),
        (("surface", "{r}", "--ouT", "x"), "--out"),
        (("surface", "{r}"), "give --out FOLDER"),
        (("surface", "--out", "{o}"), "no responses given"),
        (("surface", "none.jsonl", "--out", "{o}"), "none.jsonl does not exist"),
        (("surface", "{r}", "--out", "{r}"), "is a file, not a directory"),
        (("surface", "{r}", "--out", "{o}", "--lid-model", "none.bin"), "none.bin does not exist"),
        (("surface", "{r}", "--out", "{o}", "--dictionaries", "none"), "none: no such folder"),
        (("surface", "{r}", "--out", "{o}", "--english-words", "absent"), "absent does not exist"),
        (("surface", "{r}", "--out", "{o}", "--languages", "elvish"), "'elvish' is not a code"),
        (("surface", "{r}", "--out", "{o}", "--language", "fr fr"), "'fr fr' is not a code"),
        (("surface", "{r}", "--out", "{o}", "--word-list", "absent"), "absent does not exist"),
        (
            ("surface", "{r}", "--out", "{o}", "--workers", "-1"),
            "workers: -1 is not at least 1, or 0 for all",
        ),
    ],
)
def test_mistakes_are_one_line_and_code_2_and_write_nothing(
    tmp_path, responses, capsys, monkeypatch, arguments, message
):
    given = [argument.format(r=responses, o=tmp_path / "out") for argument in arguments]
    before = responses.read_text()
    code, _, errors = run(capsys, monkeypatch, *given)
    assert code == 2
    assert errors.startswith("error: ")
    assert message in errors
    assert errors.count("\n") == 1
    assert not (tmp_path / "out").exists()
    assert responses.read_text() == before


def test_responses_without_any_language_ask_for_the_flag(tmp_path, capsys, monkeypatch):
    path = tmp_path / "r.jsonl"
    path.write_text('{"id": "a", "response": "b"}\n')
    code, _, errors = run(capsys, monkeypatch, "surface", path, "--out", tmp_path / "out")
    assert (code, "give --language" in errors) == (2, True)


def test_help_lists_the_commands_and_their_flags(capsys, monkeypatch):
    assert "surface" in run(capsys, monkeypatch)[1]
    code, printed, _ = run(capsys, monkeypatch, "surface", "--help")
    assert code == 0
    for flag in ("--out", "--language", "--languages", "--lid-model", "--dictionaries", "--workers"):
        assert flag in printed
