"""Bytes to questions and answers to bytes. Pure: no sockets, no clock."""
