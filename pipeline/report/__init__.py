"""The report on the outcome of every input: report.json, the printed table, and the HTML page."""
