"""Subscriptions that were not accepted, and differences between two opinions of what is: in words, short and masked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from bridge.gateways.gateway import RejectedSubscription
from bridge.gateways.retry import one_line
from bridge.ops.redaction import redactor

if TYPE_CHECKING:
    from bridge.gateways.agreement import Difference
    from bridge.gateways.subscriptions import Refusal, Subscription

#: Ids that a log line or a finding names.
_NAMED: Final = 5


def named(ids: Sequence[str]) -> list[str]:
    """Return the first few ids, and how many more there are."""
    return [*ids[:_NAMED], *([f"and {len(ids) - _NAMED} more"] if len(ids) > _NAMED else [])]


def rejected(connection: str, refusal: Refusal) -> RejectedSubscription:
    """Return a refusal as the status shows it."""
    return RejectedSubscription(
        channel=refusal.subscription.channel,
        ids=list(refusal.subscription.ids),
        code=refusal.code,
        message=redactor.text(one_line(refusal.message)),
        connection=connection,
    )


def told(connection: str, refusal: Refusal) -> dict[str, Any]:
    """Return a refusal as fields of a log line."""
    return {
        "connection": connection,
        "channel": refusal.subscription.channel,
        "ids": named(refusal.subscription.ids),
        "code": refusal.code,
        "message": one_line(refusal.message),
        "tried_again": not refusal.lasting,
    }


def sentence(connection: str, refusal: Refusal) -> str:
    """Return a refusal as a finding of `check`."""
    what = f"{refusal.subscription.channel} {named(refusal.subscription.ids)}"
    text = f"connection {connection}: not accepted: {what}: {refusal.code} ({one_line(refusal.message)})"
    return redactor.text(text)


def differing(connection: str, difference: Difference) -> dict[str, Any]:
    """Return a difference as fields of a log line."""
    missing, surplus = _counted(difference.missing), _counted(difference.surplus)
    return {"connection": connection, "missing": missing, "surplus": surplus}


def _counted(subscriptions: list[Subscription]) -> dict[str, int]:
    """Channel → how many ids."""
    return {each.channel: len(each.ids) or 1 for each in subscriptions}
