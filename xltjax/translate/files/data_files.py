"""Files of instruction data: reading their rows, and writing translated ones in the format of the file."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from xltjax.common.errors import UserError
from xltjax.common.files import json_line, parse_json, read_text
from xltjax.data.formats import NO_COLUMNS, read_row, with_our_names
from xltjax.data.reading.files import choose_files
from xltjax.data.reading.report import BadRowError, NothingToLearnError, RowReport
from xltjax.data.reading.tables import DELIMITERS, table_style
from xltjax.data.rows import file_format, is_chat, iterate_rows
from xltjax.translate.fields import Change, map_texts, texts
from xltjax.translate.languages import Language

Shape = Literal["lines", "list", "data", "single", "table", "parquet"]


@dataclass(frozen=True)
class DataFile:
    """A file of instruction data.

    Attributes:
        path: where it is.
        shape: how rows stand in it: on lines, in a list, in the list ``data`` of an object, as the only row, in a
            table of texts, or in a Parquet file.
        rows: its rows that can be used, in order.
        numbers: the number of each of them in the file, from 1.
        columns: the names that they have for our keys, see ``formats.training_columns``.
    """

    path: Path
    shape: Shape
    rows: Sequence[Any]
    numbers: Sequence[int]
    columns: Mapping[str, str]

    def texts(self, row: Any) -> list[tuple[str, str]]:
        """The name and the text of every field of one of the rows that is translated."""
        return texts(row, self.columns)

    def changed(self, row: Any, change: Change) -> Any:
        """One of the rows with what ``change`` makes of its texts, see ``fields.map_texts``."""
        return map_texts(row, change, self.columns)

    def ids(self, source: Language) -> Iterator[Any]:
        """The id of each row, the same in all languages: its own, or else the name of the file and its number."""
        stem = _base(self.path, source).rstrip("._-") or _stem(self.path)
        for number, row in zip(self.numbers, self.rows, strict=True):
            own = row.get("id") if isinstance(row, dict) else None
            yield f"{stem}-{number}" if own is None or own == "" else own

    def name_in(self, source: Language, target: Language) -> str:
        """The name of the translated file, see ``translated_name``."""
        return translated_name(self.path, source, target)


def translated_name(path: Path, source: Language, target: Language) -> str:
    """The name of a file in another language: ``d.fr.jsonl`` for ``d.jsonl`` and for ``d.en.jsonl``."""
    stem = _stem(path)
    return (_base(path, source) or f"{stem}.") + target.label + path.name.removeprefix(stem)


def _stem(path: Path) -> str:
    """The name without its suffixes."""
    return Path(path.name.removesuffix(".gz")).stem


def _base(path: Path, source: Language) -> str:
    """The name up to the language that it names; empty when it names none."""
    names = "|".join(map(re.escape, {source.iso, source.label}))
    named = re.fullmatch(rf"(.*[._-])(?:{names})", _stem(path), re.IGNORECASE)
    return named[1] if named else ""


def read_data(
    sources: Sequence[str],
    split: str,
    report: RowReport,
    out: Path,
    language: Language,
    columns: Mapping[str, str] = NO_COLUMNS,
) -> list[DataFile]:
    """The files of the sources, with their rows; one that several sources cover is there once.

    Args:
        sources: files, directories, patterns or ids of datasets, as ``train --data`` takes them.
        split: see ``choose_files``.
        report: learns of the rows that cannot be used.
        out: the folder of the translations, which a directory or pattern may cover; they are no data.
        language: of the data.
        columns: the names that rows have for our keys, see ``formats.training_columns``.

    Raises:
        UserError: when nothing is found, a file cannot be read, the translations of two files would have one name,
            or a row cannot be used and ``report`` stops at it.
    """
    found: dict[str, DataFile] = {}
    for source in sources:
        paths, others = choose_files(source, split)
        report.unread(source, others)
        for path in paths:
            if path != Path(source) and out.resolve() in path.resolve().parents:
                continue
            name = translated_name(path, language, language)
            known = found.get(name)
            if known is None:
                found[name] = _read(path, report, columns)
            elif not path.samefile(known.path):
                raise UserError(
                    f"the translations of {path} and {known.path} would have the same name; translate one after the "
                    "other, each with an --out of its own"
                )
    files = [file for file in found.values() if file.rows]
    if not files:
        raise UserError(f"{', '.join(sources)}: there are no rows; give a file with data")
    return files


def _read(path: Path, report: RowReport, columns: Mapping[str, str]) -> DataFile:
    rows: list[Any] = []
    numbers: list[int] = []
    count, first = 0, ""

    def bad(place: str, reason: str) -> None:
        nonlocal count
        count += 1
        report.bad(path, place, reason)

    for place, row in iterate_rows(path, bad):
        first = first or place
        try:
            read_row(with_our_names(row, columns), partial(_nothing, path))
        except BadRowError as problem:
            bad(place, str(problem))
            continue
        except RecursionError:
            bad(place, "nested too deeply")
            continue
        except NothingToLearnError:
            pass  # such a row is still a row of the data
        count += 1
        rows.append(row)
        numbers.append(count)
    return DataFile(path, _shape(path, first), rows, numbers, columns)


def _nothing(path: Path, note: str) -> None:
    """What is not honored in training is none of our business."""


def _shape(path: Path, first: str) -> Shape:
    """How rows stand in the file, by its suffix and by the place of its first row."""
    kind = file_format(path)
    if kind == ".parquet":
        return "parquet"
    if kind in DELIMITERS:
        return "table"
    place = first.removeprefix(f"{path}, ")
    if place.startswith("line ") and not place.endswith(" of data"):
        return "lines"
    try:
        document = parse_json(read_text(path), path) if first else []
    except UserError:  # several lines, each with rows in its ``data``
        return "lines"
    if place.endswith(" of data"):
        return "data"
    return "list" if isinstance(document, list) and not is_chat(document) else "single"


def marked(row: Any, id: Any, source: Language, target: Language, engine: str, doubts: Sequence[str]) -> Any:
    """A translated row with its id, its language, where it comes from, and what is doubtful about it.

    A bare list of messages has no place for them and stays as it is. Columns of the user's with these names stay too,
    except in rows that were translated before; a language is replaced where it names the source.
    """
    if not isinstance(row, dict):
        return row
    changed = {**row, "id": id}
    if _names(row.get("language"), source):
        changed["language"] = target.iso
    marks = {"translated_from": source.iso, "engine": engine, "quality": list(doubts)}
    again = row.get("translated_from") is not None
    return changed | {key: value for key, value in marks.items() if again or row.get(key) is None}


def _names(language: Any, source: Language) -> bool:
    from xltjax.common.languages import find_language

    if language is None or language == "":
        return True
    return isinstance(language, str) and find_language(language) == source.iso


def encoded(file: DataFile, rows: Sequence[Any]) -> bytes:
    """The content of a file of ``rows`` in the format of ``file``."""
    if file.shape == "parquet":
        return _parquet(file, rows)
    data = _text(file, rows).encode()
    # Without a time in its head, so that the same rows are the same file.
    return gzip.compress(data, mtime=0) if file.path.suffix == ".gz" else data


def _text(file: DataFile, rows: Sequence[Any]) -> str:
    if file.shape == "table":
        return _table(file.path, rows)
    lines = [json_line(row) for row in rows]
    if file.shape == "lines":
        return "".join(lines)
    if file.shape == "single" and len(lines) == 1:
        return lines[0]
    listed = "[\n" + ",\n".join(line.rstrip("\n") for line in lines) + "\n]"
    if file.shape != "data":
        return listed + "\n"
    document = parse_json(read_text(file.path), file.path)
    others = {key: value for key, value in document.items() if key != "data"}
    head = "".join(f"{json.dumps(key)}: {json.dumps(value)},\n" for key, value in others.items())
    return f'{{\n{head}"data": {listed}\n}}\n'


def _columns(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The keys of all rows in the order of their first appearance."""
    return list(dict.fromkeys(key for row in rows for key in row))


def _table(path: Path, rows: Sequence[Mapping[str, Any]]) -> str:
    mark, delimiter, end = table_style(path, DELIMITERS[file_format(path)])
    text = io.StringIO()
    text.write(mark)
    writer = csv.DictWriter(text, _columns(rows), restval="", delimiter=delimiter, lineterminator=end)
    writer.writeheader()
    for row in rows:
        writer.writerow(
            {**row, "quality": "; ".join(row["quality"])} if isinstance(row.get("quality"), list) else row
        )
    return text.getvalue()


def _parquet(file: DataFile, rows: Sequence[Mapping[str, Any]]) -> bytes:
    """A Parquet file whose columns keep their types."""
    import pyarrow
    import pyarrow.parquet

    before = pyarrow.parquet.read_schema(file.path)
    # An id that was null in every row of the file has no type that could hold one.
    types = {field.name: field.type for field in before if not pyarrow.types.is_null(field.type)}
    new = {"id": pyarrow.string(), "quality": pyarrow.list_(pyarrow.string())}
    columns = {}
    for key in dict.fromkeys([*before.names, *_columns(rows)]):
        values = [row.get(key) for row in rows]
        if key == "id" and any(isinstance(value, str) for value in values):
            types.pop(key, None)  # whole numbers do not hold the ids of rows without one
            values = [None if value is None else str(value) for value in values]
        columns[key] = pyarrow.array(values, type=types.get(key, new.get(key)))
    stream = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table(columns), stream)
    return stream.getvalue()
