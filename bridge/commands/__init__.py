"""The commands of ``feedbridge``, by what they are about. `bridge.cli` puts them together.

Each is one call into the library and the printing of what it returns. What a command needs is imported when it runs,
so that ``feedbridge --help`` is quick.
"""
