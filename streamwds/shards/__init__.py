"""Names to bytes: URL patterns, who reads which shards, and how they are opened. No tar in this room."""
