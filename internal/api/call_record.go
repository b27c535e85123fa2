package api

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/hookline/hookline/internal/fact"
	"github.com/hookline/hookline/internal/stream"
)

// Records starts, stops and finds recordings.
type Records interface {
	// StartRecord begins a recording of a kind: "hls", "mp4", "hls.fmp4". root replaces the configured directory; slice 0
	// is the configured length. Errors: stream.ErrNotFound, stream.ErrNoRecorder.
	StartRecord(name fact.Stream, kind, root string, slice time.Duration) error
	// StopRecord ends one; the channel is nil when there was none. Errors: stream.ErrNotFound.
	StopRecord(name fact.Stream, kind string) (over <-chan struct{}, err error)
	// Recording says whether one goes on. Errors: stream.ErrNotFound.
	Recording(name fact.Stream, kind string) (bool, error)
	// StartClip records what is cached of the time back, from a key frame on, and forward of what follows, and returns the
	// path of the file, which may be given relative to RecordFolder. report raises on_record_mp4 for it. Errors:
	// stream.ErrNotFound, others.
	StartClip(name fact.Stream, path string, back, forward time.Duration, report bool) (string, error)
	// RecordFolder is the directory of a stream's MP4 files.
	RecordFolder(name fact.Stream, root string) (string, error)
}

// recordEndpoints are the calls that need Deps.Records.
func recordEndpoints() []endpoint {
	tuple := []string{"vhost", "app", "stream"}
	typed := append([]string{"type"}, tuple...)
	return []endpoint{
		{name: "deleteRecordDirectory", required: tuple, handle: deleteRecordDirectory},
		{name: "getMP4RecordFile", required: tuple, handle: getMP4RecordFile},
		{name: "isRecording", required: typed, handle: isRecording},
		{name: "startRecord", required: typed, handle: startRecord},
		{name: "startRecordTask", required: append(tuple[:3:3], "path", "back_ms", "forward_ms"), handle: startRecordTask},
		{name: "stopRecord", required: typed, handle: stopRecord},
	}
}

// name is the stream that a call names.
func (c *call) name() fact.Stream {
	f := c.target()
	return fact.Stream{Vhost: f.Vhost, App: f.App, Stream: f.Stream}
}

// kind is the recorder that type names: 0 hls, 1 mp4, 2 hls.fmp4. Types 3 and 4 of ZLMediaKit are live formats.
func (c *call) kind() (string, error) {
	switch c.integer("type") {
	case 0:
		return "hls", nil
	case 1:
		return "mp4", nil
	case 2:
		return "hls.fmp4", nil
	}
	return "", &callError{CodeInvalidArgs, "type must be 0 (hls), 1 (mp4) or 2 (hls.fmp4)"}
}

func recordError(err error) error {
	if errors.Is(err, stream.ErrNotFound) {
		return errNoStream()
	}
	return &callError{CodeOtherFailed, err.Error()}
}

func startRecord(c *call) (any, error) {
	kind, err := c.kind()
	if err != nil {
		return nil, err
	}
	slice := time.Duration(min(max(c.integer("max_second"), 0), 1<<20)) * time.Second
	if err := c.api.deps.Records.StartRecord(c.name(), kind, c.text("customized_path"), slice); err != nil {
		return nil, recordError(err)
	}
	return answer{"code": CodeSuccess, "result": true, "msg": "success"}, nil
}

func stopRecord(c *call) (any, error) {
	kind, err := c.kind()
	if err != nil {
		return nil, err
	}
	over, err := c.api.deps.Records.StopRecord(c.name(), kind)
	if err != nil {
		return nil, recordError(err)
	}
	if over == nil {
		return answer{"code": CodeOtherFailed, "result": false, "msg": "stop record failed"}, nil
	}
	return answer{"code": CodeSuccess, "result": true, "msg": "success"}, nil
}

// maxClip bounds the times of a clip, in ms: a day.
const maxClip = 24 * 60 * 60 * 1000

// startRecordTask records a clip: at least back_ms, from a key frame on, as far as that is cached, and forward_ms.
func startRecordTask(c *call) (any, error) {
	back, forward := c.integer("back_ms"), c.integer("forward_ms")
	if back < 0 || forward < 0 || back > maxClip || forward > maxClip {
		return nil, &callError{CodeInvalidArgs, "back_ms and forward_ms must be from 0 to 86400000"}
	}
	name := c.name()
	if _, ok := c.api.deps.Hub.Get(c.target()); !ok || !pathLike(name) {
		return nil, errNoStream()
	}
	path, err := c.api.deps.Records.StartClip(name, c.text("path"),
		time.Duration(back)*time.Millisecond, time.Duration(forward)*time.Millisecond, c.flag("report"))
	if err != nil {
		return nil, recordError(err)
	}
	return answer{"code": CodeSuccess, "data": answer{"path": path}, "msg": ""}, nil
}

func isRecording(c *call) (any, error) {
	kind, err := c.kind()
	if err != nil {
		return nil, err
	}
	yes, err := c.api.deps.Records.Recording(c.name(), kind)
	if err != nil {
		return nil, recordError(err)
	}
	return answer{"code": CodeSuccess, "status": yes}, nil
}

var periods = regexp.MustCompile(`^(\d{4}-\d{2}(-\d{2})?)?$`)

// recordPath returns the directory that a call names, and its period. Nothing outside the stream's own directory can be
// named.
func (c *call) recordPath() (folder, period string, err error) {
	period = c.text("period")
	name := c.name()
	if !periods.MatchString(period) {
		return "", "", &callError{CodeInvalidArgs, "period must be YYYY-MM or YYYY-MM-DD"}
	}
	if !pathLike(name) {
		return "", "", &callError{CodeInvalidArgs, "vhost, app and stream must name a stream"}
	}
	folder, err = c.api.deps.Records.RecordFolder(name, c.text("customized_path"))
	if err != nil {
		return "", "", &callError{CodeException, err.Error()}
	}
	return folder, period, nil
}

// pathLike says that a name has the form of a path that leads nowhere else.
func pathLike(name fact.Stream) bool {
	for part := range strings.SplitSeq(name.Vhost+"/"+name.App+"/"+name.Stream, "/") {
		if part == "" || part == "." || part == ".." || strings.ContainsRune(part, 0) || strings.ContainsRune(part, filepath.Separator) {
			return false
		}
	}
	return true
}

// getMP4RecordFile lists the days of a month, or the files of a day.
func getMP4RecordFile(c *call) (any, error) {
	folder, period, err := c.recordPath()
	if err != nil {
		return nil, err
	}
	day := len(period) == len("2006-01-02")
	root := folder
	if day {
		root = filepath.Join(folder, period)
	}
	paths := []string{}
	entries, err := os.ReadDir(root)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, &callError{CodeException, err.Error()}
	}
	for _, e := range entries {
		n := e.Name()
		switch {
		case strings.HasPrefix(n, "."): // open
		case day && !e.IsDir() && strings.HasSuffix(n, ".mp4"), !day && e.IsDir() && strings.HasPrefix(n, period):
			paths = append(paths, n)
		}
	}
	slices.Sort(paths)
	return answer{"code": CodeSuccess, "data": answer{"rootPath": root + "/", "paths": paths}}, nil
}

// deleteRecordDirectory removes the files of a day, one of them, or everything; not those that are being written.
func deleteRecordDirectory(c *call) (any, error) {
	folder, period, err := c.recordPath()
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(folder, period)
	path := dir + "/"
	if name := c.text("name"); name != "" {
		if name != filepath.Base(name) || strings.HasPrefix(name, ".") || period == "" {
			return nil, &callError{CodeInvalidArgs, "name must be the name of a file of the period"}
		}
		path = filepath.Join(dir, name)
		err = os.Remove(path)
	} else {
		err = removeFinished(dir)
	}
	code := CodeSuccess
	if err != nil {
		code = CodeOtherFailed
	}
	return answer{"code": code, "path": path}, nil
}

// removeFinished removes a tree but for hidden files, which are being written, and the directories that hold them.
func removeFinished(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	left := false
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		switch {
		case strings.HasPrefix(e.Name(), "."):
			left = true
		case e.IsDir():
			err = errors.Join(err, removeFinished(path))
			if _, gone := os.Lstat(path); gone == nil {
				left = true
			}
		default:
			err = errors.Join(err, os.Remove(path))
		}
	}
	if err == nil && !left {
		err = os.Remove(dir)
	}
	return err
}
