"""From a query to an answer with its validity and reason: the values, the plugin contract, and the chain."""
