"""What the network is used for: segmenting images, finding all masks, tracking through clips."""
