package main

import (
	"fmt"
	"os"

	"github.com/hookline/hookline/internal/config"
)

type checkConfigCmd struct {
	File string `arg:"" help:"The config.ini to check; overrides from the environment are checked too."`
}

// Run implements the command.
func (c *checkConfigCmd) Run() error {
	report, err := config.Check(c.File, os.Environ())
	if err != nil {
		return err
	}
	fmt.Println(report)
	if !report.OK() {
		return errSilent
	}
	return nil
}
