package server

// ReadMetadata is Metadata with another root.
var ReadMetadata = readMetadata
