"""Settings of ``python -m xltjax.generate``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from xltjax.common.errors import UserError, did_you_mean
from xltjax.common.hardware import WantedKernel
from xltjax.common.settings import setting
from xltjax.data.templates import TEMPLATES, parse_date
from xltjax.inference.sampling_params import SamplingParams


@dataclass(frozen=True)
class GenerateConfig:
    """Greedy generation (paper, Appendix B: repetition penalty 1.1)."""

    model: str = setting("", "Hugging Face directory or id, a run of xltjax or one of its checkpoints.")
    base: str = setting(
        "",
        "Where the base of --model (a run of LoRA or of selected layers) is now, if it was moved.",
        affects_result=False,
    )
    adapter: tuple[str, ...] = setting(
        (),
        "LoRA adapter of the model (PEFT or a run). Repeatable; each adapter answers all prompts.",
        paths=True,
    )
    prompts: str = setting(
        "xlt113", "A shipped set, miniature, a file (rows, or text with one prompt per line), a directory with "
        "one file per language, or a prompt itself: 'Ciao, come stai?'.",
    )  # fmt: skip
    columns: tuple[str, ...] = setting(
        (),
        "Columns with other names: prompt=question,language=lang.",
        mapping=True,
    )
    languages: tuple[str, ...] = setting((), "Languages of the set to answer. By default all.")
    modifiers: bool = setting(False, "Also answer the instructions with task modifiers.")
    out: str = setting(
        "", "JSON Lines file to write the responses to. An unfinished one is resumed.", affects_result=False
    )
    name: str = setting("", "Name of the model in the responses. By default the name of its directory.")
    max_new_tokens: int = setting(512, "Maximum number of tokens in an answer.")
    repetition_penalty: float = setting(
        1.1, "Repetition penalty over prompt and answer, as in Hugging Face; 1 disables it."
    )
    temperature: float = setting(0.0, "Sampling temperature; 0 is greedy decoding.")
    top_k: int = setting(0, "Sample from the k most likely tokens; 0 is all.")
    top_p: float = setting(1.0, "Sample from the most likely tokens with this total probability; 1 is all.")
    seed: int = setting(
        0, "Random seed of sampling. Given the seed, a sample depends only on the prompt and its id."
    )
    batch_size: int = setting(
        32, "Number of answers generated at once, over the whole mesh.", affects_result=False
    )
    mesh: str = setting(
        "1x1", "Devices as DxT: answers are split over D, matrices over T.", affects_result=False
    )
    dtype: Literal["bfloat16", "float32"] = setting("bfloat16", "Dtype of weights, KV cache and arithmetic.")
    attention: WantedKernel = setting(
        "auto",
        "Attention kernel for prompts; auto is the fastest that runs here (see python -m xltjax.doctor).",
        affects_result=False,
    )
    template: str = setting("", "Chat template. By default that of the run or export, or else llama-2.")
    template_date: str = setting(
        "",
        "ISO date for templates that write the date. By default that of the run or the file, or else today.",
    )

    def __post_init__(self) -> None:
        """Refuse values that cannot work.

        Raises:
            UserError: naming the setting and what it accepts.
        """
        for key in ("max_new_tokens", "batch_size"):
            if getattr(self, key) < 1:
                raise UserError(f"{key} must be at least 1, not {getattr(self, key)}")
        self.sampling()
        if self.name and len(self.adapter) > 1:
            raise UserError("--name cannot name several adapters; each has the name of its directory")
        names = [directory_name(Path(adapter)) for adapter in self.adapter]
        if len(set(names)) < len(names):
            raise UserError(f"two adapters have the same name ({', '.join(names)}); rename a directory")
        if self.template and self.template not in TEMPLATES:
            raise UserError(
                f"template {self.template!r} is unknown; {did_you_mean(self.template, TEMPLATES)}"
            )
        parse_date(self.template_date)

    def sampling(self) -> SamplingParams:
        """How tokens are chosen.

        Raises:
            UserError: for a value that cannot work.
        """
        return SamplingParams(self.repetition_penalty, self.temperature, self.top_k, self.top_p)


def directory_name(path: Path) -> str:
    """The name of a model in the responses: that of its directory or run, with the step for a checkpoint."""
    from xltjax.training.run import Run  # with JAX and Orbax, which --help does not need

    run = Run.find(path.resolve())
    return run.name if run else path.resolve().name
