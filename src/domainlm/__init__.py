"""DomainLM: a corpus in, a domain language model and the evidence of what it is worth out."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import os

    from domainlm.notebook import FinishedRun

__version__ = "0.1.0"


def load(run: "str | os.PathLike[str]") -> "FinishedRun":
    """A finished run, for notebooks: `domainlm.load("runs/demo")`."""
    from domainlm.notebook import open_run  # here: `import domainlm` stays light

    return open_run(run)
