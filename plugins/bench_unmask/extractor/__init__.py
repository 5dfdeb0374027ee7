"""The part extractor K: images in, the parts that are in them out (paper, section III-B)."""
