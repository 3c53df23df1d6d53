"""A padded batch as one row: what all its examples begin with once, then the rest of each.

An application's system prompt begins all its conversations, and a causal model computes the same
for it in each. In a row it is computed once, nothing is padding, and every rest attends to the
shared beginning and to itself: the same losses and gradients, to rounding. `attend` is the
attention for such rows; other calls get transformers' own. Imports torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from retrain.tokens import IGNORED

NAME = "ratchet_shared_prefix"


@dataclass(frozen=True)
class Row:
    """B examples as N tokens: `prefix` shared ones, then the rests one after the other."""

    ids_1_N: Tensor
    positions_1_N: Tensor
    prefix: int
    rests: tuple[int, ...]  # tokens of each example after the prefix
    predicting_K: Tensor  # places whose next token is to be learnt
    labels_K: Tensor  # those tokens
    mask_S_T: Tensor  # what the rests' positions see of prefix and rest


def fold(input_ids_B_T: Tensor, attention_mask_B_T: Tensor, labels_B_T: Tensor) -> Row | None:
    """Return the batch as one row; None if it is not padded on the right or teaches nothing."""
    lengths_B = attention_mask_B_T.sum(1)
    places_T = torch.arange(input_ids_B_T.shape[1], device=input_ids_B_T.device)
    known_B_T = places_T < lengths_B[:, None]
    learnt_B_T = (labels_B_T != IGNORED) & known_B_T & (places_T > 0)
    if not torch.equal(known_B_T, attention_mask_B_T.bool()) or not learnt_B_T.any():
        return None
    prefix = _shared(input_ids_B_T, known_B_T, learnt_B_T)
    rests = tuple(int(length) - prefix for length in lengths_B)
    rest_B_T = known_B_T & (places_T >= prefix)
    ids_N = torch.cat((input_ids_B_T[0, :prefix], input_ids_B_T[rest_B_T]))
    positions_N = torch.cat((places_T[:prefix], places_T.expand_as(rest_B_T)[rest_B_T]))
    # in a row each place predicts the next one of its own example
    follows_B_T = learnt_B_T.roll(-1, dims=1)
    predicting_K = follows_B_T[rest_B_T].nonzero().squeeze(1) + prefix
    longest = max(rests)
    mask_S_T = places_T[prefix : prefix + longest, None] >= places_T[: prefix + longest]
    return Row(
        ids_N[None],
        positions_N[None],
        prefix,
        rests,
        predicting_K,
        labels_B_T[learnt_B_T],
        mask_S_T,
    )


def _shared(input_ids_B_T: Tensor, known_B_T: Tensor, learnt_B_T: Tensor) -> int:
    """Return how many tokens all examples begin with, ending before any token to be learnt."""
    if len(input_ids_B_T) == 1:
        return 0
    same_T = (input_ids_B_T == input_ids_B_T[0]).all(0) & known_B_T.all(0)
    common = int(same_T.int().cumprod(0).sum())
    first_learnt = int(learnt_B_T.any(0).int().argmax())
    return max(0, min(common, first_learnt - 1))


def attend(
    module: Any,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    **known: Any,
) -> tuple[Tensor, None]:
    """Return the attention's output, [1, N, H, D], for the row in `known`, if there is one."""
    row: Row | None = known.pop("row", None)
    if row is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **known)
    query, key, value = (x[0].transpose(0, 1) for x in (query, key, value))  # [N, heads, D]
    scale = known.get("scaling")
    longest = max(row.rests)
    shared = [x[: row.prefix] for x in (query, key, value)]
    padded = [_padded(x[row.prefix :], row.rests, longest) for x in (query, key, value)]
    keys, values = (
        torch.cat((start.expand(len(row.rests), *start.shape), rest), dim=1)
        for start, rest in zip(shared[1:], padded[1:], strict=True)
    )
    rest = _attention(padded[0], keys, values, scale, mask=row.mask_S_T)
    outputs = [_unpadded(rest, row.rests)]
    if row.prefix:
        start, start_key, start_value = (x[None] for x in shared)
        outputs.insert(0, _attention(start, start_key, start_value, scale)[0])
    return torch.cat(outputs)[None], None


def _attention(
    query_B_S_H_D: Tensor,
    key_B_T_G_D: Tensor,
    value_B_T_G_D: Tensor,
    scale: float | None,
    mask: Tensor | None = None,
) -> Tensor:
    heads = query_B_S_H_D.shape[2] // key_B_T_G_D.shape[2]
    query, key, value = (x.transpose(1, 2) for x in (query_B_S_H_D, key_B_T_G_D, value_B_T_G_D))
    if heads > 1:
        key, value = (x.repeat_interleave(heads, dim=1) for x in (key, value))
    result = functional.scaled_dot_product_attention(
        query, key, value, attn_mask=mask, is_causal=mask is None, scale=scale
    )
    return result.transpose(1, 2)


def _padded(rests_M_H_D: Tensor, lengths: tuple[int, ...], longest: int) -> Tensor:
    """Return the rests side by side, [B, S, H, D], with nought where they are shorter."""
    return cast(Tensor, _Pad.apply(rests_M_H_D, lengths, longest))


def _unpadded(rests_B_S_H_D: Tensor, lengths: tuple[int, ...]) -> Tensor:
    """Return the rests one after the other, [M, H, D]."""
    return cast(Tensor, _Unpad.apply(rests_B_S_H_D, lengths))


def _spread(x_M_H_D: Tensor, lengths: tuple[int, ...], longest: int) -> Tensor:
    spread = x_M_H_D.new_zeros(len(lengths), longest, *x_M_H_D.shape[1:])
    for target, rest in zip(spread, x_M_H_D.split(list(lengths)), strict=True):
        target[: len(rest)] = rest
    return spread


def _joined(x_B_S_H_D: Tensor, lengths: tuple[int, ...]) -> Tensor:
    joined = x_B_S_H_D.new_empty(sum(lengths), *x_B_S_H_D.shape[2:])
    ends = list(accumulate(lengths))
    for rest, length, end in zip(x_B_S_H_D, lengths, ends, strict=True):
        joined[end - length : end] = rest[:length]
    return joined


class _Pad(Function):
    @staticmethod
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, x_M_H_D: Tensor, lengths: tuple[int, ...], longest: int
    ) -> Tensor:
        ctx.lengths = lengths
        return _spread(x_M_H_D, lengths, longest)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor | None, ...]:
        return _joined(gradients[0], ctx.lengths), None, None


class _Unpad(Function):
    @staticmethod
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, x_B_S_H_D: Tensor, lengths: tuple[int, ...]
    ) -> Tensor:
        ctx.lengths, ctx.longest = lengths, x_B_S_H_D.shape[1]
        return _joined(x_B_S_H_D, lengths)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor | None, ...]:
        return _spread(gradients[0], ctx.lengths, ctx.longest), None


AttentionInterface.register(NAME, attend)
AttentionMaskInterface.register(NAME, sdpa_mask)
