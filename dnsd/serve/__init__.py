"""The only code that owns the sockets that clients see: listeners, the memo, drain."""
