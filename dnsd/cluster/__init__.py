"""The cluster as DNS sees it: objects, where they come from, and an index that knows what each answer read."""
