"""Measurements, not tests: ``make bench`` prints them and asserts nothing about time."""
