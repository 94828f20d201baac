"""Every question to the database, one noun a module: all SQL is in this room.

``opening``  what is due, and opening it           ``catalog``        sources, insights, dashboards, integrations
``claiming`` taking ready work under a lease       ``subscriptions``  standing requests
``leases``   kept, given back, brought back        ``bulk``           many rows with one statement
``slots``    when a paced destination is next
``recording`` outcomes and the statuses after them ``deliveries``     the ledger, read
``exports``  what was shown                        ``people``         organisations, projects, users, installation
``recurrences`` the rules that were gone by        ``endings``        how deliveries ended, and what is said of it
``audit``    the ledger, held against the rules    ``keys``           personal API keys
``sharing``  shared pages and their passwords      ``organisations`` members, domains, verification tokens
``summaries`` who may have one, what they compare
``needs``    what still needs an entry, a project

Who changes rows of several tables takes them in this order: subscriptions, deliveries, recipients; of each by its id.
Only recording begins with deliveries: they are under its own lease, which nobody else touches. Slots are locked last,
or before a claim takes its deliveries, which waits for none.

Functions take a connection from ``Database.read()`` or ``Database.write()``: transactions are opened where the story is
told. What goes in and comes out are plain values, never rows.
"""
