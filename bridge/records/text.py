"""Text that stands for something else: what the gateway sent, to the character."""

from __future__ import annotations

from typing import TypeAlias

#: The text of a JSON number: ``1.10`` stays ``1.10``. `decimal.Decimal` takes it.
Number: TypeAlias = str
#: The exact text of a JSON value of any kind, a string's quotes included.
Json: TypeAlias = str
