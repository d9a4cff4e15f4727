"""GPTQ: weights rounded one column after another, each rounding error made good by the columns that are still to come.

Frantar et al. 2022, arXiv:2210.17323. Symmetric integers with one scale for `group_size` weights of a row, no reordering of
columns. Written out here, as the libraries for it pin other versions of numpy or transformers than Tilth runs with.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from curation.errors import InputError

BLOCK = 128  # columns whose errors are passed on together
DAMPING = 0.01  # of the Hessian's mean diagonal


@dataclass(frozen=True, slots=True)
class Quantized:
    """A weight in integers: `levels * scale` is what it stands for."""

    levels: Tensor  # (out, in) int8, from -2^(bits-1) to 2^(bits-1) - 1
    scale: Tensor  # (out, in / group_size), in the type that it is stored in
    error: float  # |(W - W') X|^2 / |W X|^2 over the calibration rows

    def weight(self) -> Tensor:
        """(out, in), in the scale's type: exactly what a reader of the stored file computes."""
        return self.levels.to(self.scale.dtype) * self.scale.repeat_interleave(
            self.levels.shape[1] // self.scale.shape[1], dim=1
        )


def quantize(weight: Tensor, hessian: Tensor, *, bits: int, group_size: int, dtype: torch.dtype) -> Quantized:
    """One linear layer's weight.

    Args:
        weight: (out, in).
        hessian: (in, in), the sum of x x^T over the inputs of the layer, fp32. The identity gives rounding to nearest.
        dtype: of the scales.

    Source: algorithm 1 of arXiv:2210.17323.
    """
    rest, hessian = weight.float().clone(), hessian.clone()
    dead = hessian.diagonal() == 0  # inputs that are never seen
    hessian.diagonal()[dead] = 1
    upper = _inverse_factor(hessian)
    levels = torch.empty_like(rest, dtype=torch.int8)
    scale = torch.empty(rest.shape[0], rest.shape[1] // group_size, device=rest.device, dtype=dtype)
    for start in range(0, rest.shape[1], BLOCK):
        end = min(start + BLOCK, rest.shape[1])
        errors = torch.zeros(rest.shape[0], end - start, device=rest.device)
        for column in range(start, end):
            if column % group_size == 0:
                group = rest[:, column : column + group_size] - _pending(errors, upper, start, column, end, group_size)
                scale[:, column // group_size] = _scale(group, bits).to(dtype)
            step = scale[:, column // group_size].float()
            levels[:, column] = _nearest(rest[:, column], step, bits)
            errors[:, column - start] = (rest[:, column] - levels[:, column].float() * step) / upper[column, column]
            rest[:, column:end] -= errors[:, column - start, None] * upper[None, column, column:end]
        rest[:, end:] -= errors @ upper[start:end, end:]
    found = Quantized(levels, scale, 0.0)
    lost = weight.float() - found.weight().float()
    total = ((weight.float() @ hessian) * weight.float()).sum()
    return Quantized(levels, scale, float(((lost @ hessian) * lost).sum() / total.clamp_min(1e-30)))


def _pending(errors: Tensor, upper: Tensor, start: int, column: int, end: int, group_size: int) -> Tensor:
    """What this block's errors have yet to take from a group's columns beyond the block; a group's scale should know it."""
    pending = torch.zeros(errors.shape[0], group_size, device=errors.device)
    if column + group_size > end:
        pending[:, end - column :] = errors[:, : column - start] @ upper[start:column, end : column + group_size]
    return pending


def _inverse_factor(hessian: Tensor) -> Tensor:
    """The upper Cholesky factor of the damped Hessian's inverse; more damping where rounding leaves it indefinite."""
    mean = hessian.diagonal().mean()
    for damping in (DAMPING, 10 * DAMPING, 100 * DAMPING):
        damped = hessian + damping * mean * torch.eye(len(hessian), device=hessian.device)
        lower, failed = torch.linalg.cholesky_ex(damped)
        if not failed:
            factor, failed = torch.linalg.cholesky_ex(torch.cholesky_inverse(lower), upper=True)
        if not failed:
            return torch.as_tensor(factor)
    raise InputError("the calibration rows give no usable statistics (infinite or not a number); is the model whole?")


def _scale(group: Tensor, bits: int) -> Tensor:
    """(out,) so that the largest weight of a group gets the outermost level."""
    outermost: float = 2 ** (bits - 1) - 0.5
    return (group.abs().amax(dim=1) / outermost).clamp_min(1e-8)


def _nearest(values: Tensor, scale: Tensor, bits: int) -> Tensor:
    return (values / scale).round().clamp(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1).to(torch.int8)


@torch.no_grad()
def quantize_model(
    model: Any, rows: Sequence[list[int]], *, bits: int, group_size: int, progress: Callable[[int, int], None]
) -> dict[str, Quantized]:
    """Quantise the linear layers of a decoder, layer after layer; each sees the inputs that the quantised ones before it give.

    The model's weights are replaced by what the integers stand for. Embeddings and head stay as they are.

    Args:
        rows: token ids of the calibration conversations.
        progress: called with (layers done, layers).

    Returns:
        The integers by the name of their linear layer.

    Raises:
        InputError: the model has no stack of layers, or `group_size` does not divide a layer's width.
    """
    prefix, layers = decoder_layers(model)
    check_widths(prefix, layers, group_size)
    hidden, extras = _inputs(model, layers, rows)
    found: dict[str, Quantized] = {}
    for at, layer in enumerate(layers):
        linears = {name: module for name, module in layer.named_modules() if isinstance(module, nn.Linear)}
        hessians = _hessians(layer, linears, hidden, extras[at])
        for name, module in linears.items():
            if name not in hessians:  # no calibration row reached it: an expert that none was sent to
                hessians[name] = torch.eye(module.in_features, device=module.weight.device)
            done = quantize(
                module.weight, hessians.pop(name), bits=bits, group_size=group_size, dtype=module.weight.dtype
            )
            module.weight.data.copy_(done.weight())
            found[f"{prefix}.{at}.{name}"] = done
        hidden = [_first(layer(states, **extra)) for states, extra in zip(hidden, extras[at], strict=True)]
        progress(at + 1, len(layers))
    return found


def decoder_layers(model: nn.Module) -> tuple[str, nn.ModuleList]:
    """The name and the stack of a model's decoder layers: its longest ModuleList that holds linear layers."""
    stacks = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.ModuleList) and any(isinstance(inner, nn.Linear) for inner in module.modules())
    ]
    if not stacks:
        raise InputError("the model has no stack of layers with linear modules in it; there is nothing to quantise")
    return max(stacks, key=lambda pair: len(pair[1]))


def check_widths(prefix: str, layers: nn.ModuleList, group_size: int) -> None:
    for name, module in layers.named_modules():
        if isinstance(module, nn.Linear) and module.in_features % group_size:
            fits = [size for size in (256, 128, 64, 32, 16, 8) if module.in_features % size == 0]
            raise InputError(
                f"group_size={group_size} does not divide the {module.in_features} inputs of {prefix}.{name}; "
                + (f"choose {' or '.join(map(str, fits[:3]))}" if fits else "no common size does")
            )


class _Seen(Exception):
    pass


def _inputs(
    model: Any, layers: nn.ModuleList, rows: Sequence[list[int]]
) -> tuple[list[Tensor], list[list[dict[str, Any]]]]:
    """The first layer's hidden states of every row, and each layer's further arguments (masks, rotary positions)."""
    hidden: list[Tensor] = []
    extras: list[list[dict[str, Any]]] = [[] for _ in layers]

    def catch(at: int) -> Any:
        def hook(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            kwargs = {key: value for key, value in kwargs.items() if key != "past_key_values"}
            states = args[0] if args else kwargs.pop("hidden_states")
            if at == 0:
                hidden.append(states)
            extras[at].append(kwargs)
            if at == len(layers) - 1:
                raise _Seen

        return hook

    hooks = [layer.register_forward_pre_hook(catch(at), with_kwargs=True) for at, layer in enumerate(layers)]
    try:
        for row in rows:
            try:
                model(input_ids=torch.tensor([row], device=model.device), use_cache=False)
            except _Seen:
                continue
    finally:
        for hook in hooks:
            hook.remove()
    return hidden, extras


def _hessians(
    layer: nn.Module, linears: dict[str, nn.Linear], hidden: Sequence[Tensor], extras: Sequence[dict[str, Any]]
) -> dict[str, Tensor]:
    """Sum of x x^T over the inputs x of each linear module, fp32."""
    sums: dict[str, Tensor] = {}

    def gather(name: str) -> Any:
        def hook(_: nn.Module, args: tuple[Any, ...], __: Any) -> None:
            x = args[0].reshape(-1, args[0].shape[-1]).float()
            sums[name] = sums[name] + x.T @ x if name in sums else x.T @ x

        return hook

    hooks = [module.register_forward_hook(gather(name)) for name, module in linears.items()]
    for states, extra in zip(hidden, extras, strict=True):
        layer(states, **extra)
    for hook in hooks:
        hook.remove()
    return sums


def _first(output: Any) -> Tensor:
    return output[0] if isinstance(output, tuple) else output  # type: ignore[no-any-return]
