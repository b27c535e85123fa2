// Package vod plays MP4 files as streams: on demand those below the record directory, and by API any.
//
// Contract.
//
//   - A stream is one publication with one reader for all who watch it: what one of them seeks, pauses or speeds up, all see.
//   - Frames are handed on at the pace of their times, multiplied by the speed, up to one tick (record.sampleMS) of it early. Their
//     stamps do not depend on the speed. Behind a seek they go on (see stream.Publisher.Jump), and so they do from file to
//     file and when the files are repeated.
//   - What a viewer names is a file below the record directory: no level of the name begins with a dot, so that neither
//     another directory nor a recording that is open can be named, and it is a regular file. One that is no MP4 is not there.
//   - Several files are one time line; of them one is open at a time.
//   - A stream ends when its time line does, when its publication is closed, or, if it was opened on demand, quietly when nobody
//     reads it for general.streamNoneReaderDelayMS.
//   - Each stream is a goroutine that reads the disk; no lock is held meanwhile. Seek, Pause and Speed wait for it.
//     Server.Close ends all and waits.
//
// At most [MaxStreams] files with [MaxSamples] frames are open, and few are opened at the same time, however many ask.
package vod
