"""The row in which the provider refuses, fails and falls silent."""

from __future__ import annotations

from tests.faults.campaign import Context, Outcome, Row
from tests.faults.scoring import TOKEN

TROUBLE = {
    "rate_429": 0.30,
    "error_before": 0.20,
    "error_after": 0.05,
    "timeout_after": 0.05,
    "hold_s": 4.0,
}


async def troubled(context: Context) -> Outcome:
    messages, blind = context.size(small=(160, 40), full=(10_000, 500))
    over_s = context.size(small=3.0, full=100.0)
    async with context.stage(
        workers=2,
        twilio={"request_timeout_s": 1.5},
        sender={"concurrency": 64},
        conversation={"debounce_s": 0.0},
    ) as stage:
        await stage.simulate(**TROUBLE, seed=context.seed)
        await stage.traffic.talk(messages=messages, conversations=messages // 2, over_s=over_s)
        settled = await stage.settle(seconds=context.size(small=60, full=600))
        seen = await stage.stats()
        struck = {name: seen.get(name, 0) for name in TROUBLE if name != "hold_s"}
        score = stage.score()
        outcome = Outcome(
            f"{messages} sends at 30 % 429, 20 % 500 before, 5 % 500 after, 5 % silence after acceptance",
            score,
            {"struck": struck},
        )
        outcome.must(settled, "work was left over")
        outcome.must(all(struck.values()), "some trouble never struck")
    outcome.figures |= await _in_the_dark(context, blind, outcome)
    return outcome


async def _in_the_dark(context: Context, messages: int, outcome: Outcome) -> dict[str, object]:
    """Neither delivery reports nor the provider's list tell what became of a doubtful send."""
    async with context.stage(
        "dark",
        workers=2,
        twilio={"request_timeout_s": 1.5},
        sender={"concurrency": 64, "max_attempts": 4, "resolve_after_s": 0.3},
        queue={"backoff_cap_s": 0.2},
        conversation={"debounce_s": 0.0},
    ) as stage:
        await stage.simulate(
            error_before=0.2,
            error_after=0.1,
            timeout_after=0.1,
            hold_s=4.0,
            lost_callbacks=1.0,
            list_unavailable=True,
            seed=context.seed,
        )
        await stage.traffic.talk(messages=messages, conversations=messages, over_s=2.0)
        # What was never accepted has no answer; what was accepted in doubt has one: both are parked.
        await stage.is_idle(seconds=60)
        await stage.traffic.look()
        seen = await stage.stats()
        doubtful = sum(seen.get(n, 0) for n in ("error_before", "error_after", "timeout_after"))
        rows = await stage.query("SELECT body, status FROM replies")
        by_status: dict[str, int] = {}
        for row in rows:
            by_status[row["status"]] = by_status.get(row["status"], 0) + 1
        parked = {
            token
            for row in rows
            if row["status"] == "parked"
            for token in TOKEN.findall(row["body"])
        }
        score = stage.score()
        lost = [token for token in score.lost if token not in parked]
        outcome.must(doubtful > 0, "in the dark: nothing was doubtful")
        outcome.must(not score.duplicates, f"in the dark: {len(score.duplicates)} duplicates")
        outcome.must(not lost, f"in the dark: {len(lost)} neither sent nor parked")
        outcome.must(
            by_status.get("parked", 0) == doubtful,
            f"in the dark: {doubtful} doubtful sends, but replies are {by_status}",
        )
        return {"in the dark": f"{doubtful} doubtful of {messages}, parked {len(parked)}"}


ROWS = (
    Row(
        "provider-trouble",
        "429, 500 before and after acceptance, silence; then without reports and list",
        "0 duplicates; without reports and list every doubtful send is parked",
        troubled,
    ),
)
