package pebble

import (
	"bytes"
	"encoding/hex"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	pebbledb "github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/hookline/hookline/event"
	"github.com/hookline/hookline/internal/journal"
	"github.com/hookline/hookline/internal/journal/journaltest"
)

// TestGoldenLayout holds the bytes of keys and metadata. They may not change while version 1 is read.
func TestGoldenLayout(t *testing.T) {
	text, err := os.ReadFile("testdata/layout_v1.txt")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		want[name] = strings.ReplaceAll(value, " ", "")
	}
	r := run{clean: true, fsync: true, reason: journal.EpochTailLost, boot: "b"}
	got := map[string][]byte{
		"record":   recordKey(nil, 0x0102030405060708),
		"index":    indexKey(nil, "a/b", 258),
		"server":   indexKey(nil, "", 1),
		"state":    append([]byte(statePrefix), "cursor"...),
		"header":   header{created: 1767319445678}.encode(),
		"trim":     trimMark{first: 3, floor: 2}.encode(),
		"run":      r.encode(),
		"identity": identity{device: 1, inode: 2, content: "c"}.encode(),
	}
	for name, b := range got {
		if hex.EncodeToString(b) != want[name] {
			t.Errorf("%s is %x, want %s", name, b, want[name])
		}
	}
	if h, err := decodeHeader(got["header"]); err != nil || h.created != 1767319445678 {
		t.Errorf("header %+v, %v", h, err)
	}
	if m, err := decodeTrim(got["trim"]); err != nil || m != (trimMark{first: 3, floor: 2}) {
		t.Errorf("trim %+v, %v", m, err)
	}
	if back, err := decodeRun(got["run"]); err != nil || back != r {
		t.Errorf("run %+v, %v", back, err)
	}
	if id, err := decodeIdentity(got["identity"]); err != nil || id != (identity{1, 2, "c"}) {
		t.Errorf("identity %+v, %v", id, err)
	}
}

func TestMetaRefusesGarbage(t *testing.T) {
	for _, b := range [][]byte{nil, {1}, []byte("hookline"), append([]byte("hookline"), 1), append([]byte("hookline"), 0, 1)} {
		if _, err := decodeHeader(b); !errors.Is(err, journal.ErrCorrupt) {
			t.Errorf("header %q: %v", b, err)
		}
	}
	if _, err := decodeTrim([]byte("x")); !errors.Is(err, journal.ErrCorrupt) {
		t.Errorf("trim: %v", err)
	}
	if _, err := decodeRun([]byte{0, 9}); !errors.Is(err, journal.ErrCorrupt) {
		t.Errorf("run: %v", err)
	}
	if _, err := decodeIdentity([]byte("x")); !errors.Is(err, journal.ErrCorrupt) {
		t.Errorf("identity: %v", err)
	}
}

func TestPrefixEnd(t *testing.T) {
	for in, want := range map[string]string{"a": "b", "a\xff": "b", "a\xff\xff": "b", "\xff": ""} {
		if got := string(prefixEnd([]byte(in))); got != want {
			t.Errorf("after %q comes %q, want %q", in, got, want)
		}
	}
}

// fill makes a journal with n records in dir and closes it.
func fill(t *testing.T, dir string, n int) {
	t.Helper()
	j := mustOpen(t, Config{Dir: dir, Fsync: true})
	for i := range n {
		writeOne(t, j, uint64(i+1))
	}
	mustClose(t, j)
}

func mustOpen(t *testing.T, c Config) *Journal {
	t.Helper()
	c.Logger = quiet()
	j, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func mustClose(t *testing.T, j *Journal) {
	t.Helper()
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
}

func writeOne(t *testing.T, j *Journal, seq uint64) {
	t.Helper()
	ack, err := j.Append(journal.Batch{Records: []*journal.Record{
		{Key: "k", Seq: seq, Type: event.OnPlay, Body: bytes.Repeat([]byte("b"), 2000)},
	}})
	if err == nil {
		err = ack.Wait()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// wantOpenError opens dir and wants an error that wraps want and names the directory and each of the words.
func wantOpenError(t *testing.T, dir string, want error, words ...string) {
	t.Helper()
	j, err := Open(Config{Dir: dir, Fsync: true, Logger: quiet()})
	if err == nil {
		mustClose(t, j)
	}
	if !errors.Is(err, want) {
		t.Fatalf("got %v, want %v", err, want)
	}
	for _, w := range append(words, dir) {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%q does not say %q", err, w)
		}
	}
}

func TestLockedBySameProcess(t *testing.T) {
	dir := t.TempDir()
	j := mustOpen(t, Config{Dir: dir})
	wantOpenError(t, dir, journal.ErrLocked)
	mustClose(t, j)
	mustClose(t, mustOpen(t, Config{Dir: dir}))
}

// lockedEnv names the directory that TestLockedByAnotherProcess's child tries to open.
const lockedEnv = "HOOKLINE_TEST_LOCKED_DIR"

func TestLockedByAnotherProcess(t *testing.T) {
	if dir := os.Getenv(lockedEnv); dir != "" {
		wantOpenError(t, dir, journal.ErrLocked)
		return
	}
	dir := t.TempDir()
	j := mustOpen(t, Config{Dir: dir})
	defer mustClose(t, j)
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestLockedByAnotherProcess$")
	child.Env = append(os.Environ(), lockedEnv+"="+dir)
	if out, err := child.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestDirectoryIsAFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{name, filepath.Join(name, "below")} {
		_, err := Open(Config{Dir: dir, Logger: quiet()})
		if err == nil || !strings.Contains(err.Error(), dir) || errors.Is(err, journal.ErrCorrupt) {
			t.Errorf("got %v", err)
		}
	}
}

func TestDirectoryIsNotWritable(t *testing.T) {
	fs := &hookFS{FS: vfs.NewMem()}
	denied := &os.PathError{Op: "open", Path: memDir, Err: os.ErrPermission}
	fs.set(refuse(denied))
	_, err := Open(Config{Dir: memDir, FS: fs, Logger: quiet()})
	if !errors.Is(err, os.ErrPermission) || !strings.Contains(err.Error(), memDir) {
		t.Errorf("got %v", err)
	}
}

// files returns the paths of dir's files with the ending.
func files(t *testing.T, dir, ending string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*"+ending))
	if err != nil || len(names) == 0 {
		t.Fatalf("no %s in %s: %v", ending, dir, err)
	}
	return names
}

// damage changes a byte in the middle of the file.
func damage(t *testing.T, name string, at func(size int) int) {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	b[at(len(b))] ^= 0xFF
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// newest returns the file that holds most bytes.
func largest(t *testing.T, names []string) string {
	t.Helper()
	best, size := "", int64(-1)
	for _, n := range names {
		info, err := os.Stat(n)
		if err != nil {
			t.Fatal(err)
		}
		if info.Size() > size {
			best, size = n, info.Size()
		}
	}
	return best
}

func TestCorruptDirectories(t *testing.T) {
	for _, c := range []struct {
		name    string
		breakIt func(t *testing.T, dir string)
		words   []string
	}{
		{"log in the middle", func(t *testing.T, dir string) {
			damage(t, largest(t, files(t, dir, ".log")), func(size int) int { return 40000 })
		}, []string{".log"}},
		{"manifest", func(t *testing.T, dir string) {
			damage(t, largest(t, files(t, dir, "")), func(size int) int { return 0 })
		}, nil},
		{"manifest is gone", func(t *testing.T, dir string) {
			for _, n := range append(files(t, dir, "/MANIFEST-*"[1:]), files(t, dir, "/marker.manifest*"[1:])...) {
				os.Remove(n)
			}
		}, nil},
		{"only IDENTITY is left", func(t *testing.T, dir string) {
			for _, n := range files(t, dir, "") {
				if filepath.Base(n) != identityFile {
					os.Remove(n)
				}
			}
		}, []string{identityFile}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			fill(t, dir, 60)
			c.breakIt(t, dir)
			wantOpenError(t, dir, journal.ErrCorrupt, append(c.words, "move it aside")...)
		})
	}
}

func TestTornLogIsCut(t *testing.T) {
	dir := t.TempDir()
	j := mustOpen(t, Config{Dir: dir, Fsync: true})
	for seq := range uint64(20) {
		writeOne(t, j, seq+1)
	}
	j.fs.freeze(journaltest.ErrCrashed)
	mustClose(t, j)
	log := largest(t, files(t, dir, ".log"))
	b, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	b = bytes.TrimRight(b, "\x00") // preallocated
	if err := os.WriteFile(log, b[:len(b)-1000], 0o600); err != nil {
		t.Fatal(err)
	}
	j = mustOpen(t, Config{Dir: dir, Fsync: true})
	defer mustClose(t, j)
	all, err := journaltest.ReadAll(j)
	if err != nil || len(all) != 19 {
		t.Errorf("%d records, %v", len(all), err)
	}
}

// rawDB changes the database behind the journal's back.
func rawDB(t *testing.T, dir string, change func(db *pebbledb.DB) error) {
	t.Helper()
	db, err := pebbledb.Open(dir, &pebbledb.Options{Logger: &pebbleLogger{j: &Journal{log: quiet()}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(change(db), db.Close()); err != nil {
		t.Fatal(err)
	}
}

func TestForeignAndNewerDatabases(t *testing.T) {
	set := func(key string, value []byte) func(*pebbledb.DB) error {
		return func(db *pebbledb.DB) error { return db.Set([]byte(key), value, pebbledb.Sync) }
	}
	newer := header{}.encode()
	newer[len(magic)]++
	for _, c := range []struct {
		name   string
		ours   bool
		change func(*pebbledb.DB) error
		want   error
	}{
		{"another program's", false, set("key", nil), journal.ErrCorrupt},
		{"header is gone", true, func(db *pebbledb.DB) error { return db.Delete([]byte(keyHeader), pebbledb.Sync) }, journal.ErrCorrupt},
		{"another header", true, set(keyHeader, []byte("something else")), journal.ErrCorrupt},
		{"newer", true, set(keyHeader, newer), journal.ErrTooNew},
		{"oldest record is gone", true, func(db *pebbledb.DB) error { return db.Delete(recordKey(nil, 1), pebbledb.Sync) }, journal.ErrCorrupt},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			if c.ours {
				fill(t, dir, 3)
			}
			rawDB(t, dir, c.change)
			wantOpenError(t, dir, c.want)
		})
	}
}

func TestCorruptionIsReportedByReads(t *testing.T) {
	dir := t.TempDir()
	fill(t, dir, 3)
	rawDB(t, dir, func(db *pebbledb.DB) error {
		return errors.Join(db.Delete(recordKey(nil, 2), pebbledb.Sync), db.Set(recordKey(nil, 3), []byte("x"), pebbledb.Sync))
	})
	j := mustOpen(t, Config{Dir: dir})
	defer mustClose(t, j)
	if _, err := j.Read(1, journal.Limit{}); !errors.Is(err, journal.ErrCorrupt) {
		t.Errorf("Read over a hole: %v", err)
	}
	if _, err := j.Read(3, journal.Limit{}); !errors.Is(err, journal.ErrCorrupt) {
		t.Errorf("Read of a broken record: %v", err)
	}
	if _, err := j.ReadKey("k", 2, journal.Limit{}); !errors.Is(err, journal.ErrCorrupt) {
		t.Errorf("ReadKey: %v", err)
	}
	if _, err := j.LastOfKey("k"); !errors.Is(err, journal.ErrCorrupt) {
		t.Errorf("LastOfKey: %v", err)
	}
}
