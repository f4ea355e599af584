"""Models of translation that run here: CTranslate2 against transformers, the tokens of languages, what is missing."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.translation import generated, lines, results, texts, tiny_m2m100, tiny_nllb, translate

from xltjax.common.errors import UserError
from xltjax.translate.engines import local
from xltjax.translate.engines.ct2 import Ct2Engine
from xltjax.translate.engines.engine import Segment
from xltjax.translate.engines.hf import HfEngine
from xltjax.translate.engines.local import Options, batches, limit
from xltjax.translate.languages import language

ENGLISH, FRENCH = language("en"), language("fr")
MOST = 24


@pytest.fixture(scope="module")
def nllb(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    directory = tmp_path_factory.mktemp("nllb")
    return directory, tiny_nllb(directory)


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        directory = tmp_path_factory.mktemp("cache")
        patch.setenv("XLTJAX_CACHE", str(directory))
        yield directory


@pytest.fixture
def ct2(nllb: tuple[Path, Any]) -> Iterator[Ct2Engine]:
    engine = Ct2Engine(f"ct2:{nllb[0]}", Options(compute_type="float32", threads=1))
    engine.check([ENGLISH, FRENCH])
    yield engine
    engine.close()


@pytest.mark.parametrize("beam", [1, 4])
def test_ctranslate2_gives_the_tokens_of_transformers(
    nllb: tuple[Path, Any], ct2: Ct2Engine, beam: int
) -> None:
    from transformers import NllbTokenizer

    directory, model = nllb
    tokenizer = NllbTokenizer.from_pretrained(directory, src_lang="eng_Latn")
    sources = [tokenizer(text).input_ids for text in texts(50)]
    french = tokenizer.convert_tokens_to_ids("fra_Latn")
    wanted = generated(model, sources, french, beam, MOST)

    given = [ct2.vocabulary.encode(text, "eng_Latn") for text in texts(50)]
    assert [tokenizer.convert_tokens_to_ids(each) for each in given] == sources
    found = ct2.hypotheses(given, "fra_Latn", beam=beam, most=MOST)
    assert [tokenizer.convert_tokens_to_ids(each) for each in found] == wanted

    assert all(each[0] == "fra_Latn" for each in found)
    ended = [len(each) for each in found if each[-1] == "</s>"]
    if beam > 1:
        assert len(ended) >= 10
        assert len(set(ended)) >= 5


def test_the_conversion_keeps_the_tokens_of_languages_under_transformers_5(
    nllb: tuple[Path, Any], ct2: Ct2Engine, cache: Path
) -> None:
    ct2.hypotheses([["eng_Latn", "</s>"]], "fra_Latn", beam=1, most=4)
    (converted,) = (cache / "ctranslate2").glob(f"{nllb[0].name}-*-float32")
    stored = json.loads((converted / "shared_vocabulary.json").read_text())
    for flores in ("fra_Latn", "por_Latn", "rus_Cyrl", "eng_Latn"):
        assert stored.index(flores) == ct2.vocabulary.id(flores)


def test_the_languages_of_m2m100_survive_the_conversion_too(tmp_path: Path) -> None:
    tokenizer = tiny_m2m100(tmp_path)
    engine = Ct2Engine(f"ct2:{tmp_path}", Options(compute_type="float32", threads=1))
    engine.check([ENGLISH, FRENCH])
    source = engine.vocabulary.encode(texts(1)[0], "__en__")
    assert tokenizer.convert_tokens_to_ids(source) == tokenizer(texts(1)[0]).input_ids
    (found,) = engine.hypotheses([source], "__fr__", beam=4, most=9)
    engine.close()
    assert found[0] == "__fr__"


def test_a_conversion_that_lost_a_language_is_refused(
    nllb: tuple[Path, Any], ct2: Ct2Engine, cache: Path, tmp_path: Path
) -> None:
    ct2.hypotheses([["eng_Latn", "</s>"]], "fra_Latn", beam=1, most=4)
    (converted,) = (cache / "ctranslate2").glob(f"{nllb[0].name}-*-float32")
    for file in converted.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    stored = (tmp_path / "shared_vocabulary.json").read_text()
    (tmp_path / "shared_vocabulary.json").write_text(stored.replace("fra_Latn", "madeupword9"))
    engine = Ct2Engine(f"ct2:{tmp_path}", Options(compute_type="float32", tokenizer=str(nllb[0])))
    with pytest.raises(UserError, match="has 'madeupword9' where the tokenizer has 'fra_Latn'"):
        engine.check([ENGLISH, FRENCH])
    without = Ct2Engine(f"ct2:{tmp_path}", Options(compute_type="float32"))
    with pytest.raises(
        UserError, match="no tokenizer; give the directory of the original model with --tokenizer"
    ):
        without.check([ENGLISH, FRENCH])


def test_the_two_local_engines_write_the_same_rows(
    nllb: tuple[Path, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "LEAST_LIMIT", 16)
    data = tmp_path / "d.jsonl"
    rows = [{"instruction": text, "response": f"{text} {text}"} for text in texts(3)]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for kind in ("ct2", "hf"):
        flags = [
            "--to",
            "fr",
            "--engine",
            f"{kind}:{nllb[0]}",
            "--compute-type",
            "float32",
            "--out",
            tmp_path / kind,
        ]
        # Some random translations are empty, and the segment then has none.
        assert translate(data, *flags, "--batch-tokens", "200", "--threads", "1") in (0, 1)
    of_ct2, of_hf = (lines(tmp_path / kind / "d.fr.jsonl") for kind in ("ct2", "hf"))
    assert [row.pop("engine") for row in of_ct2] == [f"ct2:{nllb[0].name}"] * 3
    assert [row.pop("engine") for row in of_hf] == [f"hf:{nllb[0].name}"] * 3
    assert of_ct2 == of_hf
    assert (tmp_path / "ct2" / "quality.jsonl").read_bytes() == (
        tmp_path / "hf" / "quality.jsonl"
    ).read_bytes()


def test_half_a_journal_ends_in_the_same_files(
    nllb: tuple[Path, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "LEAST_LIMIT", 16)
    data = tmp_path / "d.jsonl"
    data.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts(12)))
    flags = ["--to", "fr", "--engine", f"ct2:{nllb[0]}", "--compute-type", "float32", "--threads", "1"]
    code = translate(data, *flags, "--out", tmp_path / "whole")
    journal = (tmp_path / "whole" / "calls.jsonl").read_bytes()
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "calls.jsonl").write_bytes(journal[: len(journal) // 2])
    assert translate(data, *flags, "--out", tmp_path / "half") == code
    assert results(tmp_path / "half") == results(tmp_path / "whole")
    keys = [call["key"] for call in lines(tmp_path / "half" / "calls.jsonl")]
    assert len(keys) == len(set(keys)) == journal.count(b"\n")


def test_a_plan_downloads_no_weights(
    nllb: tuple[Path, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    asked = []
    monkeypatch.setattr(
        huggingface_hub,
        "snapshot_download",
        lambda name, allow_patterns: asked.extend(allow_patterns) or nllb[0],
    )
    data = tmp_path / "d.jsonl"
    data.write_text(json.dumps({"text": texts(1)[0]}) + "\n")
    assert translate(data, "--to", "fr", "--engine", "ct2:a/b", "--out", tmp_path / "out", "--plan") == 0
    assert asked
    assert not {"*.safetensors", "*.bin"} & set(asked)


def test_a_model_without_the_token_of_a_language_is_refused(nllb: tuple[Path, Any], tmp_path: Path) -> None:
    for file in nllb[0].iterdir():
        text = file.read_bytes()
        (tmp_path / file.name).write_bytes(
            text.replace(b"fra_Latn", b"frx_Latn") if file.suffix == ".json" else text
        )
    engine = HfEngine(f"hf:{tmp_path}", Options(device="cpu"))
    with pytest.raises(UserError, match="no token for French, neither fra_Latn nor __fr__"):
        engine.check([ENGLISH, FRENCH])


@pytest.mark.parametrize(
    ("kind", "module", "says"),
    [
        ("ct2", "ctranslate2", "needs CTranslate2: pip install 'xltjax[translate]'"),
        ("ct2", "torch", "not yet converted for CTranslate2, which needs torch once: pip install torch"),
        ("hf", "torch", "needs torch: pip install torch"),
    ],
)
def test_what_is_not_installed_is_named_with_the_command(
    nllb: tuple[Path, Any], monkeypatch: pytest.MonkeyPatch, kind: str, module: str, says: str
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == module else find(name))
    # bfloat16, of which there is no converted copy yet
    options = Options(compute_type="int8_float32" if module == "torch" and kind == "ct2" else "auto")
    engine = (Ct2Engine if kind == "ct2" else HfEngine)(f"{kind}:{nllb[0]}", options)
    with pytest.raises(UserError) as refused:
        engine.check([ENGLISH, FRENCH])
    engine.close()
    assert says in str(refused.value)


def test_a_process_of_ctranslate2_that_dies_is_one_line(ct2: Ct2Engine) -> None:
    ct2.hypotheses([["eng_Latn", "</s>"]], "fra_Latn", beam=1, most=4)
    assert ct2._worker is not None
    os.kill(ct2._worker._process.pid, signal.SIGKILL)
    with pytest.raises(UserError, match="CTranslate2 has ended: the system has killed it"):
        ct2.hypotheses([["eng_Latn", "</s>"]], "fra_Latn", beam=1, most=4)


def test_a_source_beyond_the_positions_of_the_model_is_a_failure_and_not_cut(ct2: Ct2Engine) -> None:
    segment = Segment("word " * 2000, ENGLISH, FRENCH)
    ((_, call),) = ct2.answers([segment], lambda each: True)
    assert call.body is None
    assert call.problem.startswith("too long (")


def test_batches_are_a_function_of_all_segments_and_have_one_limit_each() -> None:
    lengths = [5, 300, 7, 120, 6, 129, 2000]
    made = batches(lengths, 260)
    assert sorted(number for batch in made for number in batch) == list(range(7))
    assert [lengths[batch[0]] for batch in made] == sorted(
        (lengths[batch[0]] for batch in made), reverse=True
    )
    for batch in made:
        assert len(batch) == 1 or len(batch) * max(lengths[number] for number in batch) <= 260
        assert len({limit(lengths[number]) for number in batch}) == 1
    assert [limit(n) for n in (1, 128, 129, 300)] == [256, 256, 512, 1024]
