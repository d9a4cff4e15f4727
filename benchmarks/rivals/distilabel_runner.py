"""distilabel: one TextGeneration task in a local pipeline; a second run finds the first one's cache."""

import os

from distilabel.models import OpenAILLM
from distilabel.pipeline import Pipeline
from distilabel.steps import LoadDataFromDicts
from distilabel.steps.tasks import TextGeneration
from job import MODEL, MOST_TOKENS, SYSTEM, Job, prompt, run, texts_of


def work(job: Job) -> tuple[int, int]:
    with Pipeline(name="bench", cache_dir=os.path.join(job.folder, "cache")) as pipeline:
        load = LoadDataFromDicts(
            data=[{"instruction": prompt(number), "system_prompt": SYSTEM} for number in range(job.n)],
            batch_size=job.in_flight,
        )
        llm = OpenAILLM(
            model=MODEL["openai"],
            base_url=job.openai_url,
            api_key="any",
            generation_kwargs={"max_new_tokens": MOST_TOKENS},
        )
        load >> TextGeneration(llm=llm, input_batch_size=job.in_flight)
    made = pipeline.run(use_cache=True)
    return texts_of(row["generation"] for row in made["default"]["train"])


if __name__ == "__main__":
    run(work)
