"""The Python interface: ``load`` a model and use it, or ``fit`` one.

The package exports the names of this module, and imports it when the first of them is used. Every error that a caller
can correct is a ``UserError``: one line that names the argument.
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from xltjax import arguments
from xltjax.common.directories import refuse_existing
from xltjax.common.errors import UserError, did_you_mean, for_python
from xltjax.common.settings import build, refuse_both
from xltjax.converters.export_hf import save_hf
from xltjax.converters.hf_config import read_architecture
from xltjax.converters.models import config_directory, find_model, load_adapter, load_model, template_of
from xltjax.converters.peft import save_peft
from xltjax.data.conversations import Message
from xltjax.data.formats import training_columns
from xltjax.data.model_files import end_ids
from xltjax.data.reading.memory import KeptRows, rows_of_frame
from xltjax.data.templates import TEMPLATES
from xltjax.data.tokenizer import DEFAULT_TEMPLATE, ChatTokenizer
from xltjax.inference.engine import Engine
from xltjax.inference.logprobs import sequence_logprobs
from xltjax.inference.sampling_params import SamplingParams
from xltjax.llama import Llama
from xltjax.lora import has_lora, merge
from xltjax.mesh import batch_size, make_mesh
from xltjax.miniature import model_path
from xltjax.train.fitting import fit as train
from xltjax.training.config import RATE, TrainConfig
from xltjax.training.run import Run
from xltjax.training.trained import DTYPES

PathLike = str | os.PathLike[str]
Chat = Sequence[Mapping[str, str]]  # turns with the keys role and content
KINDS = ("bfloat16", "float16", "float32")


class Model:
    """A language model with its tokenizer on a mesh of devices, as returned by ``load``.

    Attributes:
        llama: the ``flax.nnx`` module.
        mesh: the devices that hold it.
        tokenizer: the tokenizer, with the chat template.
    """

    def __init__(self, llama: Llama, mesh: Mesh, tokenizer: ChatTokenizer, source: Path, date: str):
        """Take what ``load`` has loaded from the directory ``source``, and the date that its template writes."""
        self.llama, self.mesh, self.tokenizer = llama, mesh, tokenizer
        self._source, self._date = source, date

    @for_python
    def generate(
        self,
        prompts: Sequence[str | Chat],
        *,
        max_new_tokens: int = 512,
        repetition_penalty: float = 1.1,
        temperature: float = 0.0,
        top_k: int = 0,
        top_p: float = 1.0,
        batch_size: int = 32,
        seed: int = 0,
    ) -> list[str]:
        """Answer prompts. No answer depends on the other prompts.

        Args:
            prompts: instructions, or chats as lists of ``{"role": ..., "content": ...}`` with the roles system, user
                and assistant, ending with a user turn. They are formatted as in training: a system prompt must come
                first, and consecutive turns of one role are joined.
            max_new_tokens: the maximum number of tokens in an answer.
            repetition_penalty: the penalty on tokens that occur in the prompt or the answer, as in Hugging Face; 1
                disables it.
            temperature: the sampling temperature; 0 is greedy decoding.
            top_k: sample from this many most likely tokens; 0 is all.
            top_p: sample from the most likely tokens with this total probability; 1 is all.
            batch_size: the maximum number of answers decoded at once, over the whole mesh.
            seed: the random seed of sampling.

        Returns:
            The answers as text, in the order of the prompts.

        Raises:
            UserError: for an invalid argument, which the message names.
        """
        sampling = SamplingParams(
            arguments.number("repetition_penalty", repetition_penalty), arguments.number("temperature", temperature),
            arguments.whole_number("top_k", top_k, 0), arguments.number("top_p", top_p),
        )  # fmt: skip
        arguments.whole_number("seed", seed, 0)
        asked = arguments.as_list("prompts", prompts)
        rows = self._rows(batch_size, len(asked))
        room = self.llama.config.max_positions - arguments.whole_number("max_new_tokens", max_new_tokens, 1)
        conversations = [arguments.conversation(f"prompts[{n}]", each) for n, each in enumerate(asked)]
        self._check("prompts", conversations)
        encoded = self.tokenizer.prompts(conversations)
        for index, ids in enumerate(encoded):
            if len(ids) > room:
                raise UserError(
                    f"prompts[{index}] has {len(ids)} tokens, which with max_new_tokens {max_new_tokens} are "
                    f"more than the model's {self.llama.config.max_positions} positions"
                )
        if not encoded:
            return []
        engine = Engine(
            self.llama, self.mesh, slots=rows, max_new_tokens=max_new_tokens,
            sampling=sampling, eos=end_ids(self.tokenizer), seed=seed,
        )  # fmt: skip
        answers = dict(engine.generate(enumerate(encoded)))
        return [self.tokenizer.decode(answers[index].ids) for index in range(len(encoded))]

    @for_python
    def logprobs(
        self, prompts: Sequence[str | Chat], answers: Sequence[str], *, batch_size: int = 8
    ) -> np.ndarray:
        """Compute log P(answer | prompt) in nats, summed over the tokens of the answer and its end token.

        Args:
            prompts: N prompts, as for ``generate``.
            answers: one text for each prompt.
            batch_size: the number of rows in one forward pass, over the whole mesh.

        Returns:
            Log-probabilities, float64 [N], in the order of the prompts.

        Raises:
            UserError: for an invalid argument, which the message names.
        """
        asked = [
            arguments.conversation(f"prompts[{n}]", each)
            for n, each in enumerate(arguments.as_list("prompts", prompts))
        ]
        texts = arguments.as_list("answers", answers)
        for index, text in enumerate(texts):
            arguments.text(f"answers[{index}]", text)
        if len(texts) != len(asked):
            raise UserError(f"answers: {len(texts)} for {len(asked)} prompts; give one for each")
        history = [tuple(dataclasses.replace(turn, learned=False) for turn in chat) for chat in asked]
        whole = [(*chat, Message("assistant", text)) for chat, text in zip(history, texts, strict=True)]
        self._check("prompts", whole)
        examples = self.tokenizer.examples(whole)
        most = self.llama.config.max_positions
        for index, example in enumerate(examples):
            if len(example.ids) > most:
                raise UserError(
                    f"prompts[{index}] and its answer have {len(example.ids)} tokens, and the model {most} positions"
                )
        starts = [int(np.argmax(example.loss_mask)) for example in examples]
        return sequence_logprobs(
            self.llama,
            self.mesh,
            [example.ids[:start].tolist() for example, start in zip(examples, starts, strict=True)],
            [example.ids[start:].tolist() for example, start in zip(examples, starts, strict=True)],
            batch_size=arguments.whole_number("batch_size", batch_size, 1),
        )

    @for_python
    def save_hf(self, directory: PathLike, *, merge_lora: bool = False, overwrite: bool = False) -> Path:
        """Write the model with its tokenizer and chat template as a Hugging Face directory.

        Args:
            directory: the directory to create.
            merge_lora: merge the adapters into the weights, also in this model. Required for a model with adapters,
                and an error without.
            overwrite: replace a directory that is not empty.

        Raises:
            UserError: if the directory is not empty, or ``merge_lora`` does not fit the model.
        """
        target = Path(arguments.path("directory", directory))
        if has_lora(self.llama) != merge_lora:
            raise UserError(
                "the model has no adapters, so there is nothing to merge; leave out merge_lora="
                if merge_lora
                else "the model has LoRA adapters; give merge_lora=True, or write them alone with save_peft"
            )
        refuse_existing(target, overwrite)  # before the model is changed
        if merge_lora:
            merge(self.llama)
        save_hf(
            self.llama,
            target,
            base=config_directory(self._source),
            template=self.tokenizer.template,
            template_date=self._date,
            overwrite=overwrite,
        )
        return target

    @for_python
    def save_peft(self, directory: PathLike, *, base: PathLike = "", overwrite: bool = False) -> Path:
        """Write the adapters as a directory that PEFT loads.

        Args:
            directory: the directory to create.
            base: the path or id of the base model to name in the adapter. By default where it was loaded from.
            overwrite: replace a directory that is not empty.

        Raises:
            UserError: if the model has no adapters, the base is a run, or the directory is not empty.
        """
        target = Path(arguments.path("directory", directory))
        run = Run.find(self._source)
        name = str(base) or (run.base.location if run else str(self._source.resolve()))
        if has_lora(self.llama) and Run.find(name):
            raise UserError(
                f"base: {name} is a run, which PEFT cannot load; save it with save_hf and name it here"
            )
        save_peft(self.llama, target, base_name=name, tokenizer=self.tokenizer, overwrite=overwrite)
        return target

    def _check(self, argument: str, conversations: Sequence[Sequence[Message]]) -> None:
        """Refuse conversations that the chat template cannot write, by their place in the argument."""
        for index, chat in enumerate(conversations):
            with arguments.naming(f"{argument}[{index}]"):
                self.tokenizer.check(chat)

    def _rows(self, most: int, wanted: int) -> int:
        """At most ``most`` answers at once, no more than wanted, and a multiple of the mesh's data devices."""
        parts = batch_size(self.mesh)
        if arguments.whole_number("batch_size", most, 1) % parts:
            raise UserError(
                f"batch_size {most} cannot be split over {parts} data devices; give a multiple of {parts}"
            )
        return min(most, math.ceil(max(wanted, 1) / parts) * parts)


def open_model(
    model: PathLike,
    *,
    adapter: PathLike | None = None,
    mesh: str = "1x1",
    dtype: str | None = None,
    template: str | None = None,
    base: PathLike = "",
    date: str = "",
) -> Model:
    """``load`` for commands: its messages name flags.

    The arguments are those of ``load``, and ``date``, the ISO date for a template that writes the date; that of the
    training, or today, by default.

    Raises:
        UserError: for an invalid argument, which the message names.
    """
    place, upon = (
        arguments.path("model", model),
        None if adapter is None else Path(arguments.path("adapter", adapter)),
    )
    if not isinstance(mesh, str):
        raise UserError(f'mesh is not a string such as "2x1" but {arguments.described(mesh)}')
    if dtype is not None and dtype not in KINDS:
        raise UserError(f"dtype {dtype!r} is not known; {did_you_mean(str(dtype), KINDS)}")
    if template is not None and template not in TEMPLATES:
        raise UserError(f"template {template!r} is not known; {did_you_mean(str(template), TEMPLATES)}")
    devices = make_mesh(mesh)
    if upon is not None and not upon.is_dir():
        raise UserError(f"adapter: directory {upon} does not exist")
    source = find_model(model_path(place))
    kind = None if dtype is None else jnp.dtype(dtype)
    run = Run.find(source)
    stored = DTYPES[run.config.precision][0] if run else None  # in which a run computes here too
    llama = load_model(
        source, devices, dtype=kind, compute_dtype=kind or stored, base=str(base), require_finite=True
    )
    if upon is not None:
        if has_lora(llama):
            raise UserError(f"adapter: {place} is a LoRA run itself, with adapters of its own; load its base")
        load_adapter(llama, upon, devices, base=source, dtype=kind, require_finite=True)
    trained = next((run for each in (upon, source) if each and (run := Run.find(each))), None)
    name = template or (template_of(upon) if upon else None) or template_of(source) or DEFAULT_TEMPLATE
    files, day = config_directory(source), date
    if trained:  # which may have grown the vocabulary
        files, day = trained.model_files, date or trained.config.template_date
    size = read_architecture(files).vocab_size
    return Model(llama, devices, ChatTokenizer(files, name, vocab_size=size, date=day), source, day)


@for_python
def load(
    model: PathLike,
    *,
    adapter: PathLike | None = None,
    mesh: str = "1x1",
    dtype: str | None = None,
    template: str | None = None,
    base: PathLike = "",
) -> Model:
    """Load a model with its tokenizer.

    Args:
        model: a Hugging Face directory or id, a run of xltjax, one of its checkpoints, or ``"miniature"``.
        adapter: a PEFT directory or LoRA run to add to the model.
        mesh: the devices as ``"DxT"``, such as ``"2x1"``: batch and parameters are split over D, matrices over T.
        dtype: ``"bfloat16"``, ``"float16"`` or ``"float32"``. By default each weight keeps its stored dtype.
        template: the name of the chat template. By default the one that the model or adapter was trained with, or
            else LLaMA-2's.
        base: where the base of a LoRA run is now, if it was moved.

    Returns:
        The model on the mesh.

    Raises:
        UserError: for an invalid argument, which the message names, or a model that cannot be loaded.
    """
    return open_model(model, adapter=adapter, mesh=mesh, dtype=dtype, template=template, base=base)


@for_python
def fit(model: PathLike, data: PathLike | Sequence[Any], out: PathLike, **settings: Any) -> Run | list[Run]:
    """Instruction-tune a model. A run that was interrupted continues where it stopped.

    Args:
        model: a Hugging Face directory or id, a run of xltjax, or ``"miniature"``.
        data: instruction data: a file, directory, glob or dataset id, or a list of them; or rows, as dicts, chats or
            a data frame, which are kept in a file in ``out``.
        out: the run directory.
        **settings: any setting of ``python -m xltjax.train --help``, with underscores:
            ``learning_rate=1e-5, steps=1000, lora_rank=16, mesh="2x1"``.

    Returns:
        The run, whose ``metrics`` are a list of dicts; with ``learning_rates``, a list of runs.

    Raises:
        UserError: for an invalid setting, which the message names.
        KeyboardInterrupt: if a signal stopped the run, after a checkpoint was saved.
    """
    for name in ("plan", "show_example"):
        if settings.get(name):
            raise UserError(f"{name} prints and does not train; it belongs to python -m xltjax.train")
    given = {
        key: value.tolist() if hasattr(value, "tolist") else value
        for key, value in settings.items()
        if value is not None
    }
    given |= {"model": arguments.path("model", model), "out": arguments.path("out", out)}
    rows: dict[str, KeptRows] = {}
    for name in ("data", "validation_data"):
        value = data if name == "data" else given.get(name)
        if value is not None:
            given[name] = _sources(name, value, Path(given["out"]), rows)
    refuse_both(TrainConfig, given)
    config = build(TrainConfig, given)
    for name, kept in rows.items():
        if config.bad_rows == "stop":
            kept.check(name, training_columns(config.columns))
        kept.write()
    complete = train(config)
    if len(complete) < len(config.runs()):
        raise KeyboardInterrupt
    runs = [Run(path) for path in complete]
    return runs if config.learning_rates else runs[0]


def _sources(name: str, value: Any, out: Path, rows: dict[str, KeptRows]) -> list[str]:
    """The paths that the argument ``name`` gives, or that of the file in which its rows are to be kept in ``out``."""
    items = (
        [value] if isinstance(value, (str, os.PathLike)) else arguments.as_list(name, rows_of_frame(value))
    )
    if any(isinstance(item, (Mapping, list)) for item in items):
        # A sweep may name its runs after their rates: then the rows are kept beside them.
        place, rate, _ = str(out).partition(RATE)
        rows[name] = KeptRows.of(name, items, Path(f"{place}_").parent if rate else out)
        return [str(rows[name].path)]
    return [arguments.path(f"{name}[{index}]", each) for index, each in enumerate(items)]
