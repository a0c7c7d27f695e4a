"""Gradients of batches: the layout of the flat vector, the loss, the engine, the live step."""
