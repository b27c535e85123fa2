package bmff

import "github.com/hookline/hookline/internal/media"

// MovieTimescale is the time scale of movie headers and of the durations of edits, in ticks per second.
const MovieTimescale = 1000

// Edit is an entry of an edit list.
type Edit struct {
	Duration uint64 // in ticks of the movie; 0 in the last: to the end
	Time     int64  // media time in ticks of the track; -1: nothing is shown
}

// Track is a track of a movie.
type Track struct {
	ID       uint32
	Media    *media.Track
	Duration uint64 // in ticks of Timescale(Media), 0 with fragments
	Edits    []Edit
	// Tables appends the boxes of the sample table behind "stsd". Default: empty ones, as files in fragments have.
	Tables func(dst []byte) []byte
}

// AppendMovie appends a box "moov". fragmented adds "mvex": samples come in fragments. duration is in ticks of the movie.
func AppendMovie(dst []byte, duration uint64, tracks []Track, fragmented bool) []byte {
	dst, at := Begin(dst, "moov")
	next := uint32(1)
	for _, t := range tracks {
		next = max(next, t.ID+1)
	}
	dst = appendMovieHeader(dst, duration, next)
	for i := range tracks {
		dst = appendTrack(dst, &tracks[i], duration)
	}
	if fragmented {
		var mvex, trex int
		dst, mvex = Begin(dst, "mvex")
		for _, t := range tracks {
			dst, trex = BeginFull(dst, "trex", 0, 0)
			dst = u32(u32(dst, t.ID), 1)                                     // the first sample entry
			dst = End(u32(u32(u32(dst, 0), 0), defaultFlags(t.Media)), trex) // duration, size, flags
		}
		dst = End(dst, mvex)
	}
	return End(dst, at)
}

// Flags of samples (ISO 14496-12, 8.8.3.1).
const (
	FlagsSync    = 0x0200_0000 // depends on no other
	FlagsNotSync = 0x0101_0000 // depends on others, and is no sync sample
)

func defaultFlags(t *media.Track) uint32 {
	if t.Codec.Kind() == media.Video {
		return FlagsNotSync
	}
	return FlagsSync
}

func appendMatrix(dst []byte) []byte {
	for _, v := range [9]uint32{0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x4000_0000} {
		dst = u32(dst, v)
	}
	return dst
}

func appendMovieHeader(dst []byte, duration uint64, next uint32) []byte {
	dst, at := BeginFull(dst, "mvhd", 1, 0)
	dst = u64(u64(dst, 0), 0) // times of creation and modification
	dst = u64(u32(dst, MovieTimescale), duration)
	dst = u16(u32(dst, 0x10000), 0x100) // rate, volume
	dst = appendMatrix(zeros(dst, 10))
	return End(u32(zeros(dst, 24), next), at)
}

func appendTrack(dst []byte, t *Track, duration uint64) []byte {
	dst, at := Begin(dst, "trak")
	const enabled, inMovie = 1, 2
	dst, head := BeginFull(dst, "tkhd", 1, enabled|inMovie)
	dst = u64(u64(dst, 0), 0)
	dst = u32(u32(dst, t.ID), 0)
	dst = zeros(u64(dst, duration), 8)
	audio := t.Media.Codec.Kind() == media.Audio
	if audio {
		dst = u16(u16(u32(dst, 1), 0x100), 0) // layer 0, alternate group 1; full volume
	} else {
		dst = u16(u16(u32(dst, 0), 0), 0)
	}
	dst = appendMatrix(dst)
	dst = End(u32(u32(dst, uint32(t.Media.Width)<<16), uint32(t.Media.Height)<<16), head)
	if len(t.Edits) > 0 {
		dst = appendEdits(dst, t.Edits)
	}
	dst, mdia := Begin(dst, "mdia")
	dst, mdhd := BeginFull(dst, "mdhd", 1, 0)
	dst = u64(u64(dst, 0), 0)
	dst = u64(u32(dst, Timescale(t.Media)), t.Duration)
	dst = End(u16(u16(dst, 0x55c4), 0), mdhd) // language "und"
	dst = appendHandler(dst, audio)
	dst = appendMediaInfo(dst, t, audio)
	return End(End(dst, mdia), at)
}

func appendEdits(dst []byte, edits []Edit) []byte {
	dst, edts := Begin(dst, "edts")
	dst, elst := BeginFull(dst, "elst", 1, 0)
	dst = u32(dst, uint32(len(edits)))
	for _, e := range edits {
		dst = u64(u64(dst, e.Duration), uint64(e.Time))
		dst = u32(dst, 0x10000) // rate
	}
	return End(End(dst, elst), edts)
}

func appendHandler(dst []byte, audio bool) []byte {
	dst, at := BeginFull(dst, "hdlr", 0, 0)
	dst = u32(dst, 0)
	if audio {
		dst = append(zeros(append(dst, "soun"...), 12), "SoundHandler\x00"...)
	} else {
		dst = append(zeros(append(dst, "vide"...), 12), "VideoHandler\x00"...)
	}
	return End(dst, at)
}

func appendMediaInfo(dst []byte, t *Track, audio bool) []byte {
	dst, minf := Begin(dst, "minf")
	var at int
	if audio {
		dst, at = BeginFull(dst, "smhd", 0, 0)
		dst = End(u32(dst, 0), at)
	} else {
		dst, at = BeginFull(dst, "vmhd", 0, 1)
		dst = End(zeros(dst, 8), at)
	}
	dst, dinf := Begin(dst, "dinf")
	dst, at = BeginFull(dst, "dref", 0, 0)
	dst = u32(dst, 1)
	dst, url := BeginFull(dst, "url ", 0, 1) // in this file
	dst = End(End(End(dst, url), at), dinf)
	dst, stbl := Begin(dst, "stbl")
	dst, at = BeginFull(dst, "stsd", 0, 0)
	dst = End(appendEntry(u32(dst, 1), t.Media), at)
	if t.Tables != nil {
		dst = t.Tables(dst)
	} else {
		dst = appendEmptyTables(dst)
	}
	return End(End(dst, stbl), minf)
}

func appendEmptyTables(dst []byte) []byte {
	for _, typ := range [...]string{"stts", "stsc", "stco"} {
		var at int
		dst, at = BeginFull(dst, typ, 0, 0)
		dst = End(u32(dst, 0), at)
	}
	dst, at := BeginFull(dst, "stsz", 0, 0)
	return End(u64(dst, 0), at)
}
