"""`train predict` beside a plain loop, one text at a time, over rows that share a policy of 400 tokens; in one run.

    python benchmarks/predict.py [--rows 600] [--naive 40] [--shape small|half] [--threads 2]

Both use one random Llama (small: 40 M parameters, fp32; half: the shape of a 0.5 B model, bf16) and the same threads. The loop is the textbook one:
render, tokenise, one forward pass, the two labels' logits at the last place (only those are computed). `predict` is the
whole command in a process of its own, CSV in and out: its rows a second leave out the start (Python, model), which is
printed beside them, and its peak memory is the process's. Aims: at least 3 x the loop, less than 4 GB, probabilities equal to 1e-4 (fp32).
"""

import argparse
import csv
import io
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from near_dedup import machine
from rich.console import Console
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from curation.records import MODERATOR
from train.tiny import END, PAD, START, TEMPLATE

LEAST_RATIO, MOST_GB, MOST_DIFFERENCE = 3.0, 4.0, 1e-4
SHAPES: dict[str, tuple[dict[str, int], torch.dtype]] = {
    "small": (
        {"hidden_size": 512, "intermediate_size": 1408, "num_hidden_layers": 8, "num_attention_heads": 8, "num_key_value_heads": 4},
        torch.float32,
    ),
    "half": (
        {"hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24, "num_attention_heads": 14, "num_key_value_heads": 2},
        torch.bfloat16,
    ),
}  # fmt: skip
VOCABULARY = {"small": 32_000, "half": 151_936}
WORDS = re.findall(
    r"\w+",
    "the queue at stall was long today but noodles were worth waiting for sell your account cheap now message me "
    "who wants to meet near station later bring umbrella because rain again this week and bus came late as usual",
)


def post(draw: random.Random) -> str:
    return " ".join(draw.choices(WORDS, k=draw.randint(5, 45)))


def tokenizer(policy: str) -> Any:
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=2_000, special_tokens=[PAD, START, END], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )  # fmt: skip
    answers = [f'{{"label":"{one}","category":"none","severity":0}}' for one in ("allowed", "disallowed")] * 50
    inner.train_from_iterator([MODERATOR, policy, *answers, *WORDS * 20], trainer)
    made = PreTrainedTokenizerFast(tokenizer_object=inner, pad_token=PAD, eos_token=END)
    made.chat_template = TEMPLATE
    return made


def plain_loop(model: Any, words: Any, policy: str, texts: list[str]) -> tuple[list[float], float]:
    """P(disallowed) of each text, and the seconds it took."""
    allowed, disallowed = (words(one, add_special_tokens=False)["input_ids"] for one in ("allowed", "disallowed"))
    assert len(allowed) == len(disallowed) == 1
    found, started = [], time.perf_counter()
    for text in texts:
        turns = [{"role": "system", "content": f"{MODERATOR}\n\n{policy}"}, {"role": "user", "content": text}]
        prompt = words.apply_chat_template(turns, tokenize=False, add_generation_prompt=True) + '{"label":"'
        ids = words(prompt, add_special_tokens=False, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            logits = model(input_ids=ids, logits_to_keep=1, use_cache=False).logits[0, -1]
        found.append(float(logits[[allowed[0], disallowed[0]]].double().softmax(-1)[1]))
    return found, time.perf_counter() - started


TIMED = """
import json, resource, sys, time
from train import predict as module
from train.cli import COMMANDS
from curation.commands import main
marks = [time.perf_counter()]
opened = module.open_scorer
def timed(settings):
    scorer = opened(settings)
    marks.append(time.perf_counter())
    return scorer
module.open_scorer = timed
code = main("train", "", COMMANDS, sys.argv[2:])
marks.append(time.perf_counter())
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
open(sys.argv[1], "w").write(json.dumps({"start": marks[1] - marks[0], "score": marks[2] - marks[1], "peak_gb": peak}))
sys.exit(code)
"""


def command(folder: Path, texts: list[str], threads: int, precision: str) -> tuple[list[float], dict[str, float]]:
    """P(disallowed) of each text by `train predict`, and its measures."""
    given = io.StringIO()
    csv.writer(given).writerows([["text"], *([text] for text in texts)])
    words = [
        "predict",
        f"adapter={folder}",
        f"policy={folder / 'policy.txt'}",
        f"threads={threads}",
        f"precision={precision}",
    ]
    environ = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": str(threads)}
    report = folder / "report.json"
    done = subprocess.run(
        [sys.executable, "-c", TIMED, str(report), *words],
        input=given.getvalue().encode(),
        capture_output=True,
        check=False,
        env=environ,
    )
    assert done.returncode == 0, done.stderr.decode()
    rows = list(csv.reader(io.StringIO(done.stdout.decode())))[1:]
    return [float(row[1]) for row in rows], json.loads(report.read_text())


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=600)
    parser.add_argument("--naive", type=int, default=40, help="rows that the plain loop scores")
    parser.add_argument("--shape", choices=list(SHAPES), default="small")
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    draw = random.Random(0)
    policy = "Policy. " + " ".join(draw.choices(WORDS, k=1000))
    words = tokenizer(policy)
    policy = words.decode(words(policy)["input_ids"][:400])
    texts = [post(draw) for _ in range(given.rows)]

    sizes, dtype = SHAPES[given.shape]
    torch.manual_seed(0)
    config = LlamaConfig(
        **sizes, vocab_size=VOCABULARY[given.shape], max_position_embeddings=2048, initializer_range=0.05, bos_token_id=None,
        eos_token_id=2, pad_token_id=0, tie_word_embeddings=True,
    )  # fmt: skip
    model = LlamaForCausalLM(config).to(dtype).eval()
    console = Console()
    console.print(
        f"{machine()}; {given.threads} threads; {sum(p.numel() for p in model.parameters()) / 1e6:,.0f} M parameters"
    )
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        model.save_pretrained(folder)
        words.save_pretrained(folder)
        (folder / "policy.txt").write_text(policy, encoding="utf-8")
        plain_loop(model, words, policy, texts[:2])
        half = given.naive // 2  # of the loop before, half after: the machine may not be ours alone
        before, seconds = plain_loop(model, words, policy, texts[:half])
        found, measured = command(folder, texts, given.threads, "fp32" if dtype == torch.float32 else "bf16")
        after, more = plain_loop(model, words, policy, texts[half : given.naive])
    expected, seconds = before + after, seconds + more
    difference = max(abs(a - b) for a, b in zip(expected, found, strict=False))
    loop, ours = given.naive / seconds, given.rows / measured["score"]
    console.print(f"plain loop   {loop:8.1f} rows/s   ({given.naive} rows)")
    console.print(f"predict      {ours:8.1f} rows/s   ({given.rows} rows; start {measured['start']:.1f} s)")
    console.print(f"ratio        {ours / loop:8.1f} x        (aim {LEAST_RATIO:.0f} x)")
    console.print(f"peak memory  {measured['peak_gb']:8.2f} GiB      (aim < {MOST_GB:.0f})")
    console.print(f"difference   {difference:8.1e}          (aim < {MOST_DIFFERENCE:.0e} in fp32)")
    good = ours / loop >= LEAST_RATIO and measured["peak_gb"] < MOST_GB
    return 0 if good and (difference < MOST_DIFFERENCE or dtype != torch.float32) else 1


if __name__ == "__main__":
    sys.exit(main())
