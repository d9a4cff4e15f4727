"""The dense retriever, with a tiny random encoder in a local folder."""

import sys
from collections.abc import Iterator
from importlib import util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from synth_kit import accepted, column, filled

from curation.errors import InputError, NotFound
from synth.choice import plans
from synth.config import RunSettings
from synth.dialogue_prompt import GraphPrompt
from synth.prompts import load
from synth.providers.embedder import Embedder
from synth.retrieve import DenseRetriever, embedder_of, retriever


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A BERT of two layers that knows the letters of everything, saved as any model is."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("encoder")
    signs = [chr(code) for code in (*range(33, 127), *range(0x4E00, 0x9FA5, 3), *range(0x0B80, 0x0BFF))]
    vocabulary = {sign: place for place, sign in enumerate(("[PAD]", "[UNK]", *signs))}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    made.normalizer = normalizers.Lowercase()
    made.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="[PAD]", unk_token="[UNK]", model_max_length=128
    )
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48,
        max_position_embeddings=128, pad_token_id=0,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)
    yield folder
    embedder_of.cache_clear()
    retriever.cache_clear()


def ecommerce(**given: Any) -> GraphPrompt:
    prompt = load("ecommerce")
    assert isinstance(prompt, GraphPrompt)
    return prompt.set_up(given) if given else prompt


def test_a_vector_is_the_mean_of_the_last_states_whatever_else_is_in_the_batch(encoder: Path) -> None:
    import torch
    from transformers import AutoModel, AutoTokenizer

    texts = ["a kettle", "电热水壶", "", "a very long text " * 40, "kettle " * 3, "மின் கெண்டி"] * 8
    rows = Embedder(str(encoder)).of(texts)
    assert rows.shape == (48, 32)
    assert rows.dtype == np.float32
    model, tokenizer = AutoModel.from_pretrained(encoder).eval(), AutoTokenizer.from_pretrained(encoder)
    for text, row in zip(texts[:6], rows, strict=False):
        given = tokenizer([text or " "], truncation=True, max_length=128, return_tensors="pt")
        given.pop("token_type_ids", None)
        with torch.inference_mode():
            alone = model(**given).last_hidden_state[0].mean(0).numpy()
        np.testing.assert_allclose(row, alone / np.linalg.norm(alone), atol=1e-5)


@pytest.mark.parametrize("language", ["en", "ta"])
def test_a_document_is_nearest_to_its_own_words(encoder: Path, language: str) -> None:
    corpus = next(iter(ecommerce().corpora.values()))
    search = retriever(corpus, language, str(encoder))
    assert isinstance(search, DenseRetriever)
    assert retriever(corpus, language, str(encoder)) is search
    for place in (0, 7, 100):
        words = " ".join(
            " ".join(value) if isinstance(value := search.documents[place][field], list) else str(value)
            for field in corpus.source.text
        )
        hits = search.search(words)
        assert hits[0] == search.documents[place]
        assert len({hit.id for hit in hits}) == len(hits) == 60
    assert search.search("  ") == []


def test_dialogues_show_what_the_encoder_found(encoder: Path, workspace: Path) -> None:
    words = filled(workspace, ("ecommerce",), n=4, language=("en",))
    before = accepted(workspace)
    report = filled(workspace, ("ecommerce",), n=4, language=("en",), retriever="dense", embedder=str(encoder))
    assert (words.complete, report.complete, report.traffic.replayed) == (True, True, 0)
    assert len(set(column(workspace, "SELECT prompt_id FROM requests"))) == 2  # another search is another prompt
    assert len(accepted(workspace) - before) == 4
    again = filled(workspace, ("ecommerce",), n=4, language=("en",), retriever="dense", embedder=str(encoder))
    assert again.traffic.asked == 0


def test_what_is_missing_is_said_in_a_line(encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(error: type[Exception], **given: Any) -> str:
        with pytest.raises(error) as wrong:
            plans(RunSettings(prompt=("ecommerce",), n=1, **given))
        return str(wrong.value)

    assert "retriever=dense needs embedder=FOLDER, or a hub id" in refused(InputError, retriever="dense")
    assert "embedder: is for retriever=dense" in refused(InputError, embedder=str(encoder))
    gone = str(tmp_path / "gone" / "model")
    assert refused(NotFound, retriever="dense", embedder=gone) == f"embedder={gone}: no such folder"
    assert "no config.json in it" in refused(InputError, retriever="dense", embedder=str(tmp_path))
    find = util.find_spec
    monkeypatch.setattr("synth.providers.local_model.find_spec", lambda name: None if name == "torch" else find(name))
    embedder_of.cache_clear()
    said = refused(InputError, retriever="dense", embedder=str(encoder))
    assert said == "retriever=dense needs its libraries: pip install 'tilth[dense]'"


def test_the_default_search_loads_no_torch() -> None:
    import subprocess

    code = (
        "import sys; from synth.prompts import load; from synth.retrieve import retriever\n"
        "corpus = next(iter(load('ecommerce').corpora.values())); assert retriever(corpus, 'en').search('kettle')\n"
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parent.parent, check=True, timeout=60)
