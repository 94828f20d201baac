"""What people see: messages (a folder a channel), pages, partials. Data, read through ``importlib.resources``."""
