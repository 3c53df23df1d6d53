"""SERVE, inside vLLM's CPU worker: LoRA as one small matrix product per adapter in the batch.

vLLM 0.32's own CPU path copies the adapter's weights once per *token* before it multiplies, so
a LoRA answer costs several base answers; and it gives tokens of the base model (index -1) the
weights of the last slot, so that base answers change once every slot is filled. Here tokens
are grouped by adapter: no copies, and base tokens are left alone. The launcher names this module
in `--worker-extension-cls`; vLLM imports it in each worker before the model is built. Needs vLLM.
"""

from __future__ import annotations

from typing import Any

from vllm.lora.punica_wrapper.punica_cpu import PunicaWrapperCPU
from vllm.platforms.cpu import CpuPlatform

Tensor = Any  # torch.Tensor: only its methods are used, so torch is never imported from here
Group = tuple[int, Tensor | None]  # slot of an adapter, its token rows (None: all of them)


class GroupedLora(PunicaWrapperCPU):
    """vLLM's CPU LoRA with the linear layers computed adapter by adapter."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._groups: list[Group] = []

    def update_metadata(self, *args: Any, **kwargs: Any) -> None:
        """Note once per step which token rows belong to which adapter."""
        super().update_metadata(*args, **kwargs)
        self._groups = group_rows(self.token_lora_indices)

    def add_lora_linear(
        self,
        y: Tensor,
        x: Tensor,
        lora_a_stacked: tuple[Tensor, ...],
        lora_b_stacked: tuple[Tensor, ...],
        scale: float,
        output_slices: tuple[int, ...],
        **kwargs: Any,
    ) -> None:
        """Add each token's LoRA delta to `y` [tokens, sum(output_slices)], in place.

        `x` is [tokens, inputs]; A and B are stacked as [slots, 1, rank, inputs] and
        [slots, 1, width, rank], one pair for each output slice.
        """
        for slot, rows in self._groups:
            inputs = x if rows is None else x.index_select(0, rows)
            start = 0
            for a, b, width in zip(lora_a_stacked, lora_b_stacked, output_slices, strict=True):
                delta = inputs.mm(a[slot, 0].t()).mm(b[slot, 0].t())
                _add(y[:, start : start + width], delta if scale == 1.0 else delta * scale, rows)
                start += width


def group_rows(slot_of_token: Tensor) -> list[Group]:
    """Return each adapter of the batch: its slot and its tokens' rows; slot -1 is no adapter."""
    slots: list[int] = slot_of_token.unique().tolist()
    if len(slots) == 1:
        return [(slots[0], None)] if slots[0] >= 0 else []
    return [(slot, (slot_of_token == slot).nonzero().squeeze(1)) for slot in slots if slot >= 0]


def _add(target: Tensor, delta: Tensor, rows: Tensor | None) -> None:
    if rows is None:
        target.add_(delta)
    else:
        target.index_add_(0, rows, delta)


class WorkerExtension:
    """What `--worker-extension-cls` names; it adds nothing, its import installs the above."""


def _wrapper_name(cls: type[CpuPlatform]) -> str:
    return f"{GroupedLora.__module__}.{GroupedLora.__qualname__}"


CpuPlatform.get_punica_wrapper = classmethod(_wrapper_name)  # pyright: ignore[reportAttributeAccessIssue]
