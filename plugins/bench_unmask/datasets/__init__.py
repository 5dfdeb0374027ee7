"""Data sets with parts: photos in COCO form, and the UnMask paper's images in the layout of its released data."""
