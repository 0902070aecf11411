"""What an operator does goes on record before it happens, and what came of it after."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog

from models.console import Operator, OperatorAction
from models.errors import RecadoError
from serve_app.ports import OperatorRepository

log = structlog.get_logger(__name__)

BEGUN = "begun"
"""Of a deed of which nothing more is known: its process died, or the store went away."""
_SUBJECT_CHARS = 200
_DETAIL_CHARS = 2_000


@dataclass
class Deed:
    """`outcome` may be told of parts of it as they are done."""

    outcome: str = ""


@asynccontextmanager
async def on_record(
    operators: OperatorRepository, operator: Operator, action: str, subject: str, detail: str = ""
) -> AsyncGenerator[Deed]:
    """Around a deed. Raises `StoreUnavailableError` before it where it can't be written down: then
    nothing may be done. What the deed raises is its outcome."""
    who = {"operator": operator.name, "action": action, "subject": subject[:_SUBJECT_CHARS]}
    log.info("console_action", **who)
    seq = await operators.begin_action(
        OperatorAction(
            operator=operator.name,
            role=operator.role,
            action=action,
            subject=subject[:_SUBJECT_CHARS],
            detail=detail[:_DETAIL_CHARS],
            outcome=BEGUN,
        )
    )
    deed = Deed()
    try:
        yield deed
        deed.outcome = deed.outcome or "done"
    except BaseException as error:
        why = str(error) or type(error).__name__
        deed.outcome = f"{deed.outcome}, then: {why}" if deed.outcome else f"not done: {why}"
        raise
    finally:
        log.info("console_action_ended", **who, outcome=deed.outcome)
        try:
            await operators.end_action(seq, deed.outcome[:_DETAIL_CHARS])
        except RecadoError as error:
            log.warning("console_action_outcome_lost", **who, error=str(error))
