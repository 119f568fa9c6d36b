"""The listening test: a blinded set, a web page that collects scores, and mean opinion scores."""
