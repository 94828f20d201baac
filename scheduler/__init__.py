"""When, what, record: recurrence, the ledger, dispatch, and the ways to operate them. Read ``delivery.py`` first."""
