package event_test

import "flag"

// update rewrites the golden files: go test ./event -update.
var update = flag.Bool("update", false, "rewrite the golden files in testdata")
