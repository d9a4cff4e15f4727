"""`train merge`: an adapter becomes part of its base, as a model that plain transformers loads.

A base in 4 bits is dequantised first, and the adapter merged into that: those are the weights that it was trained on. Merging
into the 4-bit weights would round them again; the original ones are others than the adapter saw.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from curation.errors import InputError
from train import base
from train.adapters import Adapter, fresh, open_adapter
from train.config import MergeSettings
from train.data import Turn

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Onto = Literal["dequantised", "original"]

PROBES = (  # what the merged model is compared on
    "Selling a used bicycle, RM150, self pick-up in Petaling Jaya.",
    "我想把这台旧电脑卖掉，有兴趣的请私信我。",
    "Saya tidak setuju dengan awak, tapi saya faham maksudnya.",
    "இந்த வாரம் மழை பெய்யும் என்று சொன்னார்கள்.",
)


@dataclass(frozen=True, slots=True)
class Merged:
    """A whole model in memory."""

    model: "PreTrainedModel"
    tokenizer: "PreTrainedTokenizerBase"
    adapter: Adapter
    onto: Onto
    quantization: Literal["nf4", "none"]
    difference: float  # relative, of its logits to those of base and adapter as they were trained


def merged(
    reference: str,
    *,
    runs_dir: Path,
    dtype: base.Precision,
    onto: Onto | None = None,
    base_folder: str | None = None,
    quantization: Literal["nf4", "none"] | None = None,
) -> Merged:
    """Merge a run's or a PEFT folder's adapter into its base.

    Raises:
        NotFound: no such run.
        InputError: it has no adapter, or its base is not to be found.
    """
    import torch
    from peft import PeftModel

    adapter = open_adapter(reference, runs_dir, base_folder)
    held = quantization or (adapter.run.recipe().quantization if adapter.run else "none")
    if onto == "dequantised" and held == "none":
        raise InputError(f"{adapter.name} was not trained over a base in 4 bits; leave out onto=dequantised")
    onto = onto or ("dequantised" if held == "nf4" else "original")
    place = adapter.run.folder if adapter.run else adapter.folder
    model: Any
    model, tokenizer, _ = base.load_for_inference(place, runs_dir=runs_dir, base=base_folder, quantization=held)
    probes = probe_ids(tokenizer)
    before = logits(model, probes)
    if onto == "dequantised":
        whole = model.unload().dequantize()
        whole.to(torch.bfloat16 if dtype == "bf16" else torch.float32)
        model = PeftModel.from_pretrained(whole, adapter.folder)
    elif held == "nf4" or dtype != _precision(model):
        del model
        model, _, _ = base.load_for_inference(
            place, runs_dir=runs_dir, base=base_folder, precision=dtype, quantization="none"
        )
    whole = model.merge_and_unload(safe_merge=True).eval()
    return Merged(whole, tokenizer, adapter, onto, held, difference(before, logits(whole, probes)))


def _precision(model: Any) -> base.Precision:
    import torch

    return "bf16" if next(model.parameters()).dtype == torch.bfloat16 else "fp32"


def probe_ids(tokenizer: "PreTrainedTokenizerBase") -> list[list[int]]:
    """The probes as conversations with an open answer, in token ids."""
    turns: list[list[Turn]] = [[{"role": "user", "content": text}] for text in PROBES]
    rendered: Any = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=True)
    return [list(ids) for ids in rendered["input_ids"]]


def logits(model: Any, rows: list[list[int]]) -> "torch.Tensor":
    """(tokens of all rows, vocabulary), fp32 on the CPU."""
    import torch

    with torch.no_grad():
        each = [model(input_ids=torch.tensor([ids], device=model.device), use_cache=False).logits[0] for ids in rows]
    return torch.cat(each).float().cpu()


def difference(ours: "torch.Tensor", theirs: "torch.Tensor") -> float:
    """|theirs - ours| / |ours| of logits, each position taken relative to its mean, which no probability depends on."""
    ours, theirs = (one - one.mean(-1, keepdim=True) for one in (ours, theirs))
    return float((theirs - ours).norm() / ours.norm().clamp_min(1e-30))


def merge(settings: MergeSettings) -> Merged:
    """Merge, and write model, tokenizer, generation config and card to a fresh folder.

    Raises:
        InputError: as `merged`; or the folder holds something already.
        WorkspaceError: the folder cannot be written.
    """
    with fresh(settings.to) as scratch:
        made = merged(
            settings.run, runs_dir=settings.runs_dir, dtype=settings.dtype, onto=settings.onto, base_folder=settings.base,
            quantization=settings.quantization,
        )  # fmt: skip
        made.model.save_pretrained(scratch, max_shard_size=settings.shard_size)
        made.tokenizer.save_pretrained(scratch)
        (scratch / "README.md").write_text(_card(made, settings), encoding="utf-8")
    return made


def _card(made: Merged, settings: MergeSettings) -> str:
    lineage = made.adapter.lineage
    trained = f"\n- trained on: {lineage['dataset']}, manifest sha256 `{lineage['digest']}`" if "run" in lineage else ""
    return (
        f"---\nbase_model: {made.adapter.base.name}\ntags: [tilth, merged]\n---\n\n# {settings.to.name}\n\n"
        f"- adapter: {made.adapter.name}{trained}\n"
        f"- base: {made.adapter.base.name}, {described(made.onto, made.quantization)}; weights in {settings.dtype}\n"
        f"- logits against base and adapter as they were trained: {made.difference:.2g} relative difference\n"
    )


def described(onto: Onto, quantization: str) -> str:
    if quantization == "none":
        return "merged into its weights"
    return (
        "its 4-bit weights dequantised"
        if onto == "dequantised"
        else "its original weights, not the 4-bit ones of training"
    )
