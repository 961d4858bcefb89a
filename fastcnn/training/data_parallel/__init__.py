"""One training on several ranks, each of which computes the gradients of its shard of every batch."""
