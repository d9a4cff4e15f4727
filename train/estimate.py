"""What a recipe would need, from the model's configuration alone: no weights are loaded.

Memory a device, in bytes, with P parameters, T trained ones, B rows of L tokens a step, hidden width h, n layers, a heads,
vocabulary V, and w bytes a number of the forward pass:

    weights      P x 4.127 bits for linear layers under nf4 (4, and 32-bit scales of 64 weights held in 8 bits: arXiv:2305.14314
                 section 3), w bytes for the rest; 4 bytes where all is trained
    adapters     rank x (in + out) a linear layer, 4 bytes (2 under nf4)
    gradients    as wide as what is trained
    optimiser    8 bytes a trained parameter for AdamW, 2 for its 8-bit kind
    activations  n x B x L x h x w x (34 + 5 a L / h) / 2 (Korthikanti et al. 2022, arXiv:2205.05198, without the quadratic
                 term where attention is fused); with gradient checkpointing n x B x L x h x w, and one layer whole
    logits       B x L x V x 4 for one chunk of the loss at most 256 tokens long

Time: 6 P FLOPs a token (2 forward, 4 backward: Kaplan et al. 2020, arXiv:2001.08361), 4 P where the base is frozen, and 2 P
more with gradient checkpointing, over the device's sustained speed.
"""

from dataclasses import dataclass
from typing import Any

from curation.errors import InputError, NotFound, did_you_mean
from train.recipes import Recipe

GB = 2**30
NF4_BYTES = 4.127 / 8
LOSS_CHUNK = 256
# sustained bf16 speed in training, FLOPs a second: 40 % of the data sheet's dense figure on GPUs, what two cores do on a CPU
DEVICES = {
    "cpu": 5e10, "t4": 0.4 * 65e12, "l4": 0.4 * 121e12, "a10": 0.4 * 125e12, "4090": 0.4 * 165e12, "l40s": 0.4 * 362e12,
    "a100": 0.4 * 312e12, "h100": 0.4 * 989e12, "h200": 0.4 * 989e12, "b200": 0.4 * 2250e12,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Shape:
    """A model's sizes, from its configuration."""

    parameters: int
    linear: int  # those of linear layers, the head left out: what nf4 holds in 4 bits
    edges: int  # in + out, summed over those layers: what adapters cost a rank
    hidden: int
    layers: int
    vocabulary: int


@dataclass(frozen=True, slots=True)
class Estimate:
    """Bytes a device, tokens in all, and seconds."""

    memory: dict[str, float]
    trained: int
    tokens: float | None  # None: no dataset was given
    seconds: float | None
    device: str

    @property
    def total(self) -> float:
        return sum(self.memory.values())


def shape_of(model: str, revision: str | None = None) -> Shape:
    """Build the model on the meta device, where weights take no memory.

    Raises:
        NotFound: no such model here or on the hub.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    if model == "tiny":
        from transformers import LlamaConfig

        config: Any = LlamaConfig(
            vocab_size=1536, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2,
        )  # fmt: skip
    else:
        try:
            config = AutoConfig.from_pretrained(model, revision=revision or "main")
        except (OSError, ValueError) as error:
            raise NotFound(f"no model {model!r}: not a folder here, and not to be had from the hub") from error
    with torch.device("meta"):
        try:
            built: Any = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]
        except ValueError as error:
            raise InputError(f"model {model!r} is no causal language model ({config.model_type})") from error
    head = built.get_output_embeddings()
    layers = [module for module in built.modules() if isinstance(module, torch.nn.Linear) and module is not head]
    text = config.get_text_config()
    return Shape(
        parameters=sum(weight.numel() for weight in built.parameters()),
        linear=sum(layer.weight.numel() for layer in layers),
        edges=sum(layer.in_features + layer.out_features for layer in layers),
        hidden=text.hidden_size,
        layers=text.num_hidden_layers,
        vocabulary=text.vocab_size,
    )


def estimate(
    recipe: Recipe, shape: Shape, *, tokens_an_epoch: float | None = None, rows: int | None = None,
    device: str | None = None, flops: float | None = None,
) -> Estimate:  # fmt: skip
    """Memory and time of a recipe on one device.

    Args:
        tokens_an_epoch: of the train split; without it the time is known only if `max_steps` is given.
        rows: batches are made of, for the steps of an epoch.
        device: a key of DEVICES; guessed from the machine if not given.
        flops: sustained, instead of the table's.

    Raises:
        NotFound: no such device.
    """
    device = device or guessed()
    if device not in DEVICES and flops is None:
        raise NotFound(f"no speed is known for device {device!r}; give tflops=...{did_you_mean(device, DEVICES)}")
    wide = 2 if recipe.precision == "bf16" else 4
    tokens_a_batch = recipe.batch_size * recipe.max_length
    if recipe.lora is None:
        trained, weights, trained_bytes = shape.parameters, shape.parameters * 4.0, 4
    else:
        trained = recipe.lora.rank * shape.edges
        rest = shape.parameters - shape.linear
        weights = (
            shape.linear * NF4_BYTES + rest * wide if recipe.quantization == "nf4" else shape.parameters * float(wide)
        )
        trained_bytes = 2 if recipe.quantization == "nf4" else 4
    layer = tokens_a_batch * shape.hidden * wide * 17.0
    kept = tokens_a_batch * shape.hidden * wide * float(shape.layers)
    memory = {
        "weights": weights,
        "adapters": float(trained * trained_bytes) if recipe.lora else 0.0,
        "gradients": float(trained * trained_bytes),
        "optimiser": float(
            trained * (2 if "8bit" in recipe.optimiser else 0 if recipe.optimiser in ("sgd", "adafactor") else 8)
        ),
        "activations": kept + layer if recipe.gradient_checkpointing else layer * shape.layers,
        "logits": float(min(tokens_a_batch, LOSS_CHUNK) * shape.vocabulary * 4),
    }
    tokens = _tokens(recipe, tokens_an_epoch, rows)
    a_token = (6 if recipe.lora is None else 4) + (2 if recipe.gradient_checkpointing else 0)
    speed = flops or DEVICES[device]
    seconds = None if tokens is None else a_token * shape.parameters * tokens / speed
    return Estimate(memory, trained, tokens, seconds, device)


def _tokens(recipe: Recipe, an_epoch: float | None, rows: int | None) -> float | None:
    if an_epoch is None:
        return None
    if recipe.max_steps is None:
        return an_epoch * recipe.epochs
    packed_rows = max(1.0, an_epoch / recipe.max_length) if recipe.packing else float(rows or 1)
    return an_epoch * recipe.max_steps * recipe.batch_size * recipe.accumulate / packed_rows


def guessed() -> str:
    """The device of this machine: a GPU that the table knows, else cpu."""
    import torch

    if not torch.cuda.is_available():
        return "cpu"
    name = torch.cuda.get_device_name(0).lower()
    return next((key for key in DEVICES if key in name), "a100")
