// Command hookline is a streaming media server whose webhooks arrive in order, and the tools around it.
package main

import (
	"fmt"
	"os"

	"github.com/alecthomas/kong"
)

var version = "dev" //nolint:gochecknoglobals // set by the linker

// cli is the command line.
type cli struct {
	Serve serveCmd `cmd:"" help:"Run the server."`
}

func main() {
	var c cli
	k := kong.Parse(&c, kong.Name("hookline"), kong.UsageOnError())
	if err := k.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "hookline:", err)
		os.Exit(1)
	}
}
