"""Benchmarks of dnsd beside its peers: black boxes on loopback, measured by the CPU time that each spends on a query."""
