// Package stream is the hub: registry, streams, publications, the frame log with its GOP cache, packagers that
// write the wire bytes of a format once, and viewers that are cursors on them.
//
// Contract.
//
//   - One stream key has at most one live publication. It is claimed, together with the key that stream_replace names,
//     in one step after on_publish allowed it, and it is free again as soon as its publication_ended was raised.
//   - Every fact of a key is raised under the lock of that key, so the order of Raise is the causal order: started,
//     registers, report of the publisher, unregisters in reverse order, ended, reports of the viewers that were cut.
//     This order is the same for every protocol and every reason; the reason is that of the first cause.
//   - No lock is held while a decision is asked, while a session is kicked, or over I/O. Raise must not block.
//   - A publisher never waits for viewers. What a viewer has not taken is bounded by the wire log, not by the viewer:
//     one that lags is moved to the newest key frame, and closed when that happens again and again.
//   - A viewer that waited when the stream registered gets everything from the first frame that can be decoded on, and
//     audio from before that. One that comes later starts at the newest key frame. Both miss nothing from there on
//     unless they lag.
//   - Wire bytes are shared and immutable. Nobody copies them.
//   - Viewer.Serve writes to an Outlet. To a DirectOutlet the wire log's crew writes, a goroutine or two for all viewers, which
//     never wait: a connection that does not take everything at once is served by the goroutine that called Serve until it
//     has caught up. Serve has returned when nobody touches the outlet any more.
//   - A source of the server itself (a file) publishes without being asked for, may be steered (Control), and may go elsewhere
//     (Publisher.Jump): the stamps go on, and who has not begun to watch begins there.
//   - Publisher.WriteFrame, Metadata, Splice and Jump, and Viewer.Serve or Viewer.Next belong to one goroutine each; everything else
//     is safe for concurrent use. Every Publisher and every Viewer must be closed; Hub.Stop waits for the viewers.
//
// Lock order: streams in the order of their keys, then the hub, then a wire log. A wire log's lock is the only one that
// a viewer takes while it plays, and it is not held while anything is written.
package stream
