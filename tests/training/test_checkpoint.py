"""Checkpoints that cannot be read: damage skips one, anything else stops, and healthy ones stay as they are."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from xltjax.checkpoint import Checkpoints, TrainState
from xltjax.common.errors import UserError


def state(step: int, rank: int = 4) -> TrainState:
    draw = np.random.default_rng(step)
    weights = {
        f"layers.{n}.lora_a": jnp.asarray(draw.normal(size=(rank, 300)), jnp.float32) for n in range(2)
    }
    return TrainState(jnp.int32(step), weights, {"mu": weights, "count": jnp.int32(step)})


def contents(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()
    }


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoints after updates 1 and 2."""
    directory = tmp_path_factory.mktemp("run") / "checkpoints"
    checkpoints = Checkpoints(directory, keep=2)
    for step in (1, 2):
        checkpoints.save(state(step))
    checkpoints.close()
    return directory


@pytest.fixture
def run(two: Path, tmp_path: Path) -> Path:
    """A copy of ``two`` to damage, in a run directory."""
    return Path(shutil.copytree(two.parent, tmp_path / "run")) / "checkpoints"


def restored(directory: Path, like: TrainState | None = None) -> TrainState | None:
    checkpoints = Checkpoints(directory, keep=2)
    found = checkpoints.restore_latest(like or state(0))
    checkpoints.close()
    return found


def flip(path: Path) -> None:
    """Change one bit in the middle of the largest file, which holds the values of the arrays."""
    file = max((each for each in path.rglob("*") if each.is_file()), key=lambda each: each.stat().st_size)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 4
    file.write_bytes(content)


def halve(path: Path) -> None:
    for file in path.rglob("*"):
        if file.is_file():
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def damage(pattern: str, change: Callable[[Path], Any]) -> Callable[[Path], None]:
    def apply(checkpoint: Path) -> None:
        (file,) = checkpoint.glob(pattern)
        change(file)

    return apply


DAMAGES = {
    "all files cut": halve,
    "empty": lambda checkpoint: [shutil.rmtree(checkpoint), checkpoint.mkdir()],
    "no description": damage("weights/_METADATA", Path.unlink),
    "description empty": damage("optimizer/_METADATA", lambda file: file.write_bytes(b"")),
    "no manifest": damage("weights/manifest.ocdbt", Path.unlink),
    "no index": damage("weights/d/*", Path.unlink),
    "no values": damage("weights/ocdbt.process_0/d/*", Path.unlink),
    "values cut": damage(
        "optimizer/ocdbt.process_0/d/*", lambda file: file.write_bytes(file.read_bytes()[:5000])
    ),
    "one bit of a weight": lambda checkpoint: flip(checkpoint / "weights"),
    "one bit of the optimizer's state": lambda checkpoint: flip(checkpoint / "optimizer"),
}


@pytest.mark.parametrize("what", DAMAGES)
def test_a_damaged_checkpoint_is_named_and_moved_aside(
    what: str, run: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    healthy = contents(run / "1")
    DAMAGES[what](run / "2")
    found = restored(run)
    assert found is not None
    assert int(found.step) == 1
    np.testing.assert_array_equal(found.weights["layers.0.lora_a"], state(1).weights["layers.0.lora_a"])
    (line,) = [record.message for record in caplog.records if record.name == "xltjax"]
    assert line.startswith(f"warning: checkpoint 2 in {run} is damaged: ")
    assert line.endswith("; continuing from checkpoint 1")
    assert len(line) < 300 + len(str(run))
    assert capfd.readouterr().err == ""
    assert contents(run / "1") == healthy
    assert [path.name for path in run.iterdir()] == ["1"]
    assert (run.parent / "damaged" / "2").is_dir()
    # So the next ones are kept, not counted as older than the damaged one.
    checkpoints = Checkpoints(run, keep=1)
    checkpoints.save(state(2))
    checkpoints.close()
    assert [path.name for path in run.iterdir()] == ["2"]


def test_when_none_can_be_read_nothing_is_touched(run: Path) -> None:
    for step in (1, 2):
        halve(run / str(step))
    before = contents(run.parent)
    with pytest.raises(
        UserError, match=rf"^checkpoint 2 in {run} is damaged: .*, and there is no other"
    ) as caught:
        restored(run)
    assert len(str(caught.value)) < 500 + 2 * len(str(run))
    assert "\n" not in str(caught.value)
    assert contents(run.parent) == before


@pytest.mark.parametrize(
    ("problem", "message"),
    [
        (OSError(errno.EIO, "Input/output error"), "cannot be read: .*Input/output error"),
        (ValueError("INTERNAL: Error reading local file: [OS error 5: EIO]"), "cannot be read: INTERNAL"),
        (PermissionError(errno.EACCES, "Permission denied"), "cannot be read: .*Permission denied"),
        (RuntimeError("a mistake of ours"), "cannot be read: a mistake of ours"),
    ],
)
def test_an_error_of_the_disk_is_no_damage(
    problem: Exception, message: str, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(run.parent)
    fail_to_load(monkeypatch, problem)
    with pytest.raises(UserError, match=rf"^checkpoint 2 in {run} {message}"):
        restored(run)
    assert contents(run.parent) == before


@pytest.mark.parametrize(
    "problem", [MemoryError("full"), RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 7 bytes.")]
)
def test_too_little_memory_is_no_damage(
    problem: Exception, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(run.parent)
    fail_to_load(monkeypatch, problem)
    with pytest.raises(type(problem), match=str(problem)):
        restored(run)
    assert contents(run.parent) == before


def fail_to_load(monkeypatch: pytest.MonkeyPatch, problem: Exception) -> None:
    """Let Orbax fail as it does, under a type of its own that hides the reason."""
    from orbax.checkpoint import v1 as ocp

    def fail(*_: object) -> None:
        raise LookupError("no handler: <class 'Handler'>" * 100) from problem

    monkeypatch.setattr(ocp.training.Checkpointer, "load_checkpointables", fail)


@pytest.mark.parametrize("rank", [2, 8])
def test_other_shapes_are_no_damage(rank: int, run: Path) -> None:
    before = contents(run.parent)
    with pytest.raises(
        UserError, match=rf"belongs to another model or other adapters: .* \(4, 300\), and \({rank}, 300\)"
    ):
        restored(run, state(0, rank))
    other = TrainState(jnp.int32(0), {"embed.weight": jnp.zeros((8, 4))}, {"count": jnp.int32(0)})
    with pytest.raises(UserError, match=r"embed\.weight is not in it"):
        restored(run, other)
    assert contents(run.parent) == before


def test_without_checkpoints_a_run_begins(tmp_path: Path) -> None:
    assert restored(tmp_path / "checkpoints") is None


def test_a_vocabulary_padded_for_another_mesh_is_read(tmp_path: Path) -> None:
    table = jnp.arange(12.0).reshape(6, 2)
    saved = TrainState(jnp.int32(3), {"embed.weight": table}, {"count": jnp.int32(3)})
    checkpoints = Checkpoints(tmp_path / "c", keep=1)
    checkpoints.save(saved)
    checkpoints.close()
    like = TrainState(jnp.int32(0), {"embed.weight": jnp.zeros((8, 2))}, {"count": jnp.int32(0)})
    found = restored(tmp_path / "c", like)
    assert found is not None
    np.testing.assert_array_equal(found.weights["embed.weight"], np.pad(table, ((0, 2), (0, 0))))


def test_states_of_the_optimizer_are_dropped_whole_and_the_weights_stay(run: Path) -> None:
    checkpoints = Checkpoints(run, keep=2)
    checkpoints.save(state(3), optimizer=False)
    checkpoints.drop_optimizers()
    for step in (2, 3):
        found = checkpoints.read(step, "weights", state(step).weights)
        assert all(np.array_equal(found[name], array) for name, array in state(step).weights.items())
    assert not list(run.glob("*/optimizer")) + list(run.glob("*.tmp"))
    like = state(0)
    last = checkpoints.restore_latest(like, end=3)
    assert last is not None
    assert int(last.step) == 3
    with pytest.raises(UserError, match=r"checkpoint 3 in .* has no state of the optimizer"):
        checkpoints.restore_latest(like, end=4)
    checkpoints.close()


def test_a_lost_state_of_the_optimizer_is_damage_and_not_taken_for_a_dropped_one(run: Path) -> None:
    shutil.rmtree(run / "2" / "optimizer")
    found = restored(run)
    assert found is not None
    assert int(found.step) == 1


def test_what_a_kill_leaves_of_a_dropped_state_is_no_checkpoint_and_goes_the_next_time(run: Path) -> None:
    (run / "1" / "optimizer-dropped").touch()
    (run / "1" / "optimizer").rename(run / "1.optimizer.tmp")
    found = restored(run)
    assert found is not None
    assert int(found.step) == 2
    checkpoints = Checkpoints(run, keep=2)
    assert checkpoints.steps() == [1, 2]
    assert [checkpoints.lacks_optimizer(step) for step in (1, 2)] == [True, False]
    checkpoints.drop_optimizers()
    checkpoints.close()
    assert sorted(path.name for path in run.iterdir() if path.is_dir()) == ["1", "2"]
