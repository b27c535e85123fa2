package flv

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/hookline/hookline/internal/format/amf"
	"github.com/hookline/hookline/internal/media"
)

// ErrNotMetadata: a data message that is not onMetaData.
var ErrNotMetadata = errors.New("flv: not onMetaData")

// AMF0 markers of what a data message begins with, and of a value that is AMF3.
const (
	markString = 0x02
	markAMF3   = 0x11
)

// maxMetadata is the largest onMetaData value that is kept, in bytes. It goes to every viewer.
const maxMetadata = 256 << 10

// Metadata is what the publisher says of its stream in onMetaData (E.5). Publishers lie in it: the codec configurations
// win.
type Metadata struct {
	HasVideo, HasAudio bool    // announced
	Width, Height      int     // 0 when absent
	FrameRate          float64 // 0 when absent
	// Raw is the object or ECMA array as AMF0, one value, for the viewers.
	Raw []byte
}

// ParseMetadata parses the body of a data message: onMetaData with or without the @setDataFrame before it, in AMF0, or
// in AMF3 with or without its leading zero byte. Raw is a slice of body where that is plain AMF0. Errors wrap
// ErrNotMetadata, ErrMalformed or those of package amf.
func ParseMetadata(body []byte) (Metadata, error) {
	if len(body) > 1 && body[0] == 0 && (body[1] == markString || body[1] == markAMF3) {
		body = body[1:] // the message was of type 15
	}
	name, body, err := takeName(body)
	if err == nil && name == "@setDataFrame" {
		name, body, err = takeName(body)
	}
	if err != nil {
		return Metadata{}, err
	}
	if name != "onMetaData" {
		return Metadata{}, ErrNotMetadata
	}
	v, n, err := amf.Decode(body)
	if err != nil {
		return Metadata{}, fmt.Errorf("onMetaData: %w", err)
	}
	ms, ok := amf.Members(v)
	if !ok {
		return Metadata{}, fmt.Errorf("onMetaData is %T: %w", v, ErrMalformed)
	}
	m := readMetadata(ms)
	if m.Raw, err = rawAMF0(body[:n:n], v); err != nil {
		return Metadata{}, fmt.Errorf("onMetaData: %w", err)
	}
	return m, nil
}

// takeName decodes the string in front. What can't be a name is not metadata, whatever it is.
func takeName(body []byte) (string, []byte, error) {
	v, n, err := amf.Decode(body)
	if err != nil {
		return "", nil, fmt.Errorf("data message: %w", err)
	}
	name, ok := v.(string)
	if !ok {
		return "", nil, ErrNotMetadata
	}
	return name, body[n:], nil
}

// rawAMF0 returns value, or what it means in plain AMF0: viewers of an AMF0 stream can't be asked to switch, nor to
// forgive a missing end marker.
func rawAMF0(value []byte, v any) ([]byte, error) {
	if value[0] == markAMF3 || !bytes.HasSuffix(value, []byte{0, 0, 9}) {
		if o, ok := amf.Members(v); ok {
			v = amf.ECMAArray(o)
		}
		var err error
		if value, err = amf.Append(nil, v); err != nil {
			return nil, err // wrapped by ParseMetadata
		}
	}
	if len(value) > maxMetadata {
		return nil, fmt.Errorf("%d bytes: %w", len(value), amf.ErrLimit)
	}
	return value, nil
}

func readMetadata(ms amf.Object) Metadata {
	m := Metadata{
		HasVideo:  announced(ms, "videocodecid", "hasVideo"),
		HasAudio:  announced(ms, "audiocodecid", "hasAudio"),
		Width:     picture(ms.Number("width")),
		Height:    picture(ms.Number("height")),
		FrameRate: ms.Number("framerate"),
	}
	if m.FrameRate == 0 {
		m.FrameRate = ms.Number("fps")
	}
	if !(m.FrameRate >= 0.1 && m.FrameRate <= 1000) {
		m.FrameRate = 0
	}
	return m
}

// announced says that the publisher will send this kind. A codec id is a number or a FourCC as text; 0 and "" mean none,
// although 0 is linear PCM: encoders write it for "no audio", and linear PCM is not carried anyway.
func announced(ms amf.Object, id, has string) bool {
	if v, ok := ms.Get(has); ok {
		if b, ok := v.(bool); ok {
			return b
		}
	}
	switch v, _ := ms.Get(id); v := v.(type) {
	case float64:
		return v != 0 && !math.IsNaN(v)
	case string:
		return v != "" && v != "0"
	case bool:
		return v
	}
	return false
}

func picture(n float64) int {
	if !(n >= 1 && n <= 1<<16) {
		return 0
	}
	return int(n)
}

// AppendMetadataBody appends the body of the data message onMetaData to dst: value, which is Metadata.Raw of the publisher,
// brought up to date with the tracks, or MetadataValue(tracks, enhanced) when value is empty.
func AppendMetadataBody(dst, value []byte, tracks []*media.Track, enhanced bool) []byte {
	if len(value) == 0 {
		value = MetadataValue(tracks, enhanced)
	} else {
		value = updated(value, tracks, enhanced)
	}
	return append(amf.AppendString(dst, "onMetaData"), value...)
}

// updated returns the publisher's value with what the tracks know better: codecs, which may have changed or be written by
// another id, and what follows from them. Additional tracks, which are not carried, are left out. Everything else stays.
// When nothing is to be changed it returns value itself.
func updated(value []byte, tracks []*media.Track, enhanced bool) []byte {
	v, _, err := amf.Decode(value)
	if err != nil {
		return value
	}
	ms, ok := amf.Members(v)
	if !ok || len(tracks) == 0 {
		return value
	}
	var video, audio *media.Track
	for _, t := range tracks {
		if t.Codec.Kind() == media.Video {
			video = t
		} else {
			audio = t
		}
	}
	u := update{members: ms}
	u.drop("videoTrackIdInfoMap", "audioTrackIdInfoMap")
	u.video(video, enhanced)
	u.audio(audio, enhanced)
	if !u.changed {
		return value
	}
	out, err := amf.Append(nil, amf.ECMAArray(u.members))
	if err != nil || len(out) > maxMetadata || len(u.members) > amf.MaxMembers {
		return value
	}
	return out
}

// update changes members and remembers whether it did.
type update struct {
	members []amf.Member
	own     bool // members were copied
	changed bool
}

func (u *update) video(t *media.Track, enhanced bool) {
	if t == nil {
		u.drop("videocodecid", "width", "height", "framerate", "fps", "videodatarate")
		u.replace("hasVideo", false)
		return
	}
	for _, m := range videoMembers(t, enhanced) {
		if m.Name != "framerate" || !u.has("framerate") && !u.has("fps") { // the publisher knows its rate
			u.set(m.Name, m.Value)
		}
	}
	u.replace("hasVideo", true)
}

func (u *update) audio(t *media.Track, enhanced bool) {
	if t == nil {
		u.drop("audiocodecid", "audiosamplerate", "audiosamplesize", "audiochannels", "audiodatarate", "stereo")
		u.replace("hasAudio", false)
		return
	}
	for _, m := range audioMembers(t, enhanced) {
		if m.Name == "audiocodecid" {
			u.set(m.Name, m.Value)
		} else {
			u.replace(m.Name, m.Value)
		}
	}
	u.replace("hasAudio", true)
}

func (u *update) has(name string) bool {
	_, ok := amf.Object(u.members).Get(name)
	return ok
}

// replace changes a member that is there, as often as it is.
func (u *update) replace(name string, value any) {
	if n, ok := value.(int); ok {
		value = float64(n)
	}
	for i, m := range u.members {
		if m.Name != name || m.Value == value {
			continue
		}
		if u.changed = true; !u.own {
			u.own, u.members = true, slices.Clone(u.members)
		}
		u.members[i].Value = value
	}
}

// set changes a member or adds it.
func (u *update) set(name string, value any) {
	if u.has(name) {
		u.replace(name, value)
		return
	}
	u.changed, u.own = true, true
	u.members = append(slices.Clip(u.members), amf.Member{Name: name, Value: value})
}

func (u *update) drop(names ...string) {
	if !slices.ContainsFunc(u.members, func(m amf.Member) bool { return slices.Contains(names, m.Name) }) {
		return
	}
	u.changed, u.own = true, true
	u.members = slices.DeleteFunc(slices.Clone(u.members), func(m amf.Member) bool { return slices.Contains(names, m.Name) })
}

// MetadataValue makes what Metadata.Raw holds of tracks, for publishers that sent none. enhanced is that of AppendBody.
func MetadataValue(tracks []*media.Track, enhanced bool) []byte {
	ms := amf.ECMAArray{{Name: "duration", Value: 0.0}}
	for _, t := range tracks {
		if t.Codec.Kind() == media.Video {
			ms = append(ms, videoMembers(t, enhanced)...)
		} else {
			ms = append(ms, audioMembers(t, enhanced)...)
		}
	}
	ms = append(ms, amf.Member{Name: "server", Value: "Hookline"})
	value, err := amf.Append(nil, ms)
	if err != nil { // can't be: numbers, booleans and short strings
		return []byte{0x05}
	}
	return value
}

func videoMembers(t *media.Track, enhanced bool) []amf.Member {
	var ms []amf.Member
	if t.Width > 0 && t.Height > 0 {
		ms = append(ms, amf.Member{Name: "width", Value: t.Width}, amf.Member{Name: "height", Value: t.Height})
	}
	if t.FPS > 0 {
		ms = append(ms, amf.Member{Name: "framerate", Value: t.FPS})
	}
	return append(ms, amf.Member{Name: "videocodecid", Value: codecID(t, enhanced)})
}

// codecID is a member videocodecid or audiocodecid: the legacy id, or the FourCC as a number (Enhanced RTMP v2, "Enhancing
// onMetaData").
func codecID(t *media.Track, enhanced bool) float64 {
	if four := written(t.Codec, enhanced); four != 0 {
		return float64(four)
	}
	if t.Codec.Kind() == media.Audio {
		return float64(soundFormat(t))
	}
	legacy, _ := forms(t.Codec)
	return float64(legacy)
}

func audioMembers(t *media.Track, enhanced bool) []amf.Member {
	return []amf.Member{
		{Name: "audiosamplerate", Value: t.SampleRate},
		{Name: "audiosamplesize", Value: t.SampleBits},
		{Name: "stereo", Value: t.Channels > 1},
		{Name: "audiochannels", Value: t.Channels},
		{Name: "audiocodecid", Value: codecID(t, enhanced)},
	}
}
