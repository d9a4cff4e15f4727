"""Bespoke Curator: one LLM over a data set; a second run finds the first one's cache."""

import os
from importlib.util import find_spec
from pathlib import Path

from bespokelabs import curator
from datasets import Dataset
from job import MODEL, MOST_TOKENS, SYSTEM, Job, prompt, run, texts_of


class Posts(curator.LLM):
    def prompt(self, row: dict) -> list:
        return [{"role": "system", "content": SYSTEM}, {"role": "user", "content": row["prompt"]}]

    def parse(self, row: dict, answer: str) -> dict:
        return {"number": row["number"], "text": answer}


def work(job: Job) -> tuple[int, int]:
    # litellm brings the tokenizer that would be downloaded otherwise.
    litellm = Path(str(find_spec("litellm").origin)).parent
    os.environ["TIKTOKEN_CACHE_DIR"] = str(litellm / "litellm_core_utils" / "tokenizers")
    posts = Posts(
        model_name=MODEL["openai"], backend="openai", generation_params={"max_tokens": MOST_TOKENS},
        backend_params={
            "base_url": job.openai_url, "api_key": "any", "max_concurrent_requests": job.in_flight,
            "max_requests_per_minute": 10_000_000, "max_tokens_per_minute": 10_000_000_000, "require_all_responses": False,
        },
    )  # fmt: skip
    rows = Dataset.from_list([{"number": number, "prompt": prompt(number)} for number in range(job.n)])
    made = posts(rows, working_dir=os.path.join(job.folder, "cache"))
    return texts_of(made.dataset["text"])


if __name__ == "__main__":
    run(work)
