// Command hookline is a streaming media server whose webhooks arrive in order, and the tools around it.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	_ "time/tzdata" // the image holds nothing but the binary, and names of recordings are in local time

	"github.com/alecthomas/kong"

	"github.com/hookline/hookline/internal/bench"
)

// version is set by the linker.
var version = "dev"

const about = `A streaming media server whose webhooks arrive in order and never get lost silently.

Hookline speaks ZLMediaKit's hooks, REST API, URLs and config.ini. First steps:

  hookline demo                     see the point of it in a minute
  hookline serve                    run the server: RTMP 1935, RTSP 8554, HTTP 8080, state below ./data
  hookline listen                   a receiver that prints hooks and checks their order
  hookline publish                  push a small generated stream to rtmp://127.0.0.1/live/test
  hookline play http://127.0.0.1:8080/live/test.live.flv
  hookline endpoints                who gets the events, and how far they are
  hookline events tail --follow     what happens, as the journal has it

Any key of config.ini can be set by environment: HOOKLINE_HOOK_ON_PLAY is hook.on_play.`

// cli is the command line.
type cli struct {
	Serve       serveCmd       `cmd:"" help:"Run the server."`
	Demo        demoCmd        `cmd:"" help:"See the product in a minute: faults, a crash, nothing lost, nothing out of order."`
	Listen      listenCmd      `cmd:"" help:"Receive hooks: print them, check order and gaps per stream, misbehave on purpose."`
	Publish     publishCmd     `cmd:"" help:"Publish over RTMP: an FLV file or a small generated stream."`
	Play        playCmd        `cmd:"" help:"Play over RTMP or HTTP-FLV: count frames, check time stamps, report."`
	Bench       benchCmd       `cmd:"" help:"Measure, as ratios to a raw ceiling of the same run."`
	Events      eventsCmd      `cmd:"" help:"Look at the events of a running server."`
	Endpoints   endpointsCmd   `cmd:"" help:"Receivers of a running server: state and lag; add, set, rm, pause, resume."`
	Dead        deadCmd        `cmd:"" help:"Events that were given up: list, show, redrive, discard."`
	Replay      replayCmd      `cmd:"" help:"Send events of the journal once more to an endpoint."`
	Replays     replaysCmd     `cmd:"" help:"Replays: list, cancel."`
	Journal     journalCmd     `cmd:"" help:"The journal of a stopped server: check, stats, export, import, compact; backup of a running one."`
	CheckConfig checkConfigCmd `cmd:"" help:"Check a config.ini and say what is wrong, unknown or not there yet."`
	Version     versionCmd     `cmd:"" help:"Print the version."`
}

// errSilent ends with status 1 when everything was said already.
var errSilent = errors.New("failed")

func main() {
	if child, err := bench.RunChild(context.Background()); child { // the receiver, in a process of its own
		if err != nil {
			fmt.Fprintln(os.Stderr, "hookline:", err)
			os.Exit(1)
		}
		return
	}
	var c cli
	parser, err := newParser(&c, os.Stdout)
	if err != nil {
		panic(err) // the struct above is wrong
	}
	k, err := parser.Parse(arguments(os.Args[1:]))
	parser.FatalIfErrorf(err)
	if err := k.Run(); err != nil {
		if !errors.Is(err, errSilent) {
			fmt.Fprintln(os.Stderr, "hookline:", err)
		}
		os.Exit(1)
	}
}

// newParser returns the parser of the command line. What asks for an io.Writer gets out.
func newParser(c *cli, out io.Writer) (*kong.Kong, error) {
	return kong.New(c, kong.Name("hookline"), kong.Description(about), kong.UsageOnError(),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 110}), kong.BindTo(out, (*io.Writer)(nil)),
		kong.Vars{"benchmarks": strings.Join(bench.Names(), ", ")})
}

// arguments lets `hookline -c config.ini` run the server as `MediaServer -c config.ini` does, and shows the help to
// who gives nothing.
func arguments(args []string) []string {
	switch {
	case len(args) == 0:
		return []string{"--help"}
	case args[0] == "-v":
		return []string{"version"}
	case strings.HasPrefix(args[0], "-") && args[0] != "-h" && args[0] != "--help":
		return append([]string{"serve"}, args...)
	}
	return args
}

type versionCmd struct{}

// Run implements the command.
func (versionCmd) Run() error {
	fmt.Println("hookline", version)
	return nil
}
