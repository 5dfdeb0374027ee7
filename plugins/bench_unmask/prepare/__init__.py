"""The way from the public sources to the UnMask paper's data, by `bench data prepare` (section IV-A)."""
