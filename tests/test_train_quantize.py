"""`train quantize`: GPTQ against rounding to nearest, the layout against its reference, and a whole model on disk."""

from pathlib import Path
from typing import Any

import pytest
import torch
import train_kit
from compressed_tensors.compressors.pack_quantized.helpers import unpack_from_int32
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from curation.errors import InputError, NotFound
from train import gptq, packed
from train.config import QuantizeSettings
from train.data import chat, rows
from train.encode import render
from train.quantize import conversations, perplexity, quantize
from train.tiny import tiny_tokenizer

pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model that was trained whole on the version for some steps, and an adapter on it."""
    folder = tmp_path_factory.mktemp("quantize")
    version = train_kit.moderation_version(folder / "workspace" / "datasets" / "mod", train=64)
    tokenizer = tiny_tokenizer(version)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=512, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
        tie_word_embeddings=True, pad_token_id=tokenizer.pad_token_id, bos_token_id=None, eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    optimiser = torch.optim.AdamW(model.parameters(), lr=5e-3)
    data = [torch.tensor([render(tokenizer, chat(row))]) for row in rows(version, "train")]
    for step in range(60):
        loss = model(input_ids=data[step % len(data)], labels=data[step % len(data)]).loss
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
    model.save_pretrained(folder / "base")
    tokenizer.save_pretrained(folder / "base")
    model = AutoModelForCausalLM.from_pretrained(folder / "base")
    lora = LoraConfig(r=4, lora_alpha=1, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
    get_peft_model(model, lora).save_pretrained(folder / "a")
    return folder


def settings(home: Path, tmp_path: Path, **given: Any) -> QuantizeSettings:
    fixed = {
        "workspace": home / "workspace", "calibration": "mod@1", "to": tmp_path / "small", "group_size": 32, "n": 32,
        "dtype": "fp32", "runs_dir": home / "runs",
    }  # fmt: skip
    return QuantizeSettings(**{**fixed, **given})


def correlated(n: int, width: int) -> torch.Tensor:
    torch.manual_seed(0)
    return torch.randn(n, width // 4) @ torch.randn(width // 4, width) + 0.1 * torch.randn(n, width)


@pytest.mark.parametrize(("width", "group_size"), [(64, 32), (256, 64), (320, 160), (512, 256)])
def test_gptq_loses_less_than_rounding_to_nearest(width: int, group_size: int) -> None:
    x, weight = correlated(400, width), torch.randn(48, width)
    ours = gptq.quantize(weight, x.T @ x, bits=4, group_size=group_size, dtype=torch.float32)
    nearest = gptq.quantize(weight, torch.eye(width), bits=4, group_size=group_size, dtype=torch.float32)
    lost, plainly = (
        ((one.weight() - weight) @ x.T).square().sum() / (weight @ x.T).square().sum() for one in (ours, nearest)
    )
    assert float(lost) < 0.5 * float(plainly)
    assert ours.error == pytest.approx(float(lost), rel=1e-3)


def test_with_inputs_that_say_nothing_gptq_is_rounding_to_nearest() -> None:
    weight = torch.randn(16, 64, generator=torch.Generator().manual_seed(3))
    found = gptq.quantize(weight, torch.eye(64), bits=4, group_size=16, dtype=torch.float32)
    groups = weight.reshape(16, 4, 16)
    scale = groups.abs().amax(-1) / 7.5
    levels = (groups / scale[..., None]).round().clamp(-8, 7).reshape(16, 64)
    assert torch.equal(found.levels.float(), levels)
    torch.testing.assert_close(found.scale, scale)


def test_against_the_paper_written_plainly() -> None:
    """Algorithm 1 without blocks: invert the Hessian, round a column, correct the rest, strike the column out (eq. 2 and 3)."""
    x, weight = correlated(300, 160), torch.randn(8, 160, generator=torch.Generator().manual_seed(5))
    hessian = x.T @ x
    damped = (hessian + 0.01 * hessian.diagonal().mean() * torch.eye(160)).double()
    rest, inverse = weight.double().clone(), torch.linalg.inv(damped)
    levels = torch.zeros(8, 160)
    for column in range(160):
        if column % 32 == 0:
            scale = rest[:, column : column + 32].abs().amax(1) / 7.5
        levels[:, column] = (rest[:, column] / scale).round().clamp(-8, 7)
        error = (rest[:, column] - levels[:, column] * scale) / inverse[column, column]
        rest -= error[:, None] * inverse[None, column]
        inverse -= inverse[:, [column]] @ inverse[[column]] / inverse[column, column].clone()
    found = gptq.quantize(weight, hessian, bits=4, group_size=32, dtype=torch.float32)
    assert (found.levels.float() == levels).float().mean() > 0.98  # fp32 against fp64: a tie may fall the other way


def test_inputs_that_are_never_seen_do_no_harm() -> None:
    x = correlated(100, 64)
    x[:, 10:20] = 0
    found = gptq.quantize(torch.randn(8, 64), x.T @ x, bits=4, group_size=32, dtype=torch.float32)
    assert found.weight().isfinite().all()


@pytest.mark.parametrize("bits", [4, 8])
def test_packing_is_what_the_reference_unpacks(bits: int) -> None:
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1)
    levels = torch.randint(low, high, (5, 36), dtype=torch.int8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(unpack_from_int32(packed.pack(levels, bits), bits, torch.Size((5, 36))), levels)


def test_a_model_loads_in_plain_transformers_and_keeps_its_perplexity(home: Path, tmp_path: Path) -> None:
    layers: list[int] = []
    made = quantize(settings(home, tmp_path, model=str(home / "base")), lambda done, _: layers.append(done))
    assert layers == [1, 2]
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "small")
    whole = AutoModelForCausalLM.from_pretrained(home / "base", dtype=torch.float32).eval()
    small = AutoModelForCausalLM.from_pretrained(tmp_path / "small", dtype=torch.float32).eval()
    version = train_kit.open_version("mod@1", home / "workspace")
    held_out = conversations(version, "test", tokenizer, 32, 1024)
    assert made.perplexity == pytest.approx((perplexity(whole, held_out), perplexity(small, held_out)))
    assert made.perplexity[0] < 30  # it has learnt: 512 is chance
    assert made.perplexity[1] < 1.05 * made.perplexity[0]
    rounded = AutoModelForCausalLM.from_pretrained(home / "base", dtype=torch.float32).eval()
    for name, module in gptq.decoder_layers(rounded)[1].named_modules():
        if isinstance(module, torch.nn.Linear):
            eye = torch.eye(module.in_features)
            module.weight.data = gptq.quantize(
                module.weight.data, eye, bits=4, group_size=32, dtype=torch.float32
            ).weight()
            stored = small.model.layers.get_submodule(name).weight
            assert len(stored.unique()) <= 15 * module.out_features * module.in_features // 32 + 1
    assert made.perplexity[1] < perplexity(rounded, held_out)  # rounding to nearest loses more
    ids = torch.tensor([held_out[0][:8]])
    assert small.generate(input_ids=ids, max_new_tokens=3, do_sample=False).shape == (1, 11)
    assert made.layers == 14
    assert made.bytes[1] == sum(path.stat().st_size for path in (tmp_path / "small").glob("*.safetensors"))
    assert made.bytes[1] < 0.7 * made.bytes[0]  # a tiny model is mostly embeddings, which stay
    card = (tmp_path / "small" / "README.md").read_text()
    assert f"| {made.perplexity[0]:.4f} | {made.perplexity[1]:.4f} |" in card


def test_an_adapter_is_merged_first(home: Path, tmp_path: Path) -> None:
    made = quantize(settings(home, tmp_path, run=str(home / "a"), bits=8, dtype="bf16"), lambda *_: None)
    assert made.perplexity[1] == pytest.approx(made.perplexity[0], rel=0.01)
    assert "merged into" in made.source


def test_conversations_that_calibrate_are_not_those_that_measure(home: Path) -> None:
    version = train_kit.open_version("mod@1", home / "workspace")
    tokenizer = AutoTokenizer.from_pretrained(home / "base")
    train, test = (conversations(version, split, tokenizer, 8, 256) for split in ("train", "test"))
    assert len(train) == len(test) == 8
    assert max(map(len, train)) <= 256
    assert not {tuple(row) for row in train} & {tuple(row) for row in test}


def test_what_cannot_be_quantised_is_one_line(home: Path, tmp_path: Path) -> None:
    def fails(**given: Any) -> str:
        with pytest.raises(InputError) as error:
            quantize(settings(home, tmp_path, **given), lambda *_: None)
        assert "\n" not in str(error.value)
        return str(error.value)

    base = str(home / "base")
    assert "does not divide the 64 inputs of model.layers.0.self_attn.q_proj; choose 64 or 32" in fails(
        model=base, group_size=48
    )
    assert "give run=ID or model=FOLDER" in fails()
    assert "not both" in fails(run=str(home / "a"), model=base)
    assert "no run 'gone'" in fails(run="gone", to=None)
    assert "give it as run=" in fails(model=str(home / "a"))
    assert "no split 'tests'. Did you mean 'test'?" in fails(model=base, evaluate="tests")
    assert "to=FOLDER" in fails(model=base, to=None)
    assert "is there already" in fails(model=base, to=home / "base")
    with pytest.raises(NotFound, match="no dataset 'mode'"):
        quantize(settings(home, tmp_path, model=base, calibration="mode"), lambda *_: None)
    quantize(settings(home, tmp_path, model=base), lambda *_: None)
    assert "quantised already" in fails(model=str(tmp_path / "small"), to=tmp_path / "again")
    assert {path.name for path in tmp_path.iterdir()} == {"small"}
