"""Token shards to models: presets, data order, optimizers, loop, checkpoints, export."""
