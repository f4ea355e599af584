"""The baseline of every case: ``transformers`` on PyTorch, SDPA, ``torch.compile``, ``peft``; same shapes.

It gets what is fastest for it: fused AdamW, plain causal attention in training (tokens then see other segments of
their row, which ours prevents), by the faster of SDPA's own choice and cuDNN's kernel, no recomputation while memory
allows, compiled decoding with a static cache where that is faster.
"""

from __future__ import annotations

import gc
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import transformers
from torch.nn.attention import SDPBackend, sdpa_kernel

from gpu_cases import cases
from xltjax.converters.hf_config import hf_config
from xltjax.lora import TARGETS

Measures = dict[str, Any]
WARM_STEPS, STEPS, REPEATS = 2, 6, 3
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
# Kernels of attention in training: cuDNN's, and what SDPA chooses by itself.
_ANY = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
KERNELS = {**({"cudnn": [SDPBackend.CUDNN_ATTENTION]} if DEVICE == "cuda" else {}), "SDPA's choice": _ANY}


def measure(case: cases.Case, scratch: Path, *, profile: bool = False) -> Iterator[Measures]:
    """Run a case; ``scratch`` is where our side has put checkpoints. Only our side is profiled."""
    match case:
        case cases.Training():
            yield from _training(case)
        case cases.Decoding():
            yield from _decoding(case)
        case cases.PromptSet():
            yield from _prompt_set(case)
        case cases.Loading():
            yield _loading(case, scratch)


def environment() -> Measures:
    """Device and versions."""
    device = torch.cuda.get_device_name() if DEVICE == "cuda" else "cpu"
    return {"device": device, "versions": {m.__name__: m.__version__ for m in (torch, transformers)}}


def _random_model(name: str) -> Any:
    config = transformers.AutoConfig.for_model(**hf_config(cases.MODELS[name]))
    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device(DEVICE):
            return transformers.AutoModelForCausalLM.from_config(config, attn_implementation="sdpa")
    finally:
        torch.set_default_dtype(before)


def _peak_memory() -> Measures:
    return {"peak GiB": torch.cuda.max_memory_allocated() / 2**30} if DEVICE == "cuda" else {}


def _timed(run: Callable[[], Any]) -> float:
    """Seconds of a call, the device's work included."""
    if DEVICE == "cuda":
        torch.cuda.synchronize()
    began = time.perf_counter()
    run()
    if DEVICE == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


def _training(case: cases.Training) -> Iterator[Measures]:
    """The faster of two kernels of attention, cuDNN's first: on Hopper it is, for the shapes of training."""
    best: Measures = {}
    for attention, backends in KERNELS.items():
        try:
            for found in _fitting(case, backends):
                if found["tokens/s"] > best.get("tokens/s", 0) or best.get("attention") == attention:
                    best = {**found, "attention": attention}
                yield best
        except RuntimeError as error:  # the kernel does not run here
            if not best and attention == [*KERNELS][-1]:
                raise
            best |= {f"{attention}: absent": str(error).splitlines()[0][:150]}
        _forget()


def _fitting(case: cases.Training, backends: list[SDPBackend]) -> Iterator[Measures]:
    """Updates in the way that costs least among those that fit: as they are, of half the rows, recomputing."""
    for rows, recompute in ((case.rows, False), (max(case.rows // 2, 1), False), (case.rows, True)):
        try:
            with sdpa_kernel(backends):
                yield from _updates(case, rows, recompute)
            return
        except torch.cuda.OutOfMemoryError:
            pass
        _forget()
    raise MemoryError("out of memory, also when recomputing")


def _forget() -> None:
    """Give back the memory of an attempt whose frames are gone."""
    gc.collect()
    torch.compiler.reset()
    torch.cuda.empty_cache()


def _updates(case: cases.Training, rows: int, recompute: bool) -> Iterator[Measures]:
    """Rates after each update, so that there is one when time is up."""
    model = _random_model(case.model)
    model.config.use_cache = False
    if recompute:
        model.gradient_checkpointing_enable({"use_reentrant": False})
        model.enable_input_require_grads()
    if case.lora:
        import peft  # only here, so that its absence ends these cases alone

        adapters = peft.LoraConfig(
            r=cases.LORA_RANK, lora_alpha=cases.LORA_ALPHA, target_modules=list(TARGETS), lora_dropout=0.0
        )
        model = peft.get_peft_model(model, adapters, autocast_adapter_dtype=False)
    model.train()
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        trained, lr=1e-5, betas=(0.9, 0.95), weight_decay=0.1, fused=DEVICE == "cuda"
    )
    ids = torch.tensor(
        cases.random_ids(cases.MODELS[case.model].vocab_size, rows, case.length), device=DEVICE
    ).long()
    compiled = torch.compile(model) if DEVICE == "cuda" else model

    def update() -> None:
        compiled(input_ids=ids, labels=ids).loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    times = [_timed(update)]
    for _ in range(WARM_STEPS + STEPS - 1):
        times.append(_timed(update))
        seconds = statistics.median(times[WARM_STEPS:] or times[-1:])
        how = {"step s": seconds, "first step s": times[0], "rows": rows, "recomputes": int(recompute)}
        yield {"tokens/s": rows * case.length / seconds, **_peak_memory(), **how}


def _decoding(case: cases.Decoding) -> Iterator[Measures]:
    """``generate`` with all new tokens less ``generate`` with one; dynamic cache, then static and compiled."""
    model = _random_model(case.model).eval()
    model.generation_config.eos_token_id = None
    ids = torch.tensor(
        cases.random_ids(cases.MODELS[case.model].vocab_size, case.batch, case.prompt), device=DEVICE
    ).long()
    best: Measures = {}
    for cache in ("dynamic", "static"):

        def seconds(new_tokens: int, cache: str = cache) -> float:
            def run() -> None:
                out = model.generate(
                    ids, attention_mask=torch.ones_like(ids), max_new_tokens=new_tokens, do_sample=False,
                    repetition_penalty=cases.PENALTY, pad_token_id=0, cache_implementation=cache,
                )  # fmt: skip
                assert out.shape[1] == case.prompt + new_tokens

            return _timed(run)

        try:
            with torch.inference_mode():
                seconds(1), seconds(case.new_tokens)  # compiles
                one, many = (
                    statistics.median(seconds(n) for _ in range(REPEATS)) for n in (1, case.new_tokens)
                )
        except Exception as error:
            best |= {f"{cache} cache": f"{type(error).__name__}: {error}".splitlines()[0][:150]}
            continue
        rate = case.batch * (case.new_tokens - 1) / (many - one)
        if rate > best.get("tokens/s", 0):
            prefill = {"prefill tokens/s": case.batch * case.prompt / one}
            best = {"tokens/s": rate, **prefill, **_peak_memory(), "cache": cache}
        yield best


def _prompt_set(case: cases.PromptSet) -> Iterator[Measures]:
    """``generate`` in batches of prompts of like length, its best case."""
    from random_models import hf_answers, make_tokenizer, tokenized

    model = _random_model(case.model).eval()
    with tempfile.TemporaryDirectory() as folder:
        prompts = tokenized(make_tokenizer(Path(folder), None, "xlt113"), "xlt113", case.subset)
    options: dict[str, Any] = {"penalty": cases.PENALTY, "eos": cases.ending_ids(model.config.vocab_size)}
    with torch.device(DEVICE):
        hf_answers(model, prompts[:1], new_tokens=2, **options)
        answers: list[list[int]] = []

        def run() -> None:
            answers.extend(
                hf_answers(model, prompts, new_tokens=case.new_tokens, batch_size=case.slots, **options)
            )

        seconds = _timed(run)
    tokens = sum(min(len(answer) + 1, case.new_tokens) for answer in answers)
    rates = {"seconds": seconds, "tokens/s": tokens / seconds}
    yield {**rates, "answers": len(answers), "new tokens": tokens, **_peak_memory()}


def _loading(case: cases.Loading, scratch: Path) -> Measures:
    """``from_pretrained`` of the checkpoint that our side wrote."""
    source = scratch / case.model
    if not source.is_dir():
        raise FileNotFoundError("no checkpoint: our side writes it, in the same command")

    def load() -> None:
        transformers.AutoModelForCausalLM.from_pretrained(
            source, dtype=torch.bfloat16, device_map=DEVICE, local_files_only=True
        )

    seconds = statistics.median(_timed(load) for _ in range(REPEATS))
    size = sum(file.stat().st_size for file in source.glob("*.safetensors"))
    return {"seconds": seconds, "GB/s": size / 1e9 / seconds, **_peak_memory()}
