"""Quantised weights on disk, in compressed-tensors' `pack-quantized` layout, which transformers and vLLM load as they are."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from train.gptq import Quantized


def pack(levels: Tensor, bits: int) -> Tensor:
    """(out, in) int8 -> (out, in * bits / 32) int32: the lowest bits of a word hold the first column, levels are made unsigned."""
    a_word = 32 // bits
    unsigned = levels.to(torch.int64) + 2 ** (bits - 1)
    padded = torch.nn.functional.pad(unsigned, (0, -levels.shape[1] % a_word))
    shifts = torch.arange(a_word, device=levels.device) * bits
    words = (padded.reshape(levels.shape[0], -1, a_word) << shifts).sum(-1)
    return torch.where(words >= 2**31, words - 2**32, words).to(torch.int32).contiguous()


def config(bits: int, group_size: int, ignored: list[str]) -> dict[str, Any]:
    """What config.json says about the quantisation."""
    weights = {
        "num_bits": bits,
        "type": "int",
        "symmetric": True,
        "strategy": "group",
        "group_size": group_size,
        "dynamic": False,
    }
    return {
        "quant_method": "compressed-tensors",
        "format": "pack-quantized",
        "quantization_status": "compressed",
        "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights}},
        "ignore": ignored,
    }


def save(
    model: Any, quantized: Mapping[str, Quantized], folder: Path, *, bits: int, group_size: int, shard_size: str
) -> None:
    """Write config, generation config and weights; linear layers that were not quantised are named as ignored."""
    from huggingface_hub import save_torch_state_dict

    state: dict[str, Tensor] = dict(model.state_dict())
    for name, one in quantized.items():
        shape = state.pop(f"{name}.weight").shape
        state[f"{name}.weight_packed"] = pack(one.levels, bits)
        state[f"{name}.weight_scale"] = one.scale
        state[f"{name}.weight_shape"] = torch.tensor(shape)
    linear = [name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)]
    folder.mkdir(parents=True, exist_ok=True)
    model.config.quantization_config = config(bits, group_size, [name for name in linear if name not in quantized])
    model.config.save_pretrained(folder)
    if model.generation_config is not None:
        model.generation_config.save_pretrained(folder)
    save_torch_state_dict(
        state, folder, max_shard_size=shard_size, shared_tensors_to_discard=list(model._tied_weights_keys or ())
    )
