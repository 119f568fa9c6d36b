"""What became of every input: report.json, the printed table, the page."""
