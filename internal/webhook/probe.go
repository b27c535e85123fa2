package webhook

// socketState is what a look at an idle socket shows, without reading from it.
type socketState uint8

const (
	socketQuiet    socketState = iota // open, nothing to read
	socketReadable                    // bytes wait
	socketEnded                       // closed by the peer, or failed
)
