package bench

import "time"

const (
	// bodySize is the length of the body of a POST in bytes.
	bodySize = 600
	// concurrency is the number of requests in flight: the default of an endpoint.
	concurrency = 32
	// badEvery: one event of this many is on a key in trouble.
	badEvery = 10
)

// sizes says how much is measured.
type sizes struct {
	keys   int
	warm   int // events before the clock starts
	pairs  int
	events int // of one side of a pair
	// outstanding bounds what is raised and not yet accepted.
	outstanding int

	idleEvents int
	idleGap    time.Duration
	loadedFor  time.Duration

	troublePairs  int
	troubleEvents int           // healthy ones of one phase
	troubleLimit  time.Duration // of one phase
	memoryKeys    int
	journaled     int
	raises        int
	scheduled     int
}

func fullSizes() sizes {
	return sizes{
		keys: 10_000, warm: 2_000, pairs: 7, events: 100_000, outstanding: 20_000,
		idleEvents: 500, idleGap: 4 * time.Millisecond, loadedFor: 5 * time.Second,
		troublePairs: 5, troubleEvents: 60_000, troubleLimit: 6 * time.Second, memoryKeys: 100_000, journaled: 1_000_000,
		raises: 200_000, scheduled: 200_000,
	}
}

func quickSizes() sizes {
	return sizes{
		keys: 10_000, warm: 1_000, pairs: 3, events: 10_000, outstanding: 10_000,
		idleEvents: 100, idleGap: 4 * time.Millisecond, loadedFor: time.Second,
		troublePairs: 1, troubleEvents: 30_000, troubleLimit: 3 * time.Second, memoryKeys: 20_000, journaled: 100_000,
		raises: 50_000, scheduled: 50_000,
	}
}
