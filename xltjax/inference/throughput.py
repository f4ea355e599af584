"""Measurements of an engine: tokens per second, occupancy of the slots, and memory bandwidth."""

from __future__ import annotations

from dataclasses import dataclass, field

import jax

from xltjax.common.hardware import peak_bandwidth


@dataclass
class Throughput:
    """Counts of one ``Engine``.

    Attributes:
        slot_steps: decoding steps times slots, idle slots included.
        bytes_read: by decoding steps, over all devices: the weights of every linear layer and the whole cache.
        programs: what was compiled: (``prefill`` | ``decode``, padded prompt length, chunks of the cache).
    """

    prompts: int = 0
    prompt_tokens: int = 0
    new_tokens: int = 0
    slot_steps: int = 0
    bytes_read: int = 0
    prefill_seconds: float = 0.0
    decode_seconds: float = 0.0
    programs: set[tuple[str, int, int]] = field(default_factory=set)

    def occupancy(self) -> float:
        """Share of slot steps that added a token to an answer."""
        # The first token of an answer comes from the prefill.
        return (self.new_tokens - self.prompts) / self.slot_steps if self.slot_steps else 1.0

    def rate(self) -> float:
        """New tokens per second of prefill and decoding together."""
        return self.new_tokens / max(self.prefill_seconds + self.decode_seconds, 1e-9)

    def report(self) -> str:
        """All measurements as one paragraph of text."""
        decoded = self.new_tokens - self.prompts
        return (
            f"{self.prompts} answers, {self.new_tokens} tokens, {self.rate():,.0f} tokens/s; "
            f"prefill: {self.prompt_tokens} tokens in {self.prefill_seconds:.1f} s; "
            f"decoding: {decoded / max(self.decode_seconds, 1e-9):,.0f} tokens/s over "
            f"{self.decode_seconds:.1f} s, slots busy {100 * self.occupancy():.0f}% of the steps, "
            f"{self.bytes_read / max(decoded, 1) / 1e6:,.1f} MB read per token, {self._bandwidth()}"
        )

    def _bandwidth(self) -> str:
        """Bytes read per second, as a share of the devices' peak where it is known."""
        rate = self.bytes_read / max(self.decode_seconds, 1e-9)
        kind = jax.devices()[0].device_kind
        peak = peak_bandwidth(kind)
        if peak is None:
            return f"{rate / 1e9:,.1f} GB/s (no peak known for {kind!r})"
        return f"{rate / 1e9:,.0f} GB/s, {100 * rate / peak:.0f}% of one {kind}"
