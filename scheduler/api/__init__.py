"""The HTTP API: paths, fields, statuses and errors that clients of PostHog's subscriptions API know.

What a request may do is decided here (keys, scopes, projects, limits); what a change means is decided in
``scheduler.subscriptions`` and ``scheduler.catalog``, which the command line uses, too.
"""
