"""What the check found: rows of a table, and the same as JSON."""

from __future__ import annotations

import platform
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Finding:
    """`ok` None is a measurement without a bound."""

    part: str
    what: str
    value: str
    ok: bool | None = None
    figures: dict[str, float] = field(default_factory=dict[str, float])


@dataclass(slots=True)
class Report:
    machine: dict[str, str]
    findings: list[Finding] = field(default_factory=list[Finding])

    def add(
        self,
        part: str,
        what: str,
        value: str,
        ok: bool | None = None,
        **figures: float,
    ) -> None:
        self.findings.append(Finding(part, what, value, ok, figures))

    @property
    def failed(self) -> bool:
        return any(finding.ok is False for finding in self.findings)

    def table(self) -> str:
        rows = [("", "part", "what", "result")]
        marks = {True: "ok", False: "FAILED", None: ""}
        rows += [(marks[each.ok], each.part, each.what, each.value) for each in self.findings]
        widths = [max(len(row[column]) for row in rows) for column in range(3)]
        lines = [
            "  ".join(
                [*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3]]
            )
            for row in rows
        ]
        machine = ", ".join(f"{name} {value}" for name, value in self.machine.items())
        return "\n".join([machine, "", *lines])

    def as_json(self) -> dict[str, Any]:
        return {
            "machine": self.machine,
            "ok": not self.failed,
            "findings": [asdict(finding) for finding in self.findings],
        }


def describe_machine(device: str) -> dict[str, str]:
    import torch
    import transformers

    name = platform.processor() or platform.machine()
    if device.startswith("cuda"):
        name = f"{torch.cuda.get_device_name(device)} (CUDA {torch.version.cuda})"
    return {
        "device": name,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
