"""Which scores belong to which learning rate, seed and family of runs."""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from xltjax.common.errors import UserError, did_you_mean
from xltjax.common.files import read_text
from xltjax.eval.comparison.joined import find_scores

_BEFORE, _AFTER = r"(?:^|(?<=[-_. ]))", r"(?=$|[-_. ])"
RATE = re.compile(
    rf"{_BEFORE}(?:lr|learning[-_]rate)[-_= ]?(\d+(?:\.\d+)?(?:e[-+]?\d+)?){_AFTER}", re.IGNORECASE
)
# Where a study's cells lie. The names before the rate are the user's, and may hold what looks like a rate or seed.
CELL = re.compile(r"(.+)/lr-(\d+(?:\.\d+)?(?:e[-+]?\d+)?)/seed-(\d+)(?:/.*)?")
SEED = re.compile(rf"{_BEFORE}seed[-_= ]?(\d+){_AFTER}", re.IGNORECASE)
CONFIG = "config.yaml"  # of a run of ours
LEVELS = 3  # how far above its scores a run may lie
# Settings that may differ between the runs of one family.
VARIED = frozenset(("learning_rate", "learning_rates", "seed", "out", "mesh"))
KEYS = frozenset(("scores", "model", "family", "learning_rate", "seed"))


@dataclass(frozen=True, order=True)
class Candidate:
    """One run: its family (everything but learning rate and seed), its learning rate and its seed."""

    family: str
    rate: float
    seed: int = 0

    @property
    def name(self) -> str:
        """A name for its model."""
        return f"{self.family} lr {self.rate:g} seed {self.seed}"


@dataclass(frozen=True)
class Source:
    """A file of scores, the name of its model, and the run that it is known to be of."""

    name: str
    path: Path
    candidate: Candidate | None = None


def parse_name(text: str) -> tuple[str, float | None, int | None]:
    """The family, rate and seed that a name or path tells.

    >>> parse_name("7b/dolly-en/ft/lr-1e-05/seed-2/scores")
    ('7b/dolly-en/ft', 1e-05, 2)
    >>> parse_name("7b-lora-lr1e-4-seed0")
    ('7b-lora', 0.0001, 0)
    >>> parse_name("7b/scores")
    ('7b/scores', None, None)
    """
    if cell := CELL.fullmatch(text):
        return cell[1], float(cell[2]), int(cell[3])
    rate = seed = None
    kept: list[str] = []
    told = 0
    for part in text.split("/"):
        found_rate, found_seed = RATE.search(part), SEED.search(part)
        if found_rate:
            rate = float(found_rate[1])
        if found_seed:
            seed = int(found_seed[1])
        rest = SEED.sub("", RATE.sub("", part)).strip("-_. ")
        kept += [re.sub(r"([-_. ])[-_. ]+", r"\1", rest)] if rest else []
        if found_rate or found_seed:
            told = len(kept)
    # What lies below the run, such as a folder of scores, does not name its family.
    return "/".join(kept[:told] if rate is not None else kept), rate, seed


def candidates_of_models(models: Sequence[str], known: Mapping[str, Candidate]) -> dict[str, Candidate]:
    """The run of each model, ``known`` or told by its name.

    Raises:
        UserError: when a learning rate is not known.
    """
    found = {}
    for model in models:
        if model in known:
            found[model] = known[model]
            continue
        family, rate, seed = parse_name(model)
        if rate is None:
            raise UserError(
                f"the learning rate of {model!r} is not known; name the directories or models as in lr-1e-05, or "
                "say it in a file: --runs FILE"
            )
        found[model] = Candidate(family or "model", rate, seed or 0)
    return found


def find_sources(scores: Sequence[str]) -> list[Source]:
    """The files of scores, each with its run where the path or the run's ``config.yaml`` tells it.

    Raises:
        UserError: for a path without scores, or where path and ``config.yaml`` contradict each other.
    """
    sources = [Source(*find_scores(each)) for each in scores]
    told = {source.path: _of_path(source.path) for source in sources if not source.name}
    families = _short({family for family, *_ in filter(None, told.values())})
    found = []
    for source in sources:
        known = told.get(source.path)
        if known is None:
            found.append(source)
            continue
        family, rate, seed = known
        candidate = Candidate(families[family] or "model", rate, seed)
        found.append(Source(candidate.name, source.path, candidate))
    return found


def _of_path(path: Path) -> tuple[str, float, int] | None:
    folder = path.absolute().parent
    family, rate, seed = parse_name(folder.as_posix())
    above = [folder, *folder.parents][: LEVELS + 1]
    config = next((each / CONFIG for each in above if (each / CONFIG).is_file()), None)
    if config is None:
        return None if rate is None else (family, rate, seed or 0)
    settings = _read_yaml(config)
    if not isinstance(settings, dict):
        settings = {}  # a file of another tool
    trained, trained_seed = settings.get("learning_rate"), settings.get("seed")
    if trained is None:
        return None if rate is None else (family, rate, seed or 0)
    trained = _number(trained, f"{config}: learning_rate")
    for name, of_path, of_config in (("learning rate", rate, trained), ("seed", seed, trained_seed)):
        if of_path is not None and of_config is not None and f"{of_path:.5g}" != f"{float(of_config):.5g}":
            raise UserError(f"{path}: its path says {name} {of_path:g}, and {config} says {of_config}")
    if rate is None:
        family = _family_of_settings(settings)
    return family, trained, int(trained_seed if trained_seed is not None else seed or 0)


def _family_of_settings(settings: Mapping[str, Any]) -> str:
    """A name for all settings of a run but rate and seed: model, data and adaptation, and a mark for the rest."""
    kept = sorted((key, str(value)) for key, value in settings.items() if key not in VARIED)
    data = settings.get("data") or ()
    names = [str(settings.get("model") or "model"), *map(str, [data] if isinstance(data, str) else data)]
    rank = settings.get("lora_rank")
    mark = f"{zlib.crc32(repr(kept).encode('utf-8', 'surrogatepass')):08x}"
    return " ".join([*(Path(name).name for name in names), f"lora {rank}" if rank else "ft", mark])


def _short(families: Iterable[str]) -> dict[str, str]:
    """Each family without the folders that all have in common."""
    names = sorted(families)
    paths = [name for name in names if "/" in name]
    common = os.path.commonpath(paths) if paths else ""
    if common in names:  # the last folder is a name
        common = os.path.dirname(common)
    cut = len(common.rstrip("/")) + 1 if common else 0
    return {name: name[cut:] if "/" in name else name for name in names}


# --- the file that names runs ---


def read_runs(path: Path) -> tuple[list[Source], dict[str, Candidate]]:
    """Read a YAML or JSON file that says which scores and models are which runs.

    It is a list, also under the key ``runs``, of mappings with ``learning_rate`` and ``scores`` (a path or several,
    relative to the file), ``model`` (its name in the scores), or both; ``family`` and ``seed`` may be left out.

    Returns:
        The files of scores, and the runs of the models that are named.

    Raises:
        UserError: naming the entry that is not such a mapping.
    """
    document: Any = _read_yaml(path)
    entries = document.get("runs") if isinstance(document, dict) else document
    if not isinstance(entries, list) or not entries:
        raise UserError(f"{path}: give a list of runs, each with scores or model, and learning_rate")
    sources: list[Source] = []
    models: dict[str, Candidate] = {}
    for number, entry in enumerate(entries, start=1):
        place = f"{path}, run {number}"
        if not isinstance(entry, dict) or not ("scores" in entry or "model" in entry):
            raise UserError(f"{place}: a run has scores or model, and learning_rate")
        for key in entry:
            if key not in KEYS:
                raise UserError(f"{place}: unknown key {key!r}; {did_you_mean(str(key), KEYS)}")
        if "learning_rate" not in entry:
            raise UserError(f"{place}: learning_rate is missing")
        rate = _number(entry["learning_rate"], f"{place}: learning_rate")
        seed = entry.get("seed", 0)
        if isinstance(seed, bool) or not isinstance(seed, int):
            raise UserError(f"{place}: seed {seed!r} is not a whole number")
        candidate = Candidate(str(entry.get("family") or "model"), rate, seed)
        named = entry.get("model")
        if named is not None:
            models[str(named)] = candidate
        given = entry.get("scores", [])
        for each in [given] if isinstance(given, str) else given:
            _, scores = find_scores(str(path.parent / str(each)))
            source = Source("" if named is not None else candidate.name, scores, candidate)
            if source not in sources and not (named is not None and any(s.path == scores for s in sources)):
                sources.append(source)
    return sources, models


def _read_yaml(path: Path) -> Any:
    try:
        return yaml.safe_load(read_text(path)) or {}
    except (yaml.YAMLError, ValueError, RecursionError) as problem:
        raise UserError(f"{path} is not valid YAML: {' '.join(str(problem).split())}") from None


def _number(value: Any, place: str) -> float:
    """A positive number, also as text, because YAML 1.1 reads 1e-5 as one."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = 0.0
    if isinstance(value, bool) or not 0 < number < float("inf"):
        raise UserError(f"{place} {value!r} is not a positive number")
    return number
