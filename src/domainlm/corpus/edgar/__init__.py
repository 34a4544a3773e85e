"""SEC EDGAR: filings to documents with items."""
