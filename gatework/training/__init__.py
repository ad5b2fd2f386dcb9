"""One plain training loop for every task: see ``loop.fit``."""
