"""Every row of the campaign in its small size."""

from __future__ import annotations

import pytest

from tests.faults.campaign import Context, Row, run_row
from tests.faults.rows.registry import ROWS

pytestmark = [pytest.mark.faults, pytest.mark.timeout(400)]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
async def test_row(row: Row, context: Context) -> None:
    report = await run_row(row, context)
    print(report.outcome)
    assert report.passed, f"FAULTS_SEED={report.seed}: {report.outcome.failures}"
