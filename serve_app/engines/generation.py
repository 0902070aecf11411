"""A chat model of transformers: prompts to tokens, batches through `generate`. Blocking."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from models.errors import InferenceError
from models.inference import ChatMessage, ChatRequest
from serve_app.engines.prompts import as_openai_message, as_openai_tool, fit_messages
from serve_app.engines.tool_calls import ParsedReply, parse_reply, read_arguments

if TYPE_CHECKING:
    # It imports numpy, which a replica needs and the process that deploys it doesn't.
    from serve_app.engines.prefix_cache import PrefixCache

_TRIED_TOKENS = 64
UNKNOWN_CONTEXT = 32_768
"""Tokens of prompt and completion where a model's configuration doesn't say."""


@dataclass(eq=False, slots=True)
class ChatRow:
    """A tokenised prompt. Setting `abandoned` ends its part in a running batch."""

    tokens: tuple[int, ...]
    max_tokens: int
    temperature: float
    top_p: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    abandoned: bool = field(default=False)


@dataclass(frozen=True, slots=True)
class Completion:
    """Generated tokens without the one that ended them; `ended` is False if the limit cut them off. A stop
    text ends them too, and is still in them."""

    tokens: tuple[int, ...]
    ended: bool


class ChatGenerator:
    """A tokenizer and a causal language model, loaded."""

    def __init__(self, *, tokenizer: Any, model: Any, prefixes: PrefixCache | None = None) -> None:
        """`prefixes` takes the beginnings of prompts for batches to come."""
        self._tokenizer = tokenizer
        self._model = model
        self._prefixes = prefixes
        config = model.config.get_text_config()
        self._context = int(getattr(config, "max_position_embeddings", None) or UNKNOWN_CONTEXT)
        ends = model.generation_config.eos_token_id
        if ends is None:
            ends = tokenizer.eos_token_id
        self._ends: tuple[int, ...] = tuple(ends) if isinstance(ends, list) else (ends,)
        pad = tokenizer.pad_token_id
        self._pad: int = self._ends[0] if pad is None else pad
        self._specials = [
            token.content for token in tokenizer.added_tokens_decoder.values() if token.special
        ]
        self._template = response_template(tokenizer, model)

    @property
    def model(self) -> Any:
        return self._model

    @property
    def tokenizer(self) -> Any:
        return self._tokenizer

    @property
    def ends(self) -> tuple[int, ...]:
        """Tokens that end a reply."""
        return self._ends

    @property
    def parameters(self) -> int:
        return int(self._model.num_parameters())

    def row(self, request: ChatRequest, *, max_tokens: int) -> ChatRow:
        """Apply the model's own chat template within the token budget.

        Raises `InferenceError` if the template refuses the messages, or if the latest user message and
        what must stay with it don't fit the model.
        """
        room = self._context - max_tokens
        budget = min(request.max_prompt_tokens or room, room)

        def count(messages: Sequence[ChatMessage]) -> int:
            return len(self._tokens(messages, request))

        tokens = self._tokens(fit_messages(request.messages, budget=budget, count=count), request)
        if len(tokens) > room:
            raise InferenceError(
                f"the latest message is too long: {len(tokens)} tokens of prompt and {max_tokens} of "
                f"reply don't fit the model's {self._context}"
            )
        return ChatRow(
            tokens=tokens,
            max_tokens=max_tokens,
            temperature=request.temperature,
            top_p=request.top_p,
            seed=request.seed,
            stop=request.stop,
        )

    def generate(self, rows: Sequence[ChatRow]) -> list[Completion]:
        """One left-padded batch."""
        import torch
        from transformers import LogitsProcessorList, StoppingCriteriaList

        from serve_app.engines.chat_sampling import RowLimits, RowSampler

        prefixes = self._prefixes
        reused = prefixes.reuse([row.tokens for row in rows]) if prefixes else None
        counts = reused.counts if reused else (0,) * len(rows)
        known = max(counts)
        width = known + max(
            len(row.tokens) - count for row, count in zip(rows, counts, strict=True)
        )
        ids = torch.full((len(rows), width), self._pad, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for index, (row, count) in enumerate(zip(rows, counts, strict=True)):
            # What is known ends where the cache does, the rest where the batch does.
            rest = width - (len(row.tokens) - count)
            places = [*range(known - count, known), *range(rest, width)]
            ids[index, places] = torch.tensor(row.tokens)
            mask[index, places] = 1
        device = self._model.device
        limits = RowLimits(rows, prompt=width, decode=self._text)
        config = self._greedy(max(row.max_tokens for row in rows))
        config.return_dict_in_generate = True
        with torch.inference_mode():
            output = self._model.generate(
                input_ids=ids.to(device),
                attention_mask=mask.to(device),
                generation_config=config,
                logits_processor=LogitsProcessorList(
                    [RowSampler(rows, top_k=self._model.generation_config.top_k)]
                ),
                stopping_criteria=StoppingCriteriaList([limits]),
                **({"past_key_values": reused.cache} if reused else {}),
            )
            written = output.sequences[:, width:].tolist()
            completions = [
                self.completion(row, generated[: limits.stopped.get(index)])
                for index, (row, generated) in enumerate(zip(rows, written, strict=True))
            ]
            if prefixes is not None:
                self._keep(prefixes, rows, completions, mask, output.past_key_values)
        return completions

    def try_prefixes(self) -> None:
        """Raises `InferenceError` if the model writes something else after beginnings that are reused, and
        reuses none any more: not every model counts positions as most do."""
        prefixes = self._prefixes
        if prefixes is None:
            return
        vocabulary = int(self._model.config.get_text_config().vocab_size)
        chance = Random(1)  # noqa: S311 - a trial
        long = tuple(chance.randrange(vocabulary) for _ in range(_TRIED_TOKENS))
        rows = [
            ChatRow(tokens=tokens, max_tokens=6, temperature=0.0)
            for tokens in (long, long[: _TRIED_TOKENS // 2])
        ]
        try:
            fresh = [self.generate([row])[0] for row in reversed(rows)][::-1]
            again = self.generate(rows)
        except (
            ArithmeticError,
            AttributeError,
            LookupError,
            RuntimeError,
            TypeError,
            ValueError,
        ) as error:
            self._prefixes = None
            raise InferenceError(f"beginnings of prompts can't be reused: {error}") from error
        prefixes.clear()
        if fresh != again:
            self._prefixes = None
            raise InferenceError(
                "beginnings of prompts that are reused change what the model writes"
            )

    def _keep(
        self,
        prefixes: PrefixCache,
        rows: Sequence[ChatRow],
        completions: Sequence[Completion],
        mask: Any,
        cache: Any,
    ) -> None:
        if cache is None:
            self._prefixes = None
            return
        width, computed = mask.shape[1], cache.get_seq_length()
        sequences: list[tuple[tuple[int, ...], list[int]]] = []
        for row, completion, marks in zip(rows, completions, mask, strict=True):
            places = marks.nonzero().flatten().tolist()
            # The last token of the longest reply was never read.
            reply = completion.tokens[: computed - width]
            places += range(width, width + len(reply))
            sequences.append(((*row.tokens, *reply), places))
        if not prefixes.keep(sequences, cache):
            self._prefixes = None

    def parse(self, row: ChatRow, completion: Completion, request: ChatRequest) -> ParsedReply:
        """As transformers knows the model's family to write, or by our own reader, which forgives more."""
        from serve_app.engines.chat_sampling import stop_at

        text = self._text(completion.tokens)
        text = text[: stop_at(text, row.stop)]
        parsed = self._parse_by_template(row, text, request)
        if parsed is None or (parsed.unreadable and not parsed.calls):
            tools = {tool.name for tool in request.tools}
            parsed = parse_reply(text, tools=tools)
        content = parsed.content
        for special in self._specials:
            content = content.replace(special, "")
        return ParsedReply(content.strip(), parsed.calls, parsed.unreadable)

    def _tokens(self, messages: Sequence[ChatMessage], request: ChatRequest) -> tuple[int, ...]:
        import jinja2

        try:
            tokens = self._tokenizer.apply_chat_template(
                [as_openai_message(message, arguments="object") for message in messages],
                tools=[as_openai_tool(tool) for tool in request.tools] or None,
                add_generation_prompt=True,
                return_dict=False,
            )
        except (jinja2.TemplateError, ValueError, TypeError) as error:
            raise InferenceError(f"the model's chat template refuses: {error}") from error
        return tuple(tokens)

    def continuous_config(self, *, sampling: bool) -> Any:
        """For transformers' continuous batching, where requests override temperature and top_p. Processors
        are made only for values that change something."""
        config = self._greedy(256)
        if sampling:
            config.do_sample = True
            config.temperature, config.top_p = 0.5, 0.5
        return config

    def completion(self, row: ChatRow, generated: Sequence[int]) -> Completion:
        for index, token in enumerate(generated[: row.max_tokens]):
            if token in self._ends:
                return Completion(tokens=tuple(generated[:index]), ended=True)
        tokens = tuple(generated[: row.max_tokens])
        return Completion(tokens=tokens, ended=self.stopped(row, tokens))

    def stopped(self, row: ChatRow, tokens: Sequence[int]) -> bool:
        """Whether one of the row's stop texts was written."""
        from serve_app.engines.chat_sampling import stop_at

        return bool(row.stop) and stop_at(self._text(tokens), row.stop) is not None

    def _text(self, tokens: Sequence[int]) -> str:
        return self._tokenizer.decode(list(tokens), skip_special_tokens=False)

    def _greedy(self, max_tokens: int) -> Any:
        """The model's own configuration (repetition penalties, say) without its sampling."""
        config = copy.deepcopy(self._model.generation_config)
        config.max_length = None
        config.max_new_tokens = max_tokens
        config.pad_token_id = self._pad
        config.eos_token_id = list(self._ends)
        config.do_sample = False
        config.temperature = config.top_p = config.top_k = None
        return config

    def _parse_by_template(
        self, row: ChatRow, text: str, request: ChatRequest
    ) -> ParsedReply | None:
        if self._template is None:
            return None
        try:
            message = self._tokenizer.parse_response(
                text,
                self._template,
                prefix=self._tokenizer.decode(list(row.tokens)),
                tools=[as_openai_tool(tool) for tool in request.tools] or None,
            )
        except (ValueError, KeyError, TypeError):
            return None
        calls: list[tuple[str, dict[str, object]]] = []
        unreadable = 0
        for call in message.get("tool_calls") or ():
            function = call.get("function", call)
            arguments = read_arguments(function.get("arguments") or {})
            if arguments is None or not function.get("name"):
                unreadable += 1
            else:
                calls.append((str(function["name"]), arguments))
        return ParsedReply(str(message.get("content") or ""), tuple(calls), unreadable)


def response_template(tokenizer: Any, model: Any) -> dict[str, Any] | None:
    """How to read the model's replies: declared by its tokenizer, or known to transformers by type."""
    declared = getattr(tokenizer, "response_template", None)
    if declared is not None:
        return declared
    try:
        from transformers.cli.serving.utils import get_response_template
    except ImportError:
        return None
    return get_response_template(tokenizer, model)


def load_chat_model(
    source: Path | str, *, device: str, dtype: str = "auto", prefix_bytes: int = 0
) -> ChatGenerator:
    """Blocking; asks the hub only for a name that isn't cached. `dtype` auto is float32 on CPU; beginnings of
    prompts take up to `prefix_bytes`.

    Raises `InferenceError` with what to do.
    """
    import torch
    import transformers

    from serve_app.engines.prefix_cache import PrefixCache

    transformers.utils.logging.disable_progress_bar()
    if dtype == "auto" and device == "cpu":
        dtype = "float32"
    if dtype != "auto" and not isinstance(getattr(torch, dtype, None), torch.dtype):
        raise InferenceError(f"`chat.dtype` {dtype!r} is none of torch's, such as bfloat16")
    prefixes = PrefixCache(max_bytes=prefix_bytes) if prefix_bytes else None
    only_local = (True,) if isinstance(source, Path) else (True, False)
    for local_files_only in only_local:
        try:
            tokenizer, model = _load(source, dtype=dtype, local_files_only=local_files_only)
            model = model.to(device).eval()
            return ChatGenerator(tokenizer=tokenizer, model=model, prefixes=prefixes)
        except (OSError, ValueError, RuntimeError) as error:
            if local_files_only is only_local[-1]:
                reason = str(error).strip().partition("\n")[0]
                raise InferenceError(
                    f"the chat model {str(source)!r} doesn't load ({reason}): check `chat.model`, or "
                    "download it and set that to its folder"
                ) from error
    raise InferenceError(f"the chat model {str(source)!r} doesn't load")


def _load(source: Path | str, *, dtype: str, local_files_only: bool) -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(source), local_files_only=local_files_only)
    if tokenizer.chat_template is None:
        raise ValueError("it has no chat template, so it isn't a chat model")
    model: Any = AutoModelForCausalLM.from_pretrained(
        str(source), dtype=dtype, local_files_only=local_files_only
    )
    return tokenizer, model
