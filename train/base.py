"""Loading base models, for training and for inference; 4-bit ones included."""

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from curation.errors import InputError, NotFound
from train.data import Version
from train.recipes import Recipe
from train.runs import Base, Run
from train.tiny import tiny_model

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Precision = Literal["bf16", "fp32"]

# for a tokenizer without any: words alone, as new special tokens would have to be trained and shipped with the adapter
PLAIN_TEMPLATE = (
    "{% for message in messages %}### {{ message.role }}\n"
    "{% if message.role == 'assistant' %}{% generation %}{{ message.content }}{{ eos_token }}{% endgeneration %}"
    "{% else %}{{ message.content }}{% endif %}\n\n{% endfor %}"
    "{% if add_generation_prompt %}### assistant\n{% endif %}"
)


def load_base(
    model: str, recipe: Recipe, version: Version, *, seed: int, folder: Path
) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase, Base]":
    """The model to train, as the recipe wants it (precision, 4 bits), its tokenizer, and what it is.

    Args:
        model: a hub id, a folder, or `tiny`.
        seed: of the weights of `tiny`.
        folder: where `tiny` is written to, or was: it is loaded from there like any other model.

    Raises:
        NotFound: no such model here or on the hub.
        InputError: it is no causal language model, or the libraries for it are missing.
    """
    if model == "tiny" and not (folder / "config.json").is_file():
        _write_tiny(version, seed, folder)
    source = str(folder) if model == "tiny" else model
    revision = recipe.revision if not Path(source).is_dir() else None
    loaded, tokenizer = _load(
        source, revision, recipe.precision, recipe.quantization == "nf4", lora=recipe.lora is not None
    )
    return loaded, tokenizer, identify(model, source, loaded)


def _write_tiny(version: Version, seed: int, folder: Path) -> None:
    """Every process of a launch makes the same model; the first to finish keeps it."""
    scratch = folder.with_name(f".{folder.name}-{os.getpid()}")
    made, tokenizer = tiny_model(version, seed)
    made.save_pretrained(scratch)
    tokenizer.save_pretrained(scratch)
    try:
        scratch.rename(folder)
    except OSError:
        shutil.rmtree(scratch)
        if not (folder / "config.json").is_file():
            raise


def load_for_inference(
    path: str | Path,
    *,
    runs_dir: Path = Path("runs"),
    base: str | None = None,
    precision: Precision | None = None,
    quantization: Literal["nf4", "none"] | None = None,
) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase, Base]":
    """A trained model in eval mode, from a run, a PEFT folder, or a whole model's folder or hub id.

    Args:
        path: a run (id, its beginning, folder), a folder with adapter_config.json, or a model.
        base: the base model, where the one that the adapter names has moved.
        precision, quantization: as the run was trained, if not given; bf16 and none for what is not a run.

    Returns:
        The model (a PeftModel over its base for an adapter), its tokenizer, and the base.

    Raises:
        NotFound: no such run, folder or model.
        InputError: the adapter's base is not to be found.
    """
    run = _run_of(path, runs_dir)
    recipe = run.recipe() if run else None
    precision = precision or (recipe.precision if recipe else "bf16")
    quantization = quantization or (recipe.quantization if recipe else "none")
    folder = Path(path)
    if run:
        folder = run.adapter if run.adapter.is_dir() else run.model
        if not folder.is_dir():
            raise InputError(
                f"run {run.id} ({run.record.status_now}) has no trained model yet; go on with it: resume=true"
            )
    if not (folder / "adapter_config.json").is_file():
        model, tokenizer = _load(str(folder), None, precision, quantization == "nf4", lora=True)
        return model.eval(), tokenizer, identify(str(folder), str(folder), model)  # type: ignore[no-untyped-call]
    from peft import PeftModel

    config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    source = base or _base_of(folder, config, run)
    model, tokenizer = _load(
        source, None if base else config.get("revision"), precision, quantization == "nf4", lora=True
    )
    what = identify(source, source, model)
    if (folder / "tokenizer_config.json").is_file():
        tokenizer = _tokenizer(str(folder), None)
    adapted: Any = PeftModel.from_pretrained(model, folder)
    return adapted.eval(), tokenizer, what


def _run_of(path: str | Path, runs_dir: Path) -> Run | None:
    if (Path(path) / "run.json").is_file():
        return Run.open(path)
    for inner in ("adapter", "model"):  # given runs/ID/adapter, the run beside it says how it was trained
        if Path(path).name == inner and (Path(path).parent / "run.json").is_file():
            return Run.open(Path(path).parent)
    if Path(path).is_dir():
        return None
    try:
        return Run.open(path, runs_dir)
    except NotFound:
        if "/" not in str(path):
            raise
        return None  # a hub id


def _base_of(folder: Path, config: dict[str, Any], run: Run | None) -> str:
    named = str(config.get("base_model_name_or_path") or "")
    if run and (run.folder / "base" / "config.json").is_file():
        return str(run.folder / "base")  # also where the run was moved
    if (Path(named).is_absolute() or named.startswith(".")) and not Path(named).is_dir():
        raise InputError(f"{folder}: its base model {named!r} is not there; say where it is: base=FOLDER")
    return named


def _load(
    source: str, revision: str | None, precision: Precision, four_bit: bool, *, lora: bool
) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
    """Weights that stay frozen under adapters are held in the precision; those that are trained whole in fp32."""
    import torch
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    options: dict[str, Any] = {"dtype": dtype if lora else torch.float32, "revision": revision or "main"}
    if four_bit:
        options["quantization_config"] = BitsAndBytesConfig(  # type: ignore[no-untyped-call]
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
            bnb_4bit_quant_storage=torch.bfloat16 if lora and precision == "bf16" else torch.uint8,
        )
        if torch.cuda.is_available():
            options["device_map"] = {"": int(os.environ.get("LOCAL_RANK", "0"))}
    try:
        tokenizer = _tokenizer(source, revision)
        model: Any = AutoModelForCausalLM.from_pretrained(source, **options)
    except (OSError, ValueError, ImportError) as error:
        raise _explained(source, error) from error
    if four_bit:
        keep_unpacked(model)
    return model, tokenizer


def keep_unpacked(model: "torch.nn.Module") -> None:
    """Keep bitsandbytes from repacking 4-bit weights on CPUs with AVX512-BF16.

    The packed layout has no backward pass and merges wrongly (bitsandbytes issue 2078): after one evaluation, every later
    gradient would be wrong. To be called right after loading, and again after merge_and_unload.
    """
    from bitsandbytes.nn.modules import Linear4bit

    for module in model.modules():
        if isinstance(module, Linear4bit):
            module.support_avx512bf16_for_cpu = False


def _tokenizer(source: str, revision: str | None) -> "PreTrainedTokenizerBase":
    from transformers import AutoTokenizer

    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(source, revision=revision or "main")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    if tokenizer.chat_template is None:
        tokenizer.chat_template = PLAIN_TEMPLATE
    return tokenizer


def _explained(source: str, error: Exception) -> InputError:
    reason = str(error).split("\n", 1)[0]
    if isinstance(error, ImportError):
        return InputError(f"model {source!r} needs a library that is missing: {reason}; pip install 'tilth[train]'")
    if Path(source).is_dir():
        return InputError(f"model {source!r} cannot be loaded as a causal language model: {reason}")
    return NotFound(
        f"no model {source!r}: not a folder here, and not to be had from the hub ({type(error).__name__}); "
        "give a hub id, a folder, or model=tiny"
    )


def identify(name: str, source: str, model: "PreTrainedModel") -> Base:
    """What a loaded model is: its hub commit, or the digest of its folder."""
    revision = getattr(model.config, "_commit_hash", None)
    folder = Path(source)
    return Base(name=name, revision=revision, digest=folder_digest(folder) if folder.is_dir() else None)


def folder_digest(folder: Path) -> str:
    """sha256 over the configuration and weights in a model's folder."""
    total = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.suffix in (".safetensors", ".bin", ".json") and path.is_file():
            with path.open("rb") as file:
                total.update(f"{path.name}\0{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return total.hexdigest()
