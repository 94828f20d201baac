"""The schema's history, applied by ``paperround init``; a released migration never changes."""
