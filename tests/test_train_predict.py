"""`train predict`: one line out for every row in, whatever it holds; and the same scores over HTTP."""

import asyncio
import copy
import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
peft = pytest.importorskip("peft")

from aiohttp.test_utils import TestClient, TestServer  # noqa: E402
from test_train_scoring import model, naive, text, tokenizer  # noqa: E402

from curation.errors import InputError, NotFound  # noqa: E402
from train.config import PredictSettings  # noqa: E402
from train.csv_rows import Columns, read  # noqa: E402
from train.predict import Tally, predict, windows  # noqa: E402
from train.scorers import open_scorer  # noqa: E402
from train.scoring import Score, Scorer  # noqa: E402
from train.serve import application  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A PEFT folder over a base in another, with random adapters that change the answer."""
    home = tmp_path_factory.mktemp("adapter")
    model().save_pretrained(home / "base")
    tokenizer().save_pretrained(home / "base")
    base = transformers.AutoModelForCausalLM.from_pretrained(home / "base")
    torch.manual_seed(1)
    config = peft.LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False, task_type="CAUSAL_LM")
    peft.get_peft_model(base, config).save_pretrained(home / "adapter")
    tokenizer().save_pretrained(home / "adapter")
    return home / "adapter"


def run(adapter: Path, given: bytes | str, **settings: Any) -> tuple[list[list[str]], str, Tally]:
    out, log = io.StringIO(newline=""), io.StringIO()
    source = io.BytesIO(given if isinstance(given, bytes) else given.encode())
    tally = predict(PredictSettings(adapter=str(adapter), precision="fp32", **settings), source, out, log)
    lines = list(csv.reader(io.StringIO(out.getvalue())))
    assert lines[0][:2] == ["id", "probability"]
    return lines[1:], log.getvalue(), tally


def rows(given: bytes | str, **settings: Any) -> list[tuple[str, str, str]]:
    source = io.BytesIO(given if isinstance(given, bytes) else given.encode())
    return [(row.id, row.text, row.problem) for row in read(source, Columns(), **settings)]


# -- reading ----------------------------------------------------------------------------------------------------------


def test_header_or_none() -> None:
    assert rows("id,text\n7,hello\n") == [("7", "hello", "")]
    assert rows("Text , language\nhello,en\n") == [("1", "hello", "")]
    assert rows("hello\nthere\n") == [("1", "hello", ""), ("2", "there", "")]
    assert rows("a1,hello\na2,there\n") == [("a1", "hello", ""), ("a2", "there", "")]
    assert rows("text\n", header="no") == [("1", "text", "")]
    assert rows("id,text\n") == []
    assert rows('\ufefftext\r\n"two\r\nlines"\r\n') == [("1", "two\r\nlines", "")]


def test_input_that_cannot_be_used() -> None:
    with pytest.raises(InputError, match="standard input is empty"):
        rows("")
    with pytest.raises(InputError, match="no column 'text', only 'a', 'b', 'c'; name it"):
        rows("a,b,c\n1,2,3\n")
    with pytest.raises(InputError, match="UTF-16"):
        rows("text\nhello".encode("utf-16"))
    with pytest.raises(InputError, match="no column 'text', only 'id'"):
        rows("id\n1\n", header="yes")


def test_a_broken_line_costs_itself_alone() -> None:
    found = rows('id,text\n1,"never closed\n2,"fine, it is"\n3,plain\n4,"odd"quote\n\n6,a,b\n7\n8,"ends open\n')
    assert [(identity, problem.split(";")[0]) for identity, _, problem in found] == [
        ("1", "broken CSV: ',' expected after '\"'"), ("2", ""), ("3", ""), ("4", "broken CSV: ',' expected after '\"'"),
        ("5", "the line is empty"), ("6", "3 cells where the first line has 2"), ("7", "no cell for column 'text'"),
        ("8", "broken CSV: a quote is never closed"),
    ]  # fmt: skip


def test_an_open_quote_does_not_swallow_the_rest() -> None:
    given = 'id,text\n1,"never closed\n' + "".join(f"{number},text\n" for number in range(2, 60_000))
    found = rows(given)
    assert len(found) == 59_999
    assert [identity for identity, _, problem in found if problem] == ["1"]


def test_bytes_that_are_not_utf8() -> None:
    found = rows(b"id,text\n1,caf\xe9\n2,fine\n")
    assert found == [("1", "", "not UTF-8 (byte 5 of the line)"), ("2", "fine", "")]


def test_a_window_is_bounded_by_rows_and_by_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("train.predict.MOST_CHARACTERS", 100)
    given = read(io.BytesIO(b"text\n" + b"x" * 60 + b"\n" + b"y" * 60 + b"\na\nb\nc\n"), Columns())
    assert [len(window) for window in windows(given, 2)] == [2, 2, 1]


# -- scoring ----------------------------------------------------------------------------------------------------------


def test_probabilities_are_those_of_the_plain_computation(adapter: Path) -> None:
    texts = [text(seed) for seed in range(40)]
    lines, log, tally = run(adapter, "id,text\n" + "".join(f"r{at},{one}\n" for at, one in enumerate(texts)), window=16)
    loaded = peft.PeftModel.from_pretrained(
        transformers.AutoModelForCausalLM.from_pretrained(adapter.parent / "base"), adapter
    ).eval()
    expected = [naive(loaded, tokenizer(), one)[0] for one in texts]
    assert [line[0] for line in lines] == [f"r{at}" for at in range(40)]
    assert np.abs(np.array([float(line[1]) for line in lines]) - expected).max() < 1e-4
    assert abs(expected[0] - naive(model(), tokenizer(), texts[0])[0]) > 1e-3, "the adapter has no effect"
    assert (log, tally.scored) == ("", 40)


def test_title_and_caption_are_joined_as_in_training(adapter: Path) -> None:
    apart, _, _ = run(adapter, "title,text,caption\nPhone,good as new,a phone\n,only text,\n")
    joined, _, _ = run(adapter, 'text\n"Phone\ngood as new\na phone"\nonly text\n')
    assert apart == joined


def test_other_column_names_a_policy_and_the_label_mass(adapter: Path, tmp_path: Path) -> None:
    (tmp_path / "policy.txt").write_text("No selling of accounts.\n", encoding="utf-8")
    given = "key,body\n9,sell your account\n"
    columns = {"id": "key", "text": "body"}
    plain, _, _ = run(adapter, given, columns=columns)
    with_policy, log, _ = run(adapter, given, columns=columns, policy=tmp_path / "policy.txt", label_mass=True)
    assert with_policy[0][0] == plain[0][0] == "9"
    assert with_policy[0][1] != plain[0][1]
    assert 0 < float(with_policy[0][2]) < 1
    assert "label mass" in log


def test_ten_thousand_rows_come_out_one_for_one(adapter: Path) -> None:
    """Empty ones, megabytes, broken lines and bytes included; each bad one is named with its line."""
    given = [f"{at},{text(at, 4)}".encode() for at in range(10_000)]
    bad: dict[int, bytes] = {}
    for at in range(50, 10_000, 500):
        bad |= {
            at: b"%d," % at,
            at + 1: b'%d,"open' % at,
            at + 2: b"",
            at + 3: b"%d,caf\xe9" % at,
            at + 4: b"%d" % at,
            at + 5: b"1,2,3",
        }
    for at, line in bad.items():
        given[at] = line
    for at in (77, 7_777):
        given[at] = b"%d," % at + b"word " * 200_000
    lines, log, tally = run(adapter, b"id,text\n" + b"\n".join(given) + b"\n", max_length=180)
    assert len(lines) == tally.rows == 10_000
    assert [at for at, line in enumerate(lines) if not line[1]] == sorted(bad)
    assert [line[0] for at, line in enumerate(lines) if at not in bad] == [
        str(at) for at in range(10_000) if at not in bad
    ]
    assert all(0 <= float(line[1]) <= 1 for line in lines if line[1])
    assert [int(line.split()[1].rstrip(":")) for line in log.splitlines()[:-1]] == [at + 2 for at in sorted(bad)]
    assert tally.cut == 2
    assert log.splitlines()[-1].startswith("predict: 9,880 of 10,000 rows scored")


def test_a_text_on_which_the_model_fails_takes_no_other_along(adapter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    score = Scorer.score

    def fails(self: Scorer, texts: list[str]) -> list[Score]:
        if "poison" in texts:
            raise RuntimeError("bad text\nmore")
        return score(self, texts)

    monkeypatch.setattr(Scorer, "score", fails)
    lines, log, _ = run(adapter, "text\none\ntwo\npoison\nfour\nfive\n")
    assert [bool(line[1]) for line in lines] == [True, True, False, True, True]
    assert log.splitlines()[0] == "line 4: RuntimeError: bad text"


def test_a_classifier_gives_its_head_s_probabilities(tmp_path: Path) -> None:
    config = transformers.BertConfig(
        vocab_size=800, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=128, num_labels=2, id2label={0: "allowed", 1: "disallowed"}, initializer_range=0.3,
    )  # fmt: skip
    torch.manual_seed(3)
    made = transformers.BertForSequenceClassification(config).eval()
    made.save_pretrained(tmp_path)
    words = tokenizer()
    words.save_pretrained(tmp_path)
    texts = [text(seed) for seed in range(12)] + ["long " * 4_000]
    lines, _, tally = run(tmp_path, "text\n" + "".join(f"{one}\n" for one in texts))
    for one, line in zip(texts[:12], lines, strict=False):
        ids = words(one, truncation=True, max_length=128, return_tensors="pt")["input_ids"]
        expected = made(ids).logits.softmax(-1)[0, 1].item()
        assert float(line[1]) == pytest.approx(expected, abs=1e-4)
    assert (tally.scored, tally.cut) == (13, 1)
    with pytest.raises(InputError, match=r"policy: .* is a classifier"):
        open_scorer(PredictSettings(adapter=str(tmp_path), policy=Path(__file__)))


@pytest.mark.parametrize(("quantization", "precision"), [("none", "bf16"), ("nf4", "bf16"), ("nf4", "fp32")])
def test_a_base_in_other_precisions(adapter: Path, quantization: Any, precision: Any) -> None:
    pytest.importorskip("bitsandbytes")
    given = [text(seed) for seed in range(20)]
    settings = PredictSettings(adapter=str(adapter), quantization=quantization, precision=precision)
    scorer: Any = open_scorer(settings)
    found = [score.probability for score in scorer.score(given)]
    expected = [naive(scorer.model, tokenizer(), one)[0] for one in given]
    assert np.abs(np.array(found) - expected).max() < (1e-3 if precision == "fp32" else 0.1)


def test_a_merged_model_scores_like_its_adapter(adapter: Path, tmp_path: Path) -> None:
    base = transformers.AutoModelForCausalLM.from_pretrained(adapter.parent / "base")
    peft.PeftModel.from_pretrained(base, adapter).merge_and_unload().save_pretrained(tmp_path)
    tokenizer().save_pretrained(tmp_path)
    given = "text\n" + "".join(f"{text(seed)}\n" for seed in range(10))
    one, other = (np.array([float(line[1]) for line in run(folder, given)[0]]) for folder in (adapter, tmp_path))
    assert np.abs(one - other).max() < 1e-4


def test_a_quantised_model(tmp_path: Path) -> None:
    pytest.importorskip("compressed_tensors")
    from train import gptq, packed

    made = copy.deepcopy(model())
    prompts = [tokenizer()(text(seed))["input_ids"] for seed in range(20)]
    done = gptq.quantize_model(made, prompts, bits=4, group_size=32, progress=lambda _done, _all: None)
    packed.save(made, done, tmp_path, bits=4, group_size=32, shard_size="1GB")
    tokenizer().save_pretrained(tmp_path)
    scorer: Any = open_scorer(PredictSettings(adapter=str(tmp_path), precision="fp32"))
    texts = [text(seed) for seed in range(20)]
    found = [score.probability for score in scorer.score(texts)]
    expected = [naive(scorer.model, tokenizer(), one)[0] for one in texts]
    assert np.abs(np.array(found) - expected).max() < 1e-4
    assert np.abs(np.array(found) - [naive(model(), tokenizer(), one)[0] for one in texts]).max() > 1e-4


def test_no_such_adapter() -> None:
    with pytest.raises(NotFound, match="nowhere"):
        run(Path("nowhere"), "text\nhello\n")


# -- pictures ---------------------------------------------------------------------------------------------------------


def test_pictures_are_read_and_captioned(adapter: Path, tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    from train.pictures import Pictures

    encoder = transformers.ViTConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=32,
        patch_size=16,
        initializer_range=0.5,
    )
    decoder = transformers.GPT2Config(
        vocab_size=800, n_embd=32, n_layer=1, n_head=2, n_positions=128, is_decoder=True, add_cross_attention=True,
        initializer_range=0.5, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    config = transformers.VisionEncoderDecoderConfig.from_encoder_decoder_configs(encoder, decoder)
    config.decoder_start_token_id, config.pad_token_id, config.eos_token_id = 1, 0, 2
    torch.manual_seed(0)
    made = transformers.VisionEncoderDecoderModel(config)
    made.generation_config = transformers.GenerationConfig(decoder_start_token_id=1, pad_token_id=0, eos_token_id=2)
    folder = tmp_path / "reader"
    made.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    transformers.ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)
    image.new("RGB", (40, 30), "red").save(tmp_path / "red.png")
    (tmp_path / "broken.png").write_bytes(b"no picture")

    given = f"text,image\nown words,{tmp_path}/red.png\n,{tmp_path}/red.png\n,{tmp_path}/broken.png\n,gone.png\nno picture,\n"
    filled = Pictures(folder, None).filled(list(read(io.BytesIO(given.encode()), Columns(), images=True)))
    assert filled[0].text == "own words"
    assert filled[1].text
    lines, log, _ = run(adapter, given, ocr=folder, captioner=folder)
    assert [bool(line[1]) for line in lines] == [True, True, False, False, True]
    assert "broken.png': not an image that can be read" in log
    assert "'gone.png': No such file or directory" in log
    quoted = filled[1].text.replace('"', '""')
    words, _, _ = run(adapter, f'text,caption\nown words,"{quoted}"\n')
    assert float(words[0][1]) == pytest.approx(float(lines[0][1]), abs=1e-5)
    with pytest.raises(InputError, match=r"captioner=.*: cannot be loaded as an image-to-text model"):
        Pictures(None, adapter)


# -- over HTTP --------------------------------------------------------------------------------------------------------


def asked(scorer: Any, *requests: tuple[str, str, Any]) -> list[tuple[int, Any]]:
    """The answers to requests that are made at once."""

    async def all_at_once() -> list[tuple[int, Any]]:
        async with TestClient(TestServer(application(scorer, "tiny"))) as client:

            async def one(method: str, path: str, body: Any) -> tuple[int, Any]:
                data = body if isinstance(body, str) or body is None else json.dumps(body)
                async with client.request(method, path, data=data) as response:
                    return response.status, await response.json()

            return await asyncio.gather(*(one(*request) for request in requests))

    return asyncio.run(all_at_once())


def test_scores_over_http_share_batches() -> None:
    scorer = Scorer(model(), tokenizer())
    calls: list[int] = []
    score = scorer.score
    scorer.score = lambda texts: (calls.append(len(texts)), score(texts))[1]  # type: ignore[method-assign]
    texts = [text(seed) for seed in range(20)]
    answers = asked(scorer, *(("POST", "/score", {"texts": [one, ""]}) for one in texts))
    assert [status for status, _ in answers] == [200] * 20
    for one, (_, body) in zip(texts, answers, strict=True):
        assert body["probabilities"][0] == pytest.approx(naive(model(), tokenizer(), one)[0], abs=1e-4)
        assert body["probabilities"][1] is None
        assert body["errors"] == [{"index": 1, "reason": "the text is empty"}]
    assert sum(calls) == 40
    assert len(calls) < 20


def test_requests_that_cannot_be_answered() -> None:
    answers = asked(
        Scorer(model(), tokenizer()),
        ("POST", "/score", "{"), ("POST", "/score", []), ("POST", "/score", {"texts": "one"}), ("POST", "/score", {"texts": [1]}),
        ("POST", "/v1/chat/completions", {"messages": []}), ("GET", "/nothing", None), ("GET", "/health", None),
        ("POST", "/score", {"texts": ["fine"]}),
    )  # fmt: skip
    assert [status for status, _ in answers] == [400, 400, 400, 400, 400, 404, 200, 200]
    assert answers[2][1]["error"]["message"] == 'give {"texts": [...]}, a list of strings'
    assert answers[6][1]["status"] == "ok"


def test_chat_like_openai() -> None:
    turns = [{"role": "user", "content": "hello"}]
    scorer = Scorer(model(), tokenizer())
    (status, body), (too_long, error) = asked(
        scorer,
        ("POST", "/v1/chat/completions", {"model": "x", "messages": turns, "max_tokens": 6}),
        ("POST", "/v1/chat/completions", {"messages": [{"role": "user", "content": "hello " * 3000}]}),
    )
    ids = tokenizer().apply_chat_template(turns, add_generation_prompt=True, return_tensors="pt")["input_ids"]
    made = model().generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=6, do_sample=False, pad_token_id=0
    )
    expected = tokenizer().decode(made[0, ids.shape[1] :], skip_special_tokens=True)
    assert status == 200
    assert body["choices"][0]["message"] == {"role": "assistant", "content": expected}
    assert body["usage"]["prompt_tokens"] == ids.shape[1]
    assert (too_long, "the model takes" in error["error"]["message"]) == (400, True)


# -- as a process -----------------------------------------------------------------------------------------------------

CONTAINED = (
    "ulimit -v 4194304; exec {python} -m train.cli predict adapter={adapter} precision=fp32 threads=2 window=100"
)


def test_contained_as_the_dockerfile_runs_it(adapter: Path, tmp_path: Path) -> None:
    """Two cores, little memory, no hub, a home that cannot be written, another working folder than the code's."""
    home = tmp_path / "home"
    home.mkdir(mode=0o500)
    environ = {
        "PATH": os.environ["PATH"], "HOME": str(home), "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf"), "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(Path(__file__).parent.parent), "PYTHONDONTWRITEBYTECODE": "1",
    }  # fmt: skip
    command = CONTAINED.format(python=sys.executable, adapter=adapter)
    done = subprocess.run(
        ["bash", "-c", command],
        input=b"text\nhello\n\xff\n",
        capture_output=True,
        check=False,
        env=environ,
        cwd=home,
        timeout=280,
    )
    lines = done.stdout.decode().splitlines()
    assert (done.returncode, lines[0], lines[2]) == (0, "id,probability", "2,"), done.stderr
    assert 0 <= float(lines[1].removeprefix("1,")) <= 1
    problem, summary = done.stderr.decode().splitlines()
    assert problem == "line 3: not UTF-8 (byte 0 of the line)"
    assert summary.startswith("predict: 1 of 2 rows scored")
    seen_enough = subprocess.run(
        ["bash", "-c", f"set -o pipefail; ({command}) | head -n 1"], input=b"text\n" + b"hello\n" * 600, capture_output=True, check=False,
        env=environ, cwd=home, timeout=280,
    )  # fmt: skip
    assert (seen_enough.returncode, seen_enough.stdout, seen_enough.stderr) == (0, b"id,probability\n", b"")
    empty = subprocess.run(
        ["bash", "-c", command], input=b"", capture_output=True, check=False, env=environ, cwd=home, timeout=280
    )
    assert (empty.returncode, empty.stderr.decode()) == (
        2,
        "train: standard input is empty; give CSV with a column text\n",
    )


def test_the_dockerfile_names_what_is_there() -> None:
    root = Path(__file__).parent.parent
    lines = (root / "Dockerfile").read_text(encoding="utf-8").splitlines()
    copied = [
        word for line in lines if line.startswith("COPY ") and "--from" not in line for word in line.split()[1:-1]
    ]
    assert copied
    kept = {
        line[1:] for line in (root / ".dockerignore").read_text(encoding="utf-8").splitlines() if line.startswith("!")
    }
    assert all((root / one).exists() and one in kept for one in copied)
    assert 'ENTRYPOINT ["train", "predict"]' in lines
    environ = dict(word.split("=", 1) for line in lines for word in line.removeprefix("ENV ").split() if "=" in word)
    ours = {name.removeprefix("TILTH_").lower() for name in environ if name.startswith("TILTH_")}
    assert ours == {"adapter", "host", "threads"} <= set(PredictSettings.model_fields)
    assert environ["HF_HUB_OFFLINE"] == "1"
    assert any(line.startswith("USER ") and line != "USER root" for line in lines)
