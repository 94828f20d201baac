"""Every question to the database, one noun a module: all SQL is in this room.

``opening``  what is due, and opening it           ``catalog``        sources, insights, dashboards, integrations
``claiming`` taking ready work under a lease       ``subscriptions``  standing requests
``recording`` outcomes and the statuses after them ``deliveries``     the ledger, read
``exports``  what was shown                        ``people``         organisations, projects, users, installation

Functions take a connection from ``Database.read()`` or ``Database.write()``: transactions are opened where the story is
told. What goes in and comes out are plain values, never rows.
"""
