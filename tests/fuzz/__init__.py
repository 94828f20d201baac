"""Requests that nobody wrote, to the real process, against what ``/openapi.json`` says (schemathesis)."""
