// Package outlet is the writing half of a connection that carries a stream's shared wire bytes to one viewer, and now and
// then a message of the connection's own.
//
// Contract.
//
//   - [Outlet.Write] and [Outlet.Send] block, each Step of bytes for Config.Timeout at most. [Outlet.Try] never blocks: what
//     the kernel does not take at once it keeps, and the next Write or Send begins with that. Bytes are never reordered, and
//     a message never stands in the middle of a block.
//   - Try has one system call, no allocation, no timer and no deadline. It works on plain TCP on Linux; Direct says whether
//     it does. Elsewhere, and on TLS, where a record that was begun must be finished, only Write and Send work.
//   - Blocks are shared with other viewers: nobody changes them. Try keeps what is left of them, not the slice of slices.
//   - A connection whose write failed is closed: a part may have been written, so nothing can follow.
//   - All methods are safe for concurrent use.
package outlet
