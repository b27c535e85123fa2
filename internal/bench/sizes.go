package bench

import "time"

const (
	// bodySize is the length of the body of a POST in bytes.
	bodySize = 600
	// concurrency is the number of requests in flight: the default of an endpoint.
	concurrency = 32
	// batchEvents is the number of events in a POST where there are batches.
	batchEvents = 50
	// badEvery: one event of this many is on a key in trouble.
	badEvery = 10
	// watchedBitrate makes an HTTP-FLV stream of about 2.1 Mbit/s.
	watchedBitrate = 2_085_000
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
	manyKeys      int
	endpoints     int // that all get everything
	// endpointEvents are raised for them.
	endpointEvents int
	idleEndpoints  int
	queueEvents    int
	journaled      int
	raises         int
	scheduled      int

	idleFor      time.Duration // how long a server must rest
	firstBytes   int           // viewers, one after the other
	firstByteGap time.Duration
	bitrate      int // of the stream that is watched, bit/s
	viewersFew   int
	viewersMany  int
	recorded     time.Duration // see scene.record
	fanoutPairs  int
	fanoutFor    time.Duration
	settle       time.Duration // that new viewers get: what was there before them has been sent after it

	backlog     int // events that are delivered while viewers wait for their first byte
	backlogRate int // of them in a second
	streams     int // without viewers
	crowdFor    time.Duration
	publishers  int
	recorded100 int // streams that are recorded at once
	hlsClients  int // that fetch segments
	channels    int // streams that manyWatch
	manyWatch   int
}

func fullSizes() sizes {
	return sizes{
		keys: 10_000, warm: 2_000, pairs: 7, events: 100_000, outstanding: 20_000,
		idleEvents: 500, idleGap: 4 * time.Millisecond, loadedFor: 5 * time.Second,
		troublePairs: 5, troubleEvents: 60_000, troubleLimit: 6 * time.Second, memoryKeys: 100_000, manyKeys: 1_000_000, endpoints: 100, endpointEvents: 10_000, idleEndpoints: 900, queueEvents: 20_000, journaled: 1_000_000,
		raises: 200_000, scheduled: 200_000,
		idleFor: 2 * time.Second, firstBytes: 50, firstByteGap: 20 * time.Millisecond, bitrate: watchedBitrate,
		viewersFew: 300, viewersMany: 1_000, recorded: 4 * time.Second, fanoutPairs: 5, fanoutFor: 5 * time.Second, settle: time.Second,
		backlog: 400_000, backlogRate: 20_000, streams: 50, crowdFor: 10 * time.Second, publishers: 1_000, recorded100: 100, hlsClients: 16, channels: 500, manyWatch: 5_000,
	}
}

func quickSizes() sizes {
	return sizes{
		keys: 10_000, warm: 1_000, pairs: 3, events: 10_000, outstanding: 10_000,
		idleEvents: 100, idleGap: 4 * time.Millisecond, loadedFor: time.Second,
		troublePairs: 1, troubleEvents: 30_000, troubleLimit: 3 * time.Second, memoryKeys: 20_000, manyKeys: 100_000, endpoints: 100, endpointEvents: 1_000, idleEndpoints: 300, queueEvents: 2_000, journaled: 100_000,
		raises: 50_000, scheduled: 50_000,
		idleFor: time.Second, firstBytes: 20, firstByteGap: 20 * time.Millisecond, bitrate: watchedBitrate,
		viewersFew: 50, viewersMany: 50, recorded: 4 * time.Second, fanoutPairs: 1, fanoutFor: 2 * time.Second, settle: time.Second,
		backlog: 100_000, backlogRate: 20_000, streams: 50, crowdFor: 3 * time.Second, publishers: 200, recorded100: 20, hlsClients: 8, channels: 50, manyWatch: 500,
	}
}
