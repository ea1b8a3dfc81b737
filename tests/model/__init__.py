"""Deterministic simulation: the product's own code in simulated time, among faults, judged by an oracle.

What runs is what ships: lane, publisher, ledger reader, pipeline, window, standby, recovery, intake and journal, the last
on real files. What is simulated lies outside the product: Kafka and its clients, gateways, disk, network and clocks. One
number, the seed, decides everything; ``python -m tests.model --seed N --trace`` replays a run and tells it step by step.
"""
