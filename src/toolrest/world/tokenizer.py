"""The embedded policy's tokenizer: byte-level BPE over words, digits and punctuation.

A value must be the same tokens wherever it stands, or a small policy never learns to copy it. So a
capitalised word, a pair of digits and a run of punctuation are each split off before the merges;
only lower-case words carry the space before them.
"""

from collections.abc import Iterator

from transformers import PreTrainedTokenizerFast

VOCABULARY_SIZE = 1536
MARKS = ("<think>", "</think>", "<tool_call>", "</tool_call>", "<response>", "</response>")
_SPLIT = r" ?[a-z]+|[A-Z][a-z]*|[0-9]{1,2}|[^A-Za-z0-9]+?(?= [a-z])|[^A-Za-z0-9]+"
_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def train_tokenizer(texts: Iterator[str]) -> PreTrainedTokenizerFast:
    """Train the tokenizer on texts; the same texts give the same tokenizer."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY_SIZE - len(MARKS),
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_tokens([AddedToken(mark, special=False, normalized=False) for mark in MARKS])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        chat_template=_TEMPLATE,
        model_max_length=1024,
        clean_up_tokenization_spaces=False,
    )
