"""The vocabulary: stages on items and samples, a file for each concept."""
