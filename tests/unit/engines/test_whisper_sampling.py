"""Whisper's time-stamp rules, batched, against transformers' own, which go row by row."""

from types import SimpleNamespace

import pytest
import torch
from transformers.generation.logits_process import WhisperTimeStampLogitsProcessor

from serve_app.engines.whisper_sampling import Draft, NextToken, Vocabulary

END, START, NO_STAMPS = 20, 21, 29
BEGIN = NO_STAMPS + 1
SIZE = BEGIN + 60
VOCABULARY = Vocabulary(
    size=SIZE,
    end=END,
    start=START,
    no_speech=28,
    no_timestamps=NO_STAMPS,
    previous=27,
    transcribe=26,
    translate=25,
    languages={},
    suppressed=(),
    suppressed_at_begin=(),
)
CPU = torch.device("cpu")
WRITTEN = [
    [],
    [BEGIN],
    [BEGIN, 3],
    [BEGIN, 3, 4],
    [BEGIN, 3, BEGIN + 5],
    [BEGIN, 3, BEGIN + 5, BEGIN + 5],
    [BEGIN + 2, 3, BEGIN + 5, BEGIN + 7, 9, 8],
    [BEGIN + 2, 3, BEGIN + 5, BEGIN + 7, 9, BEGIN + 30],
]


def drafts(written: list[list[int]]) -> Draft:
    draft = Draft(rows=len(written), device=CPU)
    draft.begin(torch.ones(len(written), dtype=torch.long), rows=len(written))
    for row, tokens in enumerate(written):
        for token in tokens:
            alone = torch.full((len(written),), END)
            alone[row] = token
            done = draft.done.clone()
            draft.done[:] = True
            draft.done[row] = False
            draft.add(alone, torch.zeros(len(written)), end=END, timestamp_begin=BEGIN)
            draft.done[:] = done
    # Rows that wait are filled with the end; what counts is what was added last.
    for row, tokens in enumerate(written):
        draft.latest[row] = tokens[-1] if tokens else 0
        draft.before[row] = tokens[-2] if len(tokens) > 1 else 0
    return draft


@pytest.mark.parametrize("favoured", ["text", "stamps", "nothing"])
def test_the_next_token_is_the_one_that_transformers_rules_leave(favoured):
    torch.manual_seed(3)
    logits = torch.randn(len(WRITTEN), SIZE)
    logits[:, BEGIN:] += {"text": -9.0, "stamps": 9.0, "nothing": 0.0}[favoured]
    rules = WhisperTimeStampLogitsProcessor(
        SimpleNamespace(
            no_timestamps_token_id=NO_STAMPS,
            eos_token_id=END,
            bos_token_id=END,
            max_initial_timestamp_index=50,
            _detect_timestamp_from_logprob=True,
        ),
        begin_index=1,
    )
    expected = []
    for row, tokens in enumerate(WRITTEN):
        ids = torch.tensor([[START, *tokens]])
        expected.append(int(rules(ids, logits[row : row + 1].clone()).argmax()))
    draft = drafts(WRITTEN)
    NextToken(VOCABULARY, device=CPU).choose(logits, draft)
    assert draft.latest.tolist() == expected


def test_a_row_that_has_ended_stays_as_it_is():
    draft = Draft(rows=2, device=CPU)
    draft.begin(torch.tensor([1, 1]), rows=2)
    next_token = NextToken(VOCABULARY, device=CPU)
    wishes = torch.full((2, SIZE), -5.0)
    wishes[:, BEGIN] = 5
    next_token.choose(wishes, draft)
    wishes[0, END], wishes[1, 7] = 50, 50
    next_token.choose(wishes, draft)
    assert draft.done.tolist() == [True, False]
    logprob = draft.logprob.clone()
    next_token.choose(wishes, draft)
    assert draft.written.tolist() == [1, 3]
    assert draft.tokens[1, :3].tolist() == [BEGIN, 7, 7]
    assert draft.logprob[0] == logprob[0]


def test_suppressed_tokens_never_come():
    from dataclasses import replace

    vocabulary = replace(VOCABULARY, suppressed=(7,), suppressed_at_begin=(BEGIN,))
    draft = Draft(rows=1, device=CPU)
    draft.begin(torch.tensor([1]), rows=1)
    next_token = NextToken(vocabulary, device=CPU)
    wishes = torch.full((1, SIZE), -9.0)
    wishes[0, BEGIN], wishes[0, BEGIN + 1] = 9, 8
    next_token.choose(wishes, draft)
    wishes = torch.full((1, SIZE), -9.0)
    wishes[0, 7], wishes[0, 8] = 9, 8
    next_token.choose(wishes, draft)
    assert draft.tokens[0, :2].tolist() == [BEGIN + 1, 8]
