"""The API for agents: tools of the Model Context Protocol, over stdio (``paperround mcp``) and HTTP (``/mcp``).

A tool asks the API's own routes (``asking``), so keys, scopes, projects, limits, checks and errors cannot differ from
the API's. What is decided here is how an agent is told what there is (``tools``, ``fields``), and how little of an
answer it needs (``shown``). The SDK takes a second to import: only ``server`` and ``stdio`` do, when somebody calls.
"""
