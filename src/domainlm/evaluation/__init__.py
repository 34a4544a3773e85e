"""Models -> evidence: loss, gaps with intervals, samples, a section probe."""
