"""`model=tiny`: a random small causal language model with a tokenizer trained on the version. A smoke path: it shows that
everything runs and that something is learnt, and says nothing about how well a real model would do."""

from typing import TYPE_CHECKING

from train.data import Version, chat, rows

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

VOCABULARY = 1_500
ROWS = 5_000  # that the tokenizer is trained on, at most
START, END, PAD = "<|im_start|>", "<|im_end|>", "<|pad|>"
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{% if message.role == 'assistant' %}{% generation %}{{ message.content }}<|im_end|>{% endgeneration %}"
    "{% else %}{{ message.content }}<|im_end|>{% endif %}\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def tiny_model(version: Version, seed: int) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
    """A Llama of 2 layers, width 64, fp32, and a byte-level BPE tokenizer of at most 1,500 tokens; the same for a seed."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = tiny_tokenizer(version)
    config = LlamaConfig(
        vocab_size=-(-len(tokenizer) // 64) * 64,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=4096,
        initializer_range=0.05,  # at the usual 0.02 the logits of a random head are too flat for adapters to move
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
    return model, tokenizer


def tiny_tokenizer(version: Version) -> "PreTrainedTokenizerBase":
    """A byte-level BPE tokenizer (Sennrich et al. 2016, arXiv:1508.07909) trained on the version's train split."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    train = rows(version, "train")
    texts = [turn["content"] for row in train.select(range(min(ROWS, len(train)))) for turn in chat(row)]
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[PAD, START, END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    inner.train_from_iterator(texts, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, pad_token=PAD, eos_token=END)  # type: ignore[no-untyped-call]
    tokenizer.chat_template = TEMPLATE
    return tokenizer
