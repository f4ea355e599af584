"""NLLB and M2M100 under ``transformers.generate``, to compare with: CTranslate2 is several times faster."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import Any

from xltjax.common.errors import UserError, first_line
from xltjax.translate.engines.ct2 import INSTALL_TORCH, is_converted
from xltjax.translate.engines.local import LocalEngine, Options
from xltjax.translate.languages import Language


class HfEngine(LocalEngine):
    """A Hugging Face directory that PyTorch runs."""

    kind = "hf"

    def __init__(self, name: str, options: Options) -> None:
        super().__init__(name, options)
        self._model: Any = None

    @property
    def precision(self) -> str:
        """See ``LocalEngine.precision``."""
        given = self.options.compute_type
        return ("float16" if self._device == "cuda" else "float32") if given == "auto" else given

    def check(self, languages: Sequence[Language]) -> None:
        """See ``Engine.check``."""
        if importlib.util.find_spec("torch") is None:
            raise UserError(f"--engine {self.name} needs torch: {INSTALL_TORCH}")
        super().check(languages)
        if is_converted(self.description):
            raise UserError(f"{self.description} is converted for CTranslate2; give it as ct2:{self.model}")
        if self.precision == "int8":
            raise UserError("hf: computes in float32, float16 or bfloat16; int8 is what ct2: is for")

    @property
    def _device(self) -> str:
        import torch

        given = self.options.device
        if given == "cuda" and not torch.cuda.is_available():
            raise UserError("no CUDA device is found by torch; give --device cpu")
        return ("cuda" if torch.cuda.is_available() else "cpu") if given == "auto" else given

    def hypotheses(
        self, sources: Sequence[Sequence[str]], target: str, *, beam: int, most: int
    ) -> list[list[str]]:
        """See ``LocalEngine.hypotheses``."""
        import torch

        model = self._loaded()
        ids = [self.vocabulary.ids(source) for source in sources]
        width = max(map(len, ids))
        pad = model.config.pad_token_id
        padded = torch.tensor([each + [pad] * (width - len(each)) for each in ids], device=model.device)
        mask = torch.tensor(
            [[1] * len(each) + [0] * (width - len(each)) for each in ids], device=model.device
        )
        with torch.inference_mode():
            found = model.generate(
                padded,
                attention_mask=mask,
                forced_bos_token_id=self.vocabulary.id(target),
                num_beams=beam,
                do_sample=False,
                length_penalty=1.0,
                early_stopping=beam > 1,
                max_length=None,
                max_new_tokens=most,
            )
        return [self._hypothesis(row[1:].tolist(), pad) for row in found]

    def _hypothesis(self, ids: list[int], pad: int) -> list[str]:
        while ids and ids[-1] == pad:
            ids.pop()
        return self.vocabulary.tokens(ids)

    def _loaded(self) -> Any:
        if self._model is None:
            import torch
            import transformers

            if self.options.threads:
                torch.set_num_threads(self.options.threads)
            try:
                self._model = transformers.AutoModelForSeq2SeqLM.from_pretrained(
                    self.directory, dtype=getattr(torch, self.precision)
                )
            except (OSError, ValueError) as problem:
                raise UserError(f"{self.directory} cannot be loaded: {first_line(problem)}") from None
            self._model.to(self._device).eval()
        return self._model

    def close(self) -> None:
        """See ``Engine.close``."""
        self._model = None
