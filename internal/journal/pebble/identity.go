package pebble

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

const (
	identityFile = "IDENTITY"
	identityTemp = "IDENTITY.new"
	// identityLimit bounds what is read of the file.
	identityLimit = 256
)

// newIdentity returns the identity of a file that is still to be made.
func newIdentity() identity {
	return identity{content: "This file names the journal beside it. Do not copy or change it.\n" + rand.Text() + "\n"}
}

// write makes the file.
func (i identity) write(fs vfs.FS, dir string) error {
	return writeFile(fs, dir, identityTemp, identityFile, []byte(i.content))
}

func syncDir(fs vfs.FS, dir string) error {
	d, err := fs.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// readIdentity returns what the file is now; a file that is missing has no content.
func readIdentity(fs vfs.FS, dir string, number fileNumber) (identity, error) {
	name := fs.PathJoin(dir, identityFile)
	f, err := fs.Open(name)
	if errors.Is(err, os.ErrNotExist) {
		return identity{}, nil
	}
	if err != nil {
		return identity{}, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, identityLimit))
	if err != nil {
		return identity{}, fmt.Errorf("read %s: %w", name, err)
	}
	info, err := f.Stat()
	if err != nil {
		return identity{}, fmt.Errorf("stat %s: %w", name, err)
	}
	id := identity{content: string(b)}
	id.device, id.inode = number(info)
	return id, nil
}

// fileNumber returns the device and the inode of a file, 0 for what is unknown or made up at each mount.
type fileNumber func(vfs.FileInfo) (device, inode uint64)

// readBootID returns the id that the kernel gave to this boot of the machine, "" where there is none.
func readBootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}
