"""The listening test: a blinded set, a small web page that asks, and the mean opinion scores."""
