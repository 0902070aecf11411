"""A Whisper of random weights that knows three languages, and a tokenizer of words for it."""

import torch
from transformers import GenerationConfig, WhisperConfig, WhisperForConditionalGeneration

WORDS = ["[unk]", "hello", "hola", "olá", "a", "table", "for", "two", "please", "thanks"]
SPECIALS = [
    "<|endoftext|>",
    "<|startoftranscript|>",
    "<|en|>",
    "<|es|>",
    "<|pt|>",
    "<|translate|>",
    "<|transcribe|>",
    "<|startoflm|>",
    "<|startofprev|>",
    "<|nospeech|>",
    "<|notimestamps|>",
]
ID = {token: number for number, token in enumerate([*WORDS, *SPECIALS])}
STAMPS = 1501


class WordTokenizer:
    def get_vocab(self) -> dict[str, int]:
        return ID

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]:
        return [ID.get(word.strip(","), 0) for word in text.split()]

    def decode(self, tokens, **options) -> str:
        names = {number: token for token, number in ID.items()}
        return "".join(f" {names[token]}" for token in tokens)


def build(*, seed: int = 0, width: int = 32) -> WhisperForConditionalGeneration:
    torch.manual_seed(seed)
    end = ID["<|endoftext|>"]
    config = WhisperConfig(
        vocab_size=len(ID) + STAMPS,
        d_model=width,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=2 * width,
        decoder_ffn_dim=2 * width,
        num_mel_bins=80,
        # Larger than trained weights, so that rows differ.
        init_std=0.3,
        pad_token_id=end,
        bos_token_id=end,
        eos_token_id=end,
        decoder_start_token_id=ID["<|startoftranscript|>"],
        suppress_tokens=None,
        begin_suppress_tokens=None,
    )
    model = WhisperForConditionalGeneration(config).eval()
    model.generation_config = GenerationConfig(
        lang_to_id={f"<|{code}|>": ID[f"<|{code}|>"] for code in ("en", "es", "pt")},
        is_multilingual=True,
        suppress_tokens=[ID["<|en|>"], ID["<|es|>"], ID["<|pt|>"], 0],
        begin_suppress_tokens=[end],
    )
    return model
