package flv

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"
)

// Tag is one tag of a file.
type Tag struct {
	Type      TagType
	Timestamp time.Duration // whole milliseconds
	Body      []byte        // the receiver's to keep
}

// Reader reads the tags of an FLV file or stream. It reads small pieces: give it something buffered.
type Reader struct {
	r                  io.Reader
	opened             bool
	hasAudio, hasVideo bool
}

// NewReader returns a Reader of r.
func NewReader(r io.Reader) *Reader { return &Reader{r: r} }

// HasAudio says that the header announced audio, once Next was called. Some writers announce what never comes.
func (r *Reader) HasAudio() bool { return r.hasAudio }

// HasVideo is HasAudio for video.
func (r *Reader) HasVideo() bool { return r.hasVideo }

// Next returns the next tag. At the end it returns io.EOF; when the file ends inside a tag, an error that wraps
// io.ErrUnexpectedEOF; ErrMalformed when it is no FLV or encrypted.
func (r *Reader) Next() (Tag, error) {
	if !r.opened {
		if err := r.open(); err != nil {
			return Tag{}, err
		}
		r.opened = true
	}
	var h [TagTrailer + TagHeader]byte // the PreviousTagSize of the tag before comes first
	n, err := io.ReadFull(r.r, h[:])
	if n <= TagTrailer && (errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)) {
		return Tag{}, io.EOF // a writer that was cut off leaves the last PreviousTagSize out
	}
	if err != nil {
		return Tag{}, fmt.Errorf("flv: tag header: %w", err)
	}
	return r.tag(h[TagTrailer:])
}

func (r *Reader) tag(h []byte) (Tag, error) {
	const encrypted = 0x20
	if h[0]&encrypted != 0 {
		return Tag{}, fmt.Errorf("encrypted tag: %w", ErrMalformed)
	}
	size := int(h[1])<<16 | int(h[2])<<8 | int(h[3])
	ms := uint32(h[7])<<24 | uint32(h[4])<<16 | uint32(h[5])<<8 | uint32(h[6])
	body, err := readBody(r.r, size)
	if err != nil {
		return Tag{}, fmt.Errorf("flv: tag body of %d bytes: %w", size, err)
	}
	return Tag{TagType(h[0] & 0x1f), time.Duration(ms) * time.Millisecond, body}, nil
}

// readBody reads size bytes. It takes memory as they come: a lying size in a short file must not cost 16 MiB.
func readBody(r io.Reader, size int) ([]byte, error) {
	const atOnce = 64 << 10
	if size <= atOnce {
		b := make([]byte, size)
		_, err := io.ReadFull(r, b)
		return b, unexpected(err)
	}
	var b bytes.Buffer
	_, err := io.CopyN(&b, r, int64(size))
	return b.Bytes(), unexpected(err)
}

func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

func (r *Reader) open() error {
	var h [fileHeader]byte
	if _, err := io.ReadFull(r.r, h[:]); err != nil {
		return fmt.Errorf("flv: file header: %w", unexpected(err))
	}
	size := binary.BigEndian.Uint32(h[5:])
	if string(h[:3]) != "FLV" || size < fileHeader || size > 1<<16 {
		return fmt.Errorf("not an FLV file: %w", ErrMalformed)
	}
	r.hasAudio, r.hasVideo = h[4]&4 != 0, h[4]&1 != 0
	if _, err := io.CopyN(io.Discard, r.r, int64(size-fileHeader)); err != nil {
		return fmt.Errorf("flv: file header: %w", unexpected(err))
	}
	return nil
}
