"""The plugins that ship: one module or folder a Corefile directive, each with a `setup`."""
