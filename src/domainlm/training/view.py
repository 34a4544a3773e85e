"""What people see while an arm trains: a panel on a terminal, elsewhere a line now and then."""

import itertools
import time
from typing import Any

from rich.console import Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from domainlm.console import console, say
from domainlm.training import distributed

BARS = "▁▂▃▄▅▆▇█"
LINE_SECONDS = 15.0


class View:
    """The state of one arm: bar, curve of the loss, and the numbers of the last line."""

    def __init__(self, name: str, steps: int) -> None:
        self.name, self.steps = name, steps
        self.losses: list[float] = []
        self.last = self.began = time.monotonic()
        self.first = 0  # step that this process began at
        self.live: Live | None = None
        if console.is_terminal and distributed.rank() == 0:
            columns = (TextColumn("  {task.description}", markup=False), BarColumn(),
                       TextColumn("{task.completed:,.0f} of {task.total:,.0f} steps"),
                       TimeElapsedColumn(), TimeRemainingColumn())  # fmt: skip
            self.bar = Progress(*columns, console=console)
            self.task = self.bar.add_task(name, total=steps)
            self.live = Live(console=console, transient=True, refresh_per_second=4)

    def __enter__(self) -> "View":
        if self.live:
            self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.live:
            self.live.stop()

    def show(self, step: int, line: dict[str, Any], loss: float, rate: float) -> None:
        """Show the state after `step`; `line` is the last one of the log."""
        self.first = self.first or step
        self.losses.append(loss)
        now = time.monotonic()
        if self.live:
            self.bar.update(self.task, completed=step)
            self.live.update(Group(self.bar, self.table(line, loss, rate)))
        elif now - self.last >= LINE_SECONDS and distributed.rank() == 0:
            self.last = now
            left = (now - self.began) * (self.steps - step) / max(1, step - self.first)
            text = f"loss {loss:.3f}, {rate:,.0f} tokens/s, {left:,.0f} s left"
            say(f"  {self.name}: {step:,} of {self.steps:,} steps, {text}")

    def table(self, line: dict[str, Any], loss: float, rate: float) -> Table:
        """The numbers, in two columns; what was not measured says so."""
        watts, bits = line.get("watts"), line.get("validation_bits_per_byte")
        table = Table.grid(padding=(0, 2))
        table.add_row("  loss", f"{loss:.3f}", sparkline(self.losses, 40))
        if bits is not None:
            table.add_row("  validation", f"{bits:.3f}", "bits per byte")
        share = f"{line['utilization']:.0%} of this device's peak" if line else ""
        table.add_row("  speed", f"{rate:,.0f}", f"tokens/s  {share}")
        power = "power not measured" if watts is None else f"{watts:,.0f} W"
        table.add_row("  memory", f"{line.get('memory_gb', 0):.1f} GB", power)
        return table


def sparkline(values: list[float], width: int) -> str:
    """The values as `width` small bars, means of equal stretches, from lowest to highest."""
    count = min(width, len(values))
    cuts = [i * len(values) // max(count, 1) for i in range(count + 1)]
    means = [sum(values[a:b]) / (b - a) for a, b in itertools.pairwise(cuts)]
    low, high = min(means, default=0.0), max(means, default=0.0)
    scale = (len(BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(BARS[round((m - low) * scale)] for m in means)
