"""Cells that are put together from the layers of others: what they hold, wait for, and are made anew for."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from helpers.small_study import SmallStudy, results, write_study
from safetensors.numpy import load_file

from xltjax.common.errors import UserError
from xltjax.miniature.text import instruction_rows
from xltjax.study.grid import cells
from xltjax.study.launch import slurm
from xltjax.study.launch.runner import call
from xltjax.study.settings import read_study

WHOLE = ["all", "embed", "norm", "head"]
RATE = "lr-0.01/seed-0"
SECTIONS: dict[str, Any] = {
    "learning_rates": None,
    "adaptations": {
        "ft": {},
        "lora": {"lora_rank": 2},
        "reset": {"of": "ft", "reset_layers": WHOLE},
        "swap": {"of": "ft", "swap_layers": "-1", "expert": {"data": "others", "adaptation": "lora"}},
    },
    "grid": [{"data": ["dolly"], "adaptations": ["ft", "reset", "swap"], "learning_rates": [1e-2]}],
}


def write(folder: Path, model: Path, **changes: Any) -> Path:
    others = folder / "others.jsonl"
    file = write_study(folder, model)
    others.write_text("".join(json.dumps(row) + "\n" for row in instruction_rows(0, "fr")[:24]))
    values = yaml.safe_load(file.read_text())
    values |= {**SECTIONS, **changes}
    values["data"]["others"] = str(others)
    values["generate"]["modifiers"] = False
    file.write_text(yaml.safe_dump({key: value for key, value in values.items() if value is not None}))
    return file


@pytest.fixture(scope="module")
def finished(chat_model: Path, tmp_path_factory: pytest.TempPathFactory) -> SmallStudy:
    folder = tmp_path_factory.mktemp("combined")
    study = SmallStudy(write(folder, chat_model), folder / "out")
    assert {outcome.state for outcome in study.finish()} == {"done"}
    return study


def weights(folder: Path) -> Mapping[str, np.ndarray]:
    return {name: tensor for file in folder.glob("*.safetensors") for name, tensor in load_file(file).items()}


def test_a_combined_cell_needs_the_trainings_of_others_which_need_not_be_asked(finished: SmallStudy) -> None:
    paths = [stage.path for stage in finished.stages]
    assert [path for path in paths if "/others/" in path] == [f"tiny/others/lora/{RATE}/train"]
    swap = [stage for stage in finished.stages if "/swap/" in stage.path]
    assert [stage.kind for stage in swap] == ["combine", "generate", "surface"]
    needs = [each.stage for each in swap[0].upstream]
    assert needs == [f"tiny/dolly/ft/{RATE}/train", f"tiny/others/lora/{RATE}/train"]
    assert paths.index(swap[0].path) > max(map(paths.index, needs))
    assert str(finished.root.parent) not in json.dumps(dict(swap[0].settings))


def test_a_reset_of_everything_is_the_base_bit_for_bit(finished: SmallStudy, chat_model: Path) -> None:
    ours, base = (
        weights(folder) for folder in (finished.root / f"tiny/dolly/reset/{RATE}/combine/model", chat_model)
    )
    assert ours.keys() == base.keys()
    for name, tensor in base.items():
        assert ours[name].dtype == tensor.dtype
        assert np.array_equal(ours[name], tensor), name


def test_a_swapped_layer_is_the_experts_with_its_adapters_merged(
    finished: SmallStudy, chat_model: Path, tmp_path: Path
) -> None:
    for path, more in ((f"dolly/ft/{RATE}", ()), (f"others/lora/{RATE}", ("--merge-lora",))):
        words = [str(finished.root / "tiny" / path / "train"), str(tmp_path / path), *more]
        assert call(["converters", "to-hf", *words]) == 0
    tuned, expert = (weights(tmp_path / name) for name in (f"dolly/ft/{RATE}", f"others/lora/{RATE}"))
    swapped = weights(finished.root / f"tiny/dolly/swap/{RATE}/combine/model")
    last = f"layers.{max(int(n) for n in re.findall(r'layers.([0-9]+)', ' '.join(tuned)))}."
    for name, tensor in swapped.items():
        assert np.array_equal(tensor, (expert if last in name else tuned)[name]), name
    assert any(not np.array_equal(expert[name], tuned[name]) for name in tuned if last in name)


@pytest.fixture
def copy(finished: SmallStudy, tmp_path: Path) -> SmallStudy:
    """The finished study in another folder."""
    shutil.copytree(finished.root.parent, tmp_path / "moved")
    file = tmp_path / "moved" / "small.yaml"
    file.write_text(file.read_text().replace(str(finished.root.parent), str(tmp_path / "moved")))
    return SmallStudy(file, tmp_path / "moved" / "out")


def test_models_may_be_removed_and_are_made_again_when_something_needs_them(
    copy: SmallStudy,
) -> None:
    study, before = copy, results(copy.root)
    for cell in ("dolly/ft", "others/lora"):
        shutil.rmtree(study.root / f"tiny/{cell}/{RATE}/train/checkpoints")
    for cell in ("reset", "swap"):
        shutil.rmtree(study.root / f"tiny/dolly/{cell}/{RATE}/combine/model")
    assert {str(state) for state in study.states().values()} == {"done"}
    (study.root / f"tiny/dolly/reset/{RATE}/generate/responses.jsonl").unlink()
    states = {path: str(state) for path, state in study.states().items() if state.kind != "done"}
    assert states[f"tiny/dolly/ft/{RATE}/train"] == "to do because its weights are gone"
    assert states[f"tiny/dolly/reset/{RATE}/combine"] == f"blocked by tiny/dolly/ft/{RATE}/train"
    assert f"tiny/others/lora/{RATE}/train" not in states  # the swapped model is as done as before
    assert {outcome.path for outcome in study.finish()} >= {f"tiny/dolly/reset/{RATE}/combine"}
    assert results(study.root) == before
    assert {str(state) for state in study.states().values()} == {"done"}


def test_a_kill_while_models_are_combined_leaves_what_the_same_command_finishes(copy: SmallStudy) -> None:
    before = results(copy.root)
    for cell in ("reset", "swap"):
        place = copy.root / f"tiny/dolly/{cell}/{RATE}/combine"
        record = json.loads((place / "identity.json").read_text())
        (place / "identity.json").write_text(json.dumps({**record, "state": "begun", "outputs": {}}))
        if cell == "reset":  # it had not come to its end, unlike the other one
            (place / "model").rename(place / ".model.4711.tmp")
    assert str(copy.states()[f"tiny/dolly/swap/{RATE}/combine"]) == "to do because it has not ended yet"
    assert {(each.path.split("/")[-1], each.state) for each in copy.finish()} == {("combine", "done")}
    assert {str(state) for state in copy.states().values()} == {"done"}
    assert results(copy.root) == before
    place = copy.root / f"tiny/dolly/reset/{RATE}/combine"
    assert sorted(each.name for each in place.iterdir()) == ["identity.json", "model"]


def test_on_slurm_a_combined_cell_waits_for_the_jobs_of_those_that_it_is_made_of(
    chat_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = SmallStudy(write(tmp_path, chat_model), tmp_path / "out")
    queue: dict[str, str] = {}
    options: dict[str, Mapping[str, str]] = {}
    canceled: list[str] = []

    def submitted(executor: Any, name: str, stages: Any, root: Path, parameters: Mapping[str, str]) -> str:
        options[name] = parameters
        queue[name] = str(100 + len(options) + len(canceled))
        return queue[name]

    monkeypatch.setattr(slurm, "_executor", lambda root: None)
    monkeypatch.setattr(slurm, "_submit", submitted)
    monkeypatch.setattr(slurm, "queued_jobs", lambda root: dict(queue))
    monkeypatch.setattr(slurm.subprocess, "run", lambda words, check: canceled.append(words[-1]))

    def submit() -> slurm.Submission:
        options.clear()
        return slurm.submit(study.stages, study.states(), study.root, ["dependency=singleton"])

    submit()
    ft, expert, reset, swap = (
        f"tiny/{name}/{RATE}" for name in ("dolly/ft", "others/lora", "dolly/reset", "dolly/swap")
    )
    assert {options[cell]["dependency"] for cell in (ft, expert)} == {"singleton"}
    assert options[reset]["dependency"] == f"singleton,afterany:{queue[ft]}"
    assert options[swap]["dependency"] == f"singleton,afterany:{queue[ft]}:{queue[expert]}"
    assert submit().submitted == {}
    waiting = queue[swap]
    log = study.root / "slurm" / "submitit" / f"{queue[expert]}_0_log.out"
    log.parent.mkdir()
    log.touch()
    del queue[expert]  # it was canceled
    again = submit()
    assert again.ended == {expert: log}
    assert set(again.submitted) == {expert, swap, "all-cells"}
    assert waiting in canceled
    assert options[swap]["dependency"].endswith(f":{queue[ft]}:{queue[expert]}")


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"of": "fft", "reset_layers": "0"}, "adaptations.x: of: unknown name 'fft'; did you mean 'ft'"),
        ({"reset_layers": "0"}, "adaptations.x: of is missing"),
        ({"of": "ft"}, "adaptations.x: nothing is combined; give reset_layers, swap_layers or average_layers"),
        ({"of": "ft", "reset_layer": "0"}, "x: unknown setting 'reset_layer'; did you mean 'reset_layers'"),
        ({"of": "ft", "reset_layers": "0-1", "3-4": None}, "adaptations.x: 3-4 stands alone; write layers as a list"),
        ({"of": "ft", "reset_layers": "0", "lora_rank": 2}, "adaptations.x: unknown setting 'lora_rank'"),
        ({"of": "ft", "reset_layers": "3-x"}, "adaptations.x: reset_layers: '3-x' names no part of a model"),
        ({"of": "ft", "reset_layers": "0-99"}, "x/lr-0.01/seed-0: reset_layers: layer 99 is out of range"),
        (
            {"of": "ft", "reset_layers": "0-1", "swap_layers": "-1", "expert": {"data": "others"}},
            "x/lr-0.01/seed-0: layers.1 is named by both reset_layers and swap_layers",
        ),
        ({"of": "ft", "swap_layers": "0"}, "adaptations.x: swap_layers needs a second tuned model: give expert"),
        ({"of": "ft", "reset_layers": "0", "expert": "DIR"}, "adaptations.x: nothing is taken from expert"),
        ({"of": "ft", "swap_layers": "0", "expert": {}}, "adaptations.x: expert: name what differs"),
        ({"of": "ft", "swap_layers": "0", "expert": {"data": "dolly"}}, "its expert is the cell that is changed"),
        (
            {"of": "ft", "swap_layers": "0", "expert": {"data": "other"}},
            "adaptations.x: data: unknown name 'other'; did you mean 'others'",
        ),
        (
            {"of": "ft", "swap_layers": "0", "expert": {"dta": "others"}},
            "adaptations.x: unknown setting 'dta'; did you mean 'data'",
        ),
        ({"train_layers": "0-99"}, "x/lr-0.01/seed-0: train_layers: layer 99 is out of range"),
        ({"of": "reset", "reset_layers": "0"}, "adaptations.x: of: 'reset' is itself a combination"),
    ],
)  # fmt: skip
def test_mistakes_in_a_combination_are_named(
    section: dict[str, Any], message: str, chat_model: Path, tmp_path: Path
) -> None:
    adaptations = {**SECTIONS["adaptations"], "x": section}
    grid = [{"data": ["dolly"], "adaptations": ["x"], "learning_rates": [1e-2]}]
    file = write(tmp_path, chat_model, adaptations=adaptations, grid=grid)
    with pytest.raises(UserError, match=re.escape(message)) as refused:
        cells(read_study(str(file)))
    assert len(str(refused.value).splitlines()) == 1
