package media

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// FLACInfo is a STREAMINFO block, RFC 9639 section 8.2.
type FLACInfo struct {
	SampleRate, Channels, SampleBits int
	MinBlock, MaxBlock               int // samples
}

// flacInfoSize is the size of a STREAMINFO block without its header.
const flacInfoSize = 34

// FindFLACInfo returns the STREAMINFO block in b, 34 bytes without header: b is that block, that block behind its header,
// or the beginning of a file. Errors wrap ErrBadConfig.
func FindFLACInfo(b []byte) ([]byte, error) {
	b = bytes.TrimPrefix(b, []byte("fLaC"))
	if len(b) >= 4+flacInfoSize && b[0]&0x7f == 0 && b[1] == 0 && b[2] == 0 && b[3] == flacInfoSize {
		b = b[4:]
	}
	if len(b) < flacInfoSize {
		return nil, fmt.Errorf("STREAMINFO of %d bytes: %w", len(b), ErrBadConfig)
	}
	return b[:flacInfoSize:flacInfoSize], nil
}

// ParseFLACInfo parses a STREAMINFO block without its header. Errors wrap ErrBadConfig.
func ParseFLACInfo(b []byte) (FLACInfo, error) {
	if len(b) < flacInfoSize {
		return FLACInfo{}, fmt.Errorf("STREAMINFO of %d bytes: %w", len(b), ErrBadConfig)
	}
	v := binary.BigEndian.Uint32(b[10:])
	i := FLACInfo{
		MinBlock: int(binary.BigEndian.Uint16(b)), MaxBlock: int(binary.BigEndian.Uint16(b[2:])),
		SampleRate: int(v >> 12), Channels: int(v>>9&7) + 1, SampleBits: int(v>>4&0x1f) + 1,
	}
	if i.SampleRate == 0 {
		return FLACInfo{}, fmt.Errorf("STREAMINFO without a sample rate: %w", ErrBadConfig)
	}
	return i, nil
}

func (t *Track) fromFLAC(config []byte) error {
	block, err := FindFLACInfo(config)
	if err != nil {
		return err
	}
	i, err := ParseFLACInfo(block)
	if err != nil {
		return err
	}
	t.Config, t.SampleRate, t.Channels, t.SampleBits = block, i.SampleRate, i.Channels, i.SampleBits
	return nil
}
