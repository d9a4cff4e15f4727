"""What `train fuse`, `merge` and `quantize` print."""

import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING

from train.arguments import quieten
from train.config import FuseSettings, MergeSettings, QuantizeSettings

if TYPE_CHECKING:
    from train.frontier import Measured

FAR = 0.1  # relative error of the weight changes that is worth a warning


def fuse_command(settings: FuseSettings) -> int:
    quieten()
    if settings.sweep:
        return _sweep(settings)
    from train.fuse import fuse

    made = fuse(settings)
    record = made.run.record
    if settings.as_json:
        print(
            json.dumps({"id": record.id, "folder": str(made.run.folder), "rank": made.rank, "delta_error": made.error})
        )
        return 0
    for parent in record.fused["parents"]:
        print(f"{parent['weight']:>6g} x {parent['adapter']}  {parent.get('dataset', '')}")
    print(
        f"{record.id}: {settings.method}, rank {made.rank}, {made.error:.1%} from the weighted sum of the adapters\n{made.run.folder}"
    )
    if made.error > FAR:
        print(f"train: {_advice(settings)}", file=sys.stderr)
    print(f"Next:  train merge {record.id} to=merged\n       train eval run={record.id} dataset=NAME@N")
    return 0


def _advice(settings: FuseSettings) -> str:
    if settings.method == "svd":
        return "this rank leaves much of the sum out; rank=... raises it, method=cat is exact"
    if settings.method == "linear":
        return "linear mixes the factors, which is not the sum of the adapters; method=cat is"
    if not settings.method.endswith("svd"):
        return f"{settings.method} mixes the factors apart from each other; method={settings.method}_svd prunes the weight changes themselves"
    return f"{settings.method} prunes, so it is not meant to be the sum; method=cat is"


def _sweep(settings: FuseSettings) -> int:
    from train.sweep import sweep

    def progress(done: int, total: int, one: "Measured") -> None:
        said = f"harmful {one.harmfulness:.3f}  over-refusal {one.over_refusal:.3f}  utility {one.utility:.3f}"
        print(f"[{done}/{total}] {one.candidate:<28} {said}", file=sys.stderr, flush=True)

    found = sweep(settings, progress)
    if settings.as_json:
        print(
            json.dumps(
                {
                    "id": found.made.run.id,
                    "folder": str(found.folder),
                    "chosen": asdict(found.chosen),
                    "rule": found.rule,
                    "pareto": sorted(found.pareto),
                }
            )
        )
        return 0
    print(f"{'candidate':<28} {'harmful':>8} {'over-ref.':>9} {'utility':>8} {'rank':>5}")
    for one in [*found.references, *found.candidates]:
        marks = ("  Pareto" if one.candidate in found.pareto else "") + ("  chosen" if one is found.chosen else "")
        print(
            f"{one.candidate:<28} {one.harmfulness:>8.3f} {one.over_refusal:>9.3f} {one.utility:>8.3f} {one.rank:>5}{marks}"
        )
    print(f"\nchosen: {found.chosen.candidate} ({found.rule})")
    print(f"{found.folder / 'frontier.csv'}\n{found.folder / 'frontier.png'}\n{found.made.run.folder}")
    print(f"Next:  train merge {found.made.run.id} to=merged")
    return 0


def merge_command(settings: MergeSettings) -> int:
    quieten()
    from train.merge import described, merge

    made = merge(settings)
    size = sum(path.stat().st_size for path in settings.to.glob("*.safetensors"))
    if settings.as_json:
        print(json.dumps({"folder": str(settings.to), "onto": made.onto, "difference": made.difference, "bytes": size}))
        return 0
    print(
        f"{made.adapter.name} and {made.adapter.base.name}, {described(made.onto, made.quantization)}, {settings.dtype}, {size / 1e6:,.1f} MB"
    )
    print(
        f"its logits are {made.difference:.2g} (relative) from those of base and adapter as they were trained\n{settings.to}"
    )
    print(f"Next:  train quantize model={settings.to} to={settings.to}-4bit calibration=NAME@N")
    return 0


def quantize_command(settings: QuantizeSettings) -> int:
    quieten()
    from train.quantize import quantize

    made = quantize(settings, _layers())
    (large, small), (before, after) = made.bytes, made.perplexity
    if settings.as_json:
        print(json.dumps({**asdict(made), "folder": str(made.folder)}))
        return 0
    print(f"{made.source}: {made.layers} linear layers ({made.share:.0%} of the parameters) in {settings.bits} bits")
    print(f"perplexity on {settings.evaluate}: {before:.4f} before, {after:.4f} after")
    print(f"weights: {large / 1e6:,.1f} MB before ({settings.dtype}), {small / 1e6:,.1f} MB after\n{made.folder}")
    print(f"Next:  train predict adapter={made.folder} < in.csv > out.csv")
    return 0


def _layers() -> Callable[[int, int], None]:
    def progress(done: int, total: int) -> None:
        print(f"\rquantised {done}/{total} layers", end="\n" if done == total else "", file=sys.stderr, flush=True)

    return progress
