// Package stream is the hub: registry, streams, publications, the frame log with its GOP cache, packagers that
// write the wire bytes of a format once, and viewers that are cursors on them.
package stream
