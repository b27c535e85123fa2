package streamtest

import (
	"time"

	"github.com/hookline/hookline/internal/stream"
)

// Patience is what tests in real time give those whom nobody can hurry: nothing that goes well takes so long on the slowest machine.
const Patience = 10 * time.Minute

// Patient returns the configuration of a hub for tests in real time: no wait for a stream, a track or a viewer is over because
// somebody did not get the processor for a while. A second track that is not announced is waited for as long.
func Patient() stream.Config {
	c := stream.DefaultConfig()
	for _, d := range []*time.Duration{
		&c.MaxStreamWait, &c.NoneReaderDelay, &c.WaitTrackReady, &c.WaitAddTrack, &c.WaitAudioData, &c.ViewerLagDuration, &c.ViewerLinger,
	} {
		*d = Patience
	}
	return c
}
