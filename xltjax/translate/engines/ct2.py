"""NLLB and M2M100 under CTranslate2, in a process of its own; Hugging Face directories are converted once."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import json
import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from xltjax.common.directories import new_directory
from xltjax.common.errors import UserError, first_line
from xltjax.common.files import cache_directory, parse_json, read_text
from xltjax.common.locks import use_directory
from xltjax.translate.engines.local import LocalEngine, Options
from xltjax.translate.languages import Language

log = logging.getLogger("xltjax")

SCRIPT = Path(__file__).with_name("ct2_worker.py")
INSTALL = "pip install 'xltjax[translate]'"
INSTALL_TORCH = "pip install torch --index-url https://download.pytorch.org/whl/cpu"
CONVERTED = "model.bin"


class Ct2Engine(LocalEngine):
    """A model that CTranslate2 runs: one that it has converted, or a Hugging Face directory, which it converts."""

    kind = "ct2"

    def __init__(self, name: str, options: Options) -> None:
        super().__init__(name, options)
        self._worker: Worker | None = None
        self._loaded = False

    @property
    def precision(self) -> str:
        """See ``LocalEngine.precision``."""
        return str(self._device["compute_type"])

    def check(self, languages: Sequence[Language]) -> None:
        """See ``Engine.check``."""
        python = self.options.python
        if not python and importlib.util.find_spec("ctranslate2") is None:
            raise UserError(
                f"--engine {self.name} needs CTranslate2: {INSTALL}, here or in another environment, whose "
                "Python you give by --engine-python"
            )
        super().check(languages)
        if is_converted(self.description):
            self._check_vocabulary(self.description)
        elif not python and importlib.util.find_spec("torch") is None and not self._converted.is_dir():
            raise UserError(
                f"{self.description} is not yet converted for CTranslate2, which needs torch once: {INSTALL_TORCH}"
            )

    def hypotheses(
        self, sources: Sequence[Sequence[str]], target: str, *, beam: int, most: int
    ) -> list[list[str]]:
        """See ``LocalEngine.hypotheses``."""
        if not self._loaded:
            self._load()
        answer = self._ask(do="translate", sources=sources, target=target, beam=beam, most=most)
        return list(answer["hypotheses"])

    def provenance(self) -> dict[str, Any]:
        """See ``Engine.provenance``."""
        return {**super().provenance(), "ctranslate2": self._device["version"]}

    def close(self) -> None:
        """See ``Engine.close``."""
        if self._worker is not None:
            self._worker.close()
        self._worker, self._loaded = None, False

    @functools.cached_property
    def _device(self) -> dict[str, Any]:
        return self._ask(do="device", given=self.options.device, compute_type=self.options.compute_type)

    @property
    def _converted(self) -> Path:
        """Where the converted copy of a Hugging Face directory is kept."""
        name = f"{Path(self.directory).resolve().name}-{self.digest[:16]}-{self.precision}"
        return cache_directory() / "ctranslate2" / name

    def _ask(self, **question: Any) -> dict[str, Any]:
        if self._worker is None:
            self._worker = Worker(self.options.python or sys.executable)
        return self._worker.ask(**question)

    def _load(self) -> None:
        model = self.directory if is_converted(self.directory) else self._convert()
        self._ask(
            do="load",
            model=str(model.resolve()),
            device=self._device["device"],
            compute_type=self.precision,
            threads=self.options.threads or len(os.sched_getaffinity(0)),
        )
        self._loaded = True

    def _convert(self) -> Path:
        """The converted copy in the cache, which is made when it is not there; a kill leaves nothing half-made."""
        target = self._converted
        target.parent.mkdir(parents=True, exist_ok=True)
        use_directory(target.parent)  # so that the cache is not cleared under a running translation
        if not (target / CONVERTED).is_file():
            log.info("notice: converting %s to %s (%s), once", self.directory, target, self.precision)
            # The memory that the conversion takes goes back with its process.
            with new_directory(target, overwrite=False) as staging:
                inside = staging / "converted"
                with contextlib.closing(Worker(self.options.python or sys.executable)) as worker:
                    worker.ask(
                        do="convert",
                        source=str(self.directory.resolve()),
                        target=str(inside),
                        quantization=self.precision,
                    )
                for file in inside.iterdir():
                    file.rename(staging / file.name)
                inside.rmdir()
                self._check_vocabulary(staging)
        return target

    def _check_vocabulary(self, directory: Path) -> None:
        """Refuse a conversion that has lost tokens.

        Raises:
            UserError: naming the first token that does not stand at its id.
        """
        stored = _stored_vocabulary(directory)
        if stored is None:
            return
        known = self.vocabulary.known(len(stored))
        wrong = next(
            (pair for pair in zip(known, stored, strict=True) if pair[0] is not None and pair[0] != pair[1]),
            None,
        )
        lost = next((code for code in self._codes.values() if code not in stored), None)
        wrong = wrong or (None if lost is None else (lost, "nothing"))
        if wrong is not None:
            raise UserError(
                f"{self.description}: the converted model has {wrong[1]!r} where the tokenizer has {wrong[0]!r}; "
                "convert it again by giving the Hugging Face directory to --engine, or give its own tokenizer by "
                "--tokenizer"
            )


class Worker:
    """A process with CTranslate2.

    Args:
        python: the Python that runs it.

    Raises:
        UserError: when it cannot be started.
    """

    def __init__(self, python: str) -> None:
        self._said = tempfile.TemporaryFile()  # noqa: SIM115 - until ``close``
        try:
            # A session of its own: Ctrl-C ends this process, and that one with it, in order.
            self._process = subprocess.Popen(
                [python, str(SCRIPT)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._said,
                text=True,
                encoding="utf-8",
                start_new_session=True,
            )
        except OSError as problem:
            raise UserError(f"--engine-python {python} cannot be started: {problem.strerror}") from None

    def ask(self, **question: Any) -> dict[str, Any]:
        """The answer to a question, see ``ct2_worker.Server.answer``.

        Raises:
            UserError: with what went wrong there.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):  # its last words say more
            self._process.stdin.write(json.dumps(question) + "\n")
            self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise UserError(f"CTranslate2 has ended: {self._last_words()}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise UserError(f"CTranslate2: {_advice(answer['error'])}")
        return answer

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        for file in (self._process.stdin, self._process.stdout, self._said):
            assert file is not None
            with contextlib.suppress(OSError):
                file.close()

    def _last_words(self) -> str:
        code = self._process.wait()
        self._said.seek(0)
        lines = self._said.read().decode("utf-8", "replace").strip().splitlines()
        if code == -9:
            return "the system has killed it, as it does when memory is short; give a smaller --batch-tokens"
        return lines[-1][:300] if lines else f"exit code {code}"


def _advice(problem: str) -> str:
    said = first_line(Exception(problem))[:300]
    if "out of memory" in problem:
        return f"{said}; give a smaller --batch-tokens"
    if "No module named 'ctranslate2'" in problem:
        return f"it is not installed for --engine-python: {INSTALL}"
    if "No module named" in problem or "libcublas" in problem:
        needed = (
            "pip install nvidia-cublas-cu12" if "libcublas" in problem else INSTALL_TORCH + " transformers"
        )
        return f"{said}: {needed}"
    return said


def is_converted(directory: Path) -> bool:
    """Whether a directory holds a model that CTranslate2's converter has made."""
    return (directory / CONVERTED).is_file() or _stored_vocabulary(directory) is not None


def _stored_vocabulary(directory: Path) -> list[str] | None:
    """The tokens of a converted model by their ids; None when it has none that we can read."""
    for name in ("shared_vocabulary.json", "target_vocabulary.json"):
        if (file := directory / name).is_file():
            values = parse_json(read_text(file), file)
            return [str(token) for token in values] if isinstance(values, list) else None
    for name in ("shared_vocabulary.txt", "target_vocabulary.txt"):
        if (file := directory / name).is_file():
            return read_text(file).split("\n")[:-1]
    return None
