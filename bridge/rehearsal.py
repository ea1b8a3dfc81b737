"""What would come of dead letters if they were replayed now, as far as that can be known without writing.

Receipts, the ledger, the installed schemas and the topics' limits are asked, as by a replay. What comes live between now and the
replay nobody can know: a newer state, or the frame itself, may be published by then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from bridge import grounds, topics
from bridge.errors import BadFrame, BridgeError
from bridge.receipt import Outcome
from bridge.refusal import room
from bridge.route import MAX_VALUE, Ways

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from bridge.catalog import Catalog
    from bridge.config import Config
    from bridge.mortuary import Mortuary
    from bridge.witness import Laid

#: Foretold where a replay would say `Outcome.PUBLISHED`.
WOULD: Final = "would be published"


class Foretold(NamedTuple):
    """outcome: `WOULD`, or what a replay would say. why: the topics, or what makes it a dead letter still; else empty."""

    letter: Laid
    outcome: str
    why: str


def rehearse(
    mortuary: Mortuary, gateway: str, wanted: Mapping[int, Iterable[int]], ways: Ways, *, older: bool = False
) -> list[Foretold]:
    """What would come of the letters at these places, partition → offsets, in the order of a replay. older: see `Witness.judge`.

    Blocking; raises what Kafka's refusal means.
    """
    letters = mortuary.letters(gateway, wanted)
    witness = mortuary.witness(letters, mortuary.receipts(), ways, older=older)
    found = []
    for letter in letters:
        verdict = witness.verdicts.get(letter.place)
        outcome, why = (verdict, "") if verdict is not None else alone(letter, ways)
        if outcome == WOULD and (known := witness.next(letter.place)) is not None:
            outcome, why = known, ""
        found.append(Foretold(letter, outcome, why))
    return found


def alone(letter: Laid, ways: Ways) -> tuple[str, str]:
    """(outcome, why) as far as the frame alone tells."""
    try:
        sighting = ways.sight(letter.frame())
    except BadFrame as bad:
        return Outcome.DEAD, f"{bad.reason} {bad.path or ''}".rstrip()
    goes = [] if sighting is None else [topic for topic, _ in sighting.way.topics]
    return (WOULD, ", ".join(goes)) if goes else (Outcome.DEAD, "not published")


def ways_of(config: Config, catalog: Catalog, gateway: str) -> Ways:
    """What reads the frames of a gateway, by the schemas that are installed. Blocking: asks what the topics take.

    Where that can't be seen, since Kafka is away or refuses it, records may be as large as a topic is made for.
    """
    plan = topics.plan(config, catalog)
    ours = [each for each in plan if each.gateway == gateway]
    try:
        told = grounds.limits(config, [each.name for each in ours])
    except BridgeError:
        told = {}
    limits = {name: room(limit) for name, limit in told.items()}
    route = next(each for each in grounds.routes(config, catalog, plan, {}) if each.gateway == gateway)
    return Ways(route, seq_scope=config.dedupe.seq_scope, max_value=MAX_VALUE, limits=limits)
