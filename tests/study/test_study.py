"""The stages of a small study, run in this process: what is done, what is done anew, and what is kept."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml
from helpers.small_study import SmallStudy, results, write_study

from xltjax.eval.report.numbers.sources import read_source
from xltjax.study.stages import prepare

CELLS = ("tiny/dolly/ft/lr-0.001/seed-0", "tiny/dolly/ft/lr-0.01/seed-0")
KINDS = ("train", "generate", "generate-modified", "surface", "modifiers")


@pytest.fixture
def folder(finished_study: Path, tmp_path: Path) -> Path:
    """A copy of the finished study: another folder than the one in which it was made."""
    shutil.copytree(finished_study, tmp_path / "moved")
    file = tmp_path / "moved" / "small.yaml"
    file.write_text(file.read_text().replace(str(finished_study), str(tmp_path / "moved")))
    return tmp_path / "moved"


def open_study(folder: Path) -> SmallStudy:
    return SmallStudy(folder / "small.yaml", folder / "out")


def change(folder: Path, section: str, **settings: object) -> None:
    file = folder / "small.yaml"
    values = yaml.safe_load(file.read_text())
    values[section] |= settings
    file.write_text(yaml.safe_dump(values))


def test_every_cell_has_readable_folders_with_an_identity_inside(finished_study: Path) -> None:
    study = open_study(finished_study)
    assert [stage.path for stage in study.stages] == [
        *(f"{cell}/{kind}" for cell in CELLS for kind in KINDS), "choose", "tables"
    ]  # fmt: skip
    for stage in study.stages:
        record = json.loads((study.root / stage.path / "identity.json").read_text())
        assert record["state"] == "done"
        assert str(finished_study) not in json.dumps([record["settings"], record["inputs"]])  # no path
    rows = (study.root / "tables" / "cells.csv").read_text().splitlines()
    assert rows[0].startswith("model,data,adaptation,learning_rate,seed,language,metric,")
    assert {tuple(row.split(",")[3:6:2]) for row in rows[1:]} == {
        (rate, language) for rate in ("0.001", "0.01") for language in ("en", "fr")
    }


def test_a_study_ends_with_a_report(folder: Path) -> None:
    file = folder / "small.yaml"
    file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), "report": {"draws": 50}}))
    study = open_study(folder)
    states = study.states()
    assert [path for path, state in states.items() if state.kind != "done"] == ["report"]
    assert [outcome.path for outcome in study.finish()] == ["report"]
    page = (study.root / "report" / "report.html").read_text()
    assert page.startswith("<!doctype html>")
    assert "tiny/dolly/ft" in page


def test_a_study_in_another_folder_is_as_done_as_before(folder: Path) -> None:
    before = results(folder / "out")
    study = open_study(folder)
    assert {str(state) for state in study.states().values()} == {"done"}
    assert study.finish() == []
    assert results(folder / "out") == before


def test_a_changed_setting_is_named_and_the_old_result_is_kept(folder: Path) -> None:
    change(folder, "generate", seed=1)  # of sampling, so that greedy answers are the same
    file = folder / "small.yaml"
    file.write_text(file.read_text() + "surface: {languages: [en, fr]}\n")
    study, before = open_study(folder), results(folder / "out")
    states = study.states()
    for cell in CELLS:
        assert str(states[f"{cell}/train"]) == "done"
        assert str(states[f"{cell}/generate"]) == "to do because seed was 0, now 1"
        assert str(states[f"{cell}/surface"]) == "blocked by generate"
    outcomes = {outcome.path: outcome for outcome in study.finish()}
    path = f"{CELLS[0]}/generate"
    old = study.root / f"{path}.old-1"
    assert outcomes[path].note == f"seed was 0, now 1; the old result is kept in {old}"
    assert (old / "responses.jsonl").read_bytes() == before[f"{path}/responses.jsonl"]
    assert len((study.root / path / "responses.jsonl").read_text().splitlines()) == 4
    languages = 'languages was ["en", "fr", "pt", "ru"], now ["en", "fr"]; the old result'
    assert outcomes[f"{CELLS[0]}/surface"].note.startswith(languages)
    assert f"{CELLS[0]}/modifiers" not in outcomes  # its inputs were made anew, and are the same
    assert {str(state) for state in study.states().values()} == {"done"}


def test_changed_rows_mean_another_training_and_the_mesh_does_not(folder: Path) -> None:
    change(folder, "train", mesh="1x2", save_every=1, remat="none")
    change(folder, "generate", batch_size=2, mesh="1x2")
    assert {str(state) for state in open_study(folder).states().values()} == {"done"}
    data = folder / "dolly.jsonl"
    data.write_text("".join(data.read_text().splitlines(keepends=True)[1:]))
    states = open_study(folder).states()
    assert {str(states[f"{cell}/train"]) for cell in CELLS} == {"to do because the data changed"}


def test_a_new_setting_at_its_default_voids_nothing(folder: Path) -> None:
    study = open_study(folder)
    file = study.root / CELLS[0] / "generate" / "identity.json"
    record = json.loads(file.read_text())
    del record["settings"]["top_k"]  # as a version of xltjax that did not know it yet has written
    file.write_text(json.dumps(record))
    assert str(study.states()[f"{CELLS[0]}/generate"]) == "done"
    change(folder, "generate", top_k=5, temperature=0.5)
    reason = str(open_study(folder).states()[f"{CELLS[0]}/generate"])
    assert "top_k was 0, now 5" in reason
    assert "temperature was 0.0, now 0.5" in reason


def test_a_raised_version_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xltjax.study.stages.GENERATE_VERSION", 2)
    state = open_study(folder).states()[f"{CELLS[0]}/generate"]
    assert str(state) == "to do because the version of generate was 1, now 2"


@pytest.mark.parametrize("record", ["{", '{"stage": "surface", "settings": null}'])
def test_a_record_that_cannot_be_read_blocks_its_stage_alone(folder: Path, record: str) -> None:
    study = open_study(folder)
    (study.root / CELLS[0] / "surface" / "identity.json").write_text(record)
    states = study.states()
    assert f"{CELLS[0]}/surface/identity.json" in str(states[f"{CELLS[0]}/surface"])
    assert states[f"{CELLS[0]}/surface"].kind == "blocked"
    assert states["tables"].kind == "to do"
    assert {(each.path, each.state) for each in study.finish()} == {("choose", "done"), ("tables", "done")}


def test_in_a_folder_that_was_renamed_the_training_counts_and_the_answers_do_not(folder: Path) -> None:
    (folder / "out" / "tiny").rename(folder / "out" / "small")
    change(folder, "models", small=yaml.safe_load((folder / "small.yaml").read_text())["models"]["tiny"])
    file = folder / "small.yaml"
    values = yaml.safe_load(file.read_text())
    del values["models"]["tiny"]
    file.write_text(yaml.safe_dump(values))
    states, cell = open_study(folder).states(), CELLS[0].replace("tiny", "small")
    assert str(states[f"{cell}/train"]) == "done"
    assert str(states[f"{cell}/generate"]) == f'to do because name was "{CELLS[0]}", now "{cell}"'


def test_what_the_study_no_longer_has_is_not_in_its_report(folder: Path) -> None:
    file = folder / "small.yaml"
    file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), "learning_rates": [1e-3]}))
    study = open_study(folder)
    prepare(study.study, study.cells, study.root)
    found = read_source(str(study.root))
    assert {stage.path for stage in found.stages} == {stage.path for stage in study.stages}
    assert {model for model, _ in found.responses} == {CELLS[0]}
    assert [run.name for run in found.runs] == [CELLS[0]]


@pytest.mark.parametrize("damage", ["gone", "changed"])
def test_a_result_that_is_gone_or_was_changed_by_hand_is_made_again(folder: Path, damage: str) -> None:
    study, before = open_study(folder), results(folder / "out")
    file = study.root / CELLS[1] / "generate" / "responses.jsonl"
    lines = file.read_text().splitlines(keepends=True)
    file.unlink() if damage == "gone" else file.write_text("".join(lines[:-1]))
    verb = "is gone" if damage == "gone" else "was changed"
    state = study.states()[f"{CELLS[1]}/generate"]
    assert str(state) == f"to do because its responses.jsonl {verb}"
    study.finish()
    assert results(folder / "out") == before
    kept = file.parent.with_name("generate.old-1") / "responses.jsonl"
    assert kept.exists() == (damage == "changed")


def test_weights_may_be_removed_once_nothing_needs_them(folder: Path) -> None:
    study = open_study(folder)
    shutil.rmtree(study.root / CELLS[0] / "train" / "checkpoints")
    assert {str(state) for state in study.states().values()} == {"done"}
    shutil.rmtree(study.root / CELLS[0] / "generate")
    states = study.states()
    assert str(states[f"{CELLS[0]}/train"]) == "to do because its weights are gone"
    assert str(states[f"{CELLS[0]}/generate"]) == "blocked by train"
    assert str(states[f"{CELLS[1]}/generate"]) == "done"


def test_a_training_that_is_repeated_voids_no_answers_made_of_it(folder: Path) -> None:
    study = open_study(folder)
    for lost in ("train", "generate-modified"):
        shutil.rmtree(study.root / CELLS[0] / lost)
    begun = study.root / CELLS[0] / "generate"  # which a kill has cut
    record = json.loads((begun / "identity.json").read_text())
    (begun / "identity.json").write_text(json.dumps({**record, "state": "begun", "outputs": {}}))
    answers = (begun / "responses.jsonl").read_text()
    (begun / "responses.jsonl").write_text(answers.splitlines(keepends=True)[0])
    outcomes = study.finish()
    kinds = ("train", "generate", "generate-modified")
    assert {each.path for each in outcomes} == {f"{CELLS[0]}/{kind}" for kind in kinds}
    assert {(each.state, each.note) for each in outcomes} == {("done", "")}
    assert (begun / "responses.jsonl").read_text() == answers


def test_a_failing_cell_says_why_in_one_line_and_the_rest_goes_on(chat_model: Path, folder: Path) -> None:
    change(folder, "data", missing=str(folder / "absent.jsonl"), relative="data/absent.csv")
    study = open_study(folder)
    lost = [path.replace("/dolly/", "/missing/") for path in CELLS]
    states = study.states()
    for path in lost:
        assert str(states[f"{path}/train"]) == f"blocked by data file {folder}/absent.jsonl does not exist"
        other = str(states[f"{path.replace('/missing/', '/relative/')}/train"])
        assert (
            other == "blocked by data file data/absent.csv does not exist"
        )  # which is no dataset of the hub
    assert study.finish() == []  # the others are done, and the tables with them


def test_a_training_that_diverges_ends_neither_its_sweep_nor_the_tables(
    chat_model: Path, tmp_path: Path
) -> None:
    file = write_study(tmp_path, chat_model, learning_rates=[1e-3, 1e30])
    study = SmallStudy(file, tmp_path / "out")
    outcomes = {outcome.path: outcome for outcome in study.finish()}
    failed = [outcome for outcome in outcomes.values() if outcome.state == "failed"]
    assert [outcome.path for outcome in failed] == ["tiny/dolly/ft/lr-1e+30/seed-0/train"]
    assert "try a lower learning rate than 1e+30" in failed[0].reason
    assert len(failed[0].reason.splitlines()) == 1
    assert outcomes["tables"].state == "done"
    assert outcomes[f"{CELLS[0]}/surface"].state == "done"
    state = study.states()["tiny/dolly/ft/lr-1e+30/seed-0/train"]
    assert str(state) == f"to do because it failed: {failed[0].reason}"


def test_a_stage_whose_log_cannot_be_written_has_failed(folder: Path) -> None:
    study = open_study(folder)
    for name in ("logs", f"{CELLS[0]}/surface"):
        shutil.rmtree(study.root / name)
    (study.root / "logs").write_text("a file")
    found = {each.path: each for each in study.finish()}
    assert found[f"{CELLS[0]}/surface"].state == "failed"
    assert f"{study.root}/logs/" in found[f"{CELLS[0]}/surface"].reason
    assert "cannot be written" in found[f"{CELLS[0]}/surface"].reason


def test_prompts_without_a_language_are_refused_before_anything_is_trained(
    chat_model: Path, tmp_path: Path
) -> None:
    (tmp_path / "asked.txt").write_text("Che cosa?\n")
    generate = {"prompts": str(tmp_path / "asked.txt"), "max_new_tokens": 4}
    file = write_study(tmp_path, chat_model, generate=generate)
    state = SmallStudy(file, tmp_path / "out").states()[f"{CELLS[0]}/generate"]
    assert state.kind == "blocked"
    assert "give it under generate, as in languages: [it], or under surface" in state.reason
    for told in (
        {"generate": {**generate, "languages": "it"}},
        {"generate": generate, "surface": {"language": "it"}},
    ):
        study = SmallStudy(write_study(tmp_path, chat_model, **told), tmp_path / "out")
        assert str(study.states()[f"{CELLS[0]}/generate"]) == "blocked by train"


def test_what_a_user_has_put_in_a_stages_place_is_left_alone(folder: Path) -> None:
    study = open_study(folder)
    place = study.root / CELLS[0] / "surface"
    shutil.rmtree(place)
    place.mkdir()
    (place / "notes.txt").write_text("mine")
    state = study.states()[f"{CELLS[0]}/surface"]
    assert state.kind == "blocked"
    assert "notes" not in str(state)
    assert f"{place} contains files that do not belong to this study" in str(state)
    study.finish()
    assert [path.name for path in place.iterdir()] == ["notes.txt"]
