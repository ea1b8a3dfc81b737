"""``python -m tests.model --seed N --trace`` replays a run; ``--runs N`` makes many."""

from __future__ import annotations

import time
from collections import Counter

import click

from tests.model import run as model


@click.command()
@click.option("--seed", default=0, help="The first seed.")
@click.option("--runs", default=1, help="How many seeds.")
@click.option("--trace", is_flag=True, help="Tell every step.")
@click.option("--processes", type=int, help="How many processes; else the seed draws it.")
@click.option("--lanes", type=int, help="Most lanes of a plan; else the seed draws it.")
@click.option("--keep-going", is_flag=True, help="Do not stop at the first broken promise.")
def main(seed: int, runs: int, processes: int | None, lanes: int | None, *, trace: bool, keep_going: bool) -> None:
    """Run the model; exit 1 if a promise is broken."""
    began, broken, faults, kinds = time.monotonic(), 0, 0, Counter[str]()
    longest = 0.0
    with model.simulated() as folder:
        for each in range(seed, seed + runs):
            outcome = model.run(each, folder, model.Profile(processes=processes, lanes=lanes), trace=trace)
            faults += len(outcome.faults)
            kinds.update(outcome.faults)
            longest = max(longest, outcome.seconds)
            for line in outcome.trace:
                click.echo(line)
            if outcome.wrong:
                broken += 1
                click.echo(f"seed {each}: {outcome.wrong[0]} (and {len(outcome.wrong) - 1} more)")
                if not keep_going:
                    break
    took = time.monotonic() - began
    click.echo(
        f"{each - seed + 1} runs, {faults} faults, {broken} broken, {60 * (each - seed + 1) / took:.0f} runs a minute,"
        f" longest {longest:.0f} s of simulated time"
    )
    raise SystemExit(1 if broken else 0)


if __name__ == "__main__":
    main()
