package flv

import (
	"io"
	"time"

	"github.com/hookline/hookline/internal/media"
)

// Demuxer makes frames of the bodies of one publication's RTMP messages or FLV tags. The zero value is ready.
type Demuxer struct{}

// Audio takes the body of an audio message and owns it afterwards. The result is valid until the next call.
// A *media.Frame with Config set announces a track that appeared or changed. An error means that this body gave no
// frame; the next one may.
func (d *Demuxer) Audio(ts time.Duration, body []byte) ([]*media.Frame, error) { return nil, nil }

// Video is Audio for video messages.
func (d *Demuxer) Video(ts time.Duration, body []byte) ([]*media.Frame, error) { return nil, nil }

// Data takes the body of a data message. ok says that it was onMetaData.
func (d *Demuxer) Data(body []byte) (m Metadata, ok bool, err error) { return m, false, nil }

// Dropped counts the bodies that gave no frame because the codec configuration had not come yet.
func (d *Demuxer) Dropped() uint64 { return 0 }

// UnsupportedError names a codec that Hookline can't carry. The session may go on; the caller decides.
type UnsupportedError struct {
	Kind media.Kind
	Name string // "Speex", "FourCC av01"
}

// Error implements error.
func (e *UnsupportedError) Error() string { return "flv: unsupported codec " + e.Name }

// Metadata is onMetaData.
type Metadata struct {
	HasVideo, HasAudio bool // announced by the publisher
	Width, Height      int
	FrameRate          float64
	Raw                []byte // the object or ECMA array as AMF0, one value
}

// ParseMetadata parses the body of a data message (AMF0, or AMF3 with or without its leading zero byte).
func ParseMetadata(body []byte) (Metadata, error) { return Metadata{}, nil }

// AppendMetadataBody appends the body of a data message "onMetaData": value is Metadata.Raw of the publisher, or nil to
// make one of the tracks.
func AppendMetadataBody(dst, value []byte, tracks []*media.Track) []byte { return dst }

// AppendSequenceHeader appends the body that announces track, nothing for codecs that have none.
func AppendSequenceHeader(dst []byte, track *media.Track, enhanced bool) []byte { return dst }

// AppendBody appends the body of the audio or video message of f.
func AppendBody(dst []byte, f *media.Frame, enhanced bool) []byte { return dst }

// AppendBodyHeader appends only what stands before f.Data in the body of f.
func AppendBodyHeader(dst []byte, f *media.Frame, enhanced bool) []byte { return dst }

// TagType is the type of an FLV tag and of an RTMP message.
type TagType byte

// Tag types.
const (
	TagAudio TagType = 8
	TagVideo TagType = 9
	TagData  TagType = 18
)

// Millis is the 32-bit timestamp of ts: milliseconds, wrapped, negative as 0.
func Millis(ts time.Duration) uint32 { return uint32(ts.Milliseconds()) }

// AppendTag appends a tag with its PreviousTagSize; the body may come in parts.
func AppendTag(dst []byte, typ TagType, ts time.Duration, body ...[]byte) []byte { return dst }

// AppendFileHeader appends the FLV header and the first PreviousTagSize.
func AppendFileHeader(dst []byte, hasAudio, hasVideo bool) []byte { return dst }

// Program is what the packager needs to know of the stream.
type Program struct {
	Tracks   []*media.Track
	Metadata []byte
	Enhanced bool
}

// Packager writes an FLV stream.
type Packager struct{}

// NewPackager returns a packager for p.
func NewPackager(p Program) *Packager { return &Packager{} }

// Start returns file header, metadata and sequence headers.
func (p *Packager) Start() []byte { return nil }

// Append appends the tag of f.
func (p *Packager) Append(dst []byte, f *media.Frame) []byte { return dst }

// Change appends metadata and sequence headers of the new program.
func (p *Packager) Change(dst []byte, prog Program) []byte { return dst }

// Tag is one tag of an FLV file.
type Tag struct {
	Type      TagType
	Timestamp time.Duration
	Body      []byte // owned by the caller
}

// Reader reads an FLV file.
type Reader struct{ r io.Reader }

// NewReader returns a reader of r.
func NewReader(r io.Reader) *Reader { return &Reader{r} }

// Next returns the next tag, io.EOF at the end.
func (r *Reader) Next() (Tag, error) { return Tag{}, io.EOF }
