"""The client for asyncio. ``scripts/generate_sync.py`` makes the client for threads, in ``_sync``, of it."""
