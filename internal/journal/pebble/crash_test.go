package pebble

import (
	"math/rand/v2"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// crashClone returns what a crash may leave of fs: what was synced and a random part of the rest.
func crashClone(fs *vfs.MemFS, seed uint64) *vfs.MemFS {
	rnd := rand.New(rand.NewPCG(seed, 1))
	percent := []int{0, 10, 50, 90, 100}[rnd.IntN(5)]
	return fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rnd})
}
