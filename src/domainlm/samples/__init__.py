"""A small fictional EDGAR, generated from a seed, with known ground truth."""
