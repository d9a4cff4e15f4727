"""NeMo Data Designer: one text column over a seed column, resumed if it can be."""

from pathlib import Path

import data_designer.config as dd
import pandas
from data_designer.engine.storage.artifact_storage import ResumeMode
from data_designer.interface import DataDesigner
from job import MODEL, MOST_TOKENS, SYSTEM, Job, prompt, run, texts_of

BUFFER = 256  # rows of a checkpoint


def work(job: Job) -> tuple[int, int]:
    provider = dd.ModelProvider(name="loopback", endpoint=job.openai_url, api_key="any")
    asking = dd.ChatCompletionInferenceParams(max_parallel_requests=job.in_flight, max_tokens=MOST_TOKENS)
    model = dd.ModelConfig(
        alias="model", model=MODEL["openai"], provider="loopback", inference_parameters=asking, skip_health_check=True
    )
    builder = dd.DataDesignerConfigBuilder(model_configs=[model])
    seeds = Path(job.folder, "seeds.parquet")
    if not seeds.exists():  # the same file, or the second run is another to it
        pandas.DataFrame({"wish": [prompt(number) for number in range(job.n)]}).to_parquet(seeds)
    builder.with_seed_dataset(dd.LocalFileSeedSource(path=str(seeds)))
    builder.add_column(
        dd.LLMTextColumnConfig(name="text", model_alias="model", system_prompt=SYSTEM, prompt="{{ wish }}")
    )
    designer = DataDesigner(artifact_path=Path(job.folder, "artifacts"), model_providers=[provider])
    designer.set_run_config(dd.RunConfig(buffer_size=BUFFER, otel_metrics_port=None))
    made = designer.create(builder, num_records=job.n, dataset_name="bench", resume=ResumeMode.IF_POSSIBLE)
    return texts_of(made.load_dataset()["text"])


if __name__ == "__main__":
    run(work)
