"""Names to bytes: URL patterns, who reads which shards, how they are opened and kept.

No tar in this room, but for the question whether what is to be kept is a whole archive.
"""
