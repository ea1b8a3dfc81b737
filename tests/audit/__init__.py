"""Judges what a bridge has published: against the frames sent, with nothing of the bridge's own code.

`exact` compares JSON and Avro values, `contract` says what the design demands of a frame's record, `published` reads
topics and schemas, `audit` puts them together and tells each fault. What must have been published at all is the
simulators' oracle, `bridge.sim.expected`, which knows nothing of the bridge either.
"""

from __future__ import annotations

from tests.audit.audit import Audit, Fault, ledger_faults, stray_faults
from tests.audit.contract import CONTRACTS, Contract
from tests.audit.published import Published, Schemas, collect

__all__ = [
    "CONTRACTS",
    "Audit",
    "Contract",
    "Fault",
    "Published",
    "Schemas",
    "collect",
    "ledger_faults",
    "stray_faults",
]
