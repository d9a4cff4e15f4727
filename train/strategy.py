"""How several processes share a model: DDP, FSDP2 or DeepSpeed ZeRO-3, each one YAML file of its library's own keys.

Looked up as `./distributed/NAME.yaml`, then the built-in file.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from curation.errors import InputError, did_you_mean
from curation.library import read_yaml

if TYPE_CHECKING:
    from transformers import TrainingArguments

BUILT_IN = Path(__file__).parent / "distributed"

Strategy = Literal["ddp", "fsdp", "zero3"]

KNOWN: dict[str, dict[str, type | tuple[type, ...]]] = {
    "ddp": {"ddp_find_unused_parameters": bool, "ddp_broadcast_buffers": bool, "ddp_bucket_cap_mb": int, "ddp_timeout": int},
    "fsdp": {
        "version": int, "reshard_after_forward": bool, "cpu_offload": bool, "auto_wrap_policy": str, "min_num_params": int,
        "transformer_layer_cls_to_wrap": list, "cpu_ram_efficient_loading": bool, "state_dict_type": str,
    },
    "zero3": {
        "zero_optimization": dict, "bf16": dict, "fp16": dict, "gradient_accumulation_steps": (int, str),
        "gradient_clipping": (int, float, str), "train_batch_size": (int, str), "train_micro_batch_size_per_gpu": (int, str),
        "zero_allow_untested_optimizer": bool, "steps_per_print": int, "wall_clock_breakdown": bool, "aio": dict,
        "activation_checkpointing": dict, "communication_data_type": str, "optimizer": dict, "scheduler": dict,
    },
}  # fmt: skip


def load_strategy(name: Strategy) -> dict[str, Any]:
    """The configuration of a strategy, checked.

    Raises:
        InputError: the file is broken, or a key is unknown or of the wrong type.
    """
    own = Path("distributed") / f"{name}.yaml"
    path = own if own.is_file() else BUILT_IN / own.name
    config = read_yaml(path)
    for key, value in config.items():
        if key not in KNOWN[name]:
            raise InputError(f"{path}: unknown key {key!r}.{did_you_mean(str(key), KNOWN[name])}")
        wanted = KNOWN[name][key]
        if not isinstance(value, wanted) or (isinstance(value, bool) and wanted is int):
            raise InputError(f"{path}: {key}: wrong type, got {value!r}")
    if name == "fsdp" and config.get("version") != 2:
        raise InputError(f"{path}: version: must be 2; FSDP1 is on its way out of transformers")
    if name == "zero3" and (config.get("zero_optimization") or {}).get("stage") != 3:
        raise InputError(f"{path}: zero_optimization.stage: must be 3, as strategy=zero3 says")
    return config


def strategy_options(strategy: Strategy, options: dict[str, Any], *, processes: int) -> dict[str, Any]:
    """Keyword arguments of TrainingArguments that make `processes` of them share the model.

    Args:
        options: those that hold already; gradient checkpointing moves into FSDP's own, which gathers weights once less.

    Raises:
        InputError: the configuration is wrong, or the optimiser does not work on shards.
    """
    if processes < 2:
        return {}
    config = load_strategy(strategy)
    match strategy:
        case "ddp":
            return config
        case "fsdp":
            if "8bit" in str(options.get("optim")) or "paged" in str(options.get("optim")):
                raise InputError(
                    f"optimiser={options['optim']} cannot update shards; with strategy=fsdp give optimiser=adamw_torch"
                )
            again = {"activation_checkpointing": bool(options.get("gradient_checkpointing"))}
            return {"fsdp": True, "fsdp_config": config | again, "gradient_checkpointing": False}
        case "zero3":
            return {"deepspeed": config}


def check_strategy(args: "TrainingArguments") -> None:
    """Refuse to train in another way than asked: accelerate turns FSDP on a CPU into DDP without a word.

    Raises:
        InputError: the trainer that was built does not shard.
    """
    from accelerate.state import AcceleratorState
    from accelerate.utils import DistributedType

    is_now = AcceleratorState().distributed_type
    if args.fsdp and is_now != DistributedType.FSDP:
        raise InputError(
            "strategy=fsdp needs GPUs: on a CPU accelerate would copy the model instead (DDP); use strategy=ddp"
        )
    if args.deepspeed and is_now != DistributedType.DEEPSPEED:
        raise InputError(
            f"strategy=zero3 was asked for, but accelerate set up {is_now.value}; use strategy=ddp or fsdp"
        )


def whole_state() -> None:
    """From now on FSDP saves whole state dicts, not shards: for the final adapter or model."""
    from accelerate.state import AcceleratorState

    plugin = getattr(AcceleratorState(), "fsdp_plugin", None)
    if plugin is not None:
        plugin.set_state_dict_type("FULL_STATE_DICT")


def agreed(asked: bool) -> bool:
    """Whether any process was asked. All must end at the same step, or the others would wait for the one that left."""
    import torch
    from torch import distributed

    if not distributed.is_available() or not distributed.is_initialized() or distributed.get_world_size() == 1:
        return asked
    device = "cuda" if distributed.get_backend() == "nccl" else "cpu"
    flag = torch.tensor(int(asked), device=device)
    distributed.all_reduce(flag, distributed.ReduceOp.MAX)
    return bool(flag.item())
