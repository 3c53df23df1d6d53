"""Parts of a Llama-like model as single operations that remember less, exact to rounding.

Autograd keeps every intermediate tensor of a forward pass. Each operation here has its gradient
written out and keeps its inputs alone, which saves memory and passes over it: LoRA's linear
layer, the norm, the gated activation, and the loss of answers. Tensors in, tensors out; knows
nothing of trainers. Imports torch.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional

from retrain.training.products import times

LOSS_ROWS = 128  # logits of so many positions exist at once: 25 MB at a vocabulary of 49,152


def lora_linear(x: Tensor, weight: Tensor, a_R_K: Tensor, b_M_R: Tensor, scale: float) -> Tensor:
    """Return `x W^T + scale (x A^T) B^T` for a frozen W, [..., M], in the type of `x`.

    Source: Hu et al. 2021, "LoRA".
    """
    flat_N_K = x.reshape(-1, x.shape[-1])
    result: Any = _LoraLinear.apply(flat_N_K, weight, a_R_K, b_M_R, scale)
    return result.view(*x.shape[:-1], weight.shape[0])


class _LoraLinear(Function):
    @staticmethod
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, x_N_K: Tensor, weight_M_K: Tensor, a_R_K: Tensor, b_M_R: Tensor, scale: float
    ) -> Tensor:
        low_N_R = times(x_N_K, a_R_K.to(x_N_K.dtype))
        low_N_R *= scale
        ctx.save_for_backward(x_N_K, low_N_R, weight_M_K, a_R_K, b_M_R)
        ctx.scale = scale
        return times(x_N_K, weight_M_K).add_(times(low_N_R, b_M_R.to(x_N_K.dtype)))

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor | None, ...]:
        (g_N_M,) = gradients
        x_N_K, low_N_R, weight_M_K, a_R_K, b_M_R = ctx.saved_tensors
        dtype = x_N_K.dtype
        g_N_M = g_N_M.contiguous()
        low_g_N_R = times(g_N_M, b_M_R.to(dtype).t()).mul_(ctx.scale)
        grad_b = times(low_N_R.t().contiguous(), g_N_M.t()).t()
        grad_a = times(low_g_N_R.t().contiguous(), x_N_K.t())
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = times(g_N_M, weight_M_K.t())
            grad_x += times(low_g_N_R, a_R_K.to(dtype).t())
        return grad_x, None, grad_a.to(a_R_K.dtype), grad_b.to(b_M_R.dtype), None


def frozen_linear(x: Tensor, weight: Tensor) -> Tensor:
    """Return `x W^T` for a frozen W, [..., M]."""
    result: Any = _FrozenLinear.apply(x.reshape(-1, x.shape[-1]), weight)
    return result.view(*x.shape[:-1], weight.shape[0])


class _FrozenLinear(Function):
    @staticmethod
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, x_N_K: Tensor, weight_M_K: Tensor
    ) -> Tensor:
        ctx.save_for_backward(weight_M_K)
        return times(x_N_K, weight_M_K)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor | None, ...]:
        (weight_M_K,) = ctx.saved_tensors
        return times(gradients[0].contiguous(), weight_M_K.t()), None


def rms_norm(x: Tensor, weight_C: Tensor, epsilon: float) -> Tensor:
    """Return `x / rms(x) * weight` over the last axis, for a frozen weight, computed in float32.

    Source: Zhang and Sennrich 2019, "Root Mean Square Layer Normalization".
    """
    return cast(Tensor, _RmsNorm.apply(x, weight_C, epsilon))


class _RmsNorm(Function):
    @staticmethod
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, x: Tensor, weight_C: Tensor, epsilon: float
    ) -> Tensor:
        wide = x.float()
        inverse = torch.rsqrt(wide.square().mean(-1, keepdim=True).add_(epsilon))
        ctx.save_for_backward(x, weight_C, inverse)
        return weight_C * (wide * inverse).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor | None, ...]:
        x, weight_C, inverse = ctx.saved_tensors
        normed = x.float() * inverse
        scaled = gradients[0].float() * weight_C.float()
        along = (scaled * normed).mean(-1, keepdim=True)
        return scaled.sub_(normed.mul_(along)).mul_(inverse).to(x.dtype), None, None


def swiglu(gate: Tensor, up: Tensor) -> Tensor:
    """Return `silu(gate) * up`.

    Source: Shazeer 2020, "GLU Variants Improve Transformer".
    """
    return cast(Tensor, _Swiglu.apply(gate, up))


class _Swiglu(Function):
    @staticmethod
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, gate: Tensor, up: Tensor
    ) -> Tensor:
        ctx.save_for_backward(gate, up)
        return functional.silu(gate).mul_(up)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor | None, ...]:
        gate, up = ctx.saved_tensors
        (g,) = gradients
        slope: Any = torch.ops.aten.silu_backward
        return slope(g * up, gate), functional.silu(gate).mul_(g)


def answer_loss(hidden_N_C: Tensor, weight_V_C: Tensor, labels_N: Tensor) -> Tensor:
    """Return the summed negative log-likelihood of the labels, for a frozen vocabulary matrix.

    The gradient is computed along with the loss, a few rows of logits at a time.
    Source: Hsu et al. 2024, "Liger Kernel" (fused linear cross-entropy).
    """
    return cast(Tensor, _AnswerLoss.apply(hidden_N_C, weight_V_C, labels_N))


class _AnswerLoss(Function):
    @staticmethod
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, hidden_N_C: Tensor, weight_V_C: Tensor, labels_N: Tensor
    ) -> Tensor:
        total = hidden_N_C.new_zeros((), dtype=torch.float32)
        slopes: list[Tensor] = []
        for rows, labels in zip(
            hidden_N_C.split(LOSS_ROWS), labels_N.split(LOSS_ROWS), strict=True
        ):
            logits = times(rows, weight_V_C).float()
            total_log = torch.logsumexp(logits, -1, keepdim=True)
            total += total_log.sum() - logits.gather(1, labels[:, None]).sum()
            if ctx.needs_input_grad[0]:
                slope = logits.sub_(total_log).exp_()  # what the model says, less what is right
                slope.scatter_add_(1, labels[:, None], slope.new_full((len(labels), 1), -1.0))
                slopes.append(times(slope.to(rows.dtype), weight_V_C.t()))
        ctx.save_for_backward(torch.cat(slopes) if slopes else hidden_N_C.new_zeros(0))
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor | None, ...]:
        (slope_N_C,) = ctx.saved_tensors
        return slope_N_C * gradients[0].to(slope_N_C.dtype), None, None
