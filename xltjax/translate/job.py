"""The work of the command: read, cut, translate language by language, put together and write."""

from __future__ import annotations

import contextlib
import json
import logging
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xltjax.common.errors import UserError, did_you_mean
from xltjax.common.files import json_line, read_json_object, read_jsonl
from xltjax.common.locks import lock_directory
from xltjax.data.formats import training_columns
from xltjax.data.reading.report import RowReport
from xltjax.eval.judge.api.client import Limits
from xltjax.eval.judge.calls import NAME, Calls
from xltjax.eval.judge.results import find_call
from xltjax.eval.language import load_identifier
from xltjax.eval.scores import Unavailable
from xltjax.translate.checks import Identify
from xltjax.translate.engines.engine import Engine, Segment
from xltjax.translate.engines.local import Options
from xltjax.translate.files.data_files import DataFile, encoded, marked, read_data
from xltjax.translate.files.outputs import Outputs
from xltjax.translate.files.quality import NO_TEXT, Summary, marks_of, print_summary, quality_line
from xltjax.translate.languages import Language
from xltjax.translate.plan import Load, print_plan
from xltjax.translate.segments import Piece, split
from xltjax.translate.settings import TranslateConfig
from xltjax.translate.translator import Outcome, Translator, put_together

log = logging.getLogger("xltjax")

VERSION = 1  # raise it when the same segments would be cut or put together in another way
QUALITY, SUMMARY, SKIPPED = "quality.jsonl", "summary.json", "skipped.jsonl"
KINDS = ("ct2", "openai", "hf")


@dataclass(frozen=True)
class Job:
    """What is translated.

    Attributes:
        files: the data.
        source: their language.
        targets: the languages to translate into.
        pieces: the pieces of every text, by the text.
    """

    files: Sequence[DataFile]
    source: Language
    targets: Sequence[Language]
    pieces: dict[str, list[Piece]]

    def segments(self, files: Iterable[DataFile]) -> list[str]:
        """The different segments of ``files``, in the order of their first appearance."""
        return list(
            dict.fromkeys(
                piece.text
                for file in files
                for row in file.rows
                for _, text in file.texts(row)
                for piece in self.pieces[text]
                if piece.translate
            )
        )


def run(config: TranslateConfig, source: Language, targets: Sequence[Language]) -> None:
    """Translate the data into every language, and write the rows, the doubts and the summary.

    Args:
        config: the settings, which have been checked.
        source: the language of the data.
        targets: the languages to translate into.

    Raises:
        UserError: for any mistake that the user can correct.
    """
    engine = make_engine(config)
    report = RowReport(config.bad_rows)
    with contextlib.closing(engine):
        columns = training_columns(config.columns)
        files = read_data(config.data, config.split, report, Path(config.out), source, columns)
        report.log()
        engine.check([source, *targets])
        job = _job(config, engine, files, source, targets)
        out = Path(config.out)
        with lock_directory(out):
            if config.plan:
                with Calls(out, engine.hide) as calls:
                    engine.recall(calls)
                    _plan(job, engine, calls)
                return
            identify, made_with = _identifier(config), _made_with(config, engine, source)
            outputs = Outputs(out)
            for name in (QUALITY, SUMMARY, SKIPPED):
                outputs.check(name)
            for target in targets:
                for file in files:
                    outputs.check(file.name_in(source, target), _made_in(target, made_with))
            with Calls(out, engine.hide) as calls:
                engine.recall(calls)
                translator = Translator(engine, calls, source, identify)
                summaries = _write(config, job, translator, outputs, made_with)
            if report.skipped or (out / SKIPPED).exists():
                lines = ({"row": place, "reason": reason} for _, place, reason in report.skipped)
                outputs.write(SKIPPED, "".join(map(json_line, lines)).encode())
    print_summary(summaries)
    print(f"translations, {QUALITY} and {SUMMARY}: {out}; every answer of the engine: {out / NAME}")
    failed = sum(each.failed for each in summaries.values())
    if failed:
        print(
            f"{failed} segments have no translation and stand there in {source.name} ({QUALITY} says why); where "
            "there was no answer, the same command asks again"
        )
        sys.exit(1)


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
        return ServerEngine(
            config.engine, config.base_url, config.key_variable, limits, config.prompt, plan=config.plan
        )
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
            for _, text in file.texts(row):
                if text not in pieces:
                    pieces[text] = split(text, source.iso, fits=fits)
    if not any(piece.translate for each in pieces.values() for piece in each):
        raise UserError(f"{', '.join(config.data)}: the rows have no text to translate")
    return Job(files, source, targets, pieces)


def _made_with(config: TranslateConfig, engine: Engine, source: Language) -> dict[str, Any]:
    """What the translations depend on besides the texts."""
    # A newer CTranslate2 is no other engine.
    provenance = {key: value for key, value in engine.provenance().items() if key != "ctranslate2"}
    made_with = {
        "version": VERSION, "source": source.iso, "segment_tokens": config.segment_tokens, **provenance,
    }  # fmt: skip
    return made_with | ({"columns": training_columns(config.columns)} if config.columns else {})


def _made_in(target: Language, made_with: Mapping[str, Any]) -> Mapping[str, Any]:
    """The same for one language: a server translates otherwise into ``pt-BR`` than into ``pt``."""
    return made_with if target.tag == target.iso else {**made_with, "target": target.tag}


def _plan(job: Job, engine: Engine, calls: Calls) -> None:
    segments = job.segments(job.files)
    counts = {text: engine.count(text) for text in segments}
    loads = {}
    for target in job.targets:
        done = 0
        for text in segments if calls.any_answered else ():  # the keys of a model need its weights
            call = find_call(engine.keys(Segment(text, job.source, target)), calls)
            done += counts[text] if call is not None and call.body is not None else 0
        loads[target.label] = Load(len(segments), sum(counts.values()), done)
    every = sum(
        piece.translate
        for file in job.files
        for row in file.rows
        for _, text in file.texts(row)
        for piece in job.pieces[text]
    )
    print_plan(loads, engine.parameters, every - len(segments))


def _write(
    config: TranslateConfig,
    job: Job,
    translator: Translator,
    outputs: Outputs,
    made_with: Mapping[str, Any],
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
            outputs.write(name, encoded(file, rows), _made_in(target, made_with))
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

    def translated(name: str, text: str) -> str:
        return put_together(job.pieces[text], outcomes)

    summary, rows, lines = Summary(), [], []
    for id, row in zip(file.ids(job.source), file.rows, strict=True):
        place = {"file": file.name_in(job.source, target), "language": target.label, "id": id}
        marks: list[str] = []
        found = 0
        for name, text in file.texts(row):
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
            rows.append(marked(file.changed(row, translated), id, job.source, target, engine, marks))
    return summary, rows, lines


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
