"""The cache: artifacts by content key, on this machine or at an address that machines share.

Comes in: a `location`, and of each task its key and the files that it has made. Goes out: a `Store` (`store`), which
has an artifact whole and verified, or not at all.

`artifact` says what one is, `arrays` keeps rows of images in one. Below the store: `objects` are files by name in a
folder, `remote` the same at an address, with claims that expire, and `originals` what is known of the artifacts there.
"""
