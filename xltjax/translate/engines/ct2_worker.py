"""The process in which CTranslate2 runs: questions and answers are lines of JSON on stdin and stdout.

It is run as a script, by the Python of whatever environment CTranslate2 is installed in, and imports nothing of
xltjax: its wheel links the CUDA 12 libraries, and JAX those of CUDA 13. It ends when stdin is closed.
"""

from __future__ import annotations

import contextlib
import glob
import json
import os
import sys
import sysconfig
from typing import Any

# A script's own folder is searched first, and its files have names that other packages use.
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:] = [place for place in sys.path if os.path.abspath(place or ".") != HERE]


def device(given: str, compute_type: str) -> dict[str, Any]:
    """The device and the arithmetic that are used, where ``auto`` leaves the choice."""
    _load_cuda_12()
    import ctranslate2

    name = given
    if given == "auto":
        name = "cuda" if ctranslate2.get_cuda_device_count() else "cpu"
    elif given == "cuda" and not ctranslate2.get_cuda_device_count():
        raise RuntimeError("no CUDA device is found")
    supported = sorted(ctranslate2.get_supported_compute_types(name))
    chosen = {"cpu": "int8", "cuda": "float16"}[name] if compute_type == "auto" else compute_type
    if chosen not in supported:
        raise RuntimeError(f"{name} cannot compute in {chosen}, but in {', '.join(supported)}")
    return {"device": name, "compute_type": chosen, "version": ctranslate2.__version__}


def convert(source: str, target: str, quantization: str) -> dict[str, Any]:
    """Convert a Hugging Face directory; ``target`` must not exist."""
    from ctranslate2.converters import transformers as converter

    def vocabulary(self: Any, model: Any, tokenizer: Any) -> list[str]:
        # The converter's own reads `additional_special_tokens`, which transformers 5 renamed: M2M100's languages are
        # lost then. The tokenizer knows what stands at each id, and ids without a token get a name.
        ids = list(range(model.config.vocab_size))
        found = zip(ids, tokenizer.convert_ids_to_tokens(ids), strict=True)
        unknown = tokenizer.unk_token_id
        return [
            f"madeupword{number}"
            if token is None or (token == tokenizer.unk_token and number != unknown)
            else token
            for number, token in found
        ]

    converter.M2M100Loader.get_vocabulary = vocabulary
    # One copy of the weights in memory less while they are read.
    made = converter.TransformersConverter(source, low_cpu_mem_usage=True)
    made.convert(target, quantization=None if quantization == "float32" else quantization)
    return {}


class Server:
    """Answers the questions of one process."""

    def __init__(self) -> None:
        self._translator: Any = None

    def load(self, model: str, device: str, compute_type: str, threads: int) -> dict[str, Any]:
        """Load a converted model."""
        import ctranslate2

        self._translator = ctranslate2.Translator(
            model, device=device, compute_type=compute_type, intra_threads=threads, inter_threads=1
        )
        return {"compute_type": self._translator.compute_type}

    def translate(self, sources: list[list[str]], target: str, beam: int, most: int) -> dict[str, Any]:
        """Translate one batch; see ``LocalEngine.hypotheses``."""
        found = self._translator.translate_batch(
            sources,
            target_prefix=[[target]] * len(sources),
            beam_size=beam,
            length_penalty=1,
            max_decoding_length=most,
            max_input_length=0,  # nothing is cut off without a word: what is too long was refused before
            return_end_token=True,
        )
        return {"hypotheses": [each.hypotheses[0] for each in found]}

    def answer(self, question: dict[str, Any]) -> dict[str, Any]:
        """The answer to a question: ``do`` names what to do, and the other keys are its arguments."""
        what: dict[str, Any] = {
            "device": device,
            "convert": convert,
            "load": self.load,
            "translate": self.translate,
        }
        return what[question.pop("do")](**question)


def main() -> None:
    """Answer until stdin is closed."""
    # Libraries may print; only answers go to the process that asks.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    server = Server()
    for line in sys.stdin:
        try:
            answer = server.answer(json.loads(line))
        except Exception as problem:  # whatever it is, it is told to the process that asked
            answer = {"error": f"{type(problem).__name__}: {problem}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _load_cuda_12() -> None:
    """Load cuBLAS 12 where pip has put it, which no search path names; CTranslate2 then finds it in memory."""
    import ctypes

    for name in ("libcublasLt.so.12", "libcublas.so.12"):
        for path in glob.glob(os.path.join(sysconfig.get_path("purelib"), "nvidia/cublas/lib", name)):
            with contextlib.suppress(OSError):
                ctypes.CDLL(path, mode=ctypes.RTLD_GLOBAL)


if __name__ == "__main__":
    main()
