"""Crash proof, measured: processes are killed for real, then every promise is compared with what a receiver saw.

``make crash`` runs the long version and prints its figures (``deploy/crash.md``); the tests here run a short one.
"""
