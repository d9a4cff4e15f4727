"""Models of the `transformers` library: what one name stands for, loaded, with everything that can go wrong in one line."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from curation.errors import InputError, NotFound, ProviderError, TilthError

WEIGHTS = (".safetensors", ".bin")


def library(needed_by: str = "provider=transformers", extra: str = "train") -> Any:
    """The `transformers` library, told to be quiet.

    Raises:
        InputError: it is not installed.
    """
    if find_spec("torch") is None or find_spec("transformers") is None:
        raise InputError(f"{needed_by} needs its libraries: pip install 'tilth[{extra}]'")
    found = import_module("transformers")
    found.logging.set_verbosity_error()
    found.logging.disable_progress_bar()
    return found


class LocalModel:
    """A model that can chat: its tokenizer, and its weights once they are loaded.

    Args:
        name: a folder or a hub id.

    Raises:
        InputError: no such model, or one that cannot chat.
        ProviderError: the hub does not answer.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._library = library()
        must_be_a_model(name)
        with clear_errors(name):
            config = self._library.AutoConfig.from_pretrained(name)
            is_visual = type(config) in self._library.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING
            self.sees = is_visual and hasattr(config, "vision_config")
            self.processor = self._library.AutoProcessor.from_pretrained(name) if self.sees else None
            own = getattr(self.processor, "tokenizer", None)
            self.tokenizer = own or self._library.AutoTokenizer.from_pretrained(name)
        self.template = getattr(self.processor, "chat_template", None) or self.tokenizer.chat_template
        if self.template is None:
            raise InputError(
                f"model={name}: its tokenizer has no chat template; take one that was made to follow instructions"
            )
        if self.tokenizer.pad_token_id is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token
        self.tokenizer.padding_side = "left"
        added = self.tokenizer.added_tokens_decoder.values()
        self.marks = sorted({token.content for token in added if token.special and len(token.content) > 1})
        self.context = _context(config, self.tokenizer)
        self.identity = identity(name, config)
        self.weights: Any = None

    @property
    def on_gpu(self) -> bool:
        return bool(self._library.utils.is_torch_cuda_available() or self._library.utils.is_torch_mps_available())

    def load(self) -> None:
        """Bring the weights into memory, on the GPU if there is one.

        Raises:
            ProviderError: they do not fit.
        """
        auto = self._library.AutoModelForImageTextToText if self.sees else self._library.AutoModelForCausalLM
        cuda = self._library.utils.is_torch_cuda_available()
        spread = {"device_map": "auto"} if cuda and self._library.utils.is_accelerate_available() else {}
        with clear_errors(self.name):
            weights = auto.from_pretrained(self.name, dtype="auto", **spread)
            if self.on_gpu and not spread:
                weights = weights.to("cuda" if cuda else "mps")
        self.weights = weights.eval()

    def ends(self) -> list[int]:
        """The tokens that end an answer."""
        stated = self.weights.generation_config.eos_token_id
        listed = stated if isinstance(stated, list) else [stated]
        return sorted({end for end in (*listed, self.tokenizer.eos_token_id) if end is not None})


def is_out_of_memory(error: Exception) -> bool:
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"  # torch's, which is not imported here
        or (isinstance(error, RuntimeError) and "can't allocate memory" in str(error))
    )


def first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def must_be_a_model(name: str, key: str = "model") -> None:
    folder = Path(name)
    if folder.is_dir():
        if (folder / "config.json").is_file():
            return
        if (folder / "adapter_config.json").is_file():
            raise InputError(
                f"{key}={name}: holds an adapter without its base model; merge the two, or serve them and use provider=openai"
            )
        raise InputError(f"{key}={name}: not a model's folder, as there is no config.json in it")
    if folder.exists() or name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise NotFound(f"{key}={name}: no such folder")


def _context(config: Any, tokenizer: Any) -> int:
    """Tokens that the prompt and its answer may have together."""
    config = config.get_text_config()
    stated = getattr(config, "max_position_embeddings", None) or getattr(config, "n_positions", None)
    return int(min(stated or 1 << 30, tokenizer.model_max_length))


def identity(name: str, config: Any) -> str | None:
    """What tells the weights under one name apart: the hub's commit, or the state of the folder's files."""
    folder = Path(name)
    if not folder.is_dir():
        return getattr(config, "_commit_hash", None)
    digest = hashlib.blake2b(digest_size=8)
    for path in sorted(folder.iterdir()):
        if path.suffix in WEIGHTS:
            state = path.stat()
            digest.update(f"{path.name}\0{state.st_size}\0{state.st_mtime_ns}\0".encode())
        elif path.suffix in (".json", ".jinja") and path.is_file():
            digest.update(f"{path.name}\0".encode() + path.read_bytes())
    return digest.hexdigest()


@contextmanager
def clear_errors(name: str, key: str = "model") -> Iterator[None]:
    """Tells what the library and the hub raise while a model is loaded in one line of ours."""
    try:
        yield
    except TilthError:
        raise
    except Exception as error:
        raise _told(name, error, key) from error


def _told(name: str, error: Exception, key: str) -> TilthError:
    causes: list[BaseException] = [error]
    while (cause := causes[-1].__cause__ or causes[-1].__context__) is not None and cause not in causes:
        causes.append(cause)
    names = {type(cause).__name__ for cause in causes}
    if "GatedRepoError" in names:
        return ProviderError(
            f"{key}={name}: its owner wants you to agree to a licence first; do so on the hub, then set HF_TOKEN"
        )
    if "RepositoryNotFoundError" in names:
        return NotFound(
            f"{key}={name}: no such model on the hub, or it is private (set HF_TOKEN), and no such folder here"
        )
    if "HFValidationError" in names:
        return NotFound(f"{key}={name}: neither a folder nor a hub id such as Qwen/Qwen3-4B")
    if names & {"LocalEntryNotFoundError", "OfflineModeIsEnabled", "ConnectError", "ConnectionError", "ConnectTimeout"}:
        return ProviderError(
            f"{key}={name}: no such folder, and the hub does not answer; check the network (and HF_HUB_OFFLINE), or name a folder"
        )
    if is_out_of_memory(error):
        return ProviderError(f"{key}={name}: does not fit in memory; take a smaller or a quantised one")
    return InputError(f"{key}={name}: cannot be loaded: {first_line(error)}")
