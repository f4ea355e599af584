"""Our side of every case: measures named with their units. What is yielded later replaces what came before."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from gpu_cases import cases
from gpu_cases.kernels import compare
from gpu_cases.profile import top_kernels
from gpu_cases.timing import median_seconds
from xltjax.attention.choice import choose
from xltjax.common.hardware import GIB, peak_flops, peak_memory
from xltjax.converters import load_hf, save_hf
from xltjax.data.packing import Batch, declared_segments
from xltjax.inference.engine import Engine
from xltjax.inference.sampling import SamplingParams
from xltjax.llama import Llama, initialize, parameters, use_attention
from xltjax.lora import add_lora
from xltjax.mesh import cache_compilations, make_mesh
from xltjax.partition import partition
from xltjax.training.optimizer import adamw, inverse_sqrt
from xltjax.training.step import fresh_state, make_train_step, place

Measures = dict[str, Any]
WARM_STEPS, STEPS, REPEATS = 2, 6, 3
NO_END = (-1,)  # answers that only their length ends


def measure(case: cases.Case, scratch: Path, *, profile: bool = False) -> Iterator[Measures]:
    """Run a case; ``scratch`` is where checkpoints go. With ``profile``, the kernels that take the most time too."""
    cache_compilations()
    match case:
        case cases.Ceilings():
            yield _ceilings(case)
        case cases.FewRows():
            yield _few_rows(case)
        case cases.Kernels():
            yield compare(case)
        case cases.Training():
            yield from _training(case, profile)
        case cases.Decoding():
            yield from _decoding(case, profile)
        case cases.PromptSet():
            yield from _prompt_set(case)
        case cases.Loading():
            yield _loading(case, scratch)


def environment() -> Measures:
    """Device and versions."""
    import flax
    import optax

    versions = {module.__name__: module.__version__ for module in (jax, flax, optax)}
    return {"device": jax.devices()[0].device_kind, "versions": versions}


def _peak_memory() -> Measures:
    return {"peak GiB": peak_memory() / GIB}


def _random_model(name: str) -> Llama:
    model = Llama(cases.MODELS[name], compute_dtype=jnp.bfloat16)
    return initialize(model, make_mesh("1x1"), jax.random.key(0), jnp.bfloat16)


def _ceilings(case: cases.Ceilings) -> Measures:
    """Bytes read plus bytes written of ``x + 1``, and a product of random bfloat16 matrices."""
    x = jnp.zeros(int(case.gigabytes * 1e9) // 4, jnp.int32)
    add = jax.jit(lambda x: x + 1)
    copy = 2 * x.nbytes / median_seconds(lambda: add(x))
    a, b = jax.random.normal(jax.random.key(0), (2, case.width, case.width), jnp.bfloat16)
    multiply = jax.jit(jnp.matmul)
    product = 2 * case.width**3 / median_seconds(lambda: multiply(a, b), calls=20)
    return {"copy GB/s": copy / 1e9, "product TFLOP/s": product / 1e12}


def _few_rows(case: cases.FewRows) -> Measures:
    """Bytes of the weights read per second by products of few rows with the weights of a block.

    A product of one row is a reduction along the rows of a weight [out, in], for which XLA has a kernel of its own;
    its matmul kernel reads ``o_proj`` at half the rate of ``q_proj``. ``layers.matmul`` should take the faster one.
    """
    wide, narrow = case.hidden, case.width
    sizes = {"o_proj": (narrow, narrow), "gate_up": (2 * wide, narrow), "down_proj": (narrow, wide)}
    ways = {
        "matmul": jax.jit(lambda x, weight: jnp.einsum("bi,oi->bo", x, weight)),
        "reduction": jax.jit(
            lambda x, weight: jnp.sum(x[:, None] * weight, -1, dtype=jnp.float32).astype(x.dtype)
        ),
    }
    measures = {}
    for name, size in sizes.items():
        weights = [*jax.random.normal(jax.random.key(0), (8, *size), jnp.bfloat16)]
        for rows in case.rows:
            x = jax.random.normal(jax.random.key(1), (rows, size[1]), jnp.bfloat16)
            for way, run in ways.items():
                other = cycle(weights)  # none of them is still in the device's cache when its turn comes
                seconds = median_seconds(lambda run=run, x=x, other=other: run(x, next(other)), calls=48)
                measures[f"{name}, {rows} rows, {way}: GB/s"] = weights[0].nbytes / seconds / 1e9
    return measures


def _training(case: cases.Training, profile: bool) -> Iterator[Measures]:
    """Seconds of an update, waiting for its loss; MFU is model FLOPs per second over the peak.

    Model FLOPs are ``Llama.flops_per_token``: 6 per weight of every linear layer and 12 N H T per layer, causality
    not subtracted, nothing counted for what activation checkpointing computes again. With LoRA two thirds of that:
    a frozen weight has no gradient. After the first update there is a measure already, in case time is up.
    """
    jax.config.update("jax_optimization_level", case.optimization)
    mesh = make_mesh("1x1")
    model = _random_model(case.model)
    model.activation_checkpointing = case.remat
    use_attention(model, case.kernel)
    if case.lora:
        key = jax.random.key(1)
        add_lora(model, mesh, key, rank=cases.LORA_RANK, alpha=cases.LORA_ALPHA, dtype=jnp.bfloat16)
    flops = model.flops_per_token(case.length, adapters=case.lora)
    trainable, frozen, rebuild = partition(model)
    del model
    transform = adamw(beta1=0.9, beta2=0.95, eps=1e-8, weight_decay=0.1, clip_norm=1.0, moments=jnp.bfloat16)
    state = fresh_state(trainable, transform, mesh)
    del trainable
    step = make_train_step(rebuild, transform, inverse_sqrt())
    with jax.set_mesh(mesh):
        host = _batch(case)
        config = cases.MODELS[case.model]
        (problem,) = config.attention_problems(jnp.bfloat16, case.length, host.segments)
        batch = place(host, mesh)
        losses, times = [], []
        for _ in range(WARM_STEPS + STEPS):
            began = time.perf_counter()
            state, metrics = step(state, frozen, batch, 1e-5)
            losses.append(float(metrics["loss"]))
            times.append(time.perf_counter() - began)
            seconds = statistics.median(times[WARM_STEPS:] or times[-1:])
            rate = case.rows * case.length / seconds
            peak = peak_flops(jax.devices()[0].device_kind)
            mfu = {"MFU %": 100 * flops * rate / peak} if peak else {}
            compiling = {"first step s": times[0], "first loss": losses[0], "last loss": losses[-1]}
            chosen = {"attention": choose(problem, case.kernel).kernel, "remat": case.remat}
            found = {"tokens/s": rate, **mfu, **_peak_memory(), "step s": seconds, **compiling, **chosen}
            if len(times) > 1:
                yield found
        if profile:
            yield {**found, "kernels": top_kernels(lambda: step(state, frozen, batch, 1e-5)[1])}


def _batch(case: cases.Training) -> Batch:
    """Full packed rows; the last three quarters of each segment are learned."""
    segment_ids, positions = cases.packed_rows(case.rows, case.length)
    ids = cases.random_ids(cases.MODELS[case.model].vocab_size, case.rows, case.length + 1)
    learned = (positions >= 10).astype(np.float32)
    arrays = (x[None] for x in (ids[:, :-1], ids[:, 1:], learned, segment_ids, positions))
    return Batch(*arrays, declared_segments([*map(np.unique, segment_ids)]))


def _decoding(case: cases.Decoding, profile: bool) -> Iterator[Measures]:
    """Rates of ``Engine``, as ``xltjax.generate`` uses it, after a first pass that compiles.

    Bytes are those that a step must read: the weights of every linear layer, and the caches as far as they are
    filled half-way through.
    """
    model, mesh = _random_model(case.model), make_mesh("1x1")
    prompts = list(enumerate(cases.random_ids(model.config.vocab_size, case.batch, case.prompt).tolist()))
    table = model.embed.weight[...].nbytes
    weights = sum(v[...].nbytes for v in parameters(model).values()) - table
    step_bytes = weights + model.cache_bytes(case.batch, case.prompt + case.new_tokens // 2)
    meters = []
    for _ in range(1 + REPEATS):
        engine = Engine(
            model,
            mesh,
            slots=case.batch,
            max_new_tokens=case.new_tokens,
            sampling=SamplingParams(cases.PENALTY),
            eos=NO_END,
        )
        for _ in engine.generate(prompts):
            pass
        meters.append(engine.throughput)
        if len(meters) == 1:
            continue
        rate = statistics.median((m.new_tokens - m.prompts) / m.decode_seconds for m in meters[1:])
        prefill = statistics.median(m.prompt_tokens / m.prefill_seconds for m in meters[1:])
        read = {"read GB/s": step_bytes * rate / case.batch / 1e9}
        found = {"tokens/s": rate, "prefill tokens/s": prefill, **read, **_peak_memory()}
        yield found
    if profile:
        yield {**found, "kernels": top_kernels(lambda: list(engine.generate(prompts)))}


def _prompt_set(case: cases.PromptSet) -> Iterator[Measures]:
    """The whole set twice: the first time compiles."""
    from random_models import make_tokenizer, tokenized

    model, mesh = _random_model(case.model), make_mesh("1x1")
    with tempfile.TemporaryDirectory() as folder:
        prompts = tokenized(make_tokenizer(Path(folder), None, "xlt113"), "xlt113", case.subset)
    first = None
    for _ in range(2):
        engine = Engine(
            model, mesh, slots=case.slots, max_new_tokens=case.new_tokens, sampling=SamplingParams(cases.PENALTY),
            eos=cases.ending_ids(model.config.vocab_size),
        )  # fmt: skip
        began = time.perf_counter()
        answers = list(engine.generate(enumerate(prompts)))
        seconds = time.perf_counter() - began
        first = first or seconds
        tokens = engine.throughput.new_tokens
        yield {
            "seconds": seconds, "tokens/s": tokens / seconds, "answers": len(answers), "new tokens": tokens,
            "slots busy %": 100 * engine.throughput.occupancy(), "seconds with compilation": first, **_peak_memory(),
        }  # fmt: skip


def _loading(case: cases.Loading, scratch: Path) -> Measures:
    """Export the random model in shards, then load it."""
    target = scratch / case.model
    mesh = make_mesh("1x1")
    model = _random_model(case.model)
    began = time.perf_counter()
    save_hf(model, target, overwrite=True)
    exported = time.perf_counter() - began
    del model
    times = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        loaded = load_hf(target, mesh, dtype=jnp.bfloat16)
        jax.block_until_ready([v[...] for v in parameters(loaded).values()])
        times.append(time.perf_counter() - began)
        del loaded
    size = sum(file.stat().st_size for file in target.glob("*.safetensors"))
    seconds = statistics.median(times)
    return {"seconds": seconds, "GB/s": size / 1e9 / seconds, "export s": exported, **_peak_memory()}
