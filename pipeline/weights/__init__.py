"""Published weights: which ones the project knows, and how to download and check them."""
