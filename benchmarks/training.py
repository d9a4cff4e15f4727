"""`train run` beside a bare TRL SFTTrainer with the same settings: tokens a second and peak memory.

    python benchmarks/training.py [--runs 3] [--dialogues 240]

Short support dialogues of very different lengths (log-normal, 30 to 400 tokens), made on the spot; a random Llama of 4
layers and width 256; LoRA of rank 8, loss on the assistant's turns, one epoch, one thread. Each case runs in a process of
its own, so that peak memory is its own too, in turn, so that a busy machine slows all alike; medians. A token is one of a
dialogue, never padding, so that all cases read the same tokens. Time is that of the training loop alone.

    bare      SFTTrainer, dialogues in random order, padded to the longest of a batch
    ours      train.sft with the same settings
    grouped   ours with group_by_length=true: batches of dialogues of like length
    packed    ours with packing=true: several dialogues a row of 512 tokens, kept apart

Aims: ours at least 1.0 x bare, and packed at least 1.5 x bare. With a GPU the same for NF4 QLoRA in bf16 of a random model of
1B shape (16 layers, width 2,048).
"""

import argparse
import hashlib
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from near_dedup import ROOT, machine

sys.path.insert(0, str(ROOT))
LENGTH = 512
PADDED = 8  # dialogues a batch
PACKED = 2  # rows of LENGTH tokens a batch: about as many tokens
WORDS = (
    "order",
    "refund",
    "parcel",
    "late",
    "please",
    "check",
    "the",
    "number",
    "today",
    "account",
    "card",
    "thanks",
    "when",
)
CASES = {
    "bare": (),
    "ours": (),
    "grouped": ("group_by_length=true",),
    "packed": ("packing=true", f"batch_size={PACKED}"),
}


def dialogue(chance: random.Random) -> list[dict[str, str]]:
    length = min(280, max(12, round(chance.lognormvariate(3.4, 0.9))))  # words
    words = [chance.choice(WORDS) for _ in range(length)]
    cut = max(1, length // 2)
    return [{"role": "user", "content": " ".join(words[:cut])}, {"role": "assistant", "content": " ".join(words[cut:])}]


def write_version(folder: Path, dialogues: int) -> None:
    """A dataset version in the layout that `curate export format=messages` writes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    chance = random.Random(0)
    rows = [{"id": f"ex{i}", "language": "en", "messages": dialogue(chance)} for i in range(dialogues)]
    (folder / "data").mkdir(parents=True)
    file = folder / "data/train-00000-of-00001.parquet"
    pq.write_table(pa.Table.from_pylist(rows), file)
    manifest = {
        "name": "dialogues",
        "options": {"format": "messages"},
        "splits": {"train": dialogues},
        "files": {"data/train-00000-of-00001.parquet": hashlib.sha256(file.read_bytes()).hexdigest()},
        "members": {"train": [row["id"] for row in rows]},
    }
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")


def write_model(folder: Path, version: Path, gpu: bool) -> None:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from train.data import open_version
    from train.tiny import tiny_tokenizer

    tokenizer = tiny_tokenizer(open_version(str(version), version))
    width, layers = (2048, 16) if gpu else (256, 4)
    config = LlamaConfig(
        vocab_size=128_256 if gpu else -(-len(tokenizer) // 64) * 64,
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=layers,
        num_attention_heads=width // 64,
        num_key_value_heads=max(1, width // 256),
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
    )
    torch.manual_seed(0)
    LlamaForCausalLM(config).to(torch.bfloat16 if gpu else torch.float32).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def words(home: Path, case: str, gpu: bool) -> list[str]:
    precision = ("precision=bf16", "quantization=nf4") if gpu else ("precision=fp32", "quantization=none")
    return [
        f"dataset={home / 'dialogues'}", f"model={home / 'model'}", "recipe=lora", "lora.rank=8", "lora.dropout=0",
        "epochs=1", f"batch_size={PADDED}", "accumulate=1", f"max_length={LENGTH}", "gradient_checkpointing=false",
        "group_by_length=false", "packing=false", "report_to=[none]", f"runs_dir={tempfile.mkdtemp(dir=home)}", "name=r",
        *precision, *CASES[case],
    ]  # fmt: skip


def measure(home: Path, case: str, gpu: bool) -> dict[str, float]:
    """Train one case in this process: tokens, seconds, loss and MiB."""
    from curation.settings import load
    from train.config import RunSettings

    settings = load(RunSettings, words(home, case, gpu), environ={})
    found = bare(settings, gpu) if case == "bare" else ours(settings)
    return found | {"memory_mb": peak_mb(gpu)}


def ours(settings: Any) -> dict[str, float]:
    from train.run import run_command
    from train.runs import Run

    run_command(settings)
    run = Run.open("r", settings.runs_dir)
    return {
        "tokens": run.record.data["tokens"],
        "seconds": run.record.metrics["seconds"],
        "loss": run.record.metrics["train_loss"],
    }


def bare(settings: Any, gpu: bool) -> dict[str, float]:
    """What a person would write with TRL alone."""
    import torch
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig
    from trl import SFTConfig, SFTTrainer

    from train.data import chat, open_version, rows
    from train.recipes import load

    recipe = load(settings.recipe, settings.overrides())
    options: dict[str, Any] = {"dtype": torch.bfloat16 if gpu else torch.float32}
    if gpu:
        options |= {
            "device_map": {"": 0},
            "quantization_config": BitsAndBytesConfig(
                load_in_4bit=True,
                bnb_4bit_quant_type="nf4",
                bnb_4bit_use_double_quant=True,
                bnb_4bit_compute_dtype=torch.bfloat16,
            ),
        }
    dataset = rows(open_version(settings.dataset, settings.workspace), "train")
    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(recipe.model, **options),
        processing_class=AutoTokenizer.from_pretrained(recipe.model),
        train_dataset=dataset.map(lambda row: {"messages": chat(row)}, remove_columns=["id", "language"]),
        peft_config=LoraConfig(r=8, lora_alpha=32, lora_dropout=0, target_modules="all-linear", task_type="CAUSAL_LM"),
        args=SFTConfig(
            output_dir=str(settings.runs_dir / "bare"),
            assistant_only_loss=True,
            max_length=LENGTH,
            num_train_epochs=1,
            per_device_train_batch_size=PADDED,
            learning_rate=recipe.learning_rate,
            lr_scheduler_type=recipe.schedule,
            warmup_steps=recipe.warmup_ratio,
            optim=recipe.optimiser,
            weight_decay=recipe.weight_decay,
            max_grad_norm=recipe.max_grad_norm,
            logging_steps=recipe.log_every,
            save_steps=recipe.save_every,
            include_num_input_tokens_seen="non_padding",
            gradient_checkpointing=False,
            bf16=gpu,
            use_cpu=not gpu,
            dataloader_pin_memory=gpu,
            seed=settings.seed,
            report_to="none",
            disable_tqdm=True,
        ),
    )
    tokens = sum(len(row["input_ids"]) for row in trainer.train_dataset)
    outcome = trainer.train()
    last = [line["loss"] for line in trainer.state.log_history if "loss" in line][-1]
    return {"tokens": tokens, "seconds": outcome.metrics["train_runtime"], "loss": float(last)}


def peak_mb(gpu: bool) -> float:
    import torch

    return (
        torch.cuda.max_memory_allocated() / 2**20 if gpu else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    )


def spawn(home: Path, case: str, gpu: bool) -> dict[str, float]:
    env = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
    if not gpu:
        env["OMP_NUM_THREADS"] = "1"
    command = [sys.executable, __file__, "--child", case, str(home), "gpu" if gpu else "cpu"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=env)
    if done.returncode:
        raise SystemExit(f"{case} failed:\n{done.stderr}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def compare(dialogues: int, runs: int, gpu: bool) -> None:
    with tempfile.TemporaryDirectory(prefix="tilth-training-") as folder:
        home = Path(folder)
        write_version(home / "dialogues", dialogues)
        write_model(home / "model", home / "dialogues", gpu)
        rounds = [{case: spawn(home, case, gpu) for case in CASES} for _ in range(runs)]
    speed = {case: median(one[case]["tokens"] / one[case]["seconds"] for one in rounds) for case in CASES}
    tokens = {case: round(rounds[0][case]["tokens"]) for case in CASES}
    assert len(set(tokens.values())) == 1, f"the cases read different data: {tokens}"
    print(f"{dialogues:,} dialogues, {tokens['bare']:,} tokens, median of {runs}\n")
    print("| case | tokens/s | of bare | peak MB | last loss |\n|---|---|---|---|---|")
    for case in CASES:
        memory = median(one[case]["memory_mb"] for one in rounds)
        loss = rounds[0][case]["loss"]
        print(f"| {case} | {speed[case]:,.0f} | {speed[case] / speed['bare']:.2f} x | {memory:,.0f} | {loss:.4f} |")
    for case, aim in (("ours", 1.0), ("packed", 1.5)):
        ratio = speed[case] / speed["bare"]
        print(f"\naim: {case} at least {aim} x bare: {'met' if ratio >= aim else 'MISSED'} ({ratio:.2f} x)")


def main() -> None:
    import torch

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--dialogues", type=int, default=240)
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        case, home, device = options.child
        print(json.dumps(measure(Path(home), case, device == "gpu")))
        return
    print(f"machine: {machine()}\n\n## CPU\n")
    compare(options.dialogues, options.runs, gpu=False)
    print("\n## GPU, NF4 QLoRA of a random model of 1B shape\n")
    if torch.cuda.is_available():
        print(f"{torch.cuda.get_device_name()}\n")
        compare(20 * options.dialogues, options.runs, gpu=True)
    else:
        print("no GPU here")


if __name__ == "__main__":
    main()
