"""Is all well? In one sentence, made of the status alone; and what else there is to say, the worst first. Pure.

The words stay the same while the state does: they are read aloud whenever they change.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

GOOD: Final = "good"
#: Not yet good, and nobody is to blame.
WAIT: Final = "wait"
WARNING: Final = "warning"
BAD: Final = "bad"
_ORDER: Final = (BAD, WARNING, WAIT, GOOD)

#: An active lane commits at least every half second; much later (ms), something is wrong.
SILENT: Final = 5000
#: What happened is told for so long (ms).
LATELY: Final = 15 * 60_000
#: What is lost for ever is told longer.
LOST_FOR: Final = 60 * 60_000
#: A process that has just started is given so long (ms).
PATIENCE: Final = 15_000
#: Part of the journal from which on it is filling.
FILLING: Final = 0.5
#: The goal for 99 of 100 frames, socket to commit (s).
LATE: Final = 0.5
#: A process younger than this (ms) may still be working off what has waited.
SETTLED: Final = 5 * 60_000


class Finding(msgspec.Struct, frozen=True):
    """One thing to say. runbook: name of the page in ``docs/runbooks`` that says what to do; None where there is none."""

    level: str
    text: str
    runbook: str | None = None


def judge(status: Mapping[str, Any]) -> list[Finding]:
    """What there is to say of a bridge with this status (`bridge.overview`); the first is the sentence. Never empty."""
    found = sorted(
        (*_lanes(status), *_gateways(status), *_journal(status), *_refusals(status), *_frames(status), *_rest(status)),
        key=lambda each: _ORDER.index(each.level),
    )
    return found or [_good(status)]


def _lanes(status: Mapping[str, Any]) -> Iterator[Finding]:
    now, lanes = status["now"], status["lanes"]
    if service := status.get("waiting"):
        runbook = "FeedbridgeRegistryDown" if service == "registry" else "FeedbridgeNoCommits"
        name = "the schema registry" if service == "registry" else "Kafka"
        why = next((str(lane["trouble"]) for lane in lanes if lane.get("trouble")), "")
        why = f": {_end(why.removeprefix(f'{service}: '))}" if why.startswith(f"{service}: ") else "."
        yield Finding(BAD, f"Nothing is published yet: {name} does not answer{why} {_SAFE}", runbook)
        return
    troubled = [lane for lane in lanes if lane.get("trouble")]
    started = all("since" in lane for lane in lanes)
    if troubled and not started:
        trouble = str(troubled[0]["trouble"])
        fresh = now - status["started"] < PATIENCE
        yield Finding(WAIT if fresh else BAD, f"Starting: {trouble}.", None if fresh else "FeedbridgeNoCommits")
        return
    silent = [
        lane
        for lane in lanes
        if lane["role"] == "active" and lane.get("last_commit") and now - lane["last_commit"] > SILENT
    ]
    if stuck := [*troubled, *(lane for lane in silent if lane not in troubled)]:
        since = max((lane["last_commit"] for lane in stuck if lane.get("last_commit")), default=None)
        when = f" since {_moment(since, now)}" if since else ""
        trouble = str(stuck[0].get("trouble") or "")
        if not trouble:
            text = f"Nothing is committed to Kafka{when}: it does not answer. {_SAFE}"
        elif trouble.startswith(_KAFKA):
            text = f"Nothing is committed to Kafka{when}: {_end(trouble.removeprefix(_KAFKA))} {_SAFE}"
        else:
            text = f"Nothing is published{_which(stuck, lanes)}{when}: {_end(trouble)} {_SAFE}"
        yield Finding(BAD, text, "FeedbridgeNoCommits")
        return
    if recovering := [lane for lane in lanes if lane["role"] == "recovering"]:
        yield Finding(WAIT, f"Reading the ledger before anything is published{_which(recovering, lanes)}.")


#: Counts of what is more than a keep-alive.
_SOMETHING: Final = ("published", "duplicates", "unchanged", "dead_letters")
_SAFE: Final = "What comes waits in the journal."
#: How an error of Kafka begins.
_KAFKA: Final = "kafka: "
#: Why dead letters are made that `_refusals` tells of.
_REFUSED: Final = frozenset({"too_large", "refused_by_kafka"})


def _gateways(status: Mapping[str, Any]) -> Iterator[Finding]:
    now = status["now"]
    for gateway in status["gateways"]:
        name, detail = gateway["name"], gateway.get("detail")
        refused = gateway.get("refused") or any(
            each.get("state") == "refused" for each in gateway.get("connections", ())
        )
        if refused:
            what = "refuses the key" if gateway.get("refused") else "refuses a connection"
            yield Finding(BAD, f"{name} {what}: {_end(str(detail))}", "FeedbridgeKeyRefused")
        elif not gateway["connected"]:
            last = gateway.get("last_frame")
            if last is None and detail is None and now - status["started"] < PATIENCE:
                yield Finding(WAIT, f"Connecting to {name}.")
                continue
            since = "has not connected yet" if last is None else f"was last heard at {_moment(last, now)}"
            why = f": {_end(str(detail))}" if detail else "."
            yield Finding(BAD, f"{name} is down and {since}{why}", "FeedbridgeGatewayDown")
        if rejected := gateway.get("rejected"):
            channels = ", ".join(sorted({str(each["channel"]) for each in rejected}))
            yield Finding(WARNING, f"{name} rejects subscriptions to {channels}.")


def _journal(status: Mapping[str, Any]) -> Iterator[Finding]:
    journal = status["journal"]
    if journal["full"]:
        yield Finding(
            BAD, "The journal is full: sockets are not read, and frames may be missed.", "FeedbridgeJournalFilling"
        )
    elif journal["max_bytes"] and journal["bytes"] > FILLING * journal["max_bytes"]:
        yield Finding(WARNING, f"The journal is more than {FILLING:.0%} full.", "FeedbridgeJournalFilling")


def _refusals(status: Mapping[str, Any]) -> Iterator[Finding]:
    """Topics that do not take what they should, the worst first; lanes are one."""
    found: dict[str, dict[str, Any]] = {}
    for each in (each for lane in status["lanes"] for each in lane.get("refusals", ())):
        if status["now"] - each["at"] < LATELY:
            known = found.get(each["topic"])
            found[each["topic"]] = {**each, "frames": each["frames"] + (known["frames"] if known else 0)}
    for each in sorted(found.values(), key=lambda each: (-each["frames"], each["topic"])):
        limit = f"of more than {each['limit']:,} bytes" if each["limit"] else "that are too large"
        if each["size"]:
            what, mend = limit, "Raise max.message.bytes of that topic"
        else:
            what, mend = f"({each['why'].removeprefix('Broker: ')})", "See what the topic's settings ask of records"
        became = "frame became a dead letter" if each["frames"] == 1 else "frames became dead letters"
        yield Finding(
            WARNING,
            f"Topic {each['topic']} refuses records {what}: {_about(each['frames'])} {became}. {mend}.",
            "FeedbridgeDeadLetters",
        )


def _frames(status: Mapping[str, Any]) -> Iterator[Finding]:
    now = status["now"]
    gaps = status.get("gaps", ())
    for gap in gaps:
        if gap["state"] in {"lost", "partly"} and now - (gap["until"] or now) < LOST_FOR:
            what = "are lost" if gap["state"] == "lost" else "were recovered only in part"
            yield Finding(WARNING, f"Frames of {gap['gateway']} {_span(gap, now)} {what}.", "FeedbridgeGapLost")
    for gap in gaps:
        if gap["state"] == "open" and gap["until"] is not None:
            yield Finding(
                WARNING,
                f"Frames of {gap['gateway']} {_span(gap, now)} may be missing, and are being asked for.",
                "FeedbridgeGapOpened",
            )
        elif gap["state"] == "open":
            why = f"Frames of {gap['gateway']} may be missing since {_moment(gap['since'], now)}"
            yield Finding(WARNING, f"{why} ({_words(gap['cause'])}).", "FeedbridgeGapOpened")
    told = any(lane.get("refusals") for lane in status["lanes"])
    letters, reasons = (
        [each for each in status.get(name, ()) if not (told and each["reason"] in _REFUSED)]
        for name in ("dead_letters", "dead_letter_reasons")
    )
    letters = [each for each in letters if now - each["at"] < LATELY]
    for gateway in dict.fromkeys(each["gateway"] for each in letters):
        mine = next(each for each in letters if each["gateway"] == gateway)
        where = f" at {mine['path']}" if mine.get("path") else ""
        counted = [each for each in reasons if each["gateway"] == gateway]
        if len(counted) > 1:
            text = f"Dead letters of {gateway}: {_reasons(counted)}."
        else:
            text = f"Frames of {gateway} could not become records: {_words(mine['reason'])}{where}."
        yield Finding(WARNING, f"{text} All others flow.", "FeedbridgeDeadLetters")
    latency = status.get("last_minute", {}).get("latency", {}).get("p99")
    if latency is not None and latency > LATE and now - status["started"] > SETTLED:
        yield Finding(WARNING, f"Records are late: one in a hundred by more than {LATE:g} s.", "FeedbridgeLatencyHigh")


def _reasons(counted: Sequence[Mapping[str, Any]]) -> str:
    """``12 wrong type, 3 not json, 1 other``: the most first, so that it fits a line."""
    shown = [f"{_about(each['count'])} {_words(each['reason'])}" for each in counted[:REASONS]]
    others = sum(each["count"] for each in counted[REASONS:])
    return ", ".join([*shown, *([f"{_about(others)} other"] if others else [])])


def _about(count: int) -> str:
    """A count whose words stand still for a while where it grows quickly."""
    if count < _EXACT:
        return str(count)
    step = 10 ** (len(str(count)) - 1)
    least = next(each * step for each in (5, 2, 1) if count >= each * step)
    return f"{least:,}{'+' if count > least else ''}"


#: Reasons that are told by name.
REASONS: Final = 2
_EXACT: Final = 20


def _rest(status: Mapping[str, Any]) -> Iterator[Finding]:
    reload = status.get("reload")
    if reload and reload.get("outcome") == "refused":
        yield Finding(WARNING, f"The changed configuration is refused: {_end(str(reload.get('error')))}")


def _good(status: Mapping[str, Any]) -> Finding:
    gateways = [gateway["name"] for gateway in status["gateways"]]
    active = [lane for lane in status["lanes"] if lane["role"] == "active"]
    standby = [lane for lane in status["lanes"] if lane["role"] == "standby"]
    if not active:
        others = {lane["active"] for lane in standby if lane.get("active")}
        who = f" for {_list(sorted(each[:8] for each in others))}, which publishes" if others else ""
        return Finding(GOOD, f"All is well: this process stands by{who}.")
    if not any(gateway.get(name) for gateway in status["gateways"] for name in _SOMETHING):
        return Finding(WAIT, f"Connected to {_list(gateways)}, but nothing has come yet.")
    where = f", and this process stands by{_which(standby, status['lanes'])}" if standby else ""
    return Finding(GOOD, f"All is well: frames of {_list(gateways)} flow to Kafka{where}.")


def _which(lanes: Sequence[Mapping[str, Any]], of: Sequence[object]) -> str:
    if len(lanes) == len(of):
        return ""
    return f" in lane{'s' * (len(lanes) > 1)} {_list([str(lane['lane']) for lane in lanes])}"


def _list(names: Iterable[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def _words(code: str) -> str:
    return code.replace("_", " ")


def _end(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _span(gap: Mapping[str, Any], now: int) -> str:
    return f"between {_moment(gap['since'], now, zone='')} and {_moment(gap['until'], now)}"


def _moment(at: int, now: int, *, zone: str = " UTC") -> str:
    """A time of day, with the date where it is not today's."""
    then, today = (datetime.fromtimestamp(each / 1000, UTC) for each in (at, now))
    return f"{then:%H:%M:%S}{zone}" if then.date() == today.date() else f"{then:%Y-%m-%d %H:%M:%S}{zone}"
