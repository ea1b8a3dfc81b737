"""bridge.gateways: the kinds that a configuration may name."""

from __future__ import annotations

from bridge.catalog import Catalog
from bridge.gateways import kinds
from bridge.gateways.gateway import Gateway, GatewaySettings


def test_every_module_with_kinds_is_found() -> None:
    """There is no list to add a gateway to."""
    assert set(kinds()) == {"ticktock", "predictstreet-market", "predictstreet-user"}
    for name, gateway in kinds().items():
        assert issubclass(gateway, Gateway)
        assert issubclass(gateway.Settings, GatewaySettings)
        assert gateway.kind == name
        assert gateway.private == Catalog.load().kind(name).unknown.private == (name == "predictstreet-user")
