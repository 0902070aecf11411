"""A consumer process that the tests kill: `python -m tests.integration.queue.victim URL PREFIX FILE`.

Appends a line to FILE for each job it is given and for each turn it completes. A job called `killer` kills
the process; one called `endless` never ends.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from models.jobs import Claim, DeadLetter
from serve_app.queue.connection import connect
from serve_app.queue.consumer import Consumer, Outcome
from serve_app.queue.service import QueueService
from serve_app.settings import QueueSettings

LEASE_S = 0.5


class Victim:
    def __init__(self, file: Path) -> None:
        self._file = file

    def note(self, line: str) -> None:
        with self._file.open("a") as file:
            file.write(line + "\n")

    async def handle(self, claim: Claim) -> None:
        for job in claim.jobs:
            self.note(f"given {job.id}")
            if job.id == "killer":
                os.kill(os.getpid(), signal.SIGKILL)
            if job.id == "endless":
                await asyncio.sleep(3600)

    async def on_dead(self, letters: Sequence[DeadLetter]) -> None:
        for letter in letters:
            self.note(f"dead {letter.job.id} {letter.reason}")

    def settled(self, claim: Claim, outcome: Outcome, seconds: float) -> None:
        for job in claim.jobs:
            self.note(f"{outcome} {job.id}")


async def main(url: str, prefix: str, file: str) -> None:
    settings = QueueSettings(prefix=prefix, lease_s=LEASE_S)
    redis = connect(url, settings)
    victim = Victim(Path(file))
    consumer = Consumer(
        queue=QueueService(redis=redis, name="inbound", settings=settings),
        handler=victim,
        consumer_id=f"victim-{os.getpid()}",
        concurrency=4,
        lease_s=LEASE_S,
        turn_timeout_s=30,
        block_s=0.2,
        scan_interval_s=0.1,
        promote_interval_s=0.05,
        drain_s=5,
        on_settled=victim.settled,
    )
    loop = asyncio.get_running_loop()
    draining: list[asyncio.Task[None]] = []
    loop.add_signal_handler(
        signal.SIGTERM, lambda: draining.append(asyncio.create_task(consumer.drain()))
    )
    await consumer.run()
    await asyncio.gather(*draining)
    await redis.aclose()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
