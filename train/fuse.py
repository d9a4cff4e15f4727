"""`train fuse`: several adapters of one base become one adapter, by PEFT's `add_weighted_adapter`.

`cat` sets the factors side by side: B A = sum of w_i s_i B_i A_i exactly, at the sum of the ranks. `svd` is the nearest adapter
of a given rank to that. `linear`, `ties` (arXiv:2306.01708), `dare_*` (arXiv:2311.03099) and `magnitude_prune` mix the A and
the B factors apart from each other, which leaves cross terms B_i A_j; their `*_svd` kin work on the weight changes themselves.
"""

import shutil
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import yaml

from curation.errors import InputError
from train import base
from train.adapters import Adapter, check_same_base, fresh, open_adapter
from train.config import FuseMethod, FuseSettings
from train.recipes import Lora, Recipe
from train.runs import Record, Run, code_version, environment, new_id, share

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

FUSED = "fused"
ONE_RANK = ("linear", "ties", "dare_linear", "dare_ties", "magnitude_prune")  # what mixes factors of equal rank


@dataclass(frozen=True, slots=True)
class Fused:
    """An outcome of `fuse`."""

    run: Run
    rank: int
    error: float  # |delta - sum of weighted deltas| / |that sum|, Frobenius, over all layers


@dataclass(frozen=True, slots=True)
class Opened:
    """Base and adapters in memory, and how they are called there."""

    model: Any  # PeftModel
    tokenizer: "PreTrainedTokenizerBase"
    adapters: tuple[Adapter, ...]
    names: tuple[str, ...]


def fuse(settings: FuseSettings) -> Fused:
    """Fuse, and write the result as a run of its own.

    Raises:
        NotFound: no such run.
        InputError: no adapter, different bases, weights that do not match, or ranks that the method cannot mix.
        WorkspaceError: the folder cannot be written.
    """
    adapters = chosen(settings)
    weights = settings.weights or (1 / len(adapters),) * len(adapters)
    check(adapters, weights, settings.method)
    name = settings.name or new_id(f"fuse-{settings.method}")
    with fresh(settings.runs_dir / name) as scratch:
        opened = open_all(adapters, settings)
        combine(opened, weights, settings.method, settings)
        made = save(scratch, name, opened, weights, settings.method, settings)
    made.run.folder = settings.runs_dir / name
    return made


def chosen(settings: FuseSettings) -> tuple[Adapter, ...]:
    """The adapters that the settings name, of one base."""
    pair = [one for one in (settings.task, settings.safety) if one]
    if settings.adapters and pair:
        raise InputError("give either adapters=[A,B,...] or task=A safety=B, not both")
    names = settings.adapters or tuple(pair)
    if len(names) < 2:
        raise InputError("fusing needs two adapters or more: task=A safety=B, or adapters=[A,B,C]")
    found = tuple(open_adapter(name, settings.runs_dir, settings.base) for name in names)
    for one in found:
        if reason := _unfusable(one.config):
            raise InputError(f"{one.name}: {reason}")
    check_same_base(found)
    return found


def _unfusable(config: dict[str, Any]) -> str | None:
    """Why PEFT would fuse this adapter wrongly or not at all."""
    if config.get("peft_type") != "LORA":
        return f"its kind is {config.get('peft_type')}; only LoRA adapters can be fused"
    if config.get("modules_to_save"):
        whole = ", ".join(config["modules_to_save"])
        return f"it trained {whole} whole, which has no weighted sum; train it without lora.whole"
    for key, words in (
        ("use_dora", "DoRA"),
        ("use_rslora", "rank-stabilised scaling"),
        ("target_parameters", "target_parameters"),
    ):
        if config.get(key):
            return f"it uses {words}, which PEFT's fusion leaves out"
    if config.get("bias", "none") != "none" or config.get("lora_bias"):
        return "it trained biases, which PEFT's fusion leaves out"
    return None


def check(adapters: Sequence[Adapter], weights: Sequence[float], method: str) -> None:
    """Refuse what cannot be fused so, before anything is loaded.

    Raises:
        InputError: one weight an adapter is not given, or the method cannot mix these ranks.
    """
    if len(weights) != len(adapters):
        raise InputError(
            f"weights: {len(weights)} for {len(adapters)} adapters; give one each, e.g. {_example(len(adapters))}"
        )
    if not any(weights):
        raise InputError("weights: all are 0, which leaves the base as it is")
    ranks = [int(one.config["r"]) for one in adapters]
    patterns = [one.config.get("rank_pattern") or {} for one in adapters]
    if method in ONE_RANK and (len(set(ranks)) > 1 or any(pattern != patterns[0] for pattern in patterns)):
        able = ", ".join(one for one in get_args(FuseMethod) if one not in ONE_RANK)
        raise InputError(f"method={method} cannot mix ranks {' and '.join(map(str, ranks))}; these can: {able}")


def _example(n: int) -> str:
    return f"weights=[{','.join(f'{1 / n:.2g}' for _ in range(n))}]"


def open_all(adapters: tuple[Adapter, ...], settings: FuseSettings) -> Opened:
    """Load the base once, with all adapters on it."""
    first = adapters[0]
    place = first.run.folder if first.run else first.folder
    model: Any
    model, tokenizer, _ = base.load_for_inference(
        place, runs_dir=settings.runs_dir, base=settings.base, quantization=settings.quantization
    )
    names = ["default"]
    for at, other in enumerate(adapters[1:], 1):
        model.load_adapter(other.folder, adapter_name=f"other{at}")
        names.append(f"other{at}")
    return Opened(model.eval(), tokenizer, adapters, tuple(names))


def combine(opened: Opened, weights: Sequence[float], method: FuseMethod, settings: FuseSettings) -> None:
    """Add the adapter `fused` to the model, in place of an earlier one, and switch it on."""
    import torch

    model = opened.model
    if FUSED in model.peft_config:
        model.set_adapter(opened.names[0])
        model.delete_adapter(FUSED)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)  # dare drops at random
        model.add_weighted_adapter(
            list(opened.names), list(weights), FUSED, "cat" if method == "svd" else method,
            svd_rank=settings.rank, svd_full_matrices=False, density=settings.density,
        )  # fmt: skip
    if method in ("cat", "svd"):
        _set_exact_sum(opened, weights)
    if method == "svd":
        _truncate(model, settings.rank or max(int(one.config["r"]) for one in opened.adapters))
    model.set_adapter(FUSED)
    model.eval()


def _set_exact_sum(opened: Opened, weights: Sequence[float]) -> None:
    """The factors side by side once more, in the adapters' own precision: PEFT rounds them to that of the base."""
    import torch

    for layer in lora_layers(opened.model, FUSED):
        pairs = _weighted(layer, opened.names, weights)
        b, a = torch.cat([pair[0] for pair in pairs], dim=1), torch.cat([pair[1] for pair in pairs])
        missing = layer.r[FUSED] - len(a)  # ranks of the adapters that leave this layer alone
        _set_factors(layer, torch.nn.functional.pad(b, (0, missing)), torch.nn.functional.pad(a, (0, 0, 0, missing)))


def _set_factors(layer: Any, b: "torch.Tensor", a: "torch.Tensor") -> None:
    b_home, a_home = _homes(layer, FUSED)
    b_home.data, a_home.data = b, a


def _truncate(model: Any, rank: int) -> None:
    """Cut the exact sum down to a rank, by the SVD of the small core between the factors' orthogonal parts.

    B A = Qb (Rb Ra^T) Qa^T, so the core's SVD is that of the whole, at rank x rank instead of out x in.
    """
    import torch

    model.peft_config[FUSED].r = model.peft_config[FUSED].lora_alpha = rank
    for layer in lora_layers(model, FUSED):
        b, a = factors(layer, FUSED)
        (qb, rb), (qa, ra) = torch.linalg.qr(b.double()), torch.linalg.qr(a.double().T)
        u, s, vt = torch.linalg.svd(rb @ ra.T)
        kept = min(rank, len(s))
        new_b, new_a = b.new_zeros(len(b), rank), a.new_zeros(rank, a.shape[1])
        new_b[:, :kept] = ((qb @ u[:, :kept]) * s[:kept].sqrt()).to(b.dtype)
        new_a[:kept] = (s[:kept, None].sqrt() * (vt[:kept] @ qa.T)).to(a.dtype)
        _set_factors(layer, new_b, new_a)
        layer.r[FUSED], layer.lora_alpha[FUSED], layer.scaling[FUSED] = rank, rank, 1.0


def lora_layers(model: Any, *names: str) -> Iterator[Any]:
    """The layers that hold any of these adapters."""
    from peft.tuners.lora import LoraLayer

    for module in model.modules():
        if isinstance(module, LoraLayer) and any(name in module.r for name in names):
            yield module


def _weighted(layer: Any, names: Sequence[str], weights: Sequence[float]) -> "list[tuple[torch.Tensor, torch.Tensor]]":
    """The factors of each adapter that this layer has, the weight in the first."""
    found = {name: factors(layer, name) for name in names if name in layer.r}
    return [
        (weight * found[name][0], found[name][1]) for name, weight in zip(names, weights, strict=True) if name in found
    ]


def factors(layer: Any, name: str) -> "tuple[torch.Tensor, torch.Tensor]":
    """(out, rank), with the scaling in it, and (rank, in)."""
    b, a = _homes(layer, name)
    return b.data * layer.scaling[name], a.data


def _homes(layer: Any, name: str) -> "tuple[torch.Tensor, torch.Tensor]":
    if name in layer.lora_A:
        return layer.lora_B[name].weight, layer.lora_A[name].weight
    return layer.lora_embedding_B[name], layer.lora_embedding_A[name]


def delta_error(opened: Opened, weights: Sequence[float]) -> float:
    """How far the fused weight changes are from the weighted sum of the adapters': relative, Frobenius, over all layers.

    No change is ever written out: the norm of B A is that of Rb Ra^T, of the factors' QR.
    """
    import torch

    def squared(pairs: "list[tuple[torch.Tensor, torch.Tensor]]") -> float:
        b = torch.cat([pair[0].double() for pair in pairs], dim=1)
        a = torch.cat([pair[1].double() for pair in pairs], dim=0)
        return float((torch.linalg.qr(b).R @ torch.linalg.qr(a.T).R.T).square().sum())

    off = total = 0.0
    for layer in lora_layers(opened.model, *opened.names):
        true = _weighted(layer, opened.names, weights)
        b, a = factors(layer, FUSED)
        total += squared(true)
        off += squared([*true, (-b, a)])
    return float((off / total) ** 0.5) if total else 0.0


def save(
    folder: Path, name: str, opened: Opened, weights: Sequence[float], method: FuseMethod, settings: FuseSettings,
    more: dict[str, float] | None = None,
) -> Fused:  # fmt: skip
    """Write the fused adapter as a run: adapter/, run.json, config.yaml, README.md, and base/ where a parent has one.

    Args:
        more: measured of it beside the error.
    """
    config = opened.model.peft_config[FUSED]
    error = delta_error(opened, weights)
    with _written(opened.model, folder / "adapter"):
        opened.tokenizer.save_pretrained(folder / "adapter")
    _copy_base(opened.adapters, folder)
    record = _record(name, opened.adapters, weights, method, settings)
    run = Run(folder, record)
    recipe = _recipe(opened.adapters, config.r, settings)
    run.write(
        "config.yaml",
        yaml.safe_dump({"settings": settings.model_dump(mode="json"), "recipe": recipe.model_dump(mode="json")}),
    )
    run.finish("done", {"delta_error": error, "rank": float(config.r), **(more or {})})
    text = card(run, config.r)
    run.write("README.md", text)
    (folder / "adapter" / "README.md").write_text(text, encoding="utf-8")
    share(folder / "adapter")
    return Fused(run, config.r, error)


@contextmanager
def _written(model: Any, folder: Path) -> Iterator[None]:
    """PEFT writes a named adapter into a folder of that name; it is `folder` from here on."""
    outer = folder.with_name(".peft")
    model.save_pretrained(outer, selected_adapters=[FUSED], save_embedding_layers=False)
    (outer / FUSED).replace(folder)
    shutil.rmtree(outer)
    yield


def _copy_base(adapters: Sequence[Adapter], folder: Path) -> None:
    """The made-up base of `model=tiny` lies in its run; the fused run must not depend on that."""
    for one in adapters:
        if one.run and (one.run.folder / "base").is_dir() and not (folder / "base").exists():
            shutil.copytree(one.run.folder / "base", folder / "base")


def _record(
    name: str, adapters: Sequence[Adapter], weights: Sequence[float], method: FuseMethod, settings: FuseSettings
) -> Record:
    parents = [{**one.lineage, "weight": weight} for one, weight in zip(adapters, weights, strict=True)]
    facts = {"parents": parents, "weights": list(weights), "method": method, "density": settings.density}
    return Record(
        id=name,
        kind="fused",
        fused=facts,
        recipe=f"fuse_{method}",
        loss=adapters[0].run.record.loss if adapters[0].run else "sft",
        dataset=" + ".join(dict.fromkeys(str(parent.get("dataset", parent["adapter"])) for parent in parents)),
        number=None,
        digest="",
        folder="",
        model=adapters[0].base.name,
        seed=settings.seed,
        base=adapters[0].base,
        environment=environment(),
        code=code_version(),
        host=socket.gethostname(),
        started=datetime.now(UTC),
    )


def _recipe(adapters: Sequence[Adapter], rank: int, settings: FuseSettings) -> Recipe:
    """What the fused run says of itself to whoever loads it: how the base is held."""
    first = adapters[0]
    known = first.run.recipe() if first.run else Recipe(name="fused", loss="sft", model=first.base.name)
    changed: dict[str, Any] = {"lora": Lora(rank=rank, alpha=rank)}
    if settings.quantization:
        changed["quantization"] = settings.quantization
    return known.model_copy(update=changed)


def card(run: Run, rank: int) -> str:
    """README.md of a fused run."""
    record, facts = run.record, run.record.fused
    rows = "\n".join(
        f"| {parent['adapter']} | {parent['weight']:g} | {parent.get('dataset', '')} | `{str(parent.get('digest', ''))[:12]}` |"
        for parent in facts["parents"]
    )
    measured = "\n".join(f"| {key.replace('_', ' ')} | {value:,.6g} |" for key, value in record.metrics.items())
    pinned = ", ".join(
        f"{key} `{value}`" for key, value in (record.base.model_dump() if record.base else {}).items() if value
    )
    front = yaml.safe_dump(
        {"base_model": record.model, "library_name": "peft", "tags": ["tilth", "fused"]}, sort_keys=False
    )
    return (
        f"---\n{front}---\n\n# {record.id}\n\n"
        f"Fused by `{facts['method']}` (density {facts['density']:g} where it prunes, seed {record.seed}), rank {rank}.\n\n"
        f"| adapter | weight | trained on | manifest sha256 |\n|---|---|---|---|\n{rows}\n\n"
        f"Base: {pinned}. Code: {record.code}.\n\n"
        f"| measured | value |\n|---|---|\n{measured}\n\n"
        "`delta error`: how far the weight changes are from the weighted sum of the adapters' (relative, Frobenius).\n"
    )
