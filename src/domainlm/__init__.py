"""DomainLM: a corpus in, a domain language model and the evidence of what it is worth out."""

__version__ = "0.1.0"
